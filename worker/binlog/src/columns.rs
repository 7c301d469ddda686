//! A table as the source's `information_schema` has it, made into the description of a table map.
//!
//! Invariant: a description comes about only if every column's type, length, nullability and, where the map tells
//! them, sign and character set are what the source says (`columns_that_differ_in_anything_describe_nothing` in
//! `tests/suite/columns.rs`). That no statement changed the table between the map and the answer is up to the caller.

use crds::position::Flavor;
use serde::{Deserialize, Serialize};

use crate::description::TableDescription;
use crate::table_map::{ColumnType, Optional, TableMap, code, high_bit};

/// Collation of bytes.
const BINARY: u32 = 63;

/// A table's columns in their order, and the primary key's in key order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceTable {
    /// The columns.
    pub columns: Vec<SourceColumn>,
    /// Names of the primary key's columns.
    pub key: Vec<String>,
    /// Nothing but a PRIMARY KEY decides over the key: there is one, or no unique index at all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_primary: bool,
    /// Id of `TABLE_COLLATION`, that of new columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<u32>,
}

/// One column.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceColumn {
    /// `COLUMN_NAME`.
    pub name: String,
    /// `DATA_TYPE`, such as `varchar`.
    pub data_type: String,
    /// `COLUMN_TYPE`, such as `bigint(20) unsigned`.
    pub column_type: String,
    /// `IS_NULLABLE`.
    pub nullable: bool,
    /// `CHARACTER_OCTET_LENGTH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub octets: Option<u64>,
    /// `NUMERIC_PRECISION`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<u64>,
    /// `NUMERIC_SCALE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<u64>,
    /// `DATETIME_PRECISION`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fraction: Option<u64>,
    /// Id of `COLLATION_NAME`; `None`: it holds no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collation: Option<u32>,
    /// Members of an ENUM or SET, in the column's own character set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Vec<u8>>,
    /// Left out of `SELECT *`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub invisible: bool,
}

impl SourceTable {
    /// Describes the table map with this body; else what contradicts it.
    pub(crate) fn describe(&self, flavor: Flavor, body: &[u8]) -> Result<TableDescription, String> {
        let unreadable = || "its table map cannot be read".to_owned();
        let map = TableMap::parse(body).map_err(|_| unreadable())?;
        let types = map.column_types().map_err(|_| unreadable())?;
        let given = map.optional().map_err(|_| unreadable())?;
        if types.len() != self.columns.len() {
            let (logged, here) = (types.len(), self.columns.len());
            return Err(format!("the binlog has {logged} columns of it, the source {here}"));
        }
        let mut fields = Fields::default();
        for (column, logged) in self.columns.iter().zip(&types) {
            let differs = |what: &str| format!("column {} has another {what} there", column.name);
            if column.nullable != logged.nullable {
                return Err(differs("nullability"));
            }
            if !column.is_of(flavor, *logged) {
                return Err(differs("type"));
            }
            let sign = fields.take(flavor, column, *logged);
            if let (Some(signs), Some((at, unsigned))) = (given.unsigned, sign)
                && logged.code != code::YEAR
                && high_bit(signs, at) != unsigned
            {
                return Err(differs("sign"));
            }
        }
        fields.agree(&given)?;
        let key = self.key_indexes()?;
        let optional = fields.complete(flavor, &given, &key);
        let whole = [body, &optional].concat();
        TableDescription::of(&whole).ok_or_else(unreadable)
    }

    fn key_indexes(&self) -> Result<Vec<usize>, String> {
        let place = |name: &String| {
            let found = self.columns.iter().position(|column| column.name == *name);
            found.ok_or_else(|| "its primary key is of other columns there".to_owned())
        };
        self.key.iter().map(place).collect()
    }
}

