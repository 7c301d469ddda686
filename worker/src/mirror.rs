//! What the committer knows, told to the board: the archive's health and the durable position.

use std::time::Duration;

use archive::checkpoint::KeeperStatus;
use archive::commit::{CommitStatus, Committer, Durable};
use crds::conditions::Reason;
use crds::worker_status::{ArchiveState, GapFacet, MAX_LISTED, PositionFacet};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::metrics::Metrics;

/// How often age is looked at when nothing else happens.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Mirrors until `stop`. `patience` is how old the oldest pending byte may get before the archive is behind.
pub async fn follow(
    committer: &Committer,
    board: Board,
    metrics: Metrics,
    patience: Duration,
    stop: CancellationToken,
) {
    let (mut durable, mut status) = (committer.durable(), committer.status());
    let mut seen = durable.borrow().state.n;
    loop {
        let head = durable.borrow_and_update().clone();
        let waits = status.borrow_and_update().clone();
        metrics.commits.inc_by(head.state.n.saturating_sub(seen));
        show_head(&board, &head, head.state.n.saturating_sub(seen));
        show_health(&board, &waits, patience);
        seen = head.state.n;
        tokio::select! {
            () = stop.cancelled() => return,
            changed = durable.changed() => if changed.is_err() { return },
            changed = status.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

fn show_head(board: &Board, head: &Durable, commits: u64) {
    let state = &head.state;
    let position = state.facts.at.as_ref().map(|at| {
        PositionFacet::new(&at.point().position(), Some(&state.gtid.to_string()), at.event_time)
    });
    board.update(|facts| {
        let report = &mut facts.report;
        report.counters.commits += commits;
        report.archive.n = Some(state.n);
        report.archive.archive_id = Some(state.archive);
        report.archive.last_commit_time = Some(state.time);
        if let Some(until) = position.as_ref().and_then(|at| at.event_time) {
            report.archive.recoverable_until = Some(until);
        }
        report.durable = position;
        report.gap_count = u32::try_from(state.facts.gap_count).unwrap_or(u32::MAX);
        report.open_gap_count = u32::try_from(state.facts.gaps.len()).unwrap_or(u32::MAX);
        report.archive.recoverable_from = state.facts.recoverable_from;
        let (open, acknowledged) = (&state.facts.gaps, state.facts.acknowledged.iter().rev());
        report.gaps = open.iter().chain(acknowledged).take(MAX_LISTED).map(gap_facet).collect();
    });
}

fn gap_facet(gap: &archive::entry::OpenGap) -> GapFacet {
    GapFacet {
        id: gap.id.clone(),
        reason: gap.reason.parse().unwrap_or(Reason::BinlogPurged),
        from: gap.from.position(),
        to: gap.to.as_ref().map(archive::Point::position),
        detected_at: gap.detected_at,
        acknowledged_at: gap.acknowledged_at,
        passed: gap.phase == archive::entry::GapPhase::Passed,
    }
}

fn show_health(board: &Board, status: &CommitStatus, patience: Duration) {
    let waited = status.oldest_pending.map_or(Duration::ZERO, |since| {
        Duration::try_from(Timestamp::now().duration_since(since)).unwrap_or(Duration::ZERO)
    });
    let late = waited > patience;
    board.update(|facts| {
        let (silent, table) = (facts.archive_silent.clone(), facts.table.clone());
        let archive = &mut facts.report.archive;
        archive.pending_bytes = status.pending_bytes;
        archive.oldest_pending_at = status.oldest_pending;
        (archive.healthy, archive.reason, archive.state, archive.message) =
            match (&status.fault, silent) {
                (Some(fault), _) if late => {
                    (false, fault.reason, ArchiveState::Failing, fault.message.clone())
                }
                (None, None) if late => (
                    false,
                    Reason::Behind,
                    ArchiveState::Behind,
                    format!("the oldest bytes have waited {} s for the archive", waited.as_secs()),
                ),
                (_, Some((reason, message))) => (false, reason, ArchiveState::Failing, message),
                _ => {
                    let (reason, message) = table.unwrap_or((Reason::Current, String::new()));
                    (true, reason, ArchiveState::Current, message)
                }
            };
    });
}

/// What the checkpoint's keeper knows, told to the board until `stop`.
pub async fn follow_checkpoint(
    mut status: watch::Receiver<KeeperStatus>,
    board: Board,
    stop: CancellationToken,
) {
    loop {
        let KeeperStatus { n, saved_at, fault } = status.borrow_and_update().clone();
        board.update(|facts| {
            let checkpoint = &mut facts.report.checkpoint;
            checkpoint.n = n.or(checkpoint.n);
            checkpoint.saved_at = saved_at.or(checkpoint.saved_at);
            (checkpoint.healthy, checkpoint.reason, checkpoint.message) = match fault {
                Some((reason, message)) => (false, reason, message),
                None => (true, Reason::Saved, String::new()),
            };
        });
        tokio::select! {
            () = stop.cancelled() => return,
            changed = status.changed() => if changed.is_err() { return },
        }
    }
}
