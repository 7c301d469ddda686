//! CA bundles, certificates and keys as mounted files.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::TlsError;
use super::verifier::Trusted;
use crate::config::TlsSettings;
use crate::error::SourceError;

/// Certificate chain and key we show to the server.
pub(super) struct ClientIdentity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

async fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, SourceError> {
    tokio::fs::read(path).await.map_err(|error| SourceError::File {
        what,
        path: path.to_owned(),
        error,
    })
}

fn certificates(
    what: &'static str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |problem: String| TlsError::Pem { what, path: path.to_owned(), problem };
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad(format!("is no PEM: {error}")))?;
    if found.is_empty() {
        return Err(bad("holds no certificate (-----BEGIN CERTIFICATE-----)".to_owned()));
    }
    Ok(found)
}

/// The CA bundle at `ca`, or the system's roots.
pub(super) async fn trusted(ca: Option<&Path>) -> Result<Trusted, SourceError> {
    let Some(path) = ca else { return Ok(system_roots()?) };
    let pem = read("the CA of source.tls.caRef", path).await?;
    let exact = certificates("the CA of source.tls.caRef", path, &pem)?;
    let mut roots = RootCertStore::empty();
    for certificate in &exact {
        roots.add(certificate.clone()).map_err(|error| TlsError::Pem {
            what: "the CA of source.tls.caRef",
            path: path.to_owned(),
            problem: format!("holds a certificate that cannot be trusted: {error}"),
        })?;
    }
    Ok(Trusted { roots, exact })
}

fn system_roots() -> Result<Trusted, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    Ok(Trusted { roots, exact: Vec::new() })
}

/// The certificate and key we are to show, if any.
pub(super) async fn client_identity(
    settings: &TlsSettings,
) -> Result<Option<ClientIdentity>, SourceError> {
    let (cert, key) = match (&settings.cert, &settings.key) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        _ => {
            return Err(SourceError::Config {
                field: "source.tls.clientCertSecretRef",
                value: "one of tls.crt and tls.key".to_owned(),
                problem: "both are needed",
            });
        }
    };
    let what = "tls.crt of source.tls.clientCertSecretRef";
    let chain = certificates(what, cert, &read(what, cert).await?)?;
    let what = "tls.key of source.tls.clientCertSecretRef";
    let pem = read(what, key).await?;
    let key_der = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::Pem {
        what,
        path: key.clone(),
        problem: "holds no private key in PKCS#8, PKCS#1 or SEC1 form without a passphrase"
            .to_owned(),
    })?;
    Ok(Some(ClientIdentity { chain, key: key_der }))
}
