//! The change log: rows become Parquet files, and files become a Delta table.
//!
//! [`ChangeBatch`] takes decoded rows and gives [`ChangeFile`]s; the caller uploads them and names
//! them in a log entry. [`Publisher`] follows that log and republishes it as a Delta Lake table
//! that any Delta reader opens. See ARCHITECTURE.md.

pub mod batch;
pub mod publish;
pub mod schema;

pub use batch::{BatchError, ChangeBatch, ChangeFile, Cut, ParquetSettings, Savepoint};
pub use publish::{Class, ForeignWriters, PublishError, PublishSettings, Publisher};
