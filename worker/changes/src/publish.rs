//! The Delta table under `changes/`, published from the log.
//!
//! - The table is the fold of the log up to its `txn` version, and nothing else (V9). Held by
//!   `any_log_published_in_any_slices_is_its_fold`.
//! - Publishing an entry twice changes nothing, whoever does it. Held by
//!   `an_entry_published_twice_is_there_once` and `two_publishers_share_one_table`.
//! - A version is created, never replaced; those of others are skipped over and flagged. Held by
//!   `a_foreign_version_is_skipped_and_flagged`.
//! - Nothing here is needed for durability: after any error the caller tries again later, and a
//!   deleted table is made anew. Held by `a_deleted_table_is_rebuilt_equal`.
//!
//! The caller publishes only entries whose create was acknowledged.

mod action;
mod checkpoint;
mod error;
#[cfg(test)]
mod fault_tests;
mod fold;
#[cfg(test)]
mod fuzz_tests;
mod step_back;
mod table;
#[cfg(test)]
mod test_log;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use archive::log::{read_objects, read_range};
use archive::{Create, Entry, Store};
use uuid::Uuid;

use action::{Line, MetaData, Protocol, Txn};
pub use error::{Class, PublishError};
use fold::Fold;
use table::Table;

/// A version is cut when it has so many file actions.
const MAX_ACTIONS: usize = 250;
/// Entries read from the log at once while catching up.
const READ_ENTRIES: u64 = 64;
/// An empty version is written after so many entries without files, so that a start need not read
/// them again.
const QUIET_ENTRIES: u64 = 1000;
/// Versions of others that one publication gives way to before it is put off.
const MAX_RACES: u32 = 100;

/// Whether other writers may change the published table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForeignWriters {
    /// The table asks for a writer feature that only we know, so others refuse.
    #[default]
    Deny,
    /// A plain table of writer version 2.
    Allow,
}

/// How the table is published.
#[derive(Clone, Debug)]
pub struct PublishSettings {
    /// Whether other writers may change the table.
    pub foreign_writers: ForeignWriters,
    /// A checkpoint is written every so many versions.
    pub checkpoint_interval: u64,
}

impl Default for PublishSettings {
    fn default() -> Self {
        PublishSettings { foreign_writers: ForeignWriters::Deny, checkpoint_interval: 100 }
    }
}

/// Follows the log and writes the Delta table. One task owns it.
pub struct Publisher {
    /// The stream's root.
    store: Arc<dyn Store>,
    archive_id: Uuid,
    /// `archive_id` as the table's application id.
    app: String,
    settings: PublishSettings,
    table: Table,
    /// The last entry known to need no version: published, or without files.
    covered: Option<u64>,
    /// The newest foreign version that was logged.
    warned: Option<u64>,
    /// The table was compared with the log since it was read.
    is_of_log: bool,
}

impl Publisher {
    /// Reads how far the table of the stream rooted at `store` is published; writes nothing.
    pub async fn open(
        store: Arc<dyn Store>,
        archive_id: Uuid,
        settings: PublishSettings,
    ) -> Result<Publisher, PublishError> {
        let mut publisher = Publisher {
            store,
            archive_id,
            app: archive_id.to_string(),
            settings,
            table: Table::default(),
            covered: None,
            warned: None,
            is_of_log: false,
        };
        publisher.reload().await?;
        Ok(publisher)
    }

    /// Number of the entry that [`Publisher::publish`] takes next: 0 for a new or deleted table.
    pub fn next_entry(&self) -> u64 {
        self.covered.map_or(0, |n| n + 1)
    }

    /// Newest version of the table; none when there is no table yet.
    pub fn published(&self) -> Option<u64> {
        self.table.version
    }

    /// The newest version met that somebody else wrote: reason `ForeignTableWriter`.
    pub fn foreign_version(&self) -> Option<u64> {
        self.table.foreign
    }

    /// Publishes what the table lacks of the log up to entry `durable`, whose create was
    /// acknowledged: after a start, after a pause, or from entry 0 when the table was deleted. The first
    /// time, what the log has lost is taken back.
    pub async fn catch_up(&mut self, durable: u64) -> Result<(), PublishError> {
        self.ensure_not_deleted().await?;
        if !self.is_of_log {
            self.step_back().await?;
            self.is_of_log = true;
        }
        while self.next_entry() <= durable {
            let to = durable.min(self.next_entry() + READ_ENTRIES - 1);
            let stored = read_range(self.store.as_ref(), self.next_entry(), to).await?;
            let entries: Vec<Entry> = stored.into_iter().map(|stored| stored.entry).collect();
            self.publish_known(&entries).await?;
        }
        Ok(())
    }

    /// Publishes durable entries, in order and without a hole; those already published are passed
    /// over. After [`PublishError::Hole`], or when the table was deleted, call
    /// [`Publisher::catch_up`].
    pub async fn publish(&mut self, entries: &[Entry]) -> Result<(), PublishError> {
        self.ensure_not_deleted().await?;
        self.publish_known(entries).await
    }

