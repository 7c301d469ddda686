//! How one roll goes: from the Deployment's status and its pod, pure.

use crds::conditions::Reason;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DeploymentStatus;

use super::record::{Before, Roll};
use crate::{
    status::pod::{self, PodState},
    watched::KeptPod,
};

/// How a roll stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Under way.
    Rolling,
    /// The new pod is as good as the old one was.
    Settled,
    /// It is not, for this reason; it may still come.
    Failed(String),
}

/// What is seen of a worker that is rolled.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Generation of the Deployment, our own last write included.
    pub generation: i64,
    /// Its status.
    pub status: &'a DeploymentStatus,
    /// Its newest pod.
    pub pod: Option<&'a KeptPod>,
    /// Whether the worker in that pod has answered.
    pub answered: bool,
    /// Whether it is to stream, and so to be ready.
    pub is_to_stream: bool,
    /// Now.
    pub now: Timestamp,
}

/// How the roll stands.
pub fn standing(roll: Roll, seen: &Seen<'_>) -> Standing {
    let status = seen.status;
    if status.observed_generation.unwrap_or(0) < seen.generation {
        return Standing::Rolling;
    }
    // `Recreate`: there is none before the old pod is gone.
    let is_new = status.updated_replicas.unwrap_or(0) > 0;
    let good_enough = status.ready_replicas.unwrap_or(0) > 0
        || roll.before == Before::Down
        || (seen.answered && (roll.before == Before::Running || !seen.is_to_stream));
    if is_new && good_enough {
        return Standing::Settled;
    }
    let fault = seen.pod.filter(|_| is_new).and_then(|pod| fault(pod, seen.now));
    match fault.or_else(|| overdue(status)) {
        Some(fault) => Standing::Failed(fault),
        None => Standing::Rolling,
    }
}

/// How a worker is before it is rolled.
pub fn before(status: &DeploymentStatus, pod: Option<&KeptPod>, now: Timestamp) -> Before {
    if status.ready_replicas.unwrap_or(0) > 0 {
        return Before::Ready;
    }
    match pod.map(|pod| pod::state(pod, now)) {
        Some(PodState::Running { .. }) => Before::Running,
        _ => Before::Down,
    }
}

/// What is wrong with a pod that was not ready yet. A process that ended once counts until it is.
fn fault(pod: &KeptPod, now: Timestamp) -> Option<String> {
    if pod.deleted.is_some() {
        return None;
    }
    match pod::state(pod, now) {
        PodState::Down {
            reason: reason @ (Reason::ImagePullFailed | Reason::WorkerCrashing),
            message,
        } => Some(format!("{reason}: {message}")),
        _ => match pod::restarts(pod) {
            0 => None,
            restarts => Some(format!(
                "{}: the process ended {restarts} times before it was ready",
                Reason::WorkerCrashing
            )),
        },
    }
}

