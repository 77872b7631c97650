//! What runs out: expiry, the time for registering, recoveries, places for clients, rotation, the time in which a join renews, grants, locks.

use boundkey_token::RecoveryMode;
use time::{Duration, OffsetDateTime};

use super::{LifecycleState, View};
use crate::OnboardingInForce;
use crate::decide::{in_force, rotation_due};

/// What ends later is no news yet.
const SOON: Duration = Duration::days(14);

impl View<'_> {
    /// What runs out soon, or has: a few words each, for a row of `tokens ls`. [`View::explain`] says more.
    pub fn running_out(&self) -> Vec<String> {
        let (e, state) = (self.enrolment, self.state());
        let mut out = Vec::new();
        if state == LifecycleState::Expired {
            return out;
        }
        out.extend(self.soon(self.token.expires).map(|left| format!("expires in {left}")));
        for lock in in_force(self.locks, self.now) {
            out.extend(self.soon(lock.expires).map(|left| format!("lock ends in {left}")));
        }
        if !e.is_bound() {
            let deadline = self.token.spec.bound_keypair.onboarding.must_register_before;
            if e.onboarding(self.token) == OnboardingInForce::Secret {
                out.extend(self.soon(deadline).map(|left| format!("register within {left}")));
            }
            return out;
        }
        if self.mode() == RecoveryMode::Standard && !self.recovery_left() {
            let overdue = state == LifecycleState::Overdue;
            out.extend(
                self.soon(self.window().filter(|_| overdue))
                    .map(|left| format!("renews for {left}, no recovery after")),
            );
        }
        if let Some(clients) = self.clients.filter(|clients| clients.is_nearly_full()) {
            out.push(format!("{} of {} clients", clients.on_record, clients.limit));
        }
        out.extend(self.rotation());
        out.extend(self.soon(e.resync_until).map(|left| format!("resync open for {left}")));
        out
    }

    fn rotation(&self) -> Option<String> {
        let e = self.enrolment;
        if rotation_due(self.token, e, self.now).is_some() {
            return Some(if self.is_insecure() { "rotation overdue" } else { "rotation due" }.to_owned());
        }
        let of_spec = self.token.spec.bound_keypair.rotate_after;
        let next = [of_spec, e.rotate_requested_at].into_iter().flatten().filter(|at| *at > self.now).min();
        self.soon(next).map(|left| format!("rotation in {left}"))
    }

    /// The time left, if it is short: rounded down, in one unit.
    fn soon(&self, end: Option<OffsetDateTime>) -> Option<String> {
        let left = end? - self.now;
        if left <= Duration::ZERO || left > SOON {
            return None;
        }
        Some(if left >= Duration::days(2) {
            format!("{} d", left.whole_days())
        } else if left >= Duration::hours(2) {
            format!("{} h", left.whole_hours())
        } else if left >= Duration::minutes(2) {
            format!("{} min", left.whole_minutes())
        } else {
            format!("{} s", left.whole_seconds())
        })
    }
}
