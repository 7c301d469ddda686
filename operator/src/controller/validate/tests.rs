// Literals read better by value.
#![allow(clippy::needless_pass_by_value)]

use super::*;
use crate::settings::tests::settings;
use serde_json::{Value, json};

/// A stream with the shortest spec.
pub(crate) fn minimal(name: &str, age: u32, spec: Value) -> Observed {
    serde_json::from_value(object(name, age, spec)).unwrap()
}

/// The same as the API gives it.
pub(crate) fn object(name: &str, age: u32, spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": "binlogstream.io/v1alpha1",
        "kind": "BinlogStream",
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "generation": 3,
            "creationTimestamp": format!("2026-11-21T09:00:{:02}Z", 59 - age),
        },
        "spec": {
            "source": {"host": "mysql.shop.svc", "credentialsSecretRef": {"name": "shop-mysql"}},
            "archive": {"s3": {"bucket": "history"}},
        },
    });
    merge(&mut object, &spec);
    object
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(key);
                } else {
                    merge(into.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn check_beside(stream: Value, peers: Vec<Value>) -> Result<ValidStream, Refusal> {
    let settings = settings();
    let stream: Observed = serde_json::from_value(stream).unwrap();
    let kept = |peer: Value| Arc::new(serde_json::from_value(peer).unwrap());
    let peers: Vec<Arc<KeptStream>> = peers.into_iter().map(kept).collect();
    validate(&Input { stream: &stream, peers: &peers, settings: &settings, deployed_restart: None })
}

fn check_alone(spec: Value) -> Result<ValidStream, Refusal> {
    check_beside(object("orders", 0, spec), Vec::new())
}

/// A valid stream with the shortest spec.
pub(crate) fn valid() -> ValidStream {
    check_alone(json!({})).unwrap()
}

/// A valid stream with this spec, laid over the shortest.
pub(crate) fn valid_with(spec: Value) -> ValidStream {
    check_alone(spec).unwrap()
}

#[track_caller]
fn refuses(outcome: Result<ValidStream, Refusal>, reason: Reason, words: &[&str]) {
    let refusal = outcome.unwrap_err();
    assert_eq!(refusal.reason, reason, "{refusal}");
    for word in words {
        assert!(refusal.message.contains(word), "{word:?} is missing in: {refusal}");
    }
}

#[test]
fn defaults_fill_what_the_stream_leaves_open() {
    let stream = valid();
    assert_eq!(stream.pod.image, "registry.example/binlog-worker:0.1.0");
    assert_eq!(stream.pod.grace_seconds, 60);
    assert_eq!(stream.pod.spool.as_str(), "4Gi");
    assert_eq!(stream.pod.resources.limits["memory"].0, "512Mi");
    assert!(!stream.pod.resources.limits.contains_key("cpu"));
    assert_eq!(stream.pod.tolerations.len(), 2);
}

#[test]
fn a_default_request_never_stands_above_the_streams_own_limit() {
    let stream =
        valid_with(json!({"spec": {"worker": {"resources": {"limits": {"memory": "64Mi"}}}}}));
    assert!(!stream.pod.resources.requests.contains_key("memory"));
    assert_eq!(stream.pod.resources.requests["cpu"].0, "50m");
}

#[test]
fn image_outside_the_allow_list_is_refused_by_name() {
    let spec = json!({"spec": {"worker": {"image": "evil.example/binlog-worker:1"}}});
    let words = ["spec.worker.image", "evil.example", "registry.example/binlog-worker"];
    refuses(check_alone(spec), Reason::ImageNotAllowed, &words);
    let tag = json!({"spec": {"worker": {"image": "registry.example/binlog-worker:next"}}});
    assert!(check_alone(tag).is_ok());
}

#[test]
fn refused_endpoints_are_named_in_every_field() {
    let cases = [
        ("spec.source.host", json!({"spec": {"source": {"host": "169.254.169.254"}}})),
        ("spec.source.host", json!({"spec": {"source": {"host": "localhost"}}})),
        ("spec.source.host", json!({"spec": {"source": {"host": "kubernetes.default.svc"}}})),
        (
            "spec.archive.s3.endpoint",
            json!({"spec": {"archive": {"s3": {"endpoint": "http://169.254.170.23:80"}}}}),
        ),
        (
            "spec.checkpoint.streamState.host",
            json!({"spec": {"checkpoint": {"store": "StreamState", "streamState":
                {"host": "2852039166", "database": "d", "credentialsSecretRef": {"name": "s"}}}}}),
        ),
        (
            "spec.worker.proxy.url",
            json!({"spec": {"worker": {"proxy": {"url": "http://metadata.google.internal"}}}}),
        ),
    ];
    for (field, spec) in cases {
        refuses(check_alone(spec), Reason::EndpointNotAllowed, &[field]);
    }
}

#[test]
fn of_two_streams_on_one_prefix_the_younger_is_refused() {
    let inner = json!({"spec": {"archive": {"s3": {"prefix": "shop/orders"}}}});
    let older = object("orders", 10, json!({}));
    let younger = object("inner", 5, inner);
    let words = ["shop/orders", "prefix"];
    refuses(check_beside(younger.clone(), vec![older.clone()]), Reason::PrefixInUse, &words);
    assert!(check_beside(older, vec![younger]).is_ok(), "the first must not notice");
}

#[test]
fn of_two_streams_on_one_claim_the_younger_is_refused() {
    let given = json!({"spec": {"archive": {"s3": null, "volume": {"claimName": "disk"}}}});
    let older = object("a", 10, given.clone());
    let younger = object("b", 5, given);
    refuses(check_beside(younger, vec![older]), Reason::PrefixInUse, &["claim"]);
}

#[test]
fn a_server_id_in_use_at_the_same_source_is_refused_on_the_younger() {
    let spec = json!({"spec": {"serverId": 77}});
    let older = object("a", 10, spec.clone());
    let younger = object("b", 5, spec.clone());
    let words = ["77", "shop/a"];
    refuses(check_beside(younger.clone(), vec![older.clone()]), Reason::ServerIdConflict, &words);
    assert!(check_beside(older.clone(), vec![younger]).is_ok());
    let elsewhere =
        object("b", 5, json!({"spec": {"serverId": 77, "source": {"host": "other.shop.svc"}}}));
    assert_eq!(check_beside(elsewhere, vec![older]).unwrap().server_id, 77);
}

#[test]
fn a_stream_that_is_being_deleted_holds_its_archive_and_its_server_id_until_it_is_gone() {
    let going = json!({"metadata": {"deletionTimestamp": "2026-11-21T10:00:00Z"}});
    let older = object("orders", 10, going.clone());
    let inner = json!({"spec": {"archive": {"s3": {"prefix": "shop/orders"}}}});
    refuses(check_beside(object("inner", 5, inner), vec![older]), Reason::PrefixInUse, &[]);
    let mut older = object("a", 10, json!({"spec": {"serverId": 77}}));
    merge(&mut older, &going);
    let younger = object("b", 5, json!({"spec": {"serverId": 77}}));
    refuses(check_beside(younger, vec![older]), Reason::ServerIdConflict, &["shop/a"]);
}

#[test]
fn an_allotted_server_id_is_pinned_and_moves_only_for_an_older_stream() {
    let id = valid().server_id;
    let pinned = object("orders", 5, json!({"status": {"serverId": 1_234_567_890}}));
    assert_eq!(check_beside(pinned.clone(), Vec::new()).unwrap().server_id, 1_234_567_890);
    let younger = object("b", 1, json!({"status": {"serverId": 1_234_567_890}}));
    assert_eq!(check_beside(pinned.clone(), vec![younger]).unwrap().server_id, 1_234_567_890);
    let older = object("a", 9, json!({"status": {"serverId": 1_234_567_890}}));
    assert_eq!(check_beside(pinned, vec![older]).unwrap().server_id, id);
}

#[test]
fn a_stream_that_cannot_be_read_is_refused_and_does_not_disturb_its_peers() {
    let broken = object("broken", 9, json!({"spec": {"source": {"port": "many"}}}));
    assert!(check_beside(object("orders", 0, json!({})), vec![broken.clone()]).is_ok());
    refuses(check_beside(broken, Vec::new()), Reason::SpecInvalid, &["cannot be read"]);
}

#[test]
fn a_refused_stream_still_says_that_it_is_to_be_stopped() {
    let spec = json!({"spec": {"state": "Stopped", "worker": {"image": "evil.example/w:1"}}});
    assert_eq!(check_alone(spec).unwrap_err().state, Some(StreamState::Stopped));
}

#[test]
fn annotations_become_consents_and_bad_ones_words() {
    let stream = valid_with(json!({"metadata": {"annotations": {
        "binlogstream.io/acknowledge-gap": "gap-7",
        "binlogstream.io/accept-source": "no such thing",
        "kubectl.kubernetes.io/restartedAt": "now",
    }}}));
    assert_eq!(stream.consents.acknowledge_gaps, ["gap-7"]);
    assert_eq!(stream.ignored.len(), 1);
    assert_eq!(stream.restarted_at.as_deref(), Some("now"));
}
