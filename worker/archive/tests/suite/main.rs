//! The archive from outside, one binary: it links the object store's client once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail as tests do"
)]

mod archives;
mod commit;
mod common;
mod config_map;
mod fuzz;
mod golden;
mod interleavings;
mod prepared;
mod random;
mod read_back;
mod spill;
mod stores;
mod stream_state;
mod volume;
