//! Asks each worker for its status: every 5 s, and one that is not well yet as soon as its pod runs and then ever more
//! slowly, from ten times a second on.
//!
//! Polling wakes a reconcile only when something the status shows has changed, or when a worker
//! fell silent or speaks again. Polls run beside each other, at most [`AT_ONCE`], so that workers
//! that hang do not delay the others.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use crds::{
    spans::TARGET,
    worker_status::{Phase, WorkerStatus},
};
use futures::future;
use kube::Resource as _;
use kube_runtime::reflector::ObjectRef;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, field::Empty, info_span};

use crate::{
    answers::Key,
    caches::Caches,
    context::Context,
    controller::build::ADMIN_PORT,
    pods::worker,
    status::{lag, voice::STALE_AFTER},
    wake::WakeUps,
    watched::KeptPod,
    worker_client::{self, PollError},
};

/// How often all pods are looked at, at least.
const LOOK: Duration = Duration::from_secs(1);
/// Shortest time between two looks, and two questions to a worker.
const QUICK: Duration = Duration::from_millis(100);
/// Longest time between two questions to a worker.
const USUAL: Duration = Duration::from_secs(5);
/// Polls that run at once.
pub const AT_ONCE: usize = 256;
/// Time between two looks for streams that are gone.
const HOUSEKEEPING: Duration = Duration::from_secs(30);

/// A worker that is polled.
struct Target {
    pod_uid: Box<str>,
    since: Instant,
    due: Instant,
    in_flight: bool,
    /// It answered the last time, and was past its start. Of such ones no poll is traced: they are too many, and all alike.
    steady: bool,
    /// Whether it is to be asked again before the next usual look.
    is_awaited: bool,
    /// Whether the last look at the pods found it.
    found: bool,
    /// What was last told to the controller.
    told: u64,
}

impl Target {
    /// When it is to be asked, if the next usual look would be too late.
    fn sooner(&self) -> Option<Instant> {
        (self.is_awaited && !self.in_flight).then_some(self.due)
    }
}

struct Poll {
    key: Key,
    pod_uid: Box<str>,
    ip: IpAddr,
    is_traced: bool,
}

struct Polled {
    key: Key,
    pod_uid: Box<str>,
    answer: Result<WorkerStatus, PollError>,
}

/// Polls until `shutdown`.
pub async fn run(context: Arc<Context>, wake_ups: Arc<WakeUps>, shutdown: CancellationToken) {
    context.answers.begin(context.now());
    let now = Instant::now();
    let mut poller = Poller {
        context: Arc::clone(&context),
        wake_ups,
        targets: HashMap::new(),
        waiting: VecDeque::new(),
        looked: now,
        next_look: now,
    };
    let mut polls: JoinSet<Polled> = JoinSet::new();
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    housekeeping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(done) = polls.join_next() => {
                if let Ok(polled) = done {
                    poller.take(polled);
                }
            }
            () = some_pod_changed(&context) => poller.look_by(Some(Instant::now())),
            () = tokio::time::sleep_until(poller.next_look) => poller.look(),
            _ = housekeeping.tick() => poller.keep_house(),
        }
        poller.start_waiting(&mut polls);
    }
}

async fn some_pod_changed(context: &Context) {
    let scopes = context.caches.get().into_iter().flatten();
    let changes: Vec<_> = scopes.map(|scope| Box::pin(scope.caches.pods.changed())).collect();
    if changes.is_empty() {
        return future::pending().await;
    }
    future::select_all(changes).await;
}

struct Poller {
    context: Arc<Context>,
    wake_ups: Arc<WakeUps>,
    targets: HashMap<Key, Target>,
    /// Polls that are due and wait for one of the others to end: no task and no buffer is made for them before.
    waiting: VecDeque<Poll>,
    /// When all pods were looked at, and when they are to be again.
    looked: Instant,
    next_look: Instant,
}

impl Poller {
    /// Looks at all pods for workers that are due.
    fn look(&mut self) {
        let (now, context) = (Instant::now(), Arc::clone(&self.context));
        (self.looked, self.next_look) = (now, now + LOOK);
        for scope in context.caches.get().into_iter().flatten() {
            scope.caches.pods.each(|key, pods| self.look_at(&scope.caches, key, pods, now));
        }
        self.targets.retain(|_, target| std::mem::take(&mut target.found) || target.in_flight);
    }

