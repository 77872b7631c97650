//! Which server may be talked to: pins, a CA file, the CA bundle received, or the system's roots.
//!
//! | held | a server is trusted if its chain ends in |
//! |---|---|
//! | `ca_pins` | a chain in which a pinned certificate takes part |
//! | `ca_file` | a certificate of that file |
//! | a CA bundle (after the first join) | one of its tls CAs |
//! | neither pins nor file | a root of the system |
//!
//! A row never weakens another: names and dates are checked in all of them. The system's roots stay in force beside a
//! bundle, for clusters whose server shows a public certificate; what such a server answers must still be signed by the
//! bundle's CAs, and nothing that is sent to it lets it join (the registration secret is never sent at all).

mod pin;
#[cfg(test)]
mod tests;
mod verifier;

pub use pin::{Pin, PinError};
pub(crate) use verifier::Verifier;

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use boundkey_files::{Owners, open_file};
use boundkey_keys::PublicKey;
use boundkey_proto::CaBundle;
use boundkey_text::clean;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use time::OffsetDateTime;
use webpki::{EndEntityCert, KeyUsage};

use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::clock::show_time;

/// What the common name of a cluster's own tls CA ends in; the cluster's name stands before it.
const TLS_CA_SUFFIX: &str = " tls CA";

/// What a server's certificate is checked against.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    pins: Vec<Pin>,
    ca_file: Vec<CertificateDer<'static>>,
    bundle: Vec<CertificateDer<'static>>,
    system_roots: bool,
}

/// What authenticated a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// What the chain was checked against.
    pub source: Source,
    /// The key of the chain's root; None if it is of a kind that signs no CA bundle (RSA).
    pub root_key: Option<PublicKey>,
    /// The cluster's name, where the root is the cluster's own tls CA.
    pub cluster: Option<String>,
}

/// Which kind of trust applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The CA bundle of an earlier join.
    Bundle,
    /// `ca_file`.
    CaFile,
    /// `ca_pins`.
    Pin,
    /// The system's roots.
    System,
}

/// Why a server is not trusted. Each says who can act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Nobody told whom to trust.
    #[error(
        "there is nothing to check the server's certificate against: this system has no root certificates; set `ca_pins` \
         or `ca_file`"
    )]
    NothingToTrust,
    /// None of the pins takes part in the chain.
    #[error(
        "the server's certificate chain does not contain a pinned certificate: it has {}; `ca_pins` has {}. If the \
         cluster's CA was replaced, put the new pin (`boundkey-server` prints it) in `ca_pins`; if not, somebody stands in \
         between", list(.found), list(.pinned))]
    NotPinned {
        /// The pins of the chain that was presented.
        found: Vec<Pin>,
        /// The pins of the configuration.
        pinned: Vec<Pin>,
    },
    /// The chain ends in a CA that nobody vouched for.
    #[error(
        "the server's certificate is signed by a CA that is not trusted here (pins of its chain: {}); to trust it, \
         compare the pin with the one the server prints and put it in `ca_pins`", list(.found))]
    UnknownIssuer {
        /// The pins of the chain that was presented.
        found: Vec<Pin>,
    },
    /// The certificate is another server's.
    #[error(
        "the server's certificate is not for `{wanted}`; it is for {}. Mend the address in `proxy_server`, or start the \
         server with `--public-addr {wanted}:PORT`", names(.presented))]
    Name {
        /// The name dialled.
        wanted: String,
        /// The names in the certificate.
        presented: Vec<String>,
    },
    /// A certificate of the chain is not valid at this time.
    #[error(
        "the server's certificate is valid from {} until {}, and this machine's clock says {}{}. \
         Set the clock of whichever is wrong; the agent tries again by itself",
        show_time(*.not_before), show_time(*.not_after), show_time(*.now), server_says(.server_date))]
    Dates {
        /// Start of the certificate's life.
        not_before: OffsetDateTime,
        /// End of the certificate's life.
        not_after: OffsetDateTime,
        /// The local clock.
        now: OffsetDateTime,
        /// The server's own `Date`, if it could be had.
        server_date: Option<String>,
    },
    /// Anything else that is wrong with the chain.
    #[error("the server's certificate is not usable: {0}")]
    Unusable(String),
}

/// Why the file with CA certificates cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaFileError {
    /// It cannot be read.
    #[error("cannot read `ca_file` {}: {reason}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// There is no certificate in it.
    #[error("`ca_file` {} holds no PEM certificate (`-----BEGIN CERTIFICATE-----`)", .0.display())]
    NoCertificate(PathBuf),
}

