//! The cluster's keyring: what every replica derives its keys from, and what seals records in the store.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{aead, hkdf};
use zeroize::Zeroizing;

/// What a derived key is for; each has its own HKDF label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// `boundkey seal v1`: records in the store (AES-256-GCM).
    Seal,
    /// `boundkey join-state v1`: join states (HS256).
    JoinState,
    /// `boundkey challenge v1`: challenges (HS256).
    Challenge,
    /// `boundkey instance-id v1`: ids of hosts and bot instances.
    InstanceId,
    /// `boundkey serials v1`: serial numbers of certificates.
    Serials,
    /// `boundkey secret-fingerprint v1`: recognising a secret without keeping it.
    SecretFingerprint,
    /// `boundkey source-hash v1`: counting refusals by source network without keeping addresses.
    SourceHash,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Self::Seal => "boundkey seal v1",
            Self::JoinState => "boundkey join-state v1",
            Self::Challenge => "boundkey challenge v1",
            Self::InstanceId => "boundkey instance-id v1",
            Self::Serials => "boundkey serials v1",
            Self::SecretFingerprint => "boundkey secret-fingerprint v1",
            Self::SourceHash => "boundkey source-hash v1",
        }
    }
}

/// Names the key material a value was made with: master key id and epoch; shown as `ID.EPOCH` (the `kid`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch {
    /// The id of the master key.
    pub master: u32,
    /// How often keys have been derived anew from it.
    pub epoch: u32,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.master, self.epoch)
    }
}

impl FromStr for Epoch {
    type Err = MasterKeyError;

    fn from_str(text: &str) -> Result<Self, MasterKeyError> {
        let error = || MasterKeyError::Epoch { found: text.chars().take(32).collect() };
        let (master, epoch) = text.split_once('.').ok_or_else(error)?;
        let number = |digits: &str| digits.parse::<u32>().map_err(|_| error());
        let epoch = Self { master: number(master)?, epoch: number(epoch)? };
        // One spelling only: no sign, no leading zeros.
        if epoch.to_string() == text { Ok(epoch) } else { Err(error()) }
    }
}

/// 32 bytes from HKDF-SHA-256 for one purpose and epoch; wiped on drop, no `Debug`.
pub struct DerivedKey(Zeroizing<[u8; 32]>);

impl DerivedKey {
    /// The key itself.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A keyring of master keys, the first current; older ones still open and verify.
///
/// Derivation: HKDF-SHA-256 with an empty salt, the master key as input, and as info the purpose's label, a
/// zero byte, the master key's id and the epoch (both 32 bits, big-endian). File form, strict:
/// `{"version":1,"keys":[{"id":1,"key":"<base64url of 32 bytes>"}],"epoch":0,"retired_below":0}`.
///
/// ```
/// use boundkey_keys::{MasterKey, Purpose};
/// let master = MasterKey::new(1, [7; 32]);
/// let sealed = master.seal(b"ca/host", [0; 12], b"a private key");
/// assert_eq!(master.open(b"ca/host", &sealed)?.as_slice(), b"a private key");
/// assert!(master.open(b"ca/bot", &sealed).is_err());
/// assert_eq!(master.current().to_string(), "1.0");
/// assert!(master.derive(Purpose::JoinState, "2.0".parse()?).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MasterKey {
    /// Never empty.
    keys: Vec<Entry>,
    epoch: u32,
    retired_below: u32,
}

struct Entry {
    id: u32,
    key: Zeroizing<[u8; 32]>,
}

/// The first byte of everything sealed; see [`MasterKey::seal`].
const SEALED_VERSION: u8 = 1;
const HEAD: usize = 9;
const NONCE: usize = 12;

const MAX_FILE_BYTES: usize = 16 * 1024;
const MAX_KEYS: usize = 64;

impl MasterKey {
    /// A keyring of one key, at epoch 0.
    pub fn new(id: u32, key: [u8; 32]) -> Self {
        Self { keys: vec![Entry { id, key: Zeroizing::new(key) }], epoch: 0, retired_below: 0 }
    }

