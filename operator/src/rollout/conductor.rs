//! Looks at the rolls of the whole fleet each second and lets go whoever may.

use std::{collections::HashSet, sync::Arc, time::Duration};

use crds::{conditions::Reason, v1alpha1::StreamState};
use kube_runtime::reflector::ObjectRef;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    record::{Notes, Roll},
    standing::{self, Seen, Standing},
    turns::{Round, Unsettled},
};
use crate::{
    answers::Key,
    context::{Context, Scope},
    controller::{build::labels, dereference::worker_pod, update_status::reference},
    events::{Kind, Notice},
    wake::WakeUps,
    watched::{WatchedDeployment, WatchedPod},
};

const TICK: Duration = Duration::from_secs(1);
/// Topic of the events about rollouts.
const TOPIC: &str = "Rollout";

/// Conducts until `shutdown`.
pub async fn run(context: Arc<Context>, wake_ups: Arc<WakeUps>, shutdown: CancellationToken) {
    let mut conductor = Conductor { context, halted: false, told: HashSet::new() };
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // Before its caches are filled a fleet looks as if nothing of it rolled.
        let is_filled = tokio::select! {
            () = shutdown.cancelled() => return,
            is_filled = conductor.is_filled() => is_filled,
        };
        if !is_filled {
            continue;
        }
        conductor.end_leaves();
        let rolls = conductor.unsettled();
        let round = conductor.round(&rolls);
        for key in &round.wake {
            // What finds no room is woken by the next round.
            wake_ups.wake(key);
        }
        conductor.tell(&round, &rolls).await;
    }
}

/// What is seen of a stream's worker. `generation` is that of the Deployment, which the cache may
/// not show yet.
pub fn seen<'a>(
    context: &Context,
    key: &Key,
    state: Option<StreamState>,
    deployment: &'a WatchedDeployment,
    generation: i64,
    pod: Option<&'a WatchedPod>,
) -> Seen<'a> {
    let pod_uid = pod.and_then(|pod| pod.metadata.uid.as_deref());
    let answer = context.answers.get(key);
    Seen {
        generation,
        status: &deployment.status,
        pod,
        answered: answer.is_some_and(|answer| Some(answer.pod_uid.as_str()) == pod_uid),
        is_to_stream: state == Some(StreamState::Running),
        now: context.now(),
    }
}

/// The roll of a Deployment that takes a place. One without a pod (a stream that was stopped in the middle) takes none.
fn roll(deployment: &WatchedDeployment) -> Option<Roll> {
    let has_pod = deployment.spec.replicas != Some(0);
    Notes::read(deployment.metadata.annotations.as_ref())?.roll.filter(|_| has_pod)
}

struct Conductor {
    context: Arc<Context>,
    halted: bool,
    /// Streams with an event about their failure, by UID.
    told: HashSet<String>,
}

impl Conductor {
    async fn is_filled(&self) -> bool {
        for scope in self.context.caches.get().into_iter().flatten() {
            if scope.caches.filled().await.is_err() {
                return false;
            }
        }
        true
    }

    /// The rolls that are not settled.
    fn unsettled(&self) -> Vec<Unsettled> {
        let scopes = self.context.caches.get().into_iter().flatten();
        scopes.flat_map(|scope| self.unsettled_of(scope)).collect()
    }

    fn unsettled_of(&self, scope: &Scope) -> Vec<Unsettled> {
        let caches = &scope.caches;
        let rolled = |deployment: &WatchedDeployment| {
            deployment
                .metadata
                .annotations
                .as_ref()
                .is_some_and(|all| all.contains_key(labels::ROLL))
        };
        let rolled = caches.deployments.state_filter(rolled);
        rolled
            .iter()
            .filter_map(|deployment| {
                let meta = &deployment.metadata;
                let roll = roll(deployment)?;
                let reference = crate::caches::parent(&**deployment)?;
                let stream = caches.streams.get(&reference)?;
                let (namespace, name) = (meta.namespace.clone()?, reference.name);
                let pod = worker_pod(caches, &namespace, &name, stream.metadata.uid.as_deref()?);
                let state = stream.stream.as_ref().map(|stream| stream.spec.state).ok();
                let key = (namespace, name);
                let seen =
                    seen(&self.context, &key, state, deployment, meta.generation?, pod.as_deref());
                let fault = match standing::standing(roll, &seen) {
                    Standing::Settled => return None,
                    Standing::Rolling => None,
                    Standing::Failed(fault) => Some(fault),
                };
                Some(Unsettled { key, again: roll.again, fault })
            })
            .collect()
    }

    /// A leave has done its work once the Deployment is noted to be what the stream was to get.
    fn end_leaves(&self) {
        let context = &self.context;
        let shown = |key: &Key| {
            let worker = ObjectRef::new(&labels::worker(&key.1)).within(&key.0);
            let deployment = context.caches(&key.0)?.deployments.get(&worker)?;
            let notes = Notes::read(deployment.metadata.annotations.as_ref())?;
            Some(notes.made_from.template)
        };
        context.turns.end_leaves(shown, Instant::now());
    }

    fn round(&self, rolls: &[Unsettled]) -> Round {
        let context = &self.context;
        let exists = |key: &Key| {
            let reference = ObjectRef::new(&key.1).within(&key.0);
            context.caches(&key.0).is_some_and(|caches| caches.streams.get(&reference).is_some())
        };
        let round = context.turns.round(rolls, exists, Instant::now());
        context.metrics.show_rollout(&round.fleet, round.waiting);
        round
    }

    /// An event on each stream that failed, once the rollout is halted.
    async fn tell(&mut self, round: &Round, rolls: &[Unsettled]) {
        let Some(halt) = &round.halt else {
            if std::mem::take(&mut self.halted) {
                info!("the rollout goes on");
                for uid in self.told.drain() {
                    self.context.events.settle(&uid, TOPIC);
                }
            }
            return;
        };
        if !std::mem::replace(&mut self.halted, true) {
            warn!(reason = %halt, "the rollout is halted");
        }
        let failed: HashSet<&Key> =
            rolls.iter().filter(|roll| roll.fault.is_some()).map(|roll| &roll.key).collect();
        for key in failed {
            let reference_of = ObjectRef::new(&key.1).within(&key.0);
            let stream =
                self.context.caches(&key.0).and_then(|caches| caches.streams.get(&reference_of));
            let Some(about) = stream.map(|stream| reference(&stream)) else { continue };
            let uid = about.uid.clone().unwrap_or_default();
            if self.told.contains(&uid) || self.context.tenure.check().is_err() {
                continue;
            }
            let notice = Notice {
                topic: TOPIC.to_owned(),
                kind: Kind::Warning,
                reason: Reason::RolloutHalted.as_str().to_owned(),
                note: halt.clone(),
            };
            self.context.events.tell(&about, notice).await;
            self.told.insert(uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rollout::record::{Before, MadeFrom};

    #[test]
    fn a_stopped_stream_takes_no_place() {
        let made_from = MadeFrom {
            template: "new".to_owned(),
            asked: "a".to_owned(),
            generation: 1,
            restarted_at: None,
        };
        let rolls = Some(Roll { before: Before::Ready, again: false });
        let noted = Notes { made_from, roll: rolls }.write().unwrap();
        let with = |replicas: u32| {
            let metadata = json!({"name": "orders-worker", "annotations": noted});
            let deployment = json!({"metadata": metadata, "spec": {"replicas": replicas}});
            roll(&serde_json::from_value(deployment).unwrap())
        };
        assert_eq!(with(1), rolls);
        assert_eq!(with(0), None);
    }
}
