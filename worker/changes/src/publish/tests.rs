//! The publisher against a store in memory, with other writers and with crashes.

use std::collections::BTreeSet;

use archive::entry::{Maintain, MaintainOp};
use archive::store::memory::MemoryStore;
use archive::{EntryKind, layout};
use bytes::Bytes;
use proptest::prelude::*;

use super::table::{LAST_CHECKPOINT, LOG, checkpoint_key, version_key};
use super::test_log::{ARCHIVE, entry_of, file};
use super::*;

fn settings(checkpoint_interval: u64) -> PublishSettings {
    PublishSettings { checkpoint_interval, ..PublishSettings::default() }
}

async fn open(store: &MemoryStore, interval: u64) -> Publisher {
    Publisher::open(Arc::new(store.clone()), ARCHIVE, settings(interval)).await.unwrap()
}

/// Entries 0..count, each with one file of its own.
fn entries(count: u64) -> Vec<Entry> {
    (0..count).map(|n| entry_of(n, &[&name(n)])).collect()
}

fn name(n: u64) -> String {
    format!("date=2026-11-21/1-{n}.parquet")
}

/// What a reader sees: the files that are live, from version 0 on, without any checkpoint.
async fn live(store: &MemoryStore) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for version in 0.. {
        let Some(bytes) = store.get(&version_key(version)).await.unwrap() else { break };
        for line in action::decode(&bytes).unwrap() {
            if let Some(remove) = line.remove {
                assert!(files.remove(&remove.path), "{} was not there", remove.path);
            }
            if let Some(add) = line.add {
                assert!(files.insert(add.path.clone()), "{} is there twice", add.path);
            }
        }
    }
    files
}

fn names(range: std::ops::Range<u64>) -> BTreeSet<String> {
    range.map(name).collect()
}

async fn write_log(store: &MemoryStore, entries: &[Entry]) {
    for entry in entries {
        store.put(&layout::entry(entry.n), entry.to_bytes().unwrap()).await.unwrap();
    }
}

/// The Delta part of a store.
fn delta(store: &MemoryStore) -> Vec<(String, Bytes)> {
    store.objects().into_iter().filter(|(key, _)| key.starts_with(LOG)).collect()
}

#[tokio::test]
async fn an_entry_published_twice_is_there_once() {
    let store = MemoryStore::default();
    let log = entries(5);
    let mut publisher = open(&store, 100).await;
    publisher.publish(&log[..3]).await.unwrap();
    publisher.publish(&log[..5]).await.unwrap();
    publisher.publish(&log).await.unwrap();
    let mut again = open(&store, 100).await;
    assert_eq!(again.next_entry(), 5);
    again.publish(&log).await.unwrap();
    assert_eq!(live(&store).await, names(0..5));
    assert_eq!(again.published(), Some(1));
}

#[tokio::test]
async fn the_first_version_is_the_golden_one() {
    let store = MemoryStore::default();
    open(&store, 100).await.publish(&entries(2)).await.unwrap();
    let bytes = store.get(&version_key(0)).await.unwrap().unwrap();
    insta::assert_snapshot!("version_0", String::from_utf8(bytes.to_vec()).unwrap());
}

#[tokio::test]
async fn two_publishers_share_one_table() {
    // Both know nothing of each other: the race for version 0, then for every one after it.
    let store = MemoryStore::default();
    let log = entries(20);
    let mut first = open(&store, 3).await;
    let mut second = open(&store, 3).await;
    for end in 1..=20 {
        let (one, other) =
            if end % 2 == 0 { (&mut first, &mut second) } else { (&mut second, &mut first) };
        one.publish(&log[..end]).await.unwrap();
        other.publish(&log[..end.min(17)]).await.unwrap();
    }
    assert_eq!(live(&store).await, names(0..20));
    assert_eq!((first.foreign_version(), second.foreign_version()), (None, None));
}

#[tokio::test]
async fn a_zombie_with_older_entries_adds_nothing() {
    let store = MemoryStore::default();
    let log = entries(6);
    let mut zombie = open(&store, 100).await;
    let mut rightful = open(&store, 100).await;
    zombie.publish(&log[..2]).await.unwrap();
    rightful.publish(&log).await.unwrap();
    // It still believes that entries 2 and 3 are the newest.
    zombie.publish(&log[..4]).await.unwrap();
    assert_eq!(live(&store).await, names(0..6));
    assert_eq!(zombie.next_entry(), 6);
}

