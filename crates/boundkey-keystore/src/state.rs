use boundkey_keys::{KeyFileError, PrivateKey, PublicKey, Signer};
use time::OffsetDateTime;

/// Everything the agent remembers, in one file (`state.json`, versioned). Absent file = `AgentState::default()`.
#[derive(Default)]
pub struct AgentState {
    /// SHA-256 of the machine's id, base64url; a state of another machine is refused by the client.
    pub machine: Option<String>,
    pub cluster: Option<String>,
    pub token: Option<String>,
    pub bound_key: Option<HeldKey>,
    /// The join state that belongs to `bound_key`.
    pub join_state: Option<String>,
    /// The last authenticated pair, while `bound_key`/`join_state` come from a provisional result.
    pub authenticated: Option<Superseded>,
    /// At most 10, newest first.
    pub superseded: Vec<Superseded>,
    pub pending: Option<PendingAttempt>,
    pub identity: Option<IdentityRecord>,
    /// JSON of the last signed CA bundle that was accepted.
    pub ca_bundle: Option<String>,
    pub last_error: Option<String>,
    pub last_error_at: Option<OffsetDateTime>,
}

/// A private key inside the state: it signs, it is never handed out.
pub struct HeldKey {
    key: PrivateKey,
}
impl HeldKey {
    pub fn new(key: PrivateKey) -> Self {
        Self { key }
    }
    pub fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }
    pub fn duplicate(&self) -> Self {
        todo!()
    }
}
impl Signer for HeldKey {
    fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }
    fn sign_jws(&self, typ: &str, payload: &[u8]) -> Result<String, KeyFileError> {
        Signer::sign_jws(&self.key, typ, payload)
    }
}

/// A superseded (key, join state) pair.
pub struct Superseded {
    pub key: HeldKey,
    pub join_state: Option<String>,
}

/// Written before anything is sent; ended only by a stored result.
pub struct PendingAttempt {
    pub attempt: [u8; 16],
    pub started_at: OffsetDateTime,
    /// The key of the X.509 certificate (PKCS#8; it goes into the outputs, so it may be read).
    pub tls_key: PrivateKey,
    /// The SSH key made for this attempt, if one is wanted (bots; hosts certify the machine's own host key by its public half).
    pub ssh_key: Option<PrivateKey>,
    pub ssh_public_key: Option<PublicKey>,
    /// Offered when a rotation is due.
    pub new_key: Option<HeldKey>,
}

/// What the last authenticated result gave.
pub struct IdentityRecord {
    pub identity_kind: String,
    pub id: String,
    pub tls_key: PrivateKey,
    pub ssh_key: Option<PrivateKey>,
    /// DER, leaf first.
    pub x509_chain: Vec<Vec<u8>>,
    pub ssh_certificate: Option<String>,
    pub obtained_at: OffsetDateTime,
    pub not_after: OffsetDateTime,
    pub renew_at: OffsetDateTime,
}

impl AgentState {
    pub fn to_json(&self) -> zeroize::Zeroizing<Vec<u8>> {
        todo!()
    }
    pub fn from_json(text: &[u8]) -> Result<Self, StateFormatError> {
        todo!()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an agent state file")]
pub struct StateFormatError;
