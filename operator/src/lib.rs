//! The binlog-operator: BinlogStreams become workers, and their status tells the truth.
//! See ARCHITECTURE.md.

pub mod admin;
pub mod answers;
pub mod api_error;
pub mod applied;
pub mod args;
pub mod backoff;
pub mod caches;
pub mod check;
pub mod context;
pub mod controller;
pub mod digest;
pub mod events;
#[cfg(test)]
mod fake_api;
#[cfg(test)]
mod footprint;
pub mod kin;
pub mod lease;
pub mod listing;
pub mod metrics;
pub mod packed;
pub mod peers;
pub mod plugin;
pub mod pods;
pub mod poller;
pub mod rollout;
pub mod settings;
pub mod status;
pub mod telemetry;
pub mod tenure;
pub mod wake;
pub mod watched;
pub mod worker_client;

use std::{
    future,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use futures::StreamExt;
use hyper::header::{self, HeaderValue};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use kube_runtime::{
    Controller,
    controller::{Config, Error as ControllerError},
};
use tokio::{
    net::TcpListener,
    sync::{OnceCell, mpsc},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use traces::SpanCounts;
use tracing::{debug, error, info, warn};

use crate::{
    admin::{Health, Readers},
    answers::Answers,
    applied::AppliedBook,
    args::Args,
    backoff::Backoff,
    caches::Caches,
    context::{Context, Scope},
    events::Events,
    lease::{Elector, LeaseError},
    metrics::Metrics,
    peers::Peers,
    rollout::{conductor, turns::Turns},
    settings::{Settings, SettingsError},
    status::budget::StatusBudget,
    wake::{WakeUp, WakeUps},
    watched::KeptStream,
};

/// Changes of one object that come together are one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Wake-ups of poller and conductor that may wait for a controller.
const WAKE_UPS: usize = 4096;
/// Limit of a single request at start.
const REQUEST: Duration = Duration::from_secs(10);
/// How long running reconciles may take to end.
const DRAIN: Duration = Duration::from_secs(15);
/// How long they may take to end where they stand, once nothing more is to be written.
const ABANDON: Duration = Duration::from_secs(1);

/// Why the operator ended badly.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An argument cannot work.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// No way to the API.
    #[error("connect to the Kubernetes API: {0}")]
    Client(Box<kube::Error>),
    /// The cluster cannot be named.
    #[error(
        "read the UID of namespace kube-system, which names this cluster as owner of archives: \
         {0}; allow it, or set --cluster-id"
    )]
    ClusterId(String),
    /// The port for probes and metrics.
    #[error("listen on {address}: {error}")]
    Listen {
        /// --listen.
        address: std::net::SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// Signals cannot be received.
    #[error("listen for signals: {0}")]
    Signals(std::io::Error),
    /// The Lease was lost.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// `--check` found something.
    #[error("{0} fault(s) found; each is told above")]
    Check(usize),
    /// A part that should run for ever ended.
    #[error("the {0} ended by itself")]
    Ended(&'static str),
}

/// Runs until a signal, or until it cannot go on. `spans` is shown among the metrics.
///
/// # Errors
/// See [`RunError`]; the process should then exit non-zero.
pub async fn run(args: Args, spans: SpanCounts) -> Result<(), RunError> {
    let client = client().await.map_err(|error| RunError::Client(Box::new(error)))?;
    if args.check {
        let faults = check::run(&args, &client).await;
        return if faults == 0 { Ok(()) } else { Err(RunError::Check(faults)) };
    }
    let metrics = Arc::new(Metrics::new(spans));
    let health = Arc::new(Health::default());
    let shutdown = CancellationToken::new();
    let mut tasks: JoinSet<&'static str> = JoinSet::new();
    let admin_end = CancellationToken::new();
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| RunError::Listen { address: args.listen, error })?;
    let readers = args.metrics_auth.then(|| Readers::new(client.clone()));
    let (probed, shown) = (Arc::clone(&health), Arc::clone(&metrics));
    let served = admin::serve(listener, probed, shown, readers, admin_end.clone());
    tasks.spawn(async move {
        if let Err(error) = served.await {
            error!(%error, "serve probes and metrics");
        }
        "admin server"
    });
    watch_signals(&mut tasks, &shutdown)?;

    let cluster_id = match args.cluster_id.clone() {
        Some(id) => id,
        None => read_cluster_id(&client).await?,
    };
    let settings = Settings::new(&args, cluster_id)?;
    let identity =
        args.identity.clone().unwrap_or_else(|| format!("operator-{:08x}", rand::random::<u32>()));
    let (namespace, name) = (&args.lease_namespace, &args.lease_name);
    let context = context(client.clone(), settings, Arc::clone(&metrics), &identity);
    let (told, tenure) = (Arc::clone(&health), Arc::clone(&context.tenure));
    let elector = Elector::new(client, namespace, name, &identity, told, tenure);
    let mut since = None;
    if args.leader_elect {
        since = elector.acquire(&shutdown).await;
        if since.is_none() {
            return Ok(());
        }
    }
    health.set_leading();
    metrics.leader.set(1);
    let controllers = lead(&args, &context, &health, &shutdown);
    let led = tokio::select! {
        held = hold(&elector, since, &shutdown) => held,
        Some(Ok(part)) = tasks.join_next() => match part {
            SIGNALS => Ok(()),
            part => Err(RunError::Ended(part)),
        },
    };
    health.set_stopping();
    shutdown.cancel();
    metrics.leader.set(0);
    if led.is_ok() {
        // Whoever takes over must not meet reconciles of ours, so the Lease goes last.
        finish(controllers).await;
        if since.is_some() {
            elector.release().await;
        }
    } else {
        abandon(controllers).await;
    }
    admin_end.cancel();
    led
}

