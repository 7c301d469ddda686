//! Reading an archive before anything is written: whose it is, where it ends, what it means.
//!
//! - V6 Nothing is written here but probe keys (`opening_writes_nothing`).
//! - Only a definite "no such key" is absence; a refusal or a time-out is an error to come back from
//!   (`a_refusal_is_never_a_new_archive`).
//! - The checkpoint is compared with the log: behind is normal, absent or torn is rebuilt, ahead or
//!   different stops until somebody consents (`a_checkpoint_ahead_of_the_log_stops`,
//!   `a_checkpoint_of_another_archive_stops`, `an_emptied_archive_stops`).
//! - An instance that was superseded comes back only to an archive that is silent for 15 minutes by
//!   the store's clock (`a_superseded_instance_waits_for_fifteen_silent_minutes`).

mod error;
mod head;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use crds::position::Flavor;

pub use error::OpenError;
pub(crate) use head::HeadHint;
pub use verdict::CheckpointVerdict;

use crate::checkpoint::Loaded;
use crate::entry::{Consent, Holder, Stored, Writer};
use crate::fold::State;
use crate::layout;
use crate::store::{Store, StoreError};
use crate::stream_json::{Owner, STREAM_FORMAT, StreamJson};

/// How long an archive must be silent before a superseded instance claims again.
pub const SILENCE: Duration = Duration::from_mins(15);

/// Who opens an archive, and what was consented to.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// Who the stream is.
    pub owner: Owner,
    /// Instance id and program version.
    pub writer: Writer,
    /// Flavor of the source, where the specification or the source told it. An existing archive's
    /// own flavor is used when it is not known yet.
    pub flavor: Option<Flavor>,
    /// This instance was fenced before and left a marker.
    pub fenced_before: bool,
    /// `adopt-archive`: id of an archive of another owner that may be taken over.
    pub adopt_archive: Option<String>,
    /// `accept-archive`: `<archiveId>@<n>`, or `new@0` for an archive that is gone.
    pub accept_archive: Option<String>,
    /// Who gave the consents: `annotation`, `config`.
    pub consents_by: String,
}

/// An archive as it was found.
pub struct Opened {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) request: OpenRequest,
    pub(crate) stream: Option<StreamJson>,
    pub(crate) state: Option<Arc<State>>,
    pub(crate) consents: Vec<Consent>,
    /// What the checkpoint was worth.
    pub checkpoint: CheckpointVerdict,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head = self.state.as_ref().map(|state| state.n);
        f.debug_struct("Opened")
            .field("at", &self.store.describe())
            .field("head", &head)
            .finish_non_exhaustive()
    }
}

impl Opened {
    /// Whether there is no archive yet.
    pub fn is_new(&self) -> bool {
        self.state.is_none()
    }

    /// The log folded up to its newest entry; `None` for a new archive.
    pub fn state(&self) -> Option<&Arc<State>> {
        self.state.as_ref()
    }

    /// Another instance that held the archive last and may be alive: it wrote so long ago. `None`: this instance
    /// held it itself, or the archive has been silent for [`SILENCE`].
    ///
    /// # Errors
    /// The store gave no answer.
    pub async fn held_by_another(&self) -> Result<Option<(Holder, Duration)>, OpenError> {
        let Some(state) = &self.state else { return Ok(None) };
        let me = self.request.writer.instance.as_str();
        let Some(holder) = state.facts.holders.last().filter(|holder| holder.instance != me) else {
            return Ok(None);
        };
        let age = self.age(state).await?;
        Ok((age < SILENCE).then(|| (holder.clone(), age)))
    }

    /// Id and first owner of the archive; `None` if `stream.json` does not exist yet.
    pub fn stream(&self) -> Option<&StreamJson> {
        self.stream.as_ref()
    }
}

/// Reads the archive at the stream's root. Writes nothing.
///
/// # Errors
/// [`OpenError::is_transient`] says whether coming back may help without anybody's change.
pub async fn open(
    store: Arc<dyn Store>,
    checkpoint: &Loaded,
    request: OpenRequest,
) -> Result<Opened, OpenError> {
    let stream = stream_json(&*store, &request).await?;
    let hint = match checkpoint {
        Loaded::Found(record) => Some(record.n),
        Loaded::Absent | Loaded::Bad(_) => None,
    };
    let flavor = stream.as_ref().map(|stream| stream.flavor);
    let walked = head::find(&*store, hint).await?;
    let state = match (walked, flavor) {
        (None, _) => None,
        (Some(_), None) => return Err(OpenError::NoIdentity { at: store.describe() }),
        (Some(walked), Some(flavor)) => Some(head::fold(&*store, flavor, walked).await?),
    };
    let mut opened = Opened {
        checkpoint: CheckpointVerdict::Absent,
        consents: Vec::new(),
        state: state.map(Arc::new),
        stream,
        request,
        store,
    };
    opened.check_identity()?;
    opened.check_owner()?;
    opened.checkpoint = verdict::compare(&mut opened, checkpoint).await?;
    opened.check_superseded().await?;
    opened.check_newest_objects().await?;
    if let Some(state) = &opened.state {
        let directory = layout::entry_directory(state.n);
        opened.store.settle(&directory).await.map_err(OpenError::Store)?;
    }
    Ok(opened)
}

