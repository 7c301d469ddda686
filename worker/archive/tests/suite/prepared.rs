//! Prepared transactions: held by reference until their verdict, however many there are.

use std::sync::Arc;
use std::time::Duration;

use archive::commit::{Batch, Committer, CommitterSettings, RawBatch, RawBytes, RawPart};
use archive::entry::{Point, XaClosed, XaOpened, XaPart};
use archive::log::{Body, ReadError};
use archive::raw;
use archive::read_back::ReadBack;
use archive::store::Store;
use archive::store::memory::MemoryStore;
use archive::sweep::sweep;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::common::{FILE, LINEAGE, append, check, next_commit, ready, take, whole_log};

const LIMIT: Duration = Duration::from_secs(10);

fn opened(n: usize) -> XaOpened {
    XaOpened {
        xid: format!("X'{n:0>128x}',X'',1"),
        gtid: Some(format!("0-1-{n}")),
        lineage: LINEAGE.to_owned(),
        file: FILE.to_owned(),
        from: n as u64,
        to: n as u64 + 1,
        crc32: true,
        object: None,
        n: None,
    }
}

fn closed(n: usize) -> XaClosed {
    XaClosed { xid: opened(n).xid, verdict: "commit".to_owned() }
}

fn part(opens: &[usize], closes: &[usize]) -> XaPart {
    XaPart {
        opened: opens.iter().copied().map(opened).collect(),
        closed: closes.iter().copied().map(closed).collect(),
        ..XaPart::default()
    }
}

#[tokio::test]
async fn ten_thousand_prepared_transactions_fit_one_entry_and_every_claim_after_it() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let mut log = ready(&store, "one").await;
    let all: Vec<usize> = (0..10_000).collect();
    let body = Body { xa: Some(part(&all, &[])), ..next_commit(&log, 0).await };
    append(&mut log, body).await.unwrap();
    let held = log.state().facts.xa.clone();
    assert_eq!((held.len(), held[7].n), (10_000, Some(2)), "the entry with their bytes is known");

    let mut two = take(&store, "two").await;
    assert_eq!(two.state().facts.xa, held);
    let body = Body { xa: Some(part(&[], &all[1..])), ..next_commit(&two, 0).await };
    append(&mut two, body).await.unwrap();
    let three = take(&store, "three").await;
    assert_eq!(three.state().facts.xa, held[..1]);
    let entries = whole_log(&*store).await;
    assert_eq!(entries[2].entry.xa.as_ref().unwrap().opened.len(), 10_000);
    assert_eq!(entries[4].entry.xa.as_ref().unwrap().closed.len(), 9_999);
    sweep(&*store, three.state()).await.unwrap();
    assert_eq!(check(&*store).await.facts.xa, held[..1], "a sweep leaves the lists");
}

#[test]
fn what_is_prepared_and_decided_between_two_entries_is_in_neither_list() {
    let mut joined = part(&[1, 2], &[0]);
    joined.join(part(&[1, 3], &[1, 9]));
    // The second one of the same id is open.
    assert_eq!(joined, part(&[2, 1, 3], &[0, 9]));
}

#[tokio::test]
async fn an_id_may_be_prepared_again_in_the_entry_of_its_verdict() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let mut log = ready(&store, "one").await;
    for (opens, closes) in [(&[1, 2][..], &[][..]), (&[1], &[1]), (&[2], &[])] {
        let body = Body { xa: Some(part(opens, closes)), ..next_commit(&log, 0).await };
        append(&mut log, body).await.unwrap();
    }
    let held: Vec<_> = log.state().facts.xa.iter().map(|open| (&open.xid, open.n)).collect();
    assert_eq!(held, [(&opened(1).xid, Some(3)), (&opened(2).xid, Some(4))]);
    check(&*store).await;
}

/// From the last state on, which a claim writes, or from the first entry.
#[tokio::test]
async fn what_was_prepared_before_an_entry_is_what_the_log_says_there() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let mut states = Vec::new();
    for (writer, numbers) in [("one", 0..70), ("two", 70..75)] {
        let mut log =
            if writer == "one" { ready(&store, writer).await } else { take(&store, writer).await };
        for n in numbers {
            let decided: Vec<usize> = if n % 3 == 2 { vec![n - 2] } else { Vec::new() };
            let body = Body { xa: Some(part(&[n], &decided)), ..next_commit(&log, 0).await };
            append(&mut log, body).await.unwrap();
            states.push(Arc::clone(log.state()));
        }
    }
    let reader = ReadBack::new(Arc::clone(&store), states.last().unwrap().n);
    for state in states {
        assert_eq!(reader.prepared_before(state.n + 1).await.unwrap(), state.facts.xa);
    }
    assert_eq!(reader.prepared_before(0).await.unwrap(), []);
}

#[tokio::test]
async fn bytes_are_read_back_from_what_the_entry_names_and_an_altered_object_is_damage() {
    let memory = MemoryStore::default();
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let log = ready(&store, "one").await;
    let committer = Committer::start(log, &CommitterSettings::default(), &CancellationToken::new());
    let mut parts = Vec::new();
    for (from, to) in [(0u8, 10u8), (10, 30)] {
        let bytes = RawBytes::Plain((from..to).collect());
        let (lineage, file) = (LINEAGE.to_owned(), FILE.to_owned());
        let part = RawPart { lineage, file, from: from.into(), to: to.into(), bytes };
        parts.push(committer.upload_raw(part).await.unwrap());
    }
    let point = |pos| Point::new(LINEAGE, FILE, pos);
    let (closed, head) = (Vec::new(), None);
    let raw = RawBatch { from: point(0), to: point(30), parts, closed, head };
    committer.submit(Batch { raw: Some(raw), ..Batch::default() }).await.unwrap();
    committer.drain(LIMIT).await;

    let entry = &whole_log(&*store).await[2].entry;
    let read = async |pos| raw::read_from(&*store, entry, FILE, pos).await;
    assert_eq!(read(4).await.unwrap(), [4, 5, 6, 7, 8, 9]);
    assert_eq!(read(10).await.unwrap(), (10..30).collect::<Vec<u8>>());
    assert!(matches!(read(30).await, Err(ReadError::Damaged { n: 2, .. })));
    let key = &entry.raw.as_ref().unwrap().objects[0].key;
    store.put(key, Bytes::from_static(b"else")).await.unwrap();
    assert!(matches!(read(4).await, Err(ReadError::Damaged { n: 2, .. })));
    store.delete(key).await.unwrap();
    assert!(matches!(read(4).await, Err(ReadError::Damaged { n: 2, .. })));
}
