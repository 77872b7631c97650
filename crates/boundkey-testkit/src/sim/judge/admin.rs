//! What an administrator's commit may change, and what it opens anew.

use boundkey_store::Write;
use boundkey_store::records::TokenRecord;
use boundkey_token::RecoveryMode;
use time::OffsetDateTime;

use super::commit::Batch;
use super::{Judge, Verdict, View};

fn is_shared(record: &TokenRecord) -> bool {
    record.token.spec.bound_keypair.recovery.mode == RecoveryMode::Insecure
}

impl Judge {
    /// An administrator's commit.
    pub(in crate::sim) fn admin_committed(
        &mut self,
        writes: &[Write],
        verb: &str,
        now: OffsetDateTime,
    ) -> Verdict {
        let batch = Batch::read(writes)?;
        self.commits += 1;
        self.clients_committed(writes, now)?;
        for (name, record) in batch.tokens {
            let view = self.views.tokens.entry(name.clone()).or_default();
            let was_shared = view.token.as_ref().map(is_shared);
            if was_shared.is_some_and(|was| was != is_shared(&record)) {
                view.advanced.clear();
                self.taints.entry(name.clone()).or_default().first_use = None;
            }
            view.uid = record.uid.0;
            view.token = Some(record);
        }
        for (name, record) in batch.enrolments {
            let view = self.views.tokens.entry(name.clone()).or_default();
            if verb == "apply" && view.enrolment.is_bound() {
                return Err(format!("{name}: applying a spec changed the enrolment of a bound token"));
            }
            if record.enrolment.sequence != view.enrolment.sequence && verb != "reset" {
                return Err(format!("{name}: `{verb}` moved the lineage"));
            }
            if view.enrolment.shared && matches!(verb, "revoke" | "reset") {
                self.revoked_with(record.uid, verb)?;
            }
            let view = self.views.tokens.entry(name.clone()).or_default();
            match verb {
                "resync" => {
                    view.granted = record.enrolment.resync_until.is_some();
                    view.advanced.clear();
                }
                "reset" => {
                    view.granted = false;
                    view.adopted = None;
                    view.advanced.clear();
                    view.dead.clear();
                    // Until the administrator has read the answer.
                    view.secret = None;
                    let taint = self.taints.entry(name.clone()).or_default();
                    (taint.reset, taint.first_use) = (true, None);
                }
                _ => {}
            }
            view.enrolment = record.enrolment;
        }
        for (name, index) in batch.locks {
            let view = self.views.tokens.entry(name).or_default();
            view.locks = index.map(|index| index.locks).unwrap_or_default();
        }
        for (target, index) in batch.other_locks {
            self.views.locks.insert(target, index.map(|index| index.locks).unwrap_or_default());
        }
        for name in batch.removed {
            // Locks by hand outlive the token that they are on.
            let locks = self.views.tokens.get(&name).map(|view| view.locks.clone()).unwrap_or_default();
            self.views.tokens.insert(name.clone(), View { locks, ..View::default() });
            let taint = self.taints.entry(name).or_default();
            (taint.reset, taint.first_use) = (true, None);
        }
        Ok(())
    }
}
