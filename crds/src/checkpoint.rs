//! The checkpoint record: "entry `n` with this digest exists in this archive".
//!
//! It is a hint for a fast start and a tripwire, never the truth; the archive's log is. Invariants:
//! - the version stands first, and an unknown one is refused (`another_format_is_refused`);
//! - a record that was altered or torn is seen (`an_edited_record_is_seen`), by a CRC-32C over the
//!   record's own text without the checksum;
//! - what was written once is read for ever (`reads_the_golden_record` in `tests/checkpoint.rs`).
//!
//! The JSON is also readable as the state record of other tools of this kind: `type`, `streams[]`,
//! `state{binlog_file, binlog_position, chunks, server_id}`, where `server_id` is the source's.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::position::FilePosition;

/// Version of the record.
pub const CHECKPOINT_FORMAT: u32 = 1;
/// Longest GTID set kept in the record itself, in bytes; a longer one is kept as its digest.
pub const MAX_INLINE_GTID_SET: usize = 256 << 10;
/// Most `streams[]` items; with more tables there is one item for all.
pub const MAX_STREAMS: usize = 256;

/// Everything up to a log entry, in one record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// Version of the record, [`CHECKPOINT_FORMAT`].
    pub format: u32,
    /// Always `STREAM`.
    #[serde(rename = "type")]
    pub kind: String,
    /// One item per table that the filter names, or one for all.
    pub streams: Vec<StreamItem>,
    /// Id of the archive.
    pub archive: Uuid,
    /// Number of the log entry.
    pub n: u64,
    /// SHA-256 of the entry's bytes, in hex.
    pub digest: String,
    /// Epoch of the entry.
    pub epoch: u64,
    /// Lineage of the position.
    pub lineage: String,
    /// Binlog file.
    pub file: String,
    /// Byte offset in the file.
    pub pos: u64,
    /// GTID set up to the position.
    pub gtid: CheckpointGtid,
    /// The last committed event, to be compared on resume.
    pub tail: Option<Tail>,
    /// Commit time of the last transaction, by the source's clock.
    pub event_time: Option<Timestamp>,
    /// When the record was made, by the worker's clock.
    pub saved_at: Timestamp,
    /// Own server id, as a replica of the source.
    pub own_server_id: Option<u32>,
    /// CRC-32C of the record without this field, 8 hex digits. Set by [`Checkpoint::to_json`].
    #[serde(default)]
    pub crc32c: String,
}

/// A GTID set, or its digest when it is too long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointGtid {
    /// Canonical text of the set; absent when it is longer than [`MAX_INLINE_GTID_SET`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// SHA-256 of the canonical text, in hex.
    pub digest: String,
}

/// The last committed event of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tail {
    /// Byte offset at which the event begins.
    pub pos: u64,
    /// Type code of the event.
    #[serde(rename = "type")]
    pub type_code: u8,
    /// Length of the event in bytes, header and checksum included.
    pub length: u32,
    /// CRC-32 of the event's bytes without its checksum.
    pub crc: u32,
}

/// One item of the shared shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamItem {
    /// Table, or `*`.
    pub stream: String,
    /// Schema, or `*`.
    pub namespace: String,
    /// Always `cdc`.
    pub sync_mode: String,
    /// Where replication resumes.
    pub state: StreamItemState,
}

/// Where replication resumes, in the shared shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamItemState {
    /// Binlog file.
    pub binlog_file: String,
    /// Byte offset in the file.
    pub binlog_position: u64,
    /// Always empty: no snapshot is in progress.
    pub chunks: Vec<Value>,
    /// Server id of the source.
    pub server_id: u32,
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The text is no record: torn, or of something else.
    #[error("read checkpoint: it is not a checkpoint record")]
    Malformed(#[source] serde_json::Error),
    /// The record is of another version.
    #[error(
        "read checkpoint: format is {found}, this program reads {CHECKPOINT_FORMAT}; run the version \
         that wrote it, or remove the checkpoint: it is rebuilt from the archive"
    )]
    Format {
        /// The version found.
        found: u64,
    },
    /// The record was changed after it was written.
    #[error(
        "read checkpoint: crc32c is {found:?} and should be {computed:?}; the record was edited or torn"
    )]
    Checksum {
        /// The checksum in the record.
        found: String,
        /// The checksum of what the record says.
        computed: String,
    },
    /// The record cannot be written.
    #[error("write checkpoint as json")]
    Unwritable(#[source] serde_json::Error),
}

