//! `get KIND[/NAME]`

use anyhow::{Result, bail};
use boundkey_client::admin::encode;
use serde_json::Value;

use crate::arguments::{Context, GetOptions};
use crate::failure::usage;
use crate::output;

/// A kind of resource that the server serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Token,
    Bot,
    Lock,
    Node,
}

impl Kind {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Token => "/v1/tokens",
            Self::Bot => "/v1/bots",
            Self::Lock => "/v1/locks",
            Self::Node => "/v1/nodes",
        }
    }

    fn parse(word: &str) -> Result<Self> {
        Ok(match word.to_ascii_lowercase().as_str() {
            "token" | "tokens" => Self::Token,
            "bot" | "bots" => Self::Bot,
            "lock" | "locks" => Self::Lock,
            "node" | "nodes" => Self::Node,
            _ => {
                let nearest = boundkey_document::nearest(word, ["token", "bot", "lock", "node"]);
                let hint = nearest.map(|nearest| format!(" (did you mean `{nearest}`?)")).unwrap_or_default();
                usage!("`{word}` is not a kind; allowed: token, bot, lock, node{hint}")
            }
        })
    }
}

/// `KIND` or `KIND/NAME`.
pub(crate) fn parse(resource: &str) -> Result<(Kind, Option<&str>)> {
    match resource.split_once('/') {
        Some((kind, "")) => usage!("`{resource}` names no resource; write {kind}/NAME, or {kind} for all"),
        Some((kind, name)) => Ok((Kind::parse(kind)?, Some(name))),
        None => Ok((Kind::parse(resource)?, None)),
    }
}

pub(crate) async fn run(context: Context, options: GetOptions) -> Result<()> {
    let (kind, name) = parse(&options.resource)?;
    if let Some(name) = &options.name {
        usage!("write {}/{name}: one word names a resource", options.resource)
    }
    let mut client = context.client();
    let query = if options.with_secrets && kind == Kind::Token { "?secrets=true" } else { "" };
    let value = match (kind, name) {
        (Kind::Node, Some(name)) => {
            let nodes: Vec<Value> = client.list(Kind::Node.path()).await?;
            let fits =
                |node: &Value| node["token"] == name || node["host_id"] == name || node["hostname"] == name;
            match nodes.iter().find(|node| fits(node)) {
                Some(node) => node.clone(),
                None => {
                    let known = nodes.iter().flat_map(|node| [&node["token"], &node["hostname"]]);
                    let nearest = boundkey_document::nearest(name, known.filter_map(Value::as_str));
                    let hint = nearest.map(|nearest| format!(" (did you mean node/{nearest}?)"));
                    bail!(
                        "node/{name} does not exist{}; a node is named by its token, host id or hostname",
                        hint.unwrap_or_default()
                    )
                }
            }
        }
        (kind, Some(name)) => client.get(&format!("{}/{}{query}", kind.path(), encode(name))).await?,
        (kind, None) => Value::Array(client.list(&format!("{}{query}", kind.path())).await?),
    };
    output::resource(value, options.format)
}
