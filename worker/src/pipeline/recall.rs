//! Bytes of prepared transactions read back from the archive, for the verdicts that come late.

use std::sync::Arc;

use archive::commit::Committer;
use archive::entry::XaOpened;
use archive::log::{ReadError, read_entry};
use archive::store::Store;

use super::assemble::Wanted;
use crate::backoff::Backoff;
use crate::fault::chain;

/// See the module's text.
pub struct Recall<'a> {
    /// Knows what is durable.
    pub committer: &'a Arc<Committer>,
    /// The stream's root.
    pub store: &'a Arc<dyn Store>,
}

impl Recall<'_> {
    /// Whether the wanted bytes are durable.
    pub fn holds(&self, wanted: &Wanted) -> bool {
        let state = Arc::clone(&self.committer.durable().borrow().state);
        state.facts.xa.iter().any(|open| is_of(open, wanted))
    }

    /// The wanted bytes, once they are durable, and whatever else their object holds behind them. Waits for a store
    /// that gives no answer; the text says what is wrong with an archive that no longer has them.
    pub async fn fetch(&self, wanted: &Wanted) -> Result<Vec<u8>, String> {
        let mut backoff = Backoff::archive();
        loop {
            match self.read(wanted).await {
                Ok(bytes) => return Ok(bytes),
                Err(error @ (ReadError::Damaged { .. } | ReadError::Newer { .. })) => {
                    return Err(chain(&error));
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "a prepared transaction cannot be read back, trying again");
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    async fn read(&self, wanted: &Wanted) -> Result<Vec<u8>, ReadError> {
        let n = self.entry_of(wanted).await;
        let missing = || ReadError::Damaged { n, problem: "it is missing".to_owned() };
        let stored = read_entry(&**self.store, n).await?.ok_or_else(missing)?;
        archive::raw::read_from(&**self.store, &stored.entry, &wanted.group.file, wanted.from).await
    }

    /// The entry that names the bytes, once there is one.
    async fn entry_of(&self, wanted: &Wanted) -> u64 {
        let mut durable = self.committer.durable();
        let there = durable.wait_for(|head| {
            head.state.facts.xa.iter().any(|open| is_of(open, wanted) && open.n.is_some())
        });
        let Ok(head) = there.await else {
            // The committer has ended, and the stream ends with it.
            return std::future::pending().await;
        };
        let open = head.state.facts.xa.iter().find(|open| is_of(open, wanted));
        open.and_then(|open| open.n).unwrap_or_default()
    }
}

fn is_of(open: &XaOpened, wanted: &Wanted) -> bool {
    open.xid == wanted.xid && open.file == wanted.group.file && open.from == wanted.group.offset
}
