//! `bound-keypair grant-recovery|rotate|resync|revoke|reset|explain NAME`

use anyhow::Result;
use boundkey_api::{ExplainAnswer, VerbAnswer, VerbRequest};
use boundkey_client::admin::encode;
use boundkey_console::{Format, FormatOption, print};
use serde_json::json;

use crate::arguments::{Context, KeypairCommand};
use crate::output;

pub(crate) async fn run(context: Context, command: KeypairCommand) -> Result<()> {
    let nothing = VerbRequest::default();
    let mut format = Format::Text;
    let (name, verb, request) = match command {
        KeypairCommand::GrantRecovery { name, count } => {
            (name, "grant-recovery", VerbRequest { count: Some(count), ..nothing })
        }
        KeypairCommand::Rotate { name, at } => (name, "rotate", VerbRequest { at, ..nothing }),
        KeypairCommand::Resync { name, ttl, keep_key } => {
            (name, "resync", VerbRequest { ttl_seconds: Some(ttl.as_secs()), keep_key, ..nothing })
        }
        KeypairCommand::Revoke { name } => (name, "revoke", nothing),
        KeypairCommand::Reset { name, with_secrets, format: options } => {
            format = options.format;
            (name, if with_secrets { "reset?secrets=true" } else { "reset" }, nothing)
        }
        KeypairCommand::Explain { name, format } => return explain(context, &name, format).await,
    };
    let path = format!("/v1/tokens/{}/{verb}", encode(&name));
    let answer: VerbAnswer = context.client().post(&path, &serde_json::to_value(&request)?).await?;
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
            print(&text)
        }
        format => output::resource(serde_json::to_value(&answer)?, format),
    }
}
