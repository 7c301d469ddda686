//! What a worker reports: facets, gaps, lag.

use super::*;

#[test]
fn each_facet_that_fails_is_the_reason() {
    type Change = fn(&mut WorkerStatus);
    let cases: [(&str, Change, ConditionType, bool); 8] = [
        (
            "AuthFailed",
            |r| fail_source(r, Reason::AuthFailed),
            ConditionType::SourceConnected,
            true,
        ),
        (
            "SecretMissing",
            |r| fail_source(r, Reason::SecretMissing),
            ConditionType::SourceConnected,
            true,
        ),
        (
            "ConnectTimeout",
            |r| fail_source(r, Reason::ConnectTimeout),
            ConditionType::SourceConnected,
            false,
        ),
        (
            "BinlogPurged",
            |r| fail_source(r, Reason::BinlogPurged),
            ConditionType::SourceConnected,
            true,
        ),
        (
            "ArchiveFailing",
            |r| fail_archive(r, Reason::ArchiveFailing),
            ConditionType::ArchiveHealthy,
            false,
        ),
        (
            "BucketNotFound",
            |r| fail_archive(r, Reason::BucketNotFound),
            ConditionType::ArchiveHealthy,
            true,
        ),
        (
            "CheckpointWriteFailed",
            |r| {
                r.checkpoint.healthy = false;
                r.checkpoint.reason = Reason::CheckpointWriteFailed;
                r.checkpoint.message = "conflict".to_owned();
            },
            ConditionType::CheckpointHealthy,
            false,
        ),
        (
            "TableStopped",
            |r| {
                r.decoding.healthy = false;
                r.decoding.reason = Reason::TableStopped;
                r.decoding.message = "shop.orders: no metadata".to_owned();
            },
            ConditionType::DecodingHealthy,
            true,
        ),
    ];
    for (reason, change, kind, is_stalled) in cases {
        let case = Case::saying(change);
        let bad = format!("False/{reason}");
        let stalled = if is_stalled { format!("True/{reason}") } else { FREE.to_owned() };
        expect(reason, &case, &bad, IDLE, &stalled);
        assert_eq!(said(&case.status(), kind), bad);
    }
}

fn fail_source(report: &mut WorkerStatus, reason: Reason) {
    report.phase = Phase::Waiting;
    report.reason = reason;
    report.message = "what and the mend".to_owned();
    report.source.connected = false;
    report.source.reason = reason;
    report.source.message = "what and the mend".to_owned();
}

pub(super) fn fail_archive(report: &mut WorkerStatus, reason: Reason) {
    report.archive.healthy = false;
    report.archive.reason = reason;
    report.archive.message = "what and the mend".to_owned();
    report.archive.state = crds::v1alpha1::ArchiveState::Failing;
}

#[test]
fn a_connection_that_is_being_made_is_not_made_yet() {
    let case = Case::saying(|report| fail_source(report, Reason::Connecting));
    expect("connecting", &case, "False/Connecting", IDLE, FREE);
    assert_eq!(said(&case.status(), ConditionType::SourceConnected), "False/Connecting");
}

#[test]
fn a_blocked_archive_shows_beside_a_small_lag() {
    let case = Case::saying(|report| fail_archive(report, Reason::ArchiveUnreachable));
    let status = case.status();
    assert_eq!(said(&status, ConditionType::Ready), "False/ArchiveUnreachable");
    assert_eq!(said(&status, ConditionType::SourceConnected), "True/Connected");
    assert_eq!(status.lag.unwrap().text, "0s");
    assert_eq!(status.archive.unwrap().text, "failing");
}

#[test]
fn a_late_archive_says_how_late() {
    let case = Case::saying(|report| {
        report.archive.state = crds::v1alpha1::ArchiveState::Behind;
        report.archive.oldest_pending_at = Some("2026-11-21T09:57:30Z".parse().unwrap());
    });
    assert_eq!(case.status().archive.unwrap().text, "behind 2m");
}

