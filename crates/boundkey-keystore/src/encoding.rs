//! The state as JSON. Private keys are borrowed from the text and written into one buffer of the final size,
//! so that no unwiped copy of them is left in memory.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use boundkey_keys::{KeyFileError, PrivateKey, PublicKey};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::{AgentState, HeldKey, IdentityRecord, MAX_SUPERSEDED, PendingAttempt, Superseded};

const KIND: &str = "boundkey-agent-state";
const VERSION: u64 = 1;

/// A state holds a dozen keys, as many join states, a chain and a CA bundle: some 30 KiB.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;

impl AgentState {
    /// The JSON form, version 1, ended by a line feed; wiped on drop.
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let keys = Encoded::of(self);
        let document = keys.document(self);
        let mut size = Size(0);
        serde_json::to_writer_pretty(&mut size, &document)
            .expect("the document holds nothing that JSON lacks");
        let mut out = Zeroizing::new(Vec::with_capacity(size.0 + 1));
        serde_json::to_writer_pretty(&mut *out, &document).expect("a vector takes every write");
        out.push(b'\n');
        out
    }

    /// Reads the JSON form, strictly: no unknown, missing or repeated field, at most 1 MiB.
    ///
    /// # Errors
    /// [`StateFormatError`] says what to do; it repeats nothing of the content.
    pub fn from_json(text: &[u8]) -> Result<Self, StateFormatError> {
        if text.len() > MAX_BYTES {
            return Err(StateFormatError::TooLong { bytes: text.len() });
        }
        let text = text.trim_ascii();
        if text.is_empty() {
            return Err(StateFormatError::Empty);
        }
        if text[0] != b'{' {
            return Err(StateFormatError::Foreign);
        }
        let document = match serde_json::from_slice::<Document<'_>>(text) {
            Ok(document) if document.kind == KIND && document.version == VERSION => document,
            other => return Err(not_of_this_version(text, other.err())),
        };
        document.check()
    }
}

/// A foreign or newer file is told from a damaged one by its head.
fn not_of_this_version(text: &[u8], error: Option<serde_json::Error>) -> StateFormatError {
    let head: Head<'_> = match serde_json::from_slice(text) {
        Ok(head) => head,
        Err(error) if error.is_data() => return StateFormatError::Foreign,
        Err(error) => return StateFormatError::of_json(&error),
    };
    match (head.kind, head.version, error) {
        (Some(KIND), Some(VERSION), Some(error)) => StateFormatError::of_json(&error),
        (Some(KIND), Some(found), _) => StateFormatError::Version { found },
        _ => StateFormatError::Foreign,
    }
}

/// What tells a foreign or newer file from a damaged one.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    kind: Option<&'a str>,
    version: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    kind: &'a str,
    version: u64,
    #[serde(deserialize_with = "present")]
    machine: Option<String>,
    #[serde(deserialize_with = "present")]
    cluster: Option<String>,
    #[serde(deserialize_with = "present")]
    token: Option<String>,
    #[serde(borrow, deserialize_with = "present")]
    bound_key: Option<&'a str>,
    #[serde(deserialize_with = "present")]
    join_state: Option<String>,
    #[serde(borrow)]
    superseded: Vec<PairDocument<'a>>,
    #[serde(borrow, deserialize_with = "present")]
    pending: Option<PendingDocument<'a>>,
    #[serde(borrow, deserialize_with = "present")]
    identity: Option<IdentityDocument<'a>>,
    #[serde(deserialize_with = "present")]
    ca_bundle: Option<String>,
    #[serde(deserialize_with = "present")]
    ca_bundle_signer: Option<PublicKey>,
    #[serde(deserialize_with = "present")]
    last_error: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    last_error_at: Option<OffsetDateTime>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PairDocument<'a> {
    key: &'a str,
    #[serde(deserialize_with = "present")]
    join_state: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PendingDocument<'a> {
    attempt: String,
    #[serde(with = "time::serde::rfc3339")]
    started_at: OffsetDateTime,
    tls_key: &'a str,
    #[serde(borrow, deserialize_with = "present")]
    ssh_key: Option<&'a str>,
    #[serde(deserialize_with = "present")]
    ssh_public_key: Option<PublicKey>,
    #[serde(borrow, deserialize_with = "present")]
    new_key: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityDocument<'a> {
    kind: String,
    id: String,
    tls_key: &'a str,
    #[serde(borrow, deserialize_with = "present")]
    ssh_key: Option<&'a str>,
    x509_chain: Vec<String>,
    #[serde(deserialize_with = "present")]
    ssh_certificate: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    obtained_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    not_after: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    renew_at: OffsetDateTime,
}

