//! Traces by OTLP, for operator and worker alike: off unless the environment names a collector.
//!
//! Spans are those of the `tracing` library whose target is [`crds::spans::TARGET`]; everything else stays with the
//! log lines. Without a collector these spans are disabled where they stand, and cost a look at a flag.
//!
//! - A collector that is away, slow or hostile costs spans and nothing else: they are queued within a bound, sent by a
//!   thread of their own, and dropped when there is no room (`a_full_queue_drops_spans_and_holds_nobody_up`,
//!   `a_collector_that_says_nothing_is_given_up`).
//! - No log line and no span of a library leaves this way (`only_spans_of_the_target_leave_and_no_log_line`).
//!
//! See ARCHITECTURE.md.

mod client;
mod lines;
mod queue;
mod settings;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use crds::spans::TARGET;
use opentelemetry::KeyValue;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

pub use lines::Lines;
pub use settings::{SettingsError, check_endpoint, check_ratio};
pub use tally::SpanCounts;

use client::{Collector, Trouble};
use settings::Settings;
use tally::Tally;

/// How long the last spans may take at the end of the process.
const FLUSH: Duration = Duration::from_secs(2);

/// Who speaks to the collector.
#[derive(Debug, Default)]
pub struct Service {
    /// `service.name`, unless the environment says another one.
    pub name: &'static str,
    /// `service.version`.
    pub version: &'static str,
    /// More attributes of the resource; one without a value is left out.
    pub attributes: Vec<(&'static str, Option<String>)>,
}

/// Why no span is exported, though the environment names a collector.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("set up the exporter of traces: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// The way to the collector. Spans reach it until [`close`](Self::close).
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    tally: Arc<Tally>,
}

/// Begins to write log lines, and to export spans if the environment asks for it. Settings that cannot work are told by
/// an error line and export nothing: the work itself goes on.
pub fn install(lines: Lines, service: Service) -> Option<Traces> {
    let traces = start(service);
    lines.install(traces.as_ref().ok().and_then(Option::as_ref));
    traces.unwrap_or_else(|error| {
        tracing::error!(%error, "no traces are exported");
        None
    })
}

fn start(service: Service) -> Result<Option<Traces>, StartError> {
    let Some(settings) = Settings::of_environment()? else { return Ok(None) };
    let resource = resource(service);
    Ok(Some(Traces::start(settings, resource)?))
}

impl Traces {
    fn start(settings: Settings, resource: Resource) -> Result<Self, StartError> {
        let Settings { endpoint, limit, ca, sampler } = settings;
        let trouble = Trouble::default();
        // The headers are read by the library: from OTEL_EXPORTER_OTLP_HEADERS and the one for traces alone.
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
            .with_endpoint(endpoint.to_string())
            .with_timeout(limit)
            .with_retry_policy(RetryPolicy::recommended())
            .with_http_client(Collector::new(limit, ca, trouble.clone()))
            .build()?;
        let tally = Arc::new(Tally::new(&endpoint));
        let queue = queue::start(exporter, trouble, Arc::clone(&tally));
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(sampler)
            .with_span_processor(queue)
            .build();
        Ok(Self { provider, tally })
    }

    /// Spans by what became of them.
    pub fn counts(&self) -> SpanCounts {
        self.tally.counts()
    }

    /// Sends what is queued, for at most two seconds, and no span after it. Blocks.
    pub fn close(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH) {
            tracing::debug!(%error, "the last spans did not reach the collector");
        }
    }

    /// Takes the spans of our own target, and nothing else.
    fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let ours = Targets::new().with_target(TARGET, LevelFilter::INFO);
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(TARGET))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(ours)
    }
}

/// The id of the trace that a span belongs to, for a log line; none of a span that is not exported.
pub fn id_of(span: &Span) -> Option<String> {
    let context = span.context();
    let context = context.span().span_context().clone();
    (context.is_valid() && context.is_sampled()).then(|| context.trace_id().to_string())
}

/// What the collector is told of the process: our own words, and over them those of the environment.
fn resource(service: Service) -> Resource {
    let Service { name, version, attributes } = service;
    let own =
        [("service.name", Some(name.to_owned())), ("service.version", Some(version.to_owned()))];
    let own = own.into_iter().chain(attributes);
    let own = own.filter_map(|(key, value)| Some(KeyValue::new(key, value?)));
    let chosen = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
    Resource::builder_empty()
        .with_attributes(own)
        .with_detectors(&[
            Box::new(TelemetryResourceDetector),
            Box::new(EnvResourceDetector::new()),
        ])
        .with_attributes(chosen.map(|name| KeyValue::new("service.name", name)))
        .build()
}

#[cfg(test)]
mod tests;
