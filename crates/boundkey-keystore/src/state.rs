use boundkey_keys::{KeyFileError, PrivateKey, PublicKey, Signer};
use time::OffsetDateTime;

/// How many superseded pairs are kept.
pub const MAX_SUPERSEDED: usize = 10;

/// Everything the agent remembers, in one file. An absent file is `AgentState::default()`.
///
/// The fields are open to be read; what belongs together is changed by the methods (see the crate's page).
#[derive(Debug, Default)]
pub struct AgentState {
    /// SHA-256 of the machine's id, base64url: a state of another machine is refused by the client.
    pub machine: Option<String>,
    /// The cluster's name, once it is known.
    pub cluster: Option<String>,
    /// The token this state was made with.
    pub token: Option<String>,
    /// The key that is bound, or is to be bound by the first join.
    pub bound_key: Option<HeldKey>,
    /// The join state that belongs to `bound_key`; none before the first join.
    pub join_state: Option<String>,
    /// At most [`MAX_SUPERSEDED`], newest first, one for each key.
    pub superseded: Vec<Superseded>,
    /// The attempt that has no stored result yet.
    pub pending: Option<PendingAttempt>,
    /// What the last result with certificates gave.
    pub identity: Option<IdentityRecord>,
    /// The JSON of the last signed CA bundle that was accepted.
    pub ca_bundle: Option<String>,
    /// The key of the CA that vouched for it: trusted already when the bundle came. By it the bundle is checked again
    /// whenever it is loaded.
    pub ca_bundle_signer: Option<PublicKey>,
    /// What went wrong last, for `status`; none after a success.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<OffsetDateTime>,
}

/// A private key inside the state: it signs, it is never handed out.
#[derive(Debug)]
pub struct HeldKey {
    key: PrivateKey,
}

impl HeldKey {
    /// Takes a key in; there is no way to get it out again but by saving the state.
    pub fn new(key: PrivateKey) -> Self {
        Self { key }
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    /// Another handle to the same key.
    pub fn duplicate(&self) -> Self {
        Self { key: self.key.duplicate() }
    }

    pub(crate) fn private(&self) -> &PrivateKey {
        &self.key
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

/// A superseded key with the last join state that named it.
#[derive(Debug)]
pub struct Superseded {
    /// The key.
    pub key: HeldKey,
    /// Its join state; none if it never got one.
    pub join_state: Option<String>,
}

/// A key and the join state that belongs to it: what one request presents.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// The key to prove.
    pub key: &'a HeldKey,
    /// The state to present.
    pub join_state: Option<&'a str>,
}

/// Written before anything is sent; ended only by a stored result.
#[derive(Debug)]
pub struct PendingAttempt {
    /// Random; the same for every try.
    pub attempt: [u8; 16],
    /// When it was made, by the local clock.
    pub started_at: OffsetDateTime,
    /// The key of the X.509 certificate (it goes into the outputs, so it may be read).
    pub tls_key: PrivateKey,
    /// The SSH key made for this attempt, if one is wanted (bots; for hosts the machine's own host key is
    /// certified by its public half).
    pub ssh_key: Option<PrivateKey>,
    /// The SSH key to be certified, if any.
    pub ssh_public_key: Option<PublicKey>,
    /// Offered when a rotation is due.
    pub new_key: Option<HeldKey>,
}

/// What the last result with certificates gave.
#[derive(Debug)]
pub struct IdentityRecord {
    /// `host` or `bot`.
    pub identity_kind: String,
    /// The host id or the bot's instance id.
    pub id: String,
    /// The key of the X.509 certificate.
    pub tls_key: PrivateKey,
    /// The key of the SSH certificate, if it was made here.
    pub ssh_key: Option<PrivateKey>,
    /// DER, leaf first.
    pub x509_chain: Vec<Vec<u8>>,
    /// One line, OpenSSH form.
    pub ssh_certificate: Option<String>,
    /// When the result was stored, by the local clock.
    pub obtained_at: OffsetDateTime,
    /// The end of the certificates.
    pub not_after: OffsetDateTime,
    /// When to renew, by the local clock.
    pub renew_at: OffsetDateTime,
}
