//! [`PrivateKey`]: made or loaded here, signs, and writes itself in the forms that others read.

mod openssh;

use std::sync::Arc;

use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

use crate::pkcs8::Contents;
use crate::{Algorithm, PublicKey, pem, pkcs8, sign_jws};

/// A private key made or loaded here: Ed25519 or ECDSA P-256.
///
/// There is no `Clone` and no `Debug` of the content. The bytes it was made from are wiped on drop; the
/// expanded form inside *ring* is not (*ring* offers no way).
///
/// ```
/// use boundkey_keys::PrivateKey;
/// let key = PrivateKey::ed25519_from_seed(&[7; 32]);
/// let again = PrivateKey::from_pem(key.to_openssh_pem("root@web1").as_bytes())?;
/// assert_eq!(again.public_key(), key.public_key());
/// # Ok::<(), boundkey_keys::KeyFileError>(())
/// ```
pub struct PrivateKey(Arc<Inner>);

struct Inner {
    public: PublicKey,
    pair: Pair,
}

enum Pair {
    Ed25519 { seed: Zeroizing<[u8; 32]>, pair: Ed25519KeyPair },
    P256 { scalar: Zeroizing<[u8; 32]>, point: [u8; 65], pair: Box<EcdsaKeyPair> },
}

impl PrivateKey {
    /// The Ed25519 key of a seed. Deterministic: the caller passes the randomness in.
    pub fn ed25519_from_seed(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("every 32 bytes are a seed");
        let raw = pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes");
        let public = PublicKey::from_ed25519(raw);
        Self(Arc::new(Inner { public, pair: Pair::Ed25519 { seed: Zeroizing::new(*seed), pair } }))
    }

    /// A new P-256 key from the system's randomness (*ring* allows no other source).
    ///
    /// # Errors
    /// [`KeyFileError::Randomness`] if the system gives none.
    pub fn generate_p256() -> Result<Self, KeyFileError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| KeyFileError::Randomness)?;
        Self::from_pkcs8_der(document.as_ref())
    }

    /// Reads PKCS#8 DER, version 1 or 2, of an Ed25519 or P-256 key.
    ///
    /// # Errors
    /// [`KeyFileError`] says what was found instead.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyFileError> {
        match pkcs8::read(der)? {
            Contents::Ed25519 { seed, public } => {
                let key = Self::ed25519_from_seed(&seed);
                match public {
                    Some(public) if PublicKey::from_ed25519(public) != *key.public_key() => {
                        Err(KeyFileError::HalvesDiffer)
                    }
                    _ => Ok(key),
                }
            }
            Contents::P256 { scalar, public } => Self::p256(scalar, public.as_deref()),
        }
    }

    /// Reads a key file: PKCS#8 PEM or unencrypted OpenSSH PEM, Ed25519 or P-256. Other blocks beside the
    /// one private key (certificates, parameters) are ignored.
    ///
    /// # Errors
    /// [`KeyFileError`]; everything else has its own variant that says what to do.
    pub fn from_pem(file: &[u8]) -> Result<Self, KeyFileError> {
        match pem::private_key(file)? {
            pem::Block::Pkcs8(der) => Self::from_pkcs8_der(&der),
            pem::Block::OpenSsh(binary) => openssh::parse(&binary),
        }
    }

    /// PKCS#8 DER, version 1.
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        match &self.0.pair {
            Pair::Ed25519 { seed, .. } => pkcs8::encode_ed25519(seed),
            Pair::P256 { scalar, point, .. } => pkcs8::encode_p256(scalar, point),
        }
    }

    /// PKCS#8 PEM: what nginx, OpenSSL and most others read.
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        pem::encode("PRIVATE KEY", 64, &self.to_pkcs8_der())
    }

    /// OpenSSH's own form, unencrypted: what sshd and ssh read. Control characters of the comment become
    /// blanks.
    pub fn to_openssh_pem(&self, comment: &str) -> Zeroizing<String> {
        openssh::encode(&self.0.public, &self.0.pair, comment)
    }

    /// Ed25519 or ECDSA P-256.
    pub fn algorithm(&self) -> Algorithm {
        self.0.public.algorithm()
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.0.public
    }

    /// The raw signature of a message: 64 bytes, Ed25519 or ECDSA r and s (as in JWS).
    ///
    /// # Errors
    /// [`KeyFileError::Randomness`] if the system gives none (P-256 only).
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyFileError> {
        match &self.0.pair {
            Pair::Ed25519 { pair, .. } => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::P256 { pair, .. } => pair
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| KeyFileError::Randomness),
        }
    }

    /// Another handle to the same key; the key itself is wiped when the last one is dropped.
    pub fn duplicate(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl PrivateKey {
    /// `public` is computed if it is not known, and checked if it is.
    fn p256(scalar: Zeroizing<[u8; 32]>, public: Option<&[u8]>) -> Result<Self, KeyFileError> {
        let computed;
        let public = match public {
            Some(public) => public,
            None => {
                let key =
                    p256::SecretKey::from_slice(scalar.as_slice()).map_err(|_| KeyFileError::Damaged)?;
                computed = key.public_key().to_encoded_point(false);
                computed.as_bytes()
            }
        };
        let point: [u8; 65] = public.try_into().map_err(|_| KeyFileError::Damaged)?;
        // Recomputes the public half and compares.
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            scalar.as_slice(),
            &point,
            &SystemRandom::new(),
        )
        .map_err(|_| KeyFileError::HalvesDiffer)?;
        let public = PublicKey::from_p256(&point).map_err(|_| KeyFileError::HalvesDiffer)?;
        Ok(Self(Arc::new(Inner { public, pair: Pair::P256 { scalar, point, pair: Box::new(pair) } })))
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey(of {})", self.0.public)
    }
}

