//! OpenSSH's own private key form (`openssh-key-v1`).
//!
//! Read and written here: the ssh-key crate builds no P-256 key without RustCrypto's ECDSA, and refuses the
//! one in 256 whose number has a leading zero byte, which OpenSSH leaves out.

use zeroize::Zeroizing;

use super::{Pair, PrivateKey};
use crate::{Algorithm, KeyFileError, PublicKey, pem, sha256};

const MAGIC: &[u8] = b"openssh-key-v1\0";

/// # Source
/// `PROTOCOL.key` of OpenSSH.
pub(super) fn parse(binary: &[u8]) -> Result<PrivateKey, KeyFileError> {
    let mut outer = Fields(binary.strip_prefix(MAGIC).ok_or(KeyFileError::Damaged)?);
    let (cipher, derivation) = (outer.string()?, outer.string()?);
    if cipher != b"none" || derivation != b"none" {
        return Err(KeyFileError::Encrypted { form: "OpenSSH" });
    }
    let options = outer.string()?;
    if !options.is_empty() || outer.number()? != 1 {
        return Err(KeyFileError::Damaged);
    }
    let blob = outer.string()?;
    let mut inner = Fields(outer.string()?);
    if !outer.0.is_empty() || inner.number()? != inner.number()? {
        return Err(KeyFileError::Damaged);
    }
    let name = inner.string()?;
    let key = if name == Algorithm::Ed25519.openssh().as_bytes() {
        ed25519(&mut inner)?
    } else if name == Algorithm::EcdsaP256.openssh().as_bytes() {
        p256(&mut inner)?
    } else {
        let found = boundkey_text::clean(&String::from_utf8_lossy(name), 40);
        return Err(KeyFileError::Unsupported { found });
    };
    let _comment = inner.string()?;
    if inner.0.len() >= 8 || inner.0.iter().zip(1..).any(|(found, expected)| *found != expected) {
        return Err(KeyFileError::Damaged);
    }
    match key.public_key().to_ssh_blob() == blob {
        true => Ok(key),
        false => Err(KeyFileError::HalvesDiffer),
    }
}

fn ed25519(fields: &mut Fields<'_>) -> Result<PrivateKey, KeyFileError> {
    let public = fields.string()?;
    let (seed, repeated) = fields.string()?.split_first_chunk::<32>().ok_or(KeyFileError::Damaged)?;
    let key = PrivateKey::ed25519_from_seed(seed);
    let computed = key.public_key().to_ssh_blob();
    match computed.ends_with(public) && public.len() == 32 && public == repeated {
        true => Ok(key),
        false => Err(KeyFileError::HalvesDiffer),
    }
}

fn p256(fields: &mut Fields<'_>) -> Result<PrivateKey, KeyFileError> {
    if fields.string()? != b"nistp256" {
        return Err(KeyFileError::Damaged);
    }
    let point = fields.string()?;
    let number = fields.string()?;
    let digits = match number {
        [0, rest @ ..] => rest,
        [1..0x80, ..] => number,
        _ => return Err(KeyFileError::Damaged),
    };
    let mut scalar = Zeroizing::new([0; 32]);
    let start = scalar.len().checked_sub(digits.len()).ok_or(KeyFileError::Damaged)?;
    scalar[start..].copy_from_slice(digits);
    PrivateKey::p256(scalar, Some(point))
}

/// Reads numbers and length-prefixed strings (RFC 4251 5) one after another; copies nothing.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Result<u32, KeyFileError> {
        let (number, rest) = self.0.split_first_chunk().ok_or(KeyFileError::Damaged)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number))
    }

    fn string(&mut self) -> Result<&'a [u8], KeyFileError> {
        let length = usize::try_from(self.number()?).map_err(|_| KeyFileError::Damaged)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(KeyFileError::Damaged)?;
        self.0 = rest;
        Ok(string)
    }
}

/// # Source
/// `PROTOCOL.key` of OpenSSH.
pub(super) fn encode(public: &PublicKey, pair: &Pair, comment: &str) -> Zeroizing<String> {
    let blob = public.to_ssh_blob();
    // OpenSSH puts the same random number twice, to notice a wrong passphrase. There is none here, and a
    // number derived from the public half keeps the output deterministic.
    let check = sha256(&[&blob]);
    let comment: String = comment.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut private = Zeroizing::new(Vec::with_capacity(512 + comment.len()));
    private.extend(&check[..4]);
    private.extend(&check[..4]);
    // In both forms the private part begins with the fields of the public one.
    private.extend(&blob);
    match pair {
        Pair::Ed25519 { seed, .. } => {
            let raw = &blob[blob.len() - 32..];
            length(&mut private, 64);
            private.extend(seed.iter());
            private.extend(raw);
        }
        Pair::P256 { scalar, .. } => mpint(&mut private, scalar),
    }
    string(&mut private, comment.as_bytes());
    // Padded to the block size of `none`, which is 8.
    for byte in 1..=(8 - private.len() % 8) % 8 {
        private.push(byte as u8);
    }
    let mut out = Zeroizing::new(Vec::with_capacity(1024 + comment.len()));
    out.extend(MAGIC);
    for part in [&b"none"[..], b"none", b""] {
        string(&mut out, part);
    }
    length(&mut out, 1);
    string(&mut out, &blob);
    string(&mut out, &private);
    pem::encode("OPENSSH PRIVATE KEY", 70, &out)
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    length(out, bytes.len());
    out.extend(bytes);
}

/// A positive number: no leading zero bytes but the one that keeps its sign.
fn mpint(out: &mut Vec<u8>, scalar: &[u8; 32]) {
    let start = scalar.iter().position(|byte| *byte != 0).unwrap_or(scalar.len());
    let digits = &scalar[start..];
    let sign = usize::from(digits.first().is_some_and(|first| *first >= 0x80));
    length(out, digits.len() + sign);
    out.extend(&[0][..sign]);
    out.extend(digits);
}

fn length(out: &mut Vec<u8>, bytes: usize) {
    out.extend(u32::try_from(bytes).expect("a key file is far below 4 GiB").to_be_bytes());
}
