//! The workers, played by this process: `/status` at every pod's address, and a checkpoint a minute for each.
//!
//! Their positions move all the time. Nine of ten keep up with their source; the tenth falls up to half a minute
//! behind and catches up again each minute, so that LAG goes through its words.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crds::checkpoint::Checkpoint;
use crds::position::FilePosition;
use crds::v1alpha1::LagState;
use crds::worker_status::{PositionFacet, WorkerStatus};
use e2e::{Context, Failure, Result};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{HeaderValue, USER_AGENT};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::follow::follow;
use crate::stage::{Stage, WORKER_AGENT};

/// Where the operator asks.
const PORT: u16 = 8080;
/// The advised time between two checkpoints of a stream where there are many.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// Checkpoints that are written at once.
const WRITES: usize = 32;
const SELECTOR: &str = "app.kubernetes.io/component=worker";
/// One worker of so many is restless.
const RESTLESS: u64 = 10;
/// Seconds of a restless worker's way from no lag to no lag, and its most.
const WAVE: u64 = 60;
/// Bytes of binlog that a source writes each second.
const RATE: u64 = 20_000;

/// The version that sources tell of themselves after so many changes.
pub fn source_version(changes: usize) -> String {
    format!("11.8.{changes}")
}

/// All of them; dropped, they end.
pub struct Players {
    cast: Arc<Cast>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

struct Cast {
    workers: Mutex<HashMap<IpAddr, Arc<Worker>>>,
    changes: AtomicUsize,
    /// Ends the time before the first checkpoints.
    saving: CancellationToken,
    maps: Client,
    writes: Semaphore,
    /// Checkpoints written and not written.
    saved: AtomicU64,
    failed: AtomicU64,
    /// What ended that should go on.
    broken: Mutex<Option<String>>,
}

struct Worker {
    namespace: String,
    stream: String,
    number: u64,
    since: Instant,
    said: WorkerStatus,
}

impl Players {
    /// Plays a worker for each pod that gets an address.
    pub async fn start(stage: &Stage) -> Result<Self> {
        let cast = Arc::new(Cast {
            workers: Mutex::default(),
            changes: AtomicUsize::new(1),
            saving: CancellationToken::new(),
            maps: client(&stage.players).await?,
            writes: Semaphore::new(WRITES),
            saved: AtomicU64::default(),
            failed: AtomicU64::default(),
            broken: Mutex::default(),
        });
        let listener =
            TcpListener::bind(("0.0.0.0", PORT)).await.context(|| "listen for the pods")?;
        let served = tokio::spawn(serve(listener, Arc::clone(&cast)));
        let pods: Api<Pod> = Api::all(stage.plane.client().await?);
        let followed = tokio::spawn(enter(pods, Arc::clone(&cast)));
        let tasks = [served, followed].map(AbortOnDropHandle::new);
        Ok(Self { cast, _tasks: tasks })
    }

    /// Has them save checkpoints from now on: those of thousands would take the control plane's time while it makes
    /// the others' pods.
    pub fn save(&self) {
        self.cast.saving.cancel();
    }

    /// Every source tells another version of itself from now on.
    pub fn change_all(&self) {
        self.cast.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was done.
    pub fn changes(&self) -> usize {
        self.cast.changes.load(Ordering::Relaxed)
    }

    /// An error if one of them could not do its part.
    pub fn check(&self) -> Result<()> {
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let (saved, failed) = (count(&self.cast.saved), count(&self.cast.failed));
        if let Some(broken) = lock(&self.cast.broken).as_ref() {
            return Err(Failure::new(format!(
                "{failed} checkpoints failed, {saved} did not: {broken}"
            )));
        }
        Ok(())
    }
}

/// A client that is named as a worker's.
async fn client(kubeconfig: &Path) -> Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig).context(|| "read the players' kubeconfig")?;
    let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .context(|| "use the players' kubeconfig")?;
    let name = HeaderValue::from_str(&format!("{WORKER_AGENT}played"));
    config.headers.push((USER_AGENT, name.context(|| "name the players")?));
    Ok(Client::try_from(config)?)
}