#[tokio::test]
async fn a_foreign_version_is_skipped_and_flagged() {
    let store = MemoryStore::default();
    let log = entries(4);
    let mut publisher = open(&store, 100).await;
    publisher.publish(&log[..2]).await.unwrap();
    let foreign = format!(
        "{{\"commitInfo\":{{\"operation\":\"DELETE\"}}}}\n{{\"remove\":{{\"path\":\"{}\",\"dataChange\":true}}}}\n",
        name(0)
    );
    store.put(&version_key(1), foreign.into()).await.unwrap();
    publisher.publish(&log).await.unwrap();
    assert_eq!(publisher.foreign_version(), Some(1));
    assert_eq!(publisher.published(), Some(2));
    assert_eq!(live(&store).await, names(1..4));
}

#[tokio::test]
async fn a_foreign_removal_holds_across_a_checkpoint() {
    let store = MemoryStore::default();
    let log = entries(9);
    let mut publisher = open(&store, 3).await;
    publisher.publish(&log[..1]).await.unwrap();
    let foreign = format!("{{\"remove\":{{\"path\":\"{}\",\"dataChange\":true}}}}\n", name(0));
    store.put(&version_key(1), foreign.into()).await.unwrap();
    for end in 2..=9 {
        publisher.publish(&log[..end]).await.unwrap();
    }
    assert_eq!(checkpointed(&store).await, live(&store).await);
}

/// Files of the newest checkpoint, which must be of the newest version.
async fn checkpointed(store: &MemoryStore) -> BTreeSet<String> {
    let mut publisher = open(store, 1).await;
    publisher.table.write_checkpoint(&publisher.store).await.unwrap();
    let bytes = store.get(&checkpoint_key(publisher.published().unwrap())).await.unwrap().unwrap();
    checkpoint::files(bytes)
}

#[tokio::test]
async fn a_crash_between_version_and_checkpoint_is_made_good() {
    let store = MemoryStore::default();
    let log = entries(8);
    let mut publisher = open(&store, 100).await;
    for end in 1..=5 {
        publisher.publish(&log[..end]).await.unwrap();
    }
    assert!(store.get(LAST_CHECKPOINT).await.unwrap().is_none());
    // The same table, but the checkpoint was due two versions ago.
    let mut restarted = open(&store, 3).await;
    restarted.publish(&log[..6]).await.unwrap();
    assert!(store.get(&checkpoint_key(5)).await.unwrap().is_some());
    // Between checkpoint and hint: found by listing.
    store.delete(LAST_CHECKPOINT).await.unwrap();
    let mut listed = open(&store, 3).await;
    assert_eq!((listed.next_entry(), listed.table.checkpoint), (6, Some(5)));
    listed.publish(&log).await.unwrap();
    assert_eq!(live(&store).await, names(0..8));
    assert_eq!(checkpointed(&store).await, names(0..8));
}

#[tokio::test]
async fn a_start_reads_from_the_newest_checkpoint_only() {
    let store = MemoryStore::default();
    let log = entries(7);
    let mut publisher = open(&store, 3).await;
    for end in 1..=7 {
        publisher.publish(&log[..end]).await.unwrap();
    }
    for version in 0..=5 {
        store.delete(&version_key(version)).await.unwrap();
    }
    assert_eq!(open(&store, 3).await.next_entry(), 7);
}

#[tokio::test]
async fn a_torn_checkpoint_falls_back_to_an_older_one() {
    let store = MemoryStore::default();
    let log = entries(6);
    let mut publisher = open(&store, 3).await;
    for end in 1..=6 {
        publisher.publish(&log[..end]).await.unwrap();
    }
    store.put(&checkpoint_key(5), Bytes::from_static(b"PAR1")).await.unwrap();
    let again = open(&store, 3).await;
    assert_eq!((again.next_entry(), again.table.checkpoint), (6, Some(2)));
    assert_eq!(checkpointed(&store).await, names(0..6));
}

#[tokio::test]
async fn a_hole_is_refused() {
    let store = MemoryStore::default();
    let log = entries(4);
    let mut publisher = open(&store, 100).await;
    publisher.publish(&log[..1]).await.unwrap();
    let error = publisher.publish(&log[2..]).await.unwrap_err();
    assert!(matches!(error, PublishError::Hole { expected: 1, given: 2 }), "{error}");
    assert_eq!(error.class(), Class::Transient);
    assert_eq!(live(&store).await, names(0..1));
}

