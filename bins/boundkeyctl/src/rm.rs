//! `rm KIND/NAME...`

use anyhow::Result;
use boundkey_client::admin::encode;
use boundkey_console::print;
use serde_json::Value;

use crate::arguments::{Context, RmOptions};
use crate::failure::usage;
use crate::get::{Kind, parse};

pub(crate) async fn run(context: Context, options: RmOptions) -> Result<()> {
    // All words are checked before anything is removed.
    let mut targets = Vec::with_capacity(options.resources.len());
    for resource in &options.resources {
        match parse(resource)? {
            (Kind::Node, _) => usage!("a node is the machine behind a token; remove or lock its token"),
            (_, None) => {
                usage!("`{resource}` names a whole kind; name one resource, such as {resource}/NAME")
            }
            (kind, Some(name)) => targets.push((kind, name)),
        }
    }
    let mut client = context.client();
    for (kind, name) in targets {
        let query = match (kind, options.revoke, options.yes) {
            (Kind::Token, true, _) => "?revoke=true",
            (Kind::Token, false, true) => "?confirm=true",
            _ => "",
        };
        let answer: Value = client.delete(&format!("{}/{}{query}", kind.path(), encode(name))).await?;
        print(&format!("{} removed\n", answer["removed"].as_str().unwrap_or(name)))?;
    }
    Ok(())
}
