//! The worker: one stream from a MySQL or MariaDB server into an archive. See ARCHITECTURE.md.

pub mod admin;
pub mod args;
pub mod backoff;
pub mod board;
pub mod config;
pub mod fault;
pub mod lag;
pub mod metrics;
pub mod mirror;
pub mod names;
pub mod pipeline;
pub mod publish;
pub mod redecode;
pub mod run;
pub mod session;
pub mod start;
pub mod stream_state;
pub mod telemetry;
pub mod upstream;
