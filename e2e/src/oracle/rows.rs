//! The change log row by row, through an independent Delta reader (`e2e/python/rows.py`).

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::changes::{published, run_reader};
use crate::archive::Archive;
use crate::{Context, Result};

/// A row of the change log.
#[derive(Debug, Clone, Deserialize)]
pub struct ChangeRow {
    /// Commit time in microseconds since 1970.
    pub commit_time: i64,
    /// What happened.
    pub op: String,
    /// Schema of the table.
    pub schema_name: String,
    /// The table.
    pub table_name: String,
    /// Primary key as JSON text.
    pub primary_key: Option<String>,
    /// The row before; numbers as strings.
    pub before: Option<Map<String, Value>>,
    /// The row after.
    pub after: Option<Map<String, Value>>,
    /// Columns that an update changed.
    pub changed: Option<Vec<String>>,
    /// GTID of the transaction.
    pub gtid: Option<String>,
    /// File of the transaction's start.
    pub file: String,
    /// Offset of the transaction's start.
    pub position: u64,
    /// Which event of the transaction.
    pub event_ordinal: u32,
    /// Which row of the event.
    pub row_ordinal: u32,
    /// The statement, if it is known.
    pub statement: Option<String>,
}

impl ChangeRow {
    /// `schema.table`.
    pub fn table(&self) -> String {
        format!("{}.{}", self.schema_name, self.table_name)
    }
}

/// All rows of the published change log, in the order of the binlog.
pub async fn rows(archive: &Archive) -> Result<Vec<ChangeRow>> {
    read(archive, json!({"schema": null, "texts": false})).await
}

/// Rows of the published change log as the reader shows them, in the order of the binlog.
pub(super) async fn read<Row: DeserializeOwned>(
    archive: &Archive,
    mut wanted: Value,
) -> Result<Vec<Row>> {
    let (table, storage) = published(archive);
    (wanted["table"], wanted["storage"]) = (json!(table), storage);
    let answer = run_reader("rows.py", &wanted).await?;
    let lines = answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).context(|| "read a row of the reader")).collect()
}
