//! What cuts machines off is confirmed: the server says whom it hits, and the answer stands for exactly that.

use anyhow::{Error, Result, anyhow, bail};
use boundkey_client::admin::AdminError;
use boundkey_console::{Unconfirmed, ask};
use boundkey_proto::{Affected, Confirmation, Problem};

/// Nobody may be hit.
pub(crate) const NOBODY: &str = "false";
/// Whomever it hits.
const ANYBODY: &str = "true";
/// Questions in a row, each because somebody else was hit than the one before said.
const QUESTIONS: usize = 5;

/// Tokens shown, however many the server names.
const SHOWN: usize = 20;

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
            Err(AdminError::Refused(problem)) => {
                let (told, tag) = question(problem)?;
                ask(&told)?;
                confirm = tag;
            }
            other => return Ok(other?),
        }
    }
    bail!("whom this hits changes again and again; it was not done")
}

/// The error of a request after which others were carried out already: `done` says which, and how to go on.
pub(crate) fn halfway(error: Error, done: &str) -> Error {
    match error.downcast_ref::<Unconfirmed>() {
        Some(Unconfirmed::NobodyToAsk { told, .. }) => anyhow!("{told}\n{done}"),
        Some(Unconfirmed::Declined) => anyhow!("{done}"),
        None => error.context(done.to_owned()),
    }
}

/// What is asked, and the tag that stands for yes. Any other problem is an error.
pub(crate) fn question(problem: Box<Problem>) -> Result<(String, String), AdminError> {
    match &problem.confirmation {
        Some(confirmation) => Ok((told(&problem.detail, confirmation), confirmation.tag.clone())),
        None => Err(AdminError::Refused(problem)),
    }
}

/// Of one token the sentence says all; of several, each has a line.
fn told(detail: &str, confirmation: &Confirmation) -> String {
    let affected = &confirmation.affected;
    if affected.len() < 2 {
        return detail.to_owned();
    }
    let shown = &affected[..affected.len().min(SHOWN)];
    let mut text = format!("{detail}:");
    for affected in shown {
        text.push_str(&format!("\n  {affected}: {}", affected.consequence));
    }
    let named = shown.iter().fold(0, |sum: u64, affected| sum.saturating_add(affected.machines));
    match confirmation.machines.saturating_sub(named) {
        0 => {}
        1 => text.push_str("\n  and 1 more machine"),
        more if more > Affected::COUNTED => text.push_str(&format!("\n  and at least {more} more machines")),
        more => text.push_str(&format!("\n  and {more} more machines")),
    }
    text
}
