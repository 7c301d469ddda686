//! The checkpoint is moved because somebody asked for it, by one entry before the first dump.
//!
//! - Forward, and only forward, in the stint that is under way: what lies between is a gap, passed and accepted by
//!   the one entry that names who asked (`e2e/tests/actions.rs`).
//! - Nothing rewinds a cursor. A set that leads back is refused by name, and the stream goes on as without it. A
//!   reset that does not lead forward begins a new stint: raw from the head of the file that the start lies in, the
//!   change log where it stands, so no row is told twice.
//! - All that comes after the entry is a resume like any other: a crash behind it needs nothing special.

use std::cmp::Ordering;

use archive::entry::{GapBody, GapPhase, LineageCause, Missing};
use archive::{Body, Point, State};
use crds::annotations::CheckpointRequest;
use crds::conditions::Reason;
use crds::position::FilePosition;
use crds::worker_status::{Outcome, StartOrigin};
use jiff::Timestamp;
use source::{Connection, Identity, SourceConfig};

use super::SessionEnd;
use super::aim::{self, Missed};
use super::beginning::executed_before;
use super::decide::Plan;
use super::line::Line;
use super::opening::{behind_a_gap, gap_id};
use super::request::{answer, consent, refuse};
use super::switch::{held, seen, unseen};
use crate::fault::Fault;
use crate::pipeline::assemble::ResumePoint;
use crate::start::position;

/// The source, as it was found.
pub(super) struct Found<'a> {
    pub(super) identity: &'a Identity,
    pub(super) control: &'a mut Connection,
    pub(super) settings: &'a SourceConfig,
}

impl Line<'_, '_> {
    /// Carries the request out; `None`: it was refused, and `otherwise` holds.
    pub(super) async fn moved(
        &mut self,
        request: &CheckpointRequest,
        otherwise: &Plan,
        source: Found<'_>,
    ) -> Result<Option<ResumePoint>, SessionEnd> {
        let Found { identity, control, settings } = source;
        let elsewhere = match otherwise {
            Plan::Resume(_) | Plan::Gap { .. } => None,
            Plan::Switch { .. } => Some("the stream goes on with another server first; ask again"),
            Plan::Fresh => Some("nothing was archived yet, the stream begins where start leads"),
        };
        if let Some(why) = elsewhere {
            return Ok(self.turn_down(request, why.to_owned()));
        }
        let state = self.committer.durable().borrow().state.clone();
        if state.facts.raw.is_none() {
            // Without raw bytes behind a new position no resume could tell that it is the right one.
            let why = "the raw archive is switched off (archive.raw.enabled): without it no position can be \
                       proven after a crash; switch it on, or begin a new stream";
            return Ok(self.turn_down(request, why.to_owned()));
        }
        let start = match &request.target {
            Some(target) => target.as_start(),
            None => self.config.start.clone(),
        };
        let aim = match (aim::find(&start, identity, control, settings).await, &request.target) {
            (Ok(aim), _) => aim,
            (Err(Missed::Nowhere(why)), Some(_)) => {
                return Ok(self.turn_down(request, why));
            }
            (Err(missed), _) => {
                let fault = missed.waits("start");
                if fault.reason == Reason::PositionNotFound {
                    self.session.memory.nowhere = Some((start, fault.message.clone()));
                }
                return Err(fault.into());
            }
        };
        // Raw alone begins with the file.
        let aim = match state.facts.changes {
            Some(_) => aim,
            None => FilePosition { offset: 0, ..aim },
        };
        let Some(stands) = furthest(&state) else { return Ok(None) };
        match way(request, &aim, &stands) {
            Ok(Way::Forward) => {
                self.forward(request, otherwise, aim, settings, &state).await.map(Some)
            }
            Ok(Way::Again) => {
                self.begin_again(request, &aim, stands, identity, &state).await.map(Some)
            }
            Err(why) => Ok(self.turn_down(request, why)),
        }
    }

    /// Refused, and not tried again by a later session of this process.
    fn turn_down(&mut self, request: &CheckpointRequest, why: String) -> Option<ResumePoint> {
        refuse(self.session.board, request, why);
        self.session.memory.asked = None;
        None
    }

