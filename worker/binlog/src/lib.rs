//! Reads the binlogs of MySQL and MariaDB: bytes in, events, groups and row changes out.
//!
//! Pure and sans-I/O: a [`Framer`] follows a dump packet by packet, a [`GroupTracker`] finds where
//! transactions begin and end, a [`ChangeDecoder`] turns rows events into [`ChangeRow`]s. Nothing
//! here panics on any input, and nothing allocates more than a bound fixed by the input's length.

mod alter;
mod change;
mod columns;
mod decoder;
mod description;
mod event;
mod filter;
mod format;
mod frame;
mod group;
mod gtid;
mod inflate;
mod json_diff;
mod payload;
mod plan;
mod query;
mod reader;
mod rows;
mod schema;
mod survey;
mod table_map;
mod told;
mod touches;
mod value;

pub use alter::altered;
pub use change::{ChangeRow, ChangeSink, Op, SinkError};
pub use columns::{SourceColumn, SourceTable};
pub use decoder::{ChangeDecoder, DecodeError, StoppedTable, TableName, Unnamed};
pub use description::TableDescription;
pub use event::{CHECKSUM_LENGTH, EventType, HEADER_LENGTH, Header};
pub use filter::{Filter, FilterError};
pub use format::{Checksum, FormatDescription};
pub use frame::{Frame, FrameError, Framed, Framer};
pub use group::{EndedGroup, Group, GroupError, GroupTracker, Meaning, Step, Verdict};
pub use schema::{ColumnRecord, SCHEMA_FORMAT, SchemaRecord};
pub use survey::{Finding, Survey};
pub use told::redefined;
