//! What can go wrong at the source, and what to do about it.
//!
//! Every message says what was being done and names a mend. None holds a password or row values.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crds::conditions::Reason;
use crds::endpoint::Refused;

use crate::refusal::{self, DumpRefusal};
use crate::tls::TlsError;
use crate::wire::WireError;

/// What a caller may do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Passes by itself: connect again with back-off.
    Transient,
    /// A person has to change a setting, a grant, a Secret or the spec; connecting again is harmless
    /// and picks the mend up.
    Mend,
    /// The source cannot give what was asked for from this position: the lineage and gap rules
    /// decide, with proof of the source's identity. Never a reason to write by itself.
    History,
}

/// An ERR packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// MySQL's error number: 1045, 1236.
    pub code: u16,
    /// Five characters of SQLSTATE, if sent.
    pub state: Option<String>,
    /// The server's text, lossily decoded.
    pub message: String,
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "server error {}", self.code)?;
        if let Some(state) = &self.state {
            write!(f, " ({state})")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Most of a server's text that is kept; the servers cut theirs at 512 bytes.
const MOST_TEXT: usize = 4096;

impl ServerError {
    /// Reads the payload of an ERR packet, first byte 0xff. `None` if it is not one.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let [0xff, low, high, text @ ..] = payload else { return None };
        let code = u16::from_le_bytes([*low, *high]);
        // Before the handshake is over a server sends no SQLSTATE.
        let (state, message) = match text {
            [b'#', rest @ ..] if rest.len() >= 5 => {
                (Some(String::from_utf8_lossy(&rest[..5]).into_owned()), &rest[5..])
            }
            _ => (None, text),
        };
        let message = &message[..message.len().min(MOST_TEXT)];
        Some(Self { code, state, message: String::from_utf8_lossy(message).into_owned() })
    }
}

