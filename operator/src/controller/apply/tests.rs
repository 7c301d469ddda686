use super::*;
use crate::{
    applied::AppliedBook,
    controller::{
        build::build,
        validate::tests::{valid, valid_with},
    },
    fake_api::{Answer, Asked, FakeApi, metadata, refusal},
    metrics::Metrics,
    rollout::record::{MadeFrom, Notes},
    settings::tests::settings,
    tenure::Tenure,
    watched::{Deployed, WatchedDeployment},
};

fn child(owner: Option<&str>, deleting: bool) -> Child {
    Child { owner_uid: owner.map(Into::into), deleting, ..Child::default() }
}

fn found(children: Children) -> Found {
    Found {
        peers: Vec::new(),
        children,
        deployed: None,
        pod: None,
        leaving: None,
        older_pod: None,
        answer: None,
        unasked: false,
        checkpoint: None,
    }
}

fn context(api: &FakeApi) -> std::sync::Arc<Context> {
    crate::context(api.client.clone(), settings(), std::sync::Arc::<Metrics>::default(), "test")
}

/// Nothing is there, and everything can be made, but no claim.
fn no_claim(asked: &Asked) -> Answer {
    if asked.what.starts_with("GET ") {
        refusal(404, "not found")
    } else if asked.what.contains("persistentvolumeclaims/") {
        refusal(403, "only dynamically provisioned pvc can be resized")
    } else {
        (200, metadata("made", 1))
    }
}

/// A stopped stream on a volume of its own.
async fn applied(api: &FakeApi, children: Children) -> Result<Applied, ApplyError> {
    let stream = valid_with(json!({"spec": {
        "state": "Stopped", "archive": {"s3": null, "volume": {"size": "2Gi"}}}}));
    let resources = build(&stream, &settings()).unwrap();
    apply(&context(api), &stream, &resources, &found(children)).await
}

fn deployed(seen: &WatchedDeployment) -> std::sync::Arc<Deployed> {
    std::sync::Arc::new(Deployed::from(seen))
}

