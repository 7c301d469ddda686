//! Spans from where they are made to what an exporter is handed, with a collector that is only played.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use crds::spans::TARGET;
use opentelemetry::trace::SpanId;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Sampler, SpanData};
use tracing::subscriber::with_default;
use tracing::{info, info_span};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Registry, fmt};

use super::*;

/// A collector that takes each batch when it is told to, and says what it is told to say.
#[derive(Debug)]
struct Played {
    seen: Mutex<Sender<Vec<SpanData>>>,
    says: Mutex<Receiver<bool>>,
}

/// What it saw, and how it is told.
struct Director {
    seen: Receiver<Vec<SpanData>>,
    says: Sender<bool>,
}

fn played() -> (Played, Director) {
    let ((seen, shown), (says, told)) = (channel(), channel());
    let played = Played { seen: Mutex::new(seen), says: Mutex::new(told) };
    (played, Director { seen: shown, says })
}

impl opentelemetry_sdk::trace::SpanExporter for Played {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.seen.lock().unwrap().send(batch).unwrap();
        match self.says.lock().unwrap().recv() {
            Ok(true) => Ok(()),
            _ => Err(OTelSdkError::InternalFailure("as it was told".to_owned())),
        }
    }
}

fn traces(exporter: Played, sampler: Sampler) -> Traces {
    let tally = Arc::new(Tally::new(&"http://collector:4318/v1/traces".parse().unwrap()));
    let queue = queue::start(exporter, Trouble::default(), Arc::clone(&tally));
    let provider =
        SdkTracerProvider::builder().with_sampler(sampler).with_span_processor(queue).build();
    Traces { provider, tally }
}

fn count(traces: &Traces, outcome: &'static str) -> u64 {
    traces.counts().get_or_create(&[("outcome", outcome)]).get()
}

#[test]
fn only_spans_of_the_target_leave_and_no_log_line() {
    let (exporter, director) = played();
    let traces = traces(exporter, Sampler::AlwaysOn);
    with_default(Registry::default().with(traces.layer()), || {
        let foreign = info_span!(target: "hyper", "request").entered();
        let parent = info_span!(target: TARGET, "reconcile", binlogstream.name = "orders",
            binlogstream.outcome = tracing::field::Empty);
        parent.in_scope(|| {
            let _between = info_span!(target: "kube", "apply").entered();
            info!(password = "hunter2", "a log line inside");
            info_span!(target: TARGET, "validate").in_scope(|| ());
        });
        parent.record("binlogstream.outcome", "applied");
        let id = id_of(&parent).unwrap();
        assert_eq!(id.len(), 32, "{id}");
        assert_eq!(id_of(&foreign), None);
    });
    director.says.send(true).unwrap();
    traces.close();
    let spans = director.seen.recv().unwrap();
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["validate", "reconcile"]);
    assert!(spans.iter().all(|span| span.events.is_empty()));
    assert_eq!(spans[0].parent_span_id, spans[1].span_context.span_id());
    assert_eq!(spans[1].parent_span_id, SpanId::INVALID);
    let told: Vec<_> =
        spans[1].attributes.iter().map(|kv| (kv.key.as_str(), kv.value.to_string())).collect();
    assert_eq!(
        told,
        [
            ("binlogstream.name", "orders".to_owned()),
            ("binlogstream.outcome", "applied".to_owned())
        ]
    );
    assert!(spans[0].attributes.is_empty());
    assert_eq!((count(&traces, "exported"), count(&traces, "failed")), (2, 0));
}

#[test]
fn without_a_collector_a_span_is_disabled_and_in_no_log_line() {
    let lines = Lines::new(false, false, "trace,otlp=trace").unwrap();
    let subscriber = Registry::default().with(fmt::layer().with_filter(lines.filter));
    with_default(subscriber, || {
        assert!(info_span!(target: TARGET, "reconcile").is_disabled());
        assert!(!info_span!("of somebody else").is_disabled());
    });
}

#[test]
fn a_full_queue_drops_spans_and_holds_nobody_up() {
    let (exporter, director) = played();
    let traces = traces(exporter, Sampler::AlwaysOn);
    with_default(Registry::default().with(traces.layer()), || {
        let end_one = || drop(info_span!(target: TARGET, "upload"));
        // The first batch is in the collector's hands, which keeps it.
        (0..512).for_each(|_| end_one());
        let first = director.seen.recv().unwrap().len();
        (first..512).for_each(|_| end_one());
        (0..2 * queue::ROOM).for_each(|_| end_one());
    });
    let dropped = count(&traces, "dropped");
    assert!(dropped > 0 && dropped <= 2 * queue::ROOM as u64, "{dropped}");
    drop(director.says);
    traces.close();
    let all = 512 + 2 * queue::ROOM as u64;
    assert!(count(&traces, "failed") + dropped <= all, "of {all}: {dropped} dropped");
    assert_eq!(count(&traces, "exported"), 0);
}

#[test]
fn what_the_sampler_leaves_out_is_not_exported_and_has_no_id_to_look_for() {
    let (exporter, director) = played();
    let traces = traces(exporter, Sampler::AlwaysOff);
    with_default(Registry::default().with(traces.layer()), || {
        let span = info_span!(target: TARGET, "reconcile");
        assert_eq!(id_of(&span), None);
    });
    traces.close();
    assert!(director.seen.try_recv().is_err());
}

#[test]
fn the_end_waits_for_no_collector_that_hangs() {
    let (exporter, director) = played();
    let traces = traces(exporter, Sampler::AlwaysOn);
    with_default(Registry::default().with(traces.layer()), || {
        drop(info_span!(target: TARGET, "reconcile"));
    });
    // It returns although nobody ever says anything.
    traces.close();
    assert_eq!(director.seen.recv().unwrap().len(), 1);
    drop(director.says);
}

#[test]
fn the_process_is_named_by_its_own_words() {
    let service = Service {
        name: "binlog-worker",
        version: "1.2.3",
        attributes: vec![("k8s.pod.name", Some("orders-0".to_owned())), ("k8s.node.name", None)],
    };
    let resource = resource(service);
    let of = |key: &'static str| resource.get(&key.into()).map(|value| value.to_string());
    assert_eq!(of("service.name").as_deref(), Some("binlog-worker"));
    assert_eq!(of("service.version").as_deref(), Some("1.2.3"));
    assert_eq!(of("k8s.pod.name").as_deref(), Some("orders-0"));
    assert_eq!(of("k8s.node.name"), None);
}