impl SourceColumn {
    /// Whether the table map of such a column has this type.
    fn is_of(&self, flavor: Flavor, logged: ColumnType) -> bool {
        let plain = |code| logged.code == code && logged.meta == [0, 0];
        let with = |code, meta| logged.code == code && logged.meta == [meta, 0];
        let long = |code, length: Option<u64>| {
            let length = length.and_then(|length| u16::try_from(length).ok());
            logged.code == code && length.map(u16::to_le_bytes) == Some(logged.meta)
        };
        let small = |number: Option<u64>| number.and_then(|number| u8::try_from(number).ok());
        let timed =
            |code, old| small(self.fraction).is_some_and(|digits| with(code, digits)) || plain(old);
        let packed = flavor == Flavor::MariaDB && self.column_type.contains("COMPRESSED");
        let maria = flavor == Flavor::MariaDB;
        match self.data_type.as_str() {
            "tinyint" => plain(code::TINY),
            "smallint" => plain(code::SHORT),
            "mediumint" => plain(code::INT24),
            "int" => plain(code::LONG),
            "bigint" => plain(code::LONGLONG),
            "float" => with(code::FLOAT, 4),
            "double" => with(code::DOUBLE, 8),
            "decimal" => {
                let (precision, scale) = (small(self.precision), small(self.scale));
                let meta = logged.meta.map(Some);
                logged.code == code::NEWDECIMAL && [precision, scale] == meta
            }
            "bit" => small(self.precision).is_some_and(|bits| {
                logged.code == code::BIT && logged.meta == [bits % 8, bits / 8]
            }),
            "year" => plain(code::YEAR),
            "date" => plain(code::DATE) || plain(code::NEWDATE),
            "time" => timed(code::TIME2, code::TIME),
            "datetime" => timed(code::DATETIME2, code::DATETIME),
            "timestamp" => timed(code::TIMESTAMP2, code::TIMESTAMP),
            "char" | "binary" => long(code::STRING, self.octets),
            // What says that a value is compressed takes a byte.
            "varchar" | "varbinary" if packed => {
                [self.octets, self.octets.map(|octets| octets + 1)]
                    .into_iter()
                    .any(|octets| long(code::VARCHAR_COMPRESSED, octets))
            }
            "varchar" | "varbinary" => long(code::VARCHAR, self.octets),
            "uuid" | "inet6" if maria => long(code::STRING, Some(16)),
            "inet4" if maria => long(code::STRING, Some(4)),
            "vector" if maria => long(code::VARCHAR, self.octets),
            "vector" => with(code::VECTOR, 4),
            "json" => with(code::JSON, 4),
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
            | "multipolygon" | "geometrycollection" | "geomcollection" => with(code::GEOMETRY, 4),
            "enum" => self.counts(logged, code::ENUM, if self.members.len() < 256 { 1 } else { 2 }),
            "set" => {
                let bytes = match self.members.len().div_ceil(8) {
                    bytes @ 0..=4 => bytes,
                    _ => 8,
                };
                self.counts(logged, code::SET, bytes as u8)
            }
            text => {
                let blob = if packed { code::BLOB_COMPRESSED } else { code::BLOB };
                let prefix = match text {
                    "tinytext" | "tinyblob" => 1,
                    "text" | "blob" => 2,
                    "mediumtext" | "mediumblob" => 3,
                    "longtext" | "longblob" => 4,
                    _ => return false,
                };
                with(blob, prefix)
            }
        }
    }

    fn counts(&self, logged: ColumnType, code: u8, bytes: u8) -> bool {
        !self.members.is_empty() && logged.code == code && logged.meta == [bytes, 0]
    }
}

/// What the optional fields say of the columns that they list.
#[derive(Default)]
struct Fields {
    signs: Vec<bool>,
    collations: Vec<u32>,
    member_collations: Vec<u32>,
    sets: Vec<u8>,
    enums: Vec<u8>,
    names: Vec<u8>,
    invisible: Vec<bool>,
}