impl Checkpoint {
    /// The position as file and offset.
    pub fn position(&self) -> FilePosition {
        FilePosition::new(self.file.clone(), self.pos)
    }

    /// The items of the shared shape: one per plain `schema.table` of the list, or a single `*`
    /// when the list is empty, holds patterns or is longer than [`MAX_STREAMS`].
    pub fn stream_items(
        at: &FilePosition,
        source_server_id: u32,
        tables: &[String],
    ) -> Vec<StreamItem> {
        let item = |namespace: &str, stream: &str| StreamItem {
            stream: stream.to_owned(),
            namespace: namespace.to_owned(),
            sync_mode: "cdc".to_owned(),
            state: StreamItemState {
                binlog_file: at.file.clone(),
                binlog_position: at.offset,
                chunks: Vec::new(),
                server_id: source_server_id,
            },
        };
        let plain: Option<Vec<StreamItem>> = tables
            .iter()
            .map(|table| {
                let (namespace, stream) = split_table(table)?;
                (!stream.contains('*')).then(|| item(namespace, stream))
            })
            .collect();
        match plain {
            Some(items) if (1..=MAX_STREAMS).contains(&items.len()) => items,
            _ => vec![item("*", "*")],
        }
    }

    /// The record as one line of JSON, its checksum set.
    ///
    /// # Errors
    /// Serialisation failed; it does not for this type.
    pub fn to_json(&self) -> Result<String, CheckpointError> {
        let mut value = serde_json::to_value(self).map_err(CheckpointError::Unwritable)?;
        let crc = checksum(&value);
        if let Some(record) = value.as_object_mut() {
            record.insert("crc32c".to_owned(), Value::String(crc));
        }
        serde_json::to_string(&value).map_err(CheckpointError::Unwritable)
    }

    /// Reads a record and proves that it is whole. Fields that a later program added are covered by
    /// the checksum and otherwise skipped; white space and the order of fields may differ, as a
    /// JSON column changes both.
    ///
    /// # Errors
    /// It is no record, of another version, or was changed after it was written.
    pub fn from_json(text: &str) -> Result<Self, CheckpointError> {
        let value: Value = serde_json::from_str(text).map_err(CheckpointError::Malformed)?;
        if let Some(found) = value.get("format").and_then(Value::as_u64)
            && found != u64::from(CHECKPOINT_FORMAT)
        {
            return Err(CheckpointError::Format { found });
        }
        let computed = checksum(&value);
        let record: Self = serde_json::from_value(value).map_err(CheckpointError::Malformed)?;
        if record.crc32c != computed {
            return Err(CheckpointError::Checksum { found: record.crc32c, computed });
        }
        Ok(record)
    }
}

/// CRC-32C of the record's fields without `crc32c`, keys sorted, no white space.
fn checksum(record: &Value) -> String {
    let mut text = String::new();
    write_canonical(record, true, &mut text);
    format!("{:08x}", crc32c::crc32c(text.as_bytes()))
}

fn write_canonical(value: &Value, root: bool, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<&String> =
                fields.keys().filter(|key| !(root && *key == "crc32c")).collect();
            keys.sort_unstable();
            text.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                text.push_str(if index == 0 { "" } else { "," });
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write_canonical(&fields[key], false, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { "," });
                write_canonical(item, false, text);
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

/// Takes `schema.table` apart, back-ticks removed.
fn split_table(text: &str) -> Option<(&str, &str)> {
    let (schema, table) = match text.strip_prefix('`') {
        Some(rest) => rest.split_once("`.")?,
        None => text.split_once('.')?,
    };
    let table = table.strip_prefix('`').and_then(|t| t.strip_suffix('`')).unwrap_or(table);
    Some((schema, table))
}