/// Brings a worker onto the stage for each pod that has an address.
async fn enter(pods: Api<Pod>, cast: Arc<Cast>) {
    let entered = |pod: Pod| {
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
        let Some(address) = address.and_then(|address| address.parse().ok()) else { return };
        if lock(&cast.workers).contains_key(&address) {
            return;
        }
        if let Some(worker) = Worker::of(pod) {
            let worker = Arc::new(worker);
            lock(&cast.workers).insert(address, Arc::clone(&worker));
            tokio::spawn(checkpoints(Arc::downgrade(&cast), cast.saving.clone(), worker));
        }
    };
    if let Err(failure) = follow(pods, SELECTOR, entered).await {
        *lock(&cast.broken) = Some(format!("the watch of the pods: {failure}"));
    }
}

async fn serve(listener: TcpListener, cast: Arc<Cast>) {
    loop {
        match listener.accept().await {
            Ok((connection, _)) => drop(tokio::spawn(answer(connection, Arc::clone(&cast)))),
            Err(error) => *lock(&cast.broken) = Some(format!("accept a poll: {error}")),
        }
    }
}

/// The address that was asked tells which worker speaks.
async fn answer(connection: TcpStream, cast: Arc<Cast>) {
    let Ok(address) = connection.local_addr() else { return };
    let worker = lock(&cast.workers).get(&address.ip()).map(Arc::clone);
    let changes = cast.changes.load(Ordering::Relaxed);
    let service = service_fn(move |_| {
        let said = worker.as_ref().map(|worker| worker.status(changes));
        async move { Ok::<_, Infallible>(response(said.as_ref())) }
    });
    // A poll that was given up is the operator's to tell.
    drop(http1::Builder::new().serve_connection(TokioIo::new(connection), service).await);
}

fn response(said: Option<&WorkerStatus>) -> Response<Full<Bytes>> {
    let body = said.and_then(|said| serde_json::to_vec(said).ok());
    let code = if body.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let mut response = Response::new(Full::new(Bytes::from(body.unwrap_or_default())));
    *response.status_mut() = code;
    response
}

/// One a minute, each worker at a second of its own.
async fn checkpoints(cast: std::sync::Weak<Cast>, saving: CancellationToken, worker: Arc<Worker>) {
    saving.cancelled().await;
    let first = Duration::from_millis(worker.number * 7919 % 60_000);
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + first, CHECKPOINT_EVERY);
    loop {
        ticks.tick().await;
        let Some(cast) = cast.upgrade() else { return };
        let Ok(_permit) = cast.writes.acquire().await else { return };
        match worker.save(&cast.maps).await {
            Ok(()) => drop(cast.saved.fetch_add(1, Ordering::Relaxed)),
            Err(failure) => {
                cast.failed.fetch_add(1, Ordering::Relaxed);
                *lock(&cast.broken) = Some(failure.to_string());
            }
        }
    }
}

impl Worker {
    fn of(pod: Pod) -> Option<Self> {
        let labels = pod.metadata.labels?;
        let stream = labels.get(crds::annotations::STREAM_LABEL)?.clone();
        let number = stream.rsplit('-').next()?.parse().ok()?;
        let said = first_words(&pod.metadata.uid?).ok()?;
        let namespace = pod.metadata.namespace?;
        Some(Self { namespace, stream, number, since: Instant::now(), said })
    }

    /// What it says now.
    fn status(&self, changes: usize) -> WorkerStatus {
        let now = Timestamp::now();
        let seconds = self.since.elapsed().as_secs();
        let mut said = self.said.clone();
        said.observed_at = now;
        said.source.version = Some(source_version(changes));
        said.source.last_event_at = Some(now);
        said.lag.seconds = Some(self.lag(seconds));
        said.lag.observed_at = Some(now);
        said.received = Some(place(seconds * RATE));
        said.durable = Some(place(durable(seconds) * RATE));
        said.archive.n = Some(1 + seconds / 10);
        said.archive.last_commit_time = Some(now);
        said.archive.recoverable_until = Some(now);
        said.checkpoint.n = Some(1 + seconds / 60);
        said.counters.bytes = seconds * RATE;
        said
    }

