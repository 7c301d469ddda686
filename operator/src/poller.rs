//! Asks each worker for its status: every 5 s, every second while it starts.
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

const TICK: Duration = Duration::from_secs(1);
const USUAL: Duration = Duration::from_secs(5);
/// Polls that run at once.
pub const AT_ONCE: usize = 256;
/// A pod that does not answer is asked each second for this long.
const PATIENCE: Duration = Duration::from_mins(1);
/// Ticks between two looks for streams that are gone.
const HOUSEKEEPING: u64 = 30;

/// A worker that is polled.
struct Target {
    pod_uid: Box<str>,
    since: Instant,
    due: Instant,
    in_flight: bool,
    /// It answered the last time, and was past its start. Of such ones no poll is traced: they are too many, and all alike.
    steady: bool,
    /// Whether the last look at the pods found it.
    found: bool,
    /// What was last told to the controller.
    told: u64,
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
    let mut poller =
        Poller { context, wake_ups, targets: HashMap::new(), waiting: VecDeque::new() };
    let mut polls: JoinSet<Polled> = JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut count: u64 = 0;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(done) = polls.join_next() => {
                if let Ok(polled) = done {
                    poller.take(polled);
                }
                poller.start_waiting(&mut polls);
            }
            _ = ticks.tick() => {
                if count.is_multiple_of(HOUSEKEEPING) {
                    poller.keep_house();
                }
                count += 1;
                poller.find_due();
                poller.start_waiting(&mut polls);
            }
        }
    }
}

struct Poller {
    context: Arc<Context>,
    wake_ups: Arc<WakeUps>,
    targets: HashMap<Key, Target>,
    /// Polls that are due and wait for one of the others to end: no task and no buffer is made for them before.
    waiting: VecDeque<Poll>,
}

impl Poller {
    fn find_due(&mut self) {
        let (now, context) = (Instant::now(), Arc::clone(&self.context));
        for scope in context.caches.get().into_iter().flatten() {
            scope.caches.pods.each(|key, pods| self.look(&scope.caches, key, pods, now));
        }
        self.targets.retain(|_, target| std::mem::take(&mut target.found) || target.in_flight);
    }

    /// Looks at the pods of one stream; most are those of the last look, and not due.
    fn look(&mut self, caches: &Caches, key: &Key, pods: &[Arc<KeptPod>], now: Instant) {
        if let Some(target) = self.targets.get_mut(key) {
            let is_same = matches!(pods, [only] if only.uid == target.pod_uid);
            if is_same && (target.in_flight || target.due > now) {
                target.found = true;
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
        let starting = now.duration_since(target.since) < PATIENCE;
        self.context.metrics.polled(outcome(&answer));
        target.steady = answer.as_ref().is_ok_and(|status| status.phase != Phase::Starting);
        let (wait, told) = match answer {
            Ok(status) => {
                let settled = target.steady;
                let kept = self.context.answers.put(key.clone(), pod_uid, &status, now);
                let told = if kept.is_ok() { fingerprint(&status) } else { target.told };
                (if starting && !settled { TICK } else { USUAL }, told)
            }
            Err(error) => {
                debug!(namespace = %key.0, stream = %key.1, %error, "poll");
                let heard = self.context.answers.heard(&key, &target.pod_uid);
                let silent_since = heard.unwrap_or(target.since);
                let silent = now.duration_since(silent_since) > STALE_AFTER;
                (if starting { TICK } else { USUAL }, if silent { SILENT } else { target.told })
            }
        };
        target.due = now + wait;
        // One that finds its queue full is woken by the next poll.
        if told != target.told && self.wake_ups.wake(&key) {
            target.told = told;
        }
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
    Target { pod_uid, since: now, due: now, in_flight: false, steady: false, found: true, told: 0 }
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
