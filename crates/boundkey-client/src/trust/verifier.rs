use std::sync::Mutex;

use rustls::DigitallySignedStruct;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use time::OffsetDateTime;

use super::{Channel, Trust, TrustError, validity};

/// What became of a handshake's check: kept beside it, since rustls passes on less than we want to say.
type Verdict = Result<Channel, TrustError>;

/// The check of one connection.
#[derive(Debug)]
pub(crate) struct Verifier {
    trust: Trust,
    now: OffsetDateTime,
    /// Check as of a time at which the leaf is valid: only to ask a server for its clock, never for a join.
    whatever_the_date: bool,
    verdict: Mutex<Option<Verdict>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(crate) fn new(trust: Trust, now: OffsetDateTime) -> Self {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        Self { trust, now, whatever_the_date: false, verdict: Mutex::new(None), algorithms }
    }

    pub(crate) fn whatever_the_date(mut self) -> Self {
        self.whatever_the_date = true;
        self
    }

    /// What the check found; None if the handshake did not get so far.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.verdict.lock().ok()?.take()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut presented = Vec::with_capacity(1 + intermediates.len());
        presented.push(end_entity.clone());
        presented.extend_from_slice(intermediates);
        let now = match validity(end_entity) {
            Some((not_before, _)) if self.whatever_the_date => not_before + time::Duration::MINUTE,
            _ => self.now,
        };
        let verdict = self.trust.verify(&presented, server_name, now);
        let good = verdict.is_ok();
        if let Ok(mut slot) = self.verdict.lock() {
            *slot = Some(verdict);
        }
        if good {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
