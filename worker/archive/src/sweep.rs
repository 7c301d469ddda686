//! Removing what a dead writer left: objects of a lower epoch that no entry names.
//!
//! V7 Safe even if this writer is itself outdated: it runs only after the own claim, touches only
//! keys of an epoch below it, and no entry after the claim can name one of those (V2)
//! (`a_sweep_during_uploads_of_the_next_writer_harms_nothing`, `a_sweep_leaves_what_is_named`).
//! Orphans lie only where the last writers were: under raw files from the first one unfinished in
//! the entries of the last epochs, and in the newest partitions; only those are listed.

use std::collections::{BTreeSet, HashMap, HashSet};

use crds::position::FileName;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::entry::{EntryKind, Stored};
use crate::fold::State;
use crate::layout;
use crate::log::{ReadError, read_entry, read_objects};
use crate::store::{Store, StoreError};

/// Entries read to know what is named.
const MAX_ENTRIES: u64 = 2_000;
/// Claims among them, the own one included.
const MAX_CLAIMS: usize = 16;
/// Keys listed at most; the rest waits for the next sweep.
const MAX_KEYS: usize = 50_000;
const PARALLEL: usize = 8;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Keys looked at.
    pub listed: usize,
    /// Objects deleted.
    pub deleted: usize,
    /// Objects that are dead and could not be deleted.
    pub left: usize,
}

