//! What a pod's own status says about it: reasons are copied, not guessed.

use std::time::Duration;

use crds::conditions::Reason;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStateWaiting, PodCondition};

use crate::watched::{ContainerPart, KeptPod};

/// The worker's container; a mesh may add others.
const CONTAINER: &str = "worker";
/// A container that is created for longer than this waits for a volume or the network.
const SLOW_CREATION: Duration = Duration::from_mins(1);

/// State of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodState {
    /// The container runs.
    Running {
        /// For how long.
        since: Duration,
    },
    /// It is being scheduled, pulled or created.
    Coming {
        /// Which of them.
        message: String,
    },
    /// It does not come up, or fell.
    Down {
        /// Word for the status.
        reason: Reason,
        /// As the pod says it.
        message: String,
    },
    /// It was told to end.
    Ending,
}

/// Reads a pod's state.
pub fn state(pod: &KeptPod, now: Timestamp) -> PodState {
    if pod.has_ended() {
        return down(Reason::WorkerNotReady, format!("the pod ended{}", own_words(pod)));
    }
    if pod.deleted.is_some() {
        return PodState::Ending;
    }
    if let Some(message) = unscheduled(pod) {
        return unschedulable(message);
    }
    let Some(container) = container(pod) else {
        return PodState::Coming { message: "the pod waits for its node".to_owned() };
    };
    let state = &container.state;
    if let Some(running) = &state.running {
        let started = running.started_at.as_ref().map_or(now, |time| time.0);
        return PodState::Running { since: age(started, now) };
    }
    if let Some(ended) = &state.terminated {
        return down(
            Reason::WorkerCrashing,
            format!("the worker's process ended: {}", exit(ended)),
        );
    }
    let waits = state.waiting.as_deref().cloned().unwrap_or_default();
    waiting(pod, container, &waits, now)
}

/// When the worker's container was started, if it runs.
pub fn running_since(pod: &KeptPod, now: Timestamp) -> Option<Timestamp> {
    match state(pod, now) {
        PodState::Running { since } => now.checked_sub(since).ok(),
        _ => None,
    }
}

/// Restarts of the worker's container.
pub fn restarts(pod: &KeptPod) -> u32 {
    container(pod).map_or(0, |container| u32::try_from(container.restart_count).unwrap_or(0))
}

/// Why the cluster takes the pod away, in its own words: an eviction, a lost node, a preemption.
pub fn disruption(pod: &KeptPod) -> Option<String> {
    let said = condition(pod, "DisruptionTarget").filter(|said| said.status == "True")?;
    let words = [said.reason.as_deref(), said.message.as_deref()];
    Some(words.into_iter().flatten().collect::<Vec<_>>().join(": "))
}

/// The pod's node, if it has stopped to report: the control plane has then taken the readiness of a pod whose
/// containers are, by the kubelet's last word, all ready.
pub fn lost_node(pod: &KeptPod) -> Option<&str> {
    let is = |kind: &str, status: &str| condition(pod, kind).is_some_and(|c| c.status == status);
    // A gate of somebody else's that keeps a pod from being ready gives its reason.
    let gated = condition(pod, "Ready")?.reason.as_deref().is_some_and(|reason| !reason.is_empty());
    let lost = is("Ready", "False") && is("ContainersReady", "True") && !gated;
    pod.node.as_deref().filter(|_| lost)
}

fn condition<'a>(pod: &'a KeptPod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.conditions.iter().find(|condition| condition.type_ == kind)
}

fn container(pod: &KeptPod) -> Option<&ContainerPart> {
    pod.status.container_statuses.iter().find(|container| *container.name == *CONTAINER)
}

fn waiting(
    pod: &KeptPod,
    container: &ContainerPart,
    waiting: &ContainerStateWaiting,
    now: Timestamp,
) -> PodState {
    let word = waiting.reason.as_deref().unwrap_or_default();
    let detail = waiting.message.as_deref().unwrap_or_default();
    match word {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => down(
            Reason::ImagePullFailed,
            format!("{word}: {detail}; check the image's name and the pull secrets"),
        ),
        "CrashLoopBackOff" => {
            let last = container.last_state.terminated.as_deref();
            down(
                Reason::WorkerCrashing,
                format!(
                    "the worker's process ended {} times, last: {}; see kubectl logs --previous",
                    container.restart_count,
                    last.map_or_else(|| "not known".to_owned(), exit)
                ),
            )
        }
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "PostStartHookError" => down(Reason::WorkerNotReady, format!("{word}: {detail}")),
        _ => {
            let created = pod.created.unwrap_or(now);
            if age(created, now) > SLOW_CREATION {
                down(
                    Reason::VolumeNotAttached,
                    "the container has not been created for a minute; mostly a volume is still \
                     attached to another node or not mounted: see kubectl describe pod"
                        .to_owned(),
                )
            } else {
                PodState::Coming { message: "the pod is being created".to_owned() }
            }
        }
    }
}

fn unscheduled(pod: &KeptPod) -> Option<&str> {
    let scheduled = condition(pod, "PodScheduled")?;
    let stuck = scheduled.status == "False" && scheduled.reason.as_deref() == Some("Unschedulable");
    stuck.then(|| scheduled.message.as_deref().unwrap_or("the scheduler gives no reason"))
}

fn unschedulable(message: &str) -> PodState {
    let lower = message.to_ascii_lowercase();
    let volume = lower.contains("persistentvolumeclaim") || lower.contains("volume");
    let reason = if volume { Reason::VolumeNotAttached } else { Reason::PodUnschedulable };
    down(reason, message.to_owned())
}

fn own_words(pod: &KeptPod) -> String {
    let words = [pod.status.reason.as_deref(), pod.status.message.as_deref()];
    let words: Vec<_> = words.into_iter().flatten().collect();
    if words.is_empty() { String::new() } else { format!(": {}", words.join(": ")) }
}

fn exit(ended: &ContainerStateTerminated) -> String {
    let reason = ended.reason.as_deref().unwrap_or("Error");
    format!("{reason}, exit code {}", ended.exit_code)
}

fn down(reason: Reason, message: String) -> PodState {
    PodState::Down { reason, message }
}

fn age(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}
