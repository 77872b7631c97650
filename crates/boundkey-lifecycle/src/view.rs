//! What people are shown: the derived state of a token, and what its next join would come to.
//!
//! Both ask the same questions as `decide()`, through the same functions, and change nothing.

mod next_step;
mod running_out;

use std::time::Duration;

use boundkey_token::{Bot, RecoveryMode, Token};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::decide::{certified_until, in_force, is_renewal, renewable_until, rotation_due, usable};
use crate::{Enrolment, LockOrigin, Locks, OnboardingInForce, Policy};

pub use next_step::NextStep;

/// The derived state that `tokens ls` shows. Where several apply, the one that is first in this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LifecycleState {
    /// `metadata.expires` has passed: nothing joins.
    Expired,
    /// The token's bot does not exist or has expired: nothing joins until it does.
    BotMissing,
    /// A lock stands on the token, its host or bot instance, or its bot: nothing joins until it is removed.
    Locked,
    /// Not bound, and `must_register_before` has passed.
    RegistrationExpired,
    /// Not bound yet.
    Pending,
    /// Bound, too late to renew, and no recovery is left: the machine needs `grant-recovery`.
    NoRecoveriesLeft,
    /// Used by many clients at once (mode `insecure`, or until it is left).
    Shared,
    /// Bound, but its certificates have expired or were revoked: the machine has not been back since.
    Overdue,
    /// Bound, and the next join has to bring a new key.
    RotationDue,
    /// Bound, and nothing else to say.
    Bound,
}

impl LifecycleState {
    /// Every state.
    pub const ALL: &'static [Self] = &[
        Self::Expired,
        Self::BotMissing,
        Self::Locked,
        Self::RegistrationExpired,
        Self::Pending,
        Self::NoRecoveriesLeft,
        Self::Shared,
        Self::Overdue,
        Self::RotationDue,
        Self::Bound,
    ];

    /// The text form, in snake case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::BotMissing => "bot_missing",
            Self::Locked => "locked",
            Self::RegistrationExpired => "registration_expired",
            Self::Pending => "pending",
            Self::NoRecoveriesLeft => "no_recoveries_left",
            Self::Shared => "shared",
            Self::Overdue => "overdue",
            Self::RotationDue => "rotation_due",
            Self::Bound => "bound",
        }
    }

    /// Would the next join of the right machine be admitted?
    #[must_use]
    pub fn admits(self) -> bool {
        match self {
            Self::Expired
            | Self::BotMissing
            | Self::Locked
            | Self::RegistrationExpired
            | Self::NoRecoveriesLeft => false,
            Self::Pending | Self::Shared | Self::Overdue | Self::RotationDue | Self::Bound => true,
        }
    }
}

impl std::fmt::Display for LifecycleState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What would happen at the next join of the honest client, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The derived state.
    pub state: LifecycleState,
    /// One sentence: what the next join of the right machine would come to.
    pub next_join: String,
    /// The facts that lead there, in the order of the rules.
    pub reasons: Vec<String>,
    /// What runs out, has no effect, or weakens the token; with the remedy.
    pub warnings: Vec<String>,
    /// What is to be done, in every state; also that nothing is.
    pub next_step: NextStep,
}

/// The clients of a shared token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clients {
    /// On record; those that have expired count until their records are dropped.
    pub on_record: u64,
    /// So many may be; a new one over it is told to come later.
    pub limit: u64,
}

impl Clients {
    /// Nine tenths of what there may be, or more.
    fn is_nearly_full(self) -> bool {
        self.on_record >= self.limit - self.limit / 10
    }
}

/// A token and what its next join depends on, as it is shown to people: the questions of `decide()`, for the honest
/// client, which comes with its key and its present join state.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The token.
    pub token: &'a Token,
    /// The bot that the token names, if it exists.
    pub bot: Option<&'a Bot>,
    /// `Enrolment::default()` if there is none.
    pub enrolment: &'a Enrolment,
    /// Every lock on the token, the enrolment's host or bot instance, and the bot.
    pub locks: Locks<'a>,
    /// Of a shared token, as far as they are counted.
    pub clients: Option<Clients>,
    /// The operator's settings.
    pub policy: &'a Policy,
    /// The server's clock, read once for the request.
    pub now: OffsetDateTime,
}

