//! Taking the archive: the epoch is taken in the log, by creating a `claim` entry.
//!
//! - V6 `stream.json` and the claim are the first things written (`a_claim_is_the_first_write`).
//! - A lower epoch found at the claimed number is adopted and the claim is tried at the next number;
//!   a claim of another instance there means that this one lost
//!   (`a_commit_that_slips_in_before_the_claim_is_adopted`, `of_many_claims_at_once_one_wins`).
//! - Whatever the store answers, the claim's bytes for one number never change
//!   (`an_ambiguous_claim_is_mine_or_not_but_never_both`).

use std::sync::Arc;

use bytes::Bytes;
use crds::conditions::Reason;
use crds::position::Flavor;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::entry::{
    Claim, ClaimConfig, Consent, Coverage, Entry, EntryKind, Holder, Point, Stored, TakesOver,
    sha256,
};
use crate::failpoint;
use crate::fold::{MAX_HOLDERS, State};
use crate::layout;
use crate::log::{Body, Log, LogError, Observer, Place, Sent, draft, send};
use crate::open::{OpenError, Opened, parse_stream};
use crate::retry::Backoff;
use crate::store::{Create, StoreError};
use crate::stream_json::StreamJson;

/// What is claimed for.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// Flavor of the source, as its identity check found it.
    pub flavor: Flavor,
    /// What is captured from here on.
    pub config: ClaimConfig,
    /// When the store passed the probe, and by what it fences.
    pub probe: Option<Value>,
    /// Oldest partition of the change log that will be written into, if it is not the newest.
    pub partitions_from: Option<String>,
}

/// The archive is ours.
pub struct Claimed {
    /// The log, to be appended to.
    pub log: Log,
    /// Entries of the holder before that landed after the archive was opened. With any, what was
    /// decided from the state before must be decided again.
    pub adopted: u64,
    /// The log holds the consent to replace whatever the checkpoint says.
    pub replace_checkpoint: bool,
    /// Consents that the claim has used up and recorded.
    pub consents: Vec<Consent>,
}

/// Why the archive is not ours.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClaimError {
    /// The log did not take the claim.
    #[error("claim archive")]
    Log(#[from] LogError),
    /// What is there now is not what was opened.
    #[error("claim archive")]
    Open(#[from] OpenError),
}

impl ClaimError {
    /// The reason that a status shows.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Log(error) => error.reason(),
            Self::Open(error) => error.reason(),
        }
    }
}

impl Opened {
    /// Claims the archive for this instance. The source's identity must have been checked before.
    ///
    /// # Errors
    /// Another instance was faster, or the log cannot be written.
    pub async fn claim(
        self,
        request: ClaimRequest,
        observer: &dyn Observer,
        cancel: &CancellationToken,
    ) -> Result<Claimed, ClaimError> {
        let archive = self.identity(request.flavor, observer, cancel).await?;
        let mut state = self.state.clone();
        let mut adopted = 0;
        loop {
            let body = self.body(state.as_deref(), &request);
            let writer = &self.request.writer;
            let place = match &state {
                Some(state) => Place::after(state, writer),
                None => Place::first(archive, request.flavor, writer),
            };
            let draft = draft(&place, body)?;
            let bytes = match send(&*self.store, &draft, observer, cancel).await? {
                Sent::Mine => {
                    failpoint::reach("claim", "made").await;
                    let replace_checkpoint = self.accepted();
                    let after = Arc::new(draft.after);
                    let log = Log::new(Arc::clone(&self.store), after, writer.clone());
                    let consents = self.consents;
                    return Ok(Claimed { log, adopted, replace_checkpoint, consents });
                }
                Sent::Other(bytes) => bytes,
            };
            let ours = &draft.stored.entry;
            let next = self.adopt(state.as_deref(), request.flavor, ours, &bytes).await?;
            state = Some(Arc::new(next));
            adopted += 1;
        }
    }

    fn accepted(&self) -> bool {
        let accepts = |kind| kind == crate::entry::ConsentKind::AcceptArchive;
        self.consents.iter().any(|consent| accepts(consent.kind))
    }

