//! The first entries of a session: the lineage, the gap, whatever must stand in the log before the first dump.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use archive::entry::{
    Consent, FullGtid, GapBody, GapPhase, LineageBody, LineageCause, Missing, Proof, ServerId,
};
use archive::{Body, Point, State};
use binlog::TableName;
use crds::conditions::Reason;
use crds::position::{FilePosition, GtidSet};
use crds::v1alpha1::OnGap;
use crds::worker_status::{Phase, StartFacet, StartOrigin};
use jiff::Timestamp;
use source::Identity;

use super::decide::{Plan, held_back, server_of};
use super::housekeeping::{GapConsents, handled};
use super::line::{Line, Place};
use super::moving::Found;
use super::{Ready, SessionEnd};
use crate::fault::Fault;
use crate::names::{self, Known, Tables};
use crate::pipeline::assemble::ResumePoint;
use crate::pipeline::held::Held;
use crate::pipeline::prepared::PreparedSet;
use crate::start::position;

/// The id of the archive's next gap. It names the archive too, so that a consent kept in some manifest is none to
/// a gap of another archive.
pub(super) fn gap_id(state: &State) -> String {
    let archive = state.archive.simple().to_string();
    format!(
        "gap-{}-{}",
        state.facts.gap_count.saturating_add(1),
        archive.get(..8).unwrap_or_default()
    )
}

impl Line<'_, '_> {
    /// Carries the plan out: the entries that must stand before the first dump.
    pub(super) async fn begin(&mut self, ready: Ready) -> Result<Place, SessionEnd> {
        let Ready { settings, mut control, facts, plan, request } = ready;
        let identity = facts.identity;
        let moved = match &request {
            Some(request) => {
                let source =
                    Found { identity: &identity, control: &mut control, settings: &settings };
                self.moved(request, &plan, source).await?
            }
            None => None,
        };
        let resume = match (moved, plan) {
            (Some(resume), _) => resume,
            (None, Plan::Resume(mut resume)) => {
                self.show_start(&resume.at, StartOrigin::Archive);
                resume.tables.described = self.known_tables(&resume.at, true).await?;
                *resume
            }
            (None, Plan::Fresh) => {
                let start =
                    position::resolve(&self.config.start, &identity, &mut control, &settings)
                        .await?;
                let at = start.changes_from.clone();
                let resume = self.open_lineage(&identity, start, LineageCause::Start, None).await?;
                self.show_start(&at, StartOrigin::Spec);
                resume
            }
            (None, Plan::Switch { consent }) => self.switch(&identity, &settings, consent).await?,
            (None, Plan::Gap { from, oldest, missing }) => {
                self.pass_gap(&from, &oldest, missing).await?
            }
        };
        control.close().await;
        Ok(Place { resume, identity, settings })
    }

    /// What the archive knows of tables whose maps name no columns. What lies in a gap may have redefined every table.
    pub(super) async fn known_tables(
        &self,
        at: &FilePosition,
        follows: bool,
    ) -> Result<BTreeMap<TableName, Known>, SessionEnd> {
        let state = self.committer.durable().borrow().state.clone();
        let lineage = state.lineage().unwrap_or_default();
        let known = names::take_over(&**self.store, lineage, state.epoch, at, follows).await;
        Ok(known.map_err(Fault::from)?)
    }

    pub(super) fn show_start(&self, at: &FilePosition, origin: StartOrigin) {
        let facet = StartFacet {
            mode: self.config.start.mode,
            position: at.clone(),
            origin,
            resolved_at: Timestamp::now(),
        };
        self.session.board.update(|facts| facts.report.start = Some(facet));
    }

    pub(super) async fn open_lineage(
        &mut self,
        identity: &Identity,
        start: position::Start,
        cause: LineageCause,
        consent: Option<Consent>,
    ) -> Result<ResumePoint, SessionEnd> {
        let state = self.committer.durable().borrow().state.clone();
        let id = state.next_lineage_id(&server_of(identity));
        let full = |text: String| FullGtid { set: Some(text), list: None };
        let (held, held_by_server) = match &start.held {
            Some(Held::Covered(set)) => (Some(full(set.to_string())), None),
            Some(Held::Seen(set)) => (None, Some(full(set.to_full_text()))),
            None => (None, None),
        };
        let failover = cause == LineageCause::Failover;
        let body = LineageBody {
            id: id.clone(),
            cause,
            server: ServerId {
                uuid: identity.server_uuid.map(|uuid| uuid.to_string()),
                id: identity.server_id,
                version: identity.version.clone(),
            },
            file: start.file.clone(),
            fde_time: None,
            from_at: Point::new(id, &start.changes_from.file, start.changes_from.offset),
            // Only a proven switch goes on with the archive's set; else the file's head begins a new one.
            gtid: (!failover).then(|| full(String::new())),
            held,
            held_by_server,
            proof: failover.then(|| Proof {
                ours: state.gtid.to_string(),
                executed: identity.executed.to_string(),
                purged: identity.purged.as_ref().map(ToString::to_string).unwrap_or_default(),
            }),
            consent,
        };
        tracing::info!(lineage = body.id, file = body.file, ?cause, "lineage opened");
        self.log(self.committer.append(Body::lineage(body)).await)?;
        let at = FilePosition::new(start.file, 0);
        Ok(ResumePoint {
            changes_from: Some(start.changes_from).filter(|from| *from != at),
            at,
            tail: None,
            format_time: None,
            held: start.held,
            executed: None,
            prepared: PreparedSet::of(&state.facts.xa),
            next_file: None,
            tables: Tables::default(),
        })
    }

