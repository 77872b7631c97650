//! What is said when a rule fails: the code, whether the client may know it, a sentence that tells what to do next,
//! and the audit event.

use boundkey_token::{NotAllowed, Role};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Early;
use super::case::Case;
use crate::{
    Code, Denial, Event, EventCode, InvalidState, LockInForce, LockPosition, NewLock, Note, Verdict,
};

fn deny(case: &Case<'_>, code: Code, message: String) -> Early {
    let mut notes = Vec::new();
    // A used secret in the hands of somebody without the key, whichever rule stopped him first.
    if case.secret && case.base.is_bound() && case.bound.is_none() && code != Code::SecretUsed {
        notes.push(Note::SecretReplayed);
    }
    let event = Event { code: EventCode::Denied(code), notes };
    boxed(Denial { code, proven: case.proven(), message, lock: None, event })
}

fn boxed(denial: Denial) -> Early {
    Box::new(Verdict::Deny(Box::new(denial)))
}

fn time_text(t: OffsetDateTime) -> String {
    t.format(&Rfc3339).unwrap_or_else(|_| t.to_string())
}

pub(super) fn no_token() -> Early {
    let code = Code::TokenNotFound;
    boxed(Denial {
        code,
        proven: false,
        message: "there is no token of this name; create it, or mend the name in the agent's config"
            .to_owned(),
        lock: None,
        event: Event { code: EventCode::Denied(code), notes: Vec::new() },
    })
}

/// A record that no join could have written: refused, never trusted.
pub(super) fn damaged(event: Event) -> Verdict {
    let code = Code::JoinStateInvalid;
    Verdict::Deny(Box::new(Denial {
        code,
        proven: true,
        message: "the token's stored enrolment is incomplete; an administrator can unbind it with \
                  `boundkeyctl bound-keypair reset`"
            .to_owned(),
        lock: None,
        event: Event { code: EventCode::Denied(code), notes: event.notes },
    }))
}

pub(super) fn token_expired(case: &Case<'_>) -> Early {
    let when = case.token.expires.map(time_text).unwrap_or_default();
    deny(
        case,
        Code::TokenExpired,
        format!(
            "token `{}` expired at {when}; an administrator can revive it with a later `metadata.expires`",
            case.token.name
        ),
    )
}

pub(super) fn no_role(case: &Case<'_>) -> Early {
    deny(
        case,
        Code::RoleNotAllowed,
        format!(
            "no role was asked for; `spec.roles` of token `{}` allows {}",
            case.token.name,
            allowed(case)
        ),
    )
}

pub(super) fn role(case: &Case<'_>, role: Role) -> Early {
    deny(
        case,
        Code::RoleNotAllowed,
        format!(
            "role {role} is not in `spec.roles` of token `{}`, which allows {}; add it there, or switch the service off in the agent's config",
            case.token.name,
            allowed(case)
        ),
    )
}

fn allowed(case: &Case<'_>) -> String {
    let roles: Vec<&str> = case.token.spec.roles.iter().map(Role::as_str).collect();
    roles.join(", ")
}

/// Names told in one refusal; there may be 192.
const NAMES_TOLD: usize = 16;

/// All of them at once: each further try is half an hour away.
pub(super) fn names(case: &Case<'_>, names: &[NotAllowed]) -> Early {
    let mut fields: Vec<(&str, Vec<String>)> = Vec::new();
    for (field, name) in names.iter().take(NAMES_TOLD) {
        let name = format!("`{}`", name.escape_debug());
        match fields.last_mut().filter(|(last, _)| last == field) {
            Some((_, told)) => told.push(name),
            None => fields.push((field, vec![name])),
        }
    }
    let token = &case.token.name;
    let mut told: Vec<String> = Vec::with_capacity(fields.len());
    for (field, names) in fields {
        let verb = if names.len() == 1 { "is" } else { "are" };
        told.push(format!("{} {verb} not allowed by `{field}` of token `{token}`", names.join(", ")));
    }
    match names.len().saturating_sub(NAMES_TOLD) {
        0 => {}
        more => told.push(format!("{more} more are not allowed either")),
    }
    let them = if names.len() == 1 { "it" } else { "them" };
    deny(
        case,
        Code::NameNotAllowed,
        format!(
            "{}; add {them} there, or take {them} out of `certificates` in the agent's config",
            told.join("; ")
        ),
    )
}