/// Null is a value; a field that is not there at all is a fault (serde takes it for null by itself).
fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::deserialize(deserializer)
}

type KeyText = Zeroizing<String>;

/// The base64 of all private keys, owned apart from the document that borrows it.
struct Encoded {
    bound: Option<KeyText>,
    superseded: Vec<KeyText>,
    pending: Option<[Option<KeyText>; 3]>,
    identity: Option<[Option<KeyText>; 2]>,
}

impl Encoded {
    fn of(state: &AgentState) -> Self {
        let held = |key: &HeldKey| encode(key.private());
        Self {
            bound: state.bound_key.as_ref().map(held),
            superseded: state.superseded.iter().take(MAX_SUPERSEDED).map(|pair| held(&pair.key)).collect(),
            pending: state.pending.as_ref().map(|pending| {
                [
                    Some(encode(&pending.tls_key)),
                    pending.ssh_key.as_ref().map(encode),
                    pending.new_key.as_ref().map(held),
                ]
            }),
            identity: state
                .identity
                .as_ref()
                .map(|identity| [Some(encode(&identity.tls_key)), identity.ssh_key.as_ref().map(encode)]),
        }
    }

    fn document<'a>(&'a self, state: &'a AgentState) -> Document<'a> {
        fn pair<'a>(pair: &Superseded, key: &'a KeyText) -> PairDocument<'a> {
            PairDocument { key, join_state: pair.join_state.clone() }
        }
        fn text(key: &Option<KeyText>) -> Option<&str> {
            key.as_ref().map(|key| key.as_str())
        }
        Document {
            kind: KIND,
            version: VERSION,
            machine: state.machine.clone(),
            cluster: state.cluster.clone(),
            token: state.token.clone(),
            bound_key: text(&self.bound),
            join_state: state.join_state.clone(),
            superseded: state.superseded.iter().zip(&self.superseded).map(|(p, k)| pair(p, k)).collect(),
            pending: state.pending.as_ref().zip(self.pending.as_ref()).map(|(pending, [tls, ssh, new])| {
                PendingDocument {
                    attempt: URL_SAFE_NO_PAD.encode(pending.attempt),
                    started_at: pending.started_at,
                    tls_key: text(tls).unwrap_or_default(),
                    ssh_key: text(ssh),
                    ssh_public_key: pending.ssh_public_key.clone(),
                    new_key: text(new),
                }
            }),
            identity: state.identity.as_ref().zip(self.identity.as_ref()).map(|(identity, [tls, ssh])| {
                IdentityDocument {
                    kind: identity.identity_kind.clone(),
                    id: identity.id.clone(),
                    tls_key: text(tls).unwrap_or_default(),
                    ssh_key: text(ssh),
                    x509_chain: identity.x509_chain.iter().map(|der| STANDARD.encode(der)).collect(),
                    ssh_certificate: identity.ssh_certificate.clone(),
                    obtained_at: identity.obtained_at,
                    not_after: identity.not_after,
                    renew_at: identity.renew_at,
                }
            }),
            ca_bundle: state.ca_bundle.clone(),
            ca_bundle_signer: state.ca_bundle_signer.clone(),
            last_error: state.last_error.clone(),
            last_error_at: state.last_error_at,
        }
    }
}

impl Document<'_> {
    fn check(self) -> Result<AgentState, StateFormatError> {
        if self.superseded.len() > MAX_SUPERSEDED {
            return Err(StateFormatError::Field { field: "superseded", expected: "at most 10 keys" });
        }
        let superseded = self.superseded.into_iter().map(PairDocument::check);
        Ok(AgentState {
            machine: self.machine,
            cluster: self.cluster,
            token: self.token,
            bound_key: self.bound_key.map(|key| held("bound_key", key)).transpose()?,
            join_state: self.join_state,
            superseded: superseded.collect::<Result<_, _>>()?,
            pending: self.pending.map(PendingDocument::check).transpose()?,
            identity: self.identity.map(IdentityDocument::check).transpose()?,
            ca_bundle: self.ca_bundle,
            ca_bundle_signer: self.ca_bundle_signer,
            last_error: self.last_error,
            last_error_at: self.last_error_at,
        })
    }
}

impl PairDocument<'_> {
    fn check(self) -> Result<Superseded, StateFormatError> {
        Ok(Superseded { key: held("superseded.key", self.key)?, join_state: self.join_state })
    }
}

