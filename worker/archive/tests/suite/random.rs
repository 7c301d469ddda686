//! Random schedules of three writers over a store that loses, delays and refuses requests.

use std::collections::BTreeMap;

use crate::common::faulty::Faulty;
use crate::common::{append, check, claim, lineage, opened, try_next_commit, whole_log};
use archive::entry::EntryKind;
use archive::log::LogError;
use archive::store::memory::MemoryStore;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

const SCHEDULES: u64 = 60;

/// Opens, claims and commits until somebody else claims; what was acknowledged to it.
async fn write(store: Faulty, name: String, seed: u64) -> BTreeMap<u64, String> {
    let mut random = StdRng::seed_from_u64(seed);
    let store = store.shared();
    let mut acknowledged = BTreeMap::new();
    for life in 0..2 {
        for _ in 0..random.random_range(0..40) {
            tokio::task::yield_now().await;
        }
        // A new life is a new pod.
        let instance = format!("{name}-{life}");
        let Ok(opened) = opened(&store, &instance).await else { continue };
        let Ok(claimed) = claim(opened).await else { continue };
        let mut log = claimed.log;
        acknowledged.insert(log.state().n, log.state().digest.clone());
        if log.state().lineage().is_none() {
            match append(&mut log, lineage()).await {
                Ok(done) => acknowledged.insert(done.state.n, done.stored.digest.clone()),
                Err(_) => continue,
            };
        }
        for seq in 0..random.random_range(1..12) {
            // An upload may fail; then nothing was named.
            let Some(body) = try_next_commit(&log, seq).await else { continue };
            match append(&mut log, body).await {
                Ok(done) => acknowledged.insert(done.state.n, done.stored.digest.clone()),
                Err(LogError::Fenced { .. }) => break,
                Err(error) => panic!("{error}"),
            };
        }
    }
    acknowledged
}

#[tokio::test]
async fn random_schedules_never_let_a_lower_epoch_in_after_a_higher_claim() {
    let schedules = (0..SCHEDULES).map(|seed| async move {
        let memory = MemoryStore::default();
        let writers = (0..3).map(|at| {
            let view = Faulty::chaotic(&memory, seed * 7 + at);
            write(view, format!("w{at}"), seed * 31 + at)
        });
        let acknowledged = futures::future::join_all(writers).await;
        // Late requests land.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        let end = check(&memory).await;
        let log = whole_log(&memory).await;
        let mut epochs = 0;
        for stored in &log {
            assert!(stored.entry.epoch >= epochs, "seed {seed}");
            let rises = stored.entry.epoch > epochs;
            assert_eq!(rises, stored.entry.kind == EntryKind::Claim, "seed {seed}");
            epochs = stored.entry.epoch;
        }
        // What was acknowledged to anybody is there, and nobody was told the same number twice.
        let mut told = BTreeMap::new();
        for (n, digest) in acknowledged.into_iter().flatten() {
            assert_eq!(told.insert(n, digest.clone()), None, "seed {seed}, entry {n}");
            assert_eq!(log[n as usize].digest, digest, "seed {seed}, entry {n}");
        }
        end.epoch
    });
    let epochs = futures::future::join_all(schedules).await;
    // A claim that comes after the others' end meets nobody; a test of which most do proves nothing.
    let met = epochs.iter().filter(|epoch| **epoch > 1).count();
    assert!(met * 4 >= epochs.len(), "the writers did not meet: {epochs:?}");
}
