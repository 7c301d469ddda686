//! Metrics of one worker, in OpenMetrics text. Labels are bounded: never a table, a file or a GTID.
//!
//! What is not known has no series: a 0 would be believed.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crds::worker_status::{LagState, Phase, WorkerStatus};
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use traces::SpanCounts;

/// One closed word per fault.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// A reason of the closed list.
    pub reason: &'static str,
}

/// A part of the worker that is healthy or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartLabel {
    /// source, archive, checkpoint or decoding.
    pub part: &'static str,
}

/// A gauge that has a series only while its value is known.
#[derive(Debug, Clone, Default)]
pub struct Known(Family<[(&'static str, &'static str); 0], Gauge<f64, AtomicU64>>);

impl Known {
    fn set(&self, value: Option<f64>) {
        match value {
            Some(value) => {
                self.0.get_or_create(&[]).set(value);
            }
            None => self.0.clear(),
        }
    }
}

/// What the worker counts. Cheap to clone: all parts are shared.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Events received.
    pub events: Counter,
    /// Bytes received.
    pub received_bytes: Counter,
    /// Transactions received.
    pub transactions: Counter,
    /// Row changes decoded.
    pub rows: Counter,
    /// Log entries created.
    pub commits: Counter,
    /// Times the connection to the source was made.
    pub connects: Counter,
    /// Faults by reason.
    pub faults: Family<ReasonLabel, Counter>,
    /// Bytes that wait for the archive on disk.
    pub spooled_bytes: Gauge,
    /// Spans that ended; without a collector there is no series.
    pub trace_spans: SpanCounts,
    lag: Known,
    silence: Known,
    pending_bytes: Gauge<u64, AtomicU64>,
    pending_age: Known,
    durable_until: Known,
    checkpoint_saved: Known,
    retention: Known,
    purge_headroom: Known,
    healthy: Family<PartLabel, Gauge>,
    ready: Gauge,
    fenced: Gauge,
    entry: Gauge<u64, AtomicU64>,
    epoch: Gauge<u64, AtomicU64>,
    gaps: Gauge,
    open_gaps: Gauge,
    stopped_tables: Gauge,
    clear_text: Gauge,
}

impl Metrics {
    /// All at their beginning but the spans, which are counted from before.
    pub fn new(trace_spans: SpanCounts) -> Self {
        Self { trace_spans, ..Self::default() }
    }

    /// Adds what was received since the last call.
    pub fn add_received(&self, events: u64, bytes: u64, transactions: u64, rows: u64) {
        self.events.inc_by(events);
        self.received_bytes.inc_by(bytes);
        self.transactions.inc_by(transactions);
        self.rows.inc_by(rows);
    }

    /// Takes over what follows from the report; done when somebody asks.
    pub fn read(&self, report: &WorkerStatus, ready: bool, silence_seconds: Option<u64>) {
        let seconds = |value: Option<u64>| value.map(|value| value as f64);
        let instant = |at: Option<Timestamp>| at.map(|at| at.as_microsecond() as f64 / 1e6);
        let lag_known = report.lag.state != LagState::Unknown;
        self.lag.set(seconds(report.lag.seconds.filter(|_| lag_known)));
        self.silence.set(seconds(silence_seconds));
        self.retention.set(seconds(report.source.binlog_retention_seconds));
        self.purge_headroom.set(seconds(report.source.purge_headroom_seconds));

        let archive = &report.archive;
        let waited =
            archive.oldest_pending_at.map(|since| report.observed_at.duration_since(since));
        self.pending_bytes.set(archive.pending_bytes);
        self.pending_age.set(Some(waited.map_or(0.0, |waited| waited.as_secs_f64().max(0.0))));
        self.durable_until.set(instant(archive.recoverable_until));
        self.checkpoint_saved.set(instant(report.checkpoint.saved_at));
        self.entry.set(archive.n.unwrap_or_default());
        self.epoch.set(report.epoch.unwrap_or_default());

        for (part, healthy) in [
            ("source", report.source.connected),
            ("archive", archive.healthy),
            ("checkpoint", report.checkpoint.healthy),
            ("decoding", report.decoding.healthy),
        ] {
            self.healthy.get_or_create(&PartLabel { part }).set(i64::from(healthy));
        }
        self.ready.set(i64::from(ready));
        self.fenced.set(i64::from(report.phase == Phase::Fenced));
        self.gaps.set(i64::from(report.gap_count));
        self.open_gaps.set(i64::from(report.open_gap_count));
        self.stopped_tables.set(i64::from(report.decoding.stopped_count));
        self.clear_text.set(i64::from(report.source.encrypted == Some(false)));
    }

    /// Registers everything under `binlog_worker_`.
    pub fn register(&self) -> Arc<Registry> {
        let mut registry = Registry::with_prefix("binlog_worker");
        let r = &mut registry;
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        r.register("build", "Version of this program", version);
        self.register_state(r);
        self.register_times_and_sizes(r);
        self.register_counts(r);
        Arc::new(registry)
    }

