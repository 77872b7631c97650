//! The stable codes of refusals and audit events.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// Why a join is refused. The text form is stable; the whole list is in `docs/lifecycle.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)+ }
        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$name,)+];
            /// The text form, in snake case.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
            fn as_event(self) -> &'static str {
                match self { $(Self::$name => concat!("denied_", $text),)+ }
            }
        }
    };
}

codes! {
    /// All that a client learns that proved nothing. Never the true cause: no verdict holds it.
    Denied = "denied",
    /// No such token.
    TokenNotFound = "token_not_found",
    /// `metadata.expires` has passed.
    TokenExpired = "token_expired",
    /// The token is for another join method.
    WrongMethod = "wrong_method",
    /// A role that `spec.roles` lacks, or none at all.
    RoleNotAllowed = "role_not_allowed",
    /// A name that the token does not allow in a certificate.
    NameNotAllowed = "name_not_allowed",
    /// The bot that the token names does not exist, or has expired.
    BotNotFound = "bot_not_found",
    /// No proven key is the bound one (or the initial one).
    WrongKey = "wrong_key",
    /// The registration secret is wrong.
    WrongSecret = "wrong_secret",
    /// The registration secret is right and was used.
    SecretUsed = "secret_used",
    /// The token is not bound and no secret was presented.
    SecretRequired = "secret_required",
    /// `must_register_before` has passed.
    RegistrationExpired = "registration_expired",
    /// A lock stands on the token, host, bot instance or bot.
    Locked = "locked",
    /// Two holders of one lineage, or a reverted snapshot.
    CloneDetected = "clone_detected",
    /// The join state is missing.
    JoinStateRequired = "join_state_required",
    /// The join state cannot be read, or does not fit the keys proven.
    JoinStateInvalid = "join_state_invalid",
    /// The join state is of an earlier token of that name, or of an earlier generation.
    TokenRecreated = "token_recreated",
    /// The token was shared by several clients, and another of them now holds it.
    SharedToken = "shared_token",
    /// All recoveries are used.
    RecoveryLimitReached = "recovery_limit_reached",
    /// This client of a shared token was revoked.
    InstanceRevoked = "instance_revoked",
    /// The key offered as new is the present one, or one that a reset voided.
    NewKeyNotNew = "new_key_not_new",
}

/// The audit event of a verdict or verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventCode {
    /// A key became bound.
    Registered,
    /// A join within the renewal window.
    Renewed,
    /// A join after it, or by a resync grant.
    Recovered,
    /// A join of one of the many clients of a shared token.
    InstanceJoined,
    /// A refusal: `denied_` and its code.
    Denied(Code),
    /// A refusal that locks the token.
    CloneDetected,
    /// Raised by the service: several requests in a row that looked like a clone's, none of them live.
    CloneSuspected,
    /// The right registration secret of a token that is bound, by somebody without its key.
    SecretReplayed,
    /// Verb `grant-recovery`.
    RecoveryGranted,
    /// Verb `rotate`.
    RotationRequested,
    /// Verb `resync`.
    ResyncGranted,
    /// Verb `revoke`.
    CertificatesRevoked,
    /// Verb `reset`.
    TokenReset,
}

impl EventCode {
    /// Every code of an event.
    pub fn all() -> impl Iterator<Item = Self> {
        let verdicts = [
            Self::Registered,
            Self::Renewed,
            Self::Recovered,
            Self::InstanceJoined,
            Self::CloneDetected,
            Self::CloneSuspected,
            Self::SecretReplayed,
        ];
        let verbs = [
            Self::RecoveryGranted,
            Self::RotationRequested,
            Self::ResyncGranted,
            Self::CertificatesRevoked,
            Self::TokenReset,
        ];
        // `denied` is what clients are told; no verdict holds it.
        let denials = Code::ALL.iter().filter(|code| **code != Code::Denied).map(|code| Self::Denied(*code));
        verdicts.into_iter().chain(verbs).chain(denials)
    }

    /// The text form, in snake case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Renewed => "renewed",
            Self::Recovered => "recovered",
            Self::InstanceJoined => "instance_joined",
            Self::Denied(code) => code.as_event(),
            Self::CloneDetected => "clone_detected",
            Self::CloneSuspected => "clone_suspected",
            Self::SecretReplayed => "secret_replayed",
            Self::RecoveryGranted => "recovery_granted",
            Self::RotationRequested => "rotation_requested",
            Self::ResyncGranted => "resync_granted",
            Self::CertificatesRevoked => "certificates_revoked",
            Self::TokenReset => "token_reset",
        }
    }
}

macro_rules! display_as_str {
    ($($t:ty),+) => {$(
        impl std::fmt::Display for $t {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )+};
}
display_as_str!(Code, EventCode);
