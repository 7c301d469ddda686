//! Traces of operator and worker, switched on by the chart, as a collector gets them: what is told is what
//! `crds::spans` lists, and a collector that is away holds nothing up.

#[path = "traces/collector.rs"]
mod collector;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crds::conditions::ConditionType;
use crds::spans::{self, Told};
use crds::v1alpha1::ConditionStatus;
use e2e::control_plane::ControlPlane;
use e2e::elsewhere::{Elsewhere, PlayedPod};
use e2e::resource::{SETTLED, StreamResource, said};
use e2e::s3::{S3, SECRET_KEY};
use e2e::server::{Server, ServerKind};
use e2e::trial::{ARCHIVED, DRAINED};
use e2e::wait::{Look, until};
use e2e::{Context, Failure, Result, http, logs, release};
use opentelemetry_proto::tonic::common::v1::any_value::Value;

use self::collector::{Collector, Seen};

const NAME: &str = "traced";
/// Stands in a Secret and may leave in one header only.
const TOKEN: &str = "canary-of-a-secret-5b1e";
/// Stands in a row.
const WORD: &str = "canary-of-a-row-c07f";
/// A request may take ten seconds, and the next spans come each five.
const TOLD: Duration = Duration::from_secs(60);
const HTTP_LIMIT: Duration = Duration::from_secs(3);

/// The chart with a collector, one stream of it, and the worker of that.
struct Stage {
    collector: Collector,
    elsewhere: Elsewhere,
    worker: PlayedPod,
    stream: StreamResource,
    server: Server,
    _s3: S3,
}

impl Stage {
    async fn set() -> Result<Self> {
        let (collector, plane) = (Collector::start().await?, ControlPlane::start().await?);
        let headers = format!("authorization=Bearer%20{TOKEN}");
        let literal = format!("--from-literal=headers={headers}");
        let namespace = release::NAMESPACE;
        plane.kubectl(&["create", "namespace", namespace]).await?;
        plane
            .kubectl(&["create", "secret", "generic", "collector", &literal, "-n", namespace])
            .await?;
        let values = format!(
            "--set tracing.otlp.endpoint={} --set tracing.otlp.headersSecret.name=collector \
             --set tracing.resourceAttributes.team=e2e",
            collector.endpoint()
        );
        let elsewhere = Elsewhere::on(plane, &values).await?;
        let server = Server::builder(ServerKind::MariaDb118).start().await?;
        let s3 = S3::start().await?;
        let stream = StreamResource::new_in(elsewhere.plane(), NAME, &server, &s3).await?;
        stream.set_secret("collector", &[("headers", &headers)]).await?;
        stream.create().await?;
        let worker = elsewhere.run_worker(&stream).await?;
        Ok(Self { collector, elsewhere, worker, stream, server, _s3: s3 })
    }

    /// Waits until the stream is Ready, as the kubelet's part of it is played.
    async fn is_ready(&self) -> Result<()> {
        until(format!("{NAME} is Ready"), SETTLED, || async {
            self.worker.sync().await?;
            let status = self.stream.status().await?;
            let ready = said(&status, ConditionType::Ready)?;
            let holds = ready.status == ConditionStatus::True;
            Ok::<_, Failure>(Look::holds(holds, || ready.message.clone()))
        })
        .await
    }

    /// Commits rows with the canary and waits until they are durable.
    async fn write(&self, from: u32) -> Result<()> {
        let rows =
            format!("INSERT INTO shop.words VALUES ({from}, '{WORD}'), ({}, '{WORD}')", from + 1);
        self.server.run(&[&rows]).await?;
        self.stream.archived_all_of(&self.server, ARCHIVED).await
    }

    /// Spans of the worker that the collector did not take.
    async fn failed(&self) -> Result<u64> {
        let (_, text) = http::get(self.worker.address(), "/metrics", HTTP_LIMIT).await?;
        let name = "binlog_worker_trace_spans_total{outcome=\"failed\"} ";
        let count = text.lines().find_map(|line| line.strip_prefix(name));
        let count = count.context(|| format!("no {name}: {text}"))?;
        count.parse().context(|| format!("read {count}"))
    }
}

fn text<'a>(attributes: &'a BTreeMap<String, Value>, key: &str) -> &'a str {
    match attributes.get(key) {
        Some(Value::StringValue(text)) => text,
        _ => "",
    }
}

fn service(span: &Seen) -> &str {
    text(&span.resource, "service.name")
}

fn told(span: &Seen) -> Result<&'static Told> {
    let told =
        spans::ALL.iter().find(|told| (told.service, told.name) == (service(span), &*span.name));
    told.context(|| format!("{} is on no list: {span:?}", span.name))
}

