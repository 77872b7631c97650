use serde::{Deserialize, Serialize};

/// A token's uid: 128 random bits made when the token is created. Text and serde: 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(pub [u8; 16]);
/// 128 random bits that the client stores before it sends anything. serde: 22 base64url characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttemptId(pub [u8; 16]);
/// SHA-256("boundkey state id v1" || uid || u32be generation || previous state id (zeros if none) || attempt id), 16 bytes. serde: base64url.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateId(pub [u8; 16]);
/// First 16 bytes of SHA-256("boundkey position v1" || uid || u32be generation || u64be sequence || state id (zeros if none)). serde: base64url.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position(pub [u8; 16]);

/// The last 16 state ids, 8 bytes each, oldest first; the last is that of the present sequence. serde: list of base64url.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Trail(pub Vec<[u8; 8]>);

impl StateId {
    pub fn derive(uid: Uid, generation: u32, previous: Option<StateId>, attempt: AttemptId) -> Self {
        todo!()
    }
}
impl Position {
    pub fn derive(uid: Uid, generation: u32, sequence: u64, state: Option<StateId>) -> Self {
        todo!()
    }
}
impl Trail {
    pub fn push(&mut self, id: StateId) {
        todo!()
    }
    /// The short id at `sequence`, when the trail's last entry is that of `last_sequence` and it reaches back so far.
    pub fn at(&self, last_sequence: u64, sequence: u64) -> Option<[u8; 8]> {
        todo!()
    }
}

/// Who the certificates name: a host's id (for life) or a bot's instance id. The text is UUID-shaped (lower-case, hyphens).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    Host(String),
    BotInstance(String),
}
impl Identity {
    pub fn id(&self) -> &str {
        match self {
            Self::Host(s) | Self::BotInstance(s) => s,
        }
    }
}

macro_rules! text_id {
    ($t:ty) => {
        impl std::fmt::Display for $t {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                todo!()
            }
        }
        impl std::str::FromStr for $t {
            type Err = String;
            fn from_str(s: &str) -> Result<Self, String> {
                todo!()
            }
        }
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
text_id!(Uid);
text_id!(AttemptId);
text_id!(StateId);
text_id!(Position);
impl Serialize for Trail {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        todo!()
    }
}
impl<'de> Deserialize<'de> for Trail {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        todo!()
    }
}
