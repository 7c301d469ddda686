//! Looks at the rolls of the whole fleet each second and lets go whoever may.

use std::{collections::HashSet, sync::Arc, time::Duration};

use crds::{conditions::Reason, v1alpha1::StreamState};
use kube_runtime::reflector::ObjectRef;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    record::Roll,
    standing::{self, Seen, Standing},
    turns::{Round, Unsettled},
};
use crate::{
    answers::Key,
    context::{Context, Scope},
    controller::update_status::reference,
    events::{Kind, Notice},
    kin::Row,
    pods,
    wake::WakeUps,
    watched::{Deployed, KeptPod},
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
    deployed: &'a Deployed,
    generation: i64,
    pod: Option<&'a KeptPod>,
) -> Seen<'a> {
    let answered = pod.and_then(|pod| context.answers.heard(key, &pod.uid));
    Seen {
        generation,
        status: &deployed.status,
        pod,
        answered: answered.is_some(),
        is_to_stream: state == Some(StreamState::Running),
        now: context.now(),
    }
}

/// The roll that takes a place. One without a pod (a stream that was refused and stopped in the middle) takes none.
fn roll(row: &Row) -> Option<Roll> {
    let has_pod = row.deployed.as_ref()?.replicas != Some(0);
    row.children.deployment.as_ref()?.notes.as_ref()?.roll.filter(|_| has_pod)
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
        let rolling = scope.caches.kin.rolling();
        rolling.iter().filter_map(|(key, row)| self.unsettled_row(scope, key, row)).collect()
    }

    fn unsettled_row(&self, scope: &Scope, key: &Key, row: &Row) -> Option<Unsettled> {
        let caches = &scope.caches;
        let (deployment, deployed) = (row.children.deployment.as_ref()?, row.deployed.as_ref()?);
        let roll = roll(row)?;
        let generation = i64::try_from(deployment.version?).ok()?;
        let stream = caches.streams.get(&ObjectRef::new(&key.1).within(&key.0))?.open();
        let pods = caches.pods.of(key);
        let pod = pods::worker(&pods, stream.metadata.uid.as_deref()?);
        let state = stream.stream.as_ref().map(|stream| stream.spec.state).ok();
        let seen = seen(&self.context, key, state, deployed, generation, pod.map(AsRef::as_ref));
        let fault = match standing::standing(roll, &seen) {
            Standing::Settled => return None,
            Standing::Rolling => None,
            Standing::Failed(fault) => Some(fault),
        };
        Some(Unsettled { key: key.clone(), again: roll.again, fault })
    }

    /// A leave has done its work once the Deployment is noted to be what the stream was to get.
    fn end_leaves(&self) {
        let context = &self.context;
        let shown = |key: &Key| {
            let row = context.caches(&key.0)?.kin.row(key);
            Some(row.children.deployment?.notes?.made_from.template.clone())
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
            let Some(about) = stream.map(|stream| reference(&*stream)) else { continue };
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
    use kube_runtime::watcher::Event;
    use serde_json::json;

    use super::*;
    use crate::{
        kin::{Kin, Slot},
        listing::Listing,
        rollout::record::{Before, MadeFrom, Notes},
        watched::WatchedDeployment,
    };

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
            let metadata =
                json!({"name": "orders-worker", "namespace": "shop", "annotations": noted});
            let deployment: WatchedDeployment = serde_json::from_value(
                json!({"metadata": metadata, "spec": {"replicas": replicas}}),
            )
            .unwrap();
            let kin = Kin::default();
            kin.take(&[Slot::Deployment], &mut Listing::default(), &Event::Apply(deployment));
            roll(&kin.row(&("shop".to_owned(), "orders".to_owned())))
        };
        assert_eq!(with(1), rolls);
        assert_eq!(with(0), None);
    }
}