    /// Records the gap; goes over it when the policy or a person says so.
    async fn pass_gap(
        &mut self,
        from: &FilePosition,
        oldest: &str,
        missing: Option<GtidSet>,
    ) -> Result<ResumePoint, SessionEnd> {
        let state = self.committer.durable().borrow().state.clone();
        let lineage = state.lineage().unwrap_or_default().to_owned();
        let point = |at: &FilePosition| Point::new(&lineage, &at.file, at.offset);
        let to = FilePosition::new(oldest, 0);
        let known = state
            .facts
            .gaps
            .iter()
            .find(|gap| gap.phase == GapPhase::Detected && gap.from.position() == *from);
        let id = known.map_or_else(|| gap_id(&state), |gap| gap.id.clone());
        let body = |phase, by: &str| GapBody {
            id: id.clone(),
            phase,
            reason: Reason::BinlogPurged.as_str().to_owned(),
            from: point(from),
            to: Some(point(&to)),
            missing: missing
                .as_ref()
                .map(|set| Missing { gtid: Some(set.to_string()), ..Missing::default() }),
            by: by.to_owned(),
        };
        if known.is_none() {
            tracing::error!(gap = id, from = %from, to = %to, "events are gone at the source, gap recorded");
            let detected = Body::gap(body(GapPhase::Detected, "worker"), None, Vec::new());
            self.log(self.committer.append(detected).await)?;
        }
        let (by, consents) = self.leave_to_pass(&id, from, oldest).await?;
        self.known_tables(&to, false).await?;
        let passed = Body::gap(body(GapPhase::Passed, &by), missing, consents);
        self.log(self.committer.append(passed).await)?;
        tracing::warn!(gap = id, by, "gap passed");
        if by != "onGap" {
            handled(
                self.session.board,
                "acknowledge-gap",
                &id,
                "the stream went on behind the gap",
            );
        }
        self.session.memory.gap_seen = None;
        behind_a_gap(&state, oldest)
    }

    /// Waits until `onGap` or a person lets the stream go over the gap.
    async fn leave_to_pass(
        &mut self,
        id: &str,
        from: &FilePosition,
        oldest: &str,
    ) -> Result<(String, Vec<Consent>), SessionEnd> {
        loop {
            let config = self.session.config.borrow_and_update().clone();
            let state = self.committer.durable().borrow().state.clone();
            if let Some(consent) = GapConsents::new(&config.consents, &state).to(id) {
                return Ok((consent.by.clone(), vec![consent]));
            }
            if config.on_gap == OnGap::Resume {
                return Ok(("onGap".to_owned(), Vec::new()));
            }
            let message = format!(
                "{from} is purged, the oldest file is {oldest}: what lies between is lost unless a copy of the \
                 source still has it; acknowledge gap {id} to go on behind it"
            );
            self.session.board.enter(Phase::Waiting, Reason::BinlogPurged, &message);
            Fault::source(Reason::BinlogPurged, message)
                .show(self.session.board, self.session.metrics);
            let mut ended = self.committer.ended();
            tokio::select! {
                biased;
                () = self.session.stop.cancelled() => return Err(SessionEnd::Told),
                _ = ended.wait_for(Option::is_some) => return Err(self.archive_ended()),
                changed = self.session.config.changed() => if changed.is_err() {
                    return Err(SessionEnd::Told);
                },
            }
        }
    }
}

/// Where the stint goes on behind a gap: at the head of a file, which says what was executed before it. Row changes go on
/// where they stand, if that is further.
pub(super) fn behind_a_gap(state: &State, file: &str) -> Result<ResumePoint, SessionEnd> {
    let at = FilePosition::new(file, 0);
    let stint = state.facts.lineages.last();
    let held = stint.map(|stint| held_back(state.flavor(), stint)).transpose()?.flatten();
    let told = state.facts.changes.as_ref().map(Point::position);
    let changes_from = told.filter(|told| told.cmp_in_lineage(&at) == Some(Ordering::Greater));
    Ok(ResumePoint {
        at,
        tail: None,
        format_time: None,
        changes_from,
        held,
        executed: None,
        prepared: PreparedSet::of(&state.facts.xa),
        next_file: None,
        tables: Tables::default(),
    })
}

#[cfg(test)]
mod tests {
    use archive::entry::{Entry, Stored};
    use crds::position::Flavor;
    use serde_json::json;

    use super::*;

    #[test]
    fn behind_a_gap_rows_are_told_from_where_they_stand_if_that_is_further() {
        let claim = json!({
            "format": 1, "archive": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff", "n": 0, "epoch": 1,
            "kind": "claim", "prev": null, "time": "2026-01-01T00:00:00Z",
            "writer": {"instance": "one", "version": "0.1.0"},
            "claim": {
                "owner": {"cluster": "c", "namespace": "shop", "name": "orders"},
                "holders": [{"instance": "one", "epoch": 1}],
                "config": {"filter": null, "raw": true, "changes": true, "digest": ""}
            }
        });
        let entry: Entry = serde_json::from_value(claim).unwrap();
        let first = Stored { entry, digest: String::new() };
        let mut state = State::begin(Flavor::MariaDB, &first).unwrap();
        let point = |file: &str, pos| Some(Point::new("0001-7", file, pos));
        state.facts.raw = point("b.000001", 300);
        let told_from = |state: &State| {
            let resume = behind_a_gap(state, "b.000005").unwrap();
            assert_eq!(resume.at, FilePosition::new("b.000005", 0), "raw files are whole");
            resume.changes_from
        };
        state.facts.changes = point("b.000001", 300);
        assert_eq!(told_from(&state), None, "with the file");
        state.facts.changes = point("b.000005", 700);
        assert_eq!(told_from(&state), Some(FilePosition::new("b.000005", 700)), "told before");
    }
}
