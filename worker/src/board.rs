//! What the worker knows about itself, kept in one place for `/status`, the probes and the metrics.
//!
//! The parts write facts as they happen; readers get one consistent report. Nothing here waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crds::conditions::Reason;
use crds::worker_status::{
    ActionFacet, ArchiveFacet, ArchiveState, CheckpointFacet, Counters, DecodingFacet, FencedFacet,
    LagFacet, LagState, Phase, STATUS_VERSION, SourceFacet, WorkerStatus,
};
use jiff::Timestamp;

use crate::lag::LagMeter;

/// Shared by all tasks of the worker; cheap to clone.
#[derive(Clone)]
pub struct Board {
    inner: Arc<Mutex<Facts>>,
}

/// The facts. `report` is what `/status` gives, save for what changes by the clock alone.
pub struct Facts {
    /// The report so far.
    pub report: WorkerStatus,
    /// How far behind the source we are.
    pub lag: LagMeter,
    /// When the last event or heartbeat came.
    pub last_sign: Option<Instant>,
    /// The archive gives no answer, and why, although nothing may wait for it.
    pub archive_silent: Option<(Reason, String)>,
    /// What ails the published table while the archive itself is well.
    pub table: Option<(Reason, String)>,
}

impl Board {
    /// A board for an instance that has just started.
    pub fn new(instance: &str, pod_uid: Option<String>) -> Self {
        let facts = Facts {
            report: first_report(instance, pod_uid),
            lag: LagMeter::default(),
            last_sign: None,
            archive_silent: None,
            table: None,
        };
        Self { inner: Arc::new(Mutex::new(facts)) }
    }

    /// Writes facts.
    pub fn update(&self, write: impl FnOnce(&mut Facts)) {
        write(&mut self.lock());
    }

    /// The report as of now.
    pub fn report(&self) -> WorkerStatus {
        let facts = self.lock();
        let now = Timestamp::now();
        let mut report = facts.report.clone();
        let lag = facts.lag.read(Instant::now(), now.as_microsecond(), report.source.connected);
        report.observed_at = now;
        let silence = facts.last_sign.map(|at| at.elapsed().as_secs());
        report.source.purge_headroom_seconds =
            purge_headroom(&report, lag.seconds.or(silence), now);
        report.lag = LagFacet { state: lag.state, seconds: lag.seconds, observed_at: Some(now) };
        report
    }

    /// Seconds since the source last gave a sign; `None` before the first.
    pub fn silence_seconds(&self) -> Option<u64> {
        self.lock().last_sign.map(|at| at.elapsed().as_secs())
    }

    /// The phase changes; `message` names the mend where there is one.
    pub fn enter(&self, phase: Phase, reason: Reason, message: impl Into<String>) {
        let message = message.into();
        self.update(|facts| {
            facts.report.phase = phase;
            facts.report.reason = reason;
            facts.report.message = message;
        });
    }

    /// A session begins. A worker that waits, or that was fenced, says so until it has got further:
    /// a look that finds nothing new is no start.
    pub fn session_begins(&self) {
        if !matches!(self.report().phase, Phase::Waiting | Phase::Fenced) {
            self.enter(Phase::Starting, Reason::Starting, "");
        }
    }

    /// Another instance holds the archive. What we knew of it is no longer the present.
    pub fn fenced(&self, by: &str, epoch: u64) {
        let message =
            format!("instance {by} holds the archive since epoch {epoch}; this one writes nothing");
        self.source_lost(Reason::Fenced, message.clone());
        self.enter(Phase::Fenced, Reason::Fenced, message.clone());
        self.update(|facts| {
            let report = &mut facts.report;
            report.epoch = None;
            report.archive.healthy = false;
            report.archive.reason = Reason::Fenced;
            report.archive.message = message;
            report.archive.state = ArchiveState::Unknown;
            report.archive.pending_bytes = 0;
            report.archive.oldest_pending_at = None;
            // Whoever fenced us may itself have been replaced since.
            if report.fenced.as_ref().is_none_or(|known| known.epoch != epoch) {
                report.fenced =
                    Some(FencedFacet { by: by.to_owned(), epoch, at: Timestamp::now() });
            }
        });
    }

    /// The archive is ours.
    pub fn claimed(&self, epoch: u64) {
        self.update(|facts| {
            facts.report.epoch = Some(epoch);
            // This claim's publisher tells anew, if there is one.
            facts.table = None;
            if facts.report.fenced.take().is_some() {
                facts.report.phase = Phase::Starting;
                facts.report.reason = Reason::Starting;
                facts.report.message.clear();
            }
        });
    }

    /// A request of a person was carried out or refused. An older answer does not take the place of a newer one.
    pub fn acted(&self, action: ActionFacet) {
        self.update(|facts| {
            let last = &mut facts.report.last_handled_action;
            if last.as_ref().is_none_or(|last| last.completed_at <= action.completed_at) {
                *last = Some(action);
            }
        });
    }

    /// The source is not connected, and why.
    pub fn source_lost(&self, reason: Reason, message: impl Into<String>) {
        let message = message.into();
        self.update(|facts| {
            facts.report.source.connected = false;
            facts.report.source.reason = reason;
            facts.report.source.message = message;
            facts.lag.disconnected();
        });
    }

    /// The archive does not take what we have, and why.
    pub fn archive_failing(&self, reason: Reason, message: impl Into<String>) {
        let message = message.into();
        self.update(|facts| {
            facts.report.archive.healthy = false;
            facts.report.archive.reason = reason;
            facts.report.archive.message = message;
            facts.report.archive.state = ArchiveState::Failing;
        });
    }

    /// The archive gave an answer.
    pub fn archive_answered(&self) {
        self.update(|facts| facts.archive_silent = None);
    }

