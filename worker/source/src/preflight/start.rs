//! Whether the source still has what the stream starts with.

use crds::conditions::Reason;
use crds::position::{FilePosition, Flavor, GtidSet};

use super::{Facts, Findings, Need, Start};
use crate::identity::Identity;
use crate::lookups::BinlogFile;

pub(super) fn check(facts: &Facts, need: &Need, findings: &mut Findings) {
    let identity = &facts.identity;
    match &need.start {
        Start::Latest | Start::Earliest => {}
        Start::File(position) => {
            if let Some(files) = &identity.binlogs {
                file_position(files, position, findings);
            }
        }
        Start::Gtid(held) => gtid(identity, held, findings),
    }
    let prepared = facts.prepared_xa.as_ref().map_or(0, Vec::len);
    if need.changes && prepared > 0 && need.start == Start::Latest {
        findings.warn(
            Reason::XaPreparedBeforeStart,
            format!("{prepared} prepared XA transactions are open at the source, and their rows are before the start: decide them (XA RECOVER; XA COMMIT or XA ROLLBACK), or start.mode: Earliest"),
        );
    }
}

fn file_position(files: &[BinlogFile], at: &FilePosition, findings: &mut Findings) {
    let Some((first, last)) = files.first().zip(files.last()) else { return };
    if let Some(file) = files.iter().find(|file| file.name == at.file) {
        if at.offset > file.size {
            findings.refuse(
                Reason::PositionNotFound,
                format!("position {at} is past the end of the file ({} bytes): it is of another history or of a tail lost in a crash; correct spec.start.filePosition", file.size),
            );
        }
        return;
    }
    let oldest = FilePosition::new(first.name.as_str(), 0);
    let have = format!("the source has {} to {}", first.name, last.name);
    match at.cmp_in_lineage(&oldest) {
        Some(std::cmp::Ordering::Less) => findings.refuse(
            Reason::BinlogPurged,
            format!("position {at} is purged: {have}; start at {}:4 (start.mode: Earliest), and raise binlog_expire_logs_seconds", first.name),
        ),
        _ => findings.refuse(
            Reason::PositionNotFound,
            format!("the source has no file {}: {have}; correct spec.start.filePosition", at.file),
        ),
    }
}

fn gtid(identity: &Identity, held: &GtidSet, findings: &mut Findings) {
    if held.flavor() != identity.flavor {
        findings.refuse(
            Reason::FlavorMismatch,
            format!("spec.start.gtidSet is of {} and the source is {}: write the set as the source does", held.flavor(), identity.flavor),
        );
        return;
    }
    if identity.flavor == Flavor::MySQL && identity.gtid_mode != "ON" {
        findings.refuse(
            Reason::GtidNotAvailable,
            format!("gtid_mode is {}: set it to ON step by step (OFF_PERMISSIVE, ON_PERMISSIVE, ON, with enforce_gtid_consistency=ON), or start.mode: FilePosition", identity.gtid_mode),
        );
        return;
    }
    if let Some(purged) = &identity.purged
        && let Ok(missing) = purged.subtract(held)
        && !missing.is_empty()
    {
        findings.refuse(
            Reason::BinlogPurged,
            format!("transactions {} are purged from the source and not in spec.start.gtidSet: start.mode: Earliest, or add them to the set if they are not needed", shown(&missing)),
        );
    }
    if let Ok(unknown) = held.subtract(&identity.executed)
        && !unknown.is_empty()
    {
        findings.refuse(
            Reason::DivergentHistory,
            format!("the source never executed {}: point source.host at the server the set was taken from, or correct spec.start.gtidSet", shown(&unknown)),
        );
    }
}

/// A set, cut to what fits a message.
fn shown(set: &GtidSet) -> String {
    let text = set.to_string();
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