/// Every span is one of the list, with attributes of the list, below the one it is a part of; every one came.
async fn all_are_told(stage: &Stage) -> Result<Vec<Seen>> {
    let seen = until("every kind of span has come", TOLD, || async {
        let seen = stage.collector.spans()?;
        let came: BTreeSet<_> = seen.iter().map(|span| (service(span), &*span.name)).collect();
        let missing = spans::ALL.iter().filter(|told| !came.contains(&(told.service, told.name)));
        let missing: Vec<_> = missing.map(|told| told.name).collect();
        let whole = missing.is_empty();
        Ok::<_, Failure>(Look::from_option(whole.then_some(seen), || {
            format!("missing {missing:?}")
        }))
    })
    .await?;
    let by_id: BTreeMap<_, _> = seen.iter().map(|span| (&span.id, span)).collect();
    for span in &seen {
        let told = told(span)?;
        for key in span.attributes.keys() {
            assert!(told.attributes.contains(&key.as_str()), "{key} is not told of {}", span.name);
        }
        assert_eq!(span.events, 0, "{span:?}");
        // A parent that is still open comes later.
        if let Some(parent) = by_id.get(&span.parent) {
            assert_eq!(Some(parent.name.as_str()), told.parent, "{span:?}");
            assert_eq!(parent.trace, span.trace);
        }
    }
    Ok(seen)
}

/// Each process says who and where it is.
fn are_named(stage: &Stage, seen: &[Seen], pod: &str) {
    for span in seen {
        let of = |key| text(&span.resource, key);
        assert_eq!(of("team"), "e2e", "{:?}", span.resource);
        assert_eq!(of("service.version"), env!("CARGO_PKG_VERSION"));
        if service(span) == spans::WORKER {
            assert_eq!((of("binlogstream.namespace"), of("binlogstream.name")), (NAME, NAME));
            assert_eq!((of("k8s.namespace.name"), of("k8s.pod.name")), (NAME, pod));
        } else {
            assert_eq!(of("k8s.namespace.name"), release::NAMESPACE);
            assert!(of("k8s.pod.name").starts_with("binlog-operator-"), "{:?}", span.resource);
        }
    }
    for posted in stage.collector.posted() {
        assert_eq!(posted.line, "POST /v1/traces");
        assert_eq!(posted.content_type, "application/x-protobuf");
        assert_eq!(posted.authorization, format!("Bearer {TOKEN}"));
    }
}

/// The way of one commit and the look at one stream can be read from their traces.
fn tell_what_was_done(seen: &[Seen]) -> Result<()> {
    let is_number = |value: Option<&Value>| matches!(value, Some(Value::IntValue(1..)));
    let named = |name: &'static str| seen.iter().filter(move |span| span.name == name);
    for commit in
        named("commit").filter(|commit| commit.attributes.contains_key("binlogstream.entry"))
    {
        assert!(is_number(commit.attributes.get("binlogstream.entry")), "{commit:?}");
    }
    let upload = named("upload").find(|span| text(&span.attributes, "binlogstream.part") == "raw");
    let upload = &upload.context(|| "no upload of raw bytes")?.attributes;
    for key in ["binlogstream.bytes", "binlogstream.attempts"] {
        assert!(is_number(upload.get(key)), "{key}: {upload:?}");
    }
    let reconcile = named("reconcile")
        .find(|span| text(&span.attributes, "binlogstream.outcome") == "applied")
        .context(|| "no reconcile that applied something")?;
    assert_eq!(text(&reconcile.attributes, "binlogstream.name"), NAME);
    let parts = seen.iter().filter(|span| span.parent == reconcile.id).map(|span| &*span.name);
    assert_eq!(parts.collect::<Vec<_>>(), ["validate", "apply", "update_status"]);
    Ok(())
}

/// What nobody may learn from traces or logs.
fn hold_no_secret(stage: &Stage) -> Result<()> {
    for posted in stage.collector.posted() {
        let text = String::from_utf8_lossy(&posted.bytes);
        for secret in [TOKEN, WORD, SECRET_KEY] {
            assert!(!text.contains(secret), "a span holds {secret}");
        }
    }
    for log in [stage.worker.log(), stage.elsewhere.operator().log()] {
        logs::check(&log, &[], &[TOKEN, WORD, SECRET_KEY])?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_both_programs_reach_a_collector_and_none_is_needed() -> Result<()> {
    let stage = Stage::set().await?;
    stage
        .server
        .run(&["CREATE DATABASE shop", "CREATE TABLE shop.words (id INT PRIMARY KEY, word TEXT)"])
        .await?;
    stage.is_ready().await?;
    stage.write(1).await?;
    let pod = stage.stream.pod().await?.metadata.name.unwrap_or_default();
    let seen = all_are_told(&stage).await?;
    are_named(&stage, &seen, &pod);
    tell_what_was_done(&seen)?;
    hold_no_secret(&stage)?;
    println!("{} spans in {} requests", seen.len(), stage.collector.posted().len());

    stage.collector.fall_silent();
    stage.write(3).await?;
    until("spans are given up", TOLD, || async {
        let failed = stage.failed().await?;
        Ok::<_, Failure>(Look::holds(failed > 0, || "none yet".into()))
    })
    .await?;
    stage.write(5).await?;
    stage.is_ready().await?;
    hold_no_secret(&stage)?;
    let told = stage.worker.log();
    let told = told.lines().filter(|line| line.contains("the collector takes no spans"));
    assert_eq!(told.count(), 1, "an outage is told once");
    assert!(stage.worker.terminate(DRAINED).await?.success(), "the collector holds up the end");
    assert!(stage.elsewhere.operator().terminate(DRAINED).await?.success());
    hold_no_secret(&stage)
}
