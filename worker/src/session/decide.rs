//! What to do with this source and this archive: facts in, a plan or a fault out. Writes nothing.

use std::time::{Duration, Instant};

use archive::State;
use archive::entry::{FullGtid, Stint};
use crds::conditions::Reason;
use crds::position::{FilePosition, Flavor, GtidSet};
use crds::worker_config::WorkerConfig;
use source::Identity;
use source::preflight::Facts;

use super::Memory;
use crate::fault::Fault;
use crate::names::Tables;
use crate::pipeline::assemble::ResumePoint;
use crate::pipeline::held::Held;
use crate::pipeline::prepared::PreparedSet;
use crate::start::history::{self, SourceFacts, Verdict, judge};

/// A gap must be seen again after this long before it is believed: a proxy or a restart can show one in passing.
const GAP_CONFIRMED_AFTER: Duration = Duration::from_secs(30);
/// How long a source that served other bytes is not dumped from again.
const HISTORY_DISTRUST: Duration = Duration::from_secs(300);

/// What to do after the claim.
#[derive(Debug, Clone)]
pub enum Plan {
    /// There is no position yet: resolve `start`.
    Fresh,
    /// Go on at this point.
    Resume(Box<ResumePoint>),
    /// Another server goes on with the history; `consent` names it where the sets do not prove it.
    Switch {
        /// `accept-source`, used up by the new lineage.
        consent: Option<String>,
    },
    /// Events are gone.
    Gap {
        /// Where we stand.
        from: FilePosition,
        /// Oldest file left.
        oldest: String,
        /// What is missing, where GTIDs tell.
        missing: Option<GtidSet>,
    },
}

/// Plans. A fault here leaves the archive as it is.
pub fn plan(
    config: &WorkerConfig,
    state: Option<&State>,
    facts: &Facts,
    memory: &mut Memory,
) -> Result<Plan, Fault> {
    let Some(state) = state else { return Ok(Plan::Fresh) };
    let (Some(at), Some(stint)) = (state.resume(), state.facts.lineages.last()) else {
        return Ok(Plan::Fresh);
    };
    let consent = config.consents.accept_source.as_deref();
    let held = held(state, stint, &at.position());
    let source = source_facts(&facts.identity);
    let mut verdict = judge(&held, &source, unused(consent, state));
    if let (Verdict::Resume, Some(what)) = (&verdict, memory.distrusted()) {
        verdict = match unused(consent, state) {
            Some(server) if server.eq_ignore_ascii_case(&source.server) => Verdict::Consented,
            _ => Verdict::Refuse {
                reason: Reason::DivergentHistory,
                message: format!(
                    "{what}; restore the source, or set accept-source to \"{}\" to go on with it as it is",
                    source.server
                ),
            },
        };
    }
    if let (Verdict::Resume, Some(file)) = (&verdict, memory.behind_the_tear(&held, &source)) {
        verdict = Verdict::NextFile { file };
    }
    if !matches!(verdict, Verdict::Gap { .. }) {
        memory.gap_seen = None;
    }
    match verdict {
        Verdict::Resume => {
            Ok(Plan::Resume(Box::new(resume_point(state, stint, &at.position(), None)?)))
        }
        Verdict::NextFile { file } => {
            Ok(Plan::Resume(Box::new(resume_point(state, stint, &at.position(), Some(file))?)))
        }
        Verdict::Switch => Ok(Plan::Switch { consent: None }),
        Verdict::Consented => Ok(Plan::Switch { consent: consent.map(str::to_owned) }),
        Verdict::Gap { oldest, missing } => {
            memory.confirm_gap(&at.position(), &oldest)?;
            Ok(Plan::Gap { from: at.position(), oldest, missing })
        }
        Verdict::Refuse { reason, message } => Err(Fault::source(reason, message)),
    }
}

