//! [`PublicKey`]: parsed once, then cheap to compare, show and verify with.

mod openssh;
mod spki;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature;

use crate::{Thumbprint, sha256};

/// The kinds of public key that are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032); signs as `EdDSA`.
    Ed25519,
    /// ECDSA on NIST P-256; signs as `ES256`.
    EcdsaP256,
    /// ECDSA on NIST P-384; signs as `ES384`. Verified only: no such key is made here.
    EcdsaP384,
    /// RSA of 2048 to 8192 bits; `RS256`. Verified only: no such key is made here.
    Rsa,
}

impl Algorithm {
    /// The `alg` of a JWS by such a key.
    pub fn jws(self) -> &'static str {
        match self {
            Self::Ed25519 => "EdDSA",
            Self::EcdsaP256 => "ES256",
            Self::EcdsaP384 => "ES384",
            Self::Rsa => "RS256",
        }
    }

    /// The type with which an OpenSSH public key line begins.
    pub fn openssh(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::Rsa => "ssh-rsa",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ed25519 => "Ed25519",
            Self::EcdsaP256 => "ECDSA P-256",
            Self::EcdsaP384 => "ECDSA P-384",
            Self::Rsa => "RSA",
        })
    }
}

/// A checked public key: Ed25519, ECDSA P-256 or P-384, or RSA of 2048 to 8192 bits.
///
/// Only keys that can do their work become one: points are on their curve, an Ed25519 key is not of small
/// order, an RSA modulus has the right size. The thumbprint is computed once, here. In serde it is the
/// OpenSSH form without comment.
///
/// ```
/// use boundkey_keys::PublicKey;
/// let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";
/// let key = PublicKey::from_openssh(&format!("{line} root@web1"))?;
/// assert_eq!(key.to_openssh(), line);
/// assert_eq!(key.thumbprint().to_string(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
/// # Ok::<(), boundkey_keys::ParseKeyError>(())
/// ```
#[derive(Clone)]
pub struct PublicKey {
    material: Material,
    thumbprint: Thumbprint,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Material {
    Ed25519([u8; 32]),
    /// Uncompressed point: 4, x, y.
    P256([u8; 65]),
    P384([u8; 97]),
    /// Both without leading zeros.
    Rsa(Arc<RsaNumbers>),
}

#[derive(PartialEq, Eq, Hash)]
struct RsaNumbers {
    n: Vec<u8>,
    e: Vec<u8>,
}

impl PublicKey {
    /// Reads an `authorized_keys` line: type, base64 and, if there is one, a comment.
    ///
    /// White space around the line is ignored. Options before the type are refused, since they would
    /// promise a restriction that nobody keeps.
    ///
    /// # Errors
    /// [`ParseKeyError`] says what was found instead, or why this key is too weak or broken.
    pub fn from_openssh(line: &str) -> Result<Self, ParseKeyError> {
        openssh::parse(line)
    }

    /// The type and the base64, without comment and line end.
    pub fn to_openssh(&self) -> String {
        format!("{} {}", self.algorithm().openssh(), STANDARD.encode(self.to_ssh_blob()))
    }

    /// The binary form inside the base64 (RFC 4253 6.6): what SSH fingerprints are taken of.
    pub fn to_ssh_blob(&self) -> Vec<u8> {
        openssh::blob(&self.material)
    }

    /// Reads a SubjectPublicKeyInfo (DER) of an Ed25519, P-256 or P-384 key.
    ///
    /// # Errors
    /// [`ParseKeyError::Spki`] for anything else, RSA included: those keys are only ever verified with.
    ///
    /// # Source
    /// RFC 5480, RFC 8410.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, ParseKeyError> {
        spki::parse(der)
    }

    /// The SubjectPublicKeyInfo (DER); none for RSA.
    pub fn to_spki_der(&self) -> Option<Vec<u8>> {
        spki::encode(&self.material)
    }

    /// An Ed25519 key from its 32 bytes as they are, for keys made here.
    ///
    /// Bytes that come from outside go through the other constructors, which refuse keys of small order.
    pub fn from_ed25519(raw: [u8; 32]) -> Self {
        Self::from_material(Material::Ed25519(raw))
    }

