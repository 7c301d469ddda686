//! Facts to status: one pure function, no client, no clock of its own.
//!
//! - What the operator cannot know is `Unknown`, never the last good value
//!   (`silent_worker_is_unknown_within_thirty_seconds`).
//! - `lastTransitionTime` moves only when a condition's status flips
//!   (`transition_time_moves_only_on_flips`).
//! - Every condition is present from the first write (`every_condition_is_always_there`).
//! - A gap stays shown while its worker is silent, down or stopped
//!   (`gaps_are_remembered_while_nobody_reports`).

pub mod actions;
pub mod budget;
pub mod conditions;
pub mod facets;
pub mod gaps;
pub mod lag;
pub mod pod;
pub mod ready;
pub mod voice;
pub mod write;

use std::time::Duration;

use crds::{
    checkpoint::Checkpoint,
    v1alpha1::{BinlogStreamStatus, StreamState, WorkerPodStatus},
    worker_status::WorkerStatus,
};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DeploymentStatus;

use self::voice::Voice;
use crate::{
    controller::validate::{Refusal, ValidStream},
    rollout::turns::Held,
    watched::KeptPod,
};

/// What the reconcile made of the stream.
#[derive(Debug, Clone)]
pub enum Outcome<'a> {
    /// The children are as the stream asks.
    Applied(&'a ValidStream),
    /// Children of a deleted stream of this name are still being collected.
    Waiting(&'a ValidStream, String),
    /// A change of the pod that is ours waits for its turn; everything else is as the stream asks.
    Held(&'a ValidStream, Held),
    /// The spec cannot work; children were left as they were.
    Refused(&'a Refusal),
    /// The children could not be written.
    Failed(&'a ValidStream, String),
    /// It is being deleted; nothing is applied any more. With spec.state, if it could be read.
    Deleting(Option<StreamState>),
}

impl<'a> Outcome<'a> {
    /// The stream, when it is valid.
    pub fn stream(&self) -> Option<&'a ValidStream> {
        match self {
            Outcome::Applied(stream)
            | Outcome::Waiting(stream, _)
            | Outcome::Held(stream, _)
            | Outcome::Failed(stream, _) => Some(stream),
            Outcome::Refused(_) | Outcome::Deleting(_) => None,
        }
    }

    /// A word of a closed list, for traces.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Applied(_) => "applied",
            Outcome::Waiting(..) => "waiting",
            Outcome::Held(..) => "held",
            Outcome::Refused(_) => "refused",
            Outcome::Failed(..) => "failed",
            Outcome::Deleting(_) => "deleting",
        }
    }

    /// spec.state, as far as it could be read.
    pub fn state(&self) -> Option<StreamState> {
        match self {
            Outcome::Refused(refusal) => refusal.state,
            Outcome::Deleting(state) => *state,
            other => other.stream().map(|stream| stream.spec.state),
        }
    }
}

/// A worker's last good answer.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// UID of the pod that gave it.
    pub pod_uid: &'a str,
    /// The answer.
    pub status: &'a WorkerStatus,
    /// How old it is.
    pub age: Duration,
}

/// The Deployment, as far as the status needs it.
#[derive(Debug, Clone, Copy)]
pub struct DeploymentFacts<'a> {
    /// metadata.generation.
    pub generation: i64,
    /// status.
    pub status: &'a DeploymentStatus,
}

/// Everything the status is made from.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Name of the stream, for the commands in messages.
    pub name: &'a str,
    /// metadata.generation of the stream.
    pub generation: i64,
    /// Now.
    pub now: Timestamp,
    /// What the reconcile made of it.
    pub outcome: Outcome<'a>,
    /// The Deployment, if there is one.
    pub deployment: Option<DeploymentFacts<'a>>,
    /// The pod that should be the worker.
    pub pod: Option<&'a KeptPod>,
    /// Another pod of the stream that was told to end and has not.
    pub leaving: Option<&'a KeptPod>,
    /// The last good answer, of whichever pod.
    pub report: Option<Report<'a>>,
    /// The checkpoint, read only while the worker does not speak.
    pub checkpoint: Option<&'a Checkpoint>,
    /// The status as it is stored.
    pub previous: Option<&'a BinlogStreamStatus>,
}

/// The status for these facts.
pub fn compute(facts: &Facts<'_>) -> BinlogStreamStatus {
    let voice = voice::listen(facts);
    let previous = facts.previous.cloned().unwrap_or_default();
    let said = voice.spoken();
    let gaps = gaps::gaps(said, &previous);
    let conditions = conditions::all(facts, &voice, &gaps);
    let reason = conditions.first().map(|ready| ready.reason.clone());
    let stream = facts.outcome.stream();
    let archive = facets::archive(said, facts.checkpoint, previous.archive.as_ref());
    let checkpoint_action = actions::checkpoint(facts, &voice, &archive, &previous);
    let resets = checkpoint_action.as_ref().is_some_and(actions::is_pending_reset);
    let worker = worker(facts, &voice, previous.worker.clone());
    BinlogStreamStatus {
        observed_generation: Some(facts.generation),
        operator_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        reason,
        conditions,
        server_id: stream.map(|stream| stream.server_id).or(previous.server_id),
        // While a reset waits, spec.start may be changed: the schema pins it by this field.
        start: said.and_then(facets::start).or(previous.start.clone().filter(|_| !resets)),
        position: said
            .and_then(facets::position)
            .or_else(|| facets::checkpointed(facts.checkpoint, previous.position.as_ref()))
            .or_else(|| previous.position.clone()),
        lag: Some(lag::lag(&voice, facts.now)),
        archive: Some(archive),
        gap_count: Some(gaps.count),
        open_gap_count: Some(gaps.open),
        gaps: gaps.listed,
        tables: said.map(facets::tables).or_else(|| previous.tables.clone()),
        source: said.map(facets::source).or_else(|| previous.source.clone()),
        last_handled_action: actions::last(
            facts,
            said,
            checkpoint_action.as_ref(),
            &worker,
            &previous,
        ),
        checkpoint_action,
        worker: Some(worker),
    }
}

/// The worker's pod. What was asked for is shown once it is applied: until then the old one runs.
fn worker(
    facts: &Facts<'_>,
    voice: &Voice<'_>,
    previous: Option<WorkerPodStatus>,
) -> WorkerPodStatus {
    let pod = facts.pod;
    let previous = previous.unwrap_or_default();
    let (image, resources, spool) = match &facts.outcome {
        Outcome::Applied(ValidStream { pod, .. }) => {
            (Some(pod.image.clone()), Some(pod.resources.clone()), Some(pod.spool.to_string()))
        }
        _ => (previous.image, previous.resources, previous.spool),
    };
    let restarted_at = actions::restarted(facts, voice).or(previous.restarted_at);
    WorkerPodStatus {
        restarted_at,
        pod: pod.map(|pod| pod.name.to_string()),
        node: pod.and_then(|pod| pod.node.as_deref()).map(str::to_owned),
        image,
        epoch: voice.spoken().and_then(|report| report.epoch),
        restarts: pod.map(pod::restarts),
        resources,
        spool,
    }
}

/// At most `most` characters: what the schema lets in.
pub(crate) fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

#[cfg(test)]
pub(crate) mod tests;
