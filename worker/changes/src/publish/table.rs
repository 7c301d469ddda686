//! What the Delta log says: read once at the start, then forward, version by version.
//!
//! - Versions are dense; the newest is the one before the first that does not exist.
//! - What changed since the newest checkpoint is kept, so the next one needs no second reading. It
//!   is bounded by the checkpoint interval times the actions of a version.

use std::collections::BTreeMap;
use std::sync::Arc;

use archive::Store;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::PublishError;
use super::action::{Add, Line, MetaData, Protocol, Txn, decode};
use super::checkpoint;

/// Versions are signed in Delta: one that is larger is none, and counting on from it would overflow.
const MAX_VERSION: u64 = i64::MAX as u64;

/// Folder of the Delta log under the stream's root.
pub(super) const LOG: &str = "changes/_delta_log/";
/// The hint at the newest checkpoint.
pub(super) const LAST_CHECKPOINT: &str = "changes/_delta_log/_last_checkpoint";

pub(super) fn version_key(version: u64) -> String {
    format!("{LOG}{version:020}.json")
}

pub(super) fn checkpoint_key(version: u64) -> String {
    format!("{LOG}{version:020}.checkpoint.parquet")
}

/// Content of `_last_checkpoint`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LastCheckpoint {
    pub(super) version: u64,
    /// Actions in the checkpoint.
    pub(super) size: u64,
    /// Files of a checkpoint in parts; we neither write nor read such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) parts: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) size_in_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) num_of_add_files: Option<u64>,
}

/// The table as of its newest version that was read.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Newest version; none when there is no table.
    pub(super) version: Option<u64>,
    pub(super) protocol: Option<Protocol>,
    pub(super) metadata: Option<MetaData>,
    /// By application.
    pub(super) txns: BTreeMap<String, Txn>,
    /// Version of the newest known checkpoint.
    pub(super) checkpoint: Option<u64>,
    /// By path, what is different since that checkpoint: a file, or its removal.
    pub(super) since: BTreeMap<String, Option<Add>>,
    /// The newest version met that does not name our application.
    pub(super) foreign: Option<u64>,
}

impl Table {
    /// Reads the table from its newest checkpoint on; an empty table if there is none.
    pub(super) async fn load(store: &Arc<dyn Store>, app: &str) -> Result<Table, PublishError> {
        let mut table = Table::default();
        if let Some((version, heads)) = newest_checkpoint(store).await? {
            table.version = Some(version);
            table.checkpoint = Some(version);
            table.protocol = heads.protocol;
            table.metadata = heads.metadata;
            table.txns = heads.txns;
        }
        table.advance(store, app).await?;
        if table.version.is_none() && !store.list(LOG).await?.is_empty() {
            return Err(PublishError::Broken("version 0 and every checkpoint are missing".into()));
        }
        Ok(table)
    }

    /// Number of the version after the newest one.
    pub(super) fn next(&self) -> u64 {
        self.version.map_or(0, |version| version + 1)
    }

    /// Reads versions forward until there is none; returns how many there were.
    pub(super) async fn advance(
        &mut self,
        store: &Arc<dyn Store>,
        app: &str,
    ) -> Result<u64, PublishError> {
        let mut read = 0;
        while let Some(bytes) = store.get(&version_key(self.next())).await? {
            let version = self.next();
            let lines = decode(&bytes).map_err(|error| {
                PublishError::Broken(format!("version {version} is not a delta log file: {error}"))
            })?;
            self.apply(version, lines, app);
            read += 1;
        }
        Ok(read)
    }

    /// Takes the lines of the next version.
    pub(super) fn apply(&mut self, version: u64, lines: Vec<Line>, app: &str) {
        let mut ours = false;
        for line in lines {
            let Line { commit_info: _, protocol, meta_data, txn, add, remove } = line;
            if let Some(protocol) = protocol {
                self.protocol = Some(protocol);
            }
            if let Some(metadata) = meta_data {
                self.metadata = Some(metadata);
            }
            if let Some(txn) = txn {
                ours |= txn.app_id == app;
                self.txns.insert(txn.app_id.clone(), txn);
            }
            if let Some(remove) = remove {
                self.since.insert(remove.path, None);
            }
            if let Some(add) = add {
                self.since.insert(add.path.clone(), Some(add));
            }
        }
        self.version = Some(version);
        if !ours {
            self.foreign = Some(version);
        }
    }

