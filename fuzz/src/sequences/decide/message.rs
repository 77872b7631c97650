//! What is sent: by clients that keep to the protocol, and put together by nobody in particular.

use boundkey_keys::ProvenKey;
use boundkey_lifecycle::{
    AttemptId, Evidence, Hash32, InvalidState, MachineFacts, Position, Proven, SecretEvidence, StateEvidence,
    Uid,
};
use boundkey_token::{RequestedNames, Role, RoleSet};

use super::{Client, UID, World, key};
use crate::sequences::Choices;

/// From here on attempts of messages put together; no input makes a client get so far.
const FOREIGN_ATTEMPTS: u16 = 0x8000;

/// What a request proves and says; numbers stand for keys and secrets.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) current: Option<u8>,
    pub(super) new: Option<u8>,
    pub(super) secret: Option<u8>,
    pub(super) state: StateEvidence,
    pub(super) attempt: u16,
    pub(super) position: Option<Position>,
    pub(super) certified: u8,
    pub(super) roles: RoleSet,
    /// Sent by a client that keeps to the protocol.
    pub(super) honest: bool,
}

impl World {
    pub(super) fn message(&self, client: &Client, position: Option<Position>) -> Message {
        let (attempt, new) = client.pending.expect("an attempt");
        let state = client.state.clone().map_or(StateEvidence::None, |s| StateEvidence::Valid(Box::new(s)));
        Message {
            current: Some(client.key),
            new,
            secret: client.secret,
            state,
            attempt,
            position,
            certified: 0,
            roles: self.roles(0),
            honest: true,
        }
    }

    pub(super) fn roles(&self, choice: u8) -> RoleSet {
        if self.bot.is_some() {
            return RoleSet::new([Role::Bot]);
        }
        match choice % 8 {
            6 => RoleSet::new([Role::Node, Role::App]),
            7 => RoleSet::new([Role::Db]),
            _ => RoleSet::new([Role::Node]),
        }
    }

    /// Any parts that exist, put together anew.
    pub(super) fn composed(&self, choices: &mut Choices<'_>) -> Message {
        let any_key = |choices: &mut Choices<'_>| match choices.byte() {
            255 => None,
            byte => Some(1 + byte % (self.next_key + 2)),
        };
        let state = match (choices.byte(), choices.one_of(&self.states)) {
            (0..=50, _) | (_, None) => StateEvidence::None,
            (250.., _) => StateEvidence::Invalid(InvalidState::BadTag),
            (choice, Some(state)) => {
                let mut state = state.clone();
                if choice > 240 {
                    state.uid = Uid([8; 16]);
                }
                StateEvidence::Valid(Box::new(state))
            }
        };
        let current = any_key(choices);
        let new = if choices.flag() { any_key(choices) } else { None };
        let position = match choices.byte() {
            0..=80 => None,
            81..=200 => Some(self.stored.enrolment.position(UID)),
            _ => choices.one_of(&self.positions).copied(),
        };
        let secret = match choices.byte() {
            0..=150 => None,
            151..=230 => Some(self.stored.secret),
            _ => Some(99),
        };
        // One that a client made, or one that no client ever makes: nobody guesses 128 random bits beforehand.
        let attempt = match u16::try_from(choices.below(usize::from(self.next_attempt) + 3)).unwrap_or(0) {
            made if made <= self.next_attempt => made,
            more => FOREIGN_ATTEMPTS + (more - self.next_attempt),
        };
        let rest = choices.byte();
        let (certified, roles) = (rest & 1, self.roles(rest >> 1));
        Message { current, new, secret, state, attempt, position, certified, roles, honest: false }
    }

    pub(super) fn evidence(&self, message: &Message) -> Evidence {
        let prove = |number: Option<u8>| number.map(|n| ProvenKey::assumed(key(n)));
        let mut attempt = [0; 16];
        attempt[..2].copy_from_slice(&message.attempt.to_be_bytes());
        Evidence {
            proven: Proven { current: prove(message.current), new: prove(message.new) },
            secret: match message.secret {
                None => SecretEvidence::NotPresented,
                Some(secret) if secret != self.stored.secret => SecretEvidence::Wrong,
                Some(_) if self.stored.enrolment.secret.used => SecretEvidence::ProvenAlreadyUsed,
                Some(_) => SecretEvidence::Proven,
            },
            join_state: message.state.clone(),
            attempt: AttemptId(attempt),
            position: message.position,
            roles: message.roles.clone(),
            names: RequestedNames::default(),
            certified: Hash32([message.certified; 32]),
            facts: MachineFacts::default(),
        }
    }
}
