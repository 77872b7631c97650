//! Everything that is checked of a result before any of it is stored.

use boundkey_keys::PublicKey;
use boundkey_keystore::{AgentState, IdentityRecord};
use boundkey_proto::{
    BundleError, CaBundle, Certificates, ChallengeView, Identity, JoinResult, Request, ResultFault,
    SignedBundle, verify_receipt,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::ssh;
use crate::trust::{Channel, Source};

/// The leaf's private extension: an OCTET STRING with the digest of the result. (See `docs/protocol.md`, "Result".)
const RESULT_EXTENSION: [u64; 4] = [2, 25, 7_197_691_530_067_396_504, 1];

/// Why a result is not believed. The attempt stays pending; the same attempt gets the true result from an honest server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResultError {
    /// Another attempt, or a key that is not held.
    #[error(transparent)]
    Fault(#[from] ResultFault),
    /// The CA bundle.
    #[error(
        "the CA bundle is not accepted (the cluster's CA was replaced behind this agent's back, or this is another cluster)"
    )]
    Bundle(#[from] BundleError),
    /// The bundle or the certificate names another cluster than the challenge.
    #[error("the result is of the cluster `{found}`, the challenge of `{expected}`")]
    OtherCluster {
        /// Of the challenge.
        expected: String,
        /// Of the result.
        found: String,
    },
    /// The X.509 certificate is not one of the bundle's CA for this kind of identity.
    #[error("the certificate does not chain to the cluster's {ca} CA: {reason}")]
    Chain {
        /// `host` or `bot`.
        ca: &'static str,
        /// What the path check said.
        reason: String,
    },
    /// The certificate was not issued for this very result.
    #[error("the certificate is not of this join: its digest does not fit the join state, key and attempt")]
    Digest,
    /// The certificate certifies a key that is not the attempt's.
    #[error("the {what} certificate is for another key than the one asked for")]
    OtherKey {
        /// `X.509` or `OpenSSH`.
        what: &'static str,
    },
    /// The certificate names another identity than the result.
    #[error("the certificate is for `{found}`, the result for `{expected}`")]
    OtherIdentity {
        /// Of the result.
        expected: String,
        /// In the certificate.
        found: String,
    },
    /// It has no certificates, and no CA's word that this is the true result.
    #[error("the result has no certificates, and no receipt of the cluster's CA that it is to have none")]
    Receipt,
    /// One was asked for: without it the machine's ssh would go on with one that runs out.
    #[error("the OpenSSH certificate that was asked for is missing")]
    NoSsh,
    /// The OpenSSH certificate is not usable.
    #[error("the OpenSSH certificate is not usable: {0}")]
    Ssh(String),
}

impl ResultError {
    /// Which check refused the result: stable, for logs and the public vectors (`docs/vectors/results.json`).
    pub fn code(&self) -> &'static str {
        match self {
            Self::Fault(ResultFault::OtherAttempt) => "other_attempt",
            Self::Fault(ResultFault::ForeignKey { .. }) => "foreign_key",
            Self::Fault(ResultFault::LongState { .. }) => "join_state",
            Self::Fault(ResultFault::Chain) | Self::Chain { .. } => "chain",
            Self::Bundle(_) => "bundle",
            Self::OtherCluster { .. } => "other_cluster",
            Self::Digest => "digest",
            Self::OtherKey { .. } => "other_key",
            Self::OtherIdentity { .. } => "other_identity",
            Self::Receipt => "receipt",
            Self::NoSsh | Self::Ssh(_) => "ssh",
        }
    }
}

/// A result that may be stored.
pub(super) struct Checked {
    /// None: provisional.
    pub(super) certified: Option<Certified>,
}

/// Certificates that passed every check.
pub(super) struct Certified {
    pub(super) x509_chain: Vec<Vec<u8>>,
    pub(super) ssh: Option<String>,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
    /// The CA key that vouched for the result's bundle.
    pub(super) bundle_signer: PublicKey,
}

