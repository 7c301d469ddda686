//! The rows of the change log with their images as it holds them: what is in them is judged by who asked.

use serde::Deserialize;
use serde_json::json;

use super::rows;
use crate::Result;
use crate::archive::Archive;

/// A row of the change log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Change {
    /// `insert`, `update` or `delete`.
    pub op: String,
    /// Name of the table.
    #[serde(rename = "table_name")]
    pub table: String,
    /// The primary key's values as a JSON array.
    pub primary_key: Option<String>,
    /// The row before, as JSON.
    pub before: Option<String>,
    /// The row after, as JSON.
    pub after: Option<String>,
    /// Columns that an update changed.
    pub changed: Option<Vec<String>>,
}

/// All rows of one schema in the order of the binlog.
pub async fn changes(archive: &Archive, schema: &str) -> Result<Vec<Change>> {
    rows::read(archive, json!({"schema": schema, "texts": true})).await
}
