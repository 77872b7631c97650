//! Finds the one private key block of a key file and says what the file is if it has none.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::KeyFileError;

/// The largest key file that is read; it may hold comments and certificates beside the key.
const MAX_FILE_BYTES: usize = 64 * 1024;

/// A block by its label.
pub(crate) enum Block {
    /// `PRIVATE KEY`: PKCS#8 DER.
    Pkcs8(Zeroizing<Vec<u8>>),
    /// `OPENSSH PRIVATE KEY`: OpenSSH's own binary form.
    OpenSsh(Zeroizing<Vec<u8>>),
}

pub(crate) fn private_key(file: &[u8]) -> Result<Block, KeyFileError> {
    if file.len() > MAX_FILE_BYTES {
        return Err(KeyFileError::TooLong { bytes: file.len(), max: MAX_FILE_BYTES });
    }
    let text = std::str::from_utf8(file).map_err(|_| not_text(file))?;
    let mut blocks = blocks(text)?.into_iter().filter(|block| block.label.ends_with("PRIVATE KEY"));
    let Some(block) = blocks.next() else { return Err(no_private_key(text)) };
    if blocks.next().is_some() {
        return Err(KeyFileError::SeveralKeys);
    }
    match block.label {
        // The older way of encryption keeps the label and says so in a header.
        _ if block.body.contains("Proc-Type:") => Err(KeyFileError::Encrypted { form: "PEM" }),
        "PRIVATE KEY" => base64(block.body).map(Block::Pkcs8),
        // Not by the OpenSSH parser's own PEM reader, which takes lines of 70 characters only.
        "OPENSSH PRIVATE KEY" => base64(block.body).map(Block::OpenSsh),
        "ENCRYPTED PRIVATE KEY" => Err(KeyFileError::Encrypted { form: "PKCS#8" }),
        "RSA PRIVATE KEY" | "DSA PRIVATE KEY" => Err(KeyFileError::Unsupported {
            found: block.label.split(' ').next().unwrap_or_default().to_owned(),
        }),
        "EC PRIVATE KEY" => Err(KeyFileError::OlderForm { label: block.label.to_owned() }),
        other => Err(KeyFileError::Unsupported { found: other.chars().take(40).collect() }),
    }
}

struct Pem<'a> {
    label: &'a str,
    body: &'a str,
}

fn blocks(text: &str) -> Result<Vec<Pem<'_>>, KeyFileError> {
    const BEGIN: &str = "-----BEGIN ";
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let whole = &rest[at..];
        let (label, after) = whole[BEGIN.len()..].split_once("-----").ok_or(KeyFileError::Cut)?;
        let end = format!("-----END {label}-----");
        let length = after.find(&end).ok_or(KeyFileError::Cut)?;
        let consumed = whole.len() - after.len() + length + end.len();
        found.push(Pem { label, body: &after[..length] });
        rest = &whole[consumed..];
    }
    Ok(found)
}

fn base64(body: &str) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let mut packed = Zeroizing::new(Vec::with_capacity(body.len()));
    packed.extend(body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    // Decoded into a buffer of the final size, so that no copy is left behind by growing.
    let mut out = Zeroizing::new(vec![0; packed.len() / 4 * 3 + 3]);
    let length = STANDARD.decode_slice(packed.as_slice(), &mut out).map_err(|_| KeyFileError::Damaged)?;
    out.truncate(length);
    Ok(out)
}

fn no_private_key(text: &str) -> KeyFileError {
    let start = text.trim_start();
    if start.is_empty() {
        KeyFileError::Empty
    } else if start.starts_with("PuTTY-User-Key-File") {
        KeyFileError::Putty
    } else if start.contains("-----BEGIN CERTIFICATE") || start.contains("-cert-v01@openssh.com") {
        KeyFileError::Certificate
    } else if start.contains("PUBLIC KEY-----")
        || start.starts_with("ssh-")
        || start.starts_with("ecdsa-sha2-")
    {
        KeyFileError::PublicKey
    } else {
        KeyFileError::NotAKey
    }
}

fn not_text(file: &[u8]) -> KeyFileError {
    match file.first() {
        Some(0x30) => KeyFileError::Der,
        _ => KeyFileError::NotAKey,
    }
}

/// PEM with lines of `width` characters: 64 by RFC 7468, 70 as OpenSSH writes its own form.
pub(crate) fn encode(label: &str, width: usize, der: &[u8]) -> Zeroizing<String> {
    let mut packed = Zeroizing::new(vec![0; der.len().div_ceil(3) * 4]);
    let length = STANDARD.encode_slice(der, &mut packed).expect("the buffer has the size of the encoding");
    let mut out = Zeroizing::new(String::with_capacity(length + length / width + 2 * label.len() + 64));
    out.push_str("-----BEGIN ");
    out.push_str(label);
    out.push_str("-----\n");
    for line in packed[..length].chunks(width) {
        out.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        out.push('\n');
    }
    out.push_str("-----END ");
    out.push_str(label);
    out.push_str("-----\n");
    out
}