pub(super) fn check(
    result: &JoinResult,
    request: &Request,
    state: &AgentState,
    view: &ChallengeView,
    channel: Option<&Channel>,
) -> Result<Checked, ResultError> {
    let held = |thumbprint| {
        request.bound_key.thumbprint() == thumbprint
            || request.new_key.as_ref().is_some_and(|key| key.thumbprint() == thumbprint)
    };
    result.check(request, held)?;
    let (bundle, signer) = check_bundle(&result.ca_bundle, state, channel)?;
    same_cluster(view, &bundle.cluster)?;
    let certified = match &result.certificates {
        None if has_receipt(result, &bundle) => None,
        None => return Err(ResultError::Receipt),
        Some(certificates) => Some(check_certificates(certificates, result, request, &bundle, signer)?),
    };
    Ok(Checked { certified })
}

/// Without certificates nothing else tells the true pair of key and state from one that was bent on the way, and the
/// attempt ends with it.
fn has_receipt(result: &JoinResult, bundle: &CaBundle) -> bool {
    let receipt = result.receipt.as_deref();
    receipt.is_some_and(|text| verify_receipt(text, &tls_keys(bundle), &bundle.cluster, result.digest()))
}

fn same_cluster(view: &ChallengeView, found: &str) -> Result<(), ResultError> {
    if view.cluster == found {
        return Ok(());
    }
    Err(ResultError::OtherCluster { expected: view.cluster.clone(), found: found.to_owned() })
}

/// Signed by a CA that is trusted already. At the first contact that is the CA of the connection; where the connection's
/// root is nobody of the bundle (a public CA), the connection alone vouches for a bundle that signs itself.
fn check_bundle(
    signed: &SignedBundle,
    state: &AgentState,
    channel: Option<&Channel>,
) -> Result<(CaBundle, PublicKey), ResultError> {
    let root = channel.and_then(|channel| channel.root_key.as_ref());
    // One that was changed since it was stored vouches for nothing: then this is a first contact again.
    if let Some(stored) = super::store::stored_bundle(state).ok().flatten() {
        // Byte for byte what was verified just now: the usual case.
        if stored.signed == *signed {
            return Ok((stored.bundle, stored.signer));
        }
        // What the operator pinned counts beside what was received: that is how a replaced CA is made known.
        let pinned = channel.filter(|c| matches!(c.source, Source::Pin | Source::CaFile)).and(root).cloned();
        let trusted: Vec<PublicKey> = tls_keys(&stored.bundle).into_iter().chain(pinned).collect();
        return first_signer(signed, trusted);
    }
    let Some(channel) = channel else { return Err(BundleError::Untrusted.into()) };
    let own = tls_keys(&signed.peek()?);
    match root.filter(|root| own.contains(root)) {
        Some(root) => first_signer(signed, vec![root.clone()]),
        // The connection ends in a cluster's own CA: then it is this CA that must have signed.
        None if channel.cluster.is_some() => Err(BundleError::Untrusted.into()),
        None => first_signer(signed, own),
    }
}

/// The bundle, and which of the trusted keys signed it.
fn first_signer(
    signed: &SignedBundle,
    trusted: Vec<PublicKey>,
) -> Result<(CaBundle, PublicKey), ResultError> {
    let mut error = BundleError::Untrusted;
    for key in trusted {
        match signed.verify(std::slice::from_ref(&key)) {
            Ok(bundle) => return Ok((bundle, key)),
            Err(BundleError::Untrusted) => {}
            Err(other) => error = other,
        }
    }
    Err(error.into())
}

fn tls_keys(bundle: &CaBundle) -> Vec<PublicKey> {
    bundle.tls_der().iter().filter_map(|der| public_key(der)).collect()
}

fn public_key(certificate: &[u8]) -> Option<PublicKey> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    PublicKey::from_spki_der(parsed.public_key().raw).ok()
}

fn check_certificates(
    certificates: &Certificates,
    result: &JoinResult,
    request: &Request,
    bundle: &CaBundle,
    bundle_signer: PublicKey,
) -> Result<Certified, ResultError> {
    let x509_chain = certificates.chain_der()?;
    let (ca, anchors, ssh_cas) = match &result.identity {
        Identity::Host(_) => ("host", bundle.host_der(), &bundle.ssh_host),
        Identity::BotInstance(_) => ("bot", bundle.bot_der(), &bundle.ssh_user),
    };
    let chain_error = |reason: String| ResultError::Chain { ca, reason };
    check_path(&x509_chain, &anchors, result.server_time).map_err(chain_error)?;
    let leaf = x509_chain.first().map(Vec::as_slice).unwrap_or_default();
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|e| chain_error(e.to_string()))?;
    if PublicKey::from_spki_der(leaf.public_key().raw).ok().as_ref() != Some(&request.tls_key) {
        return Err(ResultError::OtherKey { what: "X.509" });
    }
    if digest_in(&leaf) != Some(result.digest()) {
        return Err(ResultError::Digest);
    }
    check_identity(&leaf, &result.identity, &bundle.cluster)?;
    let ssh = match (&certificates.ssh, &request.ssh_key) {
        (Some(line), Some(key)) => Some(ssh::check(line, key, ssh_cas, &result.identity)?),
        (Some(_), None) => return Err(ResultError::OtherKey { what: "OpenSSH" }),
        (None, Some(_)) => return Err(ResultError::NoSsh),
        (None, None) => None,
    };
    let (not_before, not_after) =
        (leaf.validity().not_before.to_datetime(), leaf.validity().not_after.to_datetime());
    drop(leaf);
    Ok(Certified { not_before, not_after, ssh, x509_chain, bundle_signer })
}