async fn stream_json(
    store: &dyn Store,
    request: &OpenRequest,
) -> Result<Option<StreamJson>, OpenError> {
    let Some(bytes) = store.get(layout::STREAM_JSON).await? else {
        return Ok(None);
    };
    let at = || format!("{}/{}", store.describe(), layout::STREAM_JSON);
    let stream =
        parse_stream(&bytes).map_err(|problem| OpenError::Identity { at: at(), problem })?;
    match request.flavor {
        Some(flavor) if flavor != stream.flavor => {
            Err(OpenError::Flavor { archived: stream.flavor, found: flavor })
        }
        _ => Ok(Some(stream)),
    }
}

/// Reads `stream.json`; the text says why it cannot be used.
pub(crate) fn parse_stream(bytes: &[u8]) -> Result<StreamJson, String> {
    let stream: StreamJson =
        serde_json::from_slice(bytes).map_err(|error| format!("it is not readable: {error}"))?;
    if stream.format != STREAM_FORMAT {
        let found = stream.format;
        return Err(format!("its format is {found}, this program reads {STREAM_FORMAT}"));
    }
    Ok(stream)
}

impl Opened {
    fn check_identity(&self) -> Result<(), OpenError> {
        let (Some(stream), Some(state)) = (&self.stream, &self.state) else {
            return Ok(());
        };
        if let Some(problem) = &state.unwritable {
            return Err(OpenError::Newer { problem: problem.clone() });
        }
        if stream.archive_id != state.archive {
            return Err(OpenError::Identity {
                at: self.store.describe(),
                problem: format!(
                    "stream.json is of archive {}, the log of {}",
                    stream.archive_id, state.archive
                ),
            });
        }
        Ok(())
    }

    /// The last claim's owner counts; another one needs the archive's id as consent.
    fn check_owner(&mut self) -> Result<(), OpenError> {
        let Some(stream) = &self.stream else { return Ok(()) };
        let owner = self.state.as_ref().map_or(&stream.owner, |state| &state.facts.owner);
        if *owner == self.request.owner {
            return Ok(());
        }
        let id = stream.archive_id.to_string();
        if self.request.adopt_archive.as_deref() != Some(id.as_str()) {
            return Err(OpenError::OwnedElsewhere { owner: owner.clone(), archive: id });
        }
        self.consents.push(Consent {
            kind: crate::entry::ConsentKind::AdoptArchive,
            value: id,
            by: self.request.consents_by.clone(),
        });
        Ok(())
    }

    /// Flaw 7: two live workers must not swap for ever.
    async fn check_superseded(&self) -> Result<(), OpenError> {
        let Some(state) = &self.state else { return Ok(()) };
        let me = self.request.writer.instance.as_str();
        if state.holder() == Some(me) {
            return Ok(());
        }
        let held = state.facts.holders.iter().any(|holder| holder.instance == me);
        if !held && !self.request.fenced_before {
            return Ok(());
        }
        let age = self.age(state).await?;
        if age >= SILENCE {
            return Ok(());
        }
        let Some(by) = state.facts.holders.last().cloned() else { return Ok(()) };
        Err(OpenError::Superseded { by, age })
    }

    /// How long the archive has been silent, by the store's own clock.
    async fn age(&self, state: &State) -> Result<Duration, StoreError> {
        let newest = self.store.stat(&layout::entry(state.n)).await?;
        let hint = self.store.stat(layout::HEAD_HINT).await?;
        Ok(newest.iter().chain(&hint).map(|stat| stat.age).min().unwrap_or_default())
    }

    /// What the newest entry names exists: its create came after theirs.
    async fn check_newest_objects(&self) -> Result<(), OpenError> {
        let Some(state) = &self.state else { return Ok(()) };
        let found = crate::log::read_entry(&*self.store, state.n).await?;
        let Some(Stored { entry, .. }) = found else {
            return Err(
                crate::log::ReadError::damaged(state.n, "it vanished while it was read").into()
            );
        };
        head::check_objects(&*self.store, &entry).await
    }
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
