use super::*;
use crate::{
    controller::validate::tests::{valid, valid_with},
    settings::tests::settings,
};
use serde_json::{Value, json};

fn built(stream: &ValidStream) -> Resources {
    build(stream, &settings()).unwrap()
}

/// Everything a stream can ask for at once.
fn rich() -> ValidStream {
    valid_with(json!({
        "metadata": {"annotations": {
            "binlogstream.io/acknowledge-gap": "gap-1,gap-2",
            "binlogstream.io/accept-source": "4711",
            "kubectl.kubernetes.io/restartedAt": "2026-11-21T10:00:00Z",
        }},
        "spec": {
            "source": {
                "host": "db.example.com", "port": 3307, "flavor": "MySQL",
                "credentialsSecretRef":
                    {"name": "account", "usernameKey": "user", "passwordKey": "pass"},
                "tls": {"mode": "VerifyFull", "caRef": {"kind": "ConfigMap", "name": "ca", "key": "bundle.pem"},
                    "clientCertSecretRef": {"name": "client"}, "serverName": "db.internal"},
                "heartbeatInterval": "1s", "connectTimeout": "3s",
            },
            "serverId": 4242,
            "start": {"mode": "GtidSet", "gtidSet": "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5"},
            "filter": {"schemas": ["shop"], "tables": ["shop.orders"], "excludeTables": ["shop.tmp_*"]},
            "batch": {"maxEvents": 500},
            "checkpoint": {"store": "StreamState", "interval": "2s", "streamState": {
                "host": "state.example.com", "port": 3308, "database": "ops", "table": "streams",
                "credentialsSecretRef": {"name": "state-account"},
                "tls": {"mode": "VerifyCA", "caRef": {"name": "state-ca"}}}},
            "archive": {
                "s3": {"bucket": "history", "prefix": "prod", "region": "eu-west-1",
                    "endpoint": "https://s3.example.com", "forcePathStyle": true,
                    "caRef": {"name": "s3-ca"}, "credentialsSecretRef": {"name": "s3-key"},
                    "serverSideEncryption": {"algorithm": "aws:kms", "kmsKeyId": "key-1"}},
                "commit": {"maxDelay": "1s", "maxBytes": "8Mi"},
                "changes": {"foreignWriters": "Allow"},
            },
            "onGap": "Resume",
            "state": "Paused",
            "worker": {
                "image": "registry.example/binlog-worker:next",
                "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
                "spool": {"size": "1Gi"},
                "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}},
                "terminationGracePeriodSeconds": 120, "logLevel": "debug",
                "priorityClassName": "high", "imagePullSecrets": [{"name": "pull"}],
                "podMetadata": {"labels": {"team": "shop", "binlogstream.io/stream": "stolen"},
                    "annotations": {"note": "mine", "binlogstream.io/owner-uid": "stolen"}},
                "nodeSelector": {"disk": "fast"},
                "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}],
                "securityContext": {"runAsUser": 1000, "fsGroup": 2000},
                "proxy": {"url": "http://proxy.example.com:3128", "noProxy": ["cluster.local"]},
            },
        },
    }))
}

fn volume(size: &str) -> ValidStream {
    valid_with(json!({"spec": {"archive": {"s3": null, "volume": {"size": size}}}}))
}

fn snapshot(resources: &Resources) -> String {
    let Resources {
        service_account,
        role,
        role_binding,
        config,
        checkpoint,
        volume_claim,
        deployment,
        service,
    } = resources;
    let documents = [
        service_account.as_ref().map(serde_yaml::to_string),
        role.as_ref().map(serde_yaml::to_string),
        role_binding.as_ref().map(serde_yaml::to_string),
        Some(serde_yaml::to_string(config)),
        checkpoint.as_ref().map(serde_yaml::to_string),
        volume_claim.as_ref().map(serde_yaml::to_string),
        Some(serde_yaml::to_string(deployment)),
        Some(serde_yaml::to_string(service)),
    ];
    let texts: Vec<_> = documents.into_iter().flatten().map(Result::unwrap).collect();
    texts.join("---\n")
}

#[test]
fn children_of_a_minimal_stream() {
    insta::assert_snapshot!(snapshot(&built(&valid())));
}

#[test]
fn children_of_a_rich_stream() {
    insta::assert_snapshot!(snapshot(&built(&rich())));
}

#[test]
fn children_of_a_stream_on_a_volume() {
    insta::assert_snapshot!(snapshot(&built(&volume("50Gi"))));
}

#[test]
fn worker_role_names_one_config_map() {
    let role = built(&valid()).role.unwrap();
    let rules = role.rules.unwrap();
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0].resources, Some(vec!["configmaps".to_owned()]));
    assert_eq!(rules[0].resource_names, Some(vec!["orders-checkpoint".to_owned()]));
    assert_eq!(rules[0].verbs, ["get", "update", "patch", "watch"]);
}

#[test]
fn a_checkpoint_in_a_table_needs_no_right_and_no_token() {
    let resources = built(&rich());
    assert!(resources.role.is_none() && resources.role_binding.is_none());
    assert!(resources.checkpoint.is_none());
    let text = serde_json::to_string(&resources.deployment).unwrap();
    assert!(!text.contains("serviceAccountToken\""), "{text}");
}

