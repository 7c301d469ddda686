//! One claim's life: open, inspect, judge, claim, stream over as many connections as it takes, drain.
//!
//! The order is the protocol's: nothing is written before the source is known to be the archive's, no dump is
//! opened before the claim (it would end a live worker's).

mod aim;
mod beginning;
mod commit_now;
mod decide;
mod drain;
mod housekeeping;
mod line;
mod moving;
mod opening;
mod request;
mod span;
mod switch;
mod tail;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use archive::checkpoint::{Keeper, KeeperSettings, RecordContext, Replace, SharedStore};
use archive::commit::{Committer, CommitterSettings};
use archive::entry::{ClaimConfig, Holder};
use archive::instance::Instance;
use archive::{ClaimError, ClaimRequest, LogError, Opened, Store};
use changes::{ForeignWriters, PublishSettings};
use crds::annotations::CheckpointRequest;
use crds::conditions::Reason;
use crds::position::FilePosition;
use crds::v1alpha1::{ForeignWriters as ForeignWritersSpec, StartSpec};
use crds::worker_config::WorkerConfig;
use crds::worker_status::{FenceKind, Phase};
use source::preflight::Facts;
use source::{Connection, SourceConfig};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use self::commit_now::Committed;
pub(crate) use self::decide::held_back;
use self::housekeeping::recorded;
use crate::board::Board;
use crate::config::Current;
use crate::fault::{Fault, chain};
use crate::metrics::Metrics;
use crate::names::ask::Asker;
use crate::start::archive::{self as found, Elapsed, limited};
use crate::upstream::{self, SecretFiles};
use crate::{mirror, publish};

/// What a session needs of the process.
pub struct Session<'a> {
    /// The configuration in force.
    pub config: Current,
    /// Who this process is.
    pub instance: &'a Instance,
    /// Told everything.
    pub board: &'a Board,
    /// Counts everything.
    pub metrics: &'a Metrics,
    /// Secrets and their last good contents.
    pub secrets: &'a Arc<SecretFiles>,
    /// The process shall end.
    pub stop: &'a CancellationToken,
    /// What earlier sessions of this process saw.
    pub memory: &'a mut Memory,
}

/// What outlives a session within the process.
#[derive(Debug, Default)]
pub struct Memory {
    /// A missing range, and when it was first seen: a gap is written only after it was seen twice.
    gap_seen: Option<(String, Instant)>,
    /// The source served other bytes than the archive holds.
    history_changed: Option<(String, Instant)>,
    /// The source cannot read its own file further than this: a crash tore its last event.
    torn: Option<FilePosition>,
    /// The store that passed the probe in this process.
    probed: Option<String>,
    /// The request to move the checkpoint that the process began with.
    asked: Option<CheckpointRequest>,
    /// A start that the source has no position for, which took a dump to learn, and why.
    nowhere: Option<(StartSpec, String)>,
    /// The commit on request that was carried out last.
    committed: Committed,
}

impl Memory {
    /// That of a process that begins with this configuration.
    pub fn of(config: &WorkerConfig) -> Self {
        Self { asked: config.consents.checkpoint_request(), ..Self::default() }
    }
}

/// Why a session ended.
#[derive(Debug)]
pub enum SessionEnd {
    /// Told to stop, pause or read a new configuration. All that was received is durable, or will be read again.
    Told,
    /// Something must be waited out.
    Fault(Fault),
    /// Another writer holds the archive.
    Fenced(Holder),
    /// Storage cannot be trusted any more: rebuild everything on new files.
    Rebuild(Fault),
}

impl From<Fault> for SessionEnd {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What is known before the claim.
struct Ready {
    settings: SourceConfig,
    control: Connection,
    facts: Facts,
    plan: decide::Plan,
    request: Option<CheckpointRequest>,
}

/// What the claim needs.
struct Prepared {
    config: Arc<WorkerConfig>,
    store: Arc<dyn Store>,
    checkpoint: SharedStore,
    opened: Opened,
    ready: Ready,
}

/// What streams, once the epoch is taken.
struct Claimed {
    config: Arc<WorkerConfig>,
    store: Arc<dyn Store>,
    committer: Arc<Committer>,
    keeper: Keeper,
    ready: Ready,
}

impl Session<'_> {
    /// Runs until told otherwise or until something must be waited out.
    pub async fn run(mut self) -> SessionEnd {
        match self.run_inner().await {
            Ok(end) | Err(end) => end,
        }
    }

