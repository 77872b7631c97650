//! What cuts machines off is confirmed: the server says whom it hits, and the answer stands for exactly that.

use anyhow::{Result, bail};
use boundkey_client::admin::AdminError;
use boundkey_console::ask;

/// Nobody may be hit.
pub(crate) const NOBODY: &str = "false";
/// Whomever it hits.
const ANYBODY: &str = "true";
/// Questions in a row, each because somebody else was hit than the one before said.
const QUESTIONS: usize = 5;

/// How a request begins that `--yes` may have confirmed.
pub(crate) fn beforehand(yes: bool) -> String {
    if yes { ANYBODY } else { NOBODY }.to_owned()
}

/// Sends a request with `confirm=`, and asks where the server wants it confirmed.
pub(crate) async fn confirmed<T>(
    mut confirm: String,
    mut send: impl AsyncFnMut(&str) -> Result<T, AdminError>,
) -> Result<T> {
    for _ in 0..QUESTIONS {
        match send(&confirm).await {
            Err(AdminError::Refused(problem)) if problem.confirmation.is_some() => {
                ask(&problem.detail)?;
                confirm = problem.confirmation.map_or(confirm, |confirmation| confirmation.tag);
            }
            other => return Ok(other?),
        }
    }
    bail!("whom this hits changes again and again; nothing was changed")
}