    /// Reads the file form.
    ///
    /// # Errors
    /// [`MasterKeyError`] names the fault and never repeats any of the key.
    pub fn from_json(text: &[u8]) -> Result<Self, MasterKeyError> {
        if text.len() > MAX_FILE_BYTES {
            return Err(MasterKeyError::TooLong);
        }
        let text = text.trim_ascii();
        if text.is_empty() {
            return Err(MasterKeyError::Empty);
        }
        if text[0] != b'{' {
            return Err(MasterKeyError::Syntax { line: 1, column: 1 });
        }
        let file: File<'_> = serde_json::from_slice(text)
            .map_err(|e| MasterKeyError::Syntax { line: e.line(), column: e.column() })?;
        if file.version != 1 {
            return Err(MasterKeyError::Version { found: file.version });
        }
        if file.keys.is_empty() || file.keys.len() > MAX_KEYS {
            return Err(MasterKeyError::Count { found: file.keys.len() });
        }
        if file.retired_below > file.epoch {
            return Err(MasterKeyError::Retired { retired_below: file.retired_below, epoch: file.epoch });
        }
        let mut keys: Vec<Entry> = Vec::with_capacity(file.keys.len());
        for entry in &file.keys {
            if keys.iter().any(|known| known.id == entry.id) {
                return Err(MasterKeyError::Repeated { id: entry.id });
            }
            let mut key = Zeroizing::new([0; 32]);
            match entry.key.len() {
                43 => URL_SAFE_NO_PAD.decode_slice(entry.key, key.as_mut_slice()).ok(),
                _ => None,
            }
            .ok_or(MasterKeyError::Key { id: entry.id })?;
            keys.push(Entry { id: entry.id, key });
        }
        Ok(Self { keys, epoch: file.epoch, retired_below: file.retired_below })
    }

    /// The file form, one line.
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let texts: Vec<Zeroizing<String>> =
            self.keys.iter().map(|entry| Zeroizing::new(URL_SAFE_NO_PAD.encode(*entry.key))).collect();
        let keys = self.keys.iter().zip(&texts).map(|(entry, key)| FileKey { id: entry.id, key }).collect();
        let file = File { version: 1, keys, epoch: self.epoch, retired_below: self.retired_below };
        // Room for everything at once: a growing buffer would leave copies behind.
        let mut out = Zeroizing::new(Vec::with_capacity(128 + 96 * self.keys.len()));
        serde_json::to_writer(&mut *out, &file).expect("numbers and strings are always JSON");
        out.push(b'\n');
        out
    }

    /// What new values are made with.
    pub fn current(&self) -> Epoch {
        Epoch { master: self.keys[0].id, epoch: self.epoch }
    }

    /// The key for a purpose; `None` for an unknown master id or an epoch below `retired_below`. Any later
    /// epoch is derived, known before or not: a value may come from a replica that is one step ahead.
    pub fn derive(&self, purpose: Purpose, epoch: Epoch) -> Option<DerivedKey> {
        if epoch.epoch < self.retired_below {
            return None;
        }
        let entry = self.keys.iter().find(|entry| entry.id == epoch.master)?;
        Some(DerivedKey(derive(entry, purpose.label(), epoch.epoch)))
    }

    /// Seals under a [`Purpose::Seal`] key of the current epoch (AES-256-GCM); the result names its epoch.
    ///
    /// Form: a byte 1, master key id and epoch (32 bits each, big-endian), the nonce, ciphertext and tag.
    /// Authenticated with it: those first nine bytes, then `aad`.
    ///
    /// `aad` is the record's key, so that no record can be put in another's place. `nonce` must be random:
    /// the same one twice in an epoch gives both plaintexts away.
    pub fn seal(&self, aad: &[u8], nonce: [u8; 12], plain: &[u8]) -> Vec<u8> {
        let epoch = self.current();
        let key = derive(&self.keys[0], Purpose::Seal.label(), epoch.epoch);
        let mut out = Vec::with_capacity(HEAD + NONCE + plain.len() + aead::AES_256_GCM.tag_len());
        out.push(SEALED_VERSION);
        out.extend(epoch.master.to_be_bytes());
        out.extend(epoch.epoch.to_be_bytes());
        let aad = aead::Aad::from([&out, aad].concat());
        out.extend(nonce);
        let mut text = Zeroizing::new(plain.to_vec());
        let tag = aes(&key)
            .seal_in_place_separate_tag(aead::Nonce::assume_unique_for_key(nonce), aad, &mut text)
            .expect("a record is far below the 64 GiB that AES-GCM can seal");
        out.extend(text.iter());
        out.extend(tag.as_ref());
        out
    }

    /// Opens what [`MasterKey::seal`] made, of this or an earlier epoch and key, with the same `aad`.
    ///
    /// # Errors
    /// [`OpenError`] tells an unknown master key from a changed or misplaced record.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (head, rest) = sealed.split_at_checked(HEAD).ok_or(OpenError::Malformed)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE>().ok_or(OpenError::Malformed)?;
        if head[0] != SEALED_VERSION {
            return Err(OpenError::Version { found: head[0] });
        }
        let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let epoch = Epoch { master: number(1), epoch: number(5) };
        let key = self.derive(Purpose::Seal, epoch).ok_or(OpenError::UnknownKey { epoch })?;
        let aad = aead::Aad::from([head, aad].concat());
        let mut text = Zeroizing::new(text.to_vec());
        let length = aes(&key.0)
            .open_in_place(aead::Nonce::assume_unique_for_key(*nonce), aad, &mut text)
            .map_err(|_| OpenError::NotAuthentic { epoch })?
            .len();
        text.truncate(length);
        Ok(text)
    }

    /// A public fingerprint by which a store knows the master key it was made with: of the current key, 22
    /// characters of base64url; it reveals nothing about the key.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.keys[0])
    }

    /// Whether `known` is the fingerprint of any key of the ring: a store made before a rotation still fits.
    pub fn knows_fingerprint(&self, known: &str) -> bool {
        self.keys.iter().any(|entry| fingerprint(entry) == known)
    }

    /// The ring with a new current key in front; the others still open and verify.
    ///
    /// # Errors
    /// [`MasterKeyError::Repeated`] if the id is taken, [`MasterKeyError::Count`] if the ring is full.
    pub fn rotated(mut self, id: u32, key: [u8; 32]) -> Result<Self, MasterKeyError> {
        let key = Zeroizing::new(key);
        if self.keys.iter().any(|known| known.id == id) {
            return Err(MasterKeyError::Repeated { id });
        }
        if self.keys.len() >= MAX_KEYS {
            return Err(MasterKeyError::Count { found: self.keys.len() + 1 });
        }
        self.keys.insert(0, Entry { id, key });
        Ok(self)
    }
}

