//! `commit-now`: what the stream holds becomes durable at once, however long `archive.commit.maxDelay` is.
//!
//! The stream cuts at its last boundary and says where that is; the request is answered when the archive's durable
//! position has reached it. Carried out once for each value; a process that starts anew may do it again, which only
//! makes one more entry.

use std::cmp::Ordering;
use std::sync::{Mutex, PoisonError};

use archive::commit::{Committer, Durable};
use crds::position::FilePosition;
use tokio::sync::{mpsc, oneshot};

use super::housekeeping::handled;
use crate::board::Board;

/// Asks a stream to cut; it answers with its last boundary.
pub type Ask = mpsc::Sender<oneshot::Sender<FilePosition>>;

/// The value that was carried out last.
#[derive(Debug, Default)]
pub struct Committed(Mutex<Option<String>>);

impl Committed {
    fn is(&self, value: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_deref() == Some(value)
    }

    fn set(&self, value: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value.to_owned());
    }
}

/// Carries the request out, unless it was. Where the connection ends meanwhile the next one does.
pub async fn commit_now(
    value: Option<&str>,
    committed: &Committed,
    ask: &Ask,
    committer: &Committer,
    board: &Board,
) {
    let Some(value) = value.filter(|value| !committed.is(value)) else { return };
    let (reply, boundary) = oneshot::channel();
    if ask.send(reply).await.is_err() {
        return;
    }
    let Ok(at) = boundary.await else { return };
    let mut durable = committer.durable();
    let Ok(n) = durable.wait_for(|head| has_reached(head, &at)).await.map(|head| head.state.n)
    else {
        return;
    };
    committed.set(value);
    tracing::info!(value, at = %at, entry = n, "committed on request");
    handled(board, "commit-now", value, &format!("everything up to {at} is durable, by entry {n}"));
}

fn has_reached(head: &Durable, at: &FilePosition) -> bool {
    let stands = head.state.resume().and_then(|point| point.position().cmp_in_lineage(at));
    stands.is_some_and(Ordering::is_ge)
}
