//! One reconcile is five calls: dereference, validate, build, apply, update the status. The two in
//! the middle are pure.

pub mod apply;
pub mod build;
pub mod dereference;
pub mod span;
pub mod update_status;
pub mod validate;

use std::{sync::Arc, time::Duration};

use crds::conditions::Reason;
use kube::Resource as _;
use kube_runtime::controller::Action;
use tracing::{Instrument, debug, warn};

use self::{
    apply::{Applied, ApplyError},
    build::Resources,
    update_status::{reference, update_status},
    validate::{Input, Refusal, ValidStream},
};
use crate::{
    answers::Key,
    api_error::{code, words},
    caches::NotFilled,
    context::Context,
    events::{Kind, Notice},
    status::Outcome,
    tenure::Over,
    watched::{KeptStream, Observed},
};

/// How soon to look again while something of an older stream is being collected.
const WAITING: Duration = Duration::from_secs(2);
/// How soon to look again at a stream that is refused: what an elder one held may be free by then, and of other
/// streams no watch tells it.
const REFUSED: Duration = Duration::from_secs(15);
/// How soon to try again after two writers met.
const RACE: Duration = Duration::from_millis(500);
/// Topic of the events about failed reconciles.
const RECONCILE: &str = "Reconcile";

/// Why a reconcile failed. All are tried again with back-off.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caches are not filled.
    #[error(transparent)]
    Caches(#[from] NotFilled),
    /// The stream lies in a namespace that is not watched.
    #[error("the namespace of the stream is not watched")]
    NotWatched,
    /// A child could not be written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The status could not be written.
    #[error("write the status: {}", words(.0))]
    StatusWrite(Box<kube::Error>),
    /// The status write got no answer.
    #[error("write the status: no answer in time")]
    StatusTimedOut,
    /// Another process may lead by now.
    #[error(transparent)]
    Over(#[from] Over),
    /// The status cannot be put into JSON.
    #[error("write the status as JSON: {0}")]
    StatusUnwritable(serde_json::Error),
}

impl Error {
    /// A word of a closed list, for the metric.
    pub fn reason(&self) -> &'static str {
        match self {
            Error::Caches(_) => "caches",
            Error::NotWatched => "not_watched",
            _ if self.is_race() => "conflict",
            Error::Apply(_) => "apply",
            Error::StatusWrite(_) | Error::StatusTimedOut => "status",
            Error::Over(_) => "lease",
            Error::StatusUnwritable(_) => "internal",
        }
    }

    /// Two writers met; the next try, made at once, mends it.
    pub fn is_race(&self) -> bool {
        match self {
            Error::Apply(error) => error.is_race(),
            // The stream was made again under its name meanwhile.
            Error::StatusWrite(error) => code(error) == Some(409),
            _ => false,
        }
    }
}

/// A reconcile that failed, and the trace in which it can be looked at.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failed {
    /// Why.
    pub error: Error,
    /// Id of its trace; none without a collector.
    pub trace: Option<String>,
}

/// Brings one stream closer to what it asks for, and its status closer to the truth.
///
/// # Errors
/// See [`Error`].
pub async fn reconcile(stream: Arc<KeptStream>, context: Arc<Context>) -> Result<Action, Failed> {
    let stream = stream.open();
    let span = span::reconcile(&stream);
    let done = look(&stream, &context).instrument(span.clone()).await;
    done.map_err(|error| Failed { trace: span::failed(&span, &error), error })
}

async fn look(stream: &Observed, context: &Context) -> Result<Action, Error> {
    let started = std::time::Instant::now();
    context.metrics.reconciling.inc();
    let done = stages(stream, context).await;
    context.metrics.reconciling.dec();
    context.metrics.reconcile_seconds.observe(started.elapsed().as_secs_f64());
    let uid = stream.metadata.uid.as_deref().unwrap_or_default();
    let action = match done {
        Ok(action) => action,
        Err(error) => {
            tell_failure(context, stream, &error).await;
            return Err(error);
        }
    };
    context.backoff.forget(uid);
    context.events.settle(uid, RECONCILE);
    context.metrics.reconciles.inc();
    Ok(action)
}

