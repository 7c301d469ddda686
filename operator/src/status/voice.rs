//! Who speaks for the stream now: the worker itself, its pod, or nobody.

use std::time::Duration;

use crds::{conditions::Reason, v1alpha1::StreamState, worker_status::WorkerStatus};

use super::{
    Facts, Outcome,
    pod::{self, PodState},
};

/// An answer older than this is no longer the present: three polls were missed. With the time
/// between polls and the limit of one, silence is seen after at most 22 s.
pub const STALE_AFTER: Duration = Duration::from_secs(15);

/// What is said of a stream that is being deleted.
pub const DELETING: &str = "the BinlogStream is being deleted; archive and checkpoint stay";

/// Who speaks for the stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Voice<'a> {
    /// The worker, just now.
    Speaking(&'a WorkerStatus),
    /// Its container runs and it has not answered for too long.
    Silent {
        /// Its node, if that has stopped to report, too.
        lost_node: Option<&'a str>,
    },
    /// It is on its way.
    Starting {
        /// What is being waited for.
        message: String,
    },
    /// Its pod says why there is no worker.
    Down {
        /// Word for the status.
        reason: Reason,
        /// As the pod says it, and the mend.
        message: String,
    },
    /// There is to be none, and there is none.
    Absent,
    /// There is to be none, and the last one still drains.
    Ending,
}

impl<'a> Voice<'a> {
    /// The worker's own words, if it speaks.
    pub fn spoken(&self) -> Option<&'a WorkerStatus> {
        match self {
            Voice::Speaking(report) => Some(report),
            _ => None,
        }
    }
}

/// Finds out who speaks.
pub fn listen<'a>(facts: &Facts<'a>) -> Voice<'a> {
    let wanted = facts.outcome.state() != Some(StreamState::Stopped);
    let Some(pod) = facts.pod else {
        return if wanted { no_pod(facts) } else { Voice::Absent };
    };
    let state = pod::state(pod, facts.now);
    // A report of an earlier pod says nothing about this one.
    let report = facts.report.filter(|report| *pod.uid == *report.pod_uid);
    let fresh = report.filter(|report| report.age <= STALE_AFTER);
    match (state, fresh) {
        (PodState::Down { reason, message }, _) => Voice::Down { reason, message },
        (PodState::Coming { message }, _) => starting(facts, message + &replaced(facts)),
        (PodState::Ending, _) if !wanted => Voice::Ending,
        (PodState::Running { .. } | PodState::Ending, Some(report)) => {
            Voice::Speaking(report.status)
        }
        (PodState::Ending, None) => {
            let why = pod::disruption(pod).map(|why| format!(": {why}")).unwrap_or_default();
            starting(facts, format!("the previous pod is ending{why}"))
        }
        (PodState::Running { since }, None) if report.is_none() && since <= STALE_AFTER => {
            starting(facts, "the worker has not answered yet".to_owned())
        }
        (PodState::Running { .. }, None) => Voice::Silent { lost_node: pod::lost_node(pod) },
    }
}

/// What became of the pod before, if it was taken away.
fn replaced(facts: &Facts<'_>) -> String {
    let words = facts.leaving.and_then(|leaving| {
        let (name, node) = (&leaving.name, leaving.node.as_deref().unwrap_or("no node"));
        Some(format!("; it replaces pod {name} on {node}: {}", pod::disruption(leaving)?))
    });
    words.unwrap_or_default()
}

fn no_pod<'a>(facts: &Facts<'a>) -> Voice<'a> {
    match &facts.outcome {
        Outcome::Refused(refusal) if facts.deployment.is_none() => {
            return Voice::Down { reason: refusal.reason, message: refusal.message.clone() };
        }
        Outcome::Waiting(_, message) => return starting(facts, message.clone()),
        _ => {}
    }
    let failure = facts
        .deployment
        .iter()
        .flat_map(|deployment| deployment.status.conditions.iter().flatten())
        .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True");
    match failure {
        Some(failure) => Voice::Down {
            reason: Reason::WorkerNotReady,
            message: format!(
                "the pod cannot be made: {}",
                failure.message.as_deref().unwrap_or("the Deployment gives no reason")
            ),
        },
        None => starting(facts, "the pod has not been made yet".to_owned()),
    }
}

/// On its way, unless the stream goes: then nobody comes any more.
fn starting(facts: &Facts<'_>, message: String) -> Voice<'static> {
    match facts.outcome {
        Outcome::Deleting(_) => {
            Voice::Down { reason: Reason::Deleting, message: DELETING.to_owned() }
        }
        _ => Voice::Starting { message },
    }
}
