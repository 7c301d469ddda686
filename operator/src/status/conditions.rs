//! The ten conditions, each always there, with reason, message and the generation it describes.

use crds::{
    conditions::{ConditionType, Reason, ReasonClass},
    v1alpha1::{Condition, ConditionStatus, LagState, StreamState},
    worker_status::{Phase, WorkerStatus},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    Facts, Outcome, cut,
    gaps::Gaps,
    ready,
    voice::{self, Voice},
};

/// Longest message, in characters.
const LONGEST_MESSAGE: usize = 1024;

/// What a condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// Word of the closed list.
    pub reason: Reason,
    /// Why, and the mend.
    pub message: String,
}

impl Verdict {
    /// True.
    pub fn good(reason: Reason, message: &str) -> Verdict {
        Verdict { status: ConditionStatus::True, reason, message: message.to_owned() }
    }

    /// False.
    pub fn bad(reason: Reason, message: &str) -> Verdict {
        Verdict { status: ConditionStatus::False, reason, message: message.to_owned() }
    }

    /// Unknown.
    pub fn unknown(reason: Reason, message: &str) -> Verdict {
        Verdict { status: ConditionStatus::Unknown, reason, message: message.to_owned() }
    }
}

/// All conditions, Ready first.
pub fn all(facts: &Facts<'_>, voice: &Voice<'_>, gaps: &Gaps) -> Vec<Condition> {
    let ready = ready::ready(facts, voice, gaps);
    ConditionType::ALL
        .into_iter()
        .map(|kind| {
            let verdict = match kind {
                ConditionType::Ready => ready.clone(),
                ConditionType::Reconciling => reconciling(facts, voice),
                ConditionType::Stalled => stalled(&ready),
                ConditionType::SourceConnected => source_connected(voice),
                ConditionType::CheckpointHealthy => facet(voice, |report| {
                    let facet = &report.checkpoint;
                    (facet.healthy, facet.reason, &facet.message)
                }),
                ConditionType::ArchiveHealthy => facet(voice, |report| {
                    let facet = &report.archive;
                    (facet.healthy, facet.reason, &facet.message)
                }),
                ConditionType::DecodingHealthy => facet(voice, |report| {
                    let facet = &report.decoding;
                    (facet.healthy, facet.reason, &facet.message)
                }),
                ConditionType::CaughtUp => caught_up(voice),
                ConditionType::GapDetected => gap_detected(facts, gaps),
                ConditionType::Paused => paused(facts, voice),
            };
            finish(facts, voice, kind, verdict)
        })
        .collect()
}

/// Adds what every condition has. `lastTransitionTime` moves with the status only; a fact that the
/// worker reported by an older configuration carries the generation of that configuration, so
/// `kubectl wait` does not take it for an answer to the newest one. A spec that was not applied is
/// an answer of the operator's own, but what the worker says is still about the one before.
fn finish(
    facts: &Facts<'_>,
    voice: &Voice<'_>,
    kind: ConditionType,
    verdict: Verdict,
) -> Condition {
    let Verdict { status, reason, message } = verdict;
    let before = facts
        .previous
        .and_then(|previous| previous.conditions.iter().find(|c| c.type_ == kind.as_str()));
    let last_transition_time = match before {
        Some(before) if before.status == status => before.last_transition_time.clone(),
        _ => Time(facts.now),
    };
    let repeats_the_worker = match kind {
        ConditionType::Reconciling | ConditionType::Stalled => false,
        ConditionType::Ready | ConditionType::Paused | ConditionType::GapDetected => {
            matches!(facts.outcome, Outcome::Applied(_) | Outcome::Held(..))
        }
        ConditionType::SourceConnected
        | ConditionType::CheckpointHealthy
        | ConditionType::ArchiveHealthy
        | ConditionType::DecodingHealthy
        | ConditionType::CaughtUp => true,
    };
    let described = match voice.spoken().and_then(|report| report.config_generation) {
        Some(generation) if repeats_the_worker => generation.min(facts.generation),
        _ => facts.generation,
    };
    Condition {
        type_: kind.as_str().to_owned(),
        status,
        reason: reason.as_str().to_owned(),
        message: cut(message.trim(), LONGEST_MESSAGE),
        last_transition_time,
        observed_generation: Some(described),
    }
}

/// kstatus: something is under way, and time alone ends it.
fn reconciling(facts: &Facts<'_>, voice: &Voice<'_>) -> Verdict {
    let settled = match &facts.outcome {
        Outcome::Held(_, held) if held.halted => {
            Verdict::good(Reason::RolloutHalted, &held.message)
        }
        Outcome::Held(_, held) => Verdict::good(Reason::RolloutWaiting, &held.message),
        _ => Verdict::bad(Reason::NotReconciling, "nothing is under way"),
    };
    match &facts.outcome {
        Outcome::Waiting(_, message) => {
            return Verdict::good(Reason::WaitingForOldChildren, message);
        }
        Outcome::Deleting(_) => return Verdict::good(Reason::Deleting, voice::DELETING),
        Outcome::Refused(_) | Outcome::Failed(..) => return settled,
        Outcome::Applied(_) | Outcome::Held(..) => {}
    }
    match voice {
        Voice::Starting { message } => Verdict::good(Reason::Starting, message),
        Voice::Ending => Verdict::good(Reason::Draining, "the worker commits what it holds"),
        Voice::Down { .. } | Voice::Absent | Voice::Silent { .. } => settled,
        Voice::Speaking(report) => {
            let refused = report.config_error.is_some();
            if !refused && report.config_generation.is_some_and(|have| have < facts.generation) {
                return Verdict::good(
                    Reason::ConfigPending,
                    "the worker has not read the newest configuration yet; the kubelet brings it \
                     within a minute or so",
                );
            }
            if rolling_out(facts) {
                return Verdict::good(Reason::RollingOut, "the Deployment is being rolled out");
            }
            if report.phase == Phase::Draining {
                return Verdict::good(
                    Reason::Draining,
                    "the worker commits what it holds and ends",
                );
            }
            let busy = matches!(report.phase, Phase::Starting)
                && matches!(report.reason.class(), ReasonClass::Progress | ReasonClass::Unknown);
            if busy {
                return Verdict::good(Reason::Starting, &report.message);
            }
            settled
        }
    }
}

