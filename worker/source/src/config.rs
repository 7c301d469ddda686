//! Where the source is and how to log in: plain values, checked by the caller.

use std::path::PathBuf;
use std::time::Duration;

use crds::endpoint::Guard;
pub use crds::v1alpha1::TlsMode;

use crate::secret::Secret;

/// TLS to the source. Files are read again at each connect, so a renewed certificate needs no
/// restart.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// What is asked for.
    pub mode: TlsMode,
    /// PEM bundle to trust; absent in `VerifyCA` and `VerifyFull` = the system's roots.
    pub ca: Option<PathBuf>,
    /// PEM chain shown to the server; needs `key`.
    pub cert: Option<PathBuf>,
    /// PEM private key of `cert`: PKCS#1, PKCS#8 or SEC1, without a passphrase.
    pub key: Option<PathBuf>,
    /// Name or address the certificate must be issued for, in place of the host.
    pub server_name: Option<String>,
}

/// Where the source is and how to log in.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Host name or address; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Which addresses are not connected to, whatever the host resolves to.
    pub endpoints: Guard,
    /// TLS to it.
    pub tls: TlsSettings,
    /// Account.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// Limit of name resolution and TCP connect together, and of TLS and login together.
    pub connect_timeout: Duration,
    /// Heartbeats asked for while the source is idle; three missed end the dump.
    pub heartbeat_interval: Duration,
    /// Our id as a replica; unique among the source's replicas, above 0.
    pub server_id: u32,
}

impl SourceConfig {
    /// `host:port` for messages, IPv6 in brackets.
    pub fn address(&self) -> String {
        let host = self.bare_host();
        if host.contains(':') {
            format!("[{host}]:{}", self.port)
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// The host without the brackets some write around IPv6.
    pub(crate) fn bare_host(&self) -> &str {
        self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host)
    }
}
