//! Definitions that the source was asked for, kept in the archive: which table map lacks what, and from where on.
//!
//! A record says that from one position on a table is described so, or that a statement ended that. Records are
//! stored before the entry that holds their positions, each writer's in a folder of its own,
//! `names/<lineage>/<epoch>/`, which begins with all that it believes. What a table map was found to mean stays true;
//! that nothing changed since is known only to who followed the binlog from there. So a writer believes its
//! predecessor alone, up to where it takes over, and nobody believes what a dead or fenced writer stored beyond.
//!
//! Invariants
//! - What is known at a position is what the last proven record before it says
//!   (`what_is_known_at_a_position_is_the_last_proven_word_before_it`).
//! - A statement that was followed leaves the columns as it made them, without a description until the next table map
//!   (`what_a_statement_made_of_the_columns_is_known_without_a_description`).
//! - Only the last writer is believed, and what it said beyond the position that its successor began at is forgotten
//!   (`only_the_last_writer_is_believed_and_only_up_to_where_its_successor_begins`).
//! - A writer that left no folder knows nothing of names, an older version: what it passed ends all knowledge
//!   (`a_writer_that_says_nothing_ends_what_was_known`).
//! - A record that cannot be read is no knowledge: then nothing is known, and the source is asked, by every later
//!   writer too (`a_record_that_cannot_be_read_is_no_knowledge`).

pub mod ask;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use archive::store::{Store, StoreError};
use binlog::{SourceTable, StoppedTable, TableDescription, TableName};
use bytes::Bytes;
use crds::position::FilePosition;
use futures::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

/// Version of the records' form.
const FORMAT: u32 = 1;
/// Objects read at once.
const PARALLEL: usize = 8;

/// One fact about the definition of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NameRecord {
    /// Schema of the table.
    pub schema: String,
    /// Name of the table.
    pub table: String,
    /// The event from which on it holds.
    pub from: FilePosition,
    /// Not proven: it holds if no statement up to here redefines the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<FilePosition>,
    /// Fingerprint of the schema that it gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The whole table map behind its id, in hex; none: a statement may have changed the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<String>,
    /// Its columns, as the source would show them: what a statement that is understood starts from. Without a map: what
    /// such a statement made of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<SourceTable>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    records: Vec<NameRecord>,
}

impl NameRecord {
    /// From `from` on the table is described so.
    pub fn described(table: &TableName, from: FilePosition, by: &TableDescription) -> Self {
        Self {
            fingerprint: Some(by.fingerprint()),
            map: Some(hex::encode(by.as_bytes())),
            ..Self::ended(table, from)
        }
    }

    /// What is known of the table.
    pub fn known(table: &TableName, known: &Known) -> Self {
        let Known { since, description, columns } = known;
        let record = match description {
            Some(description) => Self::described(table, since.clone(), description),
            None => Self::ended(table, since.clone()),
        };
        Self { columns: columns.as_deref().cloned(), ..record }
    }

    /// From `from` on the table may have another definition.
    pub fn ended(table: &TableName, from: FilePosition) -> Self {
        let TableName { schema, table } = table.clone();
        Self { schema, table, from, until: None, fingerprint: None, map: None, columns: None }
    }

    /// The table.
    pub fn name(&self) -> TableName {
        TableName { schema: self.schema.clone(), table: self.table.clone() }
    }

    /// How it is described.
    pub fn description(&self) -> Option<TableDescription> {
        let map = hex::decode(self.map.as_ref()?).ok()?;
        TableDescription::from_bytes(&map)
    }
}

/// What is known of a table from a position on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The event from which on.
    pub since: FilePosition,
    /// Its description; `None`: none could be given.
    pub description: Option<TableDescription>,
    /// Its columns. With no description: what a statement made of them, up to the next table map.
    pub columns: Option<Arc<SourceTable>>,
}

impl Known {
    /// Whether it says anything.
    pub const fn is_some(&self) -> bool {
        self.description.is_some() || self.columns.is_some()
    }

    /// How many columns it keeps.
    pub fn width(&self) -> usize {
        self.columns.as_ref().map_or(0, |table| table.columns.len())
    }
}

/// What is known of tables at one place of the stream.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Those that do not decode: their gap is in a cut.
    pub stopped: BTreeMap<TableName, StoppedTable>,
    /// Those whose maps name no columns.
    pub described: BTreeMap<TableName, Known>,
    /// Those of which the archive says something: the next statement about one must be recorded, whatever is still
    /// known of it here.
    pub recorded: BTreeSet<TableName>,
}