impl PendingDocument<'_> {
    fn check(self) -> Result<PendingAttempt, StateFormatError> {
        let mut attempt = [0; 16];
        let decoded = match self.attempt.len() {
            22 => URL_SAFE_NO_PAD.decode_slice(&self.attempt, &mut attempt).ok(),
            _ => None,
        };
        let expected = "22 characters of unpadded base64url";
        decoded.ok_or(StateFormatError::Field { field: "pending.attempt", expected })?;
        Ok(PendingAttempt {
            attempt,
            started_at: self.started_at,
            tls_key: decode("pending.tls_key", self.tls_key)?,
            ssh_key: self.ssh_key.map(|key| decode("pending.ssh_key", key)).transpose()?,
            ssh_public_key: self.ssh_public_key,
            new_key: self.new_key.map(|key| held("pending.new_key", key)).transpose()?,
        })
    }
}

impl IdentityDocument<'_> {
    fn check(self) -> Result<IdentityRecord, StateFormatError> {
        let field = "identity.x509_chain";
        let certificate = |text: &String| STANDARD.decode(text);
        let x509_chain = self.x509_chain.iter().map(certificate).collect::<Result<_, _>>();
        Ok(IdentityRecord {
            identity_kind: self.kind,
            id: self.id,
            tls_key: decode("identity.tls_key", self.tls_key)?,
            ssh_key: self.ssh_key.map(|key| decode("identity.ssh_key", key)).transpose()?,
            x509_chain: x509_chain.map_err(|_| StateFormatError::Field { field, expected: "base64" })?,
            ssh_certificate: self.ssh_certificate,
            obtained_at: self.obtained_at,
            not_after: self.not_after,
            renew_at: self.renew_at,
        })
    }
}

/// PKCS#8 DER in padded base64.
fn encode(key: &PrivateKey) -> KeyText {
    Zeroizing::new(STANDARD.encode(key.to_pkcs8_der().as_slice()))
}

fn decode(field: &'static str, text: &str) -> Result<PrivateKey, StateFormatError> {
    let mut der = Zeroizing::new(vec![0; text.len() / 4 * 3 + 3]);
    let expected = "padded base64";
    let length =
        STANDARD.decode_slice(text, &mut der).map_err(|_| StateFormatError::Field { field, expected })?;
    PrivateKey::from_pkcs8_der(&der[..length]).map_err(|source| StateFormatError::Key { field, source })
}

fn held(field: &'static str, text: &str) -> Result<HeldKey, StateFormatError> {
    decode(field, text).map(HeldKey::new)
}

/// Counts what would be written.
struct Size(usize);

impl std::io::Write for Size {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Why a text is no agent state. Nothing of its content is ever part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateFormatError {
    /// A file without content.
    #[error("it is empty: {RESTORE}")]
    Empty,
    /// It ends in the middle.
    #[error("it is cut at line {line}, column {column}: {RESTORE}")]
    Truncated {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// Something else's file.
    #[error("it is not an agent's state: is data_dir the right directory?")]
    Foreign,
    /// Written by another release.
    #[error("its version is {found}, and this agent reads 1: run the newer agent that wrote it")]
    Version {
        /// What was found.
        found: u64,
    },
    /// More than any state needs.
    #[error("it has {bytes} bytes, allowed: {MAX_BYTES}: {RESTORE}")]
    TooLong {
        /// What was found.
        bytes: usize,
    },
    /// Not JSON.
    #[error("line {line}, column {column} is not JSON: {RESTORE}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// JSON, but with an unknown, missing, repeated or mistyped field.
    #[error(
        "at line {line}, column {column} a field is missing, unknown, repeated or of another type: {RESTORE}"
    )]
    Shape {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// A field with an impossible value.
    #[error("{field} is not {expected}: {RESTORE}")]
    Field {
        /// Its path.
        field: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
    /// A private key that cannot be read.
    #[error("{field} holds no usable key: {RESTORE}")]
    Key {
        /// Its path.
        field: &'static str,
        /// What is wrong with it.
        source: KeyFileError,
    },
}

const RESTORE: &str = "restore it if this machine's disk has a newer copy, or run `boundkey-agent forget` and have the token reset (`boundkeyctl bound-keypair reset NAME`)";

impl StateFormatError {
    fn of_json(error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            serde_json::error::Category::Eof => Self::Truncated { line, column },
            serde_json::error::Category::Data => Self::Shape { line, column },
            _ => Self::Syntax { line, column },
        }
    }
}

#[cfg(test)]
mod tests;