fn derive(entry: &Entry, label: &str, epoch: u32) -> Zeroizing<[u8; 32]> {
    let info = [label.as_bytes(), &[0], &entry.id.to_be_bytes(), &epoch.to_be_bytes()];
    hkdf_sha256(&[], entry.key.as_slice(), &info)
}

fn fingerprint(entry: &Entry) -> String {
    let bytes = derive(entry, "boundkey master-fingerprint v1", 0);
    URL_SAFE_NO_PAD.encode(&bytes[..16])
}

fn aes(key: &Zeroizing<[u8; 32]>) -> aead::LessSafeKey {
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, key.as_slice()).expect("AES-256 keys have 32 bytes");
    aead::LessSafeKey::new(key)
}

/// HKDF-SHA-256 (RFC 5869), 32 bytes out; the parts of the info are joined.
pub(crate) fn hkdf_sha256(salt: &[u8], input: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(input)
        .expand(info, hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(out.as_mut_slice()))
        .expect("32 bytes are one block of HKDF-SHA-256");
    out
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File<'a> {
    version: u64,
    #[serde(borrow)]
    keys: Vec<FileKey<'a>>,
    epoch: u32,
    retired_below: u32,
}

/// The text is borrowed from the file's, so that no copy of it stays behind in memory.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct FileKey<'a> {
    id: u32,
    key: &'a str,
}

/// Why a text is no master keyring. The administrator of the server can act on it; no variant holds a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MasterKeyError {
    /// An empty file: it was cut when it was written or copied.
    #[error("the master key is empty: restore it from where its copy is kept")]
    Empty,
    /// More than any keyring needs.
    #[error("too long for a master key; at most {MAX_FILE_BYTES} bytes are read")]
    TooLong,
    /// Not the JSON form.
    #[error(
        "line {line}, column {column}: expected {{\"version\":1,\"keys\":[{{\"id\":1,\"key\":\"...\"}}],\"epoch\":0,\"retired_below\":0}} and nothing else"
    )]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// Written by a newer release.
    #[error("version is {found}, allowed: 1; a newer release wrote this master key")]
    Version {
        /// What was found.
        found: u64,
    },
    /// No key, or too many.
    #[error("{found} keys; allowed: 1 to {MAX_KEYS}")]
    Count {
        /// What was found.
        found: usize,
    },
    /// Two keys with one id.
    #[error("the id {id} is used twice; each key has its own")]
    Repeated {
        /// The id.
        id: u32,
    },
    /// Not 32 bytes of base64url.
    #[error("the key with id {id} is not 43 characters of unpadded base64url (32 bytes)")]
    Key {
        /// The id.
        id: u32,
    },
    /// Its own epoch would be retired.
    #[error("retired_below is {retired_below}, allowed: at most the epoch ({epoch})")]
    Retired {
        /// What was found.
        retired_below: u32,
        /// The current epoch.
        epoch: u32,
    },
    /// Not the text of an [`Epoch`].
    #[error("{found:?} is not ID.EPOCH, two numbers with a dot between them")]
    Epoch {
        /// What was found, shortened.
        found: String,
    },
}

/// Why something sealed does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Too short to be sealed at all.
    #[error("too short for a sealed value")]
    Malformed,
    /// Sealed by a newer release.
    #[error("sealed in form {found}, allowed: 1; a newer release made it")]
    Version {
        /// What was found.
        found: u8,
    },
    /// The ring lacks the key, or its epoch is retired.
    #[error("sealed under {epoch}, which this master key does not hold: is it the master key of this store?")]
    UnknownKey {
        /// What it was sealed under.
        epoch: Epoch,
    },
    /// Changed, put in another record's place, or sealed by another master key of the same id.
    #[error("sealed under {epoch}, but changed or moved since, or by another cluster's master key")]
    NotAuthentic {
        /// What it says it was sealed under.
        epoch: Epoch,
    },
}

#[cfg(test)]
mod tests;