    fn lag(&self, seconds: u64) -> u64 {
        let of_wave = seconds % WAVE;
        if self.number.is_multiple_of(RESTLESS) { of_wave.min(WAVE - of_wave) } else { 0 }
    }

    /// Reads and replaces the checkpoint, as a worker does.
    async fn save(&self, client: &Client) -> Result<()> {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &self.namespace);
        let name = format!("{}-checkpoint", self.stream);
        let mut map = maps.get(&name).await?;
        let text = self.checkpoint().to_json().context(|| "write a checkpoint as JSON")?;
        let data = BTreeMap::from([("checkpoint.json".to_owned(), text)]);
        map.data = Some(data);
        maps.replace(&name, &PostParams::default(), &map).await.map(drop)?;
        Ok(())
    }

    fn checkpoint(&self) -> Checkpoint {
        let seconds = self.since.elapsed().as_secs();
        let at = FilePosition::new("binlog.000001".to_owned(), durable(seconds) * RATE);
        let digest = "d2".repeat(32);
        Checkpoint {
            format: crds::checkpoint::CHECKPOINT_FORMAT,
            kind: "STREAM".to_owned(),
            streams: Checkpoint::stream_items(&at, 1, &[]),
            archive: self.said.archive.archive_id.unwrap_or_default(),
            n: 1 + seconds / 10,
            digest: digest.clone(),
            epoch: 1,
            lineage: "0001".to_owned(),
            file: at.file,
            pos: at.offset,
            gtid: crds::checkpoint::CheckpointGtid { set: Some(gtid(at.offset)), digest },
            tail: None,
            event_time: Some(Timestamp::now()),
            saved_at: Timestamp::now(),
            own_server_id: self.said.source.own_server_id,
            crc32c: String::new(),
        }
    }
}

/// Commits come each ten seconds.
fn durable(seconds: u64) -> u64 {
    seconds / 10 * 10
}

fn gtid(offset: u64) -> String {
    format!("0-1-{}", offset / 500)
}

fn place(offset: u64) -> PositionFacet {
    let at = FilePosition::new("binlog.000001".to_owned(), offset);
    PositionFacet::new(&at, Some(&gtid(offset)), Some(Timestamp::now()))
}

/// What does not move.
fn first_words(pod: &str) -> Result<WorkerStatus> {
    let now = Timestamp::now();
    let mut said: WorkerStatus = serde_json::from_value(json!({
        "version": crds::worker_status::STATUS_VERSION, "workerVersion": "played", "instance": pod,
        "podUid": pod, "epoch": 1, "configGeneration": 1, "observedAt": now,
        "phase": "Streaming", "reason": "Streaming", "message": "",
        "source": {
            "connected": true, "reason": "Connected", "message": "the replication connection is up",
            "address": "192.0.2.1:3306", "serverId": 1, "ownServerId": 1_000_000_001, "flavor": "MariaDB",
            "role": "Primary", "binlogRetentionSeconds": 864_000, "encrypted": true, "lastHeartbeatAt": now,
        },
        "start": {
            "mode": "Earliest", "position": {"file": "binlog.000001", "offset": 4}, "origin": "Spec",
            "resolvedAt": now,
        },
        "lag": {"state": "CaughtUp", "seconds": 0},
        "archive": {
            "healthy": true, "reason": "Current", "message": "what is received becomes durable in time",
            "state": "Current", "archiveId": "7b1c1e3e-0f0a-4a44-8f55-8f1c5f2b0c11",
            "recoverableFrom": now, "fence": "ConditionalCreate",
        },
        "checkpoint": {"healthy": true, "reason": "Saved", "message": "the checkpoint follows the log", "savedAt": now},
        "decoding": {"healthy": true, "reason": "Decoding", "message": "every table is decoded"},
        "counters": {},
    }))?;
    said.lag.state = LagState::CaughtUp;
    Ok(said)
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