    async fn run_inner(&mut self) -> Result<SessionEnd, SessionEnd> {
        let span = span::open();
        let opened = self.open().instrument(span.clone()).await;
        let claimed = opened.inspect_err(|end| span::ended(&span, end))?;
        let epoch = claimed.committer.durable().borrow().state.epoch;
        span.record("binlogstream.epoch", epoch as i64);
        drop(span);
        let Claimed { config, store, committer, keeper, ready } = claimed;
        self.stream(&config, &store, committer, keeper, ready).await
    }

    /// From nothing to the claim.
    async fn open(&mut self) -> Result<Claimed, SessionEnd> {
        // Nothing before the claim needs a drain, and a worker that is to end must not claim any more: its
        // successor may have claimed already, and would be fenced by a process that is about to go. One that is
        // to pause must not wait for an archive or a source that gives no answer.
        let (stop, mut config) = (self.stop.clone(), self.config.clone());
        let running = config.borrow_and_update().clone();
        let prepared = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(SessionEnd::Told),
            () = watch::another(&mut config, &running) => return Err(SessionEnd::Told),
            prepared = self.prepare() => prepared?,
        };
        let Prepared { config, store, checkpoint, opened, ready } = prepared;
        let claiming = self.claim(&config, opened, &ready);
        let (committer, consented) = claiming.instrument(span::claim()).await?;
        let replace = if consented { Replace::Consented } else { Replace::Older };
        let keeper = self.start_keeper(&config, checkpoint, &committer, &ready.facts, replace);
        Ok(Claimed { config, store, committer, keeper, ready })
    }

    /// Everything that comes before the claim; writes nothing but the probe's keys.
    async fn prepare(&mut self) -> Result<Prepared, SessionEnd> {
        let config = self.config.borrow_and_update().clone();
        let store = crate::start::store::open(&config)?;
        let reading = async {
            let checkpoint = found::checkpoint(&self.config, self.secrets).await?;
            let opened = found::open(&config, self.instance, Arc::clone(&store), &checkpoint);
            Ok::<_, SessionEnd>((opened.await?, checkpoint))
        };
        let (opened, checkpoint) = reading.instrument(span::read_archive()).await?;
        let request = self.request(&config, &opened, &store).await?;
        let inspecting = self.inspect(&config, &opened).instrument(span::inspect_source());
        let ready = Ready { request, ..inspecting.await? };
        self.leads_somewhere(&config, &ready)?;
        self.probe(&config, &store).instrument(span::probe_store()).await?;
        Ok(Prepared { config, store, checkpoint, opened, ready })
    }

    /// The source: who it is, whether it can be streamed, and what to do with it.
    async fn inspect(
        &mut self,
        config: &WorkerConfig,
        opened: &Opened,
    ) -> Result<Ready, SessionEnd> {
        let fresh = opened.state().and_then(|state| state.resume()).is_none();
        let server_id = upstream::server_id(config, self.instance.id());
        let settings = upstream::source_settings(config, self.secrets, server_id)?;
        let (mut control, facts) = upstream::inspect(config, &settings, fresh, self.board).await?;
        if let Some(state) = opened.state()
            && let Some(what) = tail::difference(&mut control, state, &facts).await
        {
            self.memory.distrust(what);
        }
        let plan = decide::plan(config, opened.state().map(AsRef::as_ref), &facts, self.memory)?;
        Ok(Ready { settings, control, facts, plan, request: None })
    }

    /// The store must make creates exclusive. Proven once per process and store, before the first write that
    /// matters.
    async fn probe(
        &mut self,
        config: &WorkerConfig,
        store: &Arc<dyn Store>,
    ) -> Result<(), SessionEnd> {
        let place = place(config, &**store);
        if self.memory.probed.as_ref() != Some(&place) {
            let outcome = limited(archive::probe::probe(store)).await;
            outcome
                .map_err(|Elapsed| {
                    Fault::archive(
                        Reason::ArchiveUnreachable,
                        format!("probe {}: no answer", store.describe()),
                    )
                })?
                .map_err(|error| Fault::archive(error.reason(), chain(&error)))?;
            self.memory.probed = Some(place);
        }
        let fence = match store.fence() {
            archive::FenceKind::ConditionalCreate => FenceKind::ConditionalCreate,
            archive::FenceKind::ExclusiveCreate => FenceKind::ExclusiveCreate,
        };
        self.board.update(|facts| facts.report.archive.fence = Some(fence));
        Ok(())
    }

    async fn claim(
        &mut self,
        config: &WorkerConfig,
        opened: Opened,
        ready: &Ready,
    ) -> Result<(Arc<Committer>, bool), SessionEnd> {
        let request = ClaimRequest {
            flavor: ready.facts.identity.flavor,
            config: claim_config(config),
            probe: None,
            partitions_from: None,
        };
        let cancel = self.stop.child_token();
        let observer = archive::log::NoObserver;
        let claimed = match limited(opened.claim(request, &observer, &cancel)).await {
            Ok(Ok(claimed)) => claimed,
            Ok(Err(ClaimError::Log(LogError::Fenced { by, .. }))) => {
                return Err(SessionEnd::Fenced(by));
            }
            Ok(Err(error)) => return Err(SessionEnd::Fault(error.into())),
            Err(Elapsed) => {
                return Err(Fault::archive(
                    Reason::ArchiveUnreachable,
                    "claim the archive: no answer",
                )
                .into());
            }
        };
        recorded(self.board, &claimed.consents);
        if claimed.adopted > 0 {
            // The last word of the holder before landed after we looked: look again.
            return Err(
                Fault::archive(Reason::Starting, "the archive moved while it was claimed").into()
            );
        }
        tracing::info!(
            archive = %claimed.log.state().archive,
            epoch = claimed.log.epoch(),
            entry = claimed.log.state().n,
            "archive claimed"
        );
        self.board.claimed(claimed.log.epoch());
        if let Err(error) = self.instance.forget_fence() {
            tracing::warn!(%error, "fence marker could not be removed");
        }
        let consented = claimed.replace_checkpoint;
        let settings = CommitterSettings::default();
        Ok((
            Arc::new(Committer::start(claimed.log, &settings, &CancellationToken::new())),
            consented,
        ))
    }

    fn start_keeper(
        &self,
        config: &WorkerConfig,
        store: SharedStore,
        committer: &Committer,
        facts: &Facts,
        replace: Replace,
    ) -> Keeper {
        let settings = KeeperSettings {
            interval: config.checkpoint.interval.get(),
            context: RecordContext {
                source_server_id: facts.identity.server_id,
                own_server_id: Some(upstream::server_id(config, self.instance.id())),
                tables: config.filter.tables.clone(),
            },
            replace,
            drain_limit: Duration::from_secs(10),
        };
        Keeper::start(store, committer.durable(), settings)
    }

    /// Everything after the claim; ends with all tasks ended.
    async fn stream(
        &mut self,
        config: &Arc<WorkerConfig>,
        store: &Arc<dyn Store>,
        committer: Arc<Committer>,
        keeper: Keeper,
        ready: Ready,
    ) -> Result<SessionEnd, SessionEnd> {
        let side = CancellationToken::new();
        let mut tasks = tokio::task::JoinSet::new();
        let patience = config.archive.commit.max_delay.get() + Duration::from_secs(15);
        {
            let (committer, board, metrics) =
                (Arc::clone(&committer), self.board.clone(), self.metrics.clone());
            let stop = side.clone();
            tasks.spawn(
                async move { mirror::follow(&committer, board, metrics, patience, stop).await },
            );
        }
        tasks.spawn(mirror::follow_checkpoint(keeper.status(), self.board.clone(), side.clone()));
        // However long it takes, nothing waits for it, and it ends with the session.
        let sweeping = sweep(Arc::clone(store), committer.durable().borrow().state.clone());
        let stop = side.clone();
        tasks.spawn(async move { stop.run_until_cancelled(sweeping).await.unwrap_or_default() });
        if config.archive.changes.enabled {
            let follow = publish::Follow {
                store: Arc::clone(store),
                archive: committer.durable().borrow().state.archive,
                settings: publish_settings(config),
                durable: committer.durable(),
                board: self.board.clone(),
            };
            tasks.spawn(publish::follow(follow, side.clone()));
        }
        let line = line::Line {
            session: self,
            config: Arc::clone(config),
            committer: &committer,
            store,
            asker: Asker::default(),
        };
        let end = line.run(ready).await;
        if matches!(end, SessionEnd::Told) {
            self.board.enter(Phase::Draining, Reason::Draining, "");
        }
        let end = self.drain(committer, keeper, side, tasks, end).await;
        Ok(end)
    }
}

