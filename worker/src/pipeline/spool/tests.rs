use std::time::Duration;

use binlog::{ChangeRow, ChangeSink as _, Op};
use changes::{ChangeBatch, ParquetSettings};
use futures::FutureExt as _;
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::*;

const LIMIT: Duration = Duration::from_secs(30);

fn raw(from: u64, length: usize) -> Part {
    let bytes: Vec<u8> = (from..from + length as u64).map(|at| (at % 251) as u8).collect();
    Part::Raw(RawPart { file: "binlog.000001".into(), range: from..from + length as u64, bytes })
}

/// Rows, and the file that they make.
fn rows(count: u64, statement: &str) -> (Part, ChangeFile) {
    let cut = || {
        let mut batch = ChangeBatch::new("0001-abc", ParquetSettings::default());
        for n in 0..count {
            let row = ChangeRow {
                commit_time_us: n as i64,
                op: Op::Insert,
                schema: "shop",
                table: "orders",
                pk_text: None,
                pk_hash: None,
                before: None,
                after: Some("{\"id\":1}"),
                changed: &[],
                gtid: None,
                file: "binlog.000001",
                position: n * 100,
                event_ordinal: 0,
                row_ordinal: 0,
                fingerprint: "ab12",
                server_id: 1,
                statement: Some(statement),
            };
            batch.push(&row).unwrap();
        }
        batch.mark();
        let bytes = batch.estimated_bytes();
        (batch.cut().unwrap().unwrap(), bytes)
    };
    let (rows, bytes) = cut();
    (Part::Changes(rows, bytes), cut().0.encode().unwrap())
}

/// A spool with little memory.
fn spool(memory: usize, folder: &Path, size: u64) -> (Spool, Gauge) {
    empty(folder).unwrap();
    let spooled = Gauge::default();
    (Spool::new(memory, folder.to_owned(), size, spooled.clone()), spooled)
}

async fn put(spool: &Spool, part: Part) -> Waiting {
    let place = tokio::time::timeout(LIMIT, spool.room(part.bytes())).await.unwrap();
    place.put(part)
}

/// Waits until the part is where it will stay.
async fn settled(waiting: Waiting) -> Waiting {
    if let Waiting::Disk(kept) = &waiting {
        while !kept.is_finished() {
            tokio::task::yield_now().await;
        }
    }
    waiting
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn bytes_in(folder: &Path) -> u64 {
    // One may be fetched and deleted meanwhile.
    files(folder).iter().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}

async fn all_come_out(lengths: Vec<usize>, pauses: Vec<usize>, memory: usize, size: u64) {
    let folder = tempfile::tempdir().unwrap();
    let (spool, spooled) = spool(memory, folder.path(), size);
    let (sender, mut queue) = mpsc::channel(1024);
    let sizes = lengths.clone();
    let reader = async move {
        let mut from = 0;
        for length in sizes {
            let waiting = put(&spool, raw(from, length)).await;
            from += length as u64;
            assert!(sender.send(waiting).await.is_ok());
        }
    };
    let archive = async {
        let mut at = 0;
        for (length, pause) in lengths.iter().zip(pauses.iter().cycle()) {
            for _ in 0..*pause {
                tokio::task::yield_now().await;
            }
            assert!(bytes_in(folder.path()) <= size, "the disk's bound");
            let (packed, room) = queue.recv().await.unwrap().fetch().await.unwrap();
            let Packed::Raw(part) = packed else { panic!("raw went in") };
            let Part::Raw(expected) = raw(at, *length) else { panic!("raw is raw") };
            assert_eq!(part, expected);
            at = part.range.end;
            drop(room);
        }
    };
    tokio::time::timeout(LIMIT, async { tokio::join!(reader, archive) }).await.unwrap();
    assert_eq!((files(folder.path()), spooled.get()), (Vec::new(), 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_parts_come_out_whole_and_in_order_within_the_bounds(
        lengths in prop::collection::vec(1_usize..40_000, 1..40),
        pauses in prop::collection::vec(0_usize..200, 1..10),
        memory in 1_usize..40_000,
        blocks in 0_u64..12,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(all_come_out(lengths, pauses, memory, blocks * BLOCK as u64));
    }
}

#[tokio::test]
async fn memory_comes_first_and_the_disk_has_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, spooled) = spool(1000, folder.path(), 2 * BLOCK as u64);
    let first = settled(put(&spool, raw(0, 1000)).await).await;
    assert!(files(folder.path()).is_empty());
    let second = settled(put(&spool, raw(1000, 900)).await).await;
    let third = settled(put(&spool, raw(1900, 900)).await).await;
    assert_eq!((files(folder.path()).len(), spooled.get()), (2, 1800));
    assert!(spool.room(1).now_or_never().is_none(), "memory and disk are full");
    drop(first);
    assert!(matches!(spool.room(1).await, Place::Memory(_)), "memory comes first");
    drop(second.fetch().await.unwrap());
    drop(third);
    assert_eq!((files(folder.path()).len(), spooled.get()), (0, 0));
}

#[tokio::test]
async fn rows_on_disk_are_the_file_that_they_would_be_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = spool(1, folder.path(), 1 << 20);
    let full = put(&spool, raw(0, 1)).await;
    let (part, expected) = rows(1000, "INSERT");
    let waiting = settled(put(&spool, part).await).await;
    assert_eq!(bytes_in(folder.path()), expected.bytes.len() as u64);
    let (Packed::Changes(file), None) = waiting.fetch().await.unwrap() else {
        panic!("rows went to the disk")
    };
    assert_eq!(file.bytes, expected.bytes);
    assert_eq!((file.rows, &file.sha256), (1000, &expected.sha256));
    assert_eq!((file.min_time_us, file.max_time_us), (0, 999));
    drop(full);
}

