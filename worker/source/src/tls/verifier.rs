//! Which server certificates are taken.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::version1;

/// What a certificate must chain to.
#[derive(Debug)]
pub(super) struct Trusted {
    /// Trust anchors.
    pub roots: RootCertStore,
    /// The same certificates as they are: a self-signed server certificate that is itself in the
    /// bundle is taken, though it says CA:TRUE, which no chain building allows for a server.
    pub exact: Vec<CertificateDer<'static>>,
}

/// What is looked at.
#[derive(Debug)]
pub(super) enum Check {
    /// Any certificate will do.
    Nothing,
    /// It chains to one that is trusted.
    Chain(Trusted),
    /// It chains to one that is trusted, and is issued for the server's name.
    ChainAndName(Trusted),
}

#[derive(Debug)]
pub(super) struct Verifier {
    check: Check,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) const fn new(check: Check, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { check, algorithms }
    }

    fn chain(
        &self,
        trusted: &Trusted,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if trusted.exact.iter().any(|known| known.as_ref() == end_entity.as_ref()) {
            return within_dates(end_entity, now);
        }
        if let Some(old) = version1::parse(end_entity) {
            return version1::signed_by(&trusted.exact, &old, now);
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &trusted.roots,
            intermediates,
            now,
            self.algorithms.all,
        )
    }
}

/// The dates of a certificate that is trusted by itself.
fn within_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, parsed) = X509Certificate::from_der(certificate.as_ref())
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    version1::within_dates(&parsed, now)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.check {
            Check::Nothing => {}
            Check::Chain(trusted) => self.chain(trusted, end_entity, intermediates, now)?,
            Check::ChainAndName(trusted) => {
                self.chain(trusted, end_entity, intermediates, now)?;
                if version1::parse(end_entity).is_some() {
                    // Names are an extension, which version 1 does not have.
                    return Err(CertificateError::NotValidForName.into());
                }
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if let Some(old) = version1::parse(cert) {
            let key = version1::public_key(&old);
            return verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms);
        }
        verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
