//! What became of what people asked for.

use crds::v1alpha1::HandledAction;
use crds::worker_status::ActionFacet;

use super::*;

const ARCHIVE: &str = "0d9c1b52-6a51-4b0e-9f7e-0a53ab5b0f10";

/// A stopped stream without a pod whose archive ends with entry 17.
fn stopped(annotations: &Value) -> Case {
    with_state("Stopped", annotations, None)
}

fn with_state(state: &str, annotations: &Value, pod: Option<KeptPod>) -> Case {
    let stream =
        valid_with(json!({"metadata": {"annotations": annotations}, "spec": {"state": state}}));
    let previous = serde_json::from_value(json!({
        "archive": {"state": "Unknown", "text": "?", "archiveId": ARCHIVE, "commit": 17},
        "start": {"mode": "Latest", "position": "binlog.000001:4", "origin": "Spec"},
    }));
    Case { stream, pod, previous: Some(previous.unwrap()), ..healthy() }
}

fn reset(n: u64) -> Value {
    json!({"binlogstream.io/reset-checkpoint": format!("{ARCHIVE}@{n}")})
}

fn outcome(action: Option<&HandledAction>) -> Option<&str> {
    action.and_then(|action| action.outcome.as_deref())
}

/// What the next look makes of a status.
fn next(case: Case, before: &BinlogStreamStatus) -> BinlogStreamStatus {
    Case { previous: Some(before.clone()), ..case }.status()
}

fn echo(type_: &str, requested: &str, at: &str) -> ActionFacet {
    serde_json::from_value(json!({
        "type": type_, "requested": requested, "completedAt": at, "outcome": "Done", "message": "m",
    }))
    .unwrap()
}

#[test]
fn a_request_is_refused_while_running_and_pending_once_stopped() {
    for state in ["Running", "Paused"] {
        let running = with_state(state, &reset(17), Some(running("2026-11-21T09:50:00Z"))).status();
        let refused = running.checkpoint_action.as_ref();
        assert_eq!(outcome(refused), Some("Refused"), "{state}");
        let message = refused.unwrap().message.as_deref().unwrap();
        assert!(
            message.contains(&format!("spec.state is {state}: set it to Stopped")),
            "{message}"
        );
        assert_eq!(running.last_handled_action.as_ref(), refused, "the echo that people look at");
        // Its worker is still ending: what it commits would make the number an old one.
        let ending = next(
            with_state("Stopped", &reset(17), Some(self::running("2026-11-21T09:50:00Z"))),
            &running,
        );
        assert_eq!(ending.checkpoint_action, running.checkpoint_action);
        let pending = next(stopped(&reset(17)), &running);
        assert_eq!(outcome(pending.checkpoint_action.as_ref()), Some("Pending"));
        assert_eq!(write::change(Some(&running), &pending), write::Change::Urgent);
        assert_eq!(pending.last_handled_action, running.last_handled_action);
        // It waits as long as it takes, whatever the state is then.
        let starting = next(with_state("Running", &reset(17), None), &pending);
        assert_eq!(starting.checkpoint_action, pending.checkpoint_action);
        let taken_back = next(stopped(&json!({})), &pending);
        assert_eq!(taken_back.checkpoint_action, None);
    }
}

#[test]
fn a_request_that_names_an_older_entry_or_another_archive_is_refused_with_the_newest() {
    let other =
        json!({"binlogstream.io/reset-checkpoint": "00000000-6a51-4b0e-9f7e-0a53ab5b0f10@17"});
    for annotations in [reset(16), other] {
        let action = stopped(&annotations).status().checkpoint_action.unwrap();
        assert_eq!(action.outcome.as_deref(), Some("Refused"));
        let message = action.message.unwrap();
        assert!(message.contains(&format!("{ARCHIVE}@17")), "{message}");
    }
}

#[test]
fn while_a_reset_waits_the_start_is_not_pinned() {
    let pending = stopped(&reset(17)).status();
    assert_eq!(outcome(pending.checkpoint_action.as_ref()), Some("Pending"));
    assert_eq!(pending.start, None);
    let set = json!({"binlogstream.io/set-checkpoint": format!("{ARCHIVE}@17/binlog.000007:4")});
    let set = stopped(&set).status();
    assert_eq!(outcome(set.checkpoint_action.as_ref()), Some("Pending"));
    assert!(set.start.is_some());
    let refused = with_state("Running", &reset(17), None).status();
    assert!(refused.start.is_some());
}

#[test]
fn a_value_that_was_answered_is_no_new_request() {
    let pending = stopped(&reset(17)).status();
    let value = format!("{ARCHIVE}@17");
    let mut said = report();
    said.checkpoint_action = Some(echo("reset-checkpoint", &value, NOW));
    said.last_handled_action = Some(echo("commit-now", "one", "2026-11-21T10:00:05Z"));
    let running = || with_state("Running", &reset(17), Some(running("2026-11-21T09:50:00Z")));
    let done = next(Case { report: Some(said), ..running() }, &pending);
    assert_eq!(outcome(done.checkpoint_action.as_ref()), Some("Done"));
    assert!(done.start.is_some(), "it is pinned again");
    assert_eq!(done.last_handled_action.as_ref().unwrap().type_, "commit-now");
    // Another pod knows nothing of it, and the annotation still stands.
    let later = next(running(), &done);
    assert_eq!(later.checkpoint_action, done.checkpoint_action);
    let stopped_again = next(stopped(&reset(17)), &later);
    assert_eq!(stopped_again.checkpoint_action, done.checkpoint_action);
}

#[test]
fn an_older_echo_is_no_news() {
    let mut said = report();
    said.last_handled_action = Some(echo("commit-now", "one", "2026-11-21T09:59:00Z"));
    let first = Case { report: Some(said.clone()), ..healthy() }.status();
    assert_eq!(first.last_handled_action.as_ref().unwrap().requested, "one");
    let running = || with_state("Running", &reset(17), Some(running("2026-11-21T09:50:00Z")));
    let refused = next(Case { report: Some(said.clone()), ..running() }, &first);
    assert_eq!(outcome(refused.last_handled_action.as_ref()), Some("Refused"));
    let again = next(Case { report: Some(said), ..running() }, &refused);
    assert_eq!(again.last_handled_action, refused.last_handled_action);
}

#[test]
fn a_restart_is_echoed_once_its_pod_speaks() {
    let at = "2026-11-21T09:58:00Z";
    let asked = || {
        valid_with(json!({"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": at}}}))
    };
    let old = Case { stream: asked(), ..healthy() }.status();
    assert_eq!(old.last_handled_action, None, "the pod before it speaks");
    let mut pod = running("2026-11-21T09:50:00Z");
    pod.restarted_at = Some(at.into());
    let new = || Case { stream: asked(), pod: Some(pod.clone()), ..healthy() };
    let silent = next(Case { report: None, ..new() }, &old);
    assert_eq!(silent.last_handled_action, None);
    let done = next(new(), &old);
    let action = done.last_handled_action.as_ref().unwrap();
    assert_eq!((action.type_.as_str(), action.requested.as_str()), ("restart", at));
    assert_eq!(done.worker.as_ref().unwrap().restarted_at.as_deref(), Some(at));
    let later = Case { previous: Some(done.clone()), ..new() }
        .status_at("2026-11-21T11:00:00Z".parse().unwrap());
    assert_eq!(later.last_handled_action, done.last_handled_action, "and once");
}