pub(super) fn bot_not_found(case: &Case<'_>, bot: &str) -> Early {
    deny(
        case,
        Code::BotNotFound,
        format!(
            "bot `{bot}`, which token `{}` names, does not exist or has expired; create it with `boundkeyctl bots add {bot}`",
            case.token.name
        ),
    )
}

pub(super) fn wrong_key(case: &Case<'_>) -> Early {
    let name = &case.token.name;
    deny(
        case,
        Code::WrongKey,
        format!(
            "token `{name}` is bound to another key; if this machine has lost its key, an administrator can unbind the token with `boundkeyctl bound-keypair reset {name}`"
        ),
    )
}

pub(super) fn wrong_initial_key(case: &Case<'_>) -> Early {
    deny(
        case,
        Code::WrongKey,
        format!(
            "token `{}` admits the holder of `spec.bound_keypair.onboarding.initial_public_key` only (a secret is ignored beside it), and another key was proven",
            case.token.name
        ),
    )
}

pub(super) fn rotated_away(case: &Case<'_>) -> Early {
    deny(
        case,
        Code::WrongKey,
        format!(
            "the key that was proven was rotated away; token `{}` is bound to a later one",
            case.token.name
        ),
    )
}

pub(super) fn no_key(case: &Case<'_>) -> Early {
    deny(
        case,
        Code::WrongKey,
        format!("the signature of the key that is to be bound to token `{}` does not hold", case.token.name),
    )
}

pub(super) fn wrong_secret(case: &Case<'_>) -> Early {
    let name = &case.token.name;
    deny(
        case,
        Code::WrongSecret,
        format!(
            "the registration secret is not that of token `{name}`; `boundkeyctl get token/{name} --with-secrets` shows the one in force"
        ),
    )
}

pub(super) fn secret_required(case: &Case<'_>) -> Early {
    let name = &case.token.name;
    deny(
        case,
        Code::SecretRequired,
        format!(
            "token `{name}` is not bound yet and no registration secret was presented; `boundkeyctl get token/{name} --with-secrets` shows it"
        ),
    )
}

pub(super) fn secret_used(case: &Case<'_>) -> Early {
    let name = &case.token.name;
    let code = Code::SecretUsed;
    boxed(Denial {
        code,
        proven: case.proven(),
        message: format!(
            "the registration secret of token `{name}` was used already; if this machine is to take its place, an administrator unbinds the token with `boundkeyctl bound-keypair reset {name}`, which makes a new secret"
        ),
        lock: None,
        event: Event { code: EventCode::SecretReplayed, notes: Vec::new() },
    })
}

pub(super) fn registration_expired(case: &Case<'_>, end: OffsetDateTime) -> Early {
    deny(
        case,
        Code::RegistrationExpired,
        format!(
            "token `{}` had to be registered before {}; an administrator can give it more time in `spec.bound_keypair.onboarding.must_register_before`",
            case.token.name,
            time_text(end)
        ),
    )
}

pub(super) fn locked(case: &Case<'_>, lock: &LockInForce) -> Early {
    let name = &case.token.name;
    // Whoever holds an old key is told this: what the administrators wrote for themselves, names of locks included, is not
    // for it.
    let mut message = "a lock is in force".to_owned();
    if let Some(public) = &lock.public_message {
        message.push_str(&format!(": {public}"));
    }
    match (&lock.origin, lock.expires) {
        (crate::LockOrigin::Automatic(_), _) => message.push_str(&format!(
            "; when it is clear which machine is the right one, `boundkeyctl bound-keypair resync {name}` lets it back in (after a theft use `reset`)"
        )),
        (crate::LockOrigin::ByHand, Some(end)) => message.push_str(&format!(
            "; it ends at {}; an administrator sees it with `boundkeyctl bound-keypair explain {name}`",
            time_text(end)
        )),
        (crate::LockOrigin::ByHand, None) => message.push_str(&format!(
            "; an administrator sees it, and how it is removed, with `boundkeyctl bound-keypair explain {name}`"
        )),
    }
    deny(case, Code::Locked, message)
}

