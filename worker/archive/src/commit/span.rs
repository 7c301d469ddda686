//! What a commit hands to a collector of traces; `crds::spans` lists it. Without a collector none of it does anything.
//! Numbers are signed, because others would arrive as text.

use std::sync::{Mutex, PoisonError};

use crds::spans::TARGET;
use tracing::{Span, field::Empty, info_span};

use crate::log::LogError;
use crate::store::StoreError;

/// The trace of the cut that parts now go into: begun with its first part, handed over with its batch.
#[derive(Debug, Default)]
pub(super) struct UnderWay(Mutex<Option<Span>>);

impl UnderWay {
    /// One object of it, on its way into the store.
    pub(super) fn upload(&self, part: &'static str) -> Span {
        let mut cut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        info_span!(
            target: TARGET,
            parent: &*cut.get_or_insert_with(commit),
            "upload",
            otel.kind = "client",
            binlogstream.part = part,
            binlogstream.bytes = Empty,
            binlogstream.attempts = Empty,
            "error.type" = Empty,
            otel.status_code = Empty,
        )
    }

    /// The cut is whole.
    pub(super) fn take(&self) -> Span {
        let mut cut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cut.take().unwrap_or_else(commit)
    }
}

fn commit() -> Span {
    info_span!(target: TARGET, parent: None, "commit", binlogstream.entry = Empty)
}

/// The upload that is under way is there.
pub(super) fn uploaded(bytes: usize, attempts: u32) {
    let span = Span::current();
    span.record("binlogstream.bytes", bytes as i64);
    span.record("binlogstream.attempts", i64::from(attempts));
}

/// It cannot be there any more.
pub(super) fn not_uploaded(error: &StoreError) {
    failed(&Span::current(), error.reason().as_str());
}

/// The cuts that share an entry.
#[derive(Debug, Default)]
pub(super) struct Cuts(pub(super) Vec<Span>);

impl Cuts {
    /// The creation of their entry; by itself where there is no cut.
    pub(super) fn append(&self, n: u64) -> Span {
        info_span!(
            target: TARGET,
            parent: self.0.first().and_then(Span::id),
            "append",
            binlogstream.entry = n as i64,
            binlogstream.cuts = self.0.len() as i64,
            "error.type" = Empty,
            otel.status_code = Empty,
        )
    }

    /// They are durable.
    pub(super) fn are_durable(self, n: u64) {
        for span in self.0 {
            span.record("binlogstream.entry", n as i64);
        }
    }
}

/// The entry was not created.
pub(super) fn not_appended(span: &Span, error: &LogError) {
    failed(span, error.reason().as_str());
}

fn failed(span: &Span, reason: &'static str) {
    span.record("error.type", reason);
    span.record("otel.status_code", "error");
}
