//! The certificates that were issued and that nobody revoked, as the judge keeps them: by the instants of their joins.

use std::collections::{BTreeMap, BTreeSet};

use crate::log::{Entry, Log};
use crate::store::{KEPT, LIFETIME, Setup, instant};

/// One of the many clients of a shared token, known by the attempt by which it came first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Client {
    /// Its last join.
    pub(crate) attempt: u8,
    pub(crate) at: u8,
    issued: BTreeSet<u8>,
}

/// What is on record in one history of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Papers {
    lineage: BTreeSet<u8>,
    /// Whose they are: the client that moved the lineage last.
    owner: Option<u8>,
    clients: BTreeMap<u8, Client>,
}

/// A join, as far as its certificates go.
pub(crate) struct Issue {
    pub(crate) attempt: u8,
    pub(crate) life: u8,
    pub(crate) at: u8,
    /// It moves the lineage.
    pub(crate) advances: bool,
    /// It revokes what was issued before.
    pub(crate) recovers: bool,
    /// It is the one that stays of many.
    pub(crate) adopts: bool,
}

fn end(at: u8) -> time::OffsetDateTime {
    instant(at) + LIFETIME
}

/// Does nothing that was issued then still renew?
fn is_late(setup: &Setup, last: u8, issued: &BTreeSet<u8>, clock: u8) -> bool {
    let grace = setup.policy.host_grace;
    let plausible = issued.iter().map(|at| end(*at)).filter(|end| *end <= instant(clock) + grace);
    instant(clock) >= plausible.fold(end(last), Ord::max) + grace
}

impl Papers {
    pub(crate) fn issue(&mut self, issue: &Issue) {
        let now = instant(issue.at);
        let unexpired = |at: &u8| end(*at) > now;
        if !issue.advances {
            let mut issued = self.client(issue.life).map(|client| client.issued.clone()).unwrap_or_default();
            issued.retain(unexpired);
            issued.insert(issue.at);
            self.clients.insert(issue.life, Client { attempt: issue.attempt, at: issue.at, issued });
            return;
        }
        if issue.adopts {
            // Of all that the many clients got, only what is on record as this one's stays.
            if self.owner != Some(issue.life) {
                self.lineage.clear();
            }
            self.lineage.extend(self.client(issue.life).map(|c| c.issued.clone()).unwrap_or_default());
            self.clients.retain(|life, _| *life == issue.life);
        }
        self.lineage.retain(unexpired);
        if issue.recovers {
            self.lineage.clear();
        }
        self.lineage.insert(issue.at);
        self.owner = Some(issue.life);
    }

    /// An administrator revoked all of them.
    pub(crate) fn revoke(&mut self, of_clients: bool) {
        self.lineage.clear();
        if of_clients {
            self.clients.clear();
        }
    }

    pub(crate) fn sweep(&mut self, clock: u8) {
        self.clients.retain(|_, client| instant(clock) < end(client.at) + KEPT);
    }

    pub(crate) fn client(&self, life: u8) -> Option<&Client> {
        self.clients.get(&life)
    }

    /// Is it too late to renew for the one client of the lineage, whose history this is?
    pub(crate) fn too_late(&self, setup: &Setup, log: &Log, clock: u8) -> bool {
        match log.last() {
            Some(Entry::Join { at, .. }) => is_late(setup, at, &self.lineage, clock),
            _ => true,
        }
    }

    /// For one of many? `at`: of what it holds; `revoked`: so were those of whom the record does not know.
    pub(crate) fn too_late_for(
        &self,
        setup: &Setup,
        life: u8,
        at: Option<u8>,
        revoked: bool,
        clock: u8,
    ) -> bool {
        match (self.client(life), at) {
            (Some(client), _) => is_late(setup, client.at, &client.issued, clock),
            (None, Some(at)) => revoked || is_late(setup, at, &BTreeSet::new(), clock),
            (None, None) => true,
        }
    }
}
