//! `bots add|ls|rm`

use anyhow::Result;
use boundkey_console::{Format, print};
use serde_json::{Value, json};

use crate::arguments::{BotAddOptions, BotsCommand, Context};
use crate::create::{check, sent};
use crate::get::Kind;
use crate::listing::{Listed, Listing};
use crate::output;
use crate::rm::remove;

pub(crate) async fn run(context: Context, command: BotsCommand) -> Result<()> {
    match command {
        BotsCommand::Add(options) => add(context, options).await,
        BotsCommand::Ls(options) => {
            let row = |bot: &Value| {
                let name = bot["metadata"]["name"].as_str().unwrap_or_default();
                let logins = bot["spec"]["logins"]
                    .as_array()
                    .map(|logins| logins.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","));
                vec![name.to_owned(), logins.unwrap_or_else(|| name.to_owned())]
            };
            let summary = |listed: &Listed| Some(output::counted(listed.shown, "bot"));
            let listing = Listing::of_rows(options.format, &["NAME", "LOGINS"], row);
            listing.run(&mut context.client(), Kind::Bot.path(), summary).await
        }
        BotsCommand::Rm { name, yes } => {
            remove(&mut context.client(), &[(Kind::Bot, &name)], false, yes.yes).await
        }
    }
}

async fn add(context: Context, options: BotAddOptions) -> Result<()> {
    let mut spec = json!({});
    if !options.logins.is_empty() {
        spec["logins"] = json!(options.logins);
    }
    let bot = json!({ "kind": "bot", "version": "v1", "metadata": { "name": options.name }, "spec": spec });
    let mut wanted = vec![bot];
    if options.with_token {
        wanted.push(json!({
            "kind": "token", "version": "v2", "metadata": { "name": options.name },
            "spec": { "roles": ["Bot"], "bot_name": options.name, "join_method": "bound_keypair" },
        }));
    }
    let mut checked = Vec::with_capacity(wanted.len());
    for value in &wanted {
        checked.extend(check(value.to_string().as_bytes(), "the arguments")?.iter().map(sent));
    }
    let answer = context.client().apply(checked, false).await?;
    for applied in &answer.applied {
        output::warnings(&applied.warnings);
    }
    match options.format.format {
        Format::Text => {
            print(&format!("bot/{} created\n", options.name))?;
            if options.with_token {
                let name = &options.name;
                print(&format!(
                    "token/{name} created; its registration secret: boundkeyctl get token/{name} --with-secrets\n"
                ))?;
            }
            Ok(())
        }
        format => {
            output::resource(answer.applied.into_iter().map(|applied| applied.resource).collect(), format)
        }
    }
}