/// The Deployment's own limit, `progressDeadlineSeconds`.
fn overdue(status: &DeploymentStatus) -> Option<String> {
    let conditions = status.conditions.as_ref()?;
    let progress = conditions.iter().find(|condition| condition.type_ == "Progressing")?;
    let exceeded = progress.status == "False"
        && progress.reason.as_deref() == Some("ProgressDeadlineExceeded");
    exceeded.then(|| format!("{}: not ready within ten minutes", Reason::WorkerNotReady))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::watched::WatchedPod;

    const WAS_READY: Roll = Roll { before: Before::Ready, again: false };

    fn pod(container: &Value) -> KeptPod {
        let pod: WatchedPod =
            serde_json::from_value(json!({"metadata": {"name": "p", "uid": "p"}, "status": {
                "phase": "Running", "containerStatuses": [container]}}))
            .unwrap();
        KeptPod::from(&pod)
    }

    fn running(restarts: i32) -> KeptPod {
        pod(&json!({"name": "worker", "ready": false, "restartCount": restarts, "image": "i",
            "imageID": "", "state": {"running": {"startedAt": "2026-11-21T10:00:00Z"}}}))
    }

    fn waiting(reason: &str) -> KeptPod {
        pod(&json!({"name": "worker", "ready": false, "restartCount": 0, "image": "i",
            "imageID": "", "state": {"waiting": {"reason": reason, "message": "no such tag"}}}))
    }

    /// A Deployment whose newest generation is 5.
    fn status(observed: i64, updated: i32, ready: i32) -> DeploymentStatus {
        DeploymentStatus {
            observed_generation: Some(observed),
            replicas: Some(1),
            updated_replicas: Some(updated),
            ready_replicas: Some(ready),
            ..DeploymentStatus::default()
        }
    }

    fn overdue_status() -> DeploymentStatus {
        let late: DeploymentStatus = serde_json::from_value(json!({"conditions": [
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]}))
        .unwrap();
        DeploymentStatus { conditions: late.conditions, ..status(5, 1, 0) }
    }

    fn judged(roll: Roll, status: &DeploymentStatus, pod: Option<&KeptPod>) -> Standing {
        let now = "2026-11-21T10:00:09Z".parse().unwrap();
        let seen = Seen { generation: 5, status, pod, answered: false, is_to_stream: true, now };
        standing(roll, &seen)
    }

    #[test]
    fn a_roll_is_settled_when_the_new_pod_is_ready_and_not_before() {
        let old_is_ready = status(4, 1, 1);
        assert_eq!(judged(WAS_READY, &old_is_ready, None), Standing::Rolling);
        let old_ends = status(5, 0, 1);
        assert_eq!(judged(WAS_READY, &old_ends, Some(&running(7))), Standing::Rolling);
        assert_eq!(judged(WAS_READY, &status(5, 1, 0), Some(&running(0))), Standing::Rolling);
        assert_eq!(judged(WAS_READY, &status(5, 1, 1), Some(&running(0))), Standing::Settled);
    }

    #[test]
    fn an_image_that_cannot_be_pulled_a_crash_and_ten_minutes_are_failures() {
        let new = status(5, 1, 0);
        let failed = |standing: Standing, word: &str| match standing {
            Standing::Failed(why) => assert!(why.contains(word), "{why}"),
            other => panic!("{other:?} instead of {word}"),
        };
        failed(judged(WAS_READY, &new, Some(&waiting("ErrImagePull"))), "ImagePullFailed");
        failed(judged(WAS_READY, &new, Some(&waiting("CrashLoopBackOff"))), "WorkerCrashing");
        failed(judged(WAS_READY, &new, Some(&running(1))), "WorkerCrashing");
        failed(judged(WAS_READY, &overdue_status(), Some(&running(0))), "ten minutes");
        let no_pod = DeploymentStatus { updated_replicas: None, ..overdue_status() };
        failed(judged(WAS_READY, &no_pod, None), "ten minutes");
        assert_eq!(judged(WAS_READY, &new, Some(&waiting("ContainerCreating"))), Standing::Rolling);
    }

    #[test]
    fn a_worker_is_measured_by_how_it_was() {
        let new = status(5, 1, 0);
        let was_down = Roll { before: Before::Down, again: false };
        assert_eq!(judged(was_down, &new, Some(&waiting("ErrImagePull"))), Standing::Settled);
        let was_running = Roll { before: Before::Running, again: false };
        assert_eq!(judged(was_running, &new, Some(&running(0))), Standing::Rolling);
        let now = "2026-11-21T10:00:09Z".parse().unwrap();
        let answering = Seen {
            generation: 5,
            status: &new,
            pod: None,
            answered: true,
            is_to_stream: true,
            now,
        };
        assert_eq!(standing(was_running, &answering), Standing::Settled);
        assert_eq!(standing(WAS_READY, &answering), Standing::Rolling, "it streamed before");
        let paused = Seen { is_to_stream: false, ..answering };
        assert_eq!(standing(WAS_READY, &paused), Standing::Settled, "paused meanwhile");
    }

    #[test]
    fn how_a_worker_was_is_seen_on_its_pod() {
        let now = "2026-11-21T10:00:09Z".parse().unwrap();
        assert_eq!(before(&status(5, 1, 1), None, now), Before::Ready);
        assert_eq!(before(&status(5, 1, 0), Some(&running(3)), now), Before::Running);
        assert_eq!(before(&status(5, 1, 0), Some(&waiting("ErrImagePull")), now), Before::Down);
        assert_eq!(before(&status(5, 0, 0), None, now), Before::Down);
    }
}
