use boundkey_keys::{KeyFileError, PublicKey, Signer, verify_jws};
use boundkey_text::is_plain;
use serde::{Deserialize, Serialize};

use crate::encoding::{decode, decode_standard, present, read_object};
use crate::limits::{MAX_BODY, MAX_CLUSTER};

/// The `typ` of a signed CA bundle.
pub const BUNDLE_TYP: &str = "boundkey-ca-bundle+jwt";

/// CAs of one kind, and signatures: while a CA is rotated there are two.
const MAX_CAS: usize = 8;
/// Of the note, in bytes.
const MAX_NOTE: usize = 1024;

/// The cluster's CAs. X.509: base64 DER of the certificates; SSH: OpenSSH public keys. Several of a kind while one is
/// rotated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaBundle {
    /// The cluster's name.
    pub cluster: String,
    /// Grows with every change.
    pub version: u64,
    /// CAs of the server's own certificate; their keys sign the next bundle.
    pub tls: Vec<String>,
    /// CAs of hosts' X.509 certificates.
    pub host: Vec<String>,
    /// CAs of bots' X.509 certificates.
    pub bot: Vec<String>,
    /// CAs of hosts' OpenSSH certificates.
    pub ssh_host: Vec<PublicKey>,
    /// CAs of users' (bots') OpenSSH certificates.
    pub ssh_user: Vec<PublicKey>,
    /// A sentence for people. (The content of an OpenSSH revoked keys file is served apart, at `/v1/krl`.)
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl CaBundle {
    /// The tls CA certificates, DER.
    pub fn tls_der(&self) -> Vec<Vec<u8>> {
        ders(&self.tls)
    }

    /// The host CA certificates, DER.
    pub fn host_der(&self) -> Vec<Vec<u8>> {
        ders(&self.host)
    }

    /// The bot CA certificates, DER.
    pub fn bot_der(&self) -> Vec<Vec<u8>> {
        ders(&self.bot)
    }

    fn check(&self) -> Result<(), BundleError> {
        if self.cluster.is_empty() || self.cluster.len() > MAX_CLUSTER || !self.cluster.chars().all(is_plain)
        {
            return Err(BundleError::Content("cluster"));
        }
        if self.note.as_ref().is_some_and(|note| note.len() > MAX_NOTE || !note.chars().all(is_plain)) {
            return Err(BundleError::Content("note"));
        }
        let lists = [("tls", &self.tls), ("host", &self.host), ("bot", &self.bot)];
        for (name, list) in lists {
            let readable = list.iter().all(|text| decode_standard(text).is_some_and(|der| !der.is_empty()));
            if list.len() > MAX_CAS || !readable {
                return Err(BundleError::Content(name));
            }
        }
        if self.tls.is_empty() {
            return Err(BundleError::Content("tls"));
        }
        if self.ssh_host.len() > MAX_CAS {
            return Err(BundleError::Content("ssh_host"));
        }
        if self.ssh_user.len() > MAX_CAS {
            return Err(BundleError::Content("ssh_user"));
        }
        Ok(())
    }
}

/// What cannot be decoded is left out; `check` has refused a bundle that holds any such thing.
fn ders(list: &[String]) -> Vec<Vec<u8>> {
    list.iter().filter_map(|text| decode_standard(text)).collect()
}

/// A bundle as compact JWS, one for each tls CA key in force, each over the same payload.
///
/// # Source
///
/// `docs/protocol.md`, "CA bundle".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SignedBundle(pub Vec<String>);

impl SignedBundle {
    /// Signs a bundle with the keys of all tls CAs in force.
    ///
    /// # Errors
    ///
    /// [`BundleError::Content`] for a bundle that clients would refuse, [`BundleError::Unsigned`] without a signer,
    /// [`BundleError::Sign`] when a key fails.
    pub fn sign(bundle: &CaBundle, signers: &[&dyn Signer]) -> Result<Self, BundleError> {
        bundle.check()?;
        if signers.is_empty() || signers.len() > MAX_CAS {
            return Err(BundleError::Unsigned);
        }
        let payload = serde_json::to_vec(bundle).expect("a bundle of strings and integers is always JSON");
        let signed = signers.iter().map(|signer| signer.sign_jws(BUNDLE_TYP, &payload));
        Ok(Self(signed.collect::<Result<_, _>>()?))
    }

    /// The bundle, if any of these keys (those of the tls CAs that the client already trusts) signed it.
    ///
    /// The caller compares its cluster with the one it belongs to.
    ///
    /// # Errors
    ///
    /// [`BundleError::Untrusted`] when none of them did: nothing of the bundle may be used.
    pub fn verify(&self, trusted: &[PublicKey]) -> Result<CaBundle, BundleError> {
        self.check_size()?;
        let payload = self
            .0
            .iter()
            .flat_map(|compact| trusted.iter().filter_map(|key| verify_jws(compact, BUNDLE_TYP, key).ok()))
            .map(|(_, payload)| payload)
            .next()
            .ok_or(BundleError::Untrusted)?;
        read(&payload)
    }

    /// Unverified content: only to learn the cluster's CAs over a first contact that was authenticated otherwise.
    ///
    /// # Errors
    ///
    /// [`BundleError`] when it is no bundle, or its signatures are not over the same payload.
    pub fn peek(&self) -> Result<CaBundle, BundleError> {
        self.check_size()?;
        let mut payloads = self.0.iter().map(|compact| compact.split('.').nth(1));
        let first = payloads.next().flatten().ok_or(BundleError::Unsigned)?;
        if payloads.any(|other| other != Some(first)) {
            return Err(BundleError::DifferentPayloads);
        }
        read(&decode(first).ok_or(BundleError::NotABundle)?)
    }

    fn check_size(&self) -> Result<(), BundleError> {
        if self.0.is_empty() {
            return Err(BundleError::Unsigned);
        }
        if self.0.len() > MAX_CAS || self.0.iter().map(String::len).sum::<usize>() > MAX_BODY {
            return Err(BundleError::TooLarge);
        }
        Ok(())
    }
}

fn read(payload: &[u8]) -> Result<CaBundle, BundleError> {
    let bundle: CaBundle = read_object(payload).map_err(|_| BundleError::NotABundle)?;
    bundle.check()?;
    Ok(bundle)
}

/// Why a CA bundle is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// No key that is trusted signed it.
    #[error("the CA bundle is not signed by a CA that is trusted")]
    Untrusted,
    /// It holds no signature, or nobody was there to sign.
    #[error("the CA bundle holds no signature")]
    Unsigned,
    /// Its signatures are over different payloads.
    #[error("the CA bundle's signatures are over different contents")]
    DifferentPayloads,
    /// More or longer than any bundle.
    #[error("the CA bundle is too large")]
    TooLarge,
    /// Not the JSON of a bundle.
    #[error("the CA bundle is not understood")]
    NotABundle,
    /// A member is empty, too long or not base64.
    #[error("the CA bundle's `{0}` is not usable")]
    Content(&'static str),
    /// A CA key failed to sign.
    #[error("the CA bundle cannot be signed")]
    Sign(#[from] KeyFileError),
}
