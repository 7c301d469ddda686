//! The crate against recordings of real servers, whole and damaged.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail as tests do")]

mod changes;
mod columns;
mod descriptions;
mod foreign;
mod frames;
mod fuzz;
mod groups;
mod hostile;
mod oracle;
mod recorded;
mod support;
mod tables;