/// Whether the certificate was valid by this machine's clock when it was stored.
pub(super) fn was_valid_when_obtained(identity: &IdentityRecord) -> bool {
    let leaf = identity.x509_chain.first().and_then(|der| X509Certificate::from_der(der).ok());
    leaf.is_some_and(|(_, leaf)| {
        let validity = leaf.validity();
        (validity.not_before.to_datetime()..validity.not_after.to_datetime()).contains(&identity.obtained_at)
    })
}

/// Whether these CAs issued a certificate, whenever that was.
pub(super) fn is_issued_by(chain: &[Vec<u8>], anchors: &[Vec<u8>]) -> Result<(), String> {
    let starts = chain.iter().filter_map(|der| crate::trust::validity(der)).map(|(start, _)| start);
    check_path(chain, anchors, starts.max().ok_or("it cannot be read")?)
}

/// As of the server's clock: a wrong clock on this side must not make it refuse what it has just been given.
fn check_path(chain: &[Vec<u8>], anchors: &[Vec<u8>], now: OffsetDateTime) -> Result<(), String> {
    let (leaf, others) = chain.split_first().ok_or("it is empty")?;
    let leaf = CertificateDer::from(leaf.as_slice());
    let others: Vec<_> = others.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let anchors: Vec<_> = anchors.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let anchors: Vec<_> = anchors
        .iter()
        .map(webpki::anchor_from_trusted_cert)
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())?;
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or(0);
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    EndEntityCert::try_from(&leaf)
        .and_then(|leaf| {
            let usage = KeyUsage::client_auth();
            leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &others, now, usage, None, None)
                .map(drop)
        })
        .map_err(|e| e.to_string())
}

fn digest_in(leaf: &X509Certificate<'_>) -> Option<[u8; 32]> {
    let oid = x509_parser::asn1_rs::Oid::from(&RESULT_EXTENSION).ok()?;
    let extension = leaf.get_extension_unique(&oid).ok()??;
    extension.value.strip_prefix(&[0x04, 32])?.try_into().ok()
}

/// Exactly one URI: the SPIFFE id of this identity in this cluster.
fn check_identity(leaf: &X509Certificate<'_>, identity: &Identity, cluster: &str) -> Result<(), ResultError> {
    let names = leaf.subject_alternative_name().ok().flatten();
    let uris: Vec<&str> = names
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    let (start, end, shown) = match identity {
        Identity::Host(id) => (format!("spiffe://{cluster}/host"), format!("/{id}"), ""),
        Identity::BotInstance(id) => (format!("spiffe://{cluster}/bot"), format!("/{id}"), "/BOT"),
    };
    // In between a bot has its name: one segment.
    let fits = |uri: &str| {
        let Some(middle) = uri.strip_prefix(&start).and_then(|rest| rest.strip_suffix(&end)) else {
            return false;
        };
        match identity {
            Identity::Host(_) => middle.is_empty(),
            Identity::BotInstance(_) => {
                middle.strip_prefix('/').is_some_and(|bot| !bot.is_empty() && !bot.contains('/'))
            }
        }
    };
    match uris.as_slice() {
        [one] if fits(one) => Ok(()),
        found => {
            let expected = format!("{start}{shown}{end}");
            Err(ResultError::OtherIdentity { expected, found: found.join(", ") })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_is_the_one_that_the_ca_writes() {
        assert_eq!(RESULT_EXTENSION, boundkey_ca::RESULT_EXTENSION_OID);
    }
}
