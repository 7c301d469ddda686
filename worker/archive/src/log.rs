//! The log: one dense row of entries, each created once, in turn.
//!
//! - V3 For one (epoch, n) exactly one byte string is ever sent. An ambiguous answer is answered by
//!   the same bytes again until the store says "made" or "exists"; "no such key" in between is no
//!   outcome (`an_ambiguous_create_sends_the_same_bytes`, `a_late_create_is_mine` in
//!   `tests/suite/interleavings.rs`).
//! - "Exists" is settled by reading: my own bytes are mine, a higher epoch means that I am fenced,
//!   anything else is a conflict that stops (`a_higher_epoch_at_my_number_fences_me`).
//! - An entry that breaks a rule of the fold is never sent (`a_bad_batch_is_refused_before_it_is_sent`).

mod draft;
mod read;
mod spill;

use std::sync::Arc;

use bytes::Bytes;
use crds::conditions::Reason;
use crds::position::GtidSet;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub(crate) use draft::{Draft, Place, draft};
pub use read::{ReadError, entry as read_entry, objects as read_objects, range as read_range};

use crate::entry::{
    ChangeSpan, Claim, Consent, Entry, EntryKind, GapBody, Holder, LineageBody, Maintain, RawSpan,
    Stored, TableGap, Tail, Writer, XaPart,
};
use crate::fold::{FoldError, State};
use crate::layout;
use crate::retry::Backoff;
use crate::store::{Create, Store, StoreError};

/// What the next entry shall say. Number, epoch, links, position and digests are the log's.
#[derive(Clone, Debug)]
pub struct Body {
    /// What it does.
    pub kind: EntryKind,
    /// Transactions that join the set.
    pub gtid_added: Option<GtidSet>,
    /// The last event before the new position.
    pub tail: Option<Tail>,
    /// Commit time of the last transaction, by the source's clock.
    pub event_time: Option<Timestamp>,
    /// Raw bytes.
    pub raw: Option<RawSpan>,
    /// Row changes.
    pub changes: Option<ChangeSpan>,
    /// Prepared transactions.
    pub xa: Option<XaPart>,
    /// Table gaps.
    pub gaps: Vec<TableGap>,
    /// Body of a claim.
    pub claim: Option<Claim>,
    /// Body of a gap.
    pub gap: Option<GapBody>,
    /// Body of a lineage.
    pub lineage: Option<LineageBody>,
    /// Body of a maintenance step.
    pub maintain: Option<Maintain>,
    /// Consents that it uses up.
    pub consents: Vec<Consent>,
}

impl Body {
    /// An empty body of a kind.
    pub fn new(kind: EntryKind) -> Self {
        Self {
            kind,
            gtid_added: None,
            tail: None,
            event_time: None,
            raw: None,
            changes: None,
            xa: None,
            gaps: Vec::new(),
            claim: None,
            gap: None,
            lineage: None,
            maintain: None,
            consents: Vec::new(),
        }
    }

    /// A gap, or a decision about one. `missing` joins the GTID set when it is passed.
    pub fn gap(gap: GapBody, missing: Option<GtidSet>, consents: Vec<Consent>) -> Self {
        Self { gap: Some(gap), gtid_added: missing, consents, ..Self::new(EntryKind::Gap) }
    }

    /// The start of a stint.
    pub fn lineage(lineage: LineageBody) -> Self {
        let consents = lineage.consent.iter().cloned().collect();
        Self { lineage: Some(lineage), consents, ..Self::new(EntryKind::Lineage) }
    }

    /// A maintenance step.
    pub fn maintain(maintain: Maintain) -> Self {
        Self { maintain: Some(maintain), ..Self::new(EntryKind::Maintain) }
    }
}

/// Why an entry was not appended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// Another writer claimed. Nothing may be written or deleted any more.
    #[error(
        "append log entry {n}: instance {} holds the archive since epoch {}; this one is fenced",
        by.instance, by.epoch
    )]
    Fenced {
        /// Number of the entry.
        n: u64,
        /// Who holds it.
        by: Holder,
    },
    /// The number is taken by bytes that nobody should have written.
    #[error("append log entry {n}: {problem}; keep a copy of the archive and report it")]
    Conflict {
        /// Number of the entry.
        n: u64,
        /// What was found.
        problem: String,
    },
    /// The entry breaks a rule and was not sent.
    #[error("append log entry: the entry was not sent")]
    Refused(#[from] FoldError),
    /// The entry is larger than any reader takes. It was not sent.
    #[error("append log entry {n}: {bytes} bytes, the limit is {}", crate::entry::MAX_ENTRY_BYTES)]
    TooLarge {
        /// Number of the entry.
        n: u64,
        /// Its size.
        bytes: usize,
    },
    /// A newer version wrote the log.
    #[error("append log entry: {0}")]
    Unwritable(String),
    /// The store failed in a way that trying again on the same file cannot mend.
    #[error("append log entry")]
    Store(#[from] StoreError),
    /// Given up on request. Whether the entry exists is not known.
    #[error("append log entry {n}: cancelled before its outcome was known")]
    Cancelled {
        /// Number of the entry.
        n: u64,
    },
    /// An entry could not be turned into JSON, or a list could not be packed.
    #[error("append log entry: {0}")]
    Encode(String),
}

impl LogError {
    /// The reason that a status shows.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Fenced { .. } => Reason::Fenced,
            Self::Conflict { .. } => Reason::LogConflict,
            Self::Unwritable(_) => Reason::FormatUnsupported,
            Self::Store(error) => error.reason(),
            Self::Cancelled { .. } => Reason::Draining,
            Self::Refused(_) | Self::TooLarge { .. } | Self::Encode(_) => Reason::InternalError,
        }
    }
}

