//! Raw bytes back out of the archive, and files that maintenance adds to it.

use std::sync::Arc;

use archive::commit::{
    Batch, ChangePart, Committer, CommitterSettings, Maintenance, RawBatch, RawBytes, RawPart,
};
use archive::entry::{Entry, GapBody, GapPhase, Maintain, MaintainOp, Point, TableGap};
use archive::log::Body;
use archive::read_back::{ReadBack, ReadBackError, Walk};
use archive::store::Store;
use archive::store::memory::MemoryStore;
use archive::{State, layout};
use bytes::Bytes;
use crds::position::{Flavor, GtidSet};
use tokio_util::sync::CancellationToken;

use crate::common::{FILE, LINEAGE, check, ready, whole_log};

fn point(pos: u64) -> Point {
    Point::new(LINEAGE, FILE, pos)
}

/// The byte of the binlog at an offset.
fn content(range: std::ops::Range<u64>) -> Vec<u8> {
    range.map(|at| (at * 7 % 251) as u8).collect()
}

async fn writer(store: &Arc<dyn Store>, instance: &str) -> Committer {
    let log = ready(store, instance).await;
    Committer::start(log, &CommitterSettings::default(), &CancellationToken::new())
}

/// Commits the bytes up to `to` in two objects, in an entry of their own.
async fn commit(committer: &Committer, to: u64) {
    let from = committer.durable().borrow().state.facts.raw.clone().unwrap();
    let (middle, file) = (u64::midpoint(from.pos, to), from.file.clone());
    let mut parts = Vec::new();
    for (from, to) in [(from.pos, middle), (middle, to)] {
        let bytes = RawBytes::Plain(Bytes::from(content(from..to)));
        let (lineage, file) = (LINEAGE.to_owned(), file.clone());
        let part = RawPart { lineage, file, from, to, bytes };
        parts.push(committer.upload_raw(part).await.unwrap());
    }
    let end = Point { pos: to, ..from.clone() };
    let raw = RawBatch { from, to: end.clone(), parts, closed: Vec::new(), head: None };
    let gtid = GtidSet::parse(Flavor::MariaDB, &format!("0-1-{}", to + 1)).unwrap();
    let batch = Batch { raw: Some(raw), gtid_added: Some(gtid), ..Batch::default() };
    committer.submit(batch).await.unwrap();
    let mut durable = committer.durable();
    durable.wait_for(|head| head.state.facts.raw.as_ref() == Some(&end)).await.unwrap();
}

fn head(committer: &Committer) -> Arc<State> {
    Arc::clone(&committer.durable().borrow().state)
}

/// Everything that a walk hands out: where stretches begin, and the bytes.
async fn read(reader: &ReadBack, mut walk: Walk) -> Result<(Vec<u64>, Vec<u8>), ReadBackError> {
    let (mut begins, mut bytes) = (Vec::new(), Vec::new());
    while let Some(leg) = walk.next().await? {
        begins.extend(leg.begins.map(|stretch| stretch.at.pos));
        for piece in leg.pieces {
            let object = reader.bytes(&piece.object).await?;
            let at = |pos: u64| (pos - piece.object.from) as usize;
            bytes.extend_from_slice(&object[at(piece.wanted.start)..at(piece.wanted.end)]);
        }
    }
    Ok((begins, bytes))
}

#[tokio::test]
async fn raw_comes_back_as_it_was_committed() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let first = writer(&store, "one").await;
    for to in [100, 200, 300] {
        commit(&first, to).await;
    }
    drop(first);
    let second = writer(&store, "two").await;
    commit(&second, 400).await;
    let reader = ReadBack::new(Arc::clone(&store), head(&second).n);
    let whole = reader.from_entry_of(&point(0), &point(400)).await.unwrap();
    assert_eq!(read(&reader, whole).await.unwrap(), (vec![0], content(0..400)));
    // It begins with the entry, and ends where it is told.
    let part = reader.from_entry_of(&point(230), &point(360)).await.unwrap();
    assert_eq!(read(&reader, part).await.unwrap(), (vec![200], content(200..360)));
    let begun = reader.file_head(head(&second).n, &point(360)).await.unwrap();
    assert_eq!((begun.from, begun.to), (0, 50));
}

#[tokio::test]
async fn what_no_entry_names_is_not_read() {
    let memory = MemoryStore::default();
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let committer = writer(&store, "one").await;
    commit(&committer, 100).await;
    // Left behind by a writer that died, or by one that was fenced.
    for (epoch, seq) in [(1, 7), (9, 0)] {
        let key = layout::raw(LINEAGE, FILE, 0, 50, epoch, seq);
        store.put(&key, Bytes::from_static(b"dead")).await.unwrap();
    }
    let reader = ReadBack::new(Arc::clone(&store), head(&committer).n);
    let walk = reader.from_entry_of(&point(0), &point(100)).await.unwrap();
    assert_eq!(read(&reader, walk).await.unwrap().1, content(0..100));
}

