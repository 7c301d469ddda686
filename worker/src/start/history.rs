//! Is the server in front of us the history that the archive holds? A pure decision from facts.
//!
//! Invariants
//! - A position is only used on the server it came from (`a_file_position_is_noise_on_another_server`).
//! - MySQL with GTIDs may switch servers when the sets prove it; nothing else switches without a person's
//!   word (`mariadb_and_file_positions_wait_for_consent`).
//! - "Purged" is only a gap when neither a committed ROTATE nor equal GTID sets close it
//!   (`a_file_that_was_read_to_its_end_and_purged_is_no_gap`).

use std::cmp::Ordering;

use crds::conditions::Reason;
use crds::position::{FilePosition, Flavor, GtidSet};

/// What the archive holds, as far as the decision needs it.
#[derive(Debug, Clone)]
pub struct Held {
    /// Flavor of the archived source.
    pub flavor: Flavor,
    /// MySQL's server uuid, or MariaDB's server id as text.
    pub server: String,
    /// The resume position.
    pub at: FilePosition,
    /// The file that a committed ROTATE named, when `at` is the end of its file.
    pub next_file: Option<String>,
    /// What the source had executed at `at`.
    pub executed: GtidSet,
}

/// What the source says, by SQL alone: a dump would kill a live worker's.
#[derive(Debug, Clone)]
pub struct SourceFacts {
    /// Flavor of the server.
    pub flavor: Flavor,
    /// MySQL's server uuid, or MariaDB's server id as text.
    pub server: String,
    /// Whether transactions have ids.
    pub gtids: bool,
    /// All that the server executed.
    pub executed: GtidSet,
    /// MySQL: what stands in no file any more.
    pub purged: GtidSet,
    /// Files with their sizes, oldest first.
    pub binlogs: Vec<(String, u64)>,
    /// What the oldest file's head says was executed before it, where known.
    pub before_oldest: Option<GtidSet>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Same history: go on at `at`, after the tail was compared.
    Resume,
    /// Same history; our file was read to its end and purged: go on at the start of this one.
    NextFile {
        /// The oldest file.
        file: String,
    },
    /// Another server, or a rebuilt one, that provably holds what we hold: a new lineage.
    Switch,
    /// Another history; a person said to go on with it.
    Consented,
    /// What comes next is gone from the source.
    Gap {
        /// The oldest file that is left.
        oldest: String,
        /// Exactly what is missing, where GTIDs tell.
        missing: Option<GtidSet>,
    },
    /// Stop without writing anything.
    Refuse {
        /// The condition's reason.
        reason: Reason,
        /// What is seen, and the mend.
        message: String,
    },
}

/// Decides. `consent` is the server that `accept-source` names.
pub fn judge(held: &Held, source: &SourceFacts, consent: Option<&str>) -> Verdict {
    let consented = consent.is_some_and(|server| server.eq_ignore_ascii_case(&source.server));
    let verdict = if held.flavor != source.flavor {
        refuse(
            Reason::FlavorMismatch,
            &format!("the archive holds {}, the source is {}", held.flavor, source.flavor),
            source,
        )
    } else if held.server.eq_ignore_ascii_case(&source.server) {
        same_server(held, source)
    } else {
        other_server(held, source)
    };
    match verdict {
        Verdict::Refuse { .. } if consented => Verdict::Consented,
        verdict => verdict,
    }
}

fn same_server(held: &Held, source: &SourceFacts) -> Verdict {
    if let Some((_, size)) = source.binlogs.iter().find(|(file, _)| *file == held.at.file) {
        if held.at.offset <= *size {
            return Verdict::Resume;
        }
        return divergent(held, source, &format!("{} is only {size} bytes long now", held.at.file));
    }
    let Some((oldest, _)) = source.binlogs.first() else {
        return refuse(Reason::BinlogDisabled, "the source lists no binlog files", source);
    };
    let start = FilePosition::new(oldest.clone(), 0);
    if held.at.cmp_in_lineage(&start) != Some(Ordering::Less) {
        let what =
            format!("the oldest file is {oldest}, we stand at {}: the binlogs were reset", held.at);
        return divergent(held, source, &what);
    }
    if held.next_file.as_ref() == Some(oldest) {
        return Verdict::NextFile { file: oldest.clone() };
    }
    match &source.before_oldest {
        Some(before) if source.gtids && !held.executed.is_empty() => {
            let missing = before.subtract(&held.executed).ok();
            if missing.as_ref().is_some_and(GtidSet::is_empty) {
                if held.executed.is_subset_of(before) {
                    return Verdict::NextFile { file: oldest.clone() };
                }
                let what = format!("{oldest} begins before transactions that we hold");
                return divergent(held, source, &what);
            }
            Verdict::Gap { oldest: oldest.clone(), missing }
        }
        _ => Verdict::Gap { oldest: oldest.clone(), missing: None },
    }
}

fn other_server(held: &Held, source: &SourceFacts) -> Verdict {
    let provable = held.flavor == Flavor::MySQL && source.gtids && !held.executed.is_empty();
    if !provable {
        return refuse(
            Reason::LineageMismatch,
            &format!(
                "the host leads to server {}, the archive holds server {}, and nothing proves the same history",
                source.server, held.server
            ),
            source,
        );
    }
    if !held.executed.is_subset_of(&source.executed) {
        return divergent(
            held,
            source,
            &format!("server {} lacks transactions that we hold", source.server),
        );
    }
    if !source.purged.is_subset_of(&held.executed) {
        return refuse(
            Reason::GtidNotAvailable,
            &format!("server {} has purged transactions that we lack", source.server),
            source,
        );
    }
    Verdict::Switch
}

