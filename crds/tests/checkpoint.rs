//! The checkpoint record and its golden file.

use crds::checkpoint::{
    CHECKPOINT_FORMAT, Checkpoint, CheckpointError, CheckpointGtid, MAX_STREAMS, Tail,
};
use crds::position::FilePosition;
use serde_json::Value;

const GOLDEN: &str = include_str!("data/checkpoint.json");

fn golden() -> Checkpoint {
    let at = FilePosition::new("binlog.000002", 48_211_907);
    Checkpoint {
        format: CHECKPOINT_FORMAT,
        kind: "STREAM".into(),
        streams: Checkpoint::stream_items(&at, 1000, &["shop.orders".into()]),
        archive: "7f1c0c0e-5b0a-4f3e-9d2b-0a1b2c3d4e5f".parse().unwrap(),
        n: 42,
        digest: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
        epoch: 2,
        lineage: "0001-3e11fa47".into(),
        file: at.file,
        pos: at.offset,
        gtid: CheckpointGtid {
            set: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-1873".into()),
            digest: "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae".into(),
        },
        tail: Some(Tail { pos: 48_211_876, type_code: 16, length: 31, crc: 3_735_928_559 }),
        event_time: Some("2026-11-21T09:14:03.22184Z".parse().unwrap()),
        saved_at: "2026-11-21T09:14:04Z".parse().unwrap(),
        own_server_id: Some(700_001),
        crc32c: String::new(),
    }
}

#[test]
fn writes_the_golden_record() {
    assert_eq!(golden().to_json().unwrap(), GOLDEN.trim_end());
}

#[test]
fn reads_the_golden_record() {
    let read = Checkpoint::from_json(GOLDEN).unwrap();
    assert_eq!(Checkpoint { crc32c: String::new(), ..read }, golden());
}

#[test]
fn the_version_stands_first() {
    assert!(GOLDEN.starts_with("{\"format\":1,"));
}

#[test]
fn is_readable_as_the_state_of_other_tools() {
    let record: Value = serde_json::from_str(GOLDEN).unwrap();
    assert_eq!(record["type"], "STREAM");
    let state = &record["streams"][0]["state"];
    assert_eq!(state["binlog_file"], "binlog.000002");
    assert_eq!(state["binlog_position"].as_u64(), Some(48_211_907));
    assert_eq!(state["server_id"].as_u64(), Some(1000), "the source's, not ours");
    assert!(state["chunks"].as_array().unwrap().is_empty());
}

#[test]
fn an_edited_record_is_seen() {
    for (from, to) in [("48211907", "48211908"), ("\"n\":42", "\"n\":43"), ("0001-", "0002-")] {
        let edited = GOLDEN.replace(from, to);
        assert!(matches!(Checkpoint::from_json(&edited), Err(CheckpointError::Checksum { .. })));
    }
}

#[test]
fn a_torn_record_is_seen() {
    for length in 0..GOLDEN.trim_end().len() {
        assert!(Checkpoint::from_json(&GOLDEN[..length]).is_err(), "{length}");
    }
}

#[test]
fn another_format_is_refused() {
    let newer = GOLDEN.replace("\"format\":1", "\"format\":2");
    assert!(matches!(Checkpoint::from_json(&newer), Err(CheckpointError::Format { found: 2 })));
    assert!(matches!(Checkpoint::from_json("{}"), Err(CheckpointError::Malformed(_))));
}

#[test]
fn order_and_white_space_do_not_matter() {
    // A JSON column gives the fields back in another order.
    let record: Value = serde_json::from_str(GOLDEN).unwrap();
    let fields: serde_json::Map<String, Value> =
        record.as_object().unwrap().clone().into_iter().rev().collect();
    let text = serde_json::to_string_pretty(&fields).unwrap();
    assert_eq!(Checkpoint::from_json(&text).unwrap().n, 42);
}

#[test]
fn many_tables_or_patterns_become_one_item() {
    let at = FilePosition::new("b.000001", 4);
    let one = |tables: &[String]| Checkpoint::stream_items(&at, 1, tables);
    assert_eq!(one(&[])[0].stream, "*");
    assert_eq!(one(&["shop.*".into()])[0].namespace, "*");
    let tables: Vec<String> = (0..=MAX_STREAMS).map(|n| format!("s.t{n}")).collect();
    assert_eq!(one(&tables).len(), 1);
    assert_eq!(one(&tables[..MAX_STREAMS]).len(), MAX_STREAMS);
    let quoted = one(&["`a.b`.`c.d`".into()]);
    assert_eq!((quoted[0].namespace.as_str(), quoted[0].stream.as_str()), ("a.b", "c.d"));
}
