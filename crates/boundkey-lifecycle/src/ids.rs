//! Identifiers: short, fixed-size, derived with SHA-256 where they must be the same on every replica.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use boundkey_keys::sha256;
use serde::{Deserialize, Serialize};

/// How many state ids a [`Trail`] keeps: how far a fork of two histories can be told from a restored backup.
pub const TRAIL_LENGTH: usize = 16;

/// A token's uid: 128 random bits made when the token is created. A recreated token has another one.
///
/// Text and serde: 32 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(pub [u8; 16]);

/// 128 random bits that the client stores before it sends anything. One attempt admits at most one join.
///
/// Text and serde: 22 base64url characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttemptId(pub [u8; 16]);

/// Names one admitted join: the same attempt from the same state gets the same id on every replica and after
/// every restore.
///
/// First 16 bytes of SHA-256(`boundkey state id v1` || uid || u32be generation || previous state id, zeros if
/// none || attempt id). Text and serde: 22 base64url characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateId(pub [u8; 16]);

/// Names where a lineage stands. A request whose challenge carries the present one is *live*: it was signed
/// after the lineage got there.
///
/// First 16 bytes of SHA-256(`boundkey position v1` || uid || u32be generation || u64be sequence || state id,
/// zeros if none). Text and serde: 22 base64url characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position(pub [u8; 16]);

/// The last 16 state ids (their first 8 bytes each), oldest first; the last is that of the present sequence.
///
/// serde: a list of 11 base64url characters each; more than 16 are refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Trail(pub Vec<[u8; 8]>);

/// A text that is not the id it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not {expected}")]
pub struct IdError {
    /// What is allowed, with its article.
    pub expected: &'static str,
}

fn first_16(digest: [u8; 32]) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&digest[..16]);
    out
}

impl StateId {
    /// The id of the join that `attempt` makes from `previous`.
    pub fn derive(uid: Uid, generation: u32, previous: Option<StateId>, attempt: AttemptId) -> Self {
        let previous = previous.map_or([0; 16], |p| p.0);
        Self(first_16(sha256(&[
            b"boundkey state id v1",
            &uid.0,
            &generation.to_be_bytes(),
            &previous,
            &attempt.0,
        ])))
    }

    /// The 8 bytes that a [`Trail`] keeps.
    #[must_use]
    pub fn short(self) -> [u8; 8] {
        let mut out = [0; 8];
        out.copy_from_slice(&self.0[..8]);
        out
    }
}

impl Position {
    /// The name of this position.
    pub fn derive(uid: Uid, generation: u32, sequence: u64, state: Option<StateId>) -> Self {
        let state = state.map_or([0; 16], |s| s.0);
        Self(first_16(sha256(&[
            b"boundkey position v1",
            &uid.0,
            &generation.to_be_bytes(),
            &sequence.to_be_bytes(),
            &state,
        ])))
    }
}

impl Trail {
    /// Adds the id of the next sequence; the oldest goes when there are more than 16.
    pub fn push(&mut self, id: StateId) {
        self.push_mark(id.short());
    }

    /// The same, of an id's 8 bytes.
    pub(crate) fn push_mark(&mut self, mark: [u8; 8]) {
        if self.0.len() >= TRAIL_LENGTH {
            self.0.drain(..=self.0.len() - TRAIL_LENGTH);
        }
        self.0.push(mark);
    }

    /// The short id at `sequence`, if the trail, whose last entry is that of `last_sequence`, reaches back so far.
    #[must_use]
    pub fn at(&self, last_sequence: u64, sequence: u64) -> Option<[u8; 8]> {
        let back = usize::try_from(last_sequence.checked_sub(sequence)?).ok()?;
        self.0.get(self.0.len().checked_sub(1)?.checked_sub(back)?).copied()
    }
}

/// Who the certificates name: a host's id (for life) or a bot's instance id (new at each recovery).
///
/// The text is shaped like a UUID (lower case, hyphens).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// A host id.
    Host(String),
    /// A bot instance id.
    BotInstance(String),
}

impl Identity {
    /// The id alone.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Host(s) | Self::BotInstance(s) => s,
        }
    }

    /// Does it name a bot's instance (else a host)?
    #[must_use]
    pub fn is_bot(&self) -> bool {
        matches!(self, Self::BotInstance(_))
    }
}

const BASE64_16: &str = "22 characters of base64url (16 bytes)";

impl std::fmt::Display for Uid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl std::str::FromStr for Uid {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        let error = IdError { expected: "32 lower-case hex digits" };
        let nibble = |c: u8| match c {
            b'0'..=b'9' => Ok(c - b'0'),
            b'a'..=b'f' => Ok(c - b'a' + 10),
            _ => Err(error),
        };
        if s.len() != 32 {
            return Err(error);
        }
        let mut out = [0; 16];
        for (byte, pair) in out.iter_mut().zip(s.as_bytes().chunks_exact(2)) {
            *byte = nibble(pair[0])? * 16 + nibble(pair[1])?;
        }
        Ok(Self(out))
    }
}

macro_rules! base64_text {
    ($t:ty) => {
        impl std::fmt::Display for $t {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
            }
        }
        impl std::str::FromStr for $t {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> {
                decode_exactly(s).map(Self).ok_or(IdError { expected: BASE64_16 })
            }
        }
    };
}
base64_text!(AttemptId);
base64_text!(StateId);
base64_text!(Position);

macro_rules! serde_as_text {
    ($t:ty) => {
        impl Serialize for $t {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $t {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
serde_as_text!(Uid);
serde_as_text!(AttemptId);
serde_as_text!(StateId);
serde_as_text!(Position);

/// Unpadded canonical base64url of exactly N bytes.
pub(crate) fn decode_exactly<const N: usize>(text: &str) -> Option<[u8; N]> {
    // Bounded before decoding: a long text from outside costs nothing.
    if text.len() != (N * 4).div_ceil(3) {
        return None;
    }
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

impl Serialize for Trail {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.0.iter().map(|id| URL_SAFE_NO_PAD.encode(id)))
    }
}

impl<'de> Deserialize<'de> for Trail {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let texts = Vec::<String>::deserialize(d)?;
        if texts.len() > TRAIL_LENGTH {
            return Err(D::Error::custom(format!("a trail of {}; at most {TRAIL_LENGTH}", texts.len())));
        }
        texts
            .iter()
            .map(|t| decode_exactly(t).ok_or(IdError { expected: "11 characters of base64url (8 bytes)" }))
            .collect::<Result<_, _>>()
            .map(Self)
            .map_err(D::Error::custom)
    }
}