fn text(t: OffsetDateTime) -> String {
    t.format(&Rfc3339).unwrap_or_else(|_| t.to_string())
}

impl View<'_> {
    /// What would happen at the next join, and why.
    pub fn explain(&self) -> Explanation {
        let state = self.state();
        Explanation {
            state,
            next_join: self.next_join(),
            reasons: self.reasons(),
            warnings: self.warnings(),
            next_step: self.next_step(),
        }
    }

    /// The derived state.
    pub fn state(&self) -> LifecycleState {
        let e = self.enrolment;
        if self.token.expires.is_some_and(|end| end <= self.now) {
            LifecycleState::Expired
        } else if self.missing_bot().is_some() {
            LifecycleState::BotMissing
        } else if in_force(self.locks, self.now).next().is_some() {
            LifecycleState::Locked
        } else if !e.is_bound() {
            if self.registration_ended().is_some() {
                LifecycleState::RegistrationExpired
            } else {
                LifecycleState::Pending
            }
        } else if e.shared {
            LifecycleState::Shared
        } else if !self.renews() && !self.recovery_left() && !self.comes_by_grant() {
            LifecycleState::NoRecoveriesLeft
        } else if e.certificates_revoked || e.certificates_expire_at.is_none_or(|end| end <= self.now) {
            LifecycleState::Overdue
        } else if self.rotation_asked().is_some() {
            LifecycleState::RotationDue
        } else {
            LifecycleState::Bound
        }
    }

    fn grace(&self) -> Duration {
        self.policy.grace(self.token.spec.roles.is_bot())
    }

    /// The name of the token's bot, if it is not there.
    fn missing_bot(&self) -> Option<&str> {
        let name = self.token.spec.bot_name.as_ref()?;
        usable(self.bot, self.now).is_none().then_some(name.as_str())
    }

    fn mode(&self) -> RecoveryMode {
        self.token.spec.bound_keypair.recovery.mode
    }

    fn is_insecure(&self) -> bool {
        self.mode() == RecoveryMode::Insecure
    }

    fn is_full(&self) -> bool {
        self.clients.is_some_and(|clients| clients.on_record >= clients.limit)
    }

    /// The deadline that has passed; none applies to a preregistered key.
    fn registration_ended(&self) -> Option<OffsetDateTime> {
        let deadline = self.token.spec.bound_keypair.onboarding.must_register_before?;
        let by_secret = self.enrolment.onboarding(self.token) == OnboardingInForce::Secret;
        (by_secret && deadline <= self.now).then_some(deadline)
    }

    fn renews(&self) -> bool {
        let e = self.enrolment;
        !e.certificates_revoked && is_renewal(self.certified_until(), self.grace(), self.now)
    }

    fn certified_until(&self) -> Option<OffsetDateTime> {
        certified_until(self.enrolment, self.grace(), self.now)
    }

    /// Until when a join renews, if the certificates were not revoked.
    fn window(&self) -> Option<OffsetDateTime> {
        self.certified_until().map(|end| renewable_until(end, self.grace()))
    }

    fn recovery_left(&self) -> bool {
        self.mode() != RecoveryMode::Standard
            || self.enrolment.recovery_count < self.enrolment.limit_in_force(self.token)
    }

    /// An open resync grant stands in for a recovery of the one machine behind the token.
    fn comes_by_grant(&self) -> bool {
        let open = self.enrolment.resync_until.is_some_and(|end| end > self.now);
        open && !self.is_insecure() && !self.enrolment.shared && !self.renews()
    }

    /// `insecure` asks for no rotation.
    fn rotation_asked(&self) -> Option<OffsetDateTime> {
        rotation_due(self.token, self.enrolment, self.now).filter(|_| !self.is_insecure())
    }

    /// One sentence: what the next join of the right machine would come to.
    pub fn next_join(&self) -> String {
        let state = self.state();
        let with_rotation =
            if self.rotation_asked().is_some() { ", with a new key (the agent makes it)" } else { "" };
        match state {
            LifecycleState::Expired => "refused: the token has expired".to_owned(),
            LifecycleState::BotMissing => "refused: the token's bot is not there".to_owned(),
            LifecycleState::Locked => "refused: a lock stands".to_owned(),
            LifecycleState::RegistrationExpired => "refused: the time for registering has passed".to_owned(),
            LifecycleState::NoRecoveriesLeft => {
                "refused: it would be a recovery, and none is left".to_owned()
            }
            LifecycleState::Pending => match self.enrolment.onboarding(self.token) {
                OnboardingInForce::InitialKey(_) => {
                    format!("registers the holder of the initial public key{with_rotation}")
                }
                _ => "registers whoever proves the registration secret first".to_owned(),
            },
            LifecycleState::Shared if self.is_insecure() && self.is_full() => {
                "admits any client that is on record; a new one has to wait, for there are as many as there may be"
                    .to_owned()
            }
            LifecycleState::Shared if self.is_insecure() => {
                "admits any holder of the key as one of many clients".to_owned()
            }
            LifecycleState::Shared => {
                "the first of the clients that shared the token keeps it; the others are refused".to_owned()
            }
            LifecycleState::Overdue | LifecycleState::RotationDue | LifecycleState::Bound => {
                let what = if self.is_insecure() {
                    "makes the token a shared one: any holder of the key is admitted"
                } else if self.renews() {
                    "renews; no recovery is used"
                } else if self.comes_by_grant() {
                    "recovers by the resync grant; no recovery is used"
                } else {
                    "recovers; one recovery is used"
                };
                format!("{what}{with_rotation}")
            }
        }
    }

    fn reasons(&self) -> Vec<String> {
        let (token, e) = (self.token, self.enrolment);
        let mut out = Vec::new();
        if let Some(end) = token.expires.filter(|end| *end <= self.now) {
            out.push(format!("metadata.expires {} has passed", text(end)));
        }
        if let Some(bot) = self.missing_bot() {
            let found = match self.bot.and_then(|bot| bot.expires) {
                Some(end) => format!("expired at {}", text(end)),
                None => "does not exist".to_owned(),
            };
            out.push(format!(
                "bot `{bot}` {found}: `boundkeyctl edit bot/{bot}` or `boundkeyctl bots add {bot}`"
            ));
        }
        for lock in in_force(self.locks, self.now) {
            let origin = match &lock.origin {
                LockOrigin::ByHand => "set by hand".to_owned(),
                LockOrigin::Automatic(at) => format!("set by itself at sequence {}", at.sequence),
            };
            let reason = lock.message.as_ref().map(|m| format!(": {m}")).unwrap_or_default();
            let name = &token.name;
            let remedy = match &lock.origin {
                LockOrigin::ByHand => format!("`boundkeyctl rm lock/{}` lifts it", lock.id),
                LockOrigin::Automatic(_) => format!(
                    "`boundkeyctl bound-keypair resync {name}` takes the honest machine back; after a theft use `reset`"
                ),
            };
            out.push(format!("lock `{}` stands, {origin}{reason}; {remedy}", lock.id));
        }
        if !e.is_bound() {
            out.push("no key is bound yet".to_owned());
            if let Some(deadline) = token.spec.bound_keypair.onboarding.must_register_before {
                match e.onboarding(token) {
                    OnboardingInForce::InitialKey(_) => {
                        out.push("must_register_before does not apply to an initial public key".to_owned());
                    }
                    _ => out.push(format!("must_register_before is {}", text(deadline))),
                }
            }
        } else {
            out.push(format!("bound, generation {}, sequence {}", e.generation, e.sequence));
            out.push(self.certificates());
            out.push(self.recoveries());
            if let Some(Clients { on_record, limit }) = self.clients {
                out.push(format!(
                    "{on_record} of {limit} clients are on record, with those that expired lately"
                ));
            }
        }
        if let Some(since) = rotation_due(token, e, self.now) {
            let asked = if self.is_insecure() { ", and is not asked for in mode insecure" } else { "" };
            out.push(format!("a rotation is due since {}{asked}", text(since)));
        }
        if let Some(end) = e.resync_until.filter(|end| *end > self.now) {
            out.push(format!(
                "a resync grant is open until {}: the holder of the bound key needs no join state",
                text(end)
            ));
        }
        out
    }

    fn certificates(&self) -> String {
        let e = self.enrolment;
        let (Some(end), Some(window)) = (self.certified_until(), self.window()) else {
            return "no certificates are on record".to_owned();
        };
        if e.certificates_revoked {
            return "the certificates were revoked: the next join is a recovery".to_owned();
        }
        let tense = if end <= self.now { "expired" } else { "expire" };
        if self.renews() {
            format!("the certificates {tense} at {}; until {} a join renews", text(end), text(window))
        } else {
            format!("the certificates expired at {}; since {} a join is a recovery", text(end), text(window))
        }
    }

    fn recoveries(&self) -> String {
        let e = self.enrolment;
        let limit = e.limit_in_force(self.token);
        match self.mode() {
            RecoveryMode::Standard => {
                let granted = if e.granted_limit > self.token.spec.bound_keypair.recovery.limit {
                    " (by grant)"
                } else {
                    ""
                };
                format!("{} of {limit}{granted} recoveries are used, registration included", e.recovery_count)
            }
            RecoveryMode::Relaxed => {
                format!("{} recoveries were made; mode relaxed sets no limit", e.recovery_count)
            }
            RecoveryMode::Insecure => "mode insecure asks for the key alone".to_owned(),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let (token, e) = (self.token, self.enrolment);
        let name = &token.name;
        let mut out = Vec::new();
        if let Some(end) = token.expires.filter(|end| *end > self.now) {
            out.push(format!("after metadata.expires, {}, renewals are refused too", text(end)));
        }
        if self.is_insecure() {
            out.push(
                "mode insecure: whoever copies the key is admitted, and no copy is ever detected".to_owned(),
            );
        } else if e.shared {
            out.push(
                "mode insecure was left while several clients shared the token: only the first to come back stays"
                    .to_owned(),
            );
        }
        if self.clients.is_some_and(Clients::is_nearly_full) {
            out.push(format!(
                "there are nearly as many clients as there may be: did the key leak? `boundkeyctl bound-keypair reset {name}` \
                 throws them all out; limits.clients_per_token of the server allows more"
            ));
        }
        let initial = token.spec.bound_keypair.onboarding.initial_public_key.as_ref();
        if let (Some(initial), Some(bound)) = (initial, &e.bound_public_key)
            && initial != bound
            && e.last_rotated_at.is_none()
        {
            out.push(format!(
                "onboarding.initial_public_key has no effect: another key is bound; to unbind it use `boundkeyctl bound-keypair reset {name}`"
            ));
        }
        if !e.is_bound() && initial.is_some_and(|key| e.secret.void_keys.contains(&key.thumbprint())) {
            out.push(
                "onboarding.initial_public_key was made void by a reset: set another one, or use the generated secret"
                    .to_owned(),
            );
        }
        if !e.is_bound() && e.secret.spec_void {
            out.push(format!(
                "a reset made a new registration secret, and one of the spec is void: `boundkeyctl get token/{name} --with-secrets` shows the one in force"
            ));
        }
        if e.is_bound() && !e.shared && self.renews() && !self.recovery_left() {
            let until = self.window().map(text);
            out.push(format!(
                "no recovery is left: a machine away until after {} needs `boundkeyctl bound-keypair grant-recovery {name}`",
                until.unwrap_or_default()
            ));
        }
        if self.is_insecure() && rotation_due(token, e, self.now).is_some() {
            out.push(
                "the rotation that is due cannot be made while the token is shared: change the key by hand"
                    .to_owned(),
            );
        }
        out
    }
}