/// An entry that is durable, and the state after it.
#[derive(Clone, Debug)]
pub struct Appended {
    /// The entry.
    pub stored: Arc<Stored>,
    /// The log folded up to it.
    pub state: Arc<State>,
}

/// Told of every failed try, so that a status can show what the log waits for.
pub trait Observer: Send + Sync {
    /// A try failed and comes again.
    fn failed(&self, error: &StoreError);
    /// A try succeeded.
    fn succeeded(&self);
}

/// Nobody looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn failed(&self, _error: &StoreError) {}
    fn succeeded(&self) {}
}

/// The log of which this process holds the newest claim.
pub struct Log {
    store: Arc<dyn Store>,
    state: Arc<State>,
    writer: Writer,
    /// An entry was sent whose outcome is not known; nothing else may be sent.
    unresolved: bool,
}

impl Log {
    pub(crate) fn new(store: Arc<dyn Store>, state: Arc<State>, writer: Writer) -> Self {
        Self { store, state, writer, unresolved: false }
    }

    /// The log folded up to its newest entry.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// The stream's root.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Own epoch.
    pub fn epoch(&self) -> u64 {
        self.state.epoch
    }

    /// Own instance id.
    pub fn instance(&self) -> &str {
        &self.writer.instance
    }

    /// Appends one entry; returns when it is durable. Waits for the store as long as it takes, until
    /// `cancel`.
    ///
    /// # Errors
    /// Fenced, in conflict, refused before it was sent, or cancelled. After any of them but a
    /// refusal the log takes no further entry.
    pub async fn append(
        &mut self,
        body: Body,
        observer: &dyn Observer,
        cancel: &CancellationToken,
    ) -> Result<Appended, LogError> {
        let n = self.state.n + 1;
        if self.unresolved {
            return Err(LogError::Cancelled { n });
        }
        let draft = draft(&Place::after(&self.state, &self.writer), body)?;
        self.unresolved = true;
        let sent = send(&*self.store, &draft, observer, cancel).await?;
        match sent {
            Sent::Mine => {}
            Sent::Other(bytes) => return Err(verdict(n, draft.after.epoch, &bytes)),
        }
        self.unresolved = false;
        crate::failpoint::reach("commit", "sent").await;
        self.state = Arc::new(draft.after);
        Ok(Appended { stored: Arc::new(draft.stored), state: Arc::clone(&self.state) })
    }

    /// A handle that can look for a higher claim at any time.
    pub fn fence(&self) -> Fence {
        Fence { store: Arc::clone(&self.store), epoch: self.epoch() }
    }
}

/// How a create ended for certain.
pub(crate) enum Sent {
    /// The entry is ours.
    Mine,
    /// The number holds these other bytes.
    Other(Bytes),
}

/// Creates the drafted entry, the same bytes each time, until the outcome is certain.
pub(crate) async fn send(
    store: &dyn Store,
    draft: &Draft,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Sent, LogError> {
    let n = draft.stored.entry.n;
    let mut backoff = Backoff::default();
    loop {
        let attempt = attempt(store, draft);
        let outcome = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(LogError::Cancelled { n }),
            outcome = attempt => outcome,
        };
        match outcome {
            Ok(Some(sent)) => {
                observer.succeeded();
                return Ok(sent);
            }
            // It exists, and then it did not: the store contradicts itself. Ask again.
            Ok(None) => tracing::warn!(n, "log entry exists and cannot be read"),
            Err(error) if error.is_fatal() => return Err(error.into()),
            Err(error) => observer.failed(&error),
        }
        let wait = backoff.next_wait();
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(LogError::Cancelled { n }),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn attempt(store: &dyn Store, draft: &Draft) -> Result<Option<Sent>, StoreError> {
    for (key, bytes) in &draft.lists {
        store.put(key, bytes.clone()).await?;
    }
    let key = layout::entry(draft.stored.entry.n);
    if store.create(&key, draft.bytes.clone()).await? == Create::Made {
        return Ok(Some(Sent::Mine));
    }
    let found = store.get(&key).await?;
    Ok(found.map(|bytes| if bytes == draft.bytes { Sent::Mine } else { Sent::Other(bytes) }))
}

/// What other bytes at our number mean for a writer of `epoch`.
fn verdict(n: u64, epoch: u64, bytes: &[u8]) -> LogError {
    match Entry::from_bytes(bytes) {
        Ok(entry) if entry.epoch > epoch => {
            let by = Holder { instance: entry.writer.instance, epoch: entry.epoch };
            LogError::Fenced { n, by }
        }
        Ok(entry) => {
            let problem = format!(
                "it exists with other bytes, epoch {} of instance {}; this writer's epoch is {epoch}",
                entry.epoch, entry.writer.instance
            );
            LogError::Conflict { n, problem }
        }
        Err(error) => {
            LogError::Conflict { n, problem: format!("it exists and is no entry: {error}") }
        }
    }
}

/// Looks whether another writer claimed.
#[derive(Clone)]
pub struct Fence {
    store: Arc<dyn Store>,
    epoch: u64,
}

impl Fence {
    /// Looks at the entry after `n`: found with a higher epoch means fenced. To be asked before each
    /// connect to the source and every 30 s when idle; no answer for 60 s means no reconnect.
    ///
    /// # Errors
    /// The store gave no answer.
    pub async fn check(&self, n: u64) -> Result<Option<Holder>, StoreError> {
        let Some(bytes) = self.store.get(&layout::entry(n + 1)).await? else {
            return Ok(None);
        };
        let entry = Entry::from_bytes(&bytes).ok().filter(|entry| entry.epoch > self.epoch);
        Ok(entry.map(|entry| Holder { instance: entry.writer.instance, epoch: entry.epoch }))
    }
}
