//! `bound-keypair grant-recovery|rotate|resync|revoke|reset|explain NAME`

use anyhow::Result;
use boundkey_api::{ExplainAnswer, VerbAnswer, VerbRequest};
use boundkey_client::admin::encode;
use boundkey_console::{Format, FormatOption, print};
use serde_json::json;

use crate::arguments::{Context, KeypairCommand};
use crate::confirm::{beforehand, confirmed};
use crate::output;

pub(crate) async fn run(context: Context, command: KeypairCommand) -> Result<()> {
    let nothing = VerbRequest::default();
    let (mut format, mut secrets) = (Format::Text, false);
    let mut confirm = beforehand(false);
    let (name, verb, request) = match command {
        KeypairCommand::GrantRecovery { name, count } => {
            (name, "grant-recovery", VerbRequest { count: Some(count), ..nothing })
        }
        KeypairCommand::Rotate { name, at } => (name, "rotate", VerbRequest { at, ..nothing }),
        KeypairCommand::Resync { name, ttl, keep_key } => {
            (name, "resync", VerbRequest { ttl_seconds: Some(ttl.as_secs()), keep_key, ..nothing })
        }
        KeypairCommand::Revoke { name, yes } => {
            confirm = beforehand(yes.yes);
            (name, "revoke", nothing)
        }
        KeypairCommand::Reset { name, with_secrets, yes, format: options } => {
            format = options.format;
            secrets = with_secrets;
            confirm = beforehand(yes.yes);
            (name, "reset", nothing)
        }
        KeypairCommand::Explain { name, format } => return explain(context, &name, format).await,
    };
    let path = format!("/v1/tokens/{}/{verb}?secrets={secrets}", encode(&name));
    let request = serde_json::to_value(&request)?;
    let mut client = context.client();
    let send = async |confirm: &str| client.post(&format!("{path}&confirm={confirm}"), &request).await;
    let answer: VerbAnswer = confirmed(confirm, send).await?;
    if format != Format::Text {
        return output::resource(serde_json::to_value(&answer)?, format);
    }
    print(&format!("{}\n", answer.message))?;
    match answer.registration_secret {
        Some(secret) => print(&format!("registration secret: {secret}\n")),
        None => Ok(()),
    }
}

async fn explain(context: Context, name: &str, options: FormatOption) -> Result<()> {
    let path = format!("/v1/tokens/{}/explain", encode(name));
    let answer: ExplainAnswer = context.client().post(&path, &json!({})).await?;
    match options.format {
        Format::Text => {
            let mut text = format!("state: {}\nnext join: {}\n", answer.state, answer.next_join);
            for reason in &answer.reasons {
                text.push_str(&format!("  because {reason}\n"));
            }
            for warning in &answer.warnings {
                text.push_str(&format!("warning: {warning}\n"));
            }
            text.push_str(&format!("next step: {}\n", answer.next_step.text));
            for command in &answer.next_step.commands {
                text.push_str(&format!("  {command}\n"));
            }
            print(&text)
        }
        format => output::resource(serde_json::to_value(&answer)?, format),
    }
}