/// What the records say of each table at a position.
pub fn known_at(records: &[NameRecord], at: &FilePosition) -> BTreeMap<TableName, Known> {
    let mut proven: Vec<&NameRecord> =
        records.iter().filter(|record| record.until.is_none() && record.from <= *at).collect();
    // At one place the statement has the last word: who cannot tell their order knows nothing.
    proven.sort_by_key(|record| (record.from.clone(), record.map.is_none()));
    let mut known = BTreeMap::new();
    for record in proven {
        let (since, columns) = (record.from.clone(), record.columns.clone().map(Arc::new));
        let word = Known { since, description: record.description(), columns };
        if word.is_some() {
            known.insert(record.name(), word);
        } else {
            known.remove(&record.name());
        }
    }
    known
}

/// Stores records of the writer of `epoch` that are new at the cut which ends at `to`.
pub async fn store(
    store: &dyn Store,
    lineage: &str,
    epoch: u64,
    to: &FilePosition,
    records: &[NameRecord],
) -> Result<(), StoreError> {
    let stored = Stored { format: FORMAT, records: records.to_vec() };
    let Ok(bytes) = serde_json::to_vec(&stored) else { return Ok(()) };
    let id = uuid::Uuid::new_v4().simple().to_string();
    let key = archive::layout::names(lineage, epoch, &to.file, to.offset, &id);
    store.create(&key, Bytes::from(bytes)).await.map(|_| ())
}

/// Takes over from the last writer at `at`, and begins the folder of `epoch` with what is known there. `follows`:
/// nothing lies between that writer's last entry and `at`; else nothing is known.
pub async fn take_over(
    store: &dyn Store,
    lineage: &str,
    epoch: u64,
    at: &FilePosition,
    follows: bool,
) -> Result<BTreeMap<TableName, Known>, StoreError> {
    let keys = keys(store, lineage).await?;
    let written = |key: &String| archive::layout::names_epoch(key);
    let Some(last) = keys.iter().filter_map(written).filter(|by| *by < epoch).max() else {
        return Ok(BTreeMap::new());
    };
    let mut known = BTreeMap::new();
    // Every claim takes the next epoch, and every writer that finds a folder begins its own.
    if follows && last + 1 == epoch {
        let keys = keys.into_iter().filter(|key| written(key) == Some(last)).collect();
        known = known_at(&read(store, lineage, keys).await?, at);
    }
    let records: Vec<NameRecord> =
        known.iter().map(|(table, known)| NameRecord::known(table, known)).collect();
    self::store(store, lineage, epoch, at, &records).await?;
    Ok(known)
}

/// All records of a lineage, whoever stored them: each is true of the table map that it stands at, and no further.
pub async fn all(store: &dyn Store, lineage: &str) -> Result<Vec<NameRecord>, StoreError> {
    let keys = keys(store, lineage).await?;
    read(store, lineage, keys).await
}

async fn keys(store: &dyn Store, lineage: &str) -> Result<Vec<String>, StoreError> {
    let objects = store.list(&archive::layout::names_of(lineage)).await?;
    Ok(objects.into_iter().map(|object| object.key).collect())
}

async fn read(
    store: &dyn Store,
    lineage: &str,
    keys: Vec<String>,
) -> Result<Vec<NameRecord>, StoreError> {
    let read = keys.into_iter().map(|key| async move { store.get(&key).await });
    let read: Vec<Option<Bytes>> =
        futures::stream::iter(read).buffered(PARALLEL).try_collect().await?;
    let whole: Option<Vec<Bytes>> = read.into_iter().collect();
    Ok(whole.and_then(|objects| read_all(objects.iter())).unwrap_or_else(|| {
        tracing::warn!(
            lineage,
            "the kept definitions of tables cannot be read, they are asked for anew"
        );
        Vec::new()
    }))
}