impl Trust {
    /// Trust the chains in which one of these certificates takes part.
    pub fn pins(pins: Vec<Pin>) -> Self {
        Self { pins, ..Self::default() }
    }

    /// Trust the certificates of a PEM file.
    ///
    /// # Errors
    /// If it cannot be read or holds no certificate.
    pub fn ca_file(path: &Path) -> Result<Self, CaFileError> {
        let unreadable = |reason| CaFileError::Unreadable { path: path.to_owned(), reason };
        let mut text = Vec::new();
        let mut file = open_file(path, &Owners::of_process()).map_err(|e| unreadable(e.reason()))?;
        file.read_to_end(&mut text).map_err(|e| unreadable(e.to_string()))?;
        let ca_file: Vec<_> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|e| unreadable(e.to_string()))?;
        if ca_file.is_empty() {
            return Err(CaFileError::NoCertificate(path.to_owned()));
        }
        Ok(Self { ca_file, ..Self::default() })
    }

    /// Trust the system's roots (they are read when they are needed).
    pub fn system() -> Self {
        Self { system_roots: true, ..Self::default() }
    }

    /// The same, and the tls CAs of a bundle that was accepted earlier.
    #[must_use]
    pub fn with_bundle(mut self, bundle: &CaBundle) -> Self {
        self.bundle =
            bundle.tls.iter().filter_map(|text| crate::der::from_base64(text)).map(Into::into).collect();
        self
    }

    /// Checks a chain as presented (leaf first) for a name at a time.
    ///
    /// # Errors
    /// The most telling reason among those of all the kinds of trust in force.
    pub fn verify(
        &self,
        presented: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: OffsetDateTime,
    ) -> Result<Channel, TrustError> {
        let Some((leaf, others)) = presented.split_first() else {
            return Err(TrustError::Unusable("no certificate was presented".to_owned()));
        };
        let chain = Chain { leaf, others, name, now };
        let found = || presented.iter().filter_map(|c| Pin::of_certificate(c)).collect::<Vec<_>>();
        let mut worst = None;
        let mut attempt = |source, anchors: &[CertificateDer<'_>], pins: &[Pin]| {
            chain.ends_in(source, anchors, pins, &mut worst)
        };
        if let Some(channel) = attempt(Source::Bundle, &self.bundle, &[])
            .or_else(|| attempt(Source::CaFile, &self.ca_file, &[]))
            .or_else(|| if self.pins.is_empty() { None } else { attempt(Source::Pin, presented, &self.pins) })
        {
            return Ok(channel);
        }
        if self.system_roots {
            let roots = rustls_native_certs::load_native_certs().certs;
            if roots.is_empty() && self.bundle.is_empty() {
                return Err(TrustError::NothingToTrust);
            }
            if let Some(channel) = attempt(Source::System, &roots, &[]) {
                return Ok(channel);
            }
        }
        Err(match worst {
            Some(error) => error,
            None if self.pins.is_empty() => TrustError::UnknownIssuer { found: found() },
            None => TrustError::NotPinned { found: found(), pinned: self.pins.clone() },
        })
    }
}

/// A presented chain and what it must be good for.
struct Chain<'a> {
    leaf: &'a CertificateDer<'a>,
    others: &'a [CertificateDer<'a>],
    name: &'a ServerName<'a>,
    now: OffsetDateTime,
}

