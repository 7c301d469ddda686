//! What may end a connection from outside: the process, the configuration, a moved address, a higher claim.

use std::sync::Arc;
use std::time::{Duration, Instant};

use archive::LogError;
use archive::commit::Committer;
use archive::entry::Holder;
use crds::annotations::CheckpointRequest;
use crds::conditions::Reason;
use crds::worker_config::{Consents, WorkerConfig};
use jiff::Timestamp;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::commit_now::{Ask, Committed, commit_now};
use super::decide::server_of;
use super::housekeeping::{GapConsents, acknowledge_gaps};
use super::request::refuse_late;
use crate::board::Board;
use crate::config::Current;
use crate::fault::Fault;
use crate::upstream::{SecretFiles, source_settings};

/// How often a new control connection asks who answers at the address.
pub const IDENTITY_EVERY: Duration = Duration::from_secs(30);
/// How often the log is asked for a higher claim.
pub const FENCE_EVERY: Duration = Duration::from_secs(30);
/// How soon after no answer.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// An archive that gives no answer for so long is reported, although nothing may wait for it.
const ARCHIVE_SILENT: Duration = Duration::from_secs(60);
/// Longest wait for one such question.
const QUESTION_LIMIT: Duration = Duration::from_secs(20);

/// Why a connection shall end.
#[derive(Debug)]
pub enum Cause {
    /// The process shall end.
    Stop,
    /// The configuration changed in a way that needs a new session.
    Config,
    /// Another server answers at the address.
    Moved(String),
    /// Another writer claimed.
    Fenced(Holder),
}

/// What is watched.
pub struct Watch<'a> {
    /// The process.
    pub stop: &'a CancellationToken,
    /// The configuration.
    pub config: Current,
    /// The configuration that the session runs with.
    pub running: Arc<WorkerConfig>,
    /// The account's secrets, read anew for each question: they may be rotated while the dump is open.
    pub secrets: &'a SecretFiles,
    /// Our id as a replica.
    pub server_id: u32,
    /// The server that the dump reads from.
    pub server: &'a str,
    /// The log.
    pub committer: &'a Committer,
    /// Told what is learnt.
    pub board: &'a Board,
    /// Asks the stream to cut.
    pub ask: Ask,
    /// The commit on request that was carried out last.
    pub committed: &'a Committed,
    /// The request to move the checkpoint that the process began with.
    pub asked: Option<&'a CheckpointRequest>,
}

impl Watch<'_> {
    /// Waits for the first cause.
    pub async fn wait(&self) -> Cause {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Cause::Stop,
            cause = self.config() => cause,
            cause = self.fence() => cause,
            cause = self.identity() => cause,
        }
    }

    /// A changed specification ends the session; consents alone are carried out at once.
    pub async fn config(&self) -> Cause {
        let mut config = self.config.clone();
        config.mark_changed();
        while config.changed().await.is_ok() {
            let new = config.borrow_and_update().clone();
            if !same_but_consents(&self.running, &new) {
                return Cause::Config;
            }
            let mut later = self.config.clone();
            tokio::select! {
                biased;
                // The archive may be away: what else is wished must not wait for it.
                () = another(&mut later, &self.running) => return Cause::Config,
                done = self.wishes(&new.consents) => if done.is_err() {
                    // The committer has ended; the session sees it and says why.
                    std::future::pending::<()>().await;
                },
            }
        }
        std::future::pending().await
    }

    /// What people ask of a stream that runs.
    async fn wishes(&self, consents: &Consents) -> Result<(), LogError> {
        let state = self.committer.durable().borrow().state.clone();
        if let Some(late) = consents.checkpoint_request()
            && self.asked != Some(&late)
        {
            refuse_late(self.board, &late, Some(&state));
        }
        let given = GapConsents::new(consents, &state);
        acknowledge_gaps(self.committer, given, self.board).await?;
        let value = consents.commit_now.as_deref();
        commit_now(value, self.committed, &self.ask, self.committer, self.board).await;
        Ok(())
    }

    /// Looks for a higher claim. No answer is no news about that: the next append settles it. For long, it is news
    /// about the archive.
    pub async fn fence(&self) -> Cause {
        let fence = self.committer.fence();
        let mut tick = ticks(FENCE_EVERY);
        let mut answered = Instant::now();
        loop {
            tick.tick().await;
            let n = self.committer.durable().borrow().state.n;
            let fault = match tokio::time::timeout(QUESTION_LIMIT, fence.check(n)).await {
                Ok(Ok(Some(holder))) => return Cause::Fenced(holder),
                Ok(Ok(None)) => {
                    answered = Instant::now();
                    self.board.archive_answered();
                    continue;
                }
                Ok(Err(error)) => Fault::from(error),
                Err(_) => Fault::archive(Reason::ArchiveUnreachable, "no answer in time"),
            };
            tracing::debug!(%fault, "the archive gave no answer about its fence");
            let silent = answered.elapsed();
            if silent > ARCHIVE_SILENT {
                let message = format!("no answer for {} s: {}", silent.as_secs(), fault.message);
                self.board.archive_silent(fault.reason, message);
            }
            tick.reset_after(ASK_AGAIN);
        }
    }

    /// Asks who answers at the address now: an open dump stays on a demoted server and looks idle.
    async fn identity(&self) -> Cause {
        let mut tick = ticks(IDENTITY_EVERY);
        tick.tick().await;
        loop {
            tick.tick().await;
            if let Ok(Some(server)) =
                tokio::time::timeout(QUESTION_LIMIT, self.ask_identity()).await
                && server != self.server
            {
                return Cause::Moved(server);
            }
        }
    }

    /// Who answers; `None` when nobody does: the dump's heartbeats tell whether the source lives.
    async fn ask_identity(&self) -> Option<String> {
        let settings = source_settings(&self.running, self.secrets, self.server_id).ok()?;
        let mut connection = source::connect(&settings).await.ok()?;
        let identity = source::inspect(&mut connection).await.ok()?;
        connection.close().await;
        self.board.update(|facts| {
            facts.lag.set_clock_offset(identity.clock_us - Timestamp::now().as_microsecond());
        });
        Some(server_of(&identity))
    }
}

/// Returns when a specification is in force that needs another session.
pub async fn another(config: &mut Current, running: &WorkerConfig) {
    let changed = config.wait_for(|new| !same_but_consents(running, new)).await.is_ok();
    if !changed {
        // Nobody changes it any more.
        std::future::pending::<()>().await;
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

/// Whether nothing that a running session depends on has changed.
fn same_but_consents(running: &WorkerConfig, new: &WorkerConfig) -> bool {
    let plain = |config: &WorkerConfig| WorkerConfig {
        consents: Consents::default(),
        generation: None,
        ..config.clone()
    };
    plain(running) == plain(new)
}
