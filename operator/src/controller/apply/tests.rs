use super::*;
use crate::{
    applied::AppliedBook,
    controller::{
        build::build,
        validate::tests::{valid, valid_with},
    },
    fake_api::{Answer, Asked, FakeApi, metadata, refusal},
    metrics::Metrics,
    settings::tests::settings,
};

fn child(owner: Option<&str>, deleting: bool) -> Child {
    Child { owner_uid: owner.map(str::to_owned), deleting, ..Child::default() }
}

fn found(children: Children) -> Found {
    Found {
        peers: Vec::new(),
        children,
        deployment: None,
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

#[test]
fn stopping_takes_replicas_and_digest() {
    let patch = stop_patch();
    assert_eq!(patch["spec"]["replicas"], 0);
    let annotations = patch["metadata"]["annotations"].as_object().unwrap();
    assert_eq!(annotations.get(labels::DIGEST), Some(&Value::Null), "a merge removes it");
    // What a restarted operator finds: the digest of the mended spec is no longer there.
    let stopped = Child { uid: "made".to_owned(), version: Some(2), ..Child::default() };
    assert!(AppliedBook::default().is_stale("uid-orders", "Deployment", &stopped, "mended"));
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
    let seen = |version| Child {
        uid: "made".to_owned(),
        owner_uid: Some("uid-orders".to_owned()),
        digest: Some("applied".to_owned()),
        version: Some(version),
        deleting: false,
    };
    for (version, patches) in [(1, 1), (1, 1), (2, 1), (3, 2)] {
        let child = seen(version);
        stop(&context, &refusal, "shop", "orders", "uid-orders", Some(&child)).await.unwrap();
        assert_eq!(api.written().len(), patches, "generation {version}");
    }
    assert!(context.applied.is_stale("uid-orders", "Deployment", &seen(2), "applied"));
    let running = Refusal { state: Some(StreamState::Running), ..refusal };
    stop(&context, &running, "shop", "orders", "uid-orders", Some(&seen(9))).await.unwrap();
    assert_eq!(api.written().len(), 2, "only what is to be stopped is stopped");
}
