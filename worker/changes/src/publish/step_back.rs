//! A table that is ahead of its log: the archive was restored to an older state, or its newest entries were
//! lost, and somebody consented to go on. What was published from entries that are gone is taken back, so
//! that the table is the fold of the log again (V9). Held by `what_the_log_lost_is_taken_back` and, on a real
//! archive, by `a_lost_newest_entry_is_read_again_after_consent` in `e2e/tests/distrust.rs`.
//!
//! An entry is told from another one of its number by its time, which the table's `txn` repeats.

use std::collections::BTreeMap;

use archive::Create;
use archive::log::read_entry;

use super::action::{self, Line, Remove, Txn};
use super::table::version_key;
use super::{PublishError, Publisher};

/// What has to go, and where the table then stands.
#[derive(Default)]
struct Lost {
    /// By path.
    removes: BTreeMap<String, Remove>,
    /// Newest version whose entries the log still has.
    kept: Option<Txn>,
}

impl Publisher {
    /// Takes back what was published from entries that the log no longer has. Mostly there is nothing, and it
    /// is one read.
    pub(super) async fn step_back(&mut self) -> Result<(), PublishError> {
        let Some(newest) = self.table.txns.get(&self.app).cloned() else { return Ok(()) };
        if self.is_in_log(&newest).await? {
            return Ok(());
        }
        let Lost { removes, kept } = self.lost().await?;
        let time = newest.last_updated.unwrap_or_default();
        let version = self.table.next();
        let from = kept.as_ref().map_or(-1, |txn| txn.version);
        let entries = |n: i64| u64::try_from(n).unwrap_or_default();
        tracing::warn!(
            version,
            published = newest.version,
            kept = from,
            files = removes.len(),
            "the log lost entries that were published, they are taken back from the change table"
        );
        let txn = kept.unwrap_or(Txn { app_id: self.app.clone(), version: -1, last_updated: None });
        let mut lines = vec![
            Line::commit_info(time, entries(from + 1), entries(newest.version), false),
            Line { txn: Some(txn), ..Line::default() },
        ];
        let removes = removes.into_values();
        lines.extend(removes.map(|remove| Line { remove: Some(remove), ..Line::default() }));
        let bytes = action::encode(&lines)
            .map_err(|error| PublishError::Broken(format!("encode version {version}: {error}")))?;
        match self.store.create(&version_key(version), bytes).await? {
            Create::Made => {
                self.table.apply(version, lines, &self.app);
                self.covered = self.published_through();
                Ok(())
            }
            // Somebody else wrote meanwhile: look again.
            Create::Exists => {
                self.reload().await?;
                Err(PublishError::Contended(1))
            }
        }
    }

    async fn is_in_log(&self, txn: &Txn) -> Result<bool, PublishError> {
        let Ok(n) = u64::try_from(txn.version) else { return Ok(true) };
        let stored = read_entry(self.store.as_ref(), n).await?;
        Ok(stored.is_some_and(|stored| {
            txn.last_updated.is_none_or(|time| time == stored.entry.time.as_millisecond())
        }))
    }

    /// Reads versions back to the newest one that the log still has.
    async fn lost(&self) -> Result<Lost, PublishError> {
        let mut lost = Lost::default();
        for version in (0..self.table.next()).rev() {
            let missing = || PublishError::Broken(format!("version {version} is missing"));
            let bytes = self.store.get(&version_key(version)).await?.ok_or_else(missing)?;
            let lines = action::decode(&bytes)
                .map_err(|error| PublishError::Broken(format!("version {version}: {error}")))?;
            let ours = lines
                .iter()
                .find_map(|line| line.txn.as_ref().filter(|txn| txn.app_id == self.app));
            let Some(txn) = ours else { continue };
            if self.is_in_log(txn).await? {
                lost.kept = Some(txn.clone());
                break;
            }
            let time = txn.last_updated;
            for line in lines {
                if line.remove.is_some() {
                    let problem =
                        format!("version {version} removed files by entries that the log lost");
                    return Err(PublishError::Broken(problem));
                }
                let Some(add) = line.add else { continue };
                let remove = Remove {
                    path: add.path.clone(),
                    deletion_timestamp: time,
                    data_change: true,
                    extended_file_metadata: None,
                    partition_values: None,
                    size: None,
                };
                lost.removes.insert(add.path, remove);
            }
        }
        Ok(lost)
    }
}