    async fn publish_known(&mut self, entries: &[Entry]) -> Result<(), PublishError> {
        for _ in 0..MAX_RACES {
            let Some(fold) = self.fold(entries).await? else {
                return Ok(());
            };
            let quiet = fold.last - fold.first + 1 + self.quiet_entries();
            if fold.actions() == 0 && self.table.version.is_some() && quiet < QUIET_ENTRIES {
                self.covered = Some(fold.last);
                continue;
            }
            self.write_version(&fold).await?;
        }
        Err(PublishError::Contended(MAX_RACES))
    }

    /// The next entries as one version; none when all are published.
    async fn fold(&self, entries: &[Entry]) -> Result<Option<Fold>, PublishError> {
        let next = self.next_entry();
        let given = entries.iter().filter(|entry| entry.n >= next);
        let mut fold: Option<Fold> = None;
        for (expected, entry) in (next..).zip(given) {
            if entry.n != expected {
                return Err(PublishError::Hole { expected, given: entry.n });
            }
            let objects = read_objects(self.store.as_ref(), entry).await?;
            let fold = fold.get_or_insert_with(|| Fold::new(entry.n));
            fold.take(entry, &objects);
            if fold.actions() >= MAX_ACTIONS {
                break;
            }
        }
        Ok(fold)
    }

    /// Entries passed over since the table's `txn` version.
    fn quiet_entries(&self) -> u64 {
        self.next_entry() - self.published_through().map_or(0, |n| n + 1)
    }

    /// The entry that the table's `txn` names.
    fn published_through(&self) -> Option<u64> {
        let txn = self.table.txns.get(&self.app)?;
        u64::try_from(txn.version).ok()
    }

    /// Tries to create the next version; when somebody else was faster, reads what they wrote.
    async fn write_version(&mut self, fold: &Fold) -> Result<(), PublishError> {
        let version = self.table.next();
        let lines = self.lines(fold);
        let bytes = action::encode(&lines)
            .map_err(|error| PublishError::Broken(format!("encode version {version}: {error}")))?;
        match self.store.create(&table::version_key(version), bytes).await? {
            Create::Made => {
                self.table.apply(version, lines, &self.app);
                self.covered = Some(fold.last);
                self.checkpoint_if_due().await;
                Ok(())
            }
            Create::Exists => {
                self.table.advance(&self.store, &self.app).await?;
                self.settle()
            }
        }
    }

    /// The lines of one version: the same for the same entries and version, whoever writes it.
    fn lines(&self, fold: &Fold) -> Vec<Line> {
        let mut lines =
            vec![Line::commit_info(fold.time_ms, fold.first, fold.last, fold.appends())];
        let protocol = Protocol::ours(self.settings.foreign_writers);
        if self.table.protocol.as_ref() != Some(&protocol) {
            lines.push(Line { protocol: Some(protocol), ..Line::default() });
        }
        if self.table.metadata.is_none() {
            let metadata = MetaData::ours(self.archive_id, fold.time_ms);
            lines.push(Line { meta_data: Some(metadata), ..Line::default() });
        }
        let txn = Txn {
            app_id: self.app.clone(),
            version: fold.last.cast_signed(),
            last_updated: Some(fold.time_ms),
        };
        lines.push(Line { txn: Some(txn), ..Line::default() });
        lines.extend(fold.lines());
        lines
    }

    /// A missing checkpoint only makes readers slower: it is tried again with the next version.
    async fn checkpoint_if_due(&mut self) {
        let since = self.table.next() - self.table.checkpoint.map_or(0, |version| version + 1);
        if since < self.settings.checkpoint_interval {
            return;
        }
        if let Err(error) = self.table.write_checkpoint(&self.store).await {
            tracing::warn!(%error, "delta checkpoint not written, trying again with the next version");
        }
    }

    /// A publisher that goes on after its log was deleted would leave a table without a beginning.
    async fn ensure_not_deleted(&mut self) -> Result<(), PublishError> {
        let Some(version) = self.table.version else {
            return Ok(());
        };
        if self.store.stat(&table::version_key(version)).await?.is_none() {
            tracing::warn!(version, "delta log was deleted, publishing anew from the first entry");
            self.reload().await?;
        }
        Ok(())
    }

    async fn reload(&mut self) -> Result<(), PublishError> {
        (self.covered, self.is_of_log) = (None, false);
        self.table = Table::load(&self.store, &self.app).await?;
        self.settle()
    }

    /// Takes note of what was read: how far the table is, and whether it is still ours.
    fn settle(&mut self) -> Result<(), PublishError> {
        self.covered = self.covered.max(self.published_through());
        if let Some(version) = self.table.foreign.filter(|version| self.warned < Some(*version)) {
            tracing::warn!(version, "another writer changed the published delta table");
            self.warned = Some(version);
        }
        if let Some(metadata) = &self.table.metadata
            && metadata.id != self.app
        {
            return Err(PublishError::ForeignTable(metadata.id.clone()));
        }
        match &self.table.protocol {
            Some(protocol) if !protocol.is_known() => Err(PublishError::ForeignProtocol {
                reader: protocol.min_reader_version,
                writer: protocol.min_writer_version,
            }),
            _ => Ok(()),
        }
    }
}
