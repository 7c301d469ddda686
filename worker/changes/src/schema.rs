//! The columns of a change row, once: the Arrow schema of the files and the Delta schema of the
//! table are both made from the same list.
//!
//! - Only types that every Delta reader has: string, long, timestamp (UTC, µs), array of string,
//!   date. No unsigned, no timestampNtz, no nesting beyond the one array.
//!   Held by `delta_schema_is_the_golden_one` and `file_schema_is_the_golden_one`.
//! - A column is only ever added, at the end, and nullable: old files stay readable.
//! - `date` partitions the table and is not in the files; its value is that of the log entry.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::{Value, json};

/// Name of the partition column.
pub const PARTITION: &str = "date";

/// Type of a column, in words that Arrow and Delta share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// UTF-8 text.
    Text,
    /// Text that repeats from row to row: kept as runs in memory, plain text in the file.
    Repeated,
    /// Signed 64-bit number.
    Long,
    /// Microseconds since 1970 in UTC.
    Timestamp,
    /// List of texts, none of them null.
    Texts,
    /// A day; only the partition column.
    Date,
}

/// One column of a change row.
#[derive(Debug)]
struct Column {
    name: &'static str,
    kind: Kind,
    nullable: bool,
    comment: &'static str,
}

const fn column(name: &'static str, kind: Kind, nullable: bool, comment: &'static str) -> Column {
    Column { name, kind, nullable, comment }
}

/// All columns in file order, the partition column last.
const COLUMNS: [Column; 19] = [
    column("commit_time", Kind::Timestamp, false, "commit on the source, as its clock had it"),
    column("op", Kind::Repeated, false, "insert, update, delete, truncate, drop or rename"),
    column("schema_name", Kind::Repeated, false, "schema (database) of the row"),
    column("table_name", Kind::Repeated, false, "table of the row"),
    column("primary_key", Kind::Text, true, "primary key as canonical text; null without one"),
    column("primary_key_hash", Kind::Long, true, "64-bit hash of primary_key"),
    column("before", Kind::Text, true, "row before the change as JSON; absent columns left out"),
    column("after", Kind::Text, true, "row after the change as JSON; absent columns left out"),
    column("changed", Kind::Texts, true, "names of the columns an update changed"),
    column("gtid", Kind::Repeated, true, "GTID of the transaction, if the source writes them"),
    column("file", Kind::Repeated, false, "binlog file of the transaction's start"),
    column("position", Kind::Long, false, "offset in file of the transaction's start"),
    column("event_ordinal", Kind::Long, false, "number of the rows event in its transaction"),
    column("row_ordinal", Kind::Long, false, "number of the row in its rows event"),
    column("schema_fingerprint", Kind::Repeated, false, "names the table's schema under schemas/"),
    column("server_id", Kind::Long, false, "server_id of the server that wrote the transaction"),
    column("lineage", Kind::Repeated, false, "stint on one server history that file belongs to"),
    column(
        "statement",
        Kind::Repeated,
        true,
        "SQL text, if the source logs it; over 4 KiB only on its first row in the file",
    ),
    column(PARTITION, Kind::Date, false, "UTC day of the log entry that names the file"),
];

impl Kind {
    fn arrow(self) -> DataType {
        match self {
            Kind::Text => DataType::Utf8,
            Kind::Repeated => {
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
            }
            Kind::Long => DataType::Int64,
            Kind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Kind::Texts => DataType::List(Arc::new(text_element())),
            Kind::Date => DataType::Date32,
        }
    }

    fn delta(self) -> Value {
        match self {
            Kind::Text | Kind::Repeated => json!("string"),
            Kind::Long => json!("long"),
            Kind::Timestamp => json!("timestamp"),
            Kind::Texts => json!({"type": "array", "elementType": "string", "containsNull": false}),
            Kind::Date => json!("date"),
        }
    }
}

/// The element of a list column, named as the Parquet format asks.
pub(crate) fn text_element() -> Field {
    Field::new("element", DataType::Utf8, false)
}

/// Arrow schema of a batch in memory: the file's columns, repeated text as dictionaries.
///
/// The files are written without the Arrow schema in their metadata, so a reader sees plain text.
pub fn file_schema() -> SchemaRef {
    let fields: Vec<Field> = COLUMNS
        .iter()
        .filter(|column| column.name != PARTITION)
        .map(|column| Field::new(column.name, column.kind.arrow(), column.nullable))
        .collect();
    Arc::new(Schema::new(fields))
}

/// The table's `schemaString`: every column, the partition column last.
pub fn delta_schema() -> String {
    let fields: Vec<Value> = COLUMNS
        .iter()
        .map(|column| {
            json!({
                "name": column.name,
                "type": column.kind.delta(),
                "nullable": column.nullable,
                "metadata": {"comment": column.comment},
            })
        })
        .collect();
    json!({"type": "struct", "fields": fields}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delta_schema_is_the_golden_one() {
        let pretty: Value = serde_json::from_str(&delta_schema()).unwrap();
        insta::assert_json_snapshot!("delta_schema", pretty);
    }

    #[test]
    fn file_schema_is_the_golden_one() {
        let lines: Vec<String> = file_schema()
            .fields()
            .iter()
            .map(|field| {
                let null = if field.is_nullable() { "null" } else { "not null" };
                format!("{}: {} {null}", field.name(), field.data_type())
            })
            .collect();
        insta::assert_snapshot!("file_schema", lines.join("\n"));
    }

    #[test]
    fn the_partition_column_is_not_in_the_files() {
        assert!(file_schema().field_with_name(PARTITION).is_err());
        assert!(delta_schema().contains("\"name\":\"date\""));
    }
}