#[tokio::test]
async fn entries_without_files_make_no_version_until_there_are_many() {
    let store = MemoryStore::default();
    let mut publisher = open(&store, 100).await;
    let quiet: Vec<Entry> = (0..QUIET_ENTRIES + 2).map(|n| entry_of(n, &[])).collect();
    publisher.publish(&quiet[..1]).await.unwrap();
    assert_eq!(publisher.published(), Some(0), "an empty table can be opened");
    for chunk in quiet[1..QUIET_ENTRIES as usize].chunks(100) {
        publisher.publish(chunk).await.unwrap();
    }
    assert_eq!(publisher.published(), Some(0));
    publisher.publish(&quiet).await.unwrap();
    assert_eq!(publisher.published(), Some(1));
    assert_eq!(open(&store, 100).await.next_entry(), QUIET_ENTRIES + 2);
}

#[tokio::test]
async fn a_deleted_table_is_rebuilt_equal() {
    let store = MemoryStore::default();
    let log = entries(300);
    write_log(&store, &log).await;
    open(&store, 2).await.catch_up(299).await.unwrap();
    let before = delta(&store);
    let mut running = open(&store, 2).await;
    for (key, _) in &before {
        store.delete(key).await.unwrap();
    }
    // Seen while running, and after a start: both make the same table byte for byte.
    running.catch_up(299).await.unwrap();
    assert_eq!(delta(&store), before);
    for (key, _) in &before {
        store.delete(key).await.unwrap();
    }
    open(&store, 2).await.catch_up(299).await.unwrap();
    assert_eq!(delta(&store), before);
    assert_eq!(live(&store).await, names(0..300));
}

#[tokio::test]
async fn what_the_log_lost_is_taken_back() {
    for slices in [&[5_u64][..], &[1, 3, 5], &[0, 1, 2, 3, 4, 5]] {
        let store = MemoryStore::default();
        let log = entries(6);
        write_log(&store, &log).await;
        let mut publisher = open(&store, 2).await;
        for end in slices {
            publisher.catch_up(*end).await.unwrap();
        }
        // Entries 4 and 5 are lost; another 4 takes the number, and 5 not yet.
        store.delete(&layout::entry(5)).await.unwrap();
        let mut other = entry_of(4, &["date=2026-11-21/2-0.parquet"]);
        other.time = other.time.checked_add(jiff::SignedDuration::from_secs(60)).unwrap();
        write_log(&store, &[other]).await;
        open(&store, 2).await.catch_up(4).await.unwrap();
        let mut expected = names(0..4);
        expected.insert("date=2026-11-21/2-0.parquet".to_owned());
        assert_eq!(live(&store).await, expected);
        let before = delta(&store);
        open(&store, 2).await.catch_up(4).await.unwrap();
        assert_eq!(delta(&store), before, "only once");
    }
}

#[tokio::test]
async fn a_log_without_its_beginning_is_named_broken() {
    let store = MemoryStore::default();
    let mut publisher = open(&store, 100).await;
    publisher.publish(&entries(1)).await.unwrap();
    publisher.publish(&entries(2)).await.unwrap();
    store.delete(&version_key(0)).await.unwrap();
    let opened = Publisher::open(Arc::new(store), ARCHIVE, settings(100)).await;
    let error = opened.err().unwrap();
    assert!(matches!(error, PublishError::Broken(_)), "{error}");
    assert_eq!(error.class(), Class::Permanent);
}

#[tokio::test]
async fn the_table_of_another_archive_is_left_alone() {
    let store = MemoryStore::default();
    open(&store, 100).await.publish(&entries(1)).await.unwrap();
    let before = delta(&store);
    let other = Uuid::from_u128(5);
    let opened = Publisher::open(Arc::new(store.clone()), other, settings(100)).await;
    assert!(matches!(opened.err().unwrap(), PublishError::ForeignTable(_)));
    assert_eq!(delta(&store), before);
}

