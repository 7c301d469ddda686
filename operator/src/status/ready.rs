//! Ready: one answer from many, in a fixed order, so that the reason shown is the one to mend.
//!
//! True needs recent proof: an answer of the worker not older than [`super::voice::STALE_AFTER`],
//! in which connection, archive and checkpoint are healthy, every table is decoded, no gap waits and
//! nothing stands still (P6). Lag as such is not part of it.

use crds::{
    conditions::Reason,
    v1alpha1::{LagState, StreamState},
    worker_status::{Phase, WorkerStatus},
};

use super::{
    Facts, Outcome,
    conditions::Verdict,
    gaps::Gaps,
    voice::{self, Voice},
};

/// Whether the stream is ready, and if not why not.
pub fn ready(facts: &Facts<'_>, voice: &Voice<'_>, gaps: &Gaps) -> Verdict {
    match &facts.outcome {
        Outcome::Refused(refusal) => return Verdict::bad(refusal.reason, &refusal.message),
        Outcome::Failed(_, message) => return Verdict::bad(Reason::ApplyFailed, message),
        Outcome::Waiting(_, message) => {
            return Verdict::bad(Reason::WaitingForOldChildren, message);
        }
        Outcome::Deleting(_) => return deleting(),
        // The present worker speaks for itself.
        Outcome::Applied(_) | Outcome::Held(..) => {}
    }
    let state = facts.outcome.state().unwrap_or_default();
    match voice {
        Voice::Absent => Verdict::bad(Reason::Stopped, "spec.state is Stopped; there is no pod"),
        Voice::Ending => Verdict::bad(Reason::Draining, "the worker commits what it holds"),
        Voice::Down { reason, message } => Verdict::bad(*reason, message),
        Voice::Silent { lost_node } => silent(*lost_node),
        Voice::Starting { message } => Verdict::bad(Reason::Starting, message),
        Voice::Speaking(report) => speaking(report, state, gaps, facts.name),
    }
}

/// Nobody can rely on a stream that goes, however well its worker still is.
fn deleting() -> Verdict {
    Verdict::bad(Reason::Deleting, voice::DELETING)
}

/// Nothing is claimed about a worker that does not answer.
pub fn silent(lost_node: Option<&str>) -> Verdict {
    match lost_node {
        Some(node) => Verdict::unknown(
            Reason::NodeLost,
            &format!(
                "node {node} does not report, and the worker on it does not answer; it may still \
                 run. Kubernetes takes it from the node after 30 s, or as long as worker.tolerations \
                 say, and starts another one elsewhere"
            ),
        ),
        None => Verdict::unknown(
            Reason::StatusStale,
            "the worker's container runs and does not answer; it hangs, or the operator cannot \
             reach port 8080 of its pod (a NetworkPolicy, a mesh)",
        ),
    }
}

fn speaking(report: &WorkerStatus, state: StreamState, gaps: &Gaps, name: &str) -> Verdict {
    if let Some(fenced) = &report.fenced {
        return Verdict::bad(
            Reason::Fenced,
            &format!(
                "instance {} took over with epoch {}; this worker writes nothing any more",
                fenced.by, fenced.epoch
            ),
        );
    }
    if let Some(error) = &report.config_error {
        return Verdict::bad(Reason::ConfigInvalid, error);
    }
    match (report.phase, state) {
        (Phase::Fenced, _) => return Verdict::bad(Reason::Fenced, &report.message),
        (Phase::Paused, StreamState::Paused | StreamState::Stopped) => {
            return Verdict::bad(
                Reason::Paused,
                "spec.state is Paused; the connection is closed and the archive stays claimed",
            );
        }
        (Phase::Paused, StreamState::Running) => {
            return Verdict::bad(Reason::ConfigPending, "the worker has not read its resume yet");
        }
        (Phase::Draining, _) => {
            return Verdict::bad(Reason::Draining, "the worker commits what it holds and ends");
        }
        // A gap shows as such even while the worker waits for its acknowledgement.
        (Phase::Starting | Phase::Waiting, _) if gaps.open == 0 || own_fault(report) => {
            return Verdict::bad(waiting_reason(report), &report.message);
        }
        _ => {}
    }
    broken(report, gaps, name).unwrap_or_else(|| match report.phase {
        Phase::Streaming => {
            Verdict::good(Reason::Streaming, "streaming; what is received becomes durable in time")
        }
        _ => Verdict::bad(waiting_reason(report), &report.message),
    })
}

/// A fault that is not the gap itself.
fn own_fault(report: &WorkerStatus) -> bool {
    !matches!(
        report.reason,
        Reason::GapDetected | Reason::BinlogPurged | Reason::Starting | Reason::Unknown
    )
}

fn waiting_reason(report: &WorkerStatus) -> Reason {
    match report.reason {
        Reason::Unknown | Reason::Streaming => Reason::Starting,
        reason => reason,
    }
}

/// The first facet that is not healthy.
fn broken(report: &WorkerStatus, gaps: &Gaps, name: &str) -> Option<Verdict> {
    if gaps.open > 0 {
        return Some(Verdict::bad(Reason::GapDetected, &gap_message(gaps, name)));
    }
    if !report.source.connected {
        return Some(Verdict::bad(report.source.reason, &report.source.message));
    }
    if !report.archive.healthy {
        return Some(Verdict::bad(report.archive.reason, &report.archive.message));
    }
    if !report.checkpoint.healthy {
        return Some(Verdict::bad(report.checkpoint.reason, &report.checkpoint.message));
    }
    if !report.decoding.healthy {
        return Some(Verdict::bad(report.decoding.reason, &report.decoding.message));
    }
    (report.lag.state == LagState::Stalled).then(|| {
        Verdict::bad(Reason::LagStalled, "the source has more to read and nothing arrives")
    })
}

/// The oldest open gap and the command that acknowledges it.
pub fn gap_message(gaps: &Gaps, name: &str) -> String {
    let open = gaps.listed.iter().find(|gap| gap.acknowledged_at.is_none());
    let what = open.map_or_else(String::new, |gap| {
        let to = gap.to.as_deref().unwrap_or("not known yet");
        format!(": {} ({}) from {} to {to}", gap.id, gap.reason, gap.from)
    });
    let id = open.map_or("all", |gap| gap.id.as_str());
    format!(
        "{} gap(s) wait{what}; acknowledge with: kubectl annotate binlogstream {name} --overwrite \
         binlogstream.io/acknowledge-gap={id}",
        gaps.open
    )
}
