//! Making things durable: objects upload in any order, entries are created strictly in turn.
//!
//! - An entry names only objects whose upload was acknowledged (V2;
//!   `an_entry_waits_for_all_its_objects` in `tests/suite/commit.rs`).
//! - While entry n is unresolved, the batches behind it upload; all that are acknowledged when it is
//!   resolved go into entry n+1 together (`batches_behind_a_slow_entry_share_the_next_one`).
//! - Nothing is durable before its entry's create was acknowledged; the watch of the durable head
//!   never shows more (`nothing_is_durable_before_its_entry`).
//! - V7 Only parts that no sent entry names are deleted, and none after a fence: a part goes into a
//!   batch or is abandoned, never both, by its type (`abandoned_parts_are_deleted`,
//!   `a_fenced_writer_deletes_nothing`).
//! - Parts are named in the order in which they were begun
//!   (`a_part_begun_before_the_last_entrys_is_refused`); the sweep relies on it.
//! - At most [`CommitterSettings::uploads`] parts of together [`CommitterSettings::upload_bytes`] are held at once
//!   (P9), whatever the store does (`parts_under_way_are_bounded_by_their_bytes`).

mod batch;
mod span;
mod status;
mod task;
mod upload;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use batch::{Batch, ChangesBatch, Maintenance, RawBatch};
pub use status::{CommitStatus, Fault};
pub use upload::{ChangePart, RawBytes, RawPart, Uploading};

use crate::entry::{Holder, Stored};
use crate::fold::State;
use crate::log::{Appended, Body, Fence, Log, LogError, ReadError, read_range};
use crate::store::{Store, StoreError};
use status::Health;
use task::{Command, Task};
use upload::Uploads;

/// Entries kept for readers that follow.
const RECENT: usize = 256;

/// Limits of a committer.
#[derive(Clone, Debug)]
pub struct CommitterSettings {
    /// Parts uploading at once.
    pub uploads: usize,
    /// Bytes of parts uploading at once, before they are compressed. A larger part goes alone.
    pub upload_bytes: usize,
    /// Batches that may wait for their entry.
    pub queue: usize,
    /// zstd level of raw objects.
    pub zstd_level: i32,
    /// `log/_head.json` is written each so many entries.
    pub hint_entries: u64,
    /// `log/_head.json` is written after so long without an entry.
    pub hint_idle: Duration,
    /// How long a call of the store may hold up the end, once given up.
    pub end_limit: Duration,
}

impl Default for CommitterSettings {
    fn default() -> Self {
        Self {
            uploads: 4,
            upload_bytes: 32 << 20,
            queue: 64,
            zstd_level: 1,
            hint_entries: 100,
            hint_idle: Duration::from_mins(5),
            end_limit: Duration::from_secs(6),
        }
    }
}

/// The durable head: what everything that is promised to anybody rests on.
#[derive(Clone, Debug)]
pub struct Durable {
    /// The log folded up to the newest acknowledged entry.
    pub state: Arc<State>,
    /// That entry; absent only right after the claim.
    pub newest: Option<Arc<Stored>>,
}

/// Why a committer ended.
#[derive(Clone, Debug)]
pub enum CommitEnd {
    /// All that was submitted is durable.
    Drained,
    /// Another writer claimed.
    Fenced(Holder),
    /// The log took no further entry.
    Log(LogError),
    /// An upload failed in a way that trying again cannot mend; rebuild the pipeline.
    Upload(StoreError),
    /// Given up on request; what was not durable is read again at the next start.
    Cancelled,
}

/// The committer has ended; see [`Committer::ended`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("commit: the committer has ended")]
pub struct Ended;

/// Owner of the log while the stream runs.
pub struct Committer {
    commands: mpsc::Sender<Command>,
    uploads: Arc<Uploads>,
    durable: watch::Receiver<Durable>,
    health: Arc<Health>,
    ended: watch::Receiver<Option<CommitEnd>>,
    recent: Arc<Recent>,
    fence: Fence,
    cancel: CancellationToken,
    end_limit: Duration,
    task: JoinHandle<()>,
}

impl Committer {
    /// Starts the task that owns the log.
    pub fn start(log: Log, settings: &CommitterSettings, cancel: &CancellationToken) -> Self {
        let cancel = cancel.child_token();
        let health = Arc::new(Health::default());
        let (commands, queue) = mpsc::channel(settings.queue.max(1));
        let first = Durable { state: Arc::clone(log.state()), newest: None };
        let (durable_tx, durable) = watch::channel(first);
        let (ended_tx, ended) = watch::channel(None);
        let recent = Arc::new(Recent { store: Arc::clone(log.store()), entries: Mutex::default() });
        let uploads = Arc::new(Uploads::new(&log, settings, Arc::clone(&health), cancel.clone()));
        let (fence, end_limit) = (log.fence(), settings.end_limit);
        let task = Task {
            log,
            queue,
            held: None,
            named: None,
            durable: durable_tx,
            recent: Arc::clone(&recent),
            health: Arc::clone(&health),
            fence: fence.clone(),
            settings: settings.clone(),
            cancel: cancel.clone(),
        };
        let task = tokio::spawn(async move {
            let end = task.run().await;
            // Nobody may be left to look; that is fine.
            ended_tx.send_replace(Some(end));
        });
        Self { commands, uploads, durable, health, ended, recent, fence, cancel, end_limit, task }
    }

