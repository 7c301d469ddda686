//! The orderly end of a session: what was received becomes durable, within the grace period.

use std::sync::Arc;
use std::time::Duration;

use archive::LogError;
use archive::checkpoint::Keeper;
use archive::commit::{CommitEnd, Committer};
use tokio_util::sync::CancellationToken;

use super::{Elapsed, Session, SessionEnd};

impl Session<'_> {
    /// Makes durable what was received, writes the last checkpoint and publishes, within the grace period.
    pub(super) async fn drain(
        &self,
        committer: Arc<Committer>,
        keeper: Keeper,
        side: CancellationToken,
        mut tasks: tokio::task::JoinSet<()>,
        end: SessionEnd,
    ) -> SessionEnd {
        let fenced = matches!(end, SessionEnd::Fenced(_));
        let grace = Duration::from_secs(u64::from(self.config.borrow().grace_period_seconds));
        // The committer's durable watch must stay alive for the publisher's last round.
        let ended = committer.ended();
        if !fenced && let Err(Elapsed) = settled(&committer, grace / 4).await {
            tracing::warn!(
                "the archive did not take everything in time; it is read again at the next start"
            );
        }
        if fenced {
            keeper.abandon();
        } else {
            keeper.drain().await;
        }
        side.cancel();
        let joined =
            tokio::time::timeout(grace / 8, async { while tasks.join_next().await.is_some() {} });
        if joined.await.is_err() {
            tasks.shutdown().await;
        }
        let outcome = match Arc::into_inner(committer) {
            Some(committer) => committer.drain(grace / 8).await,
            None => ended.borrow().clone().unwrap_or(CommitEnd::Cancelled),
        };
        match (end, outcome) {
            (SessionEnd::Fenced(by), _)
            | (_, CommitEnd::Fenced(by) | CommitEnd::Log(LogError::Fenced { by, .. })) => {
                SessionEnd::Fenced(by)
            }
            (_, CommitEnd::Upload(error)) => SessionEnd::Rebuild(error.into()),
            (SessionEnd::Told, _) => SessionEnd::Told,
            (_, CommitEnd::Log(LogError::Store(error))) => SessionEnd::Rebuild(error.into()),
            (_, CommitEnd::Log(error)) => SessionEnd::Fault(error.into()),
            (end, _) => end,
        }
    }
}

/// Returns when nothing that was submitted waits any more, or the committer has ended.
async fn settled(committer: &Committer, limit: Duration) -> Result<(), Elapsed> {
    let (mut status, mut ended) = (committer.status(), committer.ended());
    let quiet = async {
        tokio::select! {
            _ = status.wait_for(|status| status.pending_bytes == 0) => {}
            _ = ended.wait_for(Option::is_some) => {}
        }
    };
    tokio::time::timeout(limit, quiet).await.map_err(|_| Elapsed)
}
