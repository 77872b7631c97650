//! `lock --token|--bot|--host|--bot-instance NAME`

use anyhow::Result;
use boundkey_api::{LockAnswer, LockRequest};
use boundkey_console::{Format, print};
use boundkey_token::LockTarget;

use crate::arguments::{Context, LockOptions};
use crate::confirm::{beforehand, confirmed};
use crate::failure::usage;
use crate::output;

pub(crate) async fn run(context: Context, options: LockOptions) -> Result<()> {
    let target = match (options.token, options.bot, options.host, options.bot_instance) {
        (Some(name), ..) => LockTarget::Token(name),
        (_, Some(name), ..) => LockTarget::Bot(name),
        (_, _, Some(id), _) => LockTarget::Host(id),
        (.., Some(id)) => LockTarget::BotInstance(id),
        (None, None, None, None) => {
            usage!("name what to lock: --token, --bot, --host or --bot-instance")
        }
    };
    let mut client = context.client();
    let request = serde_json::to_value(&LockRequest {
        target,
        message: options.message,
        public_message: options.public_message,
        ttl_seconds: options.ttl.map(|ttl| ttl.as_secs()),
        revoke: options.revoke,
    })?;
    let send = async |confirm: &str| client.post(&format!("/v1/locks?confirm={confirm}"), &request).await;
    let answer: LockAnswer = confirmed(beforehand(options.yes.yes), send).await?;
    output::warnings(&answer.warnings);
    match options.format.format {
        Format::Text => print(&format!("{}\n", answer.message)),
        format => output::resource(answer.lock, format),
    }
}
