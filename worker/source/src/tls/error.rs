//! What a failed TLS connection means, with two mends each.

use std::io;
use std::path::PathBuf;

use crds::conditions::Reason;
use rustls::{AlertDescription, CertificateError};

use crate::config::TlsMode;
use crate::error::Class;

/// What is wrong with the server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateFault {
    /// It chains to no trusted CA.
    UnknownIssuer,
    /// It is not issued for the name; with the names it is issued for.
    WrongName(Vec<String>),
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    NotValidYet,
    /// Anything else, in rustls' words.
    Other(String),
}

/// Why there is no TLS session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The server does not speak TLS.
    #[error(
        "source.tls.mode is {mode:?}, and {address} offers no TLS: set ssl_cert and ssl_key on the server, or set source.tls.mode to Preferred or Disabled"
    )]
    NotOffered {
        /// What was asked for.
        mode: TlsMode,
        /// The server.
        address: String,
    },
    /// The certificate was refused by us.
    #[error("tls to {name:?} with source.tls.mode {mode:?}: {}", describe(fault, name))]
    Certificate {
        /// What was asked for.
        mode: TlsMode,
        /// The name it was checked against.
        name: String,
        /// What is wrong with it.
        fault: CertificateFault,
    },
    /// The server refused our certificate, or the lack of one.
    #[error(
        "tls to {name:?}: the server refused the client certificate ({alert}): set source.tls.clientCertSecretRef to a certificate issued by the CA the server trusts (its ssl_ca), or let the account and server go without one"
    )]
    ClientRefused {
        /// The server.
        name: String,
        /// The TLS alert.
        alert: String,
    },
    /// Certificate and key do not make a pair, or the key is of an unknown kind.
    #[error("use client certificate {} with key {}: {problem}; mount the key the certificate was issued for, or leave source.tls.clientCertSecretRef out", cert.display(), key.display())]
    ClientKey {
        /// Certificate file.
        cert: PathBuf,
        /// Key file.
        key: PathBuf,
        /// What rustls said.
        problem: String,
    },
    /// A mounted file is not what it should be.
    #[error("{what}: {} {problem}; put a PEM file there, or name another key of the Secret", path.display())]
    Pem {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No CA given and none on the system.
    #[error(
        "no CA to verify the source with: set source.tls.caRef to its CA, or install the system's CA bundle (ca-certificates, SSL_CERT_FILE)"
    )]
    NoRoots,
    /// TLS versions or ciphers have nothing in common, or the peer speaks no TLS.
    #[error(
        "tls to {name:?}: {problem}; let the server offer TLS 1.2 or 1.3 with an ECDHE cipher (tls_version, ssl_cipher), or set source.tls.mode to Disabled"
    )]
    Handshake {
        /// The server.
        name: String,
        /// What rustls said.
        problem: String,
    },
    /// The connection broke in the handshake.
    #[error(
        "tls to {name:?}: the connection broke in the handshake: {error}; connect again, and see the server's error log"
    )]
    Broken {
        /// The server.
        name: String,
        /// How it broke.
        error: io::Error,
    },
    /// rustls could not be set up.
    #[error("set up tls: {problem}")]
    Setup {
        /// What rustls said.
        problem: String,
    },
}

fn describe(fault: &CertificateFault, name: &str) -> String {
    match fault {
        CertificateFault::UnknownIssuer => "the server's certificate is not issued by a trusted CA: set source.tls.caRef to the CA that issued it (MySQL's own: ca.pem in its data directory; RDS, Aurora, Cloud SQL: the vendor's bundle), or set source.tls.mode to Required".to_owned(),
        CertificateFault::WrongName(names) if names.is_empty() => "the server's certificate holds no name (MySQL and MariaDB make such themselves): set source.tls.mode to VerifyCA, or give the server a certificate with a subjectAltName".to_owned(),
        CertificateFault::WrongName(names) => format!(
            "the server's certificate is not issued for {name:?} but for {}: set source.tls.serverName to one of these, or set source.tls.mode to VerifyCA",
            names.join(", ")
        ),
        CertificateFault::Expired => "the server's certificate, or one above it, has expired: renew it (and ALTER INSTANCE RELOAD TLS or FLUSH SSL), or set source.tls.mode to Required until then".to_owned(),
        CertificateFault::NotValidYet => "the server's certificate is not valid yet: set the clocks of server and node right, or renew the certificate".to_owned(),
        CertificateFault::Other(problem) => format!(
            "the server's certificate was refused ({problem}): issue it anew as an X.509 version 3 server certificate, or set source.tls.mode to Required"
        ),
    }
}

impl TlsError {
    /// Reads what tokio-rustls wraps into an I/O error.
    pub(crate) fn handshake(mode: TlsMode, name: &str, error: &io::Error) -> Self {
        let name = name.to_owned();
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            None => Self::Broken { name, error: io::Error::new(error.kind(), error.to_string()) },
            Some(rustls::Error::InvalidCertificate(fault)) => {
                Self::Certificate { mode, name, fault: fault_of(fault) }
            }
            Some(rustls::Error::AlertReceived(alert)) if is_about_our_certificate(*alert) => {
                Self::ClientRefused { name, alert: format!("{alert:?}") }
            }
            Some(other) => Self::Handshake { name, problem: other.to_string() },
        }
    }

    /// An alert that came after the handshake: TLS 1.3 servers refuse a client's certificate only
    /// then. `None` when the error is not one.
    pub(crate) fn late_alert(name: &str, error: &io::Error) -> Option<Self> {
        match error.get_ref()?.downcast_ref::<rustls::Error>()? {
            rustls::Error::AlertReceived(alert) if is_about_our_certificate(*alert) => {
                Some(Self::ClientRefused { name: name.to_owned(), alert: format!("{alert:?}") })
            }
            other => Some(Self::Handshake { name: name.to_owned(), problem: other.to_string() }),
        }
    }

    /// Whether connecting again can help.
    pub const fn class(&self) -> Class {
        match self {
            Self::Broken { .. } => Class::Transient,
            _ => Class::Mend,
        }
    }

    /// The condition's reason.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NotOffered { .. } => Reason::TlsUnsupported,
            Self::Broken { .. } => Reason::ConnectionLost,
            Self::Pem { .. } | Self::ClientKey { .. } => Reason::SecretInvalid,
            _ => Reason::TlsFailed,
        }
    }
}

fn is_about_our_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}

fn fault_of(error: &CertificateError) -> CertificateFault {
    match error {
        CertificateError::UnknownIssuer => CertificateFault::UnknownIssuer,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            CertificateFault::Expired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            CertificateFault::NotValidYet
        }
        CertificateError::NotValidForName => CertificateFault::WrongName(Vec::new()),
        CertificateError::NotValidForNameContext { presented, .. } => {
            CertificateFault::WrongName(presented.clone())
        }
        other => CertificateFault::Other(other.to_string()),
    }
}
