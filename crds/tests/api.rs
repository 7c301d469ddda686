//! The Rust types and the schema say the same.

use crds::v1alpha1::{BinlogStream, BinlogStreamSpec, ResourceQuantity, StreamState, TlsMode};
use serde_json::{Value, json};

fn smallest() -> Value {
    json!({
        "source": {"host": "db", "credentialsSecretRef": {"name": "db"}},
        "archive": {"s3": {"bucket": "history"}},
    })
}

/// Fills in the schema's defaults, as an apiserver does.
fn with_defaults(schema: &Value, value: &mut Value) {
    let (Some(properties), Some(fields)) =
        (schema["properties"].as_object(), value.as_object_mut())
    else {
        return;
    };
    for (name, inner) in properties {
        if !fields.contains_key(name)
            && let Some(default) = inner.get("default")
        {
            fields.insert(name.clone(), default.clone());
        }
        if let Some(field) = fields.get_mut(name) {
            with_defaults(inner, field);
        }
    }
}

#[test]
fn defaults_of_the_types_are_those_of_the_schema() {
    let crd = crds::schema::crd_json().unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut defaulted = smallest();
    with_defaults(schema, &mut defaulted);
    let typed: BinlogStreamSpec = serde_json::from_value(smallest()).unwrap();
    let written: Value = serde_json::to_value(&typed).unwrap();
    assert_eq!(sorted(&written), sorted(&defaulted));
}

/// Numbers as text and keys in order, so that only meaning is compared.
fn sorted(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<_> = fields.iter().collect();
            keys.sort_by_key(|(key, _)| key.as_str());
            let parts: Vec<String> =
                keys.into_iter().map(|(key, inner)| format!("{key}={}", sorted(inner))).collect();
            format!("{{{}}}", parts.join(","))
        }
        Value::Number(number) => number.to_string().trim_end_matches(".0").to_owned(),
        other => other.to_string(),
    }
}

#[test]
fn defaults_are_safe() {
    let spec: BinlogStreamSpec = serde_json::from_value(smallest()).unwrap();
    assert_eq!(spec.source.tls.mode, TlsMode::VerifyFull);
    assert_eq!(spec.state, StreamState::Running);
    assert_eq!(spec.archive.commit.max_bytes.get(), 64 << 20);
    assert_eq!(spec.checkpoint.interval.get().as_secs(), 10);
    assert!(spec.archive.raw.enabled && spec.archive.changes.enabled);
}

#[test]
fn an_object_reads_back_as_it_was_written() {
    let text = json!({
        "apiVersion": "binlogstream.io/v1alpha1", "kind": "BinlogStream",
        "metadata": {"name": "orders", "namespace": "shop"}, "spec": smallest(),
        "status": {"observedGeneration": -1},
    });
    let stream: BinlogStream = serde_json::from_value(text).unwrap();
    let again: BinlogStream =
        serde_json::from_str(&serde_json::to_string(&stream).unwrap()).unwrap();
    assert_eq!(stream, again);
}

#[test]
fn a_resource_given_as_a_number_is_read() {
    let read = |text: &str| serde_json::from_str::<ResourceQuantity>(text).map(|q| q.0).ok();
    assert_eq!(read("2").as_deref(), Some("2"));
    assert_eq!(read("0.5").as_deref(), Some("0.5"));
    assert_eq!(read("\"250m\"").as_deref(), Some("250m"));
    assert_eq!(read("true"), None);
}

#[test]
fn a_field_of_a_newer_version_does_not_stop_an_older_operator() {
    let mut spec = smallest();
    spec["source"]["laterField"] = json!(1);
    assert!(serde_json::from_value::<BinlogStreamSpec>(spec).is_ok());
}
