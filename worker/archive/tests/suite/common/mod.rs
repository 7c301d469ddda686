//! What the archive's tests share: a store that loses replies and delays requests, and writers.

pub mod faulty;

use std::collections::HashSet;
use std::sync::Arc;

use archive::checkpoint::Loaded;
use archive::claim::{ClaimError, ClaimRequest, Claimed};
use archive::entry::{
    ClaimConfig, EntryKind, FullGtid, LineageBody, LineageCause, Point, RawObject, RawSpan,
    ServerId, Stored, Writer, sha256,
};
use archive::fold::State;
use archive::layout;
use archive::log::{Appended, Body, Log, LogError, NoObserver, read_objects, read_range};
use archive::open::{OpenError, OpenRequest, Opened, open};
use archive::store::Store;
use archive::stream_json::Owner;
use bytes::Bytes;
use crds::position::{Flavor, GtidSet};
use tokio_util::sync::CancellationToken;

pub const LINEAGE: &str = "0001-3306";
pub const FILE: &str = "binlog.000001";

pub fn owner(cluster: &str) -> Owner {
    Owner { cluster: cluster.to_owned(), namespace: "shop".to_owned(), name: "orders".to_owned() }
}

pub fn request(instance: &str) -> OpenRequest {
    OpenRequest {
        owner: owner("here"),
        writer: Writer { instance: instance.to_owned(), version: "0.1.0".to_owned() },
        flavor: Some(Flavor::MariaDB),
        fenced_before: false,
        adopt_archive: None,
        accept_archive: None,
        consents_by: "test".to_owned(),
    }
}

pub fn claim_request() -> ClaimRequest {
    let config = ClaimConfig { raw: true, changes: false, ..ClaimConfig::default() };
    ClaimRequest { flavor: Flavor::MariaDB, config, probe: None, partitions_from: None }
}

pub async fn opened(store: &Arc<dyn Store>, instance: &str) -> Result<Opened, OpenError> {
    open(Arc::clone(store), &Loaded::Absent, request(instance)).await
}

pub async fn claim(opened: Opened) -> Result<Claimed, ClaimError> {
    opened.claim(claim_request(), &NoObserver, &CancellationToken::new()).await
}

/// Opens and claims.
pub async fn take(store: &Arc<dyn Store>, instance: &str) -> Log {
    claim(opened(store, instance).await.unwrap()).await.unwrap().log
}

pub async fn append(log: &mut Log, body: Body) -> Result<Appended, LogError> {
    log.append(body, &NoObserver, &CancellationToken::new()).await
}

pub fn lineage() -> Body {
    Body::lineage(LineageBody {
        id: LINEAGE.to_owned(),
        cause: LineageCause::Start,
        server: ServerId { uuid: None, id: 3306, version: "11.8".to_owned() },
        file: FILE.to_owned(),
        fde_time: None,
        from_at: Point::new(LINEAGE, FILE, 4),
        gtid: Some(FullGtid { set: Some("0-1-1".to_owned()), list: None }),
        held: None,
        held_by_server: None,
        proof: None,
        consent: None,
    })
}

/// Opens, claims, and begins the first lineage if there is none.
pub async fn ready(store: &Arc<dyn Store>, instance: &str) -> Log {
    let mut log = take(store, instance).await;
    if log.state().lineage().is_none() {
        append(&mut log, lineage()).await.unwrap();
    }
    log
}

/// Uploads ten bytes after the cursor and gives the commit that names them.
pub async fn next_commit(log: &Log, seq: u64) -> Body {
    try_next_commit(log, seq).await.unwrap()
}

/// The same, where the upload may fail.
pub async fn try_next_commit(log: &Log, seq: u64) -> Option<Body> {
    let from = log.state().facts.raw.clone()?;
    let to = Point { pos: from.pos + 10, ..from.clone() };
    let key = layout::raw(&from.lineage, &from.file, from.pos, to.pos, log.epoch(), seq);
    let bytes = Bytes::from(format!("{}:{}", log.instance(), from.pos));
    log.store().put(&key, bytes.clone()).await.ok()?;
    let object = RawObject {
        key,
        file: from.file.clone(),
        from: from.pos,
        to: to.pos,
        bytes: bytes.len() as u64,
        sha256: sha256(&bytes),
    };
    let seq = 2 + to.pos / 10;
    Some(Body {
        gtid_added: Some(GtidSet::parse(Flavor::MariaDB, &format!("0-1-{seq}")).unwrap()),
        raw: Some(RawSpan { from, to, objects: vec![object], closed: Vec::new(), head: None }),
        ..Body::new(EntryKind::Commit)
    })
}

pub async fn commit(log: &mut Log, seq: u64) -> Result<Appended, LogError> {
    let body = next_commit(log, seq).await;
    append(log, body).await
}

/// Reads the whole log.
pub async fn whole_log(store: &dyn Store) -> Vec<Stored> {
    let mut n = 0;
    while store.get(&layout::entry(n)).await.unwrap().is_some() {
        n += 1;
    }
    read_range(store, 0, n - 1).await.unwrap()
}

/// The oracles: the log folds from entry 0 and from each state alike, the epochs never fall (the
/// fold refuses it), everything named exists, whole, and every raw byte is there once.
pub async fn check(store: &dyn Store) -> State {
    let log = whole_log(store).await;
    let fold = |from: usize| {
        let mut state = State::begin(Flavor::MariaDB, &log[from]).unwrap();
        for stored in &log[from + 1..] {
            state = state.apply(stored).unwrap();
        }
        state
    };
    let state = fold(0);
    for (at, stored) in log.iter().enumerate() {
        if stored.entry.state.is_some() {
            assert_eq!(fold(at), state, "folded from entry {at}");
        }
    }
    let mut keys = HashSet::new();
    let mut end = 0;
    for stored in &log {
        for object in read_objects(store, &stored.entry).await.unwrap().raw {
            let bytes = store.get(&object.key).await.unwrap().expect("a named object is missing");
            assert_eq!(sha256(&bytes), object.sha256, "{}", object.key);
            assert_eq!(object.from, end, "{} leaves a hole or doubles", object.key);
            assert!(keys.insert(object.key.clone()));
            end = object.to;
        }
    }
    state
}

/// Waits until something is so, at most ten seconds.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let limit = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while !so() {
        assert!(tokio::time::Instant::now() < limit, "not so after 10s: {what}");
        tokio::task::yield_now().await;
    }
}
