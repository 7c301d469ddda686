//! Another server, or another history of the same one: where the new stint begins, and whose rows the change log
//! holds already.
//!
//! A row must neither come twice nor be left out. So a stint holds back the rows of exactly those transactions
//! that the archive has seen by their own id:
//!
//! - MySQL: an id names the server that gave it by its uuid, so the sets say it.
//! - MariaDB: an id is domain, server and number, and a position (the last id of a domain) covers numbers
//!   whatever server gave them. A replica that was promoted before it had everything, or a server rebuilt from a
//!   dump, gives covered numbers to new transactions. A transaction was seen if its own server is known to have
//!   reached its number: a server numbers upwards within a domain, and replicas log a domain in order. The
//!   archive's set remembers every server that it saw; of an archive begun before it did so, only the last of each
//!   domain is known, and rows of earlier servers may come a second time. They are never left out.
//! - A server that was reset gives its old numbers to other transactions: nothing is held.
//! - A server that only lost the end of its last file (a crash of its machine with `sync_binlog` off) still has all
//!   files before it, and they are archived: the new stint begins behind what is left. What was lost may have given
//!   its numbers to later transactions, which are in the files behind: nothing of this stint is held.
//!
//! What earlier stints held back counts as seen too: the set of a stint that began by consent knows only its own
//! server's history, and the way may lead back.
//!
//! What the new server has purged and the archive has not seen is recorded as a gap: a person's word to go on with
//! that server is no proof that nothing is missing.

use std::sync::Arc;

use archive::entry::{Consent, ConsentKind, GapBody, GapPhase, LineageCause, Missing, Stint};
use archive::{Body, State, Store};
use crds::conditions::Reason;
use crds::position::{Flavor, GtidSet};
use source::{Identity, SourceConfig};

use super::SessionEnd;
use super::beginning::{executed_before, same_beginning};
use super::decide::{held_back, server_name, server_of};
use super::housekeeping::{by, handled};
use super::line::Line;
use super::opening::gap_id;
use crate::fault::Fault;
use crate::pipeline::assemble::ResumePoint;
use crate::pipeline::held::Held;
use crate::start::position;

/// How the source's history parted from the archive's.
enum Parted {
    /// Another server.
    Server,
    /// The same server lost the end of the file that was being read: go on with this one.
    Tail(String),
    /// The same server begins a new history, or one whose files say nothing of the archived ones.
    Reset,
}

/// Where the new stint begins.
struct Begin {
    file: String,
    /// What the server had purged and the archive has not seen.
    missing: Option<GtidSet>,
}

impl Line<'_, '_> {
    /// Opens the lineage of another server, or of another history.
    pub(super) async fn switch(
        &mut self,
        identity: &Identity,
        settings: &SourceConfig,
        consent: Option<String>,
    ) -> Result<ResumePoint, SessionEnd> {
        let state = self.committer.durable().borrow().state.clone();
        let (held, begin) = match parted(identity, settings, self.store, &state).await? {
            Parted::Server => {
                let seen = seen(&state)?;
                let begin = begin(identity, settings, &seen).await?;
                (held(seen), begin)
            }
            Parted::Tail(file) => {
                let stint = state.facts.lineages.last();
                let held = stint.map(|stint| held_back(state.flavor(), stint)).transpose()?;
                (held.flatten(), Begin { file, missing: None })
            }
            Parted::Reset => {
                let none = GtidSet::new(identity.flavor);
                let begin = begin(identity, settings, &none).await?;
                (None, Begin { missing: None, ..begin })
            }
        };
        let Begin { file, missing } = begin;
        let given = consent.map(|value| Consent {
            kind: ConsentKind::AcceptSource,
            value,
            by: by(&self.config.consents),
        });
        if let Some(missing) = missing {
            let by = given.as_ref().map_or("worker", |given| given.by.as_str());
            self.record_loss(&state, &missing, by).await?;
        }
        let start = position::Start::with_file(file, held);
        let cause = if given.is_some() { LineageCause::Consent } else { LineageCause::Failover };
        let resume = self.open_lineage(identity, start, cause, given.clone()).await?;
        if let Some(given) = given {
            handled(
                self.session.board,
                "accept-source",
                &given.value,
                "a new lineage was opened on that server",
            );
        }
        Ok(resume)
    }