/// Why the source could not be reached, read or understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The host name has no address.
    #[error(
        "resolve source host {host:?}: {error}; check source.host and the DNS this worker uses"
    )]
    Resolve {
        /// As configured.
        host: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// The host leads where no stream may lead its worker.
    #[error("connect to source: {host:?} resolves to {address}, which {}", refused.why())]
    NotAllowed {
        /// As configured.
        host: String,
        /// What it resolved to.
        address: std::net::IpAddr,
        /// Why it is refused.
        refused: Refused,
    },
    /// No address of the host took the connection.
    #[error(
        "connect to source {address}: {error}; check source.host, source.port, that the server listens there and that the network lets this worker through"
    )]
    Connect {
        /// `host:port`.
        address: String,
        /// What the last address tried said.
        error: io::Error,
    },
    /// A step took longer than its limit.
    #[error(
        "{doing}: no answer within {limit:?}; check that source.host and source.port lead to the server and that it is not overloaded"
    )]
    Timeout {
        /// What was being done.
        doing: String,
        /// The limit it had.
        limit: Duration,
    },
    /// The connection broke.
    #[error("{doing}: {error}")]
    Io {
        /// What was being done.
        doing: String,
        /// How it broke.
        error: io::Error,
    },
    /// The server closed the connection.
    #[error(
        "{doing}: the server closed the connection (it was stopped, it killed the session, or its net_write_timeout ran out)"
    )]
    Closed {
        /// What was being done.
        doing: String,
    },
    /// Bytes that are no valid answer.
    #[error(
        "{doing}: {problem}; check that source.host and source.port lead to a MySQL or MariaDB server"
    )]
    Protocol {
        /// What was being done.
        doing: String,
        /// What was wrong with the answer.
        problem: String,
    },
    /// A configured value cannot be used.
    #[error("{field} is {value:?}: {problem}")]
    Config {
        /// Name of the field in the spec.
        field: &'static str,
        /// Its value (never a password).
        value: String,
        /// What is wrong, and the mend.
        problem: &'static str,
    },
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server wants an authentication plugin that is not spoken.
    #[error(
        "authenticate as {user:?}: the server asks for plugin {plugin:?}; spoken are caching_sha2_password, mysql_native_password, client_ed25519 and sha256_password: ALTER USER {user:?} IDENTIFIED WITH one of these, or use another account"
    )]
    AuthPlugin {
        /// Account name.
        user: String,
        /// Name of the plugin.
        plugin: String,
    },
    /// The exchange of an authentication plugin failed on our side.
    #[error("authenticate as {user:?} with {plugin}: {problem}")]
    Auth {
        /// Account name.
        user: String,
        /// Name of the plugin.
        plugin: String,
        /// What failed.
        problem: String,
    },
    /// The server turned the account away.
    #[error("authenticate as {user:?}: {error}; check the username and password in the Secret of source.credentialsSecretRef, and that the account may connect from this host{}", hint.unwrap_or_default())]
    AccessDenied {
        /// Account name.
        user: String,
        /// The server's words.
        error: ServerError,
        /// What an account made with REQUIRE SSL or REQUIRE X509 needs: the server says no more
        /// than that access is denied.
        hint: Option<&'static str>,
    },
    /// The server takes no clear-text connections.
    #[error(
        "authenticate as {user:?}: {error}; set source.tls.mode to Required, VerifyCA or VerifyFull, or let the account connect without TLS (require_secure_transport=OFF, ALTER USER ... REQUIRE NONE)"
    )]
    TlsRequired {
        /// Account name.
        user: String,
        /// The server's words.
        error: ServerError,
    },
    /// A statement was refused.
    #[error("{doing}: {error}")]
    Server {
        /// What was being done; never the statement's values.
        doing: String,
        /// The server's words.
        error: ServerError,
    },
    /// An answer larger than the limit for control queries.
    #[error("{doing}: the answer is larger than {limit} {unit}")]
    TooLarge {
        /// What was being done.
        doing: String,
        /// The limit.
        limit: usize,
        /// Bytes or rows.
        unit: &'static str,
    },
    /// A value in an answer is not what it has to be.
    #[error("{doing}: column {column:?} {problem}")]
    Value {
        /// What was being done.
        doing: String,
        /// Name or number of the column.
        column: String,
        /// What was found and what was expected; never a value.
        problem: String,
    },
    /// The server refused the dump, or ended it with an error.
    #[error("dump from {position}: {error}; {}", refusal.mend())]
    Dump {
        /// Position or set asked for.
        position: String,
        /// What kind of refusal it is.
        refusal: DumpRefusal,
        /// The server's words.
        error: ServerError,
    },
    /// The server ended the dump without an error.
    #[error("dump from {position}: the server ended it (shutdown, or the session was killed)")]
    DumpEnded {
        /// Position or set asked for.
        position: String,
    },
    /// Neither an event nor a heartbeat came for three heartbeat intervals.
    #[error(
        "dump: neither an event nor a heartbeat for {limit:?}; the source hangs or its packets are dropped"
    )]
    Silent {
        /// How long was waited.
        limit: Duration,
    },
    /// The dump command holds 32 bits of position.
    #[error(
        "dump from {file}:{offset}: the protocol cannot start above 4294967295; start at the last transaction below it and skip"
    )]
    PositionBeyondDump {
        /// Binlog file.
        file: String,
        /// Offset asked for.
        offset: u64,
    },
    /// A mounted file could not be read.
    #[error("read {what} from {}: {error}; check that the Secret or ConfigMap exists and has the key", path.display())]
    File {
        /// What it holds.
        what: &'static str,
        /// Where it was expected.
        path: PathBuf,
        /// What the file system said.
        error: io::Error,
    },
}

