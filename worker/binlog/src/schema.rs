//! The schema of a table as its table map describes it: the record kept in the archive.
//!
//! Invariants:
//! - the fingerprint names the record's content: equal tables have equal fingerprints whatever
//!   their table id (`the_fingerprint_does_not_depend_on_the_table_id` in `tests/suite/tables.rs`);
//! - the record's JSON is a persisted format (`schema_record_is_golden`).

use serde::{Deserialize, Serialize};

/// Version of [`SchemaRecord`]'s JSON.
pub const SCHEMA_FORMAT: u32 = 1;

/// A table's schema, stored once under its fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaRecord {
    /// Version of this form.
    pub format: u32,
    /// SHA-256 in hex over schema, table, column types, their metadata, nullability and the table
    /// map's optional fields.
    pub fingerprint: String,
    /// Schema of the table.
    pub schema: String,
    /// Name of the table.
    pub table: String,
    /// Columns in the order of the row images.
    pub columns: Vec<ColumnRecord>,
    /// Names of the primary key's columns in key order; empty if the table has none.
    pub primary_key: Vec<String>,
}

/// One column of a [`SchemaRecord`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ColumnRecord {
    /// Name of the column.
    pub name: String,
    /// The type in words, as near to the column's definition as the table map allows, such as
    /// `bigint unsigned`, `decimal(30,10)`, `varchar`, `datetime(6)`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Whether the column may be NULL.
    pub nullable: bool,
    /// Character set of text, ENUM and SET columns; `binary` for bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
    /// Id of the collation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<u32>,
    /// Members of an ENUM or SET in their order; one that has no exact Unicode form as the JSON of its
    /// bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
    /// Whether the column is left out of `SELECT *` (MySQL only).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub invisible: bool,
}