    /// The archive has given no answer for too long: so it stays until it gives one.
    pub fn archive_silent(&self, reason: Reason, message: impl Into<String>) {
        let message = message.into();
        self.update(|facts| facts.archive_silent = Some((reason, message.clone())));
        self.archive_failing(reason, message);
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        // A writer that panicked leaves facts that are old, never torn: each write is one assignment.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds until the source may purge what is not durable yet: its retention less how long the oldest of that has
/// waited, at the source (`behind`) or here. `None` where it purges nothing by age.
fn purge_headroom(report: &WorkerStatus, behind: Option<u64>, now: Timestamp) -> Option<u64> {
    let retention = report.source.binlog_retention_seconds.filter(|seconds| *seconds > 0)?;
    let waited = report
        .archive
        .oldest_pending_at
        .map_or(0, |since| u64::try_from(now.duration_since(since).as_secs()).unwrap_or_default());
    Some(retention.saturating_sub(waited.max(behind.unwrap_or_default())))
}

fn first_report(instance: &str, pod_uid: Option<String>) -> WorkerStatus {
    let unknown = String::new();
    WorkerStatus {
        version: STATUS_VERSION,
        worker_version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: instance.to_owned(),
        pod_uid,
        epoch: None,
        config_generation: None,
        config_error: None,
        observed_at: Timestamp::now(),
        phase: Phase::Starting,
        reason: Reason::Starting,
        message: unknown.clone(),
        source: SourceFacet {
            connected: false,
            reason: Reason::Connecting,
            message: unknown.clone(),
            address: None,
            server_uuid: None,
            server_id: None,
            own_server_id: None,
            version: None,
            flavor: None,
            role: None,
            binlog_retention_seconds: None,
            purge_headroom_seconds: None,
            encrypted: None,
            last_event_at: None,
            last_heartbeat_at: None,
            connects: 0,
        },
        start: None,
        received: None,
        durable: None,
        lag: LagFacet { state: LagState::Unknown, seconds: None, observed_at: None },
        archive: ArchiveFacet {
            healthy: false,
            reason: Reason::Starting,
            message: unknown.clone(),
            state: ArchiveState::Unknown,
            archive_id: None,
            n: None,
            last_commit_time: None,
            recoverable_from: None,
            recoverable_until: None,
            pending_bytes: 0,
            oldest_pending_at: None,
            fence: None,
        },
        checkpoint: CheckpointFacet {
            healthy: false,
            reason: Reason::Starting,
            message: unknown.clone(),
            n: None,
            saved_at: None,
        },
        decoding: DecodingFacet {
            healthy: true,
            reason: Reason::Decoding,
            message: unknown,
            stopped_count: 0,
            stopped: Vec::new(),
        },
        gaps: Vec::new(),
        gap_count: 0,
        open_gap_count: 0,
        fenced: None,
        counters: Counters::default(),
        last_handled_action: None,
        checkpoint_action: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_takes_from_the_headroom_before_the_purge() {
        let mut report = first_report("i", None);
        let now = Timestamp::now();
        assert_eq!(purge_headroom(&report, Some(5), now), None, "nothing is known of a purge");
        report.source.binlog_retention_seconds = Some(100);
        assert_eq!(purge_headroom(&report, None, now), Some(100));
        assert_eq!(purge_headroom(&report, Some(30), now), Some(70));
        report.archive.oldest_pending_at = Some(now - std::time::Duration::from_secs(60));
        assert_eq!(purge_headroom(&report, Some(30), now), Some(40));
        assert_eq!(purge_headroom(&report, Some(300), now), Some(0));
    }

    #[test]
    fn a_lost_source_takes_the_lag_with_it() {
        let board = Board::new("i", None);
        board.update(|facts| {
            facts.report.source.connected = true;
            facts.lag.heartbeat(Instant::now());
        });
        assert_eq!(board.report().lag.seconds, Some(0));
        board.source_lost(Reason::ConnectionLost, "the connection broke");
        assert_eq!(board.report().lag.state, LagState::Unknown);
        assert_eq!(board.report().source.reason, Reason::ConnectionLost);
    }

    #[test]
    fn a_fenced_worker_says_who_holds_the_archive_until_it_claims_again() {
        let board = Board::new("i", None);
        board.claimed(1);
        board.update(|facts| {
            facts.report.archive.healthy = true;
            facts.report.archive.state = ArchiveState::Current;
        });
        board.fenced("other", 2);
        board.session_begins();
        let report = board.report();
        assert_eq!((report.phase, report.epoch), (Phase::Fenced, None));
        assert_eq!(report.archive.state, ArchiveState::Unknown, "it is no longer ours to judge");
        assert!(!report.archive.healthy);

        board.fenced("third", 3);
        let holder = board.report().fenced.unwrap();
        assert_eq!((holder.by.as_str(), holder.epoch), ("third", 3));

        board.update(|facts| facts.table = Some((Reason::PublishFailed, "refused".into())));
        board.claimed(4);
        board.update(|facts| assert_eq!(facts.table, None, "it was the last claim's"));
        let report = board.report();
        assert_eq!((report.phase, report.epoch), (Phase::Starting, Some(4)));
        assert_eq!(report.fenced, None);
    }

    #[test]
    fn a_worker_that_waits_still_waits_when_it_looks_again() {
        let board = Board::new("i", None);
        board.enter(Phase::Waiting, Reason::ArchiveOwnedElsewhere, "it belongs to another");
        board.session_begins();
        assert_eq!(board.report().reason, Reason::ArchiveOwnedElsewhere);
        board.enter(Phase::Paused, Reason::Paused, "");
        board.session_begins();
        assert_eq!(board.report().phase, Phase::Starting);
    }
}