/// Signs JWS without giving the key away: implemented by [`PrivateKey`], by the keystore's handles, later by
/// hardware.
///
/// An implementation that signs with another key than `public_key` says produces proofs that nobody accepts.
pub trait Signer {
    /// The public half of the key that signs.
    fn public_key(&self) -> &PublicKey;

    /// A compact JWS as [`sign_jws`] makes it.
    ///
    /// # Errors
    /// [`KeyFileError::Randomness`] or [`KeyFileError::Signing`] if the key cannot be used just now.
    fn sign_jws(&self, typ: &str, payload: &[u8]) -> Result<String, KeyFileError>;
}

impl Signer for PrivateKey {
    fn public_key(&self) -> &PublicKey {
        PrivateKey::public_key(self)
    }

    fn sign_jws(&self, typ: &str, payload: &[u8]) -> Result<String, KeyFileError> {
        sign_jws(self, typ, payload)
    }
}

/// Why a private key cannot be read or used. Nothing of a key is ever part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// An empty file.
    #[error("the key file is empty: it was cut when it was written or copied")]
    Empty,
    /// More than any key file needs.
    #[error("{bytes} bytes are too long for a key file; at most {max} are read")]
    TooLong {
        /// What was found.
        bytes: usize,
        /// The largest size read.
        max: usize,
    },
    /// Neither PEM nor anything recognised.
    #[error("not a private key file; allowed: PEM with `BEGIN PRIVATE KEY` or `BEGIN OPENSSH PRIVATE KEY`")]
    NotAKey,
    /// A PEM block without its last line.
    #[error("the key file is cut: a `BEGIN` line has no `END` line")]
    Cut,
    /// The block does not hold what its label says.
    #[error("the private key is damaged or was edited: restore it from its copy, or make a new one")]
    Damaged,
    /// Several private keys in one file.
    #[error("found several private keys in one file; keep one")]
    SeveralKeys,
    /// The public half was given.
    #[error(
        "found a public key; the private half is needed (for a key made by ssh-keygen the file without `.pub`)"
    )]
    PublicKey,
    /// A certificate was given.
    #[error("found a certificate without a private key; the private key is needed")]
    Certificate,
    /// Protected by a passphrase.
    #[error(
        "found an encrypted {form} key, and nobody is there to type its passphrase: give an unencrypted copy that only its user can read (`ssh-keygen -p -N '' -f COPY`, or `openssl pkey -in FILE -out COPY`)"
    )]
    Encrypted {
        /// `PKCS#8`, `PEM` or `OpenSSH`.
        form: &'static str,
    },
    /// PuTTY's own form.
    #[error("found a PuTTY key; convert it with `puttygen FILE -O private-openssh-new -o NEW`")]
    Putty,
    /// DER where PEM is read.
    #[error("found DER or another binary form; convert it with `openssl pkey -inform DER -in FILE -out NEW`")]
    Der,
    /// SEC 1, which older tools write for elliptic curves.
    #[error(
        "found the older form {label:?}; convert it with `openssl pkcs8 -topk8 -nocrypt -in FILE -out NEW`"
    )]
    OlderForm {
        /// Its label.
        label: String,
    },
    /// RSA, P-384 and all others: accepted as public keys at most.
    #[error("found a private key {found}; allowed: Ed25519 (`ssh-keygen -t ed25519`) and ECDSA P-256")]
    Unsupported {
        /// Its algorithm, as far as it is known.
        found: String,
    },
    /// The public half stored beside it belongs to another key.
    #[error(
        "the private and the public half in the key file do not belong together: restore it from its copy"
    )]
    HalvesDiffer,
    /// `getrandom` failed.
    #[error("the system gives no random bytes")]
    Randomness,
    /// For [`Signer`]s whose key is elsewhere.
    #[error("the key cannot sign: {reason}")]
    Signing {
        /// In the words of the device or service.
        reason: String,
    },
}

#[cfg(test)]
mod tests;
