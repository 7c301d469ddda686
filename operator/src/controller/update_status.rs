//! Fifth stage: the status is computed, compared with the stored one, and written when it is worth
//! it (`status::write`). The operator is the only writer.

use std::time::Duration;

use crds::{
    conditions::{ConditionType, Reason, ReasonClass},
    v1alpha1::{BinlogStream, BinlogStreamStatus, Condition, ConditionStatus, HandledAction},
};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::time::Instant;

use super::{Error, dereference::Found};
use crate::{
    api_error::code,
    caches::Meta,
    context::Context,
    events::{Kind, Notice},
    status::{
        self, DeploymentFacts, Facts, Outcome, Report,
        voice::STALE_AFTER,
        write::{self, Turn},
    },
    watched::Observed,
};

/// Field manager of the status, apart from that of the children.
const STATUS_MANAGER: &str = "binlog-operator-status";
/// Limit of the write.
const REQUEST: Duration = Duration::from_secs(10);
/// How soon to look again when the cache does not show our last write yet.
const CACHE_LAG: Duration = Duration::from_millis(500);
/// How soon to look again while something is under way.
const UNDER_WAY: Duration = Duration::from_secs(5);

/// Writes the status if it is worth it, and says when to look again at the latest.
///
/// # Errors
/// When the write fails.
pub async fn update_status(
    context: &Context,
    stream: &Observed,
    found: &Found,
    outcome: Outcome<'_>,
) -> Result<Duration, Error> {
    let uid = stream.metadata.uid.clone().unwrap_or_default();
    let written = context.written(&uid);
    let seen = super::dereference::version(&stream.metadata);
    if seen.is_some() && seen < written.version {
        return Ok(CACHE_LAG);
    }
    let stored = stream.stream.as_ref().ok().and_then(|stream| stream.status.as_ref());
    let is_applied = matches!(outcome, Outcome::Applied(_));
    if found.unasked && is_applied && stored.is_some_and(|stored| is_of(stored, stream)) {
        // What is stored is a moment old; of the worker nothing is known only because nobody asked yet.
        return Ok(STALE_AFTER);
    }
    let facts = facts(context, stream, found, outcome, stored);
    let new = as_stored(status::compute(&facts))?;
    show(context, stream, &new);

    // Some steps of a start (a container that is created for too long) are told by no watch. Whoever
    // waits for his turn is woken when it comes.
    let under_way = condition(&new, ConditionType::Reconciling).is_some_and(|reconciling| {
        let waits = [Reason::RolloutWaiting, Reason::RolloutHalted].map(Reason::as_str);
        reconciling.status == ConditionStatus::True && !waits.contains(&&*reconciling.reason)
    });
    let latest = if under_way { UNDER_WAY } else { write::MOVED_AFTER };
    let change = write::change(stored, &new);
    let now = Instant::now();
    let age = stored.and_then(|stored| write::age(stored, context.now()));
    let turn = write::turn(change, &written.writes, age, now);
    if turn != Turn::Now {
        context.budget.leave(&uid);
    }
    let wait = match turn {
        Turn::Never => {
            context.metrics.status_skipped.inc();
            return Ok(latest);
        }
        Turn::Later(wait) => Some(wait),
        Turn::Now => context.budget.take(&uid, change, now).err(),
    };
    if let Some(wait) = wait {
        context.metrics.status_deferred.inc();
        return Ok(wait.min(latest));
    }
    let version = write(context, stream, &new).await?;
    context.note_write(&uid, change, version);
    context.metrics.status_writes.inc();
    tell(context, stream, stored, &new).await;
    Ok(latest)
}

/// Whether a status was made for the stream's present generation.
fn is_of(status: &BinlogStreamStatus, stream: &Observed) -> bool {
    status.observed_generation == stream.metadata.generation
}

fn facts<'a>(
    context: &Context,
    stream: &'a Observed,
    found: &'a Found,
    outcome: Outcome<'a>,
    stored: Option<&'a BinlogStreamStatus>,
) -> Facts<'a> {
    let uid = stream.metadata.uid.as_deref();
    let deployment = found.children.deployment.as_ref();
    // A Deployment of an older stream says nothing about this one.
    let ours = deployment.is_some_and(|child| child.owner_uid.as_deref() == uid);
    let generation = deployment.and_then(|child| i64::try_from(child.version?).ok());
    Facts {
        name: stream.metadata.name.as_deref().unwrap_or_default(),
        generation: stream.metadata.generation.unwrap_or_default(),
        now: context.now(),
        outcome,
        deployment: found.deployed.as_deref().filter(|_| ours).map(|deployed| DeploymentFacts {
            generation: generation.unwrap_or_default(),
            status: &deployed.status,
        }),
        pod: found.pod.as_deref(),
        leaving: found.leaving.as_deref(),
        report: found.answer.as_ref().map(|answer| Report {
            pod_uid: &answer.pod_uid,
            status: &answer.status,
            age: answer.age(),
        }),
        checkpoint: found.checkpoint.as_ref(),
        previous: stored,
    }
}

