//! The worker's report and its golden file.

use crds::conditions::Reason;
use crds::position::FilePosition;
use crds::worker_status::{Phase, PositionFacet, WorkerStatus};
use serde_json::{Value, json};

const GOLDEN: &str = include_str!("data/status.json");

#[test]
fn the_golden_report_reads_and_writes_the_same() {
    let status: WorkerStatus = serde_json::from_str(GOLDEN).unwrap();
    assert_eq!(status.phase, Phase::Streaming);
    assert_eq!(status.decoding.stopped[0].reason, Reason::TableStopped);
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    assert_eq!(serde_json::to_value(&status).unwrap(), golden);
}

#[test]
fn status_of_a_newer_worker_is_read() {
    let mut newer: Value = serde_json::from_str(GOLDEN).unwrap();
    newer["phase"] = json!("Dreaming");
    newer["archive"]["reason"] = json!("MoonPhase");
    newer["archive"]["later"] = json!({"field": 1});
    let status: WorkerStatus = serde_json::from_value(newer).unwrap();
    assert_eq!((status.phase, status.archive.reason), (Phase::Unknown, Reason::Unknown));
}

#[test]
fn status_of_an_older_worker_is_read() {
    let mut older: Value = serde_json::from_str(GOLDEN).unwrap();
    for field in ["gaps", "gapCount", "openGapCount"] {
        older.as_object_mut().unwrap().remove(field);
    }
    older["counters"].as_object_mut().unwrap().remove("commits");
    assert!(serde_json::from_value::<WorkerStatus>(older).is_ok());
}

#[test]
fn a_long_set_is_cut_and_says_so() {
    let at = FilePosition::new("b.000001", 4);
    let cut = PositionFacet::new(&at, Some(&"1".repeat(1025)), None);
    assert!(cut.gtid_set_truncated && cut.gtid_set.unwrap().len() == 1024);
    assert!(!PositionFacet::new(&at, Some("1"), None).gtid_set_truncated);
}