fn rolling_out(facts: &Facts<'_>) -> bool {
    facts.deployment.is_some_and(|deployment| {
        let status = deployment.status;
        status.observed_generation.unwrap_or(0) < deployment.generation
            || status.updated_replicas.unwrap_or(0) < status.replicas.unwrap_or(0)
    })
}

/// kstatus: waiting does not help. Follows from Ready's reason.
fn stalled(ready: &Verdict) -> Verdict {
    if ready.status == ConditionStatus::False && ready.reason.is_stalled() {
        Verdict::good(ready.reason, &ready.message)
    } else {
        Verdict::bad(Reason::NotStalled, "nothing waits for a person")
    }
}

fn source_connected(voice: &Voice<'_>) -> Verdict {
    if voice.spoken().is_some_and(|report| report.phase == Phase::Paused) {
        return Verdict::bad(Reason::Paused, "spec.state is Paused; the connection is closed");
    }
    facet(voice, |report| {
        let facet = &report.source;
        (facet.connected, facet.reason, &facet.message)
    })
}

/// A fact only the worker knows.
fn facet<'a>(
    voice: &Voice<'a>,
    pick: impl Fn(&'a WorkerStatus) -> (bool, Reason, &'a String),
) -> Verdict {
    match voice {
        Voice::Speaking(report) => {
            let (holds, reason, message) = pick(report);
            let not_known =
                !holds && (reason.class() == ReasonClass::Unknown || reason == Reason::Starting);
            match (holds, not_known) {
                (true, _) => Verdict::good(reason, message),
                (false, true) => Verdict::unknown(reason, message),
                (false, false) => Verdict::bad(reason, message),
            }
        }
        other => unheard(other),
    }
}

/// What is said of the worker's facts while it does not speak.
fn unheard(voice: &Voice<'_>) -> Verdict {
    match voice {
        Voice::Silent { lost_node } => ready::silent(*lost_node),
        Voice::Down { reason, message } => Verdict::unknown(*reason, message),
        Voice::Absent => Verdict::unknown(Reason::Stopped, "spec.state is Stopped; nobody looks"),
        Voice::Ending => Verdict::unknown(Reason::Draining, "the worker is ending"),
        Voice::Starting { message } => Verdict::unknown(Reason::Starting, message),
        Voice::Speaking(_) => Verdict::unknown(Reason::Unknown, "not known yet"),
    }
}

fn caught_up(voice: &Voice<'_>) -> Verdict {
    let Some(report) = voice.spoken() else { return unheard(voice) };
    if report.phase == Phase::Paused {
        return Verdict::unknown(Reason::Paused, "nobody asks the source while paused");
    }
    match report.lag.state {
        LagState::CaughtUp => {
            Verdict::good(Reason::CaughtUp, "everything the source has written was read")
        }
        LagState::Idle => {
            Verdict::good(Reason::Idle, "the source writes nothing; heartbeats arrive")
        }
        LagState::CatchingUp => Verdict::bad(Reason::CatchingUp, "older events are being read"),
        LagState::Stalled => {
            Verdict::bad(Reason::LagStalled, "the source has more to read and nothing arrives")
        }
        LagState::Unknown => {
            Verdict::unknown(Reason::LagUnknown, "how far behind the stream is cannot be known now")
        }
    }
}

fn gap_detected(facts: &Facts<'_>, gaps: &Gaps) -> Verdict {
    if gaps.open > 0 {
        Verdict::good(Reason::GapDetected, &ready::gap_message(gaps, facts.name))
    } else if gaps.known {
        Verdict::bad(Reason::NoGap, "no gap is open")
    } else {
        Verdict::unknown(Reason::Unknown, "the archive's log has not been read yet")
    }
}

fn paused(facts: &Facts<'_>, voice: &Voice<'_>) -> Verdict {
    let phase = voice.spoken().map(|report| report.phase);
    match (facts.outcome.state(), voice) {
        (Some(StreamState::Stopped), Voice::Absent) => {
            Verdict::good(Reason::Stopped, "spec.state is Stopped; there is no pod")
        }
        (Some(StreamState::Stopped), _) => {
            Verdict::bad(Reason::Draining, "the worker has not ended yet")
        }
        (Some(StreamState::Paused), _) if phase == Some(Phase::Paused) => {
            Verdict::good(Reason::Paused, "the connection is closed; set spec.state to Running")
        }
        (Some(StreamState::Paused), _) => {
            Verdict::bad(Reason::ConfigPending, "the worker has not paused yet")
        }
        (Some(StreamState::Running), _) if phase == Some(Phase::Paused) => {
            Verdict::good(Reason::ConfigPending, "the worker has not read its resume yet")
        }
        (Some(StreamState::Running), _) => Verdict::bad(Reason::NotPaused, "spec.state is Running"),
        (None, _) => Verdict::unknown(Reason::Unknown, "spec.state cannot be read"),
    }
}
