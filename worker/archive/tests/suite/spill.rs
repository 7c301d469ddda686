//! What is too long for an entry: it stands beside it, and nobody notices.

use std::sync::Arc;
use std::time::Duration;

use archive::commit::{Batch, Committer, CommitterSettings, RawBatch, RawBytes, RawPart};
use archive::entry::{FullGtid, LineageBody, Missing, Point, TableGap};
use archive::entry::{GapBody, GapPhase, Proof};
use archive::log::Body;
use archive::store::Store;
use archive::store::memory::MemoryStore;
use archive::sweep::sweep;
use bytes::Bytes;
use crds::position::{Flavor, GtidSet};
use tokio_util::sync::CancellationToken;

use crate::common::{FILE, LINEAGE, append, check, commit, ready, take, whole_log};

const LIMIT: Duration = Duration::from_secs(10);

fn point(pos: u64) -> Point {
    Point::new(LINEAGE, FILE, pos)
}

/// A table that stopped.
fn stopped(n: usize) -> TableGap {
    TableGap {
        id: format!("tablestopped-{n}"),
        scope: "table".to_owned(),
        table: Some(format!("shop.a_table_with_a_rather_long_name_{n}")),
        reason: "TableStopped".to_owned(),
        from: point(4),
        to: None,
        from_row: None,
        missing: Some("a column type that is not supported; exclude the table".to_owned()),
        by: None,
        since: Some(jiff::Timestamp::UNIX_EPOCH),
    }
}

/// A set whose text is so long that it fits no entry.
fn fragmented(domains: u32) -> GtidSet {
    let parts: Vec<String> = (1..domains).map(|domain| format!("{domain}-1-123456789")).collect();
    GtidSet::parse(Flavor::MariaDB, &parts.join(",")).unwrap()
}

#[tokio::test]
async fn thousands_of_stopped_tables_and_transactions_fit_one_cut_and_every_claim_after_it() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let log = ready(&store, "one").await;
    let committer = Committer::start(log, &CommitterSettings::default(), &CancellationToken::new());
    let bytes = RawBytes::Plain(Bytes::from_static(&[7; 10]));
    let (lineage, file) = (LINEAGE.to_owned(), FILE.to_owned());
    let part = committer.upload_raw(RawPart { lineage, file, from: 0, to: 10, bytes });
    let raw = RawBatch {
        from: point(0),
        to: point(10),
        parts: vec![part.await.unwrap()],
        closed: Vec::new(),
        head: None,
    };
    let gaps: Vec<TableGap> = (0..5_000).map(stopped).collect();
    let added = fragmented(60_000);
    let gtid_added = Some(added.clone());
    let batch = Batch { raw: Some(raw), gaps: gaps.clone(), gtid_added, ..Batch::default() };
    committer.submit(batch).await.unwrap();
    let mut durable = committer.durable();
    let reached = durable.wait_for(|head| head.state.n == 2);
    let state = tokio::time::timeout(LIMIT, reached).await.expect("durable").unwrap().state.clone();
    assert_eq!((state.facts.table_gaps.len(), added.is_subset_of(&state.gtid)), (5_000, true));
    committer.drain(LIMIT).await;

    let mut two = take(&store, "two").await;
    assert_eq!(two.state().facts.table_gaps, gaps);
    let three = take(&store, "three").await;
    assert_eq!((three.state().facts.table_gaps.len(), &three.state().gtid), (5_000, &state.gtid));
    assert!(commit(&mut two, 0).await.is_err(), "fenced");
    let log = whole_log(&*store).await;
    assert_eq!(log[2].entry.gaps, gaps, "a reader finds them in the entry");
    assert!(log[2].entry.at.as_ref().unwrap().gtid.added.len() > 500_000);
    sweep(&*store, three.state()).await.unwrap();
    assert_eq!(check(&*store).await.facts.table_gaps, gaps, "a sweep leaves the lists");
}

#[tokio::test]
async fn long_sets_of_a_lineage_fit_it_and_every_state_after_it() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let mut log = ready(&store, "one").await;
    let long = fragmented(40_000).to_string();
    let missing = Some(Missing { gtid: Some(long.clone()), ..Missing::default() });
    let gap = GapBody {
        id: "g1".to_owned(),
        phase: GapPhase::Detected,
        reason: "BinlogPurged".to_owned(),
        from: point(0),
        to: None,
        missing,
        by: "worker".to_owned(),
    };
    append(&mut log, Body::gap(gap, None, Vec::new())).await.unwrap();
    for n in 2..5 {
        let id = format!("000{n}-3306");
        let begun = crate::common::lineage().lineage.unwrap();
        let full = Some(FullGtid { set: Some(long.clone()), list: None });
        let body = LineageBody {
            from_at: Point { lineage: id.clone(), ..begun.from_at },
            id,
            gtid: full.clone(),
            held: full.clone(),
            held_by_server: full,
            proof: Some(Proof { ours: long.clone(), executed: long.clone(), purged: long.clone() }),
            ..begun
        };
        append(&mut log, Body::lineage(body)).await.unwrap();
    }
    let two = take(&store, "two").await;
    let held = |stint: usize| two.state().facts.lineages[stint].held.clone();
    assert_eq!(held(3).unwrap().set, Some(long), "the newest stint knows it");
    assert_eq!(held(2), None, "nobody asks what was held before");
    check(&*store).await;
}
