//! The task that keeps the checkpoint: behind the log, never in its way. The latest head wins; it is
//! written at most once per interval, only if it moved, and at once after the claim and on drain.

use std::time::Duration;

use crds::conditions::Reason;
use crds::spans::TARGET;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, field::Empty, info_span};

use super::{RecordContext, Replace, Saved, SharedStore, record};
use crate::commit::Durable;
use crate::retry::Backoff;

/// How the checkpoint is kept.
#[derive(Clone, Debug)]
pub struct KeeperSettings {
    /// Least time between two writes.
    pub interval: Duration,
    /// What a record says beside the log's facts.
    pub context: RecordContext,
    /// The log holds the consent to replace whatever is stored, once.
    pub replace: Replace,
    /// Limit of the last write, on drain.
    pub drain_limit: Duration,
}

/// How the checkpoint stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeeperStatus {
    /// Entry of the newest stored record.
    pub n: Option<u64>,
    /// When it was stored, by the worker's clock.
    pub saved_at: Option<Timestamp>,
    /// Why the newest write failed, and what mends it; none after a success.
    pub fault: Option<(Reason, String)>,
}

/// Owner of the keeper's task.
pub struct Keeper {
    status: watch::Receiver<KeeperStatus>,
    cancel: CancellationToken,
    drain_limit: Duration,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Starts to follow the durable head.
    pub fn start(
        store: SharedStore,
        durable: watch::Receiver<Durable>,
        settings: KeeperSettings,
    ) -> Self {
        let cancel = CancellationToken::new();
        let (status_tx, status) = watch::channel(KeeperStatus::default());
        let drain_limit = settings.drain_limit;
        let mut work = Work { store, durable, settings, status: status_tx, saved: None };
        let stop = cancel.clone();
        let task = tokio::spawn(async move {
            work.follow(&stop).await;
            let last = tokio::time::timeout(drain_limit, work.save()).await;
            if last.is_err() {
                tracing::warn!("checkpoint not written before the end; the log holds all of it");
            }
        });
        Self { status, cancel, drain_limit, task }
    }

    /// How the checkpoint stands.
    pub fn status(&self) -> watch::Receiver<KeeperStatus> {
        self.status.clone()
    }

    /// Writes the newest head and ends. A write that is under way has the same limit as the last one.
    pub async fn drain(mut self) {
        self.cancel.cancel();
        match tokio::time::timeout(2 * self.drain_limit, &mut self.task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "checkpoint task failed"),
            Err(_) => {
                self.task.abort();
                tracing::warn!("checkpoint store gives no answer; the log holds all of it");
            }
        }
    }

    /// Ends without another write: a fenced writer has nothing to say.
    pub fn abandon(self) {
        self.task.abort();
    }
}

struct Work {
    store: SharedStore,
    durable: watch::Receiver<Durable>,
    settings: KeeperSettings,
    status: watch::Sender<KeeperStatus>,
    saved: Option<u64>,
}

impl Work {
    /// Writes until `stop`, which takes effect between two writes.
    async fn follow(&mut self, stop: &CancellationToken) {
        let mut backoff = Backoff::default();
        loop {
            let begun = Instant::now();
            let done = self.save().await;
            let wait = if done {
                backoff.reset();
                self.settings.interval
            } else {
                self.settings.interval.max(backoff.next_wait())
            };
            let pause = tokio::time::sleep_until(begun + wait);
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
            let moved = self.durable.changed();
            // Cancelled, or nothing will move any more.
            if done && !matches!(stop.run_until_cancelled(moved).await, Some(Ok(()))) {
                return;
            }
        }
    }

    /// Whether the store now holds the head, or has no use for it.
    async fn save(&mut self) -> bool {
        let state = std::sync::Arc::clone(&self.durable.borrow_and_update().state);
        if self.saved.is_some_and(|n| n >= state.n) {
            return true;
        }
        let Some(record) = record(&state, &self.settings.context) else {
            return true;
        };
        crate::failpoint::reach("checkpoint", "saving").await;
        let span = span(record.n);
        let saving = self.store.save(&record, self.settings.replace);
        let outcome = saving.instrument(span.clone()).await;
        crate::failpoint::reach("checkpoint", "saved").await;
        match outcome {
            Ok(Saved::Stored) => {
                span.record("binlogstream.outcome", "stored");
                self.saved = Some(record.n);
                self.settings.replace = Replace::Older;
                let saved_at = Some(record.saved_at);
                self.status.send_replace(KeeperStatus { n: self.saved, saved_at, fault: None });
                true
            }
            Ok(Saved::Stale(problem)) => {
                span.record("binlogstream.outcome", "stale");
                tracing::warn!(store = self.store.describe(), problem, "checkpoint not replaced");
                self.fault(Reason::CheckpointConflict, problem);
                self.saved = Some(record.n);
                true
            }
            Err(error) => {
                span.record("error.type", error.reason.as_str());
                span.record("otel.status_code", "error");
                tracing::warn!(%error, "checkpoint not written, the archive goes on");
                self.fault(error.reason, error.to_string());
                false
            }
        }
    }

    fn fault(&self, reason: Reason, message: String) {
        self.status.send_modify(|status| status.fault = Some((reason, message)));
    }
}

/// The trace of one write.
fn span(n: u64) -> Span {
    info_span!(
        target: TARGET,
        parent: None,
        "checkpoint",
        binlogstream.entry = n as i64,
        binlogstream.outcome = Empty,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}
