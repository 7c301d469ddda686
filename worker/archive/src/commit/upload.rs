//! Parts on their way into the store: compressed, digested, put, tried again until they are there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};

use super::span::{self, UnderWay};
use super::status::Health;
use super::{CommitEnd, CommitterSettings, Ended};
use crate::entry::{ChangeFile, RawObject, sha256};
use crate::layout;
use crate::log::{Log, Observer as _};
use crate::retry::Backoff;
use crate::store::{Store, StoreClass, StoreError};

/// How long an abandoned part may take to end before it is left to the next sweep.
const ABANDON_LIMIT: Duration = Duration::from_mins(1);

/// Bytes of a raw part.
#[derive(Clone, Debug)]
pub enum RawBytes {
    /// As received; compressed here.
    Plain(Bytes),
    /// A finished zstd stream.
    Zstd(Bytes),
}

/// The bytes `[from, to)` of a binlog file.
#[derive(Clone, Debug)]
pub struct RawPart {
    /// Id of the lineage.
    pub lineage: String,
    /// Binlog file.
    pub file: String,
    /// First byte.
    pub from: u64,
    /// Byte after the last one.
    pub to: u64,
    /// The bytes.
    pub bytes: RawBytes,
}

/// One Parquet file of change rows.
#[derive(Clone, Debug)]
pub struct ChangePart {
    /// The whole file.
    pub bytes: Bytes,
    /// Rows.
    pub rows: u64,
    /// Smallest commit time, microseconds since 1970 UTC.
    pub min_time_us: i64,
    /// Largest commit time, microseconds since 1970 UTC.
    pub max_time_us: i64,
    /// Partition; absent: that of the day.
    pub date: Option<String>,
}

/// A part whose upload has begun. It goes into a batch or is abandoned.
#[derive(Debug)]
#[must_use = "a part is submitted in a batch or abandoned"]
pub struct Uploading {
    id: u64,
    key: String,
    answer: oneshot::Receiver<Result<Uploaded, StoreError>>,
    settled: Option<Result<Uploaded, StoreError>>,
}

/// What an entry says about a part.
#[derive(Clone, Debug)]
pub(super) enum Uploaded {
    Raw(RawObject),
    Change(ChangeFile),
}

impl Uploading {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Key under the stream's root.
    pub fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn is_settled(&mut self) -> bool {
        if self.settled.is_none() {
            self.settled = match self.answer.try_recv() {
                Ok(answer) => Some(answer),
                Err(oneshot::error::TryRecvError::Empty) => None,
                Err(oneshot::error::TryRecvError::Closed) => Some(Err(given_up(&self.key))),
            };
        }
        self.settled.is_some()
    }

    pub(super) async fn finished(self) -> Result<Uploaded, StoreError> {
        let Self { answer, settled, key, .. } = self;
        match settled {
            Some(settled) => settled,
            None => answer.await.unwrap_or_else(|_| Err(given_up(&key))),
        }
    }
}

fn given_up(key: &str) -> StoreError {
    StoreError::new(StoreClass::Transient, format!("put {key}"), "given up on request")
}

/// Starts uploads and owns their tasks.
pub(super) struct Uploads {
    store: Arc<dyn Store>,
    epoch: u64,
    next: AtomicU64,
    places: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    most_bytes: usize,
    zstd_level: i32,
    /// Newest partition used; never falls.
    date: Mutex<String>,
    health: Arc<Health>,
    cut: UnderWay,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Uploads {
    pub(super) fn new(
        log: &Log,
        settings: &CommitterSettings,
        health: Arc<Health>,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            store: Arc::clone(log.store()),
            epoch: log.epoch(),
            next: AtomicU64::new(0),
            places: Arc::new(Semaphore::new(settings.uploads.max(1))),
            bytes: Arc::new(Semaphore::new(settings.upload_bytes)),
            most_bytes: settings.upload_bytes,
            zstd_level: settings.zstd_level,
            date: Mutex::new(log.state().facts.date.clone().unwrap_or_default()),
            health,
            cut: UnderWay::default(),
            tasks: TaskTracker::new(),
            cancel,
        }
    }

    pub(super) async fn raw(&self, part: RawPart) -> Result<Uploading, Ended> {
        let seq = self.next.fetch_add(1, Ordering::Relaxed);
        let RawPart { lineage, file, from, to, bytes } = part;
        let key = layout::raw(&lineage, &file, from, to, self.epoch, seq);
        let level = self.zstd_level;
        let named = key.clone();
        let pack = move || {
            let packed = match bytes {
                RawBytes::Zstd(bytes) => bytes,
                RawBytes::Plain(bytes) => Bytes::from(zstd::bulk::compress(&bytes, level)?),
            };
            let sha256 = sha256(&packed);
            let bytes = packed.len() as u64;
            let object = RawObject { key: named, file, from, to, bytes, sha256 };
            Ok((packed, Uploaded::Raw(object)))
        };
        self.start(seq, key, to.saturating_sub(from), "raw", pack).await
    }

