//! The parts of the status that repeat what the worker reports.

use crds::{
    checkpoint::Checkpoint,
    v1alpha1::{
        ArchiveState, ArchiveStatus, PositionStatus, SourceStatus, StartStatus, StoppedTableStatus,
        TablesStatus,
    },
    worker_status::{ArchiveFacet, SourceFacet, WorkerStatus},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{cut, lag};

/// Where the stream began; the schema pins spec.start from then on.
pub fn start(report: &WorkerStatus) -> Option<StartStatus> {
    let start = report.start.as_ref()?;
    Some(StartStatus {
        mode: start.mode,
        position: cut(&start.position.to_string(), 320),
        origin: start.origin,
        resolved_at: Some(Time(start.resolved_at)),
    })
}

/// The durable position.
pub fn position(report: &WorkerStatus) -> Option<PositionStatus> {
    let durable = report.durable.as_ref()?;
    Some(PositionStatus {
        file: Some(cut(&durable.file, 255)),
        offset: Some(durable.offset),
        gtid_set: durable.gtid_set.as_deref().map(|set| cut(set, 1024)),
        gtid_set_truncated: durable.gtid_set_truncated.then_some(true),
        event_time: durable.event_time.map(Time),
        text: Some(cut(&format!("{}:{}", durable.file, durable.offset), 320)),
    })
}

/// The position of the checkpoint object, where it is not the one already shown.
pub fn checkpointed(
    checkpoint: Option<&Checkpoint>,
    shown: Option<&PositionStatus>,
) -> Option<PositionStatus> {
    let checkpoint = checkpoint?;
    let same = shown.is_some_and(|shown| {
        shown.file.as_deref() == Some(&checkpoint.file) && shown.offset == Some(checkpoint.pos)
    });
    let set = checkpoint.gtid.set.as_deref();
    (!same).then(|| PositionStatus {
        file: Some(cut(&checkpoint.file, 255)),
        offset: Some(checkpoint.pos),
        gtid_set: set.map(|set| cut(set, 1024)),
        gtid_set_truncated: set.is_none_or(|set| set.chars().count() > 1024).then_some(true),
        event_time: checkpoint.event_time.map(Time),
        text: Some(cut(&format!("{}:{}", checkpoint.file, checkpoint.pos), 320)),
    })
}

/// The archive. Without a worker its state is not known; what was durable still is.
pub fn archive(
    said: Option<&WorkerStatus>,
    checkpoint: Option<&Checkpoint>,
    shown: Option<&ArchiveStatus>,
) -> ArchiveStatus {
    let Some(report) = said else {
        let shown = shown.cloned();
        let commit = checkpoint.map(|checkpoint| checkpoint.n);
        return ArchiveStatus {
            state: ArchiveState::Unknown,
            text: "?".to_owned(),
            archive_id: checkpoint
                .map(|checkpoint| checkpoint.archive.to_string())
                .or_else(|| shown.as_ref().and_then(|shown| shown.archive_id.clone())),
            commit: commit.max(shown.as_ref().and_then(|shown| shown.commit)),
            pending_bytes: None,
            last_commit_time: shown.as_ref().and_then(|shown| shown.last_commit_time.clone()),
            recoverable_from: shown.as_ref().and_then(|shown| shown.recoverable_from.clone()),
            recoverable_until: shown.as_ref().and_then(|shown| shown.recoverable_until.clone()),
            fence: shown.and_then(|shown| shown.fence),
        };
    };
    let ArchiveFacet {
        healthy: _,
        reason: _,
        message: _,
        state,
        archive_id,
        n,
        last_commit_time,
        recoverable_from,
        recoverable_until,
        pending_bytes,
        oldest_pending_at: _,
        fence,
    } = &report.archive;
    ArchiveStatus {
        state: *state,
        text: cut(&lag::archived(report), 32),
        archive_id: archive_id
            .map(|id| id.to_string())
            .or_else(|| shown.and_then(|shown| shown.archive_id.clone())),
        commit: n.or(shown.and_then(|shown| shown.commit)),
        last_commit_time: last_commit_time.map(Time),
        recoverable_from: recoverable_from.map(Time),
        recoverable_until: recoverable_until.map(Time),
        pending_bytes: Some(*pending_bytes),
        fence: *fence,
    }
}

/// Tables that are stopped.
pub fn tables(report: &WorkerStatus) -> TablesStatus {
    let stopped = report.decoding.stopped.iter().take(crds::worker_status::MAX_LISTED);
    TablesStatus {
        stopped_count: report.decoding.stopped_count,
        stopped: stopped
            .map(|table| StoppedTableStatus {
                name: cut(&table.table, 133),
                reason: table.reason.as_str().to_owned(),
                since: cut(&table.since.to_string(), 320),
            })
            .collect(),
    }
}

/// The server that is read.
pub fn source(report: &WorkerStatus) -> SourceStatus {
    let SourceFacet {
        address,
        server_uuid,
        server_id,
        version,
        flavor,
        role,
        binlog_retention_seconds,
        purge_headroom_seconds,
        ..
    } = &report.source;
    SourceStatus {
        address: address.as_deref().map(|address| cut(address, 320)),
        server_uuid: server_uuid.map(|uuid| uuid.to_string()),
        server_id: *server_id,
        version: version.as_deref().map(|version| cut(version, 128)),
        flavor: *flavor,
        role: *role,
        binlog_retention: binlog_retention_seconds.map(|seconds| match seconds {
            0 => "for ever".to_owned(),
            seconds => lag::bucket(seconds),
        }),
        purge_headroom: purge_headroom_seconds.map(lag::bucket),
    }
}
