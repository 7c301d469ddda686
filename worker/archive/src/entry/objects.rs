//! What a commit names: raw objects, change files, prepared transactions, table gaps.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Point, RawHead};

/// Raw bytes added by one entry. Its own chain: `from` is the last `to`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawSpan {
    /// First byte.
    pub from: Point,
    /// Byte after the last one; a boundary between transactions.
    pub to: Point,
    /// The objects, in order; empty when they stand in the entry's list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<RawObject>,
    /// Files that ended in this range.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<ClosedFile>,
    /// Format description of the file that begins last in this range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<RawHead>,
}

/// One raw object: a zstd stream of the bytes `[from, to)` of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawObject {
    /// Key under the stream's root.
    pub key: String,
    /// Binlog file.
    pub file: String,
    /// First byte of the file in it.
    pub from: u64,
    /// Byte after the last one.
    pub to: u64,
    /// Stored size in bytes.
    pub bytes: u64,
    /// SHA-256 of the stored bytes, in hex.
    pub sha256: String,
}

/// A binlog file that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClosedFile {
    /// Binlog file.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
    /// By what it ended.
    pub how: FileEnd,
}

/// By what a binlog file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FileEnd {
    /// A ROTATE event.
    Rotate,
    /// A STOP event: the server was shut down.
    Stop,
    /// Neither: the server crashed.
    Crash,
}

/// Row changes added by one entry. Its own chain: `from` is the last `to`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeSpan {
    /// First byte of the decoded range.
    pub from: Point,
    /// Byte after the last one; a boundary between transactions.
    pub to: Point,
    /// The files; empty when they stand in the entry's list, or when the range holds no row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ChangeFile>,
    /// Rows in all files.
    #[serde(default)]
    pub rows: u64,
    /// Transactions with at least one row.
    #[serde(default)]
    pub transactions: u64,
    /// Fingerprints of the column descriptions first used here, under `schemas/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<String>,
    /// Where they stand when there are too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_list: Option<ListRef>,
}

/// One Parquet file of change rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeFile {
    /// Path under `changes/`, as the Delta table names it.
    pub path: String,
    /// Partition: UTC day on which the file was cut. Never falls from one entry to the next.
    pub date: String,
    /// Stored size in bytes.
    pub bytes: u64,
    /// SHA-256 of the stored bytes, in hex.
    pub sha256: String,
    /// Rows.
    pub rows: u64,
    /// Smallest commit time, microseconds since 1970 UTC.
    pub min_time: i64,
    /// Largest commit time, microseconds since 1970 UTC.
    pub max_time: i64,
}

/// A long list kept outside the entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListRef {
    /// Key under the stream's root.
    pub key: String,
    /// SHA-256 of the stored bytes, in hex.
    pub sha256: String,
}

/// What stands in a list object, zstd-compressed JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Objects {
    /// Objects of `raw`.
    #[serde(default)]
    pub raw: Vec<RawObject>,
    /// Files of `changes`.
    #[serde(default)]
    pub changes: Vec<ChangeFile>,
}

/// Prepared transactions begun and decided in one entry. One that is both within it is in neither list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct XaPart {
    /// Prepared, and still without a verdict behind the entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opened: Vec<XaOpened>,
    /// Decided; prepared in an entry before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<XaClosed>,
    /// Where `opened` stands when it is too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_list: Option<ListRef>,
    /// Where `closed` stands when it is too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_list: Option<ListRef>,
}

impl XaPart {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.opened.is_empty() && self.closed.is_empty()
    }

    /// Takes what followed on it.
    pub fn join(&mut self, next: Self) {
        for verdict in next.closed {
            let opened = self.opened.iter().rposition(|open| open.xid == verdict.xid);
            match opened {
                Some(at) => drop(self.opened.remove(at)),
                None => self.closed.push(verdict),
            }
        }
        self.opened.extend(next.opened);
    }
}

/// A prepared transaction, held by reference until its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct XaOpened {
    /// The transaction's id, in the source's own notation.
    pub xid: String,
    /// GTID of the prepared group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtid: Option<String>,
    /// Lineage of the group.
    pub lineage: String,
    /// Binlog file of the group.
    pub file: String,
    /// First byte of the group.
    pub from: u64,
    /// Byte after it.
    pub to: u64,
    /// Its events end in a CRC32.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub crc32: bool,
    /// Object that holds the bytes when raw is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The entry that names the raw objects with its bytes. Known from folding, so only in a state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
}

/// The verdict about a prepared transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct XaClosed {
    /// The transaction's id.
    pub xid: String,
    /// `commit` or `rollback`.
    pub verdict: String,
}

/// A range in which the change log lacks rows: of one table, or of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableGap {
    /// Id, unique in the archive.
    pub id: String,
    /// `table` or `group`.
    pub scope: String,
    /// `schema.table`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// A word of the closed list of reasons.
    pub reason: String,
    /// First byte that is missing.
    pub from: Point,
    /// Byte after the last one; absent while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Point>,
    /// The first row that is missing in the group at `from`, where rows of the table before it are held: ordinal of
    /// its event in the group, ordinal of the row in the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_row: Option<(u32, u32)>,
    /// What is missing, in words without row values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// Who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When it was seen, by the worker's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}
