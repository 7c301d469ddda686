//! The Delta table follows the log, behind and at its own pace. Nothing waits for it.

use std::sync::Arc;
use std::time::Duration;

use archive::commit::Durable;
use archive::store::Store;
use changes::{PublishError, PublishSettings, Publisher};
use crds::conditions::Reason;
use crds::spans::TARGET;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, field::Empty, info_span};
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::board::Board;
use crate::config::stopped_within;
use crate::fault::chain;

/// Least time between two versions of the table.
const PUBLISH_EVERY: Duration = Duration::from_secs(10);
/// Failed attempts before the status tells: some seconds, so that a passing fault flips nothing.
const TOLD_AFTER: u32 = 8;
/// How long an attempt may go on after the end was asked for: one that hangs on a store that was away must not
/// take the time of the last one. Publishing twice is harmless, each version names the entry it ends with.
const LAST_ATTEMPT_AFTER: Duration = Duration::from_secs(2);

/// What the publisher follows.
pub struct Follow {
    /// The stream's root.
    pub store: Arc<dyn Store>,
    /// Id of the archive.
    pub archive: Uuid,
    /// Who else may write the table.
    pub settings: PublishSettings,
    /// The durable head.
    pub durable: watch::Receiver<Durable>,
    /// Told of foreign writers, and of a table that stays behind.
    pub board: Board,
}

/// Publishes until `stop`, then once more. Errors are retried; the archive does not need the table.
pub async fn follow(mut follow: Follow, stop: CancellationToken) {
    let mut backoff = Backoff::archive();
    let mut publisher = None;
    loop {
        let ending = stop.is_cancelled();
        let head = follow.durable.borrow_and_update().state.n;
        let span = span(head);
        let attempt = tokio::select! {
            attempt = publish(&mut publisher, &follow, head).instrument(span.clone()) => Some(attempt),
            () = late(&stop), if !ending => None,
        };
        let failed = match attempt {
            Some(Ok(())) => false,
            None => {
                publisher = None;
                continue;
            }
            Some(Err(error)) => {
                span.record("error.type", Reason::PublishFailed.as_str());
                span.record("otel.status_code", "error");
                let error = chain(&error);
                tracing::warn!(error, "change table could not be published, trying again");
                if backoff.attempts() >= TOLD_AFTER {
                    let message = format!(
                        "changes/ stays behind, the archive itself goes on: {error}; mend it, or delete \
                         changes/ and it is made again"
                    );
                    follow.board.update(|facts| {
                        facts.table = Some((Reason::PublishFailed, message));
                    });
                }
                true
            }
        };
        drop(span);
        if ending {
            return;
        }
        if failed {
            stopped_within(&stop, backoff.next_wait()).await;
            continue;
        }
        backoff.reset();
        if stopped_within(&stop, PUBLISH_EVERY).await {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            changed = follow.durable.changed() => if changed.is_err() { return },
        }
    }
}

/// The trace of one attempt.
fn span(head: u64) -> Span {
    info_span!(
        target: TARGET,
        parent: None,
        "publish",
        binlogstream.entry = head as i64,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

/// Some time after the end was asked for.
async fn late(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LAST_ATTEMPT_AFTER).await;
}

async fn publish(
    publisher: &mut Option<Publisher>,
    follow: &Follow,
    head: u64,
) -> Result<(), PublishError> {
    let open = match publisher.take() {
        Some(open) => open,
        None => {
            Publisher::open(Arc::clone(&follow.store), follow.archive, follow.settings.clone())
                .await?
        }
    };
    let open = publisher.insert(open);
    open.catch_up(head).await?;
    let foreign = open.foreign_version().map(|_| {
        let message = "another program wrote into changes/; its versions are skipped: give readers \
                       read-only credentials";
        (Reason::ForeignTableWriter, message.to_owned())
    });
    follow.board.update(|facts| facts.table = foreign);
    Ok(())
}