    /// Starts the upload of a raw part. Waits while the limit of parts is reached.
    pub async fn upload_raw(&self, part: RawPart) -> Result<Uploading, Ended> {
        self.uploads.raw(part).await
    }

    /// Starts the upload of a change file. Waits while the limit of parts is reached.
    pub async fn upload_change(&self, part: ChangePart) -> Result<Uploading, Ended> {
        self.uploads.change(part).await
    }

    /// Hands over a batch; batches become durable in the order in which they are submitted, and their
    /// parts must have been begun in that order too. Waits while the queue is full.
    pub async fn submit(&self, batch: Batch) -> Result<(), Ended> {
        let command = Command::Batch(Box::new(batch), self.uploads.cut());
        self.commands.send(command).await.map_err(|_| Ended)
    }

    /// Appends an entry that is no commit (gap, lineage, maintenance), after all batches submitted
    /// before it; returns when it is durable.
    ///
    /// # Errors
    /// The entry was refused, or the log takes no further entry.
    pub async fn append(&self, body: Body) -> Result<Appended, LogError> {
        let (reply, answer) = oneshot::channel();
        let n = self.durable.borrow().state.n + 1;
        let ended = || LogError::Cancelled { n };
        let command = Command::Append(Box::new(body), reply);
        self.commands.send(command).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// Appends a step of maintenance once all its files are there; returns when it is durable.
    ///
    /// # Errors
    /// The entry was refused, or the log takes no further entry.
    pub async fn maintain(&self, step: Maintenance) -> Result<Appended, LogError> {
        let (reply, answer) = oneshot::channel();
        let n = self.durable.borrow().state.n + 1;
        let ended = || LogError::Cancelled { n };
        let command = Command::Maintain(Box::new(step), self.uploads.cut(), reply);
        self.commands.send(command).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// Gives up parts of an open transaction: they are deleted when their upload ends. None is
    /// deleted after a fence; the next writer sweeps them.
    pub fn abandon(&self, parts: Vec<Uploading>) {
        self.uploads.abandon(parts, self.ended.clone());
    }

    /// The durable head.
    pub fn durable(&self) -> watch::Receiver<Durable> {
        self.durable.clone()
    }

    /// What waits, and what it waits for.
    pub fn status(&self) -> watch::Receiver<CommitStatus> {
        self.health.subscribe()
    }

    /// Set when the committer ended.
    pub fn ended(&self) -> watch::Receiver<Option<CommitEnd>> {
        self.ended.clone()
    }

    /// Looks for a higher claim.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Reads durable entries, the newest from memory.
    pub fn entries(&self) -> Arc<Recent> {
        Arc::clone(&self.recent)
    }

    /// Takes no more, makes all that was submitted durable, and ends. After `limit` it gives up; a store that hangs
    /// within a call is left behind soon after.
    pub async fn drain(self, limit: Duration) -> CommitEnd {
        let Self { commands, cancel, mut task, ended, uploads, end_limit, .. } = self;
        drop(commands);
        let in_time = tokio::time::timeout(limit, &mut task).await;
        cancel.cancel();
        // Every wait of task and uploads ends with the token, but for what a store does within one call.
        if in_time.is_err() && tokio::time::timeout(end_limit, &mut task).await.is_err() {
            task.abort();
            tracing::warn!("the archive's store holds the committer up, it is left behind");
        }
        if tokio::time::timeout(end_limit, uploads.close()).await.is_err() {
            tracing::warn!("the archive's store holds uploads up, they are left behind");
        }
        let end = ended.borrow().clone();
        end.unwrap_or(CommitEnd::Cancelled)
    }
}

/// Durable entries, the newest from memory.
pub struct Recent {
    store: Arc<dyn Store>,
    entries: Mutex<VecDeque<Arc<Stored>>>,
}

impl Recent {
    fn push(&self, stored: Arc<Stored>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() == RECENT {
            entries.pop_front();
        }
        entries.push_back(stored);
    }

    /// Entries `from..=to`, which must be durable. Object lists are left as they are stored; see
    /// [`crate::log::read_objects`].
    ///
    /// # Errors
    /// The store gave no answer, or an entry is missing or damaged.
    pub async fn read(&self, from: u64, to: u64) -> Result<Vec<Arc<Stored>>, ReadError> {
        let held: Vec<Arc<Stored>> = {
            let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            let wanted = |stored: &&Arc<Stored>| (from..=to).contains(&stored.entry.n);
            entries.iter().filter(wanted).cloned().collect()
        };
        let Some(first) = held.first().map(|stored| stored.entry.n) else {
            let read = read_range(&*self.store, from, to).await?;
            return Ok(read.into_iter().map(Arc::new).collect());
        };
        let mut all = Vec::new();
        if from < first {
            let earlier = read_range(&*self.store, from, first - 1).await?;
            all.extend(earlier.into_iter().map(Arc::new));
        }
        all.extend(held);
        Ok(all)
    }
}