/// Why a sweep stopped. It is tried again after the next claim.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The log could not be read.
    #[error("sweep archive")]
    Read(#[from] ReadError),
    /// The store could not be listed.
    #[error("sweep archive")]
    Store(#[from] StoreError),
}

/// Deletes the dead objects of the epochs before `claim`, the state right after the own claim.
///
/// # Errors
/// The log could not be read or the store not be listed. Objects that cannot be deleted are counted.
pub async fn sweep(store: &dyn Store, claim: &State) -> Result<Swept, SweepError> {
    let entries = last_epochs(store, claim).await?;
    let mut named = HashSet::new();
    for stored in &entries {
        named.extend(keys_named(store, stored).await?);
    }
    let newest = newest_named(&named);
    let mut swept = Swept::default();
    store.tidy(&layout::entry_directory(claim.n)).await?;
    for prefix in places(store, claim, &entries).await? {
        store.tidy(&prefix).await?;
        let found = store.list(&prefix).await?;
        for meta in found.into_iter().take(MAX_KEYS.saturating_sub(swept.listed)) {
            swept.listed += 1;
            let dead = layout::epoch_of(&meta.key).is_some_and(|epoch| epoch < claim.epoch)
                && (is_covered(&entries, &meta.key) || is_behind(&newest, &meta.key))
                && !named.contains(&meta.key);
            if !dead {
                continue;
            }
            crate::failpoint::reach("sweep", "deleting").await;
            match store.delete(&meta.key).await {
                Ok(()) => swept.deleted += 1,
                Err(error) => {
                    swept.left += 1;
                    tracing::debug!(%error, "dead object left in place");
                }
            }
        }
    }
    Ok(swept)
}

/// The entries of the epochs that may have left something: back to the claim before the last one, or
/// as far as the limit allows.
async fn last_epochs(store: &dyn Store, claim: &State) -> Result<Vec<Stored>, SweepError> {
    let first = claim.n.saturating_sub(MAX_ENTRIES);
    let reads = (first..=claim.n).rev().map(|n| async move {
        read_entry(store, n).await?.ok_or_else(|| ReadError::damaged(n, "it is missing"))
    });
    let mut reads = futures::stream::iter(reads).buffered(PARALLEL);
    let mut entries = Vec::new();
    let mut claims = 0;
    while let Some(stored) = reads.try_next().await? {
        claims += usize::from(stored.entry.kind == EntryKind::Claim);
        entries.push(stored);
        // Own claim, and those of the holders before: many where one crashed soon after each start.
        if claims == MAX_CLAIMS {
            break;
        }
    }
    entries.reverse();
    Ok(entries)
}

/// By epoch, the newest object that the entries read name.
fn newest_named(named: &HashSet<String>) -> HashMap<u64, u64> {
    let mut newest: HashMap<u64, u64> = HashMap::new();
    for key in named {
        if let (Some(epoch), Some(seq)) = (layout::epoch_of(key), layout::seq_of(key)) {
            let known = newest.entry(epoch).or_default();
            *known = seq.max(*known);
        }
    }
    newest
}

/// The last entries of each epoch were read, and objects are named in the order of their numbers: a later
/// number than the newest one named is named nowhere, however long the epoch is.
fn is_behind(newest: &HashMap<u64, u64>, key: &str) -> bool {
    let newest = layout::epoch_of(key).and_then(|epoch| newest.get(&epoch));
    newest.zip(layout::seq_of(key)).is_some_and(|(newest, seq)| seq > *newest)
}

/// Of an epoch all of whose entries were read, everything can be judged.
fn is_covered(entries: &[Stored], key: &str) -> bool {
    let Some(epoch) = layout::epoch_of(key) else { return false };
    entries
        .iter()
        .any(|stored| stored.entry.kind == EntryKind::Claim && stored.entry.epoch == epoch)
}

async fn keys_named(store: &dyn Store, stored: &Stored) -> Result<Vec<String>, SweepError> {
    let entry = &stored.entry;
    let objects = read_objects(store, entry).await?;
    let mut keys: Vec<String> = objects.raw.into_iter().map(|object| object.key).collect();
    let change = |path: &str| format!("{}{path}", layout::CHANGES);
    keys.extend(objects.changes.iter().map(|file| change(&file.path)));
    keys.extend(entry.lists().map(|list| list.key.clone()));
    keys.extend(entry.xa.iter().flat_map(|xa| xa.opened.iter().filter_map(|xa| xa.object.clone())));
    if let Some(maintain) = &entry.maintain {
        keys.extend(maintain.add_raw.iter().map(|object| object.key.clone()));
        keys.extend(maintain.add.iter().map(|file| change(&file.path)));
    }
    Ok(keys)
}

/// Where the last writers wrote.
async fn places(
    store: &dyn Store,
    claim: &State,
    entries: &[Stored],
) -> Result<BTreeSet<String>, SweepError> {
    let mut places = BTreeSet::from([layout::LISTS.to_owned()]);
    let spans = entries.iter().filter_map(|stored| stored.entry.raw.as_ref());
    let begun = spans.map(|span| (span.from.lineage.clone(), span.from.file.clone()));
    let stands = claim.facts.raw.iter().map(|at| (at.lineage.clone(), at.file.clone()));
    let mut oldest: Vec<(String, String)> = Vec::new();
    for (lineage, file) in begun.chain(stands) {
        let known = oldest.iter_mut().find(|(known, _)| *known == lineage);
        match known {
            Some((_, old)) if FileName::of(&file) < FileName::of(old) => *old = file,
            Some(_) => {}
            None => oldest.push((lineage, file)),
        }
    }
    for (lineage, file) in oldest {
        let folder = format!("{}{}/", layout::RAW, layout::encode(&lineage));
        for name in store.children(&folder).await? {
            let plain = name.trim_end_matches('/');
            if FileName::of(plain) >= FileName::of(&layout::encode(&file)) {
                places.insert(format!("{folder}{name}"));
            }
        }
    }
    let dates = entries.iter().filter_map(|stored| stored.entry.changes.as_ref());
    let dates = dates.flat_map(|span| span.files.iter().map(|file| file.date.clone()));
    // Some writers wrote into older partitions.
    let claims = entries.iter().filter_map(|stored| stored.entry.claim.as_ref());
    let first = dates.chain(claims.filter_map(|claim| claim.partitions_from.clone())).min();
    let first = first.or_else(|| entries.first().map(|stored| layout::day(stored.entry.time)));
    for name in store.children(layout::CHANGES).await? {
        let date = name.trim_end_matches('/').strip_prefix("date=");
        if date.is_some_and(|date| first.as_deref().is_none_or(|first| date >= first)) {
            places.insert(format!("{}{name}", layout::CHANGES));
        }
    }
    Ok(places)
}
