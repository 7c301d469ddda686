//! Tables: facts in, conditions out.

mod actions;
mod facets;
mod voices;

use std::collections::BTreeMap;

use crds::{
    conditions::{ConditionType, Reason},
    v1alpha1::{Condition, ConditionStatus},
    worker_status::Phase,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::{
    controller::validate::tests::{valid, valid_with},
    watched::WatchedPod,
};

const NOW: &str = "2026-11-21T10:00:00Z";
const POD: &str = "pod-1";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// A worker that streams and is well.
pub(crate) fn report() -> WorkerStatus {
    serde_json::from_value(json!({
        "version": 1, "workerVersion": "0.1.0", "instance": POD, "podUid": POD, "epoch": 2,
        "configGeneration": 3, "observedAt": NOW, "phase": "Streaming", "reason": "Streaming",
        "message": "",
        "source": {"connected": true, "reason": "Connected", "message": "connected",
            "address": "10.0.0.9:3306", "serverId": 1, "version": "9.7.4", "flavor": "MySQL",
            "role": "Primary", "binlogRetentionSeconds": 2_592_000},
        "start": {"mode": "Latest", "position": {"file": "binlog.000001", "offset": 4},
            "origin": "Spec", "resolvedAt": NOW},
        "durable": {"file": "binlog.000002", "offset": 1234},
        "lag": {"state": "CaughtUp", "seconds": 0},
        "archive": {"healthy": true, "reason": "Current", "message": "current",
            "state": "Current", "n": 17, "fence": "ConditionalCreate"},
        "checkpoint": {"healthy": true, "reason": "Saved", "message": "saved", "n": 17},
        "decoding": {"healthy": true, "reason": "Decoding", "message": "decoding"},
        "counters": {},
    }))
    .unwrap()
}

fn pod(status: &Value) -> KeptPod {
    let pod: WatchedPod = serde_json::from_value(json!({
        "metadata": {"name": "orders-worker-0", "uid": POD,
            "creationTimestamp": "2026-11-21T09:59:30Z"},
        "spec": {"nodeName": "node-1"},
        "status": status,
    }))
    .unwrap();
    KeptPod::from(&pod)
}

fn running(since: &str) -> KeptPod {
    pod(&json!({"phase": "Running", "podIP": "10.0.0.5", "containerStatuses": [
        {"name": "worker", "ready": true, "restartCount": 1, "image": "i", "imageID": "",
            "state": {"running": {"startedAt": since}}}]}))
}

fn waiting(reason: &str, message: &str) -> KeptPod {
    pod(&json!({"phase": "Pending", "containerStatuses": [
        {"name": "worker", "ready": false, "restartCount": 4, "image": "i", "imageID": "",
            "state": {"waiting": {"reason": reason, "message": message}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}))
}

/// Everything a case may change; what it leaves is a healthy stream.
struct Case {
    stream: ValidStream,
    refusal: Option<Refusal>,
    failed: Option<&'static str>,
    waits: Option<&'static str>,
    held: Option<Held>,
    deleting: bool,
    pod: Option<KeptPod>,
    leaving: Option<KeptPod>,
    report: Option<WorkerStatus>,
    report_pod: &'static str,
    age: u64,
    deployment: Option<(i64, DeploymentStatus)>,
    previous: Option<BinlogStreamStatus>,
}

fn healthy() -> Case {
    Case {
        stream: valid(),
        refusal: None,
        failed: None,
        waits: None,
        held: None,
        deleting: false,
        pod: Some(running("2026-11-21T09:50:00Z")),
        leaving: None,
        report: Some(report()),
        report_pod: POD,
        age: 3,
        deployment: None,
        previous: None,
    }
}

impl Case {
    fn saying(change: impl FnOnce(&mut WorkerStatus)) -> Case {
        let mut said = report();
        change(&mut said);
        Case { report: Some(said), ..healthy() }
    }

    fn with_pod(pod: Option<KeptPod>) -> Case {
        Case { pod, report: None, ..healthy() }
    }

    fn wanting(state: &str) -> Case {
        Case { stream: valid_with(json!({"spec": {"state": state}})), ..healthy() }
    }

    fn status(&self) -> BinlogStreamStatus {
        self.status_at(now())
    }

    fn status_at(&self, now: Timestamp) -> BinlogStreamStatus {
        let outcome = match (&self.refusal, self.failed, self.waits) {
            _ if self.deleting => Outcome::Deleting(Some(self.stream.spec.state)),
            _ if self.held.is_some() => Outcome::Held(&self.stream, self.held.clone().unwrap()),
            (Some(refusal), ..) => Outcome::Refused(refusal),
            (_, Some(message), _) => Outcome::Failed(&self.stream, message.to_owned()),
            (_, _, Some(message)) => Outcome::Waiting(&self.stream, message.to_owned()),
            _ => Outcome::Applied(&self.stream),
        };
        compute(&Facts {
            name: "orders",
            generation: 3,
            now,
            outcome,
            deployment: self
                .deployment
                .as_ref()
                .map(|(generation, status)| DeploymentFacts { generation: *generation, status }),
            pod: self.pod.as_ref(),
            leaving: self.leaving.as_ref(),
            report: self.report.as_ref().map(|status| Report {
                pod_uid: self.report_pod,
                status,
                age: Duration::from_secs(self.age),
            }),
            checkpoint: None,
            previous: self.previous.as_ref(),
        })
    }
}

fn condition(status: &BinlogStreamStatus, kind: ConditionType) -> &Condition {
    status.conditions.iter().find(|condition| condition.type_ == kind.as_str()).unwrap()
}

fn said(status: &BinlogStreamStatus, kind: ConditionType) -> String {
    let condition = condition(status, kind);
    format!("{:?}/{}", condition.status, condition.reason)
}

/// Ready, Reconciling and Stalled of a case.
#[track_caller]
fn expect(name: &str, case: &Case, ready: &str, reconciling: &str, stalled: &str) {
    let status = case.status();
    let got = [ConditionType::Ready, ConditionType::Reconciling, ConditionType::Stalled]
        .map(|kind| said(&status, kind));
    assert_eq!(got, [ready, reconciling, stalled], "{name}: {:#?}", status.conditions);
    assert_eq!(status.reason.as_deref(), ready.split('/').nth(1), "{name}");
}

/// What only the worker knows.
const FACETS: [ConditionType; 5] = [
    ConditionType::SourceConnected,
    ConditionType::CheckpointHealthy,
    ConditionType::ArchiveHealthy,
    ConditionType::DecodingHealthy,
    ConditionType::CaughtUp,
];
const IDLE: &str = "False/NotReconciling";
const FREE: &str = "False/NotStalled";

#[test]
fn healthy_stream_is_ready() {
    expect("healthy", &healthy(), "True/Streaming", IDLE, FREE);
    let status = healthy().status();
    for kind in FACETS {
        assert_eq!(condition(&status, kind).status, ConditionStatus::True, "{kind}");
    }
    assert_eq!(said(&status, ConditionType::GapDetected), "False/NoGap");
    assert_eq!(said(&status, ConditionType::Paused), "False/NotPaused");
    assert_eq!(status.lag.unwrap().text, "0s");
    assert_eq!(status.archive.unwrap().text, "current");
    assert_eq!(status.position.unwrap().text.as_deref(), Some("binlog.000002:1234"));
    assert_eq!(status.worker.unwrap().restarts, Some(1));
    assert_eq!(status.source.unwrap().binlog_retention.as_deref(), Some("30d"));
}

#[test]
fn every_condition_is_always_there() {
    let cases: [fn() -> Case; 3] = [healthy, || Case::with_pod(None), || Case::wanting("Stopped")];
    for case in cases {
        let status = case().status();
        let kinds: Vec<_> = status.conditions.iter().map(|c| c.type_.clone()).collect();
        assert_eq!(kinds, ConditionType::ALL.map(|kind| kind.as_str().to_owned()));
        for condition in &status.conditions {
            assert!(condition.known_reason().is_some(), "{}", condition.reason);
            assert!(!condition.message.is_empty(), "{}", condition.type_);
            assert!(condition.observed_generation.is_some());
        }
    }
}

#[test]
fn a_refused_spec_is_the_reason_whatever_the_worker_says() {
    let refusal = Refusal {
        reason: Reason::PrefixInUse,
        message: "the archive is in use".to_owned(),
        state: Some(StreamState::Running),
    };
    let running = Case { refusal: Some(refusal.clone()), ..healthy() };
    expect("refused", &running, "False/PrefixInUse", IDLE, "True/PrefixInUse");
    // The worker of the spec before goes on, and what it says of itself stays true.
    assert_eq!(said(&running.status(), ConditionType::ArchiveHealthy), "True/Current");
    let new = Case { refusal: Some(refusal), ..Case::with_pod(None) };
    expect("refused at first", &new, "False/PrefixInUse", IDLE, "True/PrefixInUse");
    assert_eq!(said(&new.status(), ConditionType::SourceConnected), "Unknown/PrefixInUse");
}

#[test]
fn failed_and_waiting_applies_are_told() {
    let failed = Case { failed: Some("apply Service orders-worker: forbidden"), ..healthy() };
    expect("failed", &failed, "False/ApplyFailed", IDLE, FREE);
    let waits = Case { waits: Some("being collected"), ..Case::with_pod(None) };
    let reason = "WaitingForOldChildren";
    expect("waits", &waits, &format!("False/{reason}"), &format!("True/{reason}"), FREE);
}

#[test]
fn a_stream_that_is_being_deleted_is_not_ready_however_well_its_worker_is() {
    let (ready, reconciling) = ("False/Deleting", "True/Deleting");
    let well = Case { deleting: true, previous: Some(healthy().status()), ..healthy() };
    expect("well", &well, ready, reconciling, FREE);
    assert_eq!(said(&well.status(), ConditionType::ArchiveHealthy), "True/Current");
    assert_eq!(write::change(well.previous.as_ref(), &well.status()), write::Change::Urgent);
    let gone = Case { deleting: true, ..Case::with_pod(None) };
    expect("gone", &gone, ready, reconciling, FREE);
    assert_eq!(said(&gone.status(), ConditionType::SourceConnected), "Unknown/Deleting");
    let stopped = Case { deleting: true, pod: None, ..Case::wanting("Stopped") };
    expect("stopped", &stopped, ready, reconciling, FREE);
    assert_eq!(said(&stopped.status(), ConditionType::Paused), "True/Stopped");
}

#[test]
fn a_pod_that_could_not_be_applied_is_not_shown() {
    let before = healthy().status();
    let asked = valid_with(json!({"spec": {"worker": {
        "image": "registry.example/binlog-worker:next", "spool": {"size": "1Gi"},
        "resources": {"limits": {"memory": "1Gi"}}}}}));
    let shown = |failed| {
        let previous = Some(before.clone());
        let case = Case { stream: asked.clone(), failed, previous, ..healthy() };
        case.status().worker.unwrap()
    };
    let old = before.worker.clone().unwrap();
    let failed = shown(Some("apply Deployment orders-worker: forbidden"));
    assert_eq!(
        (&failed.image, &failed.resources, &failed.spool),
        (&old.image, &old.resources, &old.spool)
    );
    let applied = shown(None);
    assert_eq!(applied.image.as_deref(), Some("registry.example/binlog-worker:next"));
    assert_eq!(applied.spool.as_deref(), Some("1Gi"));
    assert_ne!(applied.resources, old.resources);
}

#[test]
fn a_worker_on_an_older_config_does_not_answer_for_the_newest() {
    let case = Case::saying(|report| report.config_generation = Some(2));
    expect("pending", &case, "True/Streaming", "True/ConfigPending", FREE);
    let status = case.status();
    assert_eq!(status.observed_generation, Some(3));
    assert_eq!(condition(&status, ConditionType::Ready).observed_generation, Some(2));
    assert_eq!(condition(&status, ConditionType::Reconciling).observed_generation, Some(3));
}

#[test]
fn a_config_that_the_worker_refuses_is_invalid_not_pending() {
    let case = Case::saying(|report| {
        report.config_generation = Some(2);
        report.config_error = Some("batch.size: no such key".into());
    });
    expect("refused", &case, "False/ConfigInvalid", IDLE, "True/ConfigInvalid");
}

#[test]
fn a_stream_whose_newer_pod_waits_stays_as_ready_as_it_is_and_says_so() {
    for (halted, reconciling) in [(false, "True/RolloutWaiting"), (true, "True/RolloutHalted")] {
        let held = Held { halted, message: "why".to_owned() };
        let previous = healthy().status();
        let case = Case { held: Some(held), previous: Some(previous.clone()), ..healthy() };
        expect("held", &case, "True/Streaming", reconciling, FREE);
        let status = case.status();
        assert_eq!(condition(&status, ConditionType::Reconciling).message, "why");
        assert_eq!(status.worker, previous.worker, "the image that runs");
        let silent = Case { age: 60, ..case };
        expect("held and silent", &silent, "Unknown/StatusStale", reconciling, FREE);
    }
}

#[test]
fn an_old_fact_keeps_its_generation_beside_the_refusal_of_a_newer_spec() {
    let refusal = Refusal {
        reason: Reason::PrefixInUse,
        message: "the archive is in use".to_owned(),
        state: Some(StreamState::Running),
    };
    let old = || Case::saying(|report| report.config_generation = Some(2));
    let refused = Case { refusal: Some(refusal), ..old() };
    let failed = Case { failed: Some("apply Service orders-worker: forbidden"), ..old() };
    for case in [refused, failed] {
        let status = case.status();
        let described = |kind| condition(&status, kind).observed_generation;
        for kind in FACETS {
            assert_eq!(described(kind), Some(2), "{kind}");
        }
        assert_eq!(described(ConditionType::Ready), Some(3));
        assert_eq!(described(ConditionType::Stalled), Some(3));
    }
}

#[test]
fn transition_time_moves_only_on_flips() {
    let later = "2026-11-21T11:00:00Z".parse().unwrap();
    let before = healthy().status();
    let same = Case { previous: Some(before.clone()), ..healthy() }.status_at(later);
    let times = |status: &BinlogStreamStatus| -> BTreeMap<String, Time> {
        let pair = |c: &Condition| (c.type_.clone(), c.last_transition_time.clone());
        status.conditions.iter().map(pair).collect()
    };
    assert_eq!(times(&before), times(&same));
    let fell = Case {
        previous: Some(before.clone()),
        ..Case::saying(|r| facets::fail_archive(r, Reason::ArchiveFull))
    };
    let fell = times(&fell.status_at(later));
    assert_eq!(fell["Ready"], Time(later));
    assert_eq!(fell["ArchiveHealthy"], Time(later));
    assert_eq!(fell["SourceConnected"], Time(now()));
}

#[test]
fn an_unchanged_stream_is_not_worth_a_write() {
    let before = healthy().status();
    let mut moved = report();
    moved.durable.as_mut().unwrap().offset += 1;
    let later = "2026-11-21T10:00:05Z".parse().unwrap();
    let again = Case { previous: Some(before.clone()), report: Some(report()), ..healthy() };
    assert_eq!(write::change(Some(&before), &again.status_at(later)), write::Change::None);
    let moved = Case { previous: Some(before.clone()), report: Some(moved), ..healthy() };
    assert_eq!(write::change(Some(&before), &moved.status_at(later)), write::Change::Moved);
    let lags = Case { previous: Some(before.clone()), ..Case::saying(|r| r.lag.seconds = Some(4)) };
    assert_eq!(write::change(Some(&before), &lags.status_at(later)), write::Change::Bucket);
    let silent = Case { previous: Some(before.clone()), age: 60, ..healthy() };
    let silent = silent.status_at(later);
    assert_eq!(write::change(Some(&before), &silent), write::Change::Urgent);
    assert_eq!(write::change(Some(&silent), &before), write::Change::Flip, "for the better");
    assert_eq!(write::change(None, &before), write::Change::Urgent);
}

#[test]
fn what_somebody_asked_for_and_what_got_worse_does_not_wait() {
    let before = healthy().status();
    let asked = BinlogStreamStatus { observed_generation: Some(2), ..before.clone() };
    assert_eq!(write::change(Some(&asked), &before), write::Change::Urgent);
    let opened = BinlogStreamStatus { open_gap_count: Some(1), ..before.clone() };
    assert_eq!(write::change(Some(&before), &opened), write::Change::Urgent);
    assert_eq!(write::change(Some(&opened), &before), write::Change::Flip);
    let caught_up = Case {
        previous: Some(before.clone()),
        ..Case::saying(|r| {
            r.lag.state = crds::v1alpha1::LagState::CatchingUp;
        })
    };
    assert_eq!(write::change(Some(&before), &caught_up.status()), write::Change::Flip);
}

#[test]
fn an_action_is_echoed_and_stays() {
    let case = Case::saying(|report| {
        report.last_handled_action = serde_json::from_value(json!({"type": "acknowledge-gap",
            "requested": "gap-7", "completedAt": NOW, "outcome": "Done", "message": "done"}))
        .unwrap();
    });
    let status = case.status();
    let action = status.last_handled_action.clone().unwrap();
    assert_eq!(
        (action.type_.as_str(), action.outcome.as_deref()),
        ("acknowledge-gap", Some("Done"))
    );
    let quiet = Case { previous: Some(status), ..Case::with_pod(None) };
    assert_eq!(quiet.status().last_handled_action, Some(action));
}
