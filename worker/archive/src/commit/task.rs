//! The one task that creates entries.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use super::batch::{Batch, Maintenance, Resolved};
use super::span::{self, Cuts};
use super::status::Health;
use super::{CommitEnd, CommitterSettings, Durable, Recent};
use crate::failpoint;
use crate::fold::FoldError;
use crate::layout;
use crate::log::{Appended, Body, Fence, Log, LogError};
use crate::open::HeadHint;
use crate::store::StoreError;

/// Most batches in one entry.
const MAX_GROUP: usize = 256;
/// Longest time that the hint may hold up the commits behind it.
const HINT_LIMIT: Duration = Duration::from_secs(5);

/// Who asked for an entry, waiting for it.
type Asker = oneshot::Sender<Result<Appended, LogError>>;

/// With the trace of the cut, where it has one.
pub(super) enum Command {
    Batch(Box<Batch>, Span),
    Append(Box<Body>, Asker),
    Maintain(Box<Maintenance>, Span, Asker),
}

pub(super) struct Task {
    pub(super) log: Log,
    pub(super) queue: mpsc::Receiver<Command>,
    /// Taken from the queue, and its turn has not come.
    pub(super) held: Option<Command>,
    /// Number of the newest part that an entry names.
    pub(super) named: Option<u64>,
    pub(super) durable: watch::Sender<Durable>,
    pub(super) recent: Arc<Recent>,
    pub(super) health: Arc<Health>,
    pub(super) fence: Fence,
    pub(super) settings: CommitterSettings,
    pub(super) cancel: CancellationToken,
}

impl Task {
    pub(super) async fn run(mut self) -> CommitEnd {
        match self.serve().await {
            Ok(()) => CommitEnd::Drained,
            Err(end) => end,
        }
    }

    async fn serve(&mut self) -> Result<(), CommitEnd> {
        while let Some(command) = self.next().await? {
            match command {
                Command::Batch(batch, span) => {
                    let mut cuts = Cuts(vec![span]);
                    let group = self.gather(*batch, &mut cuts).await?;
                    self.keep_order(&group.uploads)?;
                    failpoint::reach("commit", "acknowledged").await;
                    let appended = self.append(group.body, &cuts).await.map_err(end_of)?;
                    cuts.are_durable(appended.state.n);
                    self.advance(appended).await;
                    // Only now: who waits for nothing to be pending reads the durable head next.
                    self.health.end(&group.uploads);
                }
                Command::Append(body, reply) => self.answer(*body, Cuts::default(), reply).await?,
                Command::Maintain(step, span, reply) => {
                    let resolved = self.until_cancelled(step.resolve()).await?;
                    self.keep_order(&resolved.uploads)?;
                    failpoint::reach("maintain", "acknowledged").await;
                    self.answer(resolved.body, Cuts(vec![span]), reply).await?;
                    self.health.end(&resolved.uploads);
                }
            }
        }
        Ok(())
    }

    /// Appends for somebody who waits for the outcome.
    async fn answer(&mut self, body: Body, cuts: Cuts, reply: Asker) -> Result<(), CommitEnd> {
        let result = self.append(body, &cuts).await;
        let fatal = result.as_ref().err().filter(|e| !is_refusal(e)).cloned();
        if let Ok(appended) = &result {
            cuts.are_durable(appended.state.n);
            self.advance(appended.clone()).await;
        }
        // The asker may have gone; the entry stands all the same.
        drop(reply.send(result));
        fatal.map_or(Ok(()), |error| Err(end_of(error)))
    }

