//! Log entries for tests.

use archive::entry::{ChangeFile, ChangeSpan, ENTRY_FORMAT, Writer};
use archive::{Entry, EntryKind, Point};
use jiff::Timestamp;
use uuid::Uuid;

pub(super) const ARCHIVE: Uuid = Uuid::from_u128(0x0190_0000_0000_4000_8000_0000_0000_0001);

/// A change file of a few rows.
pub(super) fn file(path: &str) -> ChangeFile {
    ChangeFile {
        path: path.to_owned(),
        date: "2026-11-21".to_owned(),
        bytes: 4096,
        sha256: "00".repeat(32),
        rows: 3,
        min_time: 1_795_200_000_000_000,
        max_time: 1_795_200_001_000_001,
    }
}

/// A commit with the given change files.
pub(super) fn entry_of(n: u64, paths: &[&str]) -> Entry {
    let point = |pos| Point::new("0001-abc", "binlog.000001", pos);
    let changes = ChangeSpan {
        from: point(n * 100),
        to: point(n * 100 + 100),
        files: paths.iter().map(|path| file(path)).collect(),
        rows: 3 * paths.len() as u64,
        transactions: 1,
        schemas: Vec::new(),
        schema_list: None,
    };
    Entry {
        format: ENTRY_FORMAT,
        archive: ARCHIVE,
        n,
        epoch: 1,
        kind: EntryKind::Commit,
        prev: None,
        time: Timestamp::from_second(1_795_200_002 + n as i64).unwrap(),
        writer: Writer { instance: "test".to_owned(), version: "0.1.0".to_owned() },
        at: None,
        raw: None,
        changes: Some(changes),
        xa: None,
        gaps: Vec::new(),
        gap_list: None,
        list: None,
        claim: None,
        gap: None,
        lineage: None,
        maintain: None,
        consents: Vec::new(),
        state: None,
        extra: serde_json::Map::default(),
    }
}
