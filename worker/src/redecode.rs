//! `worker redecode`: tables that stopped are decoded again from the raw archive, once the cause is mended, and their
//! gaps close. Nothing is read from the source.
//!
//! It is a claim like any other, so a live worker would be fenced by it. It therefore refuses unless the stream is
//! stopped or paused by its configuration, no process holds the working directory, and the archive's last holder is
//! this very instance or has been silent for 15 minutes.
//!
//! Invariants
//! - Nothing is written before all of that was looked at (`a_live_worker_is_left_alone` in `e2e/tests/redecode.rs`).
//! - Wherever it dies, no row is lost or doubled, and it can be run again (`a_kill_at_any_step_...`, there).

mod decode;
mod faults;
mod feed;
mod learn;
mod select;
mod undecided;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use archive::commit::{Committer, CommitterSettings};
use archive::instance::InstanceError;
use archive::log::NoObserver;
use archive::read_back::ReadBack;
use archive::{ClaimError, ClaimRequest, LogError, Point, State, Store};
use changes::Publisher;
use crds::conditions::Reason;
use crds::v1alpha1::StreamState;
use crds::worker_config::{Consents, WorkerConfig};
use tokio_util::sync::CancellationToken;

use self::decode::{Outcome, Redecoder};
use self::feed::feed;
use self::learn::Learner;
use self::select::{MAX_GAPS, Sought, select};
pub use self::select::{Selection, parse_point};
use crate::fault::{Fault, chain};
use crate::names;
use crate::run::{self, Exit};
use crate::session::{self, SessionEnd};
use crate::start::archive::{Elapsed, checkpoint, limited, open};
use crate::upstream::SecretFiles;
use crate::{config, telemetry};

/// How long what was begun may take to end, once the work is done or given up.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// Why nothing was decoded, or not all.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("redecode: {0}")]
    Config(#[from] config::LoadError),
    #[error(
        "redecode: the stream is to run; set state: Paused or Stopped in {0}, and let its worker drain"
    )]
    Running(String),
    #[error("redecode: {0}")]
    Instance(#[from] InstanceError),
    #[error("redecode: {0}")]
    Select(#[from] select::SelectError),
    #[error(
        "redecode: instance {instance} holds the archive and wrote to it {seconds} s ago; stop it, then run this \
         in its working directory, or when the archive has been silent for 15 minutes"
    )]
    Held { instance: String, seconds: u64 },
    #[error("redecode: {0}")]
    Fault(#[from] Fault),
}

impl Refusal {
    fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Running(_) | Self::Select(_) => Exit::BadConfig,
            Self::Instance(InstanceError::Locked(_)) | Self::Held { .. } => Exit::Fenced,
            Self::Instance(InstanceError::Io { .. }) => Exit::BadConfig,
            Self::Fault(fault) => match fault.reason {
                Reason::Fenced => Exit::Fenced,
                Reason::LogConflict | Reason::ArchiveDamaged => Exit::BadArchive,
                _ => Exit::TryAgain,
            },
        }
    }
}

/// Decodes what is asked for, and says what came of it.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the answer of a command")]
pub async fn redecode(path: &Path, selection: Selection) -> Exit {
    match try_redecode(path, &selection).await {
        Ok(outcome) => {
            for gap in &outcome.closed {
                println!(
                    "{}: decoded again, its gap is closed",
                    gap.table.as_deref().unwrap_or_default()
                );
            }
            for (gap, why) in &outcome.left {
                let table = gap.table.as_deref().unwrap_or_default();
                let Point { lineage, file, pos } = &gap.from;
                println!("{table}: its gap stays open from {lineage}/{file}:{pos} on: {why}");
            }
            println!("{} rows were added to the change log", outcome.rows);
            if outcome.left.is_empty() { Exit::Done } else { Exit::Partly }
        }
        Err(refusal) => {
            eprintln!("worker: {refusal}");
            refusal.exit()
        }
    }
}

