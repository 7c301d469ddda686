//! `worker run`: the process's life. Sessions come and go; faults are waited out here; only a bug, a lock that
//! another process holds, or (outside Kubernetes) a fence ends it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use archive::instance::{Instance, InstanceError};
use crds::conditions::Reason;
use crds::v1alpha1::StreamState;
use crds::worker_config::{DEFAULT_LISTEN, WorkerConfig};
use crds::worker_status::Phase;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use traces::Traces;

use crate::backoff::Backoff;
use crate::board::Board;
use crate::config::{self, Current, stopped_within};
use crate::fault::Fault;
use crate::metrics::Metrics;
use crate::session::{Memory, Session, SessionEnd};
use crate::upstream::SecretFiles;
use crate::{admin, telemetry};

/// How a process outside Kubernetes ends. In a pod the same facts are conditions, and the process stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Told to stop; everything received is durable.
    Done,
    /// A command did only a part of what it was asked for.
    Partly,
    /// The archive holds what nobody should have written.
    BadArchive,
    /// Storage cannot be trusted; a new process may go on.
    TryAgain,
    /// The configuration cannot work.
    BadConfig,
    /// Another instance holds the stream.
    Fenced,
}

impl Exit {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Partly => 1,
            Self::BadArchive => 65,
            Self::TryAgain => 75,
            Self::BadConfig => 78,
            Self::Fenced => 81,
        }
    }
}

/// How long a fenced worker waits before it looks whether the archive has fallen silent.
const FENCED_LOOK: Duration = Duration::from_secs(60);

/// How often a worker that was paused looks whether its directory is free again.
const DIRECTORY_LOOK: Duration = Duration::from_secs(1);

/// Runs until told to stop.
pub async fn run(path: &Path) -> Exit {
    let stop = CancellationToken::new();
    let signals = match Signals::listen() {
        Ok(signals) => tokio::spawn(signals.cancel(stop.clone())),
        Err(error) => {
            eprint(&error);
            return Exit::TryAgain;
        }
    };
    let config = match config::load(path) {
        Ok(config) => config,
        Err(error) => {
            eprint(&error);
            let Some(uid) = env_pod_uid() else { return Exit::BadConfig };
            match wait_for_config(path, &error, uid, &stop).await {
                Some(config) => config,
                None => return Exit::Done,
            }
        }
    };
    let pod_uid = pod_uid(&config);
    let traces = telemetry::start(&config, pod_uid.as_deref());
    let exit = serve(path, config, pod_uid, stop, traces.as_ref()).await;
    signals.abort();
    close(traces).await;
    tracing::info!(exit = exit.code(), "worker ended");
    exit
}

/// From the working directory to the drain.
async fn serve(
    path: &Path,
    config: WorkerConfig,
    pod_uid: Option<String>,
    stop: CancellationToken,
    traces: Option<&Traces>,
) -> Exit {
    let instance = match acquire(&config, pod_uid.as_deref()) {
        Ok(instance) => instance,
        Err(error) => {
            tracing::error!(%error, "the working directory cannot be used");
            return match error {
                InstanceError::Locked(_) => Exit::Fenced,
                InstanceError::Io { .. } => Exit::BadConfig,
            };
        }
    };
    let listener = match TcpListener::bind(&config.listen).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(listen = config.listen, %error, "listen: the address cannot be used, set another one");
            return Exit::BadConfig;
        }
    };
    let board = Board::new(instance.id(), pod_uid.clone());
    let metrics = Metrics::new(traces.map(Traces::counts).unwrap_or_default());
    board.update(|facts| facts.report.config_generation = config.generation);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        instance = instance.id(),
        namespace = config.namespace,
        stream = config.name,
        listen = config.listen,
        "worker started"
    );
    let (closing, memory) = (CancellationToken::new(), Memory::of(&config));
    let serving =
        tokio::spawn(admin::serve(listener, board.clone(), metrics.clone(), closing.clone()));
    let (current, watching) =
        config::watch(path.to_owned(), config, board.clone(), closing.clone());
    let life = Life {
        config: current,
        instance,
        in_pod: pod_uid.is_some(),
        board,
        metrics,
        secrets: Arc::new(SecretFiles::default()),
        stop,
        memory,
        backoff: Backoff::source(),
    };
    let exit = life.live().await;
    closing.cancel();
    if tokio::time::timeout(Duration::from_secs(5), watching).await.is_err() {
        tracing::warn!("the watch of the configuration did not end in time");
    }
    match tokio::time::timeout(Duration::from_secs(5), serving).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!(%error, "status endpoint ended with an error"),
        _ => tracing::warn!("status endpoint did not end in time"),
    }
    exit
}