fn read_all<'a>(objects: impl Iterator<Item = &'a Bytes>) -> Option<Vec<NameRecord>> {
    let mut all = Vec::new();
    for bytes in objects {
        let stored: Stored = serde_json::from_slice(bytes).ok()?;
        if stored.format != FORMAT {
            return None;
        }
        let whole = |record: &NameRecord| record.map.is_none() || record.description().is_some();
        if !stored.records.iter().all(whole) {
            return None;
        }
        all.extend(stored.records);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> FilePosition {
        FilePosition::new("binlog.000009", offset)
    }

    fn table() -> TableName {
        TableName { schema: "t".into(), table: "t".into() }
    }

    /// `t.t` with one INT of this name.
    fn described(from: u64, column: &str) -> NameRecord {
        let head = [&b"\x01t\0\x01t\0"[..], &[1, 3, 0, 0], &[1, 1, 0]].concat();
        let length = column.len() as u8;
        let map = [&head[..], &[4, length + 1, length], column.as_bytes()].concat();
        NameRecord::described(&table(), at(from), &TableDescription::from_bytes(&map).unwrap())
    }

    fn column_at(records: &[NameRecord], offset: u64) -> Option<String> {
        let known = known_at(records, &at(offset)).remove(&table())?;
        let bytes = known.description?.as_bytes().to_vec();
        bytes.last().map(|byte| char::from(*byte).to_string())
    }

    #[test]
    fn what_is_known_at_a_position_is_the_last_proven_word_before_it() {
        let unproven = NameRecord { until: Some(at(900)), ..described(350, "x") };
        let records = [
            described(400, "b"),
            NameRecord::ended(&table(), at(300)),
            described(100, "a"),
            unproven,
        ];
        for (offset, column) in [
            (99, None),
            (100, Some("a")),
            (299, Some("a")),
            (300, None),
            (399, None),
            (900, Some("b")),
        ] {
            assert_eq!(column_at(&records, offset).as_deref(), column, "{offset}");
        }
        let next = FilePosition::new("binlog.000010", 4);
        assert_eq!(known_at(&records, &next).len(), 1, "files are in the order of their numbers");
        let same = [NameRecord::ended(&table(), at(100)), described(100, "a")];
        assert_eq!(column_at(&same, 200), None, "within one event nobody knows what came first");
    }

    #[test]
    fn what_a_statement_made_of_the_columns_is_known_without_a_description() {
        let altered = |from: u64| NameRecord {
            columns: Some(SourceTable::default()),
            ..NameRecord::ended(&table(), at(from))
        };
        let records = [described(100, "a"), altered(200), described(300, "b"), altered(400)];
        for (offset, column) in [(199, Some("a")), (200, None), (300, Some("b")), (400, None)] {
            assert_eq!(column_at(&records, offset).as_deref(), column, "{offset}");
            let known = known_at(&records, &at(offset)).remove(&table()).expect("it is known");
            assert_eq!(known.columns.is_some(), column.is_none(), "{offset}");
            let again = NameRecord::known(&table(), &known);
            assert_eq!(again, records[usize::try_from(offset / 100).unwrap() - 1]);
        }
    }

    #[test]
    fn a_record_that_cannot_be_read_is_no_knowledge() {
        let stored = |records: &[NameRecord]| {
            Bytes::from(
                serde_json::to_vec(&Stored { format: FORMAT, records: records.into() }).unwrap(),
            )
        };
        let good = [described(100, "a"), NameRecord::ended(&table(), at(300))];
        assert_eq!(read_all([stored(&good)].iter()).as_deref(), Some(&good[..]));
        let torn = NameRecord { map: Some("00".into()), ..described(100, "a") };
        let later = Bytes::from_static(br#"{"format":2,"records":[]}"#);
        for bad in [Bytes::from_static(b"{"), later, stored(&[torn])] {
            assert_eq!(read_all([stored(&good), bad].iter()), None);
        }
    }

    #[tokio::test]
    async fn only_the_last_writer_is_believed_and_only_up_to_where_its_successor_begins() {
        const LINEAGE: &str = "0001-x";
        let memory = archive::store::memory::MemoryStore::default();
        let begin = async |epoch, offset, follows| {
            take_over(&memory, LINEAGE, epoch, &at(offset), follows).await.unwrap().len()
        };
        assert_eq!(begin(1, 50, true).await, 0, "nobody said anything");
        assert!(memory.list("names/").await.unwrap().is_empty(), "and nothing is stored");
        store(&memory, LINEAGE, 1, &at(200), &[described(100, "a")]).await.unwrap();
        assert_eq!(begin(2, 90, true).await, 0, "the map lies ahead");
        assert_eq!(begin(3, 500, true).await, 0, "the second writer was there and said nothing");
        store(&memory, LINEAGE, 3, &at(600), &[described(510, "b")]).await.unwrap();
        store(&memory, LINEAGE, 2, &at(600), &[described(520, "z")]).await.unwrap();
        assert_eq!(begin(4, 600, true).await, 1, "a fenced writer's word does not count");
        assert_eq!(begin(5, 700, true).await, 1, "what was believed is handed on");
        assert_eq!(begin(6, 800, false).await, 0, "a gap ends it");
        assert_eq!(begin(7, 900, true).await, 0, "for good");
        memory.put("names/0001-x/000000000007/x.json", Bytes::from_static(b"{")).await.unwrap();
        store(&memory, LINEAGE, 7, &at(990), &[described(950, "c")]).await.unwrap();
        assert_eq!(begin(8, 999, true).await, 0, "a torn record is no knowledge");
        assert_eq!(begin(9, 999, true).await, 0, "for who comes later neither");
    }

    #[tokio::test]
    async fn a_writer_that_says_nothing_ends_what_was_known() {
        const LINEAGE: &str = "0001-x";
        let memory = archive::store::memory::MemoryStore::default();
        store(&memory, LINEAGE, 1, &at(200), &[described(100, "a")]).await.unwrap();
        let begin =
            async |epoch| take_over(&memory, LINEAGE, epoch, &at(500), true).await.unwrap().len();
        assert_eq!(begin(2).await, 1);
        assert_eq!(begin(4).await, 0, "the third one may have passed a statement about the table");
        assert_eq!(begin(5).await, 0, "which nobody learns later");
    }
}