/// A client that says who it is: the API server's audit log counts requests by this name.
async fn client() -> Result<Client, kube::Error> {
    let mut config = kube::Config::infer().await.map_err(kube::Error::InferConfig)?;
    let name = HeaderValue::from_static(concat!("binlog-operator/", env!("CARGO_PKG_VERSION")));
    config.headers.push((header::USER_AGENT, name));
    Client::try_from(config)
}

const SIGNALS: &str = "signal handler";

fn watch_signals(
    tasks: &mut JoinSet<&'static str>,
    shutdown: &CancellationToken,
) -> Result<(), RunError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let shutdown = shutdown.clone();
    tasks.spawn(async move {
        tokio::select! {
            _ = terminate.recv() => info!("told to end (SIGTERM)"),
            _ = interrupt.recv() => info!("told to end (SIGINT)"),
        }
        shutdown.cancel();
        SIGNALS
    });
    Ok(())
}

/// Holds the Lease that was acquired at `since`; without election there is none.
async fn hold(
    elector: &Elector,
    since: Option<Instant>,
    shutdown: &CancellationToken,
) -> Result<(), RunError> {
    if let Some(since) = since {
        Ok(elector.hold(since, shutdown).await?)
    } else {
        shutdown.cancelled().await;
        Ok(())
    }
}

fn context(
    client: Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    identity: &str,
) -> Arc<Context> {
    Arc::new(Context {
        events: Events::new(client.clone(), identity),
        client,
        metrics,
        backoff: Backoff::default(),
        answers: Answers::default(),
        applied: AppliedBook::default(),
        turns: Turns::new(settings.rollout_at_once),
        budget: StatusBudget::new(settings.status_writes_per_second),
        settings,
        writes: Mutex::default(),
        tenure: Arc::default(),
        peers: Peers::default(),
        caches: OnceLock::new(),
    })
}

