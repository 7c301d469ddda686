//! TLS to the source in five modes, on rustls with ring.
//!
//! Invariants, each held by a test in `tls/tests.rs` over a real handshake:
//! - `VerifyCA` looks at the chain only: MySQL's self-made certificates carry no name
//!   (`verify_ca_takes_a_certificate_without_names`);
//! - `VerifyFull` looks at chain and name, DNS or IP (`verify_full_*`);
//! - `Required` and `Preferred` take any certificate, but the server must still prove that it holds
//!   the certificate's key;
//! - CA, certificate and key are read at each connect (`a_replaced_ca_is_seen_at_the_next_connect`);
//! - the process-wide crypto provider is never used: ring is passed in.

mod error;
mod material;
mod verifier;
mod version1;

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, crypto::CryptoProvider};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{TlsMode, TlsSettings};
use crate::error::SourceError;
use verifier::{Check, Verifier};

pub use error::{CertificateFault, TlsError};

/// What was agreed with the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSession {
    /// `TLSv1_3`.
    pub protocol: String,
    /// Name of the cipher suite.
    pub cipher: String,
}

/// Everything a handshake needs, read from the mounted files just now.
pub(crate) struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    mode: TlsMode,
    /// Name checked or shown: for messages.
    expected: String,
}

impl TlsClient {
    /// Reads CA, certificate and key as `settings` say.
    pub(crate) async fn load(settings: &TlsSettings, host: &str) -> Result<Self, SourceError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let check = match settings.mode {
            TlsMode::Disabled | TlsMode::Preferred | TlsMode::Required => Check::Nothing,
            TlsMode::VerifyCA => Check::Chain(material::trusted(settings.ca.as_deref()).await?),
            TlsMode::VerifyFull => {
                Check::ChainAndName(material::trusted(settings.ca.as_deref()).await?)
            }
        };
        let client = material::client_identity(settings).await?;
        let expected = settings.server_name.as_deref().unwrap_or(host).to_owned();
        let name = server_name(&expected, settings.mode)?;
        let config = client_config(provider, check, client, settings)?;
        Ok(Self { config: Arc::new(config), name, mode: settings.mode, expected })
    }

    /// The handshake over `tcp`. The caller sets the time limit.
    pub(crate) async fn wrap(
        &self,
        tcp: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, TlsSession), SourceError> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let stream = connector
            .connect(self.name.clone(), tcp)
            .await
            .map_err(|error| TlsError::handshake(self.mode, &self.expected, &error))?;
        let (_, session) = stream.get_ref();
        let session = TlsSession {
            protocol: session.protocol_version().map_or_else(String::new, |v| format!("{v:?}")),
            cipher: session
                .negotiated_cipher_suite()
                .map_or_else(String::new, |suite| format!("{:?}", suite.suite())),
        };
        Ok((stream, session))
    }
}

fn server_name(expected: &str, mode: TlsMode) -> Result<ServerName<'static>, SourceError> {
    match ServerName::try_from(expected.to_owned()) {
        Ok(name) => Ok(name),
        // The name is only sent, not checked: one that is no DNS name is left out.
        Err(_) if mode != TlsMode::VerifyFull => {
            Ok(ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()))
        }
        Err(_) => Err(SourceError::Config {
            field: "source.tls.serverName",
            value: expected.to_owned(),
            problem: "neither a DNS name nor an address; set source.tls.serverName to a name the certificate is issued for, or source.tls.mode to VerifyCA",
        }),
    }
}

fn client_config(
    provider: Arc<CryptoProvider>,
    check: Check,
    client: Option<material::ClientIdentity>,
    settings: &TlsSettings,
) -> Result<ClientConfig, SourceError> {
    let verifier = Verifier::new(check, provider.signature_verification_algorithms);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup { problem: error.to_string() })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            builder.with_client_auth_cert(client.chain, client.key).map_err(|error| {
                TlsError::ClientKey {
                    cert: settings.cert.clone().unwrap_or_default(),
                    key: settings.key.clone().unwrap_or_default(),
                    problem: error.to_string(),
                }
            })?
        }
    };
    // Each connect reads its files anew and proves the server anew.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

#[cfg(test)]
mod tests;
