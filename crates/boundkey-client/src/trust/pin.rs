use std::fmt;
use std::str::FromStr;

use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A pin: SHA-256 of a certificate's SubjectPublicKeyInfo, written `sha256:` and 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

/// A text that is no pin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a pin; allowed: `sha256:` and 64 hexadecimal digits, as the server prints it")]
pub struct PinError {
    /// The text.
    pub found: String,
}

impl Pin {
    /// The pin of a certificate (DER); None if it is no certificate.
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(Self(boundkey_keys::sha256(&[certificate.public_key().raw])))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let error = || PinError { found: text.to_owned() };
        let hex = boundkey_keys::tidy(text).strip_prefix("sha256:").ok_or_else(error)?.as_bytes();
        if hex.len() != 64 {
            return Err(error());
        }
        let mut pin = [0; 32];
        for (byte, pair) in pin.iter_mut().zip(hex.chunks_exact(2)) {
            let digits = std::str::from_utf8(pair).map_err(|_| error())?;
            // `from_str_radix` also reads a sign.
            if !pair.iter().all(u8::is_ascii_hexdigit) {
                return Err(error());
            }
            *byte = u8::from_str_radix(digits, 16).map_err(|_| error())?;
        }
        Ok(Self(pin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_reads_what_it_writes_in_either_letter_case() {
        let text = format!("sha256:{}", "0a".repeat(32));
        let pin: Pin = text.parse().unwrap();
        assert_eq!(pin.to_string(), text);
        assert_eq!(format!("sha256:{}", "0A".repeat(32)).parse::<Pin>().unwrap(), pin);
    }

    #[test]
    fn what_is_no_pin_is_refused_with_what_is_allowed() {
        for bad in ["", "sha256:", "sha512:00", &format!("sha256:{}", "+a".repeat(32)), &"0a".repeat(32)] {
            assert_eq!(bad.parse::<Pin>(), Err(PinError { found: bad.to_owned() }), "{bad}");
        }
    }
}