#[test]
fn catching_up_is_ready_and_says_so_apart() {
    let case = Case::saying(|report| {
        report.lag.state = crds::v1alpha1::LagState::CatchingUp;
        report.lag.seconds = Some(150);
    });
    expect("catching up", &case, "True/Streaming", IDLE, FREE);
    assert_eq!(said(&case.status(), ConditionType::CaughtUp), "False/CatchingUp");
    assert_eq!(case.status().lag.unwrap().text, "2m");
    let stuck = Case::saying(|report| report.lag.state = crds::v1alpha1::LagState::Stalled);
    expect("stuck", &stuck, "False/LagStalled", IDLE, FREE);
    let unknown = Case::saying(|report| report.lag.state = crds::v1alpha1::LagState::Unknown);
    assert_eq!(said(&unknown.status(), ConditionType::CaughtUp), "Unknown/LagUnknown");
    let idle = Case::saying(|report| report.lag.state = crds::v1alpha1::LagState::Idle);
    expect("idle", &idle, "True/Streaming", IDLE, FREE);
    assert_eq!(said(&idle.status(), ConditionType::CaughtUp), "True/Idle");
}

fn with_gap(report: &mut WorkerStatus) {
    report.phase = Phase::Waiting;
    report.reason = Reason::GapDetected;
    report.gap_count = 1;
    report.open_gap_count = 1;
    report.gaps = serde_json::from_value(json!([{"id": "gap-7", "reason": "BinlogPurged",
        "from": {"file": "binlog.000001", "offset": 9}, "detectedAt": NOW}]))
    .unwrap();
}

#[test]
fn an_open_gap_names_the_command_that_acknowledges_it() {
    let case = Case::saying(with_gap);
    expect("gap", &case, "False/GapDetected", IDLE, "True/GapDetected");
    let status = case.status();
    assert_eq!(said(&status, ConditionType::GapDetected), "True/GapDetected");
    assert_eq!((status.gap_count, status.open_gap_count), (Some(1), Some(1)));
    let message = &condition(&status, ConditionType::GapDetected).message;
    assert!(message.contains("acknowledge-gap=gap-7"), "{message}");
}

#[test]
fn gaps_are_remembered_while_nobody_reports() {
    let before = Case::saying(with_gap).status();
    let cases = vec![
        Case { age: 60, ..healthy() },
        Case::with_pod(None),
        Case { pod: None, ..Case::wanting("Stopped") },
        // It has not read the log yet.
        Case::saying(|report| {
            report.phase = Phase::Starting;
            report.reason = Reason::Starting;
            report.epoch = None;
            report.archive.n = None;
        }),
        // It has just claimed and not yet said what it read.
        Case::saying(|report| {
            report.phase = Phase::Starting;
            report.reason = Reason::Starting;
            report.archive.n = None;
        }),
    ];
    for case in cases {
        let status = Case { previous: Some(before.clone()), ..case }.status();
        assert_eq!(said(&status, ConditionType::GapDetected), "True/GapDetected");
        assert_eq!(status.gaps, before.gaps);
        assert_eq!(status.position, before.position);
    }
}

#[test]
fn fenced_worker_is_stalled() {
    let case = Case::saying(|report| {
        report.phase = Phase::Fenced;
        report.fenced =
            serde_json::from_value(json!({"by": "other", "epoch": 9, "at": NOW})).unwrap();
    });
    expect("fenced", &case, "False/Fenced", IDLE, "True/Fenced");
    assert!(condition(&case.status(), ConditionType::Ready).message.contains("epoch 9"));
}

#[test]
fn long_words_of_a_worker_fit_the_schema() {
    let case = Case::saying(|report| {
        report.source.message = "ü".repeat(5000);
        fail_source(report, Reason::AuthFailed);
        report.source.message = "ü".repeat(5000);
        report.message = "ü".repeat(5000);
    });
    for condition in case.status().conditions {
        assert!(condition.message.chars().count() <= 1024, "{}", condition.type_);
    }
}
