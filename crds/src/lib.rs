//! The words that the operator, the worker and the tests share: the `BinlogStream` API, conditions
//! and reasons, positions, the checkpoint record, the worker's configuration and its status.
//!
//! Pure: no client, no runtime, no file or network access.

pub mod admission;
pub mod annotations;
pub mod checkpoint;
pub mod conditions;
pub mod endpoint;
pub mod exposition;
pub mod position;
pub mod schema;
pub mod spans;
pub mod units;
pub mod v1alpha1;
pub mod worker_config;
pub mod worker_status;