/// What rows take in memory is an estimate: a file may come out larger.
#[tokio::test]
async fn a_file_that_grew_past_the_bound_stays_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, spooled) = spool(1, folder.path(), BLOCK as u64);
    let full = put(&spool, raw(0, 1)).await;
    // Nothing that compresses well.
    let numbers = (1_u64..1000).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string());
    let (part, expected) = rows(1, &numbers.collect::<String>());
    let Part::Changes(part, _) = part else { unreachable!("rows are changes") };
    let part = Part::Changes(part, 1);
    assert!(expected.bytes.len() > BLOCK, "the case is none");
    let (packed, way) = put(&spool, part).await.fetch().await.unwrap();
    assert!(way.is_some() && packed.bytes() == &expected.bytes[..]);
    assert_eq!((files(folder.path()).len(), spooled.get()), (0, 0));
    drop(full);
}

#[tokio::test]
async fn a_part_that_cannot_be_written_stays_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone");
    let (spool, spooled) = spool(1000, &gone, 1 << 20);
    std::fs::remove_dir(&gone).unwrap();
    let first = put(&spool, raw(0, 1000)).await;
    let second = settled(put(&spool, raw(1000, 500)).await).await;
    assert!(spool.room(1).now_or_never().is_none(), "the disk was offered again");
    drop(first);
    let third = put(&spool, raw(1500, 1000)).await;
    let (packed, way) = second.fetch().await.unwrap();
    assert_eq!((packed.bytes().len(), spooled.get()), (500, 0));
    assert!(matches!(third, Waiting::Memory(..)));
    // It has left: the disk may be better by now.
    drop(way);
    std::fs::create_dir(&gone).unwrap();
    let fourth = settled(put(&spool, raw(2500, 500)).await).await;
    assert_eq!((files(&gone).len(), spooled.get()), (1, 500));
    drop((third, fourth));
    assert!(files(&gone).is_empty());
}

#[tokio::test]
async fn an_altered_file_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = spool(1, folder.path(), 1 << 20);
    let full = put(&spool, raw(0, 1)).await;
    let waiting = settled(put(&spool, raw(1, 500)).await).await;
    let file = files(folder.path()).remove(0);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[250] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let error = waiting.fetch().await.unwrap_err().to_string();
    assert!(error.contains(&file.display().to_string()), "{error}");
    assert!(files(folder.path()).is_empty());
    drop(full);
}

#[tokio::test]
async fn what_an_earlier_life_left_is_deleted_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    std::fs::create_dir(&spool).unwrap();
    std::fs::write(spool.join("0000000001.part"), "rows").unwrap();
    drop(Spool::open(spool.clone(), 1 << 20, Gauge::default()).await);
    assert!(files(&spool).is_empty());
}

#[tokio::test]
async fn a_cancelled_wait_gives_its_room_back() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = spool(1000, folder.path(), BLOCK as u64);
    let first = put(&spool, raw(0, 1000)).await;
    let second = settled(put(&spool, raw(1000, 500)).await).await;
    assert!(spool.room(500).now_or_never().is_none());
    drop((first, second));
    let (one, two) = (spool.room(1000).await, spool.room(500).await);
    assert!(matches!((one, two), (Place::Memory(_), Place::Disk(..))));
}