impl Chain<'_> {
    /// The channel, if the leaf chains to one of the anchors (and one of the pins, if any, takes part). A fault other than
    /// "another issuer" is kept in `worst`: it tells more.
    fn ends_in(
        &self,
        source: Source,
        anchors: &[CertificateDer<'_>],
        pins: &[Pin],
        worst: &mut Option<TrustError>,
    ) -> Option<Channel> {
        let leaf = match EndEntityCert::try_from(self.leaf) {
            Ok(leaf) => leaf,
            Err(error) => {
                *worst = Some(TrustError::Unusable(error.to_string()));
                return None;
            }
        };
        for anchor_der in anchors {
            let Ok(anchor) = webpki::anchor_from_trusted_cert(anchor_der) else { continue };
            match self.check_path(&leaf, &anchor, anchor_der, pins) {
                Ok(true) => return Some(channel_of(source, anchor_der)),
                Ok(false) => {}
                Err(error) => *worst = Some(error),
            }
        }
        None
    }

    /// True: a good path. False: no path, or none with a pinned certificate in it.
    fn check_path(
        &self,
        leaf: &EndEntityCert<'_>,
        anchor: &TrustAnchor<'_>,
        anchor_der: &CertificateDer<'_>,
        pins: &[Pin],
    ) -> Result<bool, TrustError> {
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        let seconds = u64::try_from(self.now.unix_timestamp()).unwrap_or(0);
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let anchors = std::slice::from_ref(anchor);
        let usage = KeyUsage::server_auth();
        let path = match leaf.verify_for_usage(algorithms, anchors, self.others, now, usage, None, None) {
            Ok(path) => path,
            // An anchor of the same name and another key is just another issuer.
            Err(webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey) => {
                return Ok(false);
            }
            Err(webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. }) => {
                return Err(self.dates(self.leaf));
            }
            Err(error) => return Err(TrustError::Unusable(error.to_string())),
        };
        if !pins.is_empty() {
            let between = path.intermediate_certificates().map(|c| c.der());
            let pinned = [self.leaf.as_ref().into(), CertificateDer::from(anchor_der.as_ref())]
                .into_iter()
                .chain(between)
                .any(|c| Pin::of_certificate(&c).is_some_and(|pin| pins.contains(&pin)));
            if !pinned {
                return Ok(false);
            }
        }
        // webpki takes an anchor as given: its dates are for us to check.
        if !valid_at(anchor_der, self.now) {
            return Err(self.dates(anchor_der));
        }
        leaf.verify_is_valid_for_subject_name(self.name).map_err(|error| match error {
            webpki::Error::CertNotValidForName(context) => TrustError::Name {
                wanted: crate::der::name_text(self.name),
                presented: context.presented.iter().map(|n| crate::der::plain_name(n)).collect(),
            },
            other => TrustError::Unusable(other.to_string()),
        })?;
        Ok(true)
    }

    fn dates(&self, certificate: &CertificateDer<'_>) -> TrustError {
        match validity(certificate) {
            Some((not_before, not_after)) => {
                TrustError::Dates { not_before, not_after, now: whole_seconds(self.now), server_date: None }
            }
            None => TrustError::Unusable("a certificate's dates cannot be read".to_owned()),
        }
    }
}

fn channel_of(source: Source, anchor: &CertificateDer<'_>) -> Channel {
    let parsed = X509Certificate::from_der(anchor).ok().map(|(_, certificate)| certificate);
    let root_key = parsed.as_ref().and_then(|c| PublicKey::from_spki_der(c.public_key().raw).ok());
    let cluster = parsed.as_ref().and_then(|c| {
        let name = c.subject().iter_common_name().next()?.as_str().ok()?;
        name.strip_suffix(TLS_CA_SUFFIX).map(ToOwned::to_owned)
    });
    // A public CA may not name the cluster.
    let cluster = if source == Source::System { None } else { cluster };
    Channel { source, root_key, cluster }
}

/// A certificate's window of validity.
pub(crate) fn validity(certificate: &[u8]) -> Option<(OffsetDateTime, OffsetDateTime)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some((parsed.validity().not_before.to_datetime(), parsed.validity().not_after.to_datetime()))
}

fn valid_at(certificate: &[u8], now: OffsetDateTime) -> bool {
    validity(certificate).is_some_and(|(from, until)| from <= now && now <= until)
}

fn whole_seconds(time: OffsetDateTime) -> OffsetDateTime {
    time.replace_nanosecond(0).unwrap_or(time)
}

fn list(items: &[impl fmt::Display]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Names of a foreign certificate that are told.
const SHOWN: usize = 16;

fn names(items: &[String]) -> String {
    if items.is_empty() {
        return "no name at all".to_owned();
    }
    let shown = items.iter().take(SHOWN).map(|name| format!("`{}`", clean(name, 253)));
    let more = (items.len() > SHOWN).then(|| format!("{} more", items.len() - SHOWN));
    shown.chain(more).collect::<Vec<_>>().join(", ")
}

fn server_says(date: &Option<String>) -> String {
    date.as_ref().map(|date| format!(" (the server's says {})", clean(date, 64))).unwrap_or_default()
}

/// The TLS settings of a connection: TLS 1.3 on ring, no resumption (each connection is checked anew).
pub(crate) fn tls_config(verifier: Arc<Verifier>) -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