/// The status in the form in which it comes back from the API: comparing it with the stored one
/// must not see a difference in what JSON cannot keep.
fn as_stored(status: BinlogStreamStatus) -> Result<BinlogStreamStatus, Error> {
    serde_json::to_value(status).and_then(serde_json::from_value).map_err(Error::StatusUnwritable)
}

/// Writes by server-side apply, so that a part that is gone from the status is gone from the
/// object. The UID keeps a late write from reaching a newer stream of this name.
async fn write(
    context: &Context,
    stream: &Observed,
    status: &BinlogStreamStatus,
) -> Result<Option<u64>, Error> {
    let name = stream.metadata.name.as_deref().unwrap_or_default();
    let namespace = stream.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<Meta<BinlogStream>> = Api::namespaced(context.client.clone(), namespace);
    let patch = Patch::Apply(json!({
        "apiVersion": BinlogStream::api_version(&()),
        "kind": BinlogStream::kind(&()),
        "metadata": {"name": name, "uid": stream.metadata.uid},
        "status": status,
    }));
    let params = PatchParams::apply(STATUS_MANAGER).force();
    context.tenure.check()?;
    let request = api.patch_status(name, &params, &patch);
    match tokio::time::timeout(REQUEST, request).await {
        Ok(Ok(answer)) => Ok(super::dereference::version(&answer.metadata)),
        // It is gone, and nobody misses its status.
        Ok(Err(error)) if code(&error) == Some(404) => Ok(None),
        Ok(Err(error)) => Err(Error::StatusWrite(Box::new(error))),
        Err(_) => Err(Error::StatusTimedOut),
    }
}

/// Shows conditions and reason as metrics, written or not.
fn show(context: &Context, stream: &Observed, status: &BinlogStreamStatus) {
    let namespace = stream.metadata.namespace.as_deref().unwrap_or_default();
    let name = stream.metadata.name.as_deref().unwrap_or_default();
    let conditions = status.conditions.iter().filter_map(|condition| {
        let kind = condition.kind()?;
        Some((kind, condition.status))
    });
    let ready = condition(status, ConditionType::Ready).map(|ready| ready.reason.as_str());
    context.metrics.shown.show(namespace, name, conditions, ready.unwrap_or_default());
}

/// Events for what flipped: Ready's reason, and gaps coming and going.
async fn tell(
    context: &Context,
    stream: &Observed,
    stored: Option<&BinlogStreamStatus>,
    new: &BinlogStreamStatus,
) {
    let about = reference(stream);
    for notice in notices(stored, new) {
        context.events.tell(&about, notice).await;
    }
}

/// The stream, as events name it.
pub fn reference(stream: &impl Resource<DynamicType = ()>) -> ObjectReference {
    stream.object_ref(&())
}

fn notices(stored: Option<&BinlogStreamStatus>, new: &BinlogStreamStatus) -> Vec<Notice> {
    let before = |kind| stored.and_then(|stored| condition(stored, kind));
    let mut notices = Vec::new();
    if let Some(ready) = condition(new, ConditionType::Ready) {
        let same = before(ConditionType::Ready)
            .is_some_and(|old| old.status == ready.status && old.reason == ready.reason);
        if !same {
            notices.push(notice(ready, kind_of(ready)));
        }
    }
    if let Some(gap) = condition(new, ConditionType::GapDetected) {
        let was = before(ConditionType::GapDetected).map(|old| old.status);
        match (was, gap.status) {
            (Some(ConditionStatus::True), ConditionStatus::True) => {}
            (_, ConditionStatus::True) => notices.push(notice(gap, Kind::Warning)),
            (Some(ConditionStatus::True), ConditionStatus::False) => {
                notices.push(notice(gap, Kind::Normal));
            }
            _ => {}
        }
    }
    notices.extend(acted(stored, new));
    notices
}

