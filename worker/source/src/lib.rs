//! The source: connections, TLS, login, preflight and the dump.
//!
//! A client of our own, because no library sets the dump's flags (so MariaDB's bytes would not be
//! the file's), verifies a CA without a name, and hands events out as they are. See ARCHITECTURE.md.

mod auth;
mod config;
mod connection;
mod dump;
mod error;
#[cfg(test)]
mod fuzz_tests;
mod grants;
mod handshake;
mod identity;
mod locate;
mod lookups;
pub mod preflight;
mod refusal;
mod result_set;
mod secret;
mod tls;
mod transport;
mod wire;

pub use config::{SourceConfig, TlsMode, TlsSettings};
pub use connection::{Connection, connect, quote};
pub use dump::Dump;
pub use error::{Class, ServerError, SourceError};
pub use grants::Grants;
pub use identity::{Identity, Role, inspect};
pub use lookups::{BinlogEvent, BinlogFile, ReplicaHost};
pub use refusal::DumpRefusal;
pub use result_set::{ResultSet, Row};
pub use secret::Secret;
pub use tls::{CertificateFault, TlsError, TlsSession};