/// A stream that runs a worker made from an older template; `asked` is noted on its configuration.
fn running(stream: &ValidStream, asked: Digest) -> Found {
    let resources = build(stream, &settings()).unwrap();
    let now = MadeFrom::new(stream, &resources.deployment).unwrap();
    let older = MadeFrom { template: "older".to_owned(), ..now };
    let notes = Notes { made_from: older, roll: None };
    let ours =
        |uid: &str| Child { uid: uid.into(), version: Some(1), ..child(Some(&stream.uid), false) };
    let children = Children {
        deployment: Some(Child { notes: Some(notes.into()), ..ours("deployment") }),
        config: Some(Child { asked: Some(asked), ..ours("config") }),
        ..Children::default()
    };
    let seen = json!({"metadata": {"generation": 1}, "spec": {"replicas": 1},
        "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}});
    Found { deployed: Some(deployed(&serde_json::from_value(seen).unwrap())), ..found(children) }
}

/// An API in which nothing is refused and nothing but what is written is there: it gives back what it is given.
async fn willing() -> FakeApi {
    FakeApi::start(|asked| {
        if asked.what.starts_with("GET ") {
            return refusal(404, "not found");
        }
        let mut answer = metadata("made", 2);
        for part in ["uid", "annotations"] {
            let given = &asked.body["metadata"][part];
            if !given.is_null() {
                answer["metadata"][part] = given.clone();
            }
        }
        (200, answer)
    })
    .await
}

fn wrote(api: &FakeApi, what: &str) -> bool {
    api.written().iter().any(|asked| asked.what == format!("PATCH {what}/orders-worker"))
}

#[tokio::test]
async fn a_newer_pod_waits_with_its_config_and_the_other_children_do_not() {
    let (api, stream) = (willing().await, valid());
    let found = running(&stream, record::asked(&stream).unwrap());
    let resources = build(&stream, &settings()).unwrap();
    let applied = apply(&context(&api), &stream, &resources, &found).await.unwrap();
    assert!(matches!(&applied, Applied::Held(held) if !held.halted), "{applied:?}");
    assert!(!wrote(&api, "deployments") && !wrote(&api, "configmaps"));
    assert!(wrote(&api, "services") && wrote(&api, "roles"));
}

#[tokio::test]
async fn what_somebody_asks_for_reaches_a_worker_that_waits() {
    let (api, stream) = (willing().await, valid());
    let found = running(&stream, digest(&"something else").unwrap());
    let resources = build(&stream, &settings()).unwrap();
    let applied = apply(&context(&api), &stream, &resources, &found).await.unwrap();
    assert!(matches!(applied, Applied::Held(_)), "{applied:?}");
    assert!(wrote(&api, "configmaps") && !wrote(&api, "deployments"));
}

#[tokio::test]
async fn in_its_turn_a_pod_is_replaced_and_the_roll_stands_on_it_until_it_is_settled() {
    let (api, stream) = (willing().await, valid());
    let context = context(&api);
    let mut found = running(&stream, record::asked(&stream).unwrap());
    let resources = build(&stream, &settings()).unwrap();
    apply(&context, &stream, &resources, &found).await.unwrap();
    let key = ("shop".to_owned(), "orders".to_owned());
    let round = context.turns.round(&[], |_| true, tokio::time::Instant::now());
    assert_eq!(round.wake, [key]);
    for _ in 0..2 {
        // The second time the cache still shows the old one: our own write is no change.
        let applied = apply(&context, &stream, &resources, &found).await.unwrap();
        assert_eq!(applied, Applied::Done);
    }
    let rolls = |api: &FakeApi| -> Vec<Option<String>> {
        let written = api.written().into_iter();
        let written = written.filter(|asked| asked.what == "PATCH deployments/orders-worker");
        written
            .map(|asked| {
                Some(asked.body["metadata"]["annotations"][labels::ROLL].as_str()?.to_owned())
            })
            .collect()
    };
    let noted = r#"{"before":"Ready","again":false}"#.to_owned();
    assert_eq!(rolls(&api), [Some(noted.clone())]);
    assert!(wrote(&api, "configmaps"));

    // The new pod is ready: one more write takes the note off.
    let annotations = api.written().into_iter().rfind(|asked| asked.what.contains("deployments"));
    let annotations = annotations.unwrap().body["metadata"]["annotations"].clone();
    let seen = json!({"metadata": {"uid": "deployment", "generation": 2, "annotations": annotations,
            "ownerReferences": [{"apiVersion": "v1", "kind": "k", "name": "n", "uid": stream.uid,
                "controller": true}]},
        "spec": {"replicas": 1},
        "status": {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}});
    let seen: WatchedDeployment = serde_json::from_value(seen).unwrap();
    found.children.deployment = Some(describe(&seen.metadata, generation(&seen.metadata)));
    found.deployed = Some(deployed(&seen));
    for _ in 0..2 {
        apply(&context, &stream, &resources, &found).await.unwrap();
    }
    assert_eq!(rolls(&api), [Some(noted), None]);
}

#[test]
fn children_of_an_older_stream_are_waited_for() {
    let stream = valid();
    let own = Children { deployment: Some(child(Some(&stream.uid), false)), ..Children::default() };
    assert_eq!(older_child(&stream, &own), None);
    let older = Children { service: Some(child(Some("older"), false)), ..own.clone() };
    assert!(older_child(&stream, &older).is_some());
    let going = Children { role: Some(child(Some(&stream.uid), true)), ..own };
    assert!(older_child(&stream, &going).is_some());
}

#[test]
fn what_has_no_owner_is_found_again_at_once() {
    let stream = valid();
    let kept = Children {
        checkpoint: Some(child(None, false)),
        volume_claim: Some(child(None, false)),
        ..Children::default()
    };
    assert_eq!(older_child(&stream, &kept), None);
}

#[tokio::test]
async fn a_claim_that_cannot_be_changed_does_not_keep_a_stream_from_being_stopped() {
    let api = FakeApi::start(no_claim).await;
    let children = Children { volume_claim: Some(child(None, false)), ..Children::default() };
    let error = applied(&api, children).await.unwrap_err();
    assert!(matches!(error, ApplyError::Claim(_)) && !error.is_race(), "{error}");
    let said = error.to_string();
    for words in ["PersistentVolumeClaim orders-archive", "can be resized", "storage class"] {
        assert!(said.contains(words), "{words:?} is missing in: {said}");
    }
    let written = api.written();
    let deployment = written.iter().find(|asked| asked.what == "PATCH deployments/orders-worker");
    assert_eq!(deployment.map(|asked| &asked.body["spec"]["replicas"]), Some(&Value::from(0)));
    assert!(written.iter().any(|asked| asked.what == "PATCH services/orders-worker"));
}

#[tokio::test]
async fn without_its_claim_no_worker_is_made() {
    let api = FakeApi::start(no_claim).await;
    let error = applied(&api, Children::default()).await.unwrap_err();
    assert!(matches!(error, ApplyError::Api { kind: "PersistentVolumeClaim", .. }), "{error}");
    assert!(!api.written().iter().any(|asked| asked.what.contains("deployments")));
}

#[tokio::test]
async fn a_leader_whose_time_is_over_writes_nothing() {
    let api = FakeApi::start(|_| refusal(404, "not found")).await;
    let context = context(&api);
    context.tenure.renewed(tokio::time::Instant::now() - crate::lease::RENEW_DEADLINE);
    let stream = valid();
    let resources = build(&stream, &settings()).unwrap();
    let error = apply(&context, &stream, &resources, &found(Children::default())).await;
    assert!(matches!(error, Err(ApplyError::Over(_))), "{error:?}");
    assert_eq!(api.written().len(), 0);
}

#[tokio::test]
async fn a_leader_whose_time_ends_between_two_writes_does_not_make_the_second() {
    let tenure = std::sync::Arc::new(std::sync::OnceLock::<std::sync::Arc<Tenure>>::new());
    let ends = std::sync::Arc::clone(&tenure);
    let api = FakeApi::start(move |asked| {
        if asked.what == "PATCH deployments/orders-worker" {
            let long_ago = tokio::time::Instant::now() - crate::lease::RENEW_DEADLINE;
            ends.get().unwrap().renewed(long_ago);
            return refusal(422, "env[0].valueFrom: may not be specified");
        }
        (200, metadata("made", 2))
    })
    .await;
    let context = context(&api);
    tenure.set(std::sync::Arc::clone(&context.tenure)).unwrap();
    let stream = valid();
    let resources = build(&stream, &settings()).unwrap();
    let deployment = Child { uid: "made".into(), ..child(Some(&stream.uid), false) };
    let stage = Stage { context: &context, stream: &stream };
    let error = stage.one("Deployment", &resources.deployment, Some(&deployment), generation).await;
    assert!(error.is_err_and(|error| error.is_invalid()));
    assert_eq!(api.written().len(), 1, "neither replaced nor applied again");
}

#[tokio::test]
async fn an_edit_that_cannot_stand_beside_ours_is_replaced_with_its_list() {
    let replaced = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::Relaxed;
    let api = FakeApi::start(move |asked| {
        let is_apply = !asked.body["apiVersion"].is_null();
        match asked.what.as_str() {
            "PATCH deployments/orders-worker" if is_apply && !replaced.load(order) => {
                refusal(422, "env[0].valueFrom: may not be specified when value is not empty")
            }
            "PATCH deployments/orders-worker" => {
                replaced.store(true, order);
                (200, metadata("made", 3))
            }
            what if what.starts_with("GET ") => refusal(404, "not found"),
            _ => (200, metadata("made", 2)),
        }
    })
    .await;
    let deployment = Child { uid: "made".into(), ..child(Some("uid-orders"), false) };
    let children = Children { deployment: Some(deployment), ..Children::default() };
    assert_eq!(applied(&api, children).await.unwrap(), Applied::Done);
    let written = api.written().into_iter();
    let written: Vec<_> = written.filter(|asked| asked.what.contains("deployments/")).collect();
    assert_eq!(written.len(), 3);
    assert_eq!(written[1].body["metadata"], json!({"uid": "made"}));
    assert_eq!(written[1].body["spec"], written[2].body["spec"]);
}

#[test]
fn stopping_takes_replicas_and_digest() {
    let patch = stop_patch();
    assert_eq!(patch["spec"]["replicas"], 0);
    let annotations = patch["metadata"]["annotations"].as_object().unwrap();
    assert_eq!(annotations.get(labels::DIGEST), Some(&Value::Null), "a merge removes it");
    // What a restarted operator finds: the digest of the mended spec is no longer there.
    let mended = digest(&"mended").unwrap();
    let stopped = Child { uid: "made".into(), version: Some(2), ..Child::default() };
    assert!(AppliedBook::default().is_stale("uid-orders", "Deployment", &stopped, mended));
}

#[tokio::test]
async fn a_refused_stream_is_stopped_once_and_again_when_somebody_starts_it() {
    let api = FakeApi::start(|_| (200, metadata("made", 2))).await;
    let context = context(&api);
    let refusal = Refusal {
        reason: crds::conditions::Reason::ImageNotAllowed,
        message: "no".to_owned(),
        state: Some(StreamState::Stopped),
    };
    let applied = digest(&"applied").unwrap();
    let seen = |version| Child {
        uid: "made".into(),
        owner_uid: Some("uid-orders".into()),
        digest: Some(applied),
        version: Some(version),
        ..Child::default()
    };
    for (version, patches) in [(1, 1), (1, 1), (2, 1), (3, 2)] {
        let child = seen(version);
        stop(&context, &refusal, "shop", "orders", "uid-orders", Some(&child)).await.unwrap();
        assert_eq!(api.written().len(), patches, "generation {version}");
    }
    assert!(context.applied.is_stale("uid-orders", "Deployment", &seen(2), applied));
    let running = Refusal { state: Some(StreamState::Running), ..refusal };
    stop(&context, &running, "shop", "orders", "uid-orders", Some(&seen(9))).await.unwrap();
    assert_eq!(api.written().len(), 2, "only what is to be stopped is stopped");
}