/// What became of what somebody asked for, by the time it is news. A checkpoint that was moved is both the last
/// action and the one about the checkpoint, and told once.
fn acted(stored: Option<&BinlogStreamStatus>, new: &BinlogStreamStatus) -> Vec<Notice> {
    let actions = |status: &BinlogStreamStatus| {
        [status.checkpoint_action.clone(), status.last_handled_action.clone()]
    };
    let before = stored.map(actions).unwrap_or_default();
    let mut news: Vec<HandledAction> = actions(new)
        .into_iter()
        .zip(before)
        .filter(|(new, old)| new != old)
        .filter_map(|(new, _)| new)
        .collect();
    news.dedup();
    news.iter()
        .map(|action| {
            let outcome = action.outcome.as_deref().unwrap_or_default();
            let well = matches!(outcome, "Done" | HandledAction::PENDING);
            Notice {
                topic: "Action".to_owned(),
                kind: if well { Kind::Normal } else { Kind::Warning },
                reason: format!("Action{outcome}"),
                note: format!(
                    "{} {}: {}",
                    action.type_,
                    action.requested,
                    action.message.as_deref().unwrap_or_default()
                ),
            }
        })
        .collect()
}

fn condition(status: &BinlogStreamStatus, kind: ConditionType) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

fn kind_of(ready: &Condition) -> Kind {
    let class = ready.known_reason().unwrap_or(Reason::Unknown).class();
    match (ready.status, class) {
        (ConditionStatus::True, _) | (_, ReasonClass::Fine | ReasonClass::Progress) => Kind::Normal,
        _ => Kind::Warning,
    }
}

fn notice(condition: &Condition, kind: Kind) -> Notice {
    Notice {
        topic: condition.type_.clone(),
        kind,
        reason: condition.reason.clone(),
        note: condition.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn status(kind: ConditionType, status: ConditionStatus, reason: Reason) -> BinlogStreamStatus {
        BinlogStreamStatus {
            conditions: vec![Condition {
                type_: kind.as_str().to_owned(),
                status,
                reason: reason.as_str().to_owned(),
                message: "m".to_owned(),
                last_transition_time: Time("2026-11-21T10:00:00Z".parse().unwrap()),
                observed_generation: Some(1),
            }],
            ..BinlogStreamStatus::default()
        }
    }

    #[test]
    fn events_are_told_on_transitions_only() {
        let ready = status(ConditionType::Ready, ConditionStatus::True, Reason::Streaming);
        let starting = status(ConditionType::Ready, ConditionStatus::False, Reason::Starting);
        let failing = status(ConditionType::Ready, ConditionStatus::False, Reason::ArchiveFailing);
        let told = |before: Option<&BinlogStreamStatus>, now: &BinlogStreamStatus| {
            notices(before, now).into_iter().map(|n| (n.reason, n.kind)).collect::<Vec<_>>()
        };
        assert_eq!(told(None, &starting), [("Starting".to_owned(), Kind::Normal)]);
        assert_eq!(told(Some(&starting), &ready), [("Streaming".to_owned(), Kind::Normal)]);
        assert_eq!(told(Some(&ready), &failing), [("ArchiveFailing".to_owned(), Kind::Warning)]);
        assert_eq!(told(Some(&failing), &failing), []);
    }

    #[test]
    fn what_somebody_asked_for_is_told_once_and_a_refusal_warns() {
        let action = |outcome: &str| HandledAction {
            type_: "reset-checkpoint".to_owned(),
            requested: "a@1".to_owned(),
            completed_at: None,
            outcome: Some(outcome.to_owned()),
            message: Some("why".to_owned()),
        };
        let status = |checkpoint: &str, last: &str| BinlogStreamStatus {
            checkpoint_action: Some(action(checkpoint)),
            last_handled_action: Some(action(last)),
            ..BinlogStreamStatus::default()
        };
        let told = |before: Option<&BinlogStreamStatus>, now: &BinlogStreamStatus| {
            notices(before, now).into_iter().map(|n| (n.reason, n.kind, n.note)).collect::<Vec<_>>()
        };
        let note = "reset-checkpoint a@1: why".to_owned();
        let refused = status("Refused", "Refused");
        let once = ("ActionRefused".to_owned(), Kind::Warning, note.clone());
        assert_eq!(told(None, &refused), [once]);
        let pending = status("Pending", "Refused");
        let waits = ("ActionPending".to_owned(), Kind::Normal, note);
        assert_eq!(told(Some(&refused), &pending), [waits]);
        assert_eq!(told(Some(&pending), &pending), []);
    }

    #[test]
    fn a_gap_is_told_when_it_opens_and_when_it_closes() {
        let open = status(ConditionType::GapDetected, ConditionStatus::True, Reason::GapDetected);
        let none = status(ConditionType::GapDetected, ConditionStatus::False, Reason::NoGap);
        assert_eq!(notices(Some(&none), &open)[0].kind, Kind::Warning);
        assert_eq!(notices(Some(&open), &none)[0].kind, Kind::Normal);
        assert_eq!(notices(Some(&open), &open), []);
        assert_eq!(notices(None, &none), []);
    }
}