#[test]
fn config_changes_do_not_roll_the_pod() {
    let template = |spec: Value| {
        serde_json::to_value(built(&valid_with(spec)).deployment.spec.unwrap().template).unwrap()
    };
    let before = template(json!({}));
    for spec in [
        json!({"spec": {"state": "Paused"}}),
        json!({"spec": {"source": {"host": "other", "heartbeatInterval": "1s"}}}),
        json!({"spec": {"filter": {"schemas": ["shop"]}}}),
        json!({"spec": {"worker": {"logLevel": "debug"}}}),
        json!({"metadata": {"generation": 9, "annotations": {"binlogstream.io/acknowledge-gap": "all"}}}),
        json!({"metadata": {"annotations": {"binlogstream.io/commit-now": "2026-11-27T10:00:00Z"}}}),
    ] {
        assert_eq!(before, template(spec.clone()), "{spec}");
    }
    assert_ne!(before, template(json!({"spec": {"worker": {"spool": {"size": "1Gi"}}}})));
}

#[test]
fn stopped_stream_is_never_started_on_create() {
    let stopped = built(&valid_with(json!({"spec": {"state": "Stopped"}})));
    assert_eq!(stopped.deployment.spec.unwrap().replicas, Some(0));
    let paused = built(&valid_with(json!({"spec": {"state": "Paused"}})));
    assert_eq!(paused.deployment.spec.unwrap().replicas, Some(1));
    assert!(paused.config.data.unwrap()["worker.yaml"].contains("state: Paused"));
}

#[test]
fn what_must_outlive_the_stream_has_no_owner() {
    let resources = built(&volume("1Gi"));
    let kept = [resources.checkpoint.unwrap().metadata, resources.volume_claim.unwrap().metadata];
    let selected = labels::SELECTOR.split_once('=').unwrap();
    for metadata in kept {
        assert_eq!(metadata.owner_references, None);
        let labels = metadata.labels.unwrap();
        assert_eq!(labels.get(labels::INSTANCE), None, "Argo CD would prune it");
        assert_eq!(labels.get(selected.0).map(String::as_str), Some(selected.1));
    }
    assert!(resources.deployment.metadata.owner_references.is_some());
}

#[test]
fn the_checkpoint_is_made_without_data() {
    let checkpoint = built(&valid()).checkpoint.unwrap();
    assert_eq!((checkpoint.data, checkpoint.binary_data), (None, None));
}

#[test]
fn every_path_in_the_config_is_mounted() {
    let stream = rich();
    let mut mounted = Vec::new();
    for source in mounts::projections(&stream) {
        let secret = source.secret.and_then(|secret| {
            assert_eq!(secret.optional, Some(true), "{} must not block the start", secret.name);
            secret.items
        });
        let map = source.config_map.and_then(|map| {
            assert_eq!(map.optional, Some(true), "{} must not block the start", map.name);
            map.items
        });
        let items = secret.or(map).unwrap();
        mounted
            .extend(items.into_iter().map(|item| format!("{}/{}", mounts::SECRETS_DIR, item.path)));
    }
    let config = serde_json::to_value(config::worker_config(&stream, &settings())).unwrap();
    let mut wanted = Vec::new();
    collect_paths(&config, &mut wanted);
    mounted.sort();
    wanted.sort();
    assert_eq!(wanted, mounted);
}

fn collect_paths(value: &Value, paths: &mut Vec<String>) {
    match value {
        Value::String(text) if text.starts_with(mounts::SECRETS_DIR) => paths.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect_paths(item, paths)),
        Value::Object(fields) => fields.values().for_each(|field| collect_paths(field, paths)),
        _ => {}
    }
}

#[test]
fn config_reads_back_through_the_workers_own_parser() {
    for stream in [valid(), rich(), volume("50Gi")] {
        let text = built(&stream).config.data.unwrap()["worker.yaml"].clone();
        let read = crds::worker_config::WorkerConfig::from_yaml(&text).unwrap();
        assert_eq!(read, config::worker_config(&stream, &settings()));
    }
}

#[test]
fn the_operators_least_interval_lifts_a_shorter_one() {
    let stream = valid_with(json!({"spec": {"checkpoint": {"interval": "2s"}}}));
    let config = config::worker_config(&stream, &settings());
    assert_eq!(config.checkpoint.interval.as_str(), "10s");
}

#[test]
fn a_collector_of_traces_is_told_by_the_pods_environment_and_its_headers_by_reference_only() {
    let pod = |settings: &Settings| {
        let template = build(&valid(), settings).unwrap().deployment.spec.unwrap().template;
        template.spec.unwrap().containers.remove(0)
    };
    let names = |container: &k8s_openapi::api::core::v1::Container| {
        let variables = container.env.iter().flatten();
        variables.map(|variable| variable.name.clone()).collect::<Vec<_>>()
    };
    let without = names(&pod(&settings()));
    assert!(without.iter().all(|name| !name.starts_with("OTEL")), "{without:?}");
    let traces = crate::settings::WorkerTraces {
        endpoint: "http://collector:4318".to_owned(),
        headers: Some(("otlp".to_owned(), "headers".to_owned())),
        ratio: "0.1".to_owned(),
        attributes: Some("team=db".to_owned()),
    };
    let with = pod(&Settings { traces: Some(traces), ..settings() });
    let told = serde_json::to_value(&with.env.unwrap()[without.len()..]).unwrap();
    assert_eq!(
        told,
        json!([
            {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"},
            {"name": "OTEL_TRACES_SAMPLER", "value": "parentbased_traceidratio"},
            {"name": "OTEL_TRACES_SAMPLER_ARG", "value": "0.1"},
            {"name": "OTEL_RESOURCE_ATTRIBUTES", "value": "team=db"},
            {"name": "OTEL_EXPORTER_OTLP_HEADERS", "valueFrom": {
                "secretKeyRef": {"name": "otlp", "key": "headers", "optional": true}}},
        ])
    );
}