impl SourceError {
    pub(crate) fn wire(doing: impl Into<String>, error: WireError) -> Self {
        let doing = doing.into();
        match error {
            WireError::Closed => Self::Closed { doing },
            WireError::Io(error) => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe => Self::Closed { doing },
                _ => Self::Io { doing, error },
            },
            WireError::OutOfOrder { .. } | WireError::TooLarge { .. } => {
                Self::Protocol { doing, problem: error.to_string() }
            }
        }
    }

    pub(crate) fn protocol(doing: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Protocol { doing: doing.into(), problem: problem.into() }
    }

    /// An ERR packet as the answer to `doing`.
    pub(crate) fn server(doing: impl Into<String>, error: ServerError) -> Self {
        Self::Server { doing: doing.into(), error }
    }

    /// An ERR packet as the answer to a dump from `position`.
    pub(crate) fn dump(position: impl Into<String>, error: ServerError) -> Self {
        Self::Dump { position: position.into(), refusal: refusal::classify(&error), error }
    }

    /// The server's error number, if the server spoke.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::AccessDenied { error, .. }
            | Self::TlsRequired { error, .. }
            | Self::Server { error, .. }
            | Self::Dump { error, .. } => Some(error.code),
            _ => None,
        }
    }

    /// What kind of refusal ended a dump.
    pub fn refusal(&self) -> Option<DumpRefusal> {
        match self {
            Self::Dump { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }

    /// Whether connecting again can help.
    pub fn class(&self) -> Class {
        match self {
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Io { .. }
            | Self::Closed { .. }
            | Self::Protocol { .. }
            | Self::TooLarge { .. }
            | Self::Value { .. }
            | Self::DumpEnded { .. }
            | Self::Silent { .. } => Class::Transient,
            Self::Config { .. }
            | Self::NotAllowed { .. }
            | Self::AuthPlugin { .. }
            | Self::Auth { .. }
            | Self::AccessDenied { .. }
            | Self::TlsRequired { .. }
            | Self::File { .. } => Class::Mend,
            Self::Tls(error) => error.class(),
            Self::Server { error, .. } => refusal::class_of_code(error.code),
            Self::Dump { refusal, .. } => refusal.class(),
            Self::PositionBeyondDump { .. } => Class::History,
        }
    }

    /// The condition's reason this error is shown under.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Resolve { .. } => Reason::DnsFailure,
            Self::Connect { error, .. } if error.kind() == io::ErrorKind::ConnectionRefused => {
                Reason::ConnectionRefused
            }
            Self::Connect { .. } | Self::Timeout { .. } => Reason::ConnectTimeout,
            Self::Io { .. } | Self::Closed { .. } | Self::DumpEnded { .. } => {
                Reason::ConnectionLost
            }
            Self::Protocol { .. } | Self::TooLarge { .. } | Self::Value { .. } => {
                Reason::ProtocolError
            }
            Self::Config { .. } => Reason::ConfigInvalid,
            Self::NotAllowed { .. } => Reason::EndpointNotAllowed,
            Self::Tls(error) => error.reason(),
            Self::AuthPlugin { .. } => Reason::AuthUnsupported,
            Self::Auth { .. } | Self::AccessDenied { .. } => Reason::AuthFailed,
            Self::TlsRequired { .. } => Reason::TlsFailed,
            Self::Server { error, .. } => refusal::reason_of_code(error.code),
            Self::Dump { refusal, error, .. } => match refusal.reason() {
                Reason::SourceError => refusal::reason_of_code(error.code),
                reason => reason,
            },
            Self::Silent { .. } => Reason::HeartbeatMissed,
            Self::PositionBeyondDump { .. } => Reason::PositionNotFound,
            Self::File { .. } => Reason::SecretMissing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_error_packet_with_and_without_a_state() {
        let error = ServerError::parse(b"\xff\x15\x04#28000Access denied").expect("an ERR packet");
        assert_eq!((error.code, error.state.as_deref()), (1045, Some("28000")));
        assert_eq!(error.message, "Access denied");
        let early = ServerError::parse(b"\xff\x10\x04Too many connections").expect("early ERR");
        assert_eq!((early.code, early.state), (1040, None));
        assert_eq!(ServerError::parse(b"\xff\x10"), None);
        let long = ServerError::parse(&[&b"\xff\x10\x04"[..], &vec![b'x'; 1 << 20]].concat());
        assert_eq!(long.expect("an ERR packet").message.len(), MOST_TEXT);
        assert_eq!(ServerError::parse(b"\x00"), None);
    }

    #[test]
    fn a_reset_connection_counts_as_closed() {
        let reset = WireError::Io(io::ErrorKind::ConnectionReset.into());
        let error = SourceError::wire("read", reset);
        assert!(matches!(error, SourceError::Closed { .. }));
        assert_eq!((error.class(), error.reason()), (Class::Transient, Reason::ConnectionLost));
    }

    #[test]
    fn a_purged_dump_names_its_reason_and_its_mend() {
        let message = "Could not find first log file name in binary log index file".to_owned();
        let error = ServerError { code: 1236, state: Some("HY000".into()), message };
        let error = SourceError::dump("binlog.000001:4", error);
        assert_eq!((error.class(), error.reason()), (Class::History, Reason::BinlogPurged));
        assert!(error.to_string().contains("binlog_expire_logs_seconds"), "{error}");
    }
}
