//! The harness of the server and cluster tests: one machine part to a module.
//!
//! Everything a test starts lives in the namespaces that `e2e/ns.sh` makes and ends with them.
//! See ARCHITECTURE.md for what a test looks like.

pub mod archive;
pub mod cluster;
pub mod control_plane;
pub mod elsewhere;
pub mod error;
pub mod figures;
pub mod http;
pub mod logs;
pub mod operator;
pub mod oracle;
pub mod pki;
pub mod previous;
pub mod process;
pub mod proxy;
pub mod release;
pub mod resource;
pub mod rights;
pub mod s3;
pub mod server;
pub mod site;
pub mod trial;
pub mod types;
pub mod usage;
pub mod wait;
pub mod worker;
pub mod workload;
pub mod xa;

pub use error::{Context, Failure, Result};
