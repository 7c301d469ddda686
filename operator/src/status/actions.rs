//! What became of what people asked for: requests to move the checkpoint, which the operator judges first, and the
//! echo of the last action.
//!
//! - A request counts only while the stream is stopped and its pod is gone: then it is pending, and the worker's
//!   next start carries it out. Asked before, it is refused and stays so until the stream is stopped
//!   (`a_request_is_refused_while_running_and_pending_once_stopped`).
//! - Whatever was said of a value stays said, so a value left standing is no new request
//!   (`a_value_that_was_answered_is_no_new_request`).
//! - An older echo never takes the place of a newer one (`an_older_echo_is_no_news`).

use crds::{
    annotations::CheckpointRequest,
    v1alpha1::{ArchiveStatus, BinlogStreamStatus, HandledAction, StreamState, WorkerPodStatus},
    worker_status::{ActionFacet, Outcome, WorkerStatus},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Facts, cut, voice::Voice};

/// Longest value that the schema lets in, in characters.
const LONGEST_VALUE: usize = 1024;
const REFUSED: &str = "Refused";
const DONE: &str = "Done";

/// How the request to move the checkpoint stands.
pub fn checkpoint(
    facts: &Facts<'_>,
    voice: &Voice<'_>,
    archive: &ArchiveStatus,
    previous: &BinlogStreamStatus,
) -> Option<HandledAction> {
    let recorded = previous.checkpoint_action.clone();
    // Nothing is read from a stream that cannot be built.
    let Some(stream) = facts.outcome.stream() else { return recorded };
    // One that was taken back before it was carried out never was.
    let Some(request) = &stream.request else {
        return recorded.filter(|action| !action.is_pending());
    };
    let told = voice.spoken().and_then(|report| report.checkpoint_action.as_ref()).map(handled);
    if let Some(told) = told.filter(|told| told.is_of(request.action(), &request.value)) {
        return Some(told);
    }
    let known = recorded.clone().filter(|known| known.is_of(request.action(), &request.value));
    match known {
        Some(known) if known.outcome.as_deref() != Some(REFUSED) => Some(known),
        refused => judge(facts, voice, archive, request, stream.spec.state)
            .filter(|now| refused.is_none() || now.is_pending())
            .or(refused)
            .or(recorded.filter(|other| !other.is_pending())),
    }
}

/// A request that nothing was said of, or that was refused; `None`: it is too early to say.
fn judge(
    facts: &Facts<'_>,
    voice: &Voice<'_>,
    archive: &ArchiveStatus,
    request: &CheckpointRequest,
    state: StreamState,
) -> Option<HandledAction> {
    let said = |outcome: &str, message: String| HandledAction {
        type_: request.action().to_owned(),
        requested: cut(&request.value, LONGEST_VALUE),
        completed_at: (outcome != HandledAction::PENDING).then_some(Time(facts.now)),
        outcome: Some(outcome.to_owned()),
        message: Some(message),
    };
    if state != StreamState::Stopped {
        let why = format!(
            "spec.state is {state:?}: set it to Stopped, wait until Paused says Stopped, and ask with \
             <archiveId>@<commit> as status.archive shows them then"
        );
        return Some(said(REFUSED, why));
    }
    if *voice != Voice::Absent {
        return None;
    }
    let newest = archive.archive_id.as_ref().zip(archive.commit);
    if let Some((id, n)) = newest
        && (*id != request.of.archive_id.to_string() || request.of.n < n)
    {
        let why =
            format!("{} is not the newest entry of the archive, which is {id}@{n}", request.of);
        return Some(said(REFUSED, why));
    }
    let also = match request.target {
        None => "; spec.start may be changed before",
        Some(_) => "",
    };
    let message = format!(
        "carried out by the worker's next start, before it reads on: set spec.state to Running{also}. Remove the \
         annotation to take it back"
    );
    Some(said(HandledAction::PENDING, message))
}

/// Whether spec.start is about to be used again.
pub fn is_pending_reset(action: &HandledAction) -> bool {
    action.is_pending() && action.type_ == "reset-checkpoint"
}

/// The restart that the stream asks for, once its worker speaks from a pod made for it.
pub fn restarted(facts: &Facts<'_>, voice: &Voice<'_>) -> Option<String> {
    voice.spoken()?;
    let asked = facts.outcome.stream()?.restarted_at.as_deref()?;
    let carried = facts.pod?.restarted_at.as_deref();
    (carried == Some(asked)).then(|| cut(asked, 256))
}

/// The last action, by the time when it ended.
pub fn last(
    facts: &Facts<'_>,
    said: Option<&WorkerStatus>,
    checkpoint: Option<&HandledAction>,
    worker: &WorkerPodStatus,
    previous: &BinlogStreamStatus,
) -> Option<HandledAction> {
    let before = previous.worker.as_ref().and_then(|worker| worker.restarted_at.as_ref());
    let restart = worker.restarted_at.as_ref().filter(|at| before != Some(*at));
    let restart = restart.map(|at| HandledAction {
        type_: "restart".to_owned(),
        requested: at.clone(),
        completed_at: Some(Time(facts.now)),
        outcome: Some(DONE.to_owned()),
        message: Some(format!(
            "the worker runs in pod {}",
            worker.pod.as_deref().unwrap_or_default()
        )),
    });
    let told = said.and_then(|report| report.last_handled_action.as_ref()).map(handled);
    let answered = checkpoint.filter(|action| !action.is_pending()).cloned();
    let all = [previous.last_handled_action.clone(), told, answered, restart];
    all.into_iter().flatten().reduce(
        |last, next| {
            if ended(&next) > ended(&last) { next } else { last }
        },
    )
}

fn ended(action: &HandledAction) -> Option<jiff::Timestamp> {
    action.completed_at.as_ref().map(|at| at.0)
}

/// As the worker tells it.
fn handled(action: &ActionFacet) -> HandledAction {
    let outcome = match action.outcome {
        Outcome::Done => DONE,
        Outcome::Refused => REFUSED,
        Outcome::Failed => "Failed",
    };
    HandledAction {
        type_: cut(&action.type_, 64),
        requested: cut(&action.requested, LONGEST_VALUE),
        completed_at: action.completed_at.map(Time),
        outcome: Some(outcome.to_owned()),
        message: Some(cut(&action.message, 1024)),
    }
}