/// Hands over the last spans. The wait for them has a bound of its own.
async fn close(traces: Option<Traces>) {
    let Some(traces) = traces else { return };
    if let Err(error) = tokio::task::spawn_blocking(move || traces.close()).await {
        tracing::warn!(%error, "the last spans were not handed over");
    }
}

/// The pod's UID, in a pod: from the configuration, or from the environment that the pod's own specification fills.
pub(crate) fn pod_uid(config: &WorkerConfig) -> Option<String> {
    let pod = config.instance.pod.as_ref()?;
    if pod.uid.is_empty() { env_pod_uid() } else { Some(pod.uid.clone()) }
}

fn env_pod_uid() -> Option<String> {
    std::env::var("POD_UID").ok().filter(|uid| !uid.is_empty())
}

/// In a pod a configuration that cannot work is a condition, not an end: says so where the operator asks, until the
/// file can work. `None`: told to end.
async fn wait_for_config(
    path: &Path,
    error: &config::LoadError,
    pod_uid: String,
    stop: &CancellationToken,
) -> Option<WorkerConfig> {
    let (board, closing) = (Board::new(&pod_uid, Some(pod_uid.clone())), CancellationToken::new());
    let tell = |error: &config::LoadError| {
        board.enter(Phase::Waiting, Reason::ConfigInvalid, error.to_string());
        board.update(|facts| facts.report.config_error = Some(error.to_string()));
    };
    tell(error);
    let serving = match TcpListener::bind(DEFAULT_LISTEN).await {
        Ok(listener) => {
            let (board, stop) = (board.clone(), closing.clone());
            Some(tokio::spawn(admin::serve(listener, board, Metrics::default(), stop)))
        }
        // The file may name another address; nobody can be told meanwhile.
        Err(_) => None,
    };
    let mut config = None;
    while config.is_none() && !stopped_within(stop, config::LOOK_EVERY).await {
        match config::load(path) {
            Ok(works) => config = Some(works),
            Err(error) => tell(&error),
        }
    }
    closing.cancel();
    if let Some(serving) = serving
        && tokio::time::timeout(Duration::from_secs(5), serving).await.is_err()
    {
        eprint(&std::io::Error::other("the status endpoint did not end in time"));
    }
    config
}

/// Takes the working directory.
pub(crate) fn acquire(
    config: &WorkerConfig,
    pod_uid: Option<&str>,
) -> Result<Instance, InstanceError> {
    Instance::acquire(&config.work_dir, pod_uid.or(config.instance.id.as_deref()))
}

/// The process between start and end.
struct Life {
    config: Current,
    instance: Instance,
    in_pod: bool,
    board: Board,
    metrics: Metrics,
    secrets: Arc<SecretFiles>,
    stop: CancellationToken,
    memory: Memory,
    backoff: Backoff,
}

impl Life {
    async fn live(mut self) -> Exit {
        while !self.stop.is_cancelled() {
            let state = self.config.borrow_and_update().state;
            match state {
                StreamState::Stopped => return Exit::Done,
                StreamState::Paused => {
                    // `worker redecode` works on a paused stream, from the same directory.
                    if let Err(error) = self.instance.release() {
                        tracing::warn!(%error, "the working directory stays locked while the stream is paused");
                    }
                    self.board.enter(Phase::Paused, Reason::Paused, "spec.state is Paused");
                    self.board.source_lost(
                        Reason::Paused,
                        "the connection is closed while the stream is paused",
                    );
                    self.wait_for_change(Duration::MAX).await;
                    self.take_directory().await;
                }
                StreamState::Running => {
                    if let Some(exit) = self.session().await {
                        return exit;
                    }
                }
            }
        }
        Exit::Done
    }