    /// The next command; `None` when nobody can send one any more. Keeps the hint fresh meanwhile.
    async fn next(&mut self) -> Result<Option<Command>, CommitEnd> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        loop {
            let idle = Instant::now() + self.settings.hint_idle;
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(CommitEnd::Cancelled),
                command = self.queue.recv() => return Ok(command),
                () = tokio::time::sleep_until(idle) => self.refresh_hint().await?,
            }
        }
    }

    /// The batch and all that follow on it and are acknowledged already.
    async fn gather(&mut self, first: Batch, cuts: &mut Cuts) -> Result<Resolved, CommitEnd> {
        let mut group = self.resolve(first).await?;
        for _ in 1..MAX_GROUP {
            let Ok(command) = self.queue.try_recv() else { break };
            let (mut next, span) = match command {
                Command::Batch(next, span) => (next, span),
                other @ (Command::Append(..) | Command::Maintain(..)) => {
                    self.held = Some(other);
                    break;
                }
            };
            let fits = next.is_settled() && group.continues(&next);
            let Some(union) = fits.then(|| group.union(next.gtid_added.as_ref()).ok()).flatten()
            else {
                self.held = Some(Command::Batch(next, span));
                break;
            };
            cuts.0.push(span);
            let next = self.resolve(*next).await?;
            group.join(next);
            group.body.gtid_added = union;
        }
        Ok(group)
    }

    async fn resolve(&self, batch: Batch) -> Result<Resolved, CommitEnd> {
        self.until_cancelled(batch.resolve()).await
    }

    async fn until_cancelled(
        &self,
        resolving: impl Future<Output = Result<Resolved, StoreError>>,
    ) -> Result<Resolved, CommitEnd> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(CommitEnd::Cancelled),
            resolved = resolving => resolved.map_err(CommitEnd::Upload),
        }
    }

    /// Objects of an epoch are named in the order of their numbers: the sweep of a later writer
    /// relies on it.
    fn keep_order(&mut self, uploads: &[u64]) -> Result<(), CommitEnd> {
        let first = uploads.iter().min();
        if first.is_some_and(|first| self.named.is_some_and(|named| *first <= named)) {
            let n = self.log.state().n + 1;
            let problem = "it names a part that was begun before those of the entry before it";
            let refused = FoldError::Broken { n, problem: problem.to_owned() };
            return Err(CommitEnd::Log(refused.into()));
        }
        self.named = uploads.iter().max().copied().or(self.named);
        Ok(())
    }

    async fn append(&mut self, body: Body, cuts: &Cuts) -> Result<Appended, LogError> {
        let span = cuts.append(self.log.state().n + 1);
        let appending = self.log.append(body, &*self.health, &self.cancel);
        let appended = appending.instrument(span.clone()).await;
        appended.inspect_err(|error| span::not_appended(&span, error))
    }

    /// The only place where anything becomes durable for the rest of the program.
    async fn advance(&mut self, appended: Appended) {
        let Appended { stored, state } = appended;
        let n = state.n;
        self.recent.push(Arc::clone(&stored));
        self.durable.send_replace(Durable { state, newest: Some(stored) });
        failpoint::reach("commit", "advanced").await;
        if n.is_multiple_of(self.settings.hint_entries) {
            self.write_hint().await;
        }
    }

    /// Idle: shows that the archive is in use, unless somebody else uses it by now.
    async fn refresh_hint(&mut self) -> Result<(), CommitEnd> {
        let n = self.log.state().n;
        match tokio::time::timeout(HINT_LIMIT, self.fence.check(n)).await {
            Ok(Ok(Some(by))) => Err(CommitEnd::Fenced(by)),
            Ok(Ok(None)) => {
                self.write_hint().await;
                Ok(())
            }
            // Not known: a hint may be missing, but must not be wrong.
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }

    async fn write_hint(&self) {
        let state = self.log.state();
        let hint = HeadHint {
            format: 1,
            n: state.n,
            epoch: state.epoch,
            instance: self.log.instance().to_owned(),
        };
        let Ok(bytes) = serde_json::to_vec(&hint) else { return };
        let put = self.log.store().put(layout::HEAD_HINT, Bytes::from(bytes));
        match tokio::time::timeout(HINT_LIMIT, put).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "head hint not written"),
            Err(_) => tracing::debug!("head hint not written in time"),
        }
    }
}

/// Refused before anything was sent: the log can go on.
fn is_refusal(error: &LogError) -> bool {
    matches!(error, LogError::Refused(_) | LogError::TooLarge { .. } | LogError::Encode(_))
}

fn end_of(error: LogError) -> CommitEnd {
    match error {
        LogError::Fenced { by, .. } => CommitEnd::Fenced(by),
        LogError::Cancelled { .. } => CommitEnd::Cancelled,
        error => CommitEnd::Log(error),
    }
}