    /// `stream.json`, made if it does not exist; another owner that was faster wins.
    async fn identity(
        &self,
        flavor: Flavor,
        observer: &dyn Observer,
        cancel: &CancellationToken,
    ) -> Result<Uuid, ClaimError> {
        if let Some(stream) = &self.stream {
            return Ok(stream.archive_id);
        }
        let ours = StreamJson::new(self.request.owner.clone(), flavor);
        let bytes = serde_json::to_vec(&ours).map_err(|e| LogError::Encode(e.to_string()))?;
        let found = self.settle_identity(Bytes::from(bytes), observer, cancel).await?;
        failpoint::reach("claim", "identified").await;
        let at = self.store.describe();
        let stream = parse_stream(&found).map_err(|problem| OpenError::Identity { at, problem })?;
        if stream.owner != self.request.owner {
            let archive = stream.archive_id.to_string();
            return Err(OpenError::OwnedElsewhere { owner: stream.owner, archive }.into());
        }
        if stream.flavor != flavor {
            return Err(OpenError::Flavor { archived: stream.flavor, found: flavor }.into());
        }
        Ok(stream.archive_id)
    }

    async fn settle_identity(
        &self,
        bytes: Bytes,
        observer: &dyn Observer,
        cancel: &CancellationToken,
    ) -> Result<Bytes, LogError> {
        let mut backoff = Backoff::default();
        loop {
            match self.try_identity(&bytes).await {
                Ok(Some(found)) => {
                    observer.succeeded();
                    return Ok(found);
                }
                Ok(None) => {}
                Err(error) if error.is_fatal() => return Err(error.into()),
                Err(error) => observer.failed(&error),
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(LogError::Cancelled { n: 0 }),
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
    }

    async fn try_identity(&self, bytes: &Bytes) -> Result<Option<Bytes>, StoreError> {
        if self.store.create(layout::STREAM_JSON, bytes.clone()).await? == Create::Made {
            return Ok(Some(bytes.clone()));
        }
        self.store.get(layout::STREAM_JSON).await
    }

    fn body(&self, state: Option<&State>, request: &ClaimRequest) -> Body {
        let instance = self.request.writer.instance.clone();
        let epoch = state.map_or(0, |state| state.epoch) + 1;
        let mut holders: Vec<Holder> =
            state.map(|state| state.facts.holders.clone()).unwrap_or_default();
        let takes_over = holders
            .last()
            .map(|holder| TakesOver { epoch: holder.epoch, instance: holder.instance.clone() });
        holders.retain(|holder| holder.instance != instance);
        holders.push(Holder { instance, epoch });
        let surplus = holders.len().saturating_sub(MAX_HOLDERS);
        holders.drain(..surplus);
        let claim = Claim {
            owner: self.request.owner.clone(),
            takes_over,
            holders,
            config: request.config.clone(),
            coverage: coverage(state, &request.config),
            probe: request.probe.clone(),
            partitions_from: request.partitions_from.clone(),
        };
        Body { claim: Some(claim), consents: self.consents.clone(), ..Body::new(EntryKind::Claim) }
    }

    /// What another entry at the claimed number means: the holder's own last word is folded in, a
    /// claim by somebody else is a defeat.
    async fn adopt(
        &self,
        state: Option<&State>,
        flavor: Flavor,
        ours: &Entry,
        bytes: &[u8],
    ) -> Result<State, ClaimError> {
        let n = ours.n;
        let entry = Entry::from_bytes(bytes).map_err(|error| LogError::Conflict {
            n,
            problem: format!("it exists and is no entry: {error}"),
        })?;
        let mine = entry.writer.instance == self.request.writer.instance;
        if entry.epoch >= ours.epoch && !mine {
            let by = Holder { instance: entry.writer.instance, epoch: entry.epoch };
            return Err(LogError::Fenced { n, by }.into());
        }
        // Read again: a long GTID set is filled in from its list.
        let found = crate::log::read_entry(&*self.store, n).await.map_err(OpenError::Read)?;
        let stored = found.unwrap_or_else(|| Stored { entry, digest: sha256(bytes) });
        let next = match state {
            Some(state) => state.apply(&stored),
            None => State::begin(flavor, &stored),
        };
        let next = next.map_err(|error| LogError::Conflict { n, problem: error.to_string() })?;
        match &next.unwritable {
            Some(problem) => Err(LogError::Unwritable(problem.clone()).into()),
            None => Ok(next),
        }
    }
}

/// Sinks that were off and begin here. Raw begins at byte 0 of the file: each file is kept whole.
fn coverage(state: Option<&State>, config: &ClaimConfig) -> Vec<Coverage> {
    let Some(state) = state else { return Vec::new() };
    let Some(at) = state.facts.at.as_ref() else { return Vec::new() };
    let begins = |sink: &str, pos: u64| Coverage {
        sink: sink.to_owned(),
        from: Point::new(&at.lineage, &at.file, pos),
    };
    let mut begun = Vec::new();
    if config.raw && state.facts.raw.is_none() {
        begun.push(begins("raw", 0));
    }
    if config.changes && state.facts.changes.is_none() {
        begun.push(begins("changes", at.pos));
    }
    begun
}
