/// Why a join is refused. Text form in snake case, stable; the whole list is in docs/protocol.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    Denied,
    TokenNotFound,
    TokenExpired,
    WrongMethod,
    RoleNotAllowed,
    NameNotAllowed,
    BotNotFound,
    WrongKey,
    WrongSecret,
    SecretUsed,
    SecretRequired,
    RegistrationExpired,
    Locked,
    CloneDetected,
    JoinStateRequired,
    JoinStateInvalid,
    TokenRecreated,
    SharedToken,
    RecoveryLimitReached,
    InstanceRevoked,
    NewKeyNotNew,
}
impl Code {
    pub fn as_str(self) -> &'static str {
        todo!()
    }
}

/// The audit event of a verdict or verb; text form in snake case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventCode {
    Registered,
    Renewed,
    Recovered,
    Denied(Code),
    CloneDetected,
    SecretReplayed,
}
impl EventCode {
    pub fn as_str(self) -> &'static str {
        todo!()
    }
}
