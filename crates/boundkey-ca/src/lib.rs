//! Certificate authorities: profiles to X.509 and OpenSSH certificates, CRL and KRL.
//!
//! It decides nothing (who may have which names is decided before), keeps nothing (keys come in as PKCS#8 and
//! leave as PKCS#8, to be sealed by the caller), reads no clock, and draws no randomness but ECDSA's nonces and
//! [`AuthorityKey::generate_p256`]. Whoever holds an authority can sign anything that passes the lints.
//!
//! ```text
//!  LeafRequest --lint--> encode --lint the encoded bytes--> sign --> DER
//!  SshRequest  --lint--> encode, sign --read again, lint-----------> one line
//! ```
//!
//! | profile | CA | extended key usage | names | extensions of our own |
//! |---|---|---|---|---|
//! | [`LeafProfile::Server`] | tls | serverAuth | at least one DNS name or address | none |
//! | [`LeafProfile::Host`] | host | serverAuth, clientAuth | one `spiffe://CLUSTER/host/ID`, any DNS names, addresses | result digest, roles |
//! | [`LeafProfile::Bot`] | bot | clientAuth | one `spiffe://CLUSTER/bot/BOT/INSTANCE`, any others | result digest, roles |
//! | [`LeafProfile::Admin`] | bot | clientAuth | at most one SPIFFE ID | roles |
//! | [`SshProfile::Host`] | ssh-host | | principals: host names | no options, no extensions |
//! | [`SshProfile::User`] | ssh-user | | principals: logins | [`SshOptions`] |
//!
//! Every leaf: version 3, a positive serial, critical `CA: false`, critical digitalSignature alone, subject and
//! authority key identifiers, a window inside the CA's. Never a wildcard, never empty principals, never a CA.
//! Equal requests give equal to-be-signed bytes, so that a retried join yields the same certificate (with an
//! Ed25519 CA byte for byte, with an ECDSA CA up to the signature).
//!
//! The chapter is `docs/certificates.md`.
//!
//! ```
//! use boundkey_ca::{AuthorityKey, ServerNames, X509Authority, inspect_leaf};
//! use boundkey_keys::PrivateKey;
//! use time::macros::datetime;
//!
//! let key = AuthorityKey::ed25519_from_seed(&[1; 32])?;
//! let (from, to) = (datetime!(2030-01-01 0:00 UTC), datetime!(2040-01-01 0:00 UTC));
//! let ca = X509Authority::create(key, "example.com tls CA", [7; 16], from, to)?;
//!
//! let server = PrivateKey::ed25519_from_seed(&[2; 32]);
//! let names = ServerNames::new(["server.example.com:443"])?;
//! let leaf = ca.sign_server(&names, server.public_key(), [1; 20], from, datetime!(2030-04-01 0:00 UTC))?;
//! assert_eq!(inspect_leaf(&leaf)?.dns_names, ["localhost", "server.example.com"]);
//! # Ok::<(), boundkey_ca::CaError>(())
//! ```
mod authority;
mod crl;
mod error;
mod extension;
mod inspect;
mod key;
mod krl;
mod lint;
mod serial;
mod server;
mod ssh;
mod x509;

pub use authority::X509Authority;
pub use crl::revocation_list;
pub use error::CaError;
pub use extension::{RESULT_EXTENSION_OID, ROLES_EXTENSION_OID};
pub use inspect::{LeafView, inspect_leaf, spki_pin};
pub use key::AuthorityKey;
pub use krl::key_revocation_list;
pub use lint::{LintError, Violation, common_name, is_dns_name, is_principal};
pub use serial::{Serials, derive_serials};
pub use server::ServerNames;
pub use ssh::{SshAuthority, SshOptions, SshPermission, SshProfile, SshRequest, SshView, inspect_ssh};
pub use x509::{LeafProfile, LeafRequest};