/// A consent that the log already used up is no consent to another switch.
fn unused<'a>(consent: Option<&'a str>, state: &State) -> Option<&'a str> {
    let used = |server: &&str| {
        state.facts.consents.iter().any(|given| {
            given.kind == archive::entry::ConsentKind::AcceptSource && given.value == *server
        })
    };
    // A server may be accepted once; to accept it again, say so with another spelling of the same id.
    consent.filter(|server| !used(server))
}

impl Memory {
    /// The source served other bytes than the archive holds.
    pub fn distrust(&mut self, what: String) {
        self.history_changed = Some((what, Instant::now()));
    }

    fn distrusted(&self) -> Option<&str> {
        let (what, since) = self.history_changed.as_ref()?;
        (since.elapsed() < HISTORY_DISTRUST).then_some(what.as_str())
    }

    /// The file after the one that ends in a torn event right behind us. What was torn never committed; that
    /// nothing else is missing is proven by the next file's head, so only with transaction ids.
    fn behind_the_tear(&self, held: &history::Held, source: &SourceFacts) -> Option<String> {
        let torn = self.torn.as_ref().is_some_and(|torn| *torn == held.at);
        let mut files = source.binlogs.iter().skip_while(|(file, _)| *file != held.at.file);
        let (next, _) = files.nth(1)?;
        (torn && source.gtids && !held.executed.is_empty()).then(|| next.clone())
    }

    fn confirm_gap(&mut self, at: &FilePosition, oldest: &str) -> Result<(), Fault> {
        let what = format!("{at} is purged, the oldest file is {oldest}");
        match &self.gap_seen {
            Some((seen, since)) if *seen == what && since.elapsed() >= GAP_CONFIRMED_AFTER => {
                return Ok(());
            }
            Some((seen, _)) if *seen == what => {}
            _ => self.gap_seen = Some((what.clone(), Instant::now())),
        }
        Err(Fault::source(
            Reason::BinlogPurged,
            format!(
                "{what}; looking again in {} s before it is recorded as a gap",
                GAP_CONFIRMED_AFTER.as_secs()
            ),
        ))
    }
}

fn held(state: &State, stint: &Stint, at: &FilePosition) -> history::Held {
    let last = state.facts.at.as_ref().and_then(|at| at.tail.as_ref());
    // A committed ROTATE as the last event: the next file's number is one higher.
    let rotated = last.is_some_and(|tail| tail.type_code == binlog::EventType::ROTATE.0);
    history::Held {
        flavor: state.flavor(),
        server: server_name(stint.server.uuid.as_deref(), stint.server.id),
        at: at.clone(),
        next_file: rotated.then(|| following(&at.file)).flatten(),
        executed: (*state.gtid).clone(),
    }
}

/// The name of the file after `file`: `binlog.000009` gives `binlog.000010`.
fn following(file: &str) -> Option<String> {
    let (base, number) = file.rsplit_once('.')?;
    let next = number.parse::<u64>().ok()?.checked_add(1)?;
    Some(format!("{base}.{next:0width$}", width = number.len()))
}

/// MySQL's uuid, or MariaDB's server id as text.
pub fn server_name(uuid: Option<&str>, id: u32) -> String {
    uuid.map_or_else(|| id.to_string(), str::to_owned)
}

/// The same of a server that was asked.
pub fn server_of(identity: &Identity) -> String {
    server_name(identity.server_uuid.map(|uuid| uuid.to_string()).as_deref(), identity.server_id)
}

fn source_facts(identity: &Identity) -> SourceFacts {
    let files = identity.binlogs.iter().flatten();
    SourceFacts {
        flavor: identity.flavor,
        server: server_of(identity),
        gtids: identity.flavor == Flavor::MariaDB || identity.gtid_mode == "ON",
        executed: identity.executed.clone(),
        purged: identity.purged.clone().unwrap_or_else(|| GtidSet::new(identity.flavor)),
        binlogs: files.map(|file| (file.name.clone(), file.size)).collect(),
        before_oldest: identity.purged.clone(),
    }
}

