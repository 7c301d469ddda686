//! Finding the newest entry, and folding the log up to it.
//!
//! Numbers are dense, so the head is found by reading forward from any entry that exists. Where to
//! begin is a guess (checkpoint, hint, listing); a wrong or stale guess costs reads, never truth.

use crds::position::Flavor;
use futures::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use super::OpenError;
use crate::entry::{Entry, Stored};
use crate::fold::State;
use crate::layout;
use crate::log::{ReadError, read_entry, read_objects, read_range};
use crate::store::Store;

/// Entries read at once when going forward, and in one step back.
const WINDOW: u64 = 16;
const STEP_BACK: u64 = 64;

/// `log/_head.json`: a hint, plain PUT, never trusted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeadHint {
    /// Version.
    pub(crate) format: u32,
    /// Newest entry when it was written.
    pub(crate) n: u64,
    /// Epoch of the writer.
    pub(crate) epoch: u64,
    /// Instance of the writer.
    pub(crate) instance: String,
}

/// The newest entries, in order, the head last. `None` for an empty log.
pub(super) async fn find(
    store: &dyn Store,
    checkpoint: Option<u64>,
) -> Result<Option<Vec<Stored>>, OpenError> {
    let hint = hinted(store).await?;
    let mut guesses: Vec<u64> = [checkpoint, hint].into_iter().flatten().collect();
    guesses.sort_unstable_by(|a, b| b.cmp(a));
    guesses.dedup();
    for n in guesses {
        if let Some(stored) = read_entry(store, n).await? {
            return Ok(Some(forward(store, stored).await?));
        }
    }
    let start = listed(store).await?.unwrap_or_default();
    match read_entry(store, start).await? {
        Some(stored) => Ok(Some(forward(store, stored).await?)),
        None if start == 0 => Ok(None),
        None => Err(ReadError::damaged(start, "it is listed and cannot be read").into()),
    }
}

async fn hinted(store: &dyn Store) -> Result<Option<u64>, OpenError> {
    let bytes = store.get(layout::HEAD_HINT).await?;
    let hint = bytes.and_then(|bytes| serde_json::from_slice::<HeadHint>(&bytes).ok());
    Ok(hint.map(|hint| hint.n))
}

/// The last number in the last directory.
async fn listed(store: &dyn Store) -> Result<Option<u64>, OpenError> {
    let directories = store.children(layout::LOG).await?;
    let Some(last) = directories.iter().rfind(|name| name.ends_with('/')) else {
        return Ok(None);
    };
    let names = store.children(&format!("{}{last}", layout::LOG)).await?;
    Ok(names.iter().filter_map(|name| layout::entry_number(name)).max())
}

/// Reads on from an entry until there is no next one.
async fn forward(store: &dyn Store, start: Stored) -> Result<Vec<Stored>, OpenError> {
    let mut walked = vec![start];
    loop {
        let from = walked.last().map_or(0, |stored| stored.entry.n + 1);
        let reads = (from..from + WINDOW).map(|n| read_entry(store, n));
        let window: Vec<Option<Stored>> =
            futures::stream::iter(reads).buffered(WINDOW as usize).try_collect().await?;
        let found = window.iter().take_while(|stored| stored.is_some()).count();
        let later = window.iter().skip(found).any(Option::is_some);
        walked.extend(window.into_iter().take(found).flatten());
        if found == WINDOW as usize {
            continue;
        }
        if !later {
            return Ok(walked);
        }
        // A writer may have created it between two of our reads; then it is there now.
        let missing = from + found as u64;
        match read_entry(store, missing).await? {
            Some(stored) => walked.push(stored),
            None => {
                return Err(ReadError::damaged(missing, "it is missing, later ones exist").into());
            }
        }
    }
}

/// Folds from the last `state` up to the head, reading back as far as needed.
pub(super) async fn fold(
    store: &dyn Store,
    flavor: Flavor,
    mut walked: Vec<Stored>,
) -> Result<State, OpenError> {
    let begins = |stored: &Stored| stored.entry.state.is_some() || stored.entry.n == 0;
    let start = loop {
        if let Some(start) = walked.iter().rposition(begins) {
            break start;
        }
        let first = walked.first().map_or(0, |stored| stored.entry.n);
        let from = first.saturating_sub(STEP_BACK);
        let mut earlier = read_range(store, from, first.saturating_sub(1)).await?;
        earlier.append(&mut walked);
        walked = earlier;
    };
    // Everything that was read is a chain, also what lies before the last state.
    for pair in walked.windows(2) {
        let [before, after] = pair else { continue };
        if after.entry.prev.as_deref() != Some(before.digest.as_str()) {
            let problem = format!("its prev is not the digest of entry {}", before.entry.n);
            return Err(ReadError::damaged(after.entry.n, problem).into());
        }
    }
    let mut entries = walked.iter().skip(start);
    let Some(first) = entries.next() else {
        return Err(ReadError::damaged(0, "the log is empty").into());
    };
    let mut state = State::begin(flavor, first)?;
    for stored in entries {
        state = state.apply(stored)?;
    }
    Ok(state)
}

/// Every object that an entry names exists and has its size.
pub(super) async fn check_objects(store: &dyn Store, entry: &Entry) -> Result<(), OpenError> {
    let objects = read_objects(store, entry).await?;
    let maintain = entry.maintain.as_ref();
    let raw = objects.raw.into_iter().chain(maintain.iter().flat_map(|body| body.add_raw.clone()));
    let raw = raw.map(|object| (object.key, object.bytes));
    let changes = objects.changes.into_iter();
    let changes = changes
        .chain(maintain.iter().flat_map(|body| body.add.clone()))
        .map(|file| (format!("{}{}", layout::CHANGES, file.path), file.bytes));
    let checks = raw.chain(changes).map(|(key, bytes)| async move {
        let found = store.stat(&key).await?;
        match found {
            Some(stat) if stat.bytes == bytes => Ok(()),
            Some(stat) => {
                let problem = format!("object {key} has {} bytes instead of {bytes}", stat.bytes);
                Err(OpenError::from(ReadError::damaged(entry.n, problem)))
            }
            None => Err(ReadError::damaged(entry.n, format!("object {key} is missing")).into()),
        }
    });
    futures::stream::iter(checks).buffer_unordered(WINDOW as usize).try_collect().await
}
