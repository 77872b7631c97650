//! `lock --token|--bot|--host|--bot-instance NAME`

use anyhow::Result;
use boundkey_api::{LockRequest, Node};
use boundkey_client::admin::{AdminClient, AdminError, encode};
use boundkey_console::{Format, print};
use boundkey_token::LockTarget;
use serde_json::Value;

use crate::arguments::{Context, LockOptions};
use crate::failure::usage;
use crate::get::Kind;
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
    let request = LockRequest {
        target: target.clone(),
        message: options.message,
        ttl_seconds: options.ttl.map(|ttl| ttl.as_secs()),
        revoke: options.revoke,
    };
    let lock: Value = client.post("/v1/locks", &serde_json::to_value(&request)?).await?;
    // The lock first: it may be urgent, and a long list takes a while.
    output::warnings(&nobody_there(&mut client, &target).await);
    match options.format.format {
        Format::Text => {
            let id = lock["metadata"]["name"].as_str().unwrap_or("?");
            print(&format!("lock/{id} created; it is lifted by: boundkeyctl rm lock/{id}\n"))
        }
        format => output::resource(lock, format),
    }
}

/// A lock on a mistyped name would look like one that works.
async fn nobody_there(client: &mut AdminClient, target: &LockTarget) -> Vec<String> {
    let (kind, name) = match target {
        LockTarget::Token(name) => (Kind::Token, name),
        LockTarget::Bot(name) => (Kind::Bot, name),
        LockTarget::Host(id) => return no_such_host(client, id).await,
        // Instances of a shared token are in no list.
        LockTarget::BotInstance(_) => return Vec::new(),
    };
    let found = client.get::<Value>(&format!("{}/{}", kind.path(), encode(name))).await;
    match found {
        Err(AdminError::Refused(problem)) if problem.status == 404 => {
            let kind = if matches!(kind, Kind::Token) { "token" } else { "bot" };
            vec![format!("there is no {kind} `{name}`: the lock keeps nobody out until one has this name")]
        }
        _ => Vec::new(),
    }
}

/// A hostname is easily taken for the id that the lock needs.
async fn no_such_host(client: &mut AdminClient, id: &str) -> Vec<String> {
    let Ok(nodes) = client.list::<Node>("/v1/nodes").await else { return Vec::new() };
    if nodes.iter().any(|node| node.host_id == id) {
        return Vec::new();
    }
    let named = nodes.iter().filter(|node| node.hostname == id).map(|node| node.host_id.as_str());
    let named: Vec<&str> = named.collect();
    let meant = match named.is_empty() {
        true => "`nodes ls` shows the ids".to_owned(),
        false => format!("it is the hostname of {}", named.join(", ")),
    };
    vec![format!("no host has the id `{id}`, so the lock keeps nobody out; {meant}")]
}
