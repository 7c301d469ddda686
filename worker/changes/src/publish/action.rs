//! The lines of a Delta log file.
//!
//! Written in one canonical form, so the same entries give the same bytes for the same version.
//! Held by the golden files of this module's tests.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::ForeignWriters;
use crate::schema;

/// The writer feature that other writers do not know, and so refuse the table.
pub(super) const WRITER_FEATURE: &str = "binlogstream";

/// Which readers and writers may open the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Protocol {
    pub(super) min_reader_version: i32,
    pub(super) min_writer_version: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reader_features: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) writer_features: Option<Vec<String>>,
}

impl Protocol {
    /// The protocol that we write.
    pub(super) fn ours(foreign_writers: ForeignWriters) -> Protocol {
        match foreign_writers {
            ForeignWriters::Deny => Protocol {
                min_reader_version: 1,
                min_writer_version: 7,
                reader_features: None,
                writer_features: Some(vec![WRITER_FEATURE.to_owned()]),
            },
            // Version 2 is the oldest that every writer takes, and asks nothing of this table.
            ForeignWriters::Allow => Protocol {
                min_reader_version: 1,
                min_writer_version: 2,
                reader_features: None,
                writer_features: None,
            },
        }
    }

    /// Whether a table with this protocol is one that we know how to write.
    pub(super) fn is_known(&self) -> bool {
        [ForeignWriters::Deny, ForeignWriters::Allow]
            .into_iter()
            .any(|setting| *self == Protocol::ours(setting))
    }
}

/// File format of the data files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Format {
    pub(super) provider: String,
    #[serde(default)]
    pub(super) options: BTreeMap<String, String>,
}

/// The table's identity, columns and settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MetaData {
    pub(super) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    pub(super) format: Format,
    pub(super) schema_string: String,
    pub(super) partition_columns: Vec<String>,
    #[serde(default)]
    pub(super) configuration: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) created_time: Option<i64>,
}

impl MetaData {
    /// The table of an archive; `created_ms` in milliseconds since 1970.
    pub(super) fn ours(archive_id: Uuid, created_ms: i64) -> MetaData {
        // Log and checkpoint clean-up obey only the retention, so it is longer than any archive.
        let configuration = BTreeMap::from([
            ("delta.enableExpiredLogCleanup".to_owned(), "false".to_owned()),
            ("delta.logRetentionDuration".to_owned(), "interval 36500 days".to_owned()),
        ]);
        MetaData {
            id: archive_id.to_string(),
            name: None,
            description: Some("row changes of a binlog stream".to_owned()),
            format: Format { provider: "parquet".to_owned(), options: BTreeMap::new() },
            schema_string: schema::delta_schema(),
            partition_columns: vec![schema::PARTITION.to_owned()],
            configuration,
            created_time: Some(created_ms),
        }
    }
}

/// How far an application has written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Txn {
    pub(super) app_id: String,
    pub(super) version: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_updated: Option<i64>,
}

/// A data file that belongs to the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Add {
    pub(super) path: String,
    pub(super) partition_values: BTreeMap<String, Option<String>>,
    pub(super) size: i64,
    pub(super) modification_time: i64,
    pub(super) data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stats: Option<String>,
}

/// A data file that no longer belongs to the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Remove {
    pub(super) path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deletion_timestamp: Option<i64>,
    pub(super) data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) extended_file_metadata: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) partition_values: Option<BTreeMap<String, Option<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<i64>,
}

/// One line: exactly one of these is there in what we write. Actions of others that do not bear on
/// which files belong to the table are passed over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) commit_info: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) protocol: Option<Protocol>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) meta_data: Option<MetaData>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) txn: Option<Txn>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) add: Option<Add>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) remove: Option<Remove>,
}

impl Line {
    /// What the history of the table shows for one version of ours.
    pub(super) fn commit_info(time_ms: i64, first: u64, last: u64, appends: bool) -> Line {
        Line {
            commit_info: Some(json!({
                "timestamp": time_ms,
                "operation": "STREAMING UPDATE",
                "operationParameters": {"outputMode": "Append", "entries": format!("{first}-{last}")},
                "isBlindAppend": appends,
                "engineInfo": concat!("binlog-operator/", env!("CARGO_PKG_VERSION")),
            })),
            ..Line::default()
        }
    }
}

/// The file of one version.
pub(super) fn encode(lines: &[Line]) -> Result<Bytes, serde_json::Error> {
    let mut out = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut out, line)?;
        out.push(b'\n');
    }
    Ok(out.into())
}

/// The lines of one version's file.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Line>, serde_json::Error> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty())
        .map(serde_json::from_slice)
        .collect()
}

/// A path as the log writes it: relative to the table, as the path of a URI.
pub(super) fn encode_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/=".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex::encode_upper([byte]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(name: &str, lines: &[Line]) {
        let text = String::from_utf8(encode(lines).unwrap().to_vec()).unwrap();
        assert_eq!(decode(text.as_bytes()).unwrap(), lines);
        insta::assert_snapshot!(name, text);
    }

    #[test]
    fn protocol_is_the_golden_one() {
        let line = |setting| Line { protocol: Some(Protocol::ours(setting)), ..Line::default() };
        golden("protocol", &[line(ForeignWriters::Deny), line(ForeignWriters::Allow)]);
    }

    #[test]
    fn metadata_is_the_golden_one() {
        let metadata = MetaData::ours(Uuid::from_u128(7), 1_790_000_000_123);
        golden("metadata", &[Line { meta_data: Some(metadata), ..Line::default() }]);
    }

    #[test]
    fn commit_info_is_the_golden_one() {
        golden("commit_info", &[Line::commit_info(1_790_000_000_123, 4, 9, true)]);
    }

    #[test]
    fn an_unknown_protocol_is_told_apart() {
        let mut protocol = Protocol::ours(ForeignWriters::Deny);
        assert!(protocol.is_known());
        protocol.writer_features = Some(vec![WRITER_FEATURE.into(), "deletionVectors".into()]);
        assert!(!protocol.is_known());
    }

    #[test]
    fn actions_of_others_are_passed_over() {
        let lines =
            decode(b"{\"cdc\":{\"path\":\"x\"}}\n\n{\"txn\":{\"appId\":\"a\",\"version\":3}}\n");
        assert_eq!(lines.unwrap()[1].txn.as_ref().unwrap().version, 3);
    }

    #[test]
    fn paths_are_percent_encoded_once_more() {
        assert_eq!(encode_path("date=2026-11-21/3-4.parquet"), "date=2026-11-21/3-4.parquet");
        assert_eq!(encode_path("a%2Fb c/é+?#"), "a%252Fb%20c/%C3%A9%2B%3F%23");
    }
}