    /// Has the next look made at this time or before, if there is one, and it is not too soon.
    fn look_by(&mut self, at: Option<Instant>) {
        let soonest = self.looked + QUICK;
        self.next_look = at.map_or(self.next_look, |at| self.next_look.min(at.max(soonest)));
    }

    /// Looks at the pods of one stream; most are those of the last look, and not due.
    fn look_at(&mut self, caches: &Caches, key: &Key, pods: &[Arc<KeptPod>], now: Instant) {
        if let Some(target) = self.targets.get_mut(key) {
            let is_same = matches!(pods, [only] if only.uid == target.pod_uid);
            if is_same && (target.in_flight || target.due > now) {
                target.found = true;
                let sooner = target.sooner();
                self.look_by(sooner);
                return;
            }
        }
        let Some((pod_uid, ip)) = address(caches, key, pods) else { return };
        self.context.answers.asked(key);
        let target = self.targets.entry(key.clone()).or_insert_with(|| new_target(pod_uid, now));
        if *target.pod_uid != *pod_uid && !target.in_flight {
            *target = new_target(pod_uid, now);
        }
        target.found = true;
        if target.in_flight || target.due > now {
            let sooner = target.sooner();
            self.look_by(sooner);
            return;
        }
        target.in_flight = true;
        let is_traced = !target.steady;
        self.waiting.push_back(Poll { key: key.clone(), pod_uid: pod_uid.into(), ip, is_traced });
    }

    fn start_waiting(&mut self, polls: &mut JoinSet<Polled>) {
        while polls.len() < AT_ONCE {
            let Some(Poll { key, pod_uid, ip, is_traced }) = self.waiting.pop_front() else {
                return;
            };
            let span = if is_traced { span(&key) } else { Span::none() };
            polls.spawn(async move {
                let answer = worker_client::status(ip, ADMIN_PORT).instrument(span.clone()).await;
                span.record("binlogstream.outcome", outcome(&answer));
                Polled { key, pod_uid, answer }
            });
        }
    }

    fn take(&mut self, polled: Polled) {
        let Polled { key, pod_uid, answer } = polled;
        let now = Instant::now();
        let Some(target) = self.targets.get_mut(&key) else { return };
        target.in_flight = false;
        if target.pod_uid != pod_uid {
            return;
        }
        let age = now.duration_since(target.since);
        self.context.metrics.polled(outcome(&answer));
        target.steady = answer.as_ref().is_ok_and(|status| status.phase != Phase::Starting);
        let (well, told) = match answer {
            Ok(status) => {
                let kept = self.context.answers.put(key.clone(), pod_uid, &status, now);
                let told = if kept.is_ok() { fingerprint(&status) } else { target.told };
                (is_well(&status), told)
            }
            Err(error) => {
                debug!(namespace = %key.0, stream = %key.1, %error, "poll");
                let heard = self.context.answers.heard(&key, &target.pod_uid);
                let silent_since = heard.unwrap_or(target.since);
                let silent = now.duration_since(silent_since) > STALE_AFTER;
                (false, if silent { SILENT } else { target.told })
            }
        };
        let wait = if well { USUAL } else { (age / 2).clamp(QUICK, USUAL) };
        (target.due, target.is_awaited) = (now + wait, wait < LOOK);
        // One that finds its queue full is woken by the next poll.
        if told != target.told && self.wake_ups.wake(&key) {
            target.told = told;
        }
        let sooner = target.sooner();
        self.look_by(sooner);
    }

    /// Forgets streams that are gone.
    fn keep_house(&self) {
        let context = &self.context;
        let all = context.all_streams();
        let uids: HashSet<&str> =
            all.iter().filter_map(|stream| stream.meta().uid.as_deref()).collect();
        let names: HashSet<(&str, &str)> = all
            .iter()
            .filter_map(|stream| {
                Some((stream.meta().namespace.as_deref()?, stream.meta().name.as_deref()?))
            })
            .collect();
        let is_known =
            |(namespace, name): &Key| names.contains(&(namespace.as_str(), name.as_str()));
        context.keep_only(|uid| uids.contains(uid));
        context.answers.keep_only(is_known);
        context.peers.keep_only(is_known);
        context.metrics.shown.keep_only(is_known);
        context.metrics.streams.set(all.len() as i64);
    }
}