#[tokio::test]
async fn a_raised_protocol_stops_publishing() {
    let store = MemoryStore::default();
    let mut publisher = open(&store, 100).await;
    publisher.publish(&entries(1)).await.unwrap();
    let raised = "{\"protocol\":{\"minReaderVersion\":3,\"minWriterVersion\":7,\
                  \"readerFeatures\":[\"deletionVectors\"],\"writerFeatures\":[\"deletionVectors\"]}}\n";
    store.put(&version_key(1), raised.into()).await.unwrap();
    let error = publisher.publish(&entries(2)).await.unwrap_err();
    assert!(matches!(error, PublishError::ForeignProtocol { reader: 3, writer: 7 }), "{error}");
}

#[tokio::test]
async fn the_guard_follows_the_setting() {
    let store = MemoryStore::default();
    let log = entries(3);
    open(&store, 100).await.publish(&log[..1]).await.unwrap();
    let allow =
        PublishSettings { foreign_writers: ForeignWriters::Allow, ..PublishSettings::default() };
    let mut publisher =
        Publisher::open(Arc::new(store.clone()), ARCHIVE, allow.clone()).await.unwrap();
    publisher.publish(&log[..2]).await.unwrap();
    publisher.publish(&log).await.unwrap();
    let protocols = |version| {
        let store = store.clone();
        async move {
            let bytes = store.get(&version_key(version)).await.unwrap().unwrap();
            let lines = action::decode(&bytes).unwrap();
            lines.into_iter().filter_map(|line| line.protocol).collect::<Vec<_>>()
        }
    };
    assert_eq!(protocols(0).await, [Protocol::ours(ForeignWriters::Deny)]);
    assert_eq!(protocols(1).await, [Protocol::ours(ForeignWriters::Allow)]);
    assert_eq!(protocols(2).await, []);
}

/// A random log: each entry adds some files, or replaces some live ones.
fn any_log() -> impl Strategy<Value = Vec<Entry>> {
    let step = (0usize..4, prop::option::of(any::<prop::sample::Index>()));
    prop::collection::vec(step, 1..40).prop_map(|steps| {
        let mut live: Vec<String> = Vec::new();
        let mut log = Vec::new();
        for (n, (adds, removed)) in steps.into_iter().enumerate() {
            let new: Vec<String> = (0..adds).map(|k| format!("date=x/{n}-{k}.parquet")).collect();
            let mut entry = entry_of(n as u64, &new.iter().map(String::as_str).collect::<Vec<_>>());
            if let Some(removed) = removed.filter(|_| !live.is_empty()) {
                let gone = live.remove(removed.index(live.len()));
                entry.kind = EntryKind::Maintain;
                entry.changes = None;
                entry.maintain = Some(Maintain {
                    add: new.iter().map(|path| file(path)).collect(),
                    remove: vec![format!("changes/{gone}"), "raw/l/f/0-9.1-1.binlog.zst".into()],
                    ..Maintain::new(MaintainOp::CompactChanges)
                });
            }
            live.extend(new);
            log.push(entry);
        }
        log
    })
}

/// The live files after a log, worked out without the publisher.
fn fold_of(log: &[Entry]) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for entry in log {
        for file in entry.changes.iter().flat_map(|span| &span.files) {
            files.insert(file.path.clone());
        }
        if let Some(maintain) = &entry.maintain {
            for key in maintain.remove.iter().filter_map(|key| key.strip_prefix("changes/")) {
                files.remove(key);
            }
            files.extend(maintain.add.iter().map(|file| file.path.clone()));
        }
    }
    files
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_log_published_in_any_slices_is_its_fold(
        log in any_log(),
        ends in prop::collection::vec((any::<prop::sample::Index>(), 0usize..3), 1..12),
        interval in 1u64..6,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = MemoryStore::default();
            // Two that live on, and one that starts each time.
            let mut publishers = [open(&store, interval).await, open(&store, interval).await];
            for (end, who) in ends {
                let slice = &log[..=end.index(log.len())];
                match publishers.get_mut(who) {
                    Some(publisher) => publisher.publish(slice).await.unwrap(),
                    None => open(&store, interval).await.publish(slice).await.unwrap(),
                }
            }
            let mut last = open(&store, interval).await;
            last.publish(&log).await.unwrap();
            prop_assert_eq!(live(&store).await, fold_of(&log));
            prop_assert_eq!(checkpointed(&store).await, fold_of(&log));
            prop_assert_eq!(last.foreign_version(), None);
            Ok(())
        })?;
    }
}