    pub(super) async fn change(&self, part: ChangePart) -> Result<Uploading, Ended> {
        let seq = self.next.fetch_add(1, Ordering::Relaxed);
        let ChangePart { bytes, rows, min_time_us, max_time_us, date } = part;
        let date = date.unwrap_or_else(|| self.today());
        let path = layout::change_path(&date, self.epoch, seq);
        let key = format!("{}{path}", layout::CHANGES);
        let length = bytes.len() as u64;
        let pack = move || {
            let sha256 = sha256(&bytes);
            let file = ChangeFile {
                path,
                date,
                bytes: length,
                sha256,
                rows,
                min_time: min_time_us,
                max_time: max_time_us,
            };
            Ok((bytes, Uploaded::Change(file)))
        };
        self.start(seq, key, length, "changes", pack).await
    }

    /// The trace of the parts begun since the last call.
    pub(super) fn cut(&self) -> Span {
        self.cut.take()
    }

    /// The UTC day, but never one before the newest partition.
    fn today(&self) -> String {
        let today = layout::day(Timestamp::now());
        let mut date = self.date.lock().unwrap_or_else(PoisonError::into_inner);
        if *date < today {
            *date = today;
        }
        date.clone()
    }

    async fn start(
        &self,
        id: u64,
        key: String,
        pending: u64,
        what: &'static str,
        pack: impl FnOnce() -> std::io::Result<(Bytes, Uploaded)> + Send + 'static,
    ) -> Result<Uploading, Ended> {
        let room = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(Ended),
            room = self.room(pending) => room?,
        };
        self.health.begin(id, pending);
        let (reply, answer) = oneshot::channel();
        let upload = Upload {
            store: Arc::clone(&self.store),
            health: Arc::clone(&self.health),
            cancel: self.cancel.clone(),
            key: key.clone(),
            what,
        };
        let work = async move {
            let result = upload.run(pack).await.inspect_err(span::not_uploaded);
            drop(room);
            // The batch may have been dropped with its committer.
            drop(reply.send(result));
        };
        self.tasks.spawn(work.instrument(self.cut.upload(what)));
        Ok(Uploading { id, key, answer, settled: None })
    }

    /// A place and room for so many bytes.
    async fn room(&self, bytes: u64) -> Result<[OwnedSemaphorePermit; 2], Ended> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| Ended)?;
        let most = u32::try_from(self.most_bytes).unwrap_or(u32::MAX);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(most);
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(bytes);
        Ok([place, bytes.await.map_err(|_| Ended)?])
    }

    /// Deletes parts when their upload has ended, unless the writer is fenced by then.
    pub(super) fn abandon(&self, parts: Vec<Uploading>, ended: watch::Receiver<Option<CommitEnd>>) {
        let store = Arc::clone(&self.store);
        let health = Arc::clone(&self.health);
        let cancel = self.cancel.clone();
        self.tasks.spawn(async move {
            for part in parts {
                let (id, key) = (part.id, part.key.clone());
                let settled = tokio::select! {
                    biased;
                    () = cancel.cancelled() => false,
                    settled = tokio::time::timeout(ABANDON_LIMIT, part.finished()) => settled.is_ok(),
                };
                health.end(&[id]);
                let fenced = matches!(&*ended.borrow(), Some(CommitEnd::Fenced(_)));
                if !settled || fenced {
                    continue;
                }
                if let Err(error) = store.delete(&key).await {
                    tracing::debug!(%error, "abandoned part left to the next sweep");
                }
            }
        });
    }

    pub(super) async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// One part's way into the store.
struct Upload {
    store: Arc<dyn Store>,
    health: Arc<Health>,
    cancel: CancellationToken,
    key: String,
    what: &'static str,
}

impl Upload {
    async fn run(
        self,
        pack: impl FnOnce() -> std::io::Result<(Bytes, Uploaded)> + Send + 'static,
    ) -> Result<Uploaded, StoreError> {
        let failed = |text: String| {
            StoreError::new(StoreClass::Unexpected, format!("compress {}", self.key), text)
        };
        let packed = tokio::task::spawn_blocking(pack).await;
        let (bytes, uploaded) = packed
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(error.to_string()))?;
        crate::failpoint::reach(self.what, "uploading").await;
        let mut backoff = Backoff::default();
        loop {
            let put = self.store.put(&self.key, bytes.clone());
            let result = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(given_up(&self.key)),
                result = put => result,
            };
            match result {
                Ok(()) => break,
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => self.health.failed(&error),
            }
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(given_up(&self.key)),
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
        if backoff.attempt() > 0 {
            self.health.succeeded();
        }
        span::uploaded(bytes.len(), backoff.attempt() + 1);
        crate::failpoint::reach(self.what, "uploaded").await;
        Ok(uploaded)
    }
}
