//! Refusals that had no commit of their own: each is in a row of the audit log in the end, unless its server died.

use std::collections::BTreeMap;

use boundkey_store::Write;

use super::commit::Batch;
use super::{Judge, Outcome, Verdict};

/// What one server has refused since it was started.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Refused without a commit, and not told of yet: of each token.
    untold: BTreeMap<String, u64>,
    /// Of all tokens.
    all: u64,
    /// Rows were written that the server takes for not written: it writes them again.
    twice: bool,
}

impl Judge {
    /// A server starts: it has counted nothing yet.
    pub(in crate::sim) fn server_starts(&mut self, server: usize) {
        self.counted.insert(server, Counted::default());
    }

    /// `codes`: of the events that a refusal committed.
    pub(in crate::sim) fn refused_by(
        &mut self,
        server: usize,
        token: &str,
        codes: &[String],
        outcome: &Outcome<'_>,
    ) {
        if matches!(outcome, Outcome::Refused(403, _)) && codes.is_empty() {
            let counted = self.counted.entry(server).or_default();
            *counted.untold.entry(token.to_owned()).or_default() += 1;
            counted.all += 1;
        }
    }

    /// Rows of counted refusals.
    pub(in crate::sim) fn counted_rows(&mut self, server: usize, writes: &[Write]) -> Verdict {
        let counted = self.counted.entry(server).or_default();
        // No refusal: a question that was asked too often.
        let events = Batch::read(writes)?.events;
        for event in events.iter().filter(|event| event.code != "clone_suspected") {
            let token = event.token.as_deref().unwrap_or("nobody");
            let of_token = event.token.as_ref().map(|token| counted.untold.entry(token.clone()).or_default());
            let known = of_token.as_ref().map_or(counted.all, |untold| **untold);
            if event.count == 0 || (event.count > known.min(counted.all) && !counted.twice) {
                return Err(format!(
                    "{token}: {} refusals were counted, and there were {known}",
                    event.count
                ));
            }
            if let Some(untold) = of_token {
                *untold = untold.saturating_sub(event.count);
            }
            counted.all = counted.all.saturating_sub(event.count);
        }
        Ok(())
    }

    /// The server was told that its rows are not written, and they may be.
    pub(in crate::sim) fn counted_rows_failed(&mut self, server: usize) {
        self.counted.entry(server).or_default().twice = true;
    }

    /// Everything was written.
    pub(in crate::sim) fn all_is_told(&self) -> Verdict {
        match self.counted.iter().find(|(_, counted)| counted.all > 0) {
            Some((server, counted)) => {
                Err(format!("server {server} refused and never told of it: {:?}", counted.untold))
            }
            None => Ok(()),
        }
    }
}