    /// Passes what lies between.
    async fn forward(
        &mut self,
        request: &CheckpointRequest,
        otherwise: &Plan,
        aim: FilePosition,
        settings: &SourceConfig,
        state: &State,
    ) -> Result<ResumePoint, SessionEnd> {
        let within = match otherwise {
            Plan::Resume(resume) if resume.next_file.is_none() && resume.at.file == aim.file => {
                Some(resume)
            }
            _ => None,
        };
        let missing = if within.is_some() {
            None
        } else {
            self.known_tables(&FilePosition::new(&aim.file, 0), false).await?;
            let before = executed_before(settings, state.flavor(), &aim.file).await?;
            before.and_then(|before| unseen(&before, &state.gtid))
        };
        let (Some(from), Some(lineage)) = (state.resume(), state.lineage()) else {
            return Err(Fault::archive(Reason::InternalError, "the archive has no position").into());
        };
        let reason = match request.target {
            Some(_) => Reason::CheckpointSet,
            None => Reason::CheckpointReset,
        };
        let given = consent(request, &self.config.consents);
        // A gap that the stream waited at is the beginning of this one.
        let waited =
            state.facts.gaps.iter().find(|gap| {
                gap.phase == GapPhase::Detected && gap.from.position() == from.position()
            });
        let body = GapBody {
            id: waited.map_or_else(|| gap_id(state), |gap| gap.id.clone()),
            phase: GapPhase::Passed,
            reason: reason.as_str().to_owned(),
            from: from.clone(),
            to: Some(Point::new(lineage, &aim.file, aim.offset)),
            missing: missing
                .as_ref()
                .map(|set| Missing { gtid: Some(set.to_full_text()), ..Missing::default() }),
            by: given.by.clone(),
        };
        let message = format!(
            "the stream stood at {} and goes on at {aim}; gap {} names what lies between",
            from.position(),
            body.id
        );
        tracing::warn!(gap = body.id, from = %from, to = %aim, by = body.by, "checkpoint moved forward");
        // Raw goes on behind the same event.
        let last = state.facts.at.as_ref().filter(|_| within.is_some());
        let tail = last.and_then(|at| at.tail.clone());
        let entry = Body { tail, ..Body::gap(body, missing, vec![given]) };
        self.log(self.committer.append(entry).await)?;
        let mut resume = match within {
            Some(resume) => (**resume).clone(),
            None => behind_a_gap(state, &aim.file)?,
        };
        if within.is_some() {
            resume.tables.described = self.known_tables(&resume.at, true).await?;
        }
        self.done(request, &aim, message);
        resume.changes_from = Some(aim);
        Ok(resume)
    }

    /// Begins a new stint on the same server.
    async fn begin_again(
        &mut self,
        request: &CheckpointRequest,
        aim: &FilePosition,
        stands: FilePosition,
        identity: &Identity,
        state: &State,
    ) -> Result<ResumePoint, SessionEnd> {
        // Until the new stint has come this far only this tells another server's stint what is told already.
        let held = held(seen(state)?);
        let message = format!(
            "the stream stood at {stands} and begins again at the head of {}; rows are told from {stands} on, \
             those before it are told already or were never wanted",
            aim.file
        );
        tracing::warn!(stood = %stands, file = aim.file, "checkpoint reset, a new lineage begins");
        let start = position::Start { file: aim.file.clone(), changes_from: stands, held };
        let given = consent(request, &self.config.consents);
        let resume = self.open_lineage(identity, start, LineageCause::Seek, Some(given)).await?;
        self.done(request, aim, message);
        Ok(resume)
    }

    fn done(&self, request: &CheckpointRequest, aim: &FilePosition, message: String) {
        let origin = match request.target {
            None => StartOrigin::Spec,
            Some(_) => StartOrigin::Archive,
        };
        self.show_start(aim, origin);
        answer(self.session.board, request, Outcome::Done, message, Timestamp::now());
    }
}

/// How a request is carried out.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// In the stint that is under way.
    Forward,
    /// In a new stint.
    Again,
}

/// How one is carried out that leads to `aim` an archive that stands at `stands`; else why it is refused.
fn way(
    request: &CheckpointRequest,
    aim: &FilePosition,
    stands: &FilePosition,
) -> Result<Way, String> {
    match aim.cmp_in_lineage(stands) {
        None => Err(format!(
            "{aim} and {stands}, where the archive stands, are files of different names"
        )),
        Some(Ordering::Greater) => Ok(Way::Forward),
        Some(_) if request.target.is_none() => Ok(Way::Again),
        Some(_) => Err(format!(
            "{aim} is not ahead of {stands}, where the archive stands: nothing rewinds a cursor; to have \
             older binlog files again set spec.start to them and use reset-checkpoint"
        )),
    }
}

/// The cursor that is ahead of the other.
fn furthest(state: &State) -> Option<FilePosition> {
    let cursors = [&state.facts.raw, &state.facts.changes].into_iter().flatten();
    cursors.map(Point::position).reduce(|one, other| match other.cmp_in_lineage(&one) {
        Some(Ordering::Greater) => other,
        _ => one,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_leads_forward_or_begins_again_and_never_back_or_to_other_files() {
        const OF: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff@7";
        let set = CheckpointRequest::set(&format!("{OF}/binlog.000001:4")).unwrap();
        let reset = CheckpointRequest::reset(OF).unwrap();
        let stands = FilePosition::new("binlog.000003", 500);
        let way =
            |request, file: &str, offset| way(request, &FilePosition::new(file, offset), &stands);
        for request in [&set, &reset] {
            assert_eq!(way(request, "binlog.000003", 501), Ok(Way::Forward));
            assert_eq!(way(request, "binlog.000004", 4), Ok(Way::Forward));
            let other = way(request, "mysql-bin.000004", 4).unwrap_err();
            assert!(other.contains("mysql-bin.000004:4") && other.contains("binlog.000003:500"));
        }
        for (file, offset) in [("binlog.000003", 500), ("binlog.000002", 900)] {
            assert_eq!(way(&reset, file, offset), Ok(Way::Again));
            assert!(way(&set, file, offset).unwrap_err().contains("nothing rewinds a cursor"));
        }
    }
}
