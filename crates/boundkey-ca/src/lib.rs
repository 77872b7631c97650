//! Certificate profiles to X.509 and OpenSSH certificates, CRL and KRL. Signs; decides nothing, keeps nothing.
#![allow(missing_docs, unused_variables, clippy::todo, reason = "skeleton")]
mod authority;
mod crl;
mod inspect;
mod krl;
mod lint;
mod serial;
mod ssh;
mod x509;

pub use authority::{AuthorityKey, CaError, SshAuthority, X509Authority};
pub use crl::revocation_list;
pub use inspect::{LeafView, inspect_leaf, spki_pin};
pub use krl::key_revocation_list;
pub use lint::LintError;
pub use serial::{Serials, derive_serials};
pub use ssh::{SshProfile, SshRequest};
pub use x509::{LeafProfile, LeafRequest, RESULT_EXTENSION_OID, ROLES_EXTENSION_OID};