    /// A gap between the last position and what the new server still has.
    async fn record_loss(
        &mut self,
        state: &State,
        missing: &GtidSet,
        by: &str,
    ) -> Result<(), SessionEnd> {
        let Some(at) = state.resume() else { return Ok(()) };
        // A crash before the lineage may have left it recorded.
        if state.facts.gaps.iter().any(|gap| gap.phase == GapPhase::Passed && gap.from == at) {
            return Ok(());
        }
        let id = gap_id(state);
        tracing::error!(gap = id, from = %at, "events are gone at the new source, gap recorded");
        for phase in [GapPhase::Detected, GapPhase::Passed] {
            let body = GapBody {
                id: id.clone(),
                phase,
                reason: Reason::BinlogPurged.as_str().to_owned(),
                from: at.clone(),
                to: Some(at.clone()),
                missing: Some(Missing { gtid: Some(missing.to_full_text()), ..Missing::default() }),
                by: by.to_owned(),
            };
            self.log(self.committer.append(Body::gap(body, None, Vec::new())).await)?;
        }
        Ok(())
    }
}

/// All that the archive has seen, up to the last reset.
pub(super) fn seen(state: &State) -> Result<GtidSet, Fault> {
    let before = match state.facts.lineages.last() {
        Some(stint) => held_back(state.flavor(), stint)?,
        None => None,
    };
    let Some(before) = before else { return Ok((*state.gtid).clone()) };
    state.gtid.union(before.set()).map_err(|error| {
        Fault::archive(Reason::ArchiveDamaged, format!("join the stints' gtid sets: {error}"))
    })
}

/// Holds back what was seen.
pub(super) fn held(seen: GtidSet) -> Option<Held> {
    (!seen.is_empty()).then(|| match seen.flavor() {
        Flavor::MySQL => Held::Covered(seen),
        Flavor::MariaDB => Held::Seen(seen),
    })
}

/// The same server is told from a reset one by what the file that was being read begins with.
async fn parted(
    identity: &Identity,
    settings: &SourceConfig,
    store: &Arc<dyn Store>,
    state: &State,
) -> Result<Parted, Fault> {
    let same = |stint: &&Stint| {
        server_name(stint.server.uuid.as_deref(), stint.server.id)
            .eq_ignore_ascii_case(&server_of(identity))
    };
    let Some(stint) = state.facts.lineages.last().filter(same) else { return Ok(Parted::Server) };
    let (Some(at), Some(archived)) = (state.resume(), &state.facts.raw_head) else {
        return Ok(Parted::Reset);
    };
    let mut files = identity.binlogs.iter().flatten().skip_while(|file| file.name != at.file);
    let Some(file) = files.next().filter(|file| file.name == archived.file) else {
        return Ok(Parted::Reset);
    };
    if !same_beginning(store, state, &stint.id, settings, identity.flavor, archived).await? {
        return Ok(Parted::Reset);
    }
    // A file that was written on past our position holds what was never read: it is read again as a whole.
    let next = files.next().filter(|_| file.size <= at.pos);
    Ok(Parted::Tail(next.unwrap_or(file).name.clone()))
}

/// The file with the first transaction that was not seen, where that can be proven; else the oldest one.
async fn begin(
    identity: &Identity,
    settings: &SourceConfig,
    seen: &GtidSet,
) -> Result<Begin, SessionEnd> {
    let flavor = identity.flavor;
    let provable = match flavor {
        Flavor::MySQL => {
            seen.is_subset_of(&identity.executed)
                && identity.purged.as_ref().is_some_and(|purged| purged.is_subset_of(seen))
        }
        Flavor::MariaDB => true,
    };
    if provable && !seen.is_empty() {
        let connection = source::connect(settings).await.map_err(Fault::from)?;
        if let Ok(file) = connection.locate(flavor, seen).await {
            // MariaDB located a position: transactions that other servers gave covered numbers lie before it.
            let whole = match flavor {
                Flavor::MySQL => true,
                Flavor::MariaDB => {
                    let before = executed_before(settings, flavor, &file).await?;
                    before.is_some_and(|before| unseen(&before, seen).is_none())
                }
            };
            if whole {
                return Ok(Begin { file, missing: None });
            }
        }
    }
    let oldest = identity.binlogs.iter().flatten().next().map(|file| file.name.clone());
    let file = oldest.ok_or_else(|| {
        Fault::source(Reason::BinlogDisabled, "the new server lists no binlog files")
    })?;
    let before = match flavor {
        Flavor::MySQL => identity.purged.clone(),
        Flavor::MariaDB => executed_before(settings, flavor, &file).await?,
    };
    Ok(Begin { file, missing: before.and_then(|before| unseen(&before, seen)) })
}

/// What was executed before a file and never seen.
pub(super) fn unseen(before: &GtidSet, seen: &GtidSet) -> Option<GtidSet> {
    before.unseen_by(seen).ok().filter(|missing| !missing.is_empty())
}