impl Fields {
    /// Adds a column; its place among the numbers and its sign, if it is one.
    fn take(
        &mut self,
        flavor: Flavor,
        column: &SourceColumn,
        logged: ColumnType,
    ) -> Option<(usize, bool)> {
        push_bytes(column.name.as_bytes(), &mut self.names);
        self.invisible.push(column.invisible);
        let collation = column.collation.unwrap_or(BINARY);
        match logged.code {
            code::TINY
            | code::SHORT
            | code::INT24
            | code::LONG
            | code::LONGLONG
            | code::FLOAT
            | code::DOUBLE
            | code::NEWDECIMAL
            | code::YEAR => {
                let unsigned = logged.code == code::YEAR || column.column_type.contains("unsigned");
                self.signs.push(unsigned);
                return Some((self.signs.len() - 1, unsigned));
            }
            code::ENUM | code::SET => {
                self.member_collations.push(collation);
                let members =
                    if logged.code == code::SET { &mut self.sets } else { &mut self.enums };
                push_number(column.members.len() as u64, members);
                for member in &column.members {
                    push_bytes(member, members);
                }
            }
            code::STRING | code::VAR_STRING | code::VARCHAR | code::TINY_BLOB..=code::BLOB => {
                self.collations.push(collation);
            }
            code::BLOB_COMPRESSED | code::VARCHAR_COMPRESSED | code::GEOMETRY
                if flavor == Flavor::MariaDB =>
            {
                self.collations.push(collation);
            }
            code::VECTOR if flavor == Flavor::MySQL => self.collations.push(collation),
            _ => {}
        }
        None
    }

    /// Character sets that the map tells must be those of the source.
    fn agree(&self, given: &Optional<'_>) -> Result<(), String> {
        for (ours, theirs) in [
            (&self.collations, &given.collations),
            (&self.member_collations, &given.member_collations),
        ] {
            let told = |at| theirs.of(at).is_some();
            if (0..ours.len()).any(|at| told(at) && theirs.of(at) != ours.get(at).copied()) {
                return Err("its columns have other character sets there".to_owned());
            }
        }
        Ok(())
    }

    /// The optional fields that the map lacks.
    fn complete(&self, flavor: Flavor, given: &Optional<'_>, key: &[usize]) -> Vec<u8> {
        let mut out = Vec::new();
        let numbers = |numbers: &mut dyn Iterator<Item = u64>| {
            let mut bytes = Vec::new();
            numbers.for_each(|number| push_number(number, &mut bytes));
            bytes
        };
        let mut field = |code: u8, bytes: &[u8]| {
            if !bytes.is_empty() {
                out.push(code);
                push_bytes(bytes, &mut out);
            }
        };
        if given.unsigned.is_none() {
            field(1, &bits(&self.signs));
        }
        if given.collations.of(0).is_none() {
            field(3, &numbers(&mut self.collations.iter().map(|id| u64::from(*id))));
        }
        field(4, &self.names);
        field(5, &self.sets);
        field(6, &self.enums);
        field(8, &numbers(&mut key.iter().map(|index| *index as u64)));
        if given.member_collations.of(0).is_none() {
            field(11, &numbers(&mut self.member_collations.iter().map(|id| u64::from(*id))));
        }
        if flavor == Flavor::MySQL {
            let visible: Vec<bool> = self.invisible.iter().map(|invisible| !invisible).collect();
            field(12, &bits(&visible));
        }
        out
    }
}

/// Bits from the highest of each byte.
fn bits(set: &[bool]) -> Vec<u8> {
    let byte = |bits: &[bool]| {
        bits.iter().enumerate().fold(0, |byte, (at, set)| byte | u8::from(*set) << (7 - at))
    };
    set.chunks(8).map(byte).collect()
}

fn push_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    push_number(bytes.len() as u64, out);
    out.extend(bytes);
}

fn push_number(number: u64, out: &mut Vec<u8>) {
    let bytes = number.to_le_bytes();
    let (code, width) = match number {
        0..=0xfa => (None, 1),
        0xfb..=0xffff => (Some(0xfc), 2),
        0x1_0000..=0xff_ffff => (Some(0xfd), 3),
        _ => (Some(0xfe), 8),
    };
    out.extend(code);
    out.extend(bytes.iter().take(width));
}