    /// Writes the checkpoint of the newest version and the hint to it.
    pub(super) async fn write_checkpoint(
        &mut self,
        store: &Arc<dyn Store>,
    ) -> Result<(), PublishError> {
        let (Some(version), Some(protocol), Some(metadata)) =
            (self.version, self.protocol.clone(), self.metadata.clone())
        else {
            return Ok(());
        };
        let older = match self.checkpoint {
            None => None,
            Some(older) => Some(read_checkpoint(store, older).await?.ok_or_else(|| {
                PublishError::Broken(format!("the checkpoint of version {older} is missing"))
            })?),
        };
        let heads = checkpoint::Heads {
            protocol: Some(protocol),
            metadata: Some(metadata),
            txns: self.txns.clone(),
        };
        let since = std::mem::take(&mut self.since);
        // Tens of thousands of files take a second of CPU.
        let (since, written) = tokio::task::spawn_blocking(move || {
            let written = checkpoint::write(older, &since, &heads);
            (since, written)
        })
        .await
        .map_err(|error| PublishError::Checkpoint(error.to_string()))?;
        self.since = since;
        let written = written?;
        let hint = LastCheckpoint {
            version,
            size: written.actions,
            parts: None,
            size_in_bytes: Some(written.bytes.len() as u64),
            num_of_add_files: Some(written.files),
        };
        let hint = serde_json::to_vec(&hint)
            .map_err(|error| PublishError::Checkpoint(error.to_string()))?;
        store.put(&checkpoint_key(version), written.bytes).await?;
        store.put(LAST_CHECKPOINT, hint.into()).await?;
        self.checkpoint = Some(version);
        self.since.clear();
        Ok(())
    }
}

/// The newest checkpoint that can be read: by the hint, else by listing.
async fn newest_checkpoint(
    store: &Arc<dyn Store>,
) -> Result<Option<(u64, checkpoint::Heads)>, PublishError> {
    let hint = store.get(LAST_CHECKPOINT).await?;
    let hint = hint.and_then(|bytes| serde_json::from_slice::<LastCheckpoint>(&bytes).ok());
    if let Some(hint) = hint.filter(|hint| hint.parts.is_none() && hint.version < MAX_VERSION)
        && let Some(heads) = read_heads(store, hint.version).await?
    {
        return Ok(Some((hint.version, heads)));
    }
    let mut versions: Vec<u64> = store
        .list(LOG)
        .await?
        .iter()
        .filter_map(|meta| meta.key.strip_prefix(LOG)?.strip_suffix(".checkpoint.parquet"))
        .filter_map(|digits| digits.parse().ok())
        .filter(|version| *version < MAX_VERSION)
        .collect();
    versions.sort_unstable();
    for version in versions.into_iter().rev() {
        if let Some(heads) = read_heads(store, version).await? {
            return Ok(Some((version, heads)));
        }
    }
    Ok(None)
}

/// The small actions of a checkpoint; none if it is missing or unreadable.
async fn read_heads(
    store: &Arc<dyn Store>,
    version: u64,
) -> Result<Option<checkpoint::Heads>, PublishError> {
    let Some(bytes) = read_checkpoint(store, version).await? else {
        return Ok(None);
    };
    match checkpoint::read_heads(&bytes) {
        Ok(heads) => Ok(Some(heads)),
        Err(error) => {
            tracing::warn!(%error, version, "delta checkpoint cannot be read, looking for an older one");
            Ok(None)
        }
    }
}

async fn read_checkpoint(
    store: &Arc<dyn Store>,
    version: u64,
) -> Result<Option<Bytes>, PublishError> {
    Ok(store.get(&checkpoint_key(version)).await?)
}