fn divergent(held: &Held, source: &SourceFacts, what: &str) -> Verdict {
    refuse(Reason::DivergentHistory, &format!("{what}; archived up to {}", held.at), source)
}

fn refuse(reason: Reason, what: &str, source: &SourceFacts) -> Verdict {
    Verdict::Refuse {
        reason,
        message: format!(
            "{what}; point the stream at the right server, or set accept-source to \"{}\" to go on with this one",
            source.server
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "aaaaaaaa-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        GtidSet::parse(Flavor::MySQL, text).unwrap()
    }

    fn held() -> Held {
        Held {
            flavor: Flavor::MySQL,
            server: A.into(),
            at: FilePosition::new("binlog.000004", 900),
            next_file: None,
            executed: set(&format!("{A}:1-100")),
        }
    }

    fn source() -> SourceFacts {
        SourceFacts {
            flavor: Flavor::MySQL,
            server: A.into(),
            gtids: true,
            executed: set(&format!("{A}:1-120")),
            purged: set(""),
            binlogs: vec![("binlog.000003".into(), 500), ("binlog.000004".into(), 1_000)],
            before_oldest: None,
        }
    }

    fn reason(verdict: &Verdict) -> Option<Reason> {
        match verdict {
            Verdict::Refuse { reason, .. } => Some(*reason),
            _ => None,
        }
    }

    #[test]
    fn the_same_server_with_our_file_resumes() {
        assert_eq!(judge(&held(), &source(), None), Verdict::Resume);
    }

    #[test]
    fn a_shorter_file_of_the_same_name_is_another_history() {
        let mut source = source();
        source.binlogs[1].1 = 899;
        assert_eq!(reason(&judge(&held(), &source, None)), Some(Reason::DivergentHistory));
        assert_eq!(judge(&held(), &source, Some(A)), Verdict::Consented);
    }

    #[test]
    fn names_that_fell_back_are_a_reset() {
        let mut source = source();
        source.binlogs = vec![("binlog.000001".into(), 5_000)];
        assert_eq!(reason(&judge(&held(), &source, None)), Some(Reason::DivergentHistory));
    }

    #[test]
    fn a_file_that_was_read_to_its_end_and_purged_is_no_gap() {
        let mut source = source();
        source.binlogs = vec![("binlog.000005".into(), 200)];
        let rotated = Held { next_file: Some("binlog.000005".into()), ..held() };
        let next = Verdict::NextFile { file: "binlog.000005".into() };
        assert_eq!(judge(&rotated, &source, None), next);
        source.before_oldest = Some(set(&format!("{A}:1-100")));
        assert_eq!(judge(&held(), &source, None), next);
    }

    #[test]
    fn a_purged_position_is_a_gap_with_exactly_what_is_missing() {
        let mut source = source();
        source.binlogs = vec![("binlog.000009".into(), 200)];
        source.before_oldest = Some(set(&format!("{A}:1-110")));
        assert_eq!(
            judge(&held(), &source, None),
            Verdict::Gap {
                oldest: "binlog.000009".into(),
                missing: Some(set(&format!("{A}:101-110")))
            }
        );
        source.gtids = false;
        let unnamed = Verdict::Gap { oldest: "binlog.000009".into(), missing: None };
        assert_eq!(judge(&held(), &source, None), unnamed);
    }

    #[test]
    fn another_mysql_server_is_switched_to_only_when_the_sets_prove_it() {
        let mut source = source();
        source.server = B.into();
        assert_eq!(judge(&held(), &source, None), Verdict::Switch);
        source.purged = set(&format!("{A}:1-101"));
        assert_eq!(reason(&judge(&held(), &source, None)), Some(Reason::GtidNotAvailable));
        source.executed = set(&format!("{A}:1-99"));
        assert_eq!(reason(&judge(&held(), &source, None)), Some(Reason::DivergentHistory));
    }

    #[test]
    fn mariadb_and_file_positions_wait_for_consent() {
        let mut source = source();
        source.server = B.into();
        let without_ids = Held { executed: set(""), ..held() };
        assert_eq!(reason(&judge(&without_ids, &source, None)), Some(Reason::LineageMismatch));
        let list = GtidSet::parse(Flavor::MariaDB, "0-1-100").unwrap();
        let mariadb =
            Held { flavor: Flavor::MariaDB, server: "1".into(), executed: list.clone(), ..held() };
        let source = SourceFacts {
            flavor: Flavor::MariaDB,
            server: "2".into(),
            executed: list.clone(),
            purged: GtidSet::new(Flavor::MariaDB),
            ..source
        };
        assert_eq!(reason(&judge(&mariadb, &source, None)), Some(Reason::LineageMismatch));
        assert_eq!(judge(&mariadb, &source, Some("2")), Verdict::Consented);
        assert_eq!(reason(&judge(&mariadb, &source, Some("3"))), Some(Reason::LineageMismatch));
    }

    #[test]
    fn a_file_position_is_noise_on_another_server() {
        let mut source = source();
        source.server = B.into();
        assert_ne!(judge(&held(), &source, None), Verdict::Resume);
        source.flavor = Flavor::MariaDB;
        assert_eq!(reason(&judge(&held(), &source, None)), Some(Reason::FlavorMismatch));
    }
}