/// Starts the controllers, one per watched namespace or one for all, the poller and the conductor.
fn lead(
    args: &Args,
    context: &Arc<Context>,
    health: &Arc<Health>,
    shutdown: &CancellationToken,
) -> JoinSet<()> {
    let namespaces: Vec<Option<String>> = if args.watch_namespaces.is_empty() {
        vec![None]
    } else {
        args.watch_namespaces.iter().cloned().map(Some).collect()
    };
    let mut tasks = JoinSet::new();
    let mut scopes = Vec::new();
    let mut wake_ups = Vec::new();
    for namespace in namespaces {
        let (queue, woken) = mpsc::channel(WAKE_UPS);
        let (controller, caches) = controller(args, context, namespace.as_deref(), woken);
        let running = drive(controller, Arc::clone(context), shutdown.clone());
        tasks.spawn(running);
        scopes.push(Scope {
            namespace: namespace.clone(),
            caches: Arc::new(caches),
            noted: OnceCell::new(),
        });
        wake_ups.push(WakeUp { namespace, queue });
    }
    info!(namespaces = ?args.watch_namespaces, "watching; an empty list means all namespaces");
    let filled: Vec<_> = scopes.iter().map(|scope| Arc::clone(&scope.caches)).collect();
    if context.caches.set(scopes).is_err() {
        error!("the caches were set twice");
    }
    tasks.spawn(say_when_filled(filled, Arc::clone(health), shutdown.clone()));
    let wake_ups = Arc::new(WakeUps::new(wake_ups, context.metrics.queued.clone()));
    tasks.spawn(poller::run(Arc::clone(context), Arc::clone(&wake_ups), shutdown.clone()));
    tasks.spawn(conductor::run(Arc::clone(context), wake_ups, shutdown.clone()));
    tasks
}

fn controller(
    args: &Args,
    context: &Context,
    namespace: Option<&str>,
    mut woken: mpsc::Receiver<kube_runtime::reflector::ObjectRef<KeptStream>>,
) -> (Controller<KeptStream>, Caches) {
    let streams = caches::api::<KeptStream>(&context.client, namespace);
    let config = Config::default().concurrency(args.concurrency).debounce(DEBOUNCE);
    let mut controller = Controller::new(streams, caches::of_streams()).with_config(config);
    let (caches, wakes) = Caches::watch(&context.client, namespace, &controller.store());
    for wakes in wakes {
        controller = controller.reconcile_on(wakes);
    }
    let queued = context.metrics.queued.clone();
    let woken = futures::stream::poll_fn(move |task| woken.poll_recv(task)).inspect(move |_| {
        queued.dec();
    });
    (controller.reconcile_on(woken), caches)
}

async fn drive(
    controller: Controller<KeptStream>,
    context: Arc<Context>,
    shutdown: CancellationToken,
) {
    controller
        .graceful_shutdown_on(async move { shutdown.cancelled().await })
        .run(controller::reconcile, controller::error_policy, context)
        .for_each(|done| {
            match done {
                Ok(_) | Err(ControllerError::ReconcilerFailed(..)) => {}
                Err(ControllerError::ObjectNotFound(object)) => debug!(%object, "gone"),
                Err(error) => warn!(%error, "watch of BinlogStreams, retrying"),
            }
            future::ready(())
        })
        .await;
}

/// Filled once every watch has given its first list; a right that is missing may still be given.
async fn say_when_filled(all: Vec<Arc<Caches>>, health: Arc<Health>, shutdown: CancellationToken) {
    for caches in all {
        loop {
            let filled = tokio::select! {
                () = shutdown.cancelled() => return,
                filled = caches.filled() => filled,
            };
            match filled {
                Ok(()) => break,
                Err(error) => warn!(%error, "not ready yet"),
            }
        }
    }
    health.set_filled();
    info!("caches are filled");
}

/// Waits for running reconciles, with a limit.
async fn finish(mut tasks: JoinSet<()>) {
    let drained = tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} });
    if drained.await.is_err() {
        warn!("some reconciles did not end in time; they are made again by the next leader");
        abandon(tasks).await;
    }
}

/// Ends them where they stand. They must not outlive this: a controller whose reconcile ends with the runtime panics.
async fn abandon(mut tasks: JoinSet<()>) {
    if tokio::time::timeout(ABANDON, tasks.shutdown()).await.is_err() {
        warn!("some reconciles could not be ended in time");
    }
}

/// The cluster's identity: the UID of a namespace that lives as long as the cluster does.
async fn read_cluster_id(client: &Client) -> Result<String, RunError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let found = match tokio::time::timeout(REQUEST, namespaces.get_metadata("kube-system")).await {
        Ok(found) => found.map_err(|error| RunError::ClusterId(error.to_string()))?,
        Err(_) => return Err(RunError::ClusterId("no answer in time".to_owned())),
    };
    found.metadata.uid.ok_or_else(|| RunError::ClusterId("it has none".to_owned()))
}
