//! TLS to the collector: certificate and name are verified, by the system's authorities or by one of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Why there is no encrypted connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("read the authority {}: {problem}; see OTEL_EXPORTER_OTLP_CERTIFICATE", path.display())]
    Authority { path: PathBuf, problem: String },
    #[error("the system has no certificate authorities; set OTEL_EXPORTER_OTLP_CERTIFICATE")]
    NoAuthority,
    #[error("{0:?} is no name that a certificate can be for")]
    Name(String),
    #[error("set up TLS: {0}")]
    Setup(#[from] rustls::Error),
    #[error("shake hands with {host}: {error}")]
    Handshake { host: String, error: std::io::Error },
}

/// Who is trusted.
#[derive(Debug)]
pub(super) struct Tls {
    ca: Option<PathBuf>,
}

impl Tls {
    pub(super) fn new(ca: Option<PathBuf>) -> Self {
        Self { ca }
    }

    /// The authorities are read at each connect, so that one that was replaced needs no restart.
    pub(super) async fn wrap(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, TlsError> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| TlsError::Name(host.to_owned()))?;
        let roots = match &self.ca {
            Some(path) => of_file(path)?,
            None => of_system()?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let handshake = connector.connect(name, stream).await;
        handshake.map_err(|error| TlsError::Handshake { host: host.to_owned(), error })
    }
}

fn of_file(path: &Path) -> Result<RootCertStore, TlsError> {
    let wrong = |problem: String| TlsError::Authority { path: path.to_owned(), problem };
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| wrong(format!("it is no PEM: {error}")))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("it holds no certificate (-----BEGIN CERTIFICATE-----)".to_owned()));
    }
    Ok(roots)
}

fn of_system() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoAuthority) } else { Ok(roots) }
}