/// Where a store is, with the server that answers for it: another one may not fence.
fn place(config: &WorkerConfig, store: &dyn Store) -> String {
    let endpoint = config.archive.s3.as_ref().and_then(|s3| s3.endpoint.as_deref());
    format!("{} at {}", store.describe(), endpoint.unwrap_or("its own address"))
}

/// Deletes what earlier writers left behind.
pub(crate) async fn sweep(store: Arc<dyn Store>, claim: Arc<archive::State>) {
    match archive::sweep::sweep(&*store, &claim).await {
        Ok(swept) if swept.deleted + swept.left > 0 => {
            tracing::info!(
                deleted = swept.deleted,
                left = swept.left,
                "swept what earlier writers left"
            );
        }
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(error = chain(&error), "sweep ended early, the next claim tries again");
        }
    }
}

/// What is captured, as each claim keeps it.
fn claim_config(config: &WorkerConfig) -> ClaimConfig {
    let filter = serde_json::to_value(&config.filter).unwrap_or_default();
    let (raw, changes) = (config.archive.raw.enabled, config.archive.changes.enabled);
    let text = format!("{filter} raw={raw} changes={changes}");
    ClaimConfig { filter, raw, changes, digest: archive::entry::sha256(text.as_bytes()) }
}

/// How the Delta table is published.
pub(crate) fn publish_settings(config: &WorkerConfig) -> PublishSettings {
    let foreign_writers = match config.archive.changes.foreign_writers {
        ForeignWritersSpec::Deny => ForeignWriters::Deny,
        ForeignWritersSpec::Allow => ForeignWriters::Allow,
    };
    PublishSettings { foreign_writers, ..PublishSettings::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_behind_another_endpoint_is_another_store() {
        let config = |change: serde_json::Value| {
            let mut config = serde_json::json!({
                "namespace": "shop", "name": "orders",
                "owner": {"cluster": "c", "namespace": "shop", "name": "orders"},
                "source": {"host": "db", "username": "repl", "passwordFile": "/p"},
                "start": {"mode": "Latest"}, "checkpoint": {"store": "File", "file": {"path": "/c"}},
                "archive": {"s3": {"bucket": "b", "region": "r", "endpoint": "http://one"}},
                "workDir": "/w",
            });
            for (field, value) in change.as_object().unwrap() {
                config["archive"]["s3"][field] = value.clone();
            }
            serde_json::from_value::<WorkerConfig>(config).unwrap()
        };
        let place = |change| {
            let config = config(change);
            place(&config, &*crate::start::store::open(&config).unwrap())
        };
        let one = place(serde_json::json!({}));
        assert_eq!(one, place(serde_json::json!({})));
        assert_ne!(one, place(serde_json::json!({"endpoint": "http://two"})));
        assert_ne!(one, place(serde_json::json!({"bucket": "c"})));
        assert_ne!(one, place(serde_json::json!({"prefix": "p"})));
    }
}
