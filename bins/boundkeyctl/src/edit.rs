//! `edit KIND/NAME`

use std::io::Write;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use boundkey_api::Applied;
use boundkey_client::admin::{AdminClient, encode};
use boundkey_console::print;
use serde_json::Value;

use crate::arguments::{Context, EditOptions};
use crate::confirm::{beforehand, confirmed};
use crate::create::{check, identify, sent};
use crate::failure::usage;
use crate::get::{Kind, parse};
use crate::output;

pub(crate) async fn run(context: Context, options: EditOptions) -> Result<()> {
    let (kind, name) = parse(&options.resource)?;
    let Some(name) = name else { usage!("name one resource to edit, such as token/NAME") };
    if !matches!(kind, Kind::Token | Kind::Bot) {
        usage!("only tokens and bots are edited; a lock is removed and set anew");
    }
    let path = format!("{}/{}", kind.path(), encode(name));
    let mut client = context.client();
    let value: Value = client.get(&path).await?;
    let before = boundkey_document::to_yaml(&value);
    let mut file = tempfile::Builder::new().prefix("boundkey-edit-").suffix(".yaml").tempfile()?;
    file.write_all(before.as_bytes())?;
    file.flush()?;
    open_editor(file.path())?;
    let after = std::fs::read(file.path()).context("cannot read what the editor left")?;
    if after == before.as_bytes() {
        return print(&format!("{} unchanged\n", identify(&value)));
    }
    match apply(&mut client, &path, &after, &value, options.yes.yes).await {
        Ok(text) => print(&text),
        Err(error) => {
            let (_, kept) = file.keep()?;
            Err(error.context(format!("nothing was changed; your text is kept in {}", kept.display())))
        }
    }
}

async fn apply(
    client: &mut AdminClient,
    path: &str,
    text: &[u8],
    before: &Value,
    yes: bool,
) -> Result<String> {
    let resources = check(text, "the edited text")?;
    let [resource] = resources.as_slice() else { bail!("the edited text must hold exactly one resource") };
    let value = sent(resource);
    if identify(&value) != identify(before) {
        bail!("a resource keeps its kind and name; `create` makes a new one");
    }
    // Whatever became of the revision in the text: what was shown is what may be replaced.
    let revision = before["metadata"]["revision"].as_str();
    let send = async |confirm: &str| client.put(&format!("{path}?confirm={confirm}"), &value, revision).await;
    let applied: Applied = confirmed(beforehand(yes), send).await?;
    output::warnings(&applied.warnings);
    Ok(format!("{} {}\n", identify(&value), if applied.changed { "updated" } else { "unchanged" }))
}

fn open_editor(file: &std::path::Path) -> Result<()> {
    let editor =
        ["VISUAL", "EDITOR"].into_iter().find_map(|name| std::env::var(name).ok().filter(|e| !e.is_empty()));
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    // An editor may come with arguments (`code --wait`), so a shell splits it.
    let status = Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(file)
        .status()
        .with_context(|| format!("cannot start the editor {editor}"))?;
    if !status.success() {
        bail!("the editor {editor} ended with {status}; nothing was changed");
    }
    Ok(())
}
