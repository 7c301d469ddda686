//! What a session hands to a collector of traces; `crds::spans` lists it. Without a collector none of it does anything.

use crds::spans::TARGET;
use tracing::{Span, field::Empty, info_span};

use super::SessionEnd;
use crate::fault::Fault;

/// The trace of a session's beginning.
pub(super) fn open() -> Span {
    info_span!(
        target: TARGET,
        parent: None,
        "open",
        binlogstream.epoch = Empty,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

/// Checkpoint and log are read.
pub(super) fn read_archive() -> Span {
    info_span!(target: TARGET, "read_archive")
}

/// The source is asked.
pub(super) fn inspect_source() -> Span {
    info_span!(target: TARGET, "inspect_source")
}

/// The store is probed.
pub(super) fn probe_store() -> Span {
    info_span!(target: TARGET, "probe_store")
}

/// The epoch is taken.
pub(super) fn claim() -> Span {
    info_span!(target: TARGET, "claim")
}

/// The trace of one connection's beginning.
pub(super) fn connect() -> Span {
    info_span!(
        target: TARGET,
        parent: None,
        "connect",
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

/// Why what the span covers came to nothing. To be told to end is no failure.
pub(super) fn ended(span: &Span, end: &SessionEnd) {
    match end {
        SessionEnd::Told => {}
        SessionEnd::Fault(fault) | SessionEnd::Rebuild(fault) => failed(span, fault),
        SessionEnd::Fenced(_) => failed_as(span, crds::conditions::Reason::Fenced.as_str()),
    }
}

/// What kept the span's work from its end, by its reason: the words of a fault may be those of a server.
pub(super) fn failed(span: &Span, fault: &Fault) {
    failed_as(span, fault.reason.as_str());
}

fn failed_as(span: &Span, reason: &'static str) {
    span.record("error.type", reason);
    span.record("otel.status_code", "error");
}