#[tokio::test]
async fn a_changed_object_is_refused() {
    let memory = MemoryStore::default();
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let committer = writer(&store, "one").await;
    commit(&committer, 100).await;
    let (key, bytes) =
        memory.objects().into_iter().find(|(key, _)| key.starts_with(layout::RAW)).unwrap();
    let reader = ReadBack::new(Arc::clone(&store), head(&committer).n);
    for wrong in [bytes.slice(1..), Bytes::from(vec![7; bytes.len()])] {
        store.put(&key, wrong).await.unwrap();
        let walk = reader.from_entry_of(&point(0), &point(100)).await.unwrap();
        let refused = read(&reader, walk).await.unwrap_err();
        assert!(matches!(refused, ReadBackError::Damaged { .. }), "{refused}");
    }
    store.delete(&key).await.unwrap();
    let walk = reader.from_entry_of(&point(0), &point(100)).await.unwrap();
    assert!(read(&reader, walk).await.unwrap_err().to_string().contains("missing"));
}

#[tokio::test]
async fn a_hole_is_named() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let committer = writer(&store, "one").await;
    commit(&committer, 100).await;
    let reader = ReadBack::new(Arc::clone(&store), head(&committer).n);
    let nowhere = reader.from_entry_of(&point(100), &point(200)).await.err().unwrap();
    assert!(nowhere.to_string().contains("does not hold binlog.000001:100"), "{nowhere}");
    let walk = reader.from_entry_of(&point(0), &point(200)).await.unwrap();
    let ends = read(&reader, walk).await.unwrap_err();
    assert!(matches!(ends, ReadBackError::NotHeld { .. }), "{ends}");
}

/// A gap that ends in this file is passed.
async fn pass(committer: &Committer, file: &str, pos: u64) {
    let passed = GapBody {
        id: format!("g-{file}-{pos}"),
        phase: GapPhase::Passed,
        reason: "CheckpointSet".to_owned(),
        from: point(100),
        to: Some(Point::new(LINEAGE, file, pos)),
        missing: None,
        by: "config".to_owned(),
    };
    committer.append(Body::gap(passed, None, Vec::new())).await.unwrap();
}

#[tokio::test]
async fn a_gap_that_was_passed_begins_a_new_stretch_in_another_file_only() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let committer = writer(&store, "one").await;
    commit(&committer, 100).await;
    pass(&committer, FILE, 150).await;
    commit(&committer, 200).await;
    pass(&committer, "binlog.000009", 70).await;
    commit(&committer, 100).await;
    let reader = ReadBack::new(Arc::clone(&store), head(&committer).n);
    let end = Point::new(LINEAGE, "binlog.000009", 100);
    let walk = reader.from_entry_of(&point(0), &end).await.unwrap();
    let expected = [content(0..200), content(0..100)].concat();
    assert_eq!(read(&reader, walk).await.unwrap(), (vec![0, 0], expected));
}

fn table_gap(id: &str, from: u64) -> TableGap {
    TableGap {
        id: id.to_owned(),
        scope: "table".to_owned(),
        table: Some(format!("shop.{id}")),
        reason: "TableStopped".to_owned(),
        from: point(from),
        to: None,
        from_row: None,
        missing: None,
        by: None,
        since: None,
    }
}

#[tokio::test]
async fn files_and_the_gaps_that_they_close_stand_in_one_entry() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let committer = writer(&store, "one").await;
    let named =
        Batch { gaps: ["a", "b", "c"].map(|id| table_gap(id, 4)).into(), ..Batch::default() };
    committer.submit(named).await.unwrap();
    commit(&committer, 100).await;
    let file = ChangePart {
        bytes: Bytes::from_static(b"PAR1"),
        rows: 3,
        min_time_us: 1,
        max_time_us: 2,
        date: Some("2020-02-03".to_owned()),
    };
    let parts = vec![committer.upload_change(file).await.unwrap()];
    let before = head(&committer);
    let maintain = Maintain {
        range: Some((2, 3)),
        closes_gap: Some("a".to_owned()),
        closes_gaps: vec!["b".to_owned()],
        ..Maintain::new(MaintainOp::Redecode)
    };
    let step = Maintenance { maintain, parts, gaps: vec![table_gap("c", 50)] };
    committer.maintain(step).await.unwrap();
    let after = head(&committer);
    assert_eq!(after.facts.table_gaps, [table_gap("c", 50)], "it begins later now");
    assert_eq!(after.facts.at, before.facts.at, "no cursor moves");
    assert_eq!(after.facts.date, before.facts.date, "nor the newest partition");
    let log = whole_log(&*store).await;
    let Entry { maintain: Some(maintain), .. } = &log.last().unwrap().entry else {
        panic!("no step")
    };
    assert_eq!(maintain.add[0].path, "date=2020-02-03/1-2.parquet");
    assert_eq!(maintain.add[0].rows, 3);
    check(&*store).await;
}
