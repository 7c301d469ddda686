//! A table map compiled into what decodes its rows.
//!
//! Compiled once per distinct table map, used for every row: labels are escaped for JSON, members
//! are JSON text, each column knows how its bytes become text.

mod column;

pub(crate) use column::{Column, Kind};

use crds::position::Flavor;
use sha2::{Digest, Sha256};

use crate::schema::{SCHEMA_FORMAT, SchemaRecord};
use crate::table_map::{Optional, TableMap, TypeError};

/// Bytes of a table map's body before the names: the table id and flags, which change at will.
pub(crate) const TABLE_ID_BYTES: usize = 8;

/// How the rows of one table are decoded.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) fingerprint: String,
    pub(crate) columns: Vec<Column>,
    /// Indexes of the primary key's columns in key order.
    pub(crate) key: Vec<usize>,
    /// Columns of type JSON, which may come as diffs.
    pub(crate) json_columns: usize,
    /// Why the table cannot be decoded.
    pub(crate) fault: Option<String>,
    /// The table map names no columns.
    pub(crate) unnamed: bool,
    /// And nothing is known of them.
    pub(crate) unknown: bool,
}

impl Plan {
    /// Compiles a table map; `body` is the event's body it was read from. Never fails: a table
    /// that cannot be decoded has a `fault`.
    pub(crate) fn compile(flavor: Flavor, map: &TableMap<'_>, body: &[u8]) -> Self {
        let described = body.get(TABLE_ID_BYTES..).unwrap_or_default();
        let mut plan = Self {
            schema: map.schema.to_owned(),
            table: map.table.to_owned(),
            fingerprint: hex::encode(Sha256::digest(described)),
            columns: Vec::new(),
            key: Vec::new(),
            json_columns: 0,
            fault: None,
            unnamed: false,
            unknown: false,
        };
        if let Err(fault) = plan.fill(flavor, map) {
            plan.fault = Some(fault);
        }
        plan
    }

    fn fill(&mut self, flavor: Flavor, map: &TableMap<'_>) -> Result<(), String> {
        let malformed = "its table map is malformed".to_owned();
        let types = map.column_types().map_err(|error| match error {
            TypeError::Short => malformed.clone(),
            TypeError::Unknown(code) => format!("it has a column of type {code}, not known here"),
        })?;
        let optional = map.optional().map_err(|_| malformed)?;
        self.columns = column::compile(flavor, &types, &optional)?;
        self.key = key(&optional, self.columns.len())?;
        self.json_columns =
            self.columns.iter().filter(|column| matches!(column.kind, Kind::Json { .. })).count();
        Ok(())
    }

    /// The schema to keep in the archive.
    pub(crate) fn record(&self) -> SchemaRecord {
        let name = |index: &usize| self.columns.get(*index).map(|column| column.name.clone());
        SchemaRecord {
            format: SCHEMA_FORMAT,
            fingerprint: self.fingerprint.clone(),
            schema: self.schema.clone(),
            table: self.table.clone(),
            columns: self.columns.iter().map(Column::record).collect(),
            primary_key: self.key.iter().filter_map(name).collect(),
        }
    }
}

fn key(optional: &Optional<'_>, columns: usize) -> Result<Vec<usize>, String> {
    let index = |index: &u64| {
        usize::try_from(*index)
            .ok()
            .filter(|index| *index < columns)
            .ok_or_else(|| "its table map names a key column that does not exist".to_owned())
    };
    optional.key.iter().map(index).collect()
}