/// The pod to ask, if the stream has one that runs and has an address.
fn address<'a>(caches: &Caches, key: &Key, pods: &'a [Arc<KeptPod>]) -> Option<(&'a str, IpAddr)> {
    let stream = caches.streams.get(&ObjectRef::new(&key.1).within(&key.0))?;
    let pod = worker(pods, stream.meta().uid.as_deref()?)?;
    let runs = pod.status.phase.as_deref() == Some("Running");
    let ip = pod.status.pod_ip.as_deref().filter(|_| runs)?.parse().ok()?;
    Some((&pod.uid, ip))
}

/// What is told when a worker is silent; no fingerprint is 1.
const SILENT: u64 = 1;

fn new_target(pod_uid: &str, now: Instant) -> Target {
    let pod_uid = pod_uid.into();
    Target {
        pod_uid,
        since: now,
        due: now,
        in_flight: false,
        steady: false,
        is_awaited: false,
        found: true,
        told: 0,
    }
}

/// How a poll ended: a word for metric and trace.
fn outcome(answer: &Result<WorkerStatus, PollError>) -> &'static str {
    match answer {
        Ok(_) => "answered",
        Err(error) => error.outcome(),
    }
}

fn span((namespace, name): &Key) -> Span {
    info_span!(
        target: TARGET,
        parent: None,
        "poll",
        otel.kind = "client",
        binlogstream.namespace = namespace,
        binlogstream.name = name,
        binlogstream.outcome = Empty,
    )
}

/// Whether it does what it is asked to, and nothing is to be expected of the next moment.
fn is_well(status: &WorkerStatus) -> bool {
    let WorkerStatus { phase, source, archive, checkpoint, decoding, .. } = status;
    match phase {
        Phase::Streaming => {
            source.connected && archive.healthy && checkpoint.healthy && decoding.healthy
        }
        Phase::Starting | Phase::Waiting => false,
        Phase::Paused | Phase::Draining | Phase::Fenced | Phase::Unknown => true,
    }
}

/// A number that changes when something that a status shows at once changes: everything but the
/// figures that always move.
fn fingerprint(status: &WorkerStatus) -> u64 {
    let mut hasher = DefaultHasher::new();
    let WorkerStatus { source, lag, archive, checkpoint, decoding, .. } = status;
    let shown = (
        (status.phase, status.reason, &status.message, status.config_generation, status.epoch),
        (source.connected, source.reason, &source.message, &source.address, source.server_uuid),
        (&source.version, source.role, source.server_id),
        (lag.state, lag.seconds.map(lag::bucket)),
        (archive.healthy, archive.reason, &archive.message, lag::archived(status)),
        (checkpoint.healthy, checkpoint.reason, &checkpoint.message),
        (decoding.healthy, decoding.reason, &decoding.message, &decoding.stopped),
        (&status.gaps, status.gap_count, status.open_gap_count, &status.fenced),
        (&status.last_handled_action, &status.start, &status.config_error),
    );
    format!("{shown:?}").hash(&mut hasher);
    hasher.finish() | 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::report;

    #[test]
    fn a_worker_that_streams_is_well_once_all_it_needs_is() {
        let said = report();
        assert!(is_well(&said));
        assert!(!is_well(&WorkerStatus { phase: Phase::Starting, ..said.clone() }));
        assert!(is_well(&WorkerStatus { phase: Phase::Paused, ..said.clone() }));
        let mut not_yet = said;
        not_yet.archive.healthy = false;
        assert!(!is_well(&not_yet));
    }

    #[test]
    fn figures_that_always_move_wake_nobody() {
        let before = report();
        let mut after = report();
        after.counters.events += 1000;
        after.archive.n = Some(9_999);
        after.archive.pending_bytes += 1;
        if let Some(durable) = &mut after.durable {
            durable.offset += 10_000;
        }
        assert_eq!(fingerprint(&before), fingerprint(&after));
        after.archive.healthy = false;
        assert_ne!(fingerprint(&before), fingerprint(&after));
    }
}
