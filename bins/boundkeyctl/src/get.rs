//! `get KIND[/NAME]`

use anyhow::{Result, bail};
use boundkey_api::{Node, Page};
use boundkey_client::admin::{AdminClient, encode};
use serde_json::Value;

use crate::arguments::{Context, GetOptions};
use crate::failure::usage;
use crate::listing::Listing;
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
        (Kind::Node, Some(name)) => node(&mut client, name).await?,
        (kind, Some(name)) => client.get(&format!("{}/{}{query}", kind.path(), encode(name))).await?,
        (kind, None) => {
            let path = format!("{}{query}", kind.path());
            return Listing::<Value>::of_resources(options.format).run(&mut client, &path, |_| None).await;
        }
    };
    output::resource(value, options.format)
}

/// The first node that has the name in one of its three places.
async fn node(client: &mut AdminClient, name: &str) -> Result<Value> {
    let mut known = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page: Page<Node> = client.page(Kind::Node.path(), after.as_deref()).await?;
        for node in page.items {
            if node.token == name || node.host_id == name || node.hostname == name {
                return Ok(serde_json::to_value(node)?);
            }
            known.extend([node.token, node.hostname]);
        }
        // Of many names the nearest one is a guess in any case.
        known.truncate(NAMES_KEPT);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let nearest = boundkey_document::nearest(name, known.iter().map(String::as_str));
    let hint = nearest.map(|nearest| format!(" (did you mean node/{nearest}?)"));
    bail!(
        "node/{name} does not exist{}; a node is named by its token, host id or hostname",
        hint.unwrap_or_default()
    )
}

/// Names that are kept for the nearest one.
const NAMES_KEPT: usize = 20_000;
