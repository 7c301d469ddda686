//! Checkpoint stores. A checkpoint is a hint for a fast start and a tripwire, nothing more.
//!
//! - V8 A checkpoint only repeats a fact of the log, its `n` rising: a record is made from a durable
//!   entry, and a store replaces one only if `new.n > stored.n` and the archive is the same
//!   (`a_zombie_cannot_take_a_checkpoint_back`). The one exception is a replacement to which the log
//!   holds a consent.
//! - A store that is down stops nothing: the archive goes on (`the_archive_goes_on_without_its_checkpoint`).

pub mod config_map;
pub mod file;
mod keeper;
pub mod stream_state;

use std::sync::Arc;

use async_trait::async_trait;
pub use crds::checkpoint::Checkpoint;
use crds::checkpoint::{CHECKPOINT_FORMAT, CheckpointGtid, MAX_INLINE_GTID_SET};
use crds::conditions::Reason;
use crds::position::FilePosition;
use jiff::Timestamp;

pub use config_map::ConfigMapStore;
pub use file::FileStore;
pub use keeper::{Keeper, KeeperSettings, KeeperStatus};
pub use stream_state::{Sql, SqlError, SqlValue, StreamStateStore};

use crate::fold::{State, gtid_digest};

/// What a store holds.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one value per start, never a collection")]
pub enum Loaded {
    /// A whole record.
    Found(Checkpoint),
    /// Nothing yet.
    Absent,
    /// Something that is no whole record: torn, edited, of another version.
    Bad(String),
}

/// How a save ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// The record is stored.
    Stored,
    /// The store holds a record that is as new or newer, or of another archive; nothing was written.
    Stale(String),
}

/// What may be replaced by a save.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replace {
    /// Only an older record of the same archive, nothing, or what is no record.
    #[default]
    Older,
    /// Anything: the log holds the consent to it.
    Consented,
}

/// Why a checkpoint was not loaded or saved. Names the store and what mends it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{action}: {message}")]
pub struct CheckpointStoreError {
    /// The reason that a status shows.
    pub reason: Reason,
    /// What was being done, and where.
    pub action: String,
    /// What came back, and what mends it.
    pub message: String,
}

impl CheckpointStoreError {
    /// An error from its parts.
    pub fn new(reason: Reason, action: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, action: action.into(), message: message.into() }
    }
}

/// One place for one stream's checkpoint.
#[async_trait]
pub trait CheckpointStore: Send + Sync + 'static {
    /// What is stored.
    async fn load(&self) -> Result<Loaded, CheckpointStoreError>;

    /// Stores a record by compare and swap.
    async fn save(
        &self,
        record: &Checkpoint,
        replace: Replace,
    ) -> Result<Saved, CheckpointStoreError>;

    /// Where it is, for people.
    fn describe(&self) -> String;
}

/// What a record says beside the log's facts.
#[derive(Clone, Debug, Default)]
pub struct RecordContext {
    /// Server id of the source.
    pub source_server_id: u32,
    /// Own server id, as a replica.
    pub own_server_id: Option<u32>,
    /// Tables of the filter, as in the specification.
    pub tables: Vec<String>,
}

/// The record that repeats the newest entry; `None` before there is a position.
pub fn record(state: &State, context: &RecordContext) -> Option<Checkpoint> {
    let at = state.facts.at.as_ref()?;
    let position = FilePosition::new(at.file.clone(), at.pos);
    let text = state.gtid.to_string();
    let set = (text.len() <= MAX_INLINE_GTID_SET).then_some(text);
    Some(Checkpoint {
        format: CHECKPOINT_FORMAT,
        kind: "STREAM".to_owned(),
        streams: Checkpoint::stream_items(&position, context.source_server_id, &context.tables),
        archive: state.archive,
        n: state.n,
        digest: state.digest.clone(),
        epoch: state.epoch,
        lineage: at.lineage.clone(),
        file: at.file.clone(),
        pos: at.pos,
        gtid: CheckpointGtid { set, digest: gtid_digest(&state.gtid) },
        tail: at.tail.clone(),
        event_time: at.event_time,
        saved_at: Timestamp::now(),
        own_server_id: context.own_server_id,
        crc32c: String::new(),
    })
}

/// What a save of `new` over `stored` comes to without another look; `None`: it may be written.
pub(crate) fn settled(stored: &Loaded, new: &Checkpoint, replace: Replace) -> Option<Saved> {
    let Loaded::Found(old) = stored else {
        return None;
    };
    // Written before, and the reply was lost.
    if (old.archive, old.n, &old.digest) == (new.archive, new.n, &new.digest) {
        return Some(Saved::Stored);
    }
    if replace == Replace::Consented {
        return None;
    }
    if old.archive != new.archive {
        let (old, new) = (old.archive, new.archive);
        return Some(Saved::Stale(format!("it is of archive {old}, this one is {new}")));
    }
    (old.n >= new.n)
        .then(|| Saved::Stale(format!("it is at entry {}, this one at {}", old.n, new.n)))
}

/// Reads a record's text as a store holds it.
pub(crate) fn read(text: &str) -> Loaded {
    match Checkpoint::from_json(text) {
        Ok(record) => Loaded::Found(record),
        Err(error) => Loaded::Bad(error.to_string()),
    }
}

/// A store that is shared by its tasks.
pub type SharedStore = Arc<dyn CheckpointStore>;
