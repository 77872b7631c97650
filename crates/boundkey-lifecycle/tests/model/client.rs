//! Whoever holds a file: the honest client, a second one of a shared token, the thief with his copy.

use boundkey_lifecycle::Position;

use crate::log::{Held, Print};
use crate::store::Answer;

/// The honest client, a second honest one (shared tokens), the thief.
pub(crate) const HONEST: u8 = 0;
pub(crate) const SECOND: u8 = 1;
pub(crate) const THIEF: u8 = 2;

/// An attempt that is on disk and has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Pending {
    pub(crate) attempt: u8,
    pub(crate) current: u8,
    pub(crate) new: Option<u8>,
}

/// The one file that a client keeps, saved before anything is sent. Numbers stand for keys, attempts and secrets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct File {
    /// Who holds it: attempts and keys made by two holders are never the same by chance.
    pub(crate) who: u8,
    pub(crate) made: u8,
    pub(crate) key: u8,
    pub(crate) held: Option<Print<Held>>,
    pub(crate) pending: Option<Pending>,
    /// The registration secret, kept for ever: an agent's configuration may hold it long after it was used.
    pub(crate) secret: Option<u8>,
    /// A key that is not the agent's to change.
    pub(crate) is_static: bool,
}

/// A challenge that names a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Hint {
    pub(crate) position: Position,
    /// What the judge knows of the place where the lineage stood when it was handed out.
    pub(crate) place: u64,
}

/// A request, signed. Everything that the answer depends on is in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Message {
    pub(crate) attempt: u8,
    pub(crate) current: u8,
    pub(crate) new: Option<u8>,
    pub(crate) secret: Option<u8>,
    pub(crate) held: Option<Print<Held>>,
    pub(crate) hint: Option<Hint>,
}

impl Message {
    pub(crate) fn proves(&self, key: u8) -> bool {
        self.current == key || self.new == Some(key)
    }
}

/// How the next request is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum How {
    /// Goes on with the pending attempt; makes one if there is none.
    GoOn,
    /// The same, offering a new key unasked.
    GoOnRotating,
    /// Gives up the pending attempt, which only a thief does.
    Anew,
    /// The same, offering a new key.
    AnewRotating,
}

impl File {
    pub(crate) fn new(who: u8, key: u8, secret: Option<u8>) -> Self {
        Self { who, made: 0, key, held: None, pending: None, secret, is_static: false }
    }

    fn next(&mut self) -> u8 {
        self.made += 1;
        self.who * 64 + self.made
    }

    /// Writes the attempt. None: this holder cannot do that.
    pub(crate) fn begin(&mut self, how: How) -> Option<()> {
        if matches!(how, How::Anew | How::AnewRotating) {
            self.pending.take()?;
        }
        if self.pending.is_none() {
            let attempt = self.next();
            self.pending = Some(Pending { attempt, current: self.key, new: None });
        }
        if matches!(how, How::GoOnRotating | How::AnewRotating) { self.offer() } else { Some(()) }
    }

    /// A new key, written before it is offered. An attempt has one at most.
    pub(crate) fn offer(&mut self) -> Option<()> {
        if self.is_static || self.pending?.new.is_some() {
            return None;
        }
        let key = self.next();
        self.pending.as_mut()?.new = Some(key);
        Some(())
    }

    pub(crate) fn message(&self, hint: Option<Hint>) -> Message {
        let pending = self.pending.expect("begin() comes first");
        Message {
            attempt: pending.attempt,
            current: pending.current,
            new: pending.new,
            secret: self.secret,
            held: self.held.clone(),
            hint,
        }
    }

    /// What an answer on the connection of the latest try does. False: asked for what it cannot give.
    pub(crate) fn hear(&mut self, answer: &Answer, hint: &mut Option<Hint>) -> bool {
        match answer {
            Answer::Result { held, .. } => {
                let pending = self.pending.unwrap_or(Pending { attempt: 0, current: self.key, new: None });
                // A result that names a key it does not hold is refused, and the attempt stays.
                if pending.current == held.key || pending.new == Some(held.key) {
                    self.key = held.key;
                    self.held = Some(held.clone());
                    self.pending = None;
                }
                *hint = None;
                true
            }
            Answer::Rotate => self.offer().is_some(),
            Answer::Confirm(fresh) => {
                *hint = Some(*fresh);
                true
            }
            Answer::Denied(_) => {
                *hint = None;
                true
            }
        }
    }
}
