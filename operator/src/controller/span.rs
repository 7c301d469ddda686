//! What a reconcile hands to a collector of traces; `crds::spans` lists it. Without a collector none of it does anything.

use crds::spans::TARGET;
use tracing::{Span, field::Empty, info_span};

use super::Error;
use crate::{status::Outcome, watched::Observed};

/// The trace of one reconcile.
pub(super) fn reconcile(stream: &Observed) -> Span {
    info_span!(
        target: TARGET,
        parent: None,
        "reconcile",
        binlogstream.namespace = stream.metadata.namespace.as_deref(),
        binlogstream.name = stream.metadata.name.as_deref(),
        binlogstream.outcome = Empty,
        binlogstream.reason = Empty,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

/// Its pure middle.
pub(super) fn validate() -> Span {
    info_span!(target: TARGET, "validate")
}

/// Its writes of children.
pub(super) fn apply() -> Span {
    info_span!(target: TARGET, "apply")
}

/// Its write of the status.
pub(super) fn update_status() -> Span {
    info_span!(target: TARGET, "update_status")
}

/// What the reconcile under way made of the stream.
pub(super) fn ends_as(outcome: &Outcome<'_>) {
    let span = Span::current();
    span.record("binlogstream.outcome", outcome.word());
    if let Outcome::Refused(refusal) = outcome {
        span.record("binlogstream.reason", refusal.reason.as_str());
    }
}

/// Why it failed; gives the id of its trace. Two writers that met are no failure.
pub(super) fn failed(span: &Span, error: &Error) -> Option<String> {
    span.record("error.type", error.reason());
    if !error.is_race() {
        span.record("otel.status_code", "error");
    }
    traces::id_of(span)
}
