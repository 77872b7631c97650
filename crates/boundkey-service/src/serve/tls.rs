//! The certificate that the TLS port shows: the cluster's own, or one from files; replaced while the server runs.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use boundkey_ca::{CaError, LintError, ServerNames, spki_pin};
use boundkey_keys::{KeyFileError, PrivateKey};
use boundkey_lifecycle::BACK_DATED;
use rustls::crypto::ring;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

use crate::Service;

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsSource {
    /// Signed by the cluster's tls CA, for these names and addresses (each with or without a port).
    Own {
        /// Listen and public addresses.
        addresses: Vec<String>,
    },
    /// `tls {cert_file, key_file}`: PEM, the leaf first.
    Files {
        /// The chain.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
}

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// An address that cannot stand in a certificate.
    #[error("the server's own certificate cannot name its addresses")]
    Addresses(#[from] LintError),
    /// The tls CA did not sign.
    #[error("the server's own certificate cannot be made")]
    Authority(#[from] CaError),
    /// Nothing that is signed now would be valid.
    #[error(
        "this machine's clock says {}, and the cluster's CAs are valid from {} until {}: set the clock",
        crate::rfc3339(*.now), crate::rfc3339(*.from), crate::rfc3339(*.until)
    )]
    Clock {
        /// The clock.
        now: OffsetDateTime,
        /// Start of the CA's life.
        from: OffsetDateTime,
        /// Its end.
        until: OffsetDateTime,
    },
    /// A key could not be made.
    #[error("a key for the server's own certificate cannot be made")]
    Key(#[from] KeyFileError),
    /// A file cannot be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The file holds no certificate.
    #[error("{path} holds no certificate in PEM form")]
    NoCertificate {
        /// Which.
        path: PathBuf,
    },
    /// The key is of no use, or belongs to another certificate.
    #[error("the key in {path} cannot serve the certificate: {cause}")]
    Unfit {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: rustls::Error,
    },
    /// TLS itself cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// The certificate in force, and what it takes to replace it.
#[derive(Debug)]
pub struct ServerTls {
    source: TlsSource,
    shown: RwLock<Arc<Shown>>,
}

#[derive(Debug)]
struct Shown {
    key: Arc<CertifiedKey>,
    /// While the clock is in here, the cluster's own certificate stays; files always do.
    fresh: Option<Range<OffsetDateTime>>,
}

impl ServerTls {
    /// Makes or reads the certificate.
    ///
    /// # Errors
    /// It cannot be made or read; says which file and why.
    pub fn new(service: &Service, source: TlsSource) -> Result<Arc<Self>, TlsError> {
        let shown = RwLock::new(Arc::new(make(service, &source)?));
        Ok(Arc::new(Self { source, shown }))
    }

    /// Makes or reads it again. If that fails, the one in force stays.
    ///
    /// # Errors
    /// As `new`.
    pub fn reload(&self, service: &Service) -> Result<(), TlsError> {
        let shown = Arc::new(make(service, &self.source)?);
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(())
    }

    /// Makes the cluster's own certificate anew when two thirds of its life are over, or when the clock was set back to
    /// before it was made: nobody would take it for valid then.
    ///
    /// # Errors
    /// As `new`.
    pub fn renew_if_due(&self, service: &Service) -> Result<bool, TlsError> {
        let now = service.now();
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner).clone();
        if shown.fresh.as_ref().is_some_and(|fresh| !fresh.contains(&now)) {
            self.reload(service)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// What an acceptor is made from: TLS 1.3 only, on ring. The server chooses the suite; with AES-128 and SHA-256 a
    /// handshake costs half as many hashes. Nothing is resumed: a ticket would outlive what it was given for.
    ///
    /// # Errors
    /// Only if this build of rustls lacks TLS 1.3.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let mut provider = ring::default_provider();
        provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.ignore_client_order = true;
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for ServerTls {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.read().unwrap_or_else(PoisonError::into_inner).key.clone())
    }
}

fn make(service: &Service, source: &TlsSource) -> Result<Shown, TlsError> {
    match source {
        TlsSource::Own { addresses } => own(service, addresses),
        TlsSource::Files { certificate, key } => from_files(service, certificate, key),
    }
}

/// A new key and certificate. Nobody pins the leaf, so neither has to be kept; the chain holds its root, so that a
/// pin may name it.
fn own(service: &Service, addresses: &[String]) -> Result<Shown, TlsError> {
    let names = ServerNames::new(addresses.iter().map(String::as_str))?;
    let key = PrivateKey::generate_p256()?;
    let mut serial = [0; 20];
    service.entropy().fill(&mut serial);
    serial[0] = (serial[0] & 0x7f) | 0x01;
    let now = service.now();
    let lifetime = service.config().lifetimes.server;
    let authority = &service.authorities().tls;
    let (from, until) = authority.validity();
    if now - BACK_DATED < from || now >= until {
        return Err(TlsError::Clock { now, from, until });
    }
    let end = until.min(now + lifetime);
    let leaf = authority.sign_server(&names, key.public_key(), serial, now - BACK_DATED, end)?;
    let chain = vec![CertificateDer::from(leaf), CertificateDer::from(authority.certificate_der().to_vec())];
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_pkcs8_der().to_vec()));
    let signer = ring::sign::any_supported_type(&der).map_err(TlsError::Setup)?;
    service.set_served_pins(Vec::new());
    Ok(Shown {
        key: Arc::new(CertifiedKey::new(chain, signer)),
        fresh: Some(now - BACK_DATED..now + (end - now) * 2 / 3),
    })
}

/// Whoever can exchange the server's certificate is the server.
fn open(path: &Path) -> Result<std::fs::File, TlsError> {
    boundkey_files::open_file(path, &boundkey_files::Owners::of_process())
        .map_err(|error| TlsError::Read { path: path.to_owned(), cause: error.reason() })
}

fn from_files(service: &Service, certificate: &Path, key: &Path) -> Result<Shown, TlsError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |cause: rustls_pki_types::pem::Error| match cause {
            rustls_pki_types::pem::Error::NoItemsFound => TlsError::NoCertificate { path },
            cause => TlsError::Read { path, cause: cause.to_string() },
        }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_reader_iter(open(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(unreadable(certificate))?;
    let Some(top) = chain.last() else {
        return Err(TlsError::NoCertificate { path: certificate.to_owned() });
    };
    let pin = spki_pin(top)?;
    let der = PrivateKeyDer::from_pem_reader(open(key)?)
        .map_err(|cause| TlsError::Read { path: key.to_owned(), cause: cause.to_string() })?;
    let unfit = |cause| TlsError::Unfit { path: key.to_owned(), cause };
    let signer = ring::sign::any_supported_type(&der).map_err(unfit)?;
    let certified = CertifiedKey::new(chain, signer);
    certified.keys_match().map_err(unfit)?;
    service.set_served_pins(vec![pin]);
    Ok(Shown { key: Arc::new(certified), fresh: None })
}
