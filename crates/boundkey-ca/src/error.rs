use boundkey_keys::KeyFileError;

use crate::LintError;

/// Why nothing was signed, read or listed.
///
/// `Refused` names what the caller asked for; `Key`, `NotAnAuthority`, `OtherKey` and `Unreadable` name
/// material that an administrator supplied or a store returned; `Encoding` is a fault of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaError {
    /// The request, or what would have been signed for it, broke a rule. Nothing was signed.
    #[error(transparent)]
    Refused(#[from] LintError),
    /// The private key is of no use here.
    #[error("the CA key cannot be used")]
    Key(#[from] KeyFileError),
    /// These bytes are not the document they should be.
    #[error("not a readable {document}: {reason}")]
    Unreadable {
        /// What the bytes should have been.
        document: &'static str,
        /// What the parser met.
        reason: String,
    },
    /// A certificate that may not sign others.
    #[error("not a usable CA certificate: {reason}")]
    NotAnAuthority {
        /// What it lacks.
        reason: &'static str,
    },
    /// The certificate belongs to another key than the one given.
    #[error("the CA certificate is of key {found}, the private key is {expected}")]
    OtherKey {
        /// Pin of the key in the certificate.
        found: String,
        /// Pin of the key given.
        expected: String,
    },
    /// An encoder refused what the lints had let pass: a bug.
    #[error("cannot encode the certificate: {reason}")]
    Encoding {
        /// The encoder's own words.
        reason: String,
    },
}

impl CaError {
    pub(crate) fn encoding(reason: impl std::fmt::Display) -> Self {
        Self::Encoding { reason: reason.to_string() }
    }

    pub(crate) fn unreadable(document: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Unreadable { document, reason: reason.to_string() }
    }
}
