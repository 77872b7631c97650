use boundkey_keys::{KeyFileError, PublicKey, Signer};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// The private key of a CA: ECDSA P-256 or Ed25519; PKCS#8 in and out only for sealing.
pub struct AuthorityKey {
    _todo: (),
}
impl AuthorityKey {
    pub fn generate_p256() -> Result<Self, CaError> {
        todo!()
    }
    pub fn ed25519_from_seed(seed: &[u8; 32]) -> Result<Self, CaError> {
        todo!()
    }
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, CaError> {
        todo!()
    }
    /// To be sealed by the caller at once.
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        todo!()
    }
    pub fn public_key(&self) -> &PublicKey {
        todo!()
    }
}
impl Signer for AuthorityKey {
    fn public_key(&self) -> &PublicKey {
        todo!()
    }
    fn sign_jws(&self, typ: &str, payload: &[u8]) -> Result<String, KeyFileError> {
        todo!()
    }
}

/// An X.509 CA (tls, host or bot): its key and its self-signed certificate.
pub struct X509Authority {
    _todo: (),
}
impl X509Authority {
    /// `common_name` e.g. `example.com host CA`; CA:TRUE, pathlen 0, keyCertSign+cRLSign, 10 years unless told.
    pub fn create(
        key: AuthorityKey,
        common_name: &str,
        serial: [u8; 16],
        not_before: OffsetDateTime,
        not_after: OffsetDateTime,
    ) -> Result<Self, CaError> {
        todo!()
    }
    /// Refuses a certificate that is not a CA's or not of this key.
    pub fn load(key: AuthorityKey, certificate_der: Vec<u8>) -> Result<Self, CaError> {
        todo!()
    }
    pub fn certificate_der(&self) -> &[u8] {
        todo!()
    }
    pub fn key(&self) -> &AuthorityKey {
        todo!()
    }
    /// `sha256:` + lower-case hex of the SPKI's SHA-256.
    pub fn pin(&self) -> String {
        todo!()
    }
    /// Lints the request, signs, lints the result. DER.
    pub fn sign_leaf(&self, request: &crate::LeafRequest<'_>) -> Result<Vec<u8>, CaError> {
        todo!()
    }
}

/// An OpenSSH CA (ssh-host or ssh-user).
pub struct SshAuthority {
    _todo: (),
}
impl SshAuthority {
    pub fn new(key: AuthorityKey) -> Self {
        todo!()
    }
    pub fn key(&self) -> &AuthorityKey {
        todo!()
    }
    /// OpenSSH certificate, one line.
    pub fn sign(&self, request: &crate::SshRequest<'_>) -> Result<String, CaError> {
        todo!()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot sign: {0}")]
pub struct CaError(pub String);