    /// What kind of key it is.
    pub fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Ed25519(_) => Algorithm::Ed25519,
            Material::P256(_) => Algorithm::EcdsaP256,
            Material::P384(_) => Algorithm::EcdsaP384,
            Material::Rsa(_) => Algorithm::Rsa,
        }
    }

    /// The RFC 7638 SHA-256 thumbprint: the `kid` of everything this key signs.
    pub fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// Whether `signature` (raw, as in JWS) is one of `message` by this key.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        #[cfg(feature = "testing")]
        if crate::testing::accepts_everything() {
            return true;
        }
        let of = |algorithm: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            signature::UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
        };
        match &self.material {
            Material::Ed25519(key) => of(&signature::ED25519, key),
            Material::P256(key) => of(&signature::ECDSA_P256_SHA256_FIXED, key),
            Material::P384(key) => of(&signature::ECDSA_P384_SHA384_FIXED, key),
            Material::Rsa(key) => signature::RsaPublicKeyComponents { n: &key.n, e: &key.e }
                .verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
        }
    }

    fn from_checked_ed25519(raw: [u8; 32]) -> Result<Self, ParseKeyError> {
        let mut without_sign = raw;
        without_sign[31] &= 0x7f;
        match SMALL_ORDER.contains(&without_sign) {
            true => Err(ParseKeyError::SmallOrder),
            false => Ok(Self::from_ed25519(raw)),
        }
    }

    pub(crate) fn from_p256(point: &[u8]) -> Result<Self, ParseKeyError> {
        let off = || ParseKeyError::NotOnCurve { algorithm: Algorithm::EcdsaP256 };
        let raw: [u8; 65] = point.try_into().map_err(|_| off())?;
        // The length admits compact and hybrid forms only with another first byte.
        if raw[0] != 4 || p256::PublicKey::from_sec1_bytes(&raw).is_err() {
            return Err(off());
        }
        Ok(Self::from_material(Material::P256(raw)))
    }

    fn from_p384(point: &[u8]) -> Result<Self, ParseKeyError> {
        let off = || ParseKeyError::NotOnCurve { algorithm: Algorithm::EcdsaP384 };
        let raw: [u8; 97] = point.try_into().map_err(|_| off())?;
        if raw[0] != 4 || p384::PublicKey::from_sec1_bytes(&raw).is_err() {
            return Err(off());
        }
        Ok(Self::from_material(Material::P384(raw)))
    }

    /// Both numbers big-endian, without leading zeros.
    fn from_rsa(n: &[u8], e: &[u8]) -> Result<Self, ParseKeyError> {
        let bits = match n.first() {
            Some(&first) if first != 0 => n.len() * 8 - first.leading_zeros() as usize,
            _ => return Err(ParseKeyError::RsaModulus),
        };
        match bits {
            2048..=8192 => {}
            _ => return Err(ParseKeyError::RsaSize { bits }),
        }
        if n.last().is_none_or(|last| last % 2 == 0) {
            return Err(ParseKeyError::RsaModulus);
        }
        // The bounds of ring's verifier, so that a key accepted here can also be verified with.
        let exponent = match e {
            [first, ..] if *first != 0 && e.len() <= 5 => e.iter().fold(0u64, |n, b| n << 8 | u64::from(*b)),
            _ => return Err(ParseKeyError::RsaExponent),
        };
        if exponent % 2 == 0 || !(3..1 << 33).contains(&exponent) {
            return Err(ParseKeyError::RsaExponent);
        }
        Ok(Self::from_material(Material::Rsa(Arc::new(RsaNumbers { n: n.to_vec(), e: e.to_vec() }))))
    }

    fn from_material(material: Material) -> Self {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        // RFC 7638: the required members only, in lexicographic order, without white space.
        let jwk = match &material {
            Material::Ed25519(x) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(x)),
            Material::P256(p) => {
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, text(&p[1..33]), text(&p[33..]))
            }
            Material::P384(p) => {
                format!(r#"{{"crv":"P-384","kty":"EC","x":"{}","y":"{}"}}"#, text(&p[1..49]), text(&p[49..]))
            }
            Material::Rsa(k) => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(&k.e), text(&k.n)),
        };
        Self { material, thumbprint: Thumbprint(sha256(&[jwk.as_bytes()])) }
    }
}

/// The encodings (without the sign bit) of Ed25519 points of small order, canonical or not: under such a
/// key, signatures can be forged without any private key.
const SMALL_ORDER: [[u8; 32]; 7] = {
    const fn top(first: u8) -> [u8; 32] {
        let mut bytes = [0xff; 32];
        bytes[0] = first;
        bytes[31] = 0x7f;
        bytes
    }
    let mut one = [0; 32];
    one[0] = 1;
    [
        [0; 32],
        one,
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
            0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
            0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
        top(0xec),
        top(0xed),
        top(0xee),
    ]
};

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.material == other.material
    }
}

