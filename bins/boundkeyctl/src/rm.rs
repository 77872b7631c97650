//! `rm KIND/NAME...`, `bots rm NAME`

use anyhow::Result;
use boundkey_api::Removed;
use boundkey_client::admin::{AdminClient, AdminError, encode};
use boundkey_console::{ask, print};

use crate::arguments::{Context, RmOptions};
use crate::confirm::{NOBODY, beforehand, confirmed, halfway, question};
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
    remove(&mut context.client(), &targets, options.revoke, options.yes.yes).await
}

/// Removes resources; one question for all of them, before the first is removed.
pub(crate) async fn remove(
    client: &mut AdminClient,
    targets: &[(Kind, &str)],
    revoke: bool,
    yes: bool,
) -> Result<()> {
    let path = |kind: Kind, name: &str, confirm: &str| {
        let revoke = if revoke && kind == Kind::Token { "&revoke=true" } else { "" };
        format!("{}/{}?confirm={confirm}{revoke}", kind.path(), encode(name))
    };
    let mut confirms = vec![beforehand(yes); targets.len()];
    if !yes {
        let mut told = Vec::new();
        for ((kind, name), confirm) in targets.iter().zip(&mut confirms) {
            let dry = format!("{}&dry_run=true", path(*kind, name, NOBODY));
            match client.delete::<Removed>(&dry).await {
                Err(AdminError::Refused(problem)) => {
                    let (text, tag) = question(problem)?;
                    told.push(text);
                    *confirm = tag;
                }
                looked => drop(looked?),
            }
        }
        if !told.is_empty() {
            ask(&told.join("\n"))?;
        }
    }
    for (done, ((kind, name), confirm)) in targets.iter().zip(confirms).enumerate() {
        let send = async |confirm: &str| client.delete::<Removed>(&path(*kind, name, confirm)).await;
        let removed = confirmed(confirm, send).await.map_err(|error| match done {
            0 => error,
            _ => halfway(
                error,
                &format!(
                    "{done} of {} resources were removed, as printed; {name} and those after it were not; name only these \
                     to go on (to a question, `--yes` is the answer)",
                    targets.len()
                ),
            ),
        })?;
        print(&format!("{}\n", removed.message))?;
    }
    Ok(())
}