    /// Waits until no other process works in the directory.
    async fn take_directory(&mut self) {
        while let Err(error) = self.instance.retake() {
            let message = format!("{error}; waiting for it to end");
            self.board.enter(Phase::Waiting, Reason::Starting, message);
            if stopped_within(&self.stop, DIRECTORY_LOOK).await {
                return;
            }
        }
    }

    /// One session and what follows from its end.
    async fn session(&mut self) -> Option<Exit> {
        self.board.session_begins();
        let session = Session {
            config: self.config.clone(),
            instance: &self.instance,
            board: &self.board,
            metrics: &self.metrics,
            secrets: &self.secrets,
            stop: &self.stop,
            memory: &mut self.memory,
        };
        let began = std::time::Instant::now();
        let end = session.run().await;
        // Whatever ended it, there is no connection now; what follows may take long, and must not look streaming.
        self.board.source_lost(Reason::Connecting, "the connection is closed");
        if began.elapsed() > Duration::from_secs(60) {
            self.backoff.reset();
        }
        match end {
            SessionEnd::Told => {
                self.backoff.reset();
                None
            }
            SessionEnd::Fault(fault) => self.wait_out(fault).await,
            SessionEnd::Rebuild(fault) if self.in_pod => self.wait_out(fault).await,
            SessionEnd::Rebuild(fault) => {
                fault.show(&self.board, &self.metrics);
                tracing::error!(reason = %fault.reason, message = fault.message, "storage failed, ending");
                Some(Exit::TryAgain)
            }
            SessionEnd::Fenced(holder) => self.fenced(&holder.instance, holder.epoch).await,
        }
    }

    async fn wait_out(&mut self, fault: Fault) -> Option<Exit> {
        fault.show(&self.board, &self.metrics);
        self.board.enter(Phase::Waiting, fault.reason, fault.message.clone());
        let bad_archive = matches!(fault.reason, Reason::LogConflict | Reason::ArchiveDamaged);
        if bad_archive && !self.in_pod {
            tracing::error!(reason = %fault.reason, message = fault.message, "the archive is not sound, ending");
            return Some(Exit::BadArchive);
        }
        let wait = self.backoff.next_wait();
        tracing::warn!(
            reason = %fault.reason,
            message = fault.message,
            attempt = self.backoff.attempts(),
            wait_ms = wait.as_millis() as u64,
            "stream cannot run, waiting"
        );
        self.wait_for_change(wait.max(fault.least_wait())).await;
        None
    }

    async fn fenced(&mut self, by: &str, epoch: u64) -> Option<Exit> {
        if let Err(error) = self.instance.mark_fenced() {
            tracing::warn!(%error, "fence marker could not be written");
        }
        self.board.fenced(by, epoch);
        tracing::error!(by, epoch, "fenced: another instance holds the archive");
        if !self.in_pod {
            return Some(Exit::Fenced);
        }
        self.wait_for_change(FENCED_LOOK).await;
        None
    }

    /// Waits for time to pass, a new configuration, or the end.
    async fn wait_for_change(&mut self, wait: Duration) {
        let stop = self.stop.clone();
        tokio::select! {
            _ = stopped_within(&stop, wait) => {}
            changed = self.config.changed() => if changed.is_err() { stop.cancelled().await },
        }
    }
}

/// SIGTERM and SIGINT ask for a drain. Listened for from the first moment on: to a container's first process
/// the kernel delivers no signal that it does not listen for, and it would then run until it is killed.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    async fn cancel(mut self, stop: CancellationToken) {
        tokio::select! {
            _ = self.term.recv() => tracing::info!("SIGTERM, draining"),
            _ = self.int.recv() => tracing::info!("SIGINT, draining"),
        }
        stop.cancel();
    }
}

/// Before there is a logger.
#[expect(clippy::print_stderr, reason = "there is no logger before the configuration is read")]
fn eprint(error: &dyn std::error::Error) {
    eprintln!("worker: {error}");
}
