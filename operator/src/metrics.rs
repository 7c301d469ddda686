//! The operator's metrics, in OpenMetrics form.

mod pages;
mod shown;

use std::fmt;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};
use traces::SpanCounts;

pub use self::{pages::Pages, shown::Shown};
use crate::rollout::pace::Fleet;

/// Why a reconcile failed.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ReasonLabels {
    /// A word of a closed list, see `controller::Error::reason`.
    pub reason: String,
}

/// Where streams stand in a rollout.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RolloutLabels {
    /// `waiting`, `rolling` or `failed`.
    pub state: &'static str,
}

/// How a poll of a worker ended.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// `answered` or the kind of failure.
    pub outcome: String,
}

/// All series of the operator.
pub struct Metrics {
    registry: Registry,
    /// Reconciles that ended well.
    pub reconciles: Counter,
    /// Reconciles that failed, by reason.
    pub reconcile_errors: Family<ReasonLabels, Counter>,
    /// Time a reconcile took.
    pub reconcile_seconds: Histogram,
    /// Reconciles running now.
    pub reconciling: Gauge,
    /// Reconcile requests that the status pollers have handed over and that are not taken yet.
    pub queued: Gauge,
    /// Writes of a status.
    pub status_writes: Counter,
    /// Statuses that needed no write.
    pub status_skipped: Counter,
    /// Statuses that must wait for their turn (two writes a minute).
    pub status_deferred: Counter,
    /// Children created or changed.
    pub children_applied: Counter,
    /// Streams in a rollout of the operator's own making.
    pub rollout: Family<RolloutLabels, Gauge>,
    /// 1 while that rollout is halted.
    pub rollout_halted: Gauge,
    /// Polls of workers, by outcome.
    pub polls: Family<OutcomeLabels, Counter>,
    /// 1 where this process leads.
    pub leader: Gauge,
    /// Streams known.
    pub streams: Gauge,
    /// Conditions and reason of each stream.
    pub shown: Shown,
    /// Spans that ended; without a collector there is no series.
    pub trace_spans: SpanCounts,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new(SpanCounts::default())
    }
}

impl Metrics {
    /// All at their beginning but the spans, which are counted from before.
    pub fn new(trace_spans: SpanCounts) -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("binlog_operator"),
            reconciles: Counter::default(),
            reconcile_errors: Family::default(),
            reconcile_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            reconciling: Gauge::default(),
            queued: Gauge::default(),
            status_writes: Counter::default(),
            status_skipped: Counter::default(),
            status_deferred: Counter::default(),
            children_applied: Counter::default(),
            rollout: Family::default(),
            rollout_halted: Gauge::default(),
            polls: Family::default(),
            leader: Gauge::default(),
            streams: Gauge::default(),
            shown: Shown::default(),
            trace_spans,
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        r.register("build", "Version of this program", version);
        r.register("leader", "1 where this process leads", self.leader.clone());
        r.register("streams", "Streams known", self.streams.clone());
        r.register_collector(Box::new(self.shown.clone()));
        r.register("reconciles", "Reconciles that ended well", self.reconciles.clone());
        r.register(
            "reconcile_errors",
            "Reconciles that failed, by reason",
            self.reconcile_errors.clone(),
        );
        r.register_with_unit(
            "reconcile_duration",
            "Time a reconcile took",
            Unit::Seconds,
            self.reconcile_seconds.clone(),
        );
        r.register("reconciling", "Reconciles running now", self.reconciling.clone());
        r.register("queued", "Requests of the status pollers not taken yet", self.queued.clone());
        r.register("status_writes", "Writes of a status", self.status_writes.clone());
        r.register("status_skipped", "Statuses that needed no write", self.status_skipped.clone());
        r.register(
            "status_deferred",
            "Statuses that had to wait for their turn",
            self.status_deferred.clone(),
        );
        r.register("children_applied", "Children made or changed", self.children_applied.clone());
        r.register(
            "rollout_streams",
            "Streams whose pod the operator replaces by itself: waiting, rolling, failed",
            self.rollout.clone(),
        );
        r.register(
            "rollout_halted",
            "1 while so many of them failed that no further one is replaced",
            self.rollout_halted.clone(),
        );
        r.register("polls", "Polls of workers, by outcome", self.polls.clone());
        r.register(
            "trace_spans",
            "Spans for the collector of traces: exported, failed (it did not take them), dropped (too many waited)",
            self.trace_spans.clone(),
        );
    }

    /// The exposition.
    ///
    /// # Errors
    /// When formatting fails.
    pub fn encode(&self) -> Result<Pages, fmt::Error> {
        let mut pages = Pages::default();
        encode(&mut pages, &self.registry)?;
        Ok(pages)
    }

    /// Shows how the rollout of the fleet stands.
    pub fn show_rollout(&self, fleet: &Fleet, waiting: usize) {
        let counts = [("waiting", waiting), ("rolling", fleet.rolling), ("failed", fleet.failed)];
        for (state, count) in counts {
            self.rollout.get_or_create(&RolloutLabels { state }).set(count as i64);
        }
        self.rollout_halted.set(i64::from(fleet.is_halted()));
    }

    /// Counts one poll.
    pub fn polled(&self, outcome: &str) {
        self.polls.get_or_create(&OutcomeLabels { outcome: outcome.to_owned() }).inc();
    }

    /// Counts one failed reconcile.
    pub fn failed(&self, reason: &str) {
        self.reconcile_errors.get_or_create(&ReasonLabels { reason: reason.to_owned() }).inc();
    }
}

#[cfg(test)]
#[path = "../../crds/tests/support/exposition.rs"]
mod told;

#[cfg(test)]
mod tests {
    use crds::{conditions::ConditionType, exposition, v1alpha1::ConditionStatus};

    use super::*;

    /// Metrics of which each has a series.
    fn all() -> Metrics {
        let metrics = Metrics::default();
        let ready = [(ConditionType::Ready, ConditionStatus::True)];
        metrics.shown.show("shop", "orders", ready, "Streaming");
        metrics.polled("answered");
        metrics.failed("ApplyFailed");
        metrics.trace_spans.get_or_create(&[("outcome", "exported")]).inc();
        metrics.show_rollout(&Fleet::default(), 0);
        metrics.reconcile_seconds.observe(0.1);
        metrics
    }

    fn text(metrics: &Metrics) -> String {
        metrics.encode().unwrap().into_iter().collect()
    }

    #[test]
    fn exposition_shows_one_value_of_a_condition_and_one_reason_and_forgets_with_the_stream() {
        let metrics = all();
        let ready = [(ConditionType::Ready, ConditionStatus::Unknown)];
        metrics.shown.show("shop", "orders", ready, "StatusStale");
        let shown = text(&metrics);
        let of_the_stream =
            shown.lines().filter(|line| line.contains("orders")).collect::<Vec<_>>();
        let stream = "namespace=\"shop\",stream=\"orders\"";
        assert_eq!(
            of_the_stream,
            [
                format!("binlog_operator_stream_condition{{{stream},condition=\"Ready\"}} -1"),
                format!("binlog_operator_stream_reason{{{stream},reason=\"StatusStale\"}} 1"),
            ]
        );
        metrics.shown.keep_only(|_| false);
        assert!(!text(&metrics).contains("orders"));
    }

    #[test]
    fn readme_tells_of_every_metric_and_promtool_finds_no_fault_in_them() {
        let text = exposition::classic(&text(&all()));
        told::is_told_in_the_readme_and_well_formed("operator", &text);
    }
}
