//! What a stream takes of the memory, part by part: ten thousand are to fit in 150 MiB.

use crds::{
    annotations::{OWNER_UID, STREAM_LABEL},
    v1alpha1::BinlogStreamStatus,
};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Service, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::core::PartialObjectMeta;
use kube_runtime::{reflector, watcher::Event};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    answers::{Answers, Key},
    applied::AppliedBook,
    controller::{
        build::{Resources, build, labels},
        dereference::Children,
        validate::{Input, validate},
    },
    digest::digest,
    kin::{Kin, Slot, Told},
    listing::Listing,
    metrics::Shown,
    packed::tests::usual,
    peers::Peers,
    pods::Pods,
    settings::tests::settings,
    watched::{KeptStream, Observed, WatchedDeployment, WatchedPod},
};

/// Streams that are measured; enough for what grows in steps to count as it does for thousands.
const STREAMS: usize = 1_000;
/// Bytes that one may take in all.
const MOST: i64 = 5_500;
/// What an allocation takes beside what it was asked for, on the average.
const EACH: i64 = 12;

/// Bytes a stream, summed up.
#[derive(Default)]
struct Bill(i64);

impl Bill {
    /// Adds what `fill` keeps.
    fn part<T>(&mut self, what: &str, fill: impl FnOnce() -> T) -> T {
        let mut kept = None;
        let info = allocation_counter::measure(|| kept = Some(fill()));
        let bytes = (info.bytes_current + info.count_current * EACH) / STREAMS as i64;
        println!("{what}: {bytes} bytes");
        self.0 += bytes;
        kept.unwrap()
    }
}

/// A stream as the API gives it once it streams.
fn stream(number: usize) -> Value {
    let (mut stream, _) = usual();
    stream["metadata"]["uid"] = json!(uid(&digest(&number).unwrap().to_string()));
    stream["metadata"]["name"] = json!(format!("stream-{number}"));
    stream["metadata"]["namespace"] = json!(format!("fleet-{}", number / 250));
    stream["spec"]["source"]["host"] = json!(format!("db-{number}.example"));
    stream["status"]["serverId"] = json!(1_000_000_000 + number);
    stream["status"]["position"]["offset"] = json!(number * 7_919);
    stream
}

fn key(stream: &Value) -> Key {
    let text = |field: &str| stream["metadata"][field].as_str().unwrap().to_owned();
    (text("namespace"), text("name"))
}

fn children(stream: &Value) -> Resources {
    let (stream, settings): (Observed, _) =
        (serde_json::from_value(stream.clone()).unwrap(), settings());
    let input = Input { stream: &stream, peers: &[], settings: &settings, deployed_restart: None };
    build(&validate(&input).unwrap(), &settings).unwrap()
}

/// An object as the API gives it once the operator has applied it.
fn applied<K: Serialize>(object: &K, number: usize) -> Value {
    let mut object = serde_json::to_value(object).unwrap();
    let digest = digest(&(number, &object)).unwrap().to_string();
    let meta = &mut object["metadata"];
    meta["uid"] = json!(uid(&digest));
    meta["resourceVersion"] = json!((100_000 + number).to_string());
    meta["generation"] = json!(1);
    meta["annotations"][labels::DIGEST] = json!(digest);
    object
}

fn deployment(made: &Resources, number: usize) -> Value {
    let mut deployment = applied(&made.deployment, number);
    let digest = deployment["metadata"]["annotations"][labels::DIGEST].clone();
    let made_from = json!({"template": digest, "asked": digest, "generation": 1});
    deployment["metadata"]["annotations"][labels::MADE_FROM] = json!(made_from.to_string());
    deployment["status"] = json!({
        "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1,
        "conditions": [{"type": "Available", "status": "True", "message": "as it should be"}],
    });
    deployment
}

/// As long as one is.
fn uid(digest: &str) -> String {
    format!("{}-{}", &digest[..18], &digest[14..31])
}

fn pod(stream: &Value, number: usize) -> WatchedPod {
    let name = format!("stream-{number}-worker-6d9c7b8f5-abcde");
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": stream["metadata"]["namespace"],
            "uid": format!("{number:036}"), "creationTimestamp": "2026-11-28T10:00:00Z",
            "labels": {(STREAM_LABEL): stream["metadata"]["name"]},
            "annotations": {(OWNER_UID): stream["metadata"]["uid"]},
        },
        "spec": {"nodeName": "node-1"},
        "status": {
            "phase": "Running", "podIP": "10.112.100.200",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{
                "name": "worker", "ready": true, "restartCount": 0, "image": "i", "imageID": "",
                "state": {"running": {"startedAt": "2026-11-28T10:00:00Z"}}, "lastState": {},
            }],
        },
    }))
    .unwrap()
}

