use boundkey_lifecycle::Sealed;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// One CA key, sealed under the master key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityRecord {
    /// Which of the authorities.
    pub kind: String,
    /// Its private key.
    pub sealed_key: Sealed,
    /// Its certificate (X.509 authorities only); public, in the same byte form.
    pub certificate: Option<Sealed>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// Whose store this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// The cluster's name, fixed at the first start.
    pub cluster: String,
    /// The fingerprint of the master key that everything here is sealed with.
    pub master_fingerprint: String,
    /// The first start.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// What agents are told of the CAs, signed once for each change of them: all replicas hand out the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaBundleRecord {
    /// Compact JWS, one for each key that signed.
    pub signed: Vec<String>,
}

/// A revoked certificate; authority, expiry and serial are in the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedRecord {
    /// When it was revoked.
    #[serde(with = "time::serde::rfc3339")]
    pub revoked_at: OffsetDateTime,
    /// When it would have expired: from then on nobody need know.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

super::encoded_as_it_is!(AuthorityRecord, "authority");
super::encoded_as_it_is!(ClusterRecord, "cluster");
super::encoded_as_it_is!(CaBundleRecord, "ca bundle");
super::encoded_as_it_is!(RevokedRecord, "revoked certificate");