pub(super) fn clone(case: &Case<'_>) -> Early {
    let (name, stored, code) = (&case.token.name, case.input.enrolment, Code::CloneDetected);
    let found = match case.claims {
        Some(s) => format!("a join state of sequence {} was presented", s.sequence),
        None => "its registration was presented again".to_owned(),
    };
    let what = format!(
        "token `{name}` stands at sequence {}, and {found}: two machines hold its key, or one was reverted to a snapshot",
        stored.sequence
    );
    boxed(Denial {
        code,
        proven: true,
        message: format!(
            "{what}. The token is locked; when it is clear which machine is the right one, `boundkeyctl bound-keypair resync {name}` lets it back in (after a theft use `reset`)"
        ),
        lock: Some(NewLock {
            // Where the STORED lineage stands: what a later state has to have passed to lift it.
            position: LockPosition {
                generation: stored.generation,
                sequence: stored.sequence,
                state_id: stored.last_state_id,
            },
            message: what,
        }),
        event: Event { code: EventCode::CloneDetected, notes: Vec::new() },
    })
}

pub(super) fn state_required(case: &Case<'_>) -> Early {
    let name = &case.token.name;
    deny(
        case,
        Code::JoinStateRequired,
        format!(
            "token `{name}` asks for the join state of the last join, and none was presented; if this machine has lost its state directory but not its key, an administrator lets it back in with `boundkeyctl bound-keypair resync {name}`"
        ),
    )
}

pub(super) fn state_invalid(case: &Case<'_>, cause: InvalidState) -> Early {
    let name = &case.token.name;
    let cause = match cause {
        InvalidState::Unreadable => "cannot be read",
        InvalidState::BadTag => "was not made by this cluster's key",
        InvalidState::UnknownEpoch => "was made under a key that is retired",
        InvalidState::OtherCluster => "is of another cluster",
    };
    deny(
        case,
        Code::JoinStateInvalid,
        format!(
            "the join state presented for token `{name}` {cause}; an administrator lets this machine back in with `boundkeyctl bound-keypair resync {name}`"
        ),
    )
}

pub(super) fn state_of_other_key(case: &Case<'_>) -> Early {
    let name = &case.token.name;
    deny(
        case,
        Code::JoinStateInvalid,
        format!(
            "the join state presented for token `{name}` names a key that was not proven; a state belongs to the key it was received with"
        ),
    )
}

pub(super) fn recreated(case: &Case<'_>) -> Early {
    let name = &case.token.name;
    deny(
        case,
        Code::TokenRecreated,
        format!(
            "the join state presented is of another token than the present `{name}`, which was removed and created again; remove the agent's state with `boundkey-agent forget` and register anew"
        ),
    )
}

pub(super) fn reset_since(case: &Case<'_>) -> Early {
    let name = &case.token.name;
    deny(
        case,
        Code::TokenRecreated,
        format!(
            "the join state presented is from before token `{name}` was reset; remove the agent's state with `boundkey-agent forget` and register anew"
        ),
    )
}

pub(super) fn shared_token(case: &Case<'_>) -> Early {
    let name = &case.token.name;
    deny(
        case,
        Code::SharedToken,
        format!(
            "token `{name}` was shared by several machines in mode `insecure` and now belongs to one of them, or to the first that comes back; give this machine a token of its own, or the mode `insecure` back"
        ),
    )
}

pub(super) fn recovery_limit(case: &Case<'_>) -> Early {
    let (name, limit) = (&case.token.name, case.base.limit_in_force(case.token));
    // A grant counts from what the store knows: one made after a restore has to allow what it forgot as well.
    let forgotten = case.base.recovery_count.saturating_sub(case.input.enrolment.recovery_count);
    let (known, count) = match forgotten {
        0 => (String::new(), String::new()),
        n => (
            format!(" (the server was restored, and has forgotten {n} of them)"),
            format!(" --count {}", n.saturating_add(1)),
        ),
    };
    deny(
        case,
        Code::RecoveryLimitReached,
        format!(
            "{} of {limit} recoveries of token `{name}` are used{known}; an administrator allows another with `boundkeyctl bound-keypair grant-recovery {name}{count}` or a higher `spec.bound_keypair.recovery.limit`",
            case.base.recovery_count
        ),
    )
}

pub(super) fn instance_revoked(case: &Case<'_>) -> Early {
    deny(
        case,
        Code::InstanceRevoked,
        format!(
            "this one of the machines that share token `{}` was revoked by an administrator",
            case.token.name
        ),
    )
}

pub(super) fn new_key_not_new(case: &Case<'_>) -> Early {
    deny(
        case,
        Code::NewKeyNotNew,
        format!(
            "the key offered as new to token `{}` is the present one, or one that a reset made void; a new key has to be made for each rotation (an agent that two resets caught in the middle of one registers anew after `boundkey-agent forget`)",
            case.token.name
        ),
    )
}
