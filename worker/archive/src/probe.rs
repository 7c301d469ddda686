//! Does the store fence? Tried before the first claim, not believed.
//!
//! Many creators at once, over connections of their own, on each of several keys: exactly one may
//! win, and the stored bytes must be the winner's. A store that checks and writes in two steps passes
//! any probe in turn and fails this one (`a_store_that_checks_and_then_writes_is_refused`): every
//! creator has opened its request before the first of them writes, so that a busy machine cannot
//! draw them apart. A store of many gateways can still deceive it; the documentation says so.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crds::conditions::Reason;
use futures::FutureExt as _;
use futures::future::join_all;
use tokio::sync::Barrier;
use uuid::Uuid;

use crate::layout;
use crate::store::{Create, Store, StoreClass, StoreError, Turn};

/// Creators of one key.
pub const CREATORS: usize = 16;
/// Keys.
pub const KEYS: usize = 8;
/// How long a creator waits for the others to be as far as it is. A store that answers before it has
/// the body keeps nobody waiting.
const TOGETHER: Duration = Duration::from_secs(5);
/// Tries of one creator while the store answers "come again".
const TRIES: usize = 5;

/// Why a store cannot be used, or not now.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProbeError {
    /// It does not fence.
    #[error(
        "probe {at}: {problem}; use a store whose creates are exclusive (If-None-Match on S3, \
         link(2) on a volume)"
    )]
    NotExclusive {
        /// Which store.
        at: String,
        /// What was seen.
        problem: String,
    },
    /// It gave no answer, or refused.
    #[error("probe store")]
    Store(#[from] StoreError),
}

impl ProbeError {
    /// The reason that a status shows.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotExclusive { .. } => Reason::FencingUnsupported,
            Self::Store(error) => error.reason(),
        }
    }
}

/// Probes a store (its root, not a stream's). Leaves nothing behind but keys under `.probe/` where
/// deleting is not allowed.
///
/// # Errors
/// The store does not fence, or gave no answer.
pub async fn probe(store: &Arc<dyn Store>) -> Result<(), ProbeError> {
    let run = Uuid::new_v4();
    let stores: Vec<Arc<dyn Store>> = (0..CREATORS).map(|_| store.separate()).collect();
    for key in 0..KEYS {
        let key = format!("{}{run}-{key}", layout::PROBE);
        let verdict = race(&stores, &key).await;
        let verdict = match verdict {
            Ok(winner) => check(&**store, &key, winner).await,
            Err(error) => Err(error),
        };
        if let Err(error) = store.delete(&key).await {
            tracing::debug!(%error, "probe key not deleted");
        }
        verdict?;
    }
    Ok(())
}

fn bytes_of(creator: usize) -> Bytes {
    Bytes::from(format!("{creator:02}").repeat(512))
}

/// All create at once; the one that won.
async fn race(stores: &[Arc<dyn Store>], key: &str) -> Result<usize, ProbeError> {
    let start = Arc::new(Barrier::new(stores.len()));
    let creators = stores.iter().enumerate().map(|(creator, store)| {
        let start = Arc::clone(&start);
        let turn = async move {
            // Whoever is late finds the key and loses, which is no fault of the store.
            let _together = tokio::time::timeout(TOGETHER, start.wait()).await;
        };
        create(&**store, key, bytes_of(creator), turn.boxed())
    });
    let mut winners = Vec::new();
    for (creator, outcome) in join_all(creators).await.into_iter().enumerate() {
        if outcome? == Create::Made {
            winners.push(creator);
        }
    }
    if let [winner] = winners[..] {
        return Ok(winner);
    }
    let at = stores.first().map(|store| store.describe()).unwrap_or_default();
    let problem = format!("of {} creators of one key {} succeeded", stores.len(), winners.len());
    Err(ProbeError::NotExclusive { at, problem })
}

/// A creator is asked to come again by 409 and 503. What it wrote may be there by then, so "exists"
/// is settled by reading.
async fn create(
    store: &dyn Store,
    key: &str,
    bytes: Bytes,
    turn: Turn,
) -> Result<Create, StoreError> {
    let mut turn = Some(turn);
    let mut ambiguous = false;
    let mut backoff = crate::retry::Backoff::default();
    for left in (0..TRIES).rev() {
        let outcome = match turn.take() {
            Some(turn) => store.create_in_turn(key, bytes.clone(), turn).await,
            None => store.create(key, bytes.clone()).await,
        };
        match outcome {
            Ok(Create::Exists) if ambiguous => {
                let mine = store.get(key).await?.is_some_and(|found| found == bytes);
                return Ok(if mine { Create::Made } else { Create::Exists });
            }
            Ok(outcome) => return Ok(outcome),
            Err(error) if error.is_transient() && left > 0 => {
                ambiguous = true;
                tokio::time::sleep(backoff.next_wait()).await;
            }
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::new(StoreClass::Transient, format!("create {key}"), "no certain answer"))
}

async fn check(store: &dyn Store, key: &str, winner: usize) -> Result<(), ProbeError> {
    let stored = store.get(key).await?;
    let problem = match stored {
        Some(bytes) if bytes == bytes_of(winner) => return Ok(()),
        Some(_) => "the stored bytes are not the winner's",
        None => "the winner's object does not exist",
    };
    Err(ProbeError::NotExclusive { at: store.describe(), problem: problem.to_owned() })
}
