//! What became of the spans: counted for the metrics, and told by a log line when an outage begins, each ten minutes
//! while it lasts, and when it is over.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::Uri;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::queue::ROOM;

/// Spans by outcome: `exported`, `failed` (the collector did not take them), `dropped` (there was no room).
pub type SpanCounts = Family<[(&'static str, &'static str); 1], Counter>;

/// How often an outage that goes on is told again.
const TELL_EVERY: Duration = Duration::from_mins(10);

#[derive(Debug)]
pub(crate) struct Tally {
    /// `host:port` of the collector.
    collector: String,
    exported: Counter,
    failed: Counter,
    dropped: Counter,
    counts: SpanCounts,
    waiting: AtomicUsize,
    outage: Mutex<Outage>,
}

impl Tally {
    pub(crate) fn new(endpoint: &Uri) -> Self {
        let counts = SpanCounts::default();
        let of = |outcome| counts.get_or_create(&[("outcome", outcome)]).clone();
        Self {
            collector: endpoint.authority().map(ToString::to_string).unwrap_or_default(),
            exported: of("exported"),
            failed: of("failed"),
            dropped: of("dropped"),
            counts: counts.clone(),
            waiting: AtomicUsize::new(0),
            outage: Mutex::default(),
        }
    }

    pub(crate) fn counts(&self) -> SpanCounts {
        self.counts.clone()
    }

    /// Whether there is room for one more span; else it counts as dropped. Says nothing: it is called while a span
    /// ends, wherever that is.
    pub(crate) fn enters(&self) -> bool {
        let more = |waiting: usize| (waiting < ROOM).then_some(waiting + 1);
        let entered = self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok();
        if !entered {
            self.dropped.inc();
        }
        entered
    }

    /// So many spans are on their way.
    pub(crate) fn leave(&self, spans: usize) {
        self.waiting.fetch_sub(spans, Ordering::AcqRel);
    }

    pub(crate) fn exported(&self, spans: usize) {
        self.exported.inc_by(spans as u64);
        let over = self.outage.lock().unwrap_or_else(PoisonError::into_inner).over();
        if let Some(lost) = over {
            tracing::info!(collector = self.collector, lost, "the collector takes spans again");
        }
    }

    pub(crate) fn failed(&self, spans: usize, error: &str) {
        self.failed.inc_by(spans as u64);
        let now = Instant::now();
        let tell =
            self.outage.lock().unwrap_or_else(PoisonError::into_inner).goes_on(spans as u64, now);
        if let Some(lost) = tell {
            tracing::warn!(
                collector = self.collector,
                error,
                lost,
                "the collector takes no spans: they are lost, and nothing else is held up"
            );
        }
    }
}

/// Since when nothing arrives.
#[derive(Debug, Default)]
struct Outage {
    lost: u64,
    told: Option<Instant>,
}

impl Outage {
    /// Spans lost so far, if it is time to tell.
    fn goes_on(&mut self, lost: u64, now: Instant) -> Option<u64> {
        self.lost += lost;
        let tell = self.told.is_none_or(|told| now.duration_since(told) >= TELL_EVERY);
        tell.then(|| {
            self.told = Some(now);
            self.lost
        })
    }

    /// Spans that were lost, if there was one.
    fn over(&mut self) -> Option<u64> {
        let Self { lost, told } = std::mem::take(self);
        told.map(|_| lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_when_it_begins_each_ten_minutes_and_when_it_is_over() {
        let (mut outage, began) = (Outage::default(), Instant::now());
        assert_eq!(outage.over(), None);
        assert_eq!(outage.goes_on(3, began), Some(3));
        assert_eq!(outage.goes_on(4, began + TELL_EVERY / 2), None);
        assert_eq!(outage.goes_on(1, began + TELL_EVERY), Some(8));
        assert_eq!(outage.over(), Some(8));
        assert_eq!(outage.over(), None);
        assert_eq!(outage.goes_on(1, began + TELL_EVERY), Some(1), "the next one is another");
    }
}