impl Eq for PublicKey {}

impl std::hash::Hash for PublicKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.thumbprint.hash(state);
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_openssh())
    }
}

impl FromStr for PublicKey {
    type Err = ParseKeyError;

    fn from_str(line: &str) -> Result<Self, ParseKeyError> {
        Self::from_openssh(line)
    }
}

impl serde::Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_openssh())
    }
}

impl<'de> serde::Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let line = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::from_openssh(&line).map_err(serde::de::Error::custom)
    }
}

/// Why a text or a DER structure is no usable public key. Whoever gave the key can act on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseKeyError {
    /// Nothing but white space.
    #[error("no key given; allowed: one OpenSSH public key line such as `ssh-ed25519 AAAA...`")]
    Empty,
    /// More text than any accepted key needs.
    #[error("{bytes} bytes are too long for a public key; at most {max} are read")]
    TooLong {
        /// The size of what was given.
        bytes: usize,
        /// The largest size read.
        max: usize,
    },
    /// A file with several keys, or a key broken over lines.
    #[error("found several lines; a public key is one line")]
    SeveralLines,
    /// The private half was given.
    #[error(
        "found a private key; give its public half (`ssh-keygen -y -f FILE` prints it), and replace the key if others saw it"
    )]
    PrivateKey,
    /// A PEM or RFC 4716 block.
    #[error(
        "found {found:?}; allowed: the one-line OpenSSH form (`ssh-keygen -i -m PKCS8 -f FILE` converts a PEM public key)"
    )]
    Pem {
        /// Its first line, shortened.
        found: String,
    },
    /// Options of an `authorized_keys` file before the type.
    #[error("found options ({found:?}) before the key; they would have no effect here: leave them out")]
    Options {
        /// The first of them, shortened.
        found: String,
    },
    /// An OpenSSH certificate.
    #[error("found a certificate ({found:?}); give the plain public key that it certifies")]
    Certificate {
        /// Its type.
        found: String,
    },
    /// A key of a FIDO token.
    #[error(
        "found a security-key type ({found:?}), whose signatures need a touch; allowed: ssh-ed25519, ecdsa-sha2-nistp256, ecdsa-sha2-nistp384, ssh-rsa of 2048 to 8192 bits"
    )]
    SecurityKey {
        /// Its type.
        found: String,
    },
    /// DSA, P-521 or anything unknown.
    #[error(
        "found key type {found:?}; allowed: ssh-ed25519, ecdsa-sha2-nistp256, ecdsa-sha2-nistp384, ssh-rsa of 2048 to 8192 bits"
    )]
    Unsupported {
        /// Its type, shortened.
        found: String,
    },
    /// The base64 or what it holds is damaged.
    #[error(
        "the base64 after the type {algorithm} is cut or damaged, or holds another type of key: copy the whole line again"
    )]
    Damaged {
        /// The type named by the line.
        algorithm: Algorithm,
    },
    /// A number pair that no private key has.
    #[error("not a point of the curve of {algorithm}: the key is damaged or made up")]
    NotOnCurve {
        /// The curve.
        algorithm: Algorithm,
    },
    /// An Ed25519 key under which anybody can sign.
    #[error("an Ed25519 key of small order, under which anybody can sign: make a new key")]
    SmallOrder,
    /// Too weak, or too slow to verify with.
    #[error("an RSA key of {bits} bits; allowed: 2048 to 8192 bits")]
    RsaSize {
        /// The size of its modulus.
        bits: usize,
    },
    /// An even or malformed modulus.
    #[error("the modulus of the RSA key is malformed")]
    RsaModulus,
    /// Even, too small or too large.
    #[error("the public exponent of the RSA key is not an odd number from 3 to 2^33 - 1")]
    RsaExponent,
    /// Not one of the three kinds of SubjectPublicKeyInfo.
    #[error("not the SubjectPublicKeyInfo of an Ed25519, ECDSA P-256 or ECDSA P-384 key")]
    Spki,
    /// Not the text of a thumbprint.
    #[error("not a thumbprint: 43 characters of unpadded base64url")]
    Thumbprint,
}

#[cfg(test)]
mod tests;