fn take<K: Told + DeserializeOwned>(kin: &Kin, slots: &[Slot], object: Value) {
    let object: K = serde_json::from_value(object).unwrap();
    kin.take(slots, &mut Listing::default(), &Event::Apply(object));
}

fn take_children(kin: &Kin, made: &Resources, number: usize) {
    type Meta<K> = PartialObjectMeta<K>;
    let (maps, account) = ([Slot::Config, Slot::Checkpoint], [Slot::ServiceAccount]);
    take::<Meta<ServiceAccount>>(kin, &account, applied(&made.service_account, number));
    take::<Meta<Role>>(kin, &[Slot::Role], applied(&made.role, number));
    take::<Meta<RoleBinding>>(kin, &[Slot::RoleBinding], applied(&made.role_binding, number));
    take::<Meta<ConfigMap>>(kin, &maps, applied(&made.config, number));
    take::<Meta<ConfigMap>>(kin, &maps, applied(&made.checkpoint, number));
    take::<Meta<Service>>(kin, &[Slot::Service], applied(&made.service, number));
}

fn note_all(book: &AppliedBook, uid: &str, children: &Children) {
    let kinds = [
        ("ServiceAccount", &children.service_account),
        ("Role", &children.role),
        ("RoleBinding", &children.role_binding),
        ("ConfigMap", &children.config),
        ("Checkpoint", &children.checkpoint),
        ("Deployment", &children.deployment),
        ("Service", &children.service),
    ];
    for (kind, child) in kinds {
        let child = child.as_ref().unwrap();
        book.note(uid, kind, child, child.digest.unwrap());
    }
}

#[test]
fn a_stream_takes_no_more_than_this() {
    let streams: Vec<Value> = (0..STREAMS).map(stream).collect();
    let resources: Vec<Resources> = streams.iter().map(children).collect();
    let (_, answer) = usual();
    let mut bill = Bill::default();

    let (_store, mut writer) = reflector::store::<KeptStream>();
    bill.part("streams", || {
        for stream in &streams {
            let kept = serde_json::from_value(stream.clone()).unwrap();
            writer.apply_watcher_event(&Event::Apply(kept));
        }
    });
    let kin = Kin::default();
    bill.part("children but Deployments", || {
        for (number, made) in resources.iter().enumerate() {
            take_children(&kin, made, number);
        }
    });
    bill.part("Deployments", || {
        for (number, made) in resources.iter().enumerate() {
            take::<WatchedDeployment>(&kin, &[Slot::Deployment], deployment(made, number));
        }
    });
    let (pods, mut listing) = (Pods::default(), Listing::default());
    bill.part("pods", || {
        for (number, stream) in streams.iter().enumerate() {
            pods.take(&mut listing, &Event::Apply(pod(stream, number)));
        }
    });
    let (book, answers, peers, shown) =
        (AppliedBook::default(), Answers::default(), Peers::default(), Shown::default());
    bill.part("what was applied", || {
        for stream in &streams {
            let uid = stream["metadata"]["uid"].as_str().unwrap();
            note_all(&book, uid, &kin.row(&key(stream)).children);
        }
    });
    bill.part("answers", || {
        for stream in &streams {
            let said = serde_json::from_value(answer.clone()).unwrap();
            let pod = stream["metadata"]["uid"].as_str().unwrap();
            answers.put(key(stream), pod.into(), &said, Instant::now()).unwrap();
        }
    });
    bill.part("peers", || {
        for stream in &streams {
            peers.of(&serde_json::from_value(stream.clone()).unwrap());
        }
    });
    bill.part("metrics", || {
        for stream in &streams {
            let (key, status) = (key(stream), stream["status"].clone());
            let status: BinlogStreamStatus = serde_json::from_value(status).unwrap();
            let conditions = status.conditions.iter().map(|one| (one.kind().unwrap(), one.status));
            shown.show(&key.0, &key.1, conditions, "Streaming");
        }
    });
    println!("all: {} bytes", bill.0);
    assert!(bill.0 <= MOST, "{} bytes a stream", bill.0);
}
