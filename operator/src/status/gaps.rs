//! Holes in the archive. They are facts of the log, so they stay shown while nobody reports, and a
//! worker that has not read the log yet does not make them vanish.

use crds::v1alpha1::{BinlogStreamStatus, GapStatus};
use crds::worker_status::{GapFacet, WorkerStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::cut;

/// Gaps as the status shows them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gaps {
    /// All, acknowledged or not.
    pub count: u32,
    /// Those that wait for somebody.
    pub open: u32,
    /// The newest, open ones first.
    pub listed: Vec<GapStatus>,
    /// Whether the numbers come from the log, now or earlier.
    pub known: bool,
}

/// The gaps of a report that knows the log, else those of the stored status.
pub fn gaps(said: Option<&WorkerStatus>, previous: &BinlogStreamStatus) -> Gaps {
    // The worker tells them together with the number of the newest entry, a moment after its claim.
    match said.filter(|report| report.archive.n.is_some()) {
        Some(report) => Gaps {
            count: report.gap_count,
            open: report.open_gap_count,
            listed: report.gaps.iter().take(crds::worker_status::MAX_LISTED).map(gap).collect(),
            known: true,
        },
        None => Gaps {
            count: previous.gap_count.unwrap_or(0),
            open: previous.open_gap_count.unwrap_or(0),
            listed: previous.gaps.clone(),
            known: previous.archive.as_ref().is_some_and(|archive| archive.commit.is_some()),
        },
    }
}

fn gap(facet: &GapFacet) -> GapStatus {
    let GapFacet { id, reason, from, to, detected_at, acknowledged_at, passed: _ } = facet;
    GapStatus {
        id: cut(id, 64),
        reason: reason.as_str().to_owned(),
        from: cut(&from.to_string(), 320),
        to: to.as_ref().map(|to| cut(&to.to_string(), 320)),
        detected_at: Time(*detected_at),
        acknowledged_at: acknowledged_at.map(Time),
    }
}