async fn try_redecode(path: &Path, selection: &Selection) -> Result<Outcome, Refusal> {
    let config = config::load(path)?;
    if config.state == StreamState::Running {
        return Err(Refusal::Running(path.display().to_string()));
    }
    telemetry::start_logs(&config);
    let instance = run::acquire(&config, run::pod_uid(&config).as_deref())?;
    let store = crate::start::store::open(&config)?;
    // Consents are for the worker to use up.
    let config = WorkerConfig { consents: Consents::default(), ..config };
    let (_sender, current) = tokio::sync::watch::channel(Arc::new(config.clone()));
    let checkpoint = checkpoint(&current, &Arc::new(SecretFiles::default())).await?;
    let opened = open(&config, &instance, Arc::clone(&store), &checkpoint).await;
    let opened = opened.map_err(|end| match end {
        SessionEnd::Fenced(by) => Refusal::Held { instance: by.instance, seconds: 0 },
        SessionEnd::Fault(fault) | SessionEnd::Rebuild(fault) => fault.into(),
        SessionEnd::Told => stopped().into(),
    })?;
    if let Some((holder, age)) = opened.held_by_another().await.map_err(Fault::from)? {
        return Err(Refusal::Held { instance: holder.instance, seconds: age.as_secs() });
    }
    let Some(state) = opened.state().cloned() else { return Ok(Outcome::default()) };
    let sought = select(&state, selection)?;
    let Some(task) = Task::plan(&store, &state, sought, selection).await? else {
        return Ok(Outcome::default());
    };
    limited(archive::probe::probe(&store))
        .await
        .map_err(|Elapsed| no_answer("probe the archive"))?
        .map_err(|error| Fault::archive(error.reason(), chain(&error)))?;
    let request = ClaimRequest {
        flavor: state.flavor(),
        config: state.facts.config.clone(),
        probe: None,
        partitions_from: Some(task.date.clone()),
    };
    let cancel = CancellationToken::new();
    let claimed = limited(opened.claim(request, &NoObserver, &cancel)).await;
    let claimed = claimed.map_err(|Elapsed| no_answer("claim the archive"))?;
    let claimed = claimed.map_err(claim_fault)?;
    if claimed.adopted > 0 {
        return Err(
            Fault::archive(Reason::Starting, "the archive moved while it was claimed").into()
        );
    }
    if let Err(error) = instance.forget_fence() {
        tracing::warn!(%error, "fence marker could not be removed");
    }
    let held = Arc::clone(claimed.log.state());
    if let Some(at) = held.resume() {
        // Who comes next believes the last claim alone.
        let (lineage, at) = (&at.lineage, at.position());
        names::take_over(&*store, lineage, held.epoch, &at, true).await.map_err(Fault::from)?;
    }
    session::sweep(Arc::clone(&store), held).await;
    let committer = Committer::start(claimed.log, &CommitterSettings::default(), &cancel);
    let outcome = task.run(&store, &committer).await;
    let head = committer.durable().borrow().state.n;
    committer.drain(DRAIN_LIMIT).await;
    if outcome.is_ok() {
        publish(&config, &store, &state, head).await;
    }
    Ok(outcome?)
}

/// What is done after the claim.
struct Task {
    reader: ReadBack,
    state: Arc<State>,
    sought: Vec<Sought>,
    to: Point,
    /// The range ends where the change log does.
    whole: bool,
    /// Partition of the first entry.
    date: String,
}

impl Task {
    /// Looks up the range; `None`: nothing is to be done.
    async fn plan(
        store: &Arc<dyn Store>,
        state: &Arc<State>,
        sought: Vec<Sought>,
        selection: &Selection,
    ) -> Result<Option<Self>, Fault> {
        let (Some(first), Some(end)) = (sought.first(), state.resume()) else { return Ok(None) };
        let reader = ReadBack::new(Arc::clone(store), state.n);
        let mut walk = reader.from_entry_of(&first.from, &end).await?;
        let leg = walk.next().await?;
        let date = leg.map(|leg| leg.date).unwrap_or_default();
        let to = match &selection.to {
            Some(to) => reader.find(to).await?.raw.map(|raw| raw.to),
            None => None,
        };
        let whole = to.as_ref().is_none_or(|to| *to == end);
        let (state, to) = (Arc::clone(state), to.unwrap_or(end));
        Ok(Some(Self { reader, state, sought, to, whole, date }))
    }

    async fn run(self, store: &Arc<dyn Store>, committer: &Committer) -> Result<Outcome, Fault> {
        let mut all = Outcome::default();
        for sought in self.sought.chunks(MAX_GAPS) {
            let Outcome { rows, closed, left } = self.once(sought, store, committer).await?;
            all.rows += rows;
            all.closed.extend(closed);
            all.left.extend(left);
        }
        Ok(all)
    }

    /// Goes through the range twice: to learn how its tables were described, and to decode them.
    async fn once(
        &self,
        sought: &[Sought],
        store: &Arc<dyn Store>,
        committer: &Committer,
    ) -> Result<Outcome, Fault> {
        let Some(first) = sought.first() else { return Ok(Outcome::default()) };
        let walk = || self.reader.from_entry_of(&first.from, &self.to);
        let records = learn::records(&**store, &self.state).await?;
        let tables = sought.iter().map(|gap| gap.table.clone());
        let mut learner = Learner::new(self.state.flavor(), tables, &records);
        feed(&self.reader, walk().await?, &mut learner).await?;
        let learned = learner.finish();
        let (state, whole) = (&self.state, self.whole);
        let mut decoder =
            Redecoder::new(&self.reader, committer, store, state, sought.to_vec(), learned, whole);
        feed(&self.reader, walk().await?, &mut decoder).await?;
        decoder.finish().await
    }
}

/// The published table follows the log; if it cannot now, the next worker does it.
async fn publish(config: &WorkerConfig, store: &Arc<dyn Store>, state: &State, head: u64) {
    let settings = session::publish_settings(config);
    let published = async {
        let mut publisher = Publisher::open(Arc::clone(store), state.archive, settings).await?;
        publisher.catch_up(head).await
    };
    if let Err(error) = published.await {
        tracing::warn!(error = chain(&error), "the change table is published by the next worker");
    }
}

fn claim_fault(error: ClaimError) -> Fault {
    match error {
        ClaimError::Log(LogError::Fenced { by, .. }) => faults::fenced(&by),
        error => error.into(),
    }
}

fn no_answer(doing: &str) -> Fault {
    Fault::archive(Reason::ArchiveUnreachable, format!("{doing}: no answer"))
}

fn stopped() -> Fault {
    Fault::archive(Reason::InternalError, "told to end")
}