fn resume_point(
    state: &State,
    stint: &Stint,
    at: &FilePosition,
    next_file: Option<String>,
) -> Result<ResumePoint, Fault> {
    let facts = &state.facts;
    let head = facts.raw_head.as_ref().filter(|head| head.file == at.file);
    let last = facts.at.as_ref().filter(|_| at.offset > FilePosition::FIRST_EVENT);
    let changes = facts.changes.as_ref().map(archive::Point::position);
    Ok(ResumePoint {
        at: at.clone(),
        tail: last.and_then(|at| at.tail.clone()),
        format_time: head.map(|head| head.fde_time),
        changes_from: changes,
        held: held_back(state.flavor(), stint)?,
        executed: (at.offset > 0).then(|| (*state.gtid).clone()),
        prepared: PreparedSet::of(&facts.xa),
        next_file,
        tables: Tables::default(),
    })
}

/// Whose rows the stint does not want.
pub fn held_back(flavor: Flavor, stint: &Stint) -> Result<Option<Held>, Fault> {
    let read = |full: Option<&FullGtid>| {
        let text = full.and_then(|full| full.set.as_deref());
        text.map(|text| GtidSet::parse(flavor, text)).transpose().map_err(|error| {
            Fault::archive(Reason::ArchiveDamaged, format!("read the lineage's gtid set: {error}"))
        })
    };
    let by_server = read(stint.held_by_server.as_ref())?.map(Held::Seen);
    Ok(by_server.or(read(stint.held.as_ref())?.map(Held::Covered)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_file_keeps_its_width_and_grows_past_it() {
        assert_eq!(following("binlog.000009").as_deref(), Some("binlog.000010"));
        assert_eq!(following("binlog.999999").as_deref(), Some("binlog.1000000"));
        assert_eq!(following("binlog"), None);
    }

    #[test]
    fn a_torn_file_is_left_only_for_a_next_one_whose_head_can_prove_it() {
        let at = FilePosition::new("binlog.000003", 900);
        let held = history::Held {
            flavor: Flavor::MariaDB,
            server: "1".to_owned(),
            at: at.clone(),
            next_file: None,
            executed: GtidSet::parse(Flavor::MariaDB, "0-1-9").unwrap(),
        };
        let files = ["binlog.000003", "binlog.000004", "binlog.000005"];
        let source = SourceFacts {
            flavor: Flavor::MariaDB,
            server: "1".to_owned(),
            gtids: true,
            executed: held.executed.clone(),
            purged: GtidSet::new(Flavor::MariaDB),
            binlogs: files.map(|file| (file.to_owned(), 1_000)).into(),
            before_oldest: None,
        };
        let mut memory = Memory::default();
        assert_eq!(memory.behind_the_tear(&held, &source), None);
        memory.torn = Some(at);
        assert_eq!(memory.behind_the_tear(&held, &source).as_deref(), Some("binlog.000004"));
        let newest = SourceFacts { binlogs: source.binlogs[..1].into(), ..source.clone() };
        assert_eq!(memory.behind_the_tear(&held, &newest), None);
        let unnamed = SourceFacts { gtids: false, ..source };
        assert_eq!(memory.behind_the_tear(&held, &unnamed), None);
    }

    #[test]
    fn a_gap_is_believed_only_when_it_is_seen_again_later() {
        let mut memory = Memory::default();
        let at = FilePosition::new("binlog.000003", 900);
        assert!(memory.confirm_gap(&at, "binlog.000005").is_err());
        assert!(memory.confirm_gap(&at, "binlog.000005").is_err());
        let (_, since) = memory.gap_seen.as_mut().unwrap();
        *since = since.checked_sub(GAP_CONFIRMED_AFTER).unwrap();
        assert!(memory.confirm_gap(&at, "binlog.000006").is_err(), "another gap starts over");
        let (_, since) = memory.gap_seen.as_mut().unwrap();
        *since = since.checked_sub(GAP_CONFIRMED_AFTER).unwrap();
        assert!(memory.confirm_gap(&at, "binlog.000006").is_ok());
    }
}