    fn register_state(&self, r: &mut Registry) {
        r.register("ready", "1 while /readyz says so", self.ready.clone());
        r.register("healthy", "1 for each part that is well", self.healthy.clone());
        r.register("fenced", "1 while another instance holds the archive", self.fenced.clone());
        r.register("gaps", "Gaps of the archive, acknowledged or not", self.gaps.clone());
        r.register("open_gaps", "Gaps nobody has acknowledged", self.open_gaps.clone());
        r.register("stopped_tables", "Tables that cannot be decoded", self.stopped_tables.clone());
        r.register("clear_text", "1 while the dump is not encrypted", self.clear_text.clone());
        r.register("entry", "Number of the newest log entry", self.entry.clone());
        r.register("epoch", "Epoch of this writer", self.epoch.clone());
    }

    fn register_times_and_sizes(&self, r: &mut Registry) {
        let mut seconds = |name: &str, help: &str, known: &Known| {
            r.register_with_unit(name, help, Unit::Seconds, known.0.clone());
        };
        seconds("lag", "How far reading is behind the source; none while unknown", &self.lag);
        seconds("silence", "Time since the last event or heartbeat", &self.silence);
        seconds(
            "pending_age",
            "How long the oldest byte that no log entry names has waited",
            &self.pending_age,
        );
        seconds(
            "durable_until_timestamp",
            "Commit time of the newest durable transaction, since 1970",
            &self.durable_until,
        );
        seconds(
            "checkpoint_timestamp",
            "When the checkpoint was last written, since 1970",
            &self.checkpoint_saved,
        );
        seconds("binlog_retention", "How long the source keeps its binlog", &self.retention);
        seconds(
            "purge_headroom",
            "Time until the source may purge what is not durable; none where it purges nothing by age",
            &self.purge_headroom,
        );
        r.register_with_unit(
            "pending",
            "Bytes received that no log entry names yet",
            Unit::Bytes,
            self.pending_bytes.clone(),
        );
        r.register_with_unit(
            "spooled",
            "Bytes that wait for the archive on disk",
            Unit::Bytes,
            self.spooled_bytes.clone(),
        );
    }

    fn register_counts(&self, r: &mut Registry) {
        r.register_with_unit(
            "received",
            "Binlog bytes received",
            Unit::Bytes,
            self.received_bytes.clone(),
        );
        r.register("events", "Binlog events received", self.events.clone());
        r.register("transactions", "Transactions received", self.transactions.clone());
        r.register("rows", "Row changes decoded", self.rows.clone());
        r.register("commits", "Log entries created", self.commits.clone());
        r.register("connects", "Connections made to the source", self.connects.clone());
        r.register("faults", "Faults by reason", self.faults.clone());
        r.register(
            "trace_spans",
            "Spans for the collector of traces: exported, failed (it did not take them), dropped (too many waited)",
            self.trace_spans.clone(),
        );
    }
}

#[cfg(test)]
#[path = "../../crds/tests/support/exposition.rs"]
mod told;

#[cfg(test)]
mod tests {
    use crds::exposition;
    use crds::worker_status::LagFacet;
    use std::time::Duration;

    use super::*;
    use crate::board::Board;

    /// The text, in the older form.
    fn text(metrics: &Metrics) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &metrics.register()).unwrap();
        assert!(text.ends_with("# EOF\n"));
        exposition::classic(&text)
    }

    /// A report in which everything is known.
    fn full_report() -> WorkerStatus {
        let mut report = Board::new("i", None).report();
        let now = report.observed_at;
        report.lag = LagFacet { state: LagState::CatchingUp, seconds: Some(70), observed_at: None };
        report.source.binlog_retention_seconds = Some(1000);
        report.source.purge_headroom_seconds = Some(900);
        report.archive.oldest_pending_at = Some(now - Duration::from_secs(20));
        report.archive.recoverable_until = Some(now);
        report.checkpoint.saved_at = Some(now);
        report
    }

    #[test]
    fn what_is_not_known_has_no_series() {
        let metrics = Metrics::default();
        metrics.read(&full_report(), true, Some(3));
        let known = text(&metrics);
        for sample in ["lag_seconds{} 70.0", "pending_age_seconds{} 20.0", "silence_seconds{} 3.0"]
        {
            assert!(known.contains(&format!("binlog_worker_{sample}\n")), "{sample}: {known}");
        }
        metrics.read(&Board::new("i", None).report(), false, None);
        let unknown = text(&metrics);
        for name in ["lag", "silence", "purge_headroom", "durable_until_timestamp"] {
            assert!(
                !unknown.contains(&format!("binlog_worker_{name}_seconds")),
                "{name}: {unknown}"
            );
        }
        assert!(unknown.contains("binlog_worker_healthy{part=\"source\"} 0\n"), "{unknown}");
    }

    #[test]
    fn readme_tells_of_every_metric_and_promtool_finds_no_fault_in_them() {
        let metrics = Metrics::default();
        metrics.read(&full_report(), true, Some(3));
        metrics.received_bytes.inc_by(7);
        metrics.faults.get_or_create(&ReasonLabel { reason: "AuthFailed" }).inc();
        metrics.trace_spans.get_or_create(&[("outcome", "exported")]).inc();
        let text = text(&metrics);
        assert!(text.contains("binlog_worker_received_bytes_total 7\n"), "{text}");
        told::is_told_in_the_readme_and_well_formed("worker", &text);
    }
}
