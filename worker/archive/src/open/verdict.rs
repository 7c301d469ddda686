//! What the checkpoint is worth against the log.

use super::{OpenError, Opened};
use crate::checkpoint::{Checkpoint, Loaded};
use crate::entry::{Consent, ConsentKind};
use crate::log::{ReadError, read_entry};

/// What the checkpoint was worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointVerdict {
    /// There was none; it is rebuilt from the log.
    Absent,
    /// It was torn or edited; it is rebuilt from the log.
    Rebuilt(String),
    /// It names the newest entry.
    Current,
    /// It names an entry this many before the newest one: normal.
    Behind(u64),
    /// It contradicts the archive, and somebody consented to go on with the archive.
    Replaced,
}

pub(super) async fn compare(
    opened: &mut Opened,
    loaded: &Loaded,
) -> Result<CheckpointVerdict, OpenError> {
    let record = match loaded {
        Loaded::Absent => return Ok(CheckpointVerdict::Absent),
        Loaded::Bad(problem) => return Ok(CheckpointVerdict::Rebuilt(problem.clone())),
        Loaded::Found(record) => record,
    };
    let Some(error) = contradiction(opened, record).await? else {
        let head = opened.state.as_ref().map_or(0, |state| state.n);
        let behind = head.saturating_sub(record.n);
        return Ok(match behind {
            0 => CheckpointVerdict::Current,
            _ => CheckpointVerdict::Behind(behind),
        });
    };
    let wanted = consent_value(opened);
    if opened.request.accept_archive.as_deref() != Some(wanted.as_str()) {
        return Err(error);
    }
    opened.consents.push(Consent {
        kind: ConsentKind::AcceptArchive,
        value: wanted,
        by: opened.request.consents_by.clone(),
    });
    Ok(CheckpointVerdict::Replaced)
}

/// `<archiveId>@<n>` of what is there, so that a consent cannot mean another state of it.
fn consent_value(opened: &Opened) -> String {
    match (&opened.state, &opened.stream) {
        (Some(state), _) => format!("{}@{}", state.archive, state.n),
        (None, Some(stream)) => format!("{}@0", stream.archive_id),
        (None, None) => "new@0".to_owned(),
    }
}

async fn contradiction(
    opened: &Opened,
    record: &Checkpoint,
) -> Result<Option<OpenError>, OpenError> {
    let consent = consent_value(opened);
    let behind = |found: String| OpenError::BehindCheckpoint {
        checkpoint: record.n,
        archive: record.archive.to_string(),
        found,
        consent: consent.clone(),
    };
    let forked = |problem: String| OpenError::Forked { problem, consent: consent.clone() };
    let Some(state) = &opened.state else {
        return Ok(Some(behind("and the archive is empty".to_owned())));
    };
    if record.archive != state.archive {
        let (theirs, ours) = (record.archive, state.archive);
        return Ok(Some(forked(format!(
            "the checkpoint is of archive {theirs}, the objects are of archive {ours}"
        ))));
    }
    if record.n > state.n {
        return Ok(Some(behind(format!("and the log ends at entry {}", state.n))));
    }
    let digest = if record.n == state.n {
        state.digest.clone()
    } else {
        let stored = read_entry(&*opened.store, record.n).await?;
        stored.ok_or_else(|| ReadError::damaged(record.n, "it is missing"))?.digest
    };
    let same = digest == record.digest;
    Ok((!same).then(|| forked(format!("entry {} is not the one of the checkpoint", record.n))))
}
