//! `lock --token|--bot|--host|--bot-instance NAME`

use anyhow::Result;
use boundkey_api::LockRequest;
use boundkey_token::LockTarget;
use serde_json::Value;

use crate::arguments::{Context, Format, LockOptions};
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
    let request = LockRequest {
        target,
        message: options.message,
        ttl_seconds: options.ttl.map(|ttl| ttl.as_secs()),
        revoke: options.revoke,
    };
    let lock: Value = context.client().post("/v1/locks", &serde_json::to_value(&request)?).await?;
    match options.format.format {
        Format::Text => {
            let id = lock["metadata"]["name"].as_str().unwrap_or("?");
            output::print(&format!("lock/{id} created; it is lifted by: boundkeyctl rm lock/{id}\n"))
        }
        format => output::resource(lock, format),
    }
}
