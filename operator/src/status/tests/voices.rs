//! Who speaks: silent workers, pods in trouble, pausing and stopping.

use super::*;

#[test]
fn silent_worker_is_unknown_within_thirty_seconds() {
    let fresh = Case { age: 15, ..healthy() };
    expect("just heard", &fresh, "True/Streaming", IDLE, FREE);
    // Worst case: an answer just before the stop, three polls of two seconds that hang.
    let silent = Case { age: 16, ..healthy() };
    expect("silent", &silent, "Unknown/StatusStale", IDLE, FREE);
    let status = silent.status();
    for kind in FACETS {
        assert_eq!(said(&status, kind), "Unknown/StatusStale", "{kind}");
    }
    assert_eq!(status.lag.unwrap().text, "?");
    assert_eq!(status.archive.unwrap().text, "?");
}

#[test]
fn a_pod_that_never_answered_is_starting_and_then_silent() {
    let young = Case::with_pod(Some(running("2026-11-21T09:59:50Z")));
    expect("young", &young, "False/Starting", "True/Starting", FREE);
    let old = Case::with_pod(Some(running("2026-11-21T09:59:40Z")));
    expect("old", &old, "Unknown/StatusStale", IDLE, FREE);
}

#[test]
fn the_word_of_an_earlier_pod_does_not_count() {
    let case = Case { report_pod: "pod-0", ..healthy() };
    expect("earlier pod", &case, "Unknown/StatusStale", IDLE, FREE);
}

#[test]
fn a_silent_worker_on_a_node_that_does_not_report_names_the_node() {
    let said = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason});
    let with = |conditions: [Value; 2]| {
        let mut pod = running("2026-11-21T09:50:00Z");
        pod.status.conditions = serde_json::from_value(json!(conditions)).unwrap();
        Case { pod: Some(pod), age: 60, ..healthy() }
    };
    let lost = with([said("Ready", "False", ""), said("ContainersReady", "True", "")]);
    expect("lost", &lost, "Unknown/NodeLost", IDLE, FREE);
    let status = lost.status();
    for kind in FACETS {
        assert_eq!(super::said(&status, kind), "Unknown/NodeLost", "{kind}");
    }
    assert!(condition(&status, ConditionType::Ready).message.contains("node-1"));
    let speaks = Case { age: 3, ..lost };
    expect("its worker is still heard", &speaks, "True/Streaming", IDLE, FREE);
    for (ready, containers, reason) in
        [("True", "True", ""), ("False", "False", ""), ("False", "True", "ReadinessGatesNotReady")]
    {
        let hangs = with([said("Ready", ready, reason), said("ContainersReady", containers, "")]);
        expect(reason, &hangs, "Unknown/StatusStale", IDLE, FREE);
    }
}

