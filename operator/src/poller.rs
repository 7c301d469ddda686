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
use kube_runtime::reflector::ObjectRef;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, field::Empty, info_span};

use crate::{
    answers::{Answer, Key},
    context::Context,
    controller::build::ADMIN_PORT,
    status::{lag, voice::STALE_AFTER},
    wake::WakeUps,
    watched::{OfStream, WatchedPod},
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
    pod_uid: String,
    since: Instant,
    due: Instant,
    in_flight: bool,
    /// It answered the last time, and was past its start. Of such ones no poll is traced: they are too many, and all alike.
    steady: bool,
    /// What was last told to the controller.
    told: u64,
}

struct Poll {
    key: Key,
    pod_uid: String,
    ip: IpAddr,
    is_traced: bool,
}

struct Polled {
    key: Key,
    pod_uid: String,
    answer: Result<WorkerStatus, PollError>,
}

/// Polls until `shutdown`.
pub async fn run(context: Arc<Context>, wake_ups: Arc<WakeUps>, shutdown: CancellationToken) {
    context.answers.begin(context.now());
    let mut poller = Poller {
        context,
        wake_ups,
        targets: HashMap::new(),
        streams: HashMap::new(),
        waiting: VecDeque::new(),
    };
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
    /// Streams known at the last housekeeping, by UID.
    streams: HashMap<String, Key>,
    /// Polls that are due and wait for one of the others to end: no task and no buffer is made for them before.
    waiting: VecDeque<Poll>,
}

impl Poller {
    fn find_due(&mut self) {
        let now = Instant::now();
        let running = self.running();
        self.targets.retain(|key, target| target.in_flight || running.contains_key(key));
        for (key, (pod_uid, ip)) in running {
            let target =
                self.targets.entry(key.clone()).or_insert_with(|| new_target(&pod_uid, now));
            self.context.answers.asked(&key);
            if target.pod_uid != pod_uid && !target.in_flight {
                *target = new_target(&pod_uid, now);
            }
            if target.in_flight || target.due > now {
                continue;
            }
            target.in_flight = true;
            self.waiting.push_back(Poll { key, pod_uid, ip, is_traced: !target.steady });
        }
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

    /// The pods to ask: one per stream, of the stream's own UID, with an address.
    fn running(&self) -> HashMap<Key, (String, IpAddr)> {
        let mut best: HashMap<Key, Arc<WatchedPod>> = HashMap::new();
        for scope in self.context.caches.get().into_iter().flatten() {
            for pod in scope.caches.pods.state() {
                let Some(key) = stream_of(&pod) else { continue };
                let reference = ObjectRef::new(&key.1).within(&key.0);
                let Some(stream) = scope.caches.streams.get(&reference) else { continue };
                if pod.owner_uid() != stream.metadata.uid.as_deref() {
                    continue;
                }
                let rank = |pod: &WatchedPod| {
                    let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
                    (pod.metadata.deletion_timestamp.is_none(), created)
                };
                let better = best.get(&key).is_none_or(|known| rank(&pod) > rank(known));
                if better {
                    best.insert(key, pod);
                }
            }
        }
        let address = |pod: &WatchedPod| -> Option<(String, IpAddr)> {
            let running = pod.status.phase.as_deref() == Some("Running");
            let ip = pod.status.pod_ip.as_deref().filter(|_| running)?.parse().ok()?;
            Some((pod.metadata.uid.clone()?, ip))
        };
        best.into_iter().filter_map(|(key, pod)| Some((key, address(&pod)?))).collect()
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
                let told = fingerprint(&status);
                let answer = Answer { pod_uid, status: Arc::new(status), at: now };
                self.context.answers.put(key.clone(), answer);
                (if starting && !settled { TICK } else { USUAL }, told)
            }
            Err(error) => {
                debug!(namespace = %key.0, stream = %key.1, %error, "poll");
                let last = self.context.answers.get(&key);
                let last = last.filter(|last| last.pod_uid == target.pod_uid);
                let silent_since = last.map_or(target.since, |last| last.at);
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
    fn keep_house(&mut self) {
        let now: HashMap<String, Key> = self
            .context
            .all_streams()
            .iter()
            .filter_map(|stream| {
                let meta = &stream.metadata;
                Some((meta.uid.clone()?, (meta.namespace.clone()?, meta.name.clone()?)))
            })
            .collect();
        let names: HashSet<&Key> = now.values().collect();
        for uid in self.streams.keys().filter(|uid| !now.contains_key(*uid)) {
            self.context.forget(uid);
        }
        let context = &self.context;
        context.answers.keep_only(|key| names.contains(key));
        context.peers.keep_only(|key| names.contains(key));
        context.metrics.shown.keep_only(|key| names.contains(key));
        self.context.metrics.streams.set(now.len() as i64);
        self.streams = now;
    }
}

/// What is told when a worker is silent; no fingerprint is 1.
const SILENT: u64 = 1;

fn new_target(pod_uid: &str, now: Instant) -> Target {
    let pod_uid = pod_uid.to_owned();
    Target { pod_uid, since: now, due: now, in_flight: false, steady: false, told: 0 }
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

fn stream_of(pod: &WatchedPod) -> Option<Key> {
    Some((pod.metadata.namespace.clone()?, pod.stream()?.to_owned()))
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