async fn stages(stream: &Observed, context: &Context) -> Result<Action, Error> {
    let found = dereference::dereference(stream, context).await?;
    if stream.metadata.deletion_timestamp.is_some() {
        context.turns.withdraw(&key_of(stream));
        // Nothing is applied: the garbage collector takes what is owned, the rest stays (P8).
        let state = stream.stream.as_ref().ok().map(|stream| stream.spec.state);
        let outcome = Outcome::Deleting(state);
        span::ends_as(&outcome);
        let updated = update_status(context, stream, &found, outcome);
        return Ok(Action::requeue(updated.instrument(span::update_status()).await?));
    }
    let input = Input {
        stream,
        peers: &found.peers,
        settings: &context.settings,
        deployed_restart: found.deployed.as_ref().and_then(|of| of.restarted_at.as_deref()),
    };
    let planned = span::validate().in_scope(|| plan(&input));
    let (outcome, failed) = match &planned {
        Ok((valid, resources)) => {
            tell_advice(context, stream, valid).await;
            let applying = apply::apply(context, valid, resources, &found);
            match applying.instrument(span::apply()).await {
                Ok(Applied::Done) => (Outcome::Applied(valid), None),
                Ok(Applied::Waiting(message)) => {
                    context.turns.withdraw(&key_of(stream));
                    (Outcome::Waiting(valid, message), None)
                }
                Ok(Applied::Held(held)) => (Outcome::Held(valid, held), None),
                // A race is no state: the next try comes at once.
                Err(error) if error.is_race() => return Err(error.into()),
                Err(error) => (Outcome::Failed(valid, error.to_string()), Some(error)),
            }
        }
        Err(refusal) => {
            context.turns.withdraw(&key_of(stream));
            (Outcome::Refused(refusal), stop(context, stream, &found, refusal).await.err())
        }
    };
    let soon = match &outcome {
        Outcome::Waiting(..) => WAITING,
        Outcome::Refused(_) => REFUSED,
        _ => Duration::MAX,
    };
    span::ends_as(&outcome);
    let updated = update_status(context, stream, &found, outcome);
    let again = updated.instrument(span::update_status()).await?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(Action::requeue(again.min(soon))),
    }
}

fn key_of(stream: &Observed) -> Key {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    (text(&stream.metadata.namespace), text(&stream.metadata.name))
}

/// The pure middle.
fn plan(input: &Input<'_>) -> Result<(ValidStream, Resources), Refusal> {
    let valid = validate::validate(input)?;
    let resources = build::build(&valid, input.settings)?;
    Ok((valid, resources))
}

async fn stop(
    context: &Context,
    stream: &Observed,
    found: &dereference::Found,
    refusal: &Refusal,
) -> Result<(), ApplyError> {
    let meta = &stream.metadata;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let deployment = found.children.deployment.as_ref();
    apply::stop(
        context,
        refusal,
        &text(&meta.namespace),
        &text(&meta.name),
        &text(&meta.uid),
        deployment,
    )
    .await
}

/// Words that are worth an event once: ignored annotations, and what the raw archive holds.
async fn tell_advice(context: &Context, stream: &Observed, valid: &ValidStream) {
    let about = reference(stream);
    if valid.ignored.is_empty() {
        context.events.settle(&valid.uid, "Annotations");
    } else {
        let notice = Notice {
            topic: "Annotations".to_owned(),
            kind: Kind::Warning,
            reason: "AnnotationIgnored".to_owned(),
            note: valid.ignored.join("; "),
        };
        context.events.tell(&about, notice).await;
    }
    let config = build::config::worker_config(valid, &context.settings);
    for warning in config.warnings() {
        let notice = Notice {
            topic: warning.field.clone(),
            kind: Kind::Normal,
            reason: "GoodToKnow".to_owned(),
            note: format!("spec.{}: {}", warning.field, warning.message),
        };
        context.events.tell(&about, notice).await;
    }
}

/// What follows a failure: a metric, a log line and the next try.
#[allow(clippy::needless_pass_by_value)] // the controller hands it over so
pub fn error_policy(stream: Arc<KeptStream>, failed: &Failed, context: Arc<Context>) -> Action {
    let Failed { error, trace } = failed;
    context.metrics.failed(error.reason());
    if error.is_race() {
        debug!(%error, "two writers met, trying again");
        return Action::requeue(RACE);
    }
    let meta = stream.meta();
    let delay = context.backoff.failed(meta.uid.as_deref().unwrap_or_default());
    warn!(
        namespace = meta.namespace.as_deref(),
        stream = meta.name.as_deref(),
        %error,
        delay_ms = delay.as_millis() as u64,
        trace_id = trace.as_deref(),
        "reconcile failed, trying again"
    );
    Action::requeue(delay)
}

/// An event when it is another failure than before.
async fn tell_failure(context: &Context, stream: &Observed, error: &Error) {
    if error.is_race() || context.tenure.check().is_err() {
        return;
    }
    let notice = Notice {
        topic: RECONCILE.to_owned(),
        kind: Kind::Warning,
        reason: Reason::ApplyFailed.as_str().to_owned(),
        note: error.to_string(),
    };
    context.events.tell(&reference(stream), notice).await;
}