#[test]
fn a_worker_that_replaces_an_evicted_one_says_so() {
    let mut evicted = running("2026-11-21T09:50:00Z");
    evicted.deleted = Some(now());
    evicted.status.conditions = serde_json::from_value(json!([{"type": "DisruptionTarget",
        "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}]))
    .unwrap();
    let creating = Case::with_pod(Some(waiting("ContainerCreating", "")));
    let case = Case { leaving: Some(evicted.clone()), ..creating };
    let ending = Case::with_pod(Some(evicted));
    for case in [case, ending] {
        let message = condition(&case.status(), ConditionType::Ready).message.clone();
        assert!(message.contains("EvictionByEvictionAPI: Eviction API: evicting"), "{message}");
    }
}

#[test]
fn what_the_pod_says_is_copied() {
    let unschedulable = |message: &str| {
        pod(&json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": message}]}))
    };
    let evicted = pod(&json!({"phase": "Failed", "reason": "Evicted", "message": "disk pressure"}));
    let fell = pod(&json!({"phase": "Running", "containerStatuses": [{"name": "worker",
        "ready": false, "restartCount": 0, "image": "i", "imageID": "",
        "state": {"terminated": {"exitCode": 101, "reason": "Error"}}}]}));
    let mut slow = waiting("ContainerCreating", "");
    slow.created = "2026-11-21T09:58:00Z".parse().ok();
    let cases = [
        (waiting("ErrImagePull", "not found"), "False/ImagePullFailed", "not found"),
        (waiting("ImagePullBackOff", "back-off"), "False/ImagePullFailed", "back-off"),
        (waiting("CrashLoopBackOff", ""), "False/WorkerCrashing", "OOMKilled, exit code 137"),
        (waiting("CreateContainerError", "no such dir"), "False/WorkerNotReady", "no such dir"),
        (
            unschedulable("0/3 nodes: Insufficient cpu"),
            "False/PodUnschedulable",
            "Insufficient cpu",
        ),
        (
            unschedulable("pod has unbound immediate PersistentVolumeClaims"),
            "False/VolumeNotAttached",
            "unbound",
        ),
        (evicted, "False/WorkerNotReady", "Evicted: disk pressure"),
        (fell, "False/WorkerCrashing", "exit code 101"),
        (slow, "False/VolumeNotAttached", "volume"),
    ];
    for (pod, ready, words) in cases {
        let case = Case { report: Some(report()), ..Case::with_pod(Some(pod)) };
        expect(words, &case, ready, IDLE, FREE);
        let status = case.status();
        let message = &condition(&status, ConditionType::Ready).message;
        assert!(message.contains(words), "{words:?} is missing in {message:?}");
        let source = condition(&status, ConditionType::SourceConnected);
        assert_eq!(source.status, ConditionStatus::Unknown, "{words}");
    }
    let creating = Case::with_pod(Some(waiting("ContainerCreating", "")));
    expect("creating", &creating, "False/Starting", "True/Starting", FREE);
}

#[test]
fn a_deployment_that_is_behind_its_specification_is_rolled_out() {
    let status = |seen: i64, updated: i32| -> DeploymentStatus {
        let status = json!({"observedGeneration": seen, "replicas": 1, "updatedReplicas": updated});
        serde_json::from_value(status).unwrap()
    };
    for (seen, updated, reconciling) in
        [(1, 1, "True/RollingOut"), (2, 0, "True/RollingOut"), (2, 1, IDLE)]
    {
        let case = Case { deployment: Some((2, status(seen, updated))), ..healthy() };
        expect("rolling", &case, "True/Streaming", reconciling, FREE);
    }
}

#[test]
fn a_pod_that_cannot_be_made_is_told_by_the_deployment() {
    let refused: DeploymentStatus = serde_json::from_value(json!({"conditions": [
        {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: pods"}]}))
    .unwrap();
    let case = Case { deployment: Some((1, refused)), ..Case::with_pod(None) };
    expect("quota", &case, "False/WorkerNotReady", IDLE, FREE);
    assert!(condition(&case.status(), ConditionType::Ready).message.contains("exceeded quota"));
    expect("no pod yet", &Case::with_pod(None), "False/Starting", "True/Starting", FREE);
}

#[test]
fn pausing_and_stopping_end_when_the_worker_says_so() {
    let pausing = Case::wanting("Paused");
    assert_eq!(said(&pausing.status(), ConditionType::Paused), "False/ConfigPending");
    let paused = Case {
        stream: valid_with(json!({"spec": {"state": "Paused"}})),
        ..Case::saying(|report| {
            report.phase = Phase::Paused;
            report.source.connected = false;
        })
    };
    expect("paused", &paused, "False/Paused", IDLE, FREE);
    assert_eq!(said(&paused.status(), ConditionType::Paused), "True/Paused");
    assert_eq!(said(&paused.status(), ConditionType::SourceConnected), "False/Paused");
    let stopped = Case { pod: None, ..Case::wanting("Stopped") };
    expect("stopped", &stopped, "False/Stopped", IDLE, FREE);
    assert_eq!(said(&stopped.status(), ConditionType::Paused), "True/Stopped");
    assert_eq!(stopped.status().lag.unwrap().text, "?");
    let mut ending = running("2026-11-21T09:50:00Z");
    ending.deleted = Some(now());
    let stopping = Case { pod: Some(ending), ..Case::wanting("Stopped") };
    expect("stopping", &stopping, "False/Draining", "True/Draining", FREE);
    assert_eq!(said(&stopping.status(), ConditionType::Paused), "False/Draining");
}
