//! Where a checkpoint is moved to: a position of the source's binlog, whatever words named it.
//!
//! A GTID set is the position at which exactly its transactions were executed; a set that no position has is
//! refused by name, for what lies between would be neither before it nor behind it.

use binlog::{GroupTracker, Meaning, Verdict};
use crds::conditions::Reason;
use crds::position::{FilePosition, Flavor, GtidSet};
use crds::v1alpha1::{StartMode, StartSpec};
use source::{Connection, Identity, SourceConfig};

use super::beginning::{each_event, unreadable};
use crate::fault::Fault;
use crate::start::position;

/// Why there is no such position.
#[derive(Debug)]
pub enum Missed {
    /// The source has none that these words name.
    Nowhere(String),
    /// The source could not be asked.
    Fault(Fault),
}

impl From<Fault> for Missed {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Finds it. Opens dumps: only the holder of the stream may ask.
pub async fn find(
    start: &StartSpec,
    identity: &Identity,
    control: &mut Connection,
    settings: &SourceConfig,
) -> Result<FilePosition, Missed> {
    foreseen(start, identity)?;
    match &start.gtid_set {
        Some(text) if start.mode == StartMode::GtidSet => of_set(text, identity, settings).await,
        _ => Ok(position::resolve(start, identity, control, settings).await?.changes_from),
    }
}

/// Whether the source may have it, as far as is known without a dump: anybody may ask.
pub fn foreseen(start: &StartSpec, identity: &Identity) -> Result<(), Missed> {
    if let (StartMode::GtidSet, Some(text)) = (start.mode, &start.gtid_set) {
        return wanted(text, identity).map(drop);
    }
    if let Some(wanted) = &start.file_position {
        let files = identity.binlogs.iter().flatten();
        let held = files.clone().find(|file| file.name == wanted.file);
        if held.is_none_or(|file| file.size < wanted.position) {
            let has: Vec<_> = files.map(|file| format!("{}:{}", file.name, file.size)).collect();
            let has = match has.as_slice() {
                [first, .., last] => format!("from {first} to {last}"),
                few => few.join(", "),
            };
            return Err(Missed::Nowhere(format!(
                "the source has no position {}:{}; its files and their sizes: {has}",
                wanted.file, wanted.position
            )));
        }
    }
    Ok(())
}

/// The set that a text names, all of which the source has executed.
fn wanted(text: &str, identity: &Identity) -> Result<GtidSet, Missed> {
    let wanted =
        GtidSet::parse(identity.flavor, text).map_err(|error| nowhere(text, &error.to_string()))?;
    if !wanted.is_subset_of(&identity.executed) {
        return Err(nowhere(text, "the source has not executed all of it"));
    }
    Ok(wanted)
}

fn nowhere(text: &str, why: &str) -> Missed {
    let shown: String = text.chars().take(200).collect();
    Missed::Nowhere(format!("gtid set {shown}: {why}; name a file and an offset instead"))
}

/// The position at which exactly these transactions were executed.
async fn of_set(
    text: &str,
    identity: &Identity,
    settings: &SourceConfig,
) -> Result<FilePosition, Missed> {
    let (flavor, wanted) = (identity.flavor, wanted(text, identity)?);
    let connection = source::connect(settings).await.map_err(Fault::from)?;
    let file = match connection.locate(flavor, &wanted).await {
        Ok(file) => file,
        Err(error) if error.refusal().is_some() => {
            return Err(nowhere(text, "the source has purged what follows on it"));
        }
        Err(error) => return Err(Fault::from(error).into()),
    };
    let mut search = Search { flavor, wanted, executed: None, found: None };
    search.walk(&file, settings).await?;
    let never = "no position of the binlog has exactly these before it";
    search.found.ok_or_else(|| nowhere(text, never))
}

/// Goes through a file until the set was executed.
struct Search {
    flavor: Flavor,
    wanted: GtidSet,
    executed: Option<GtidSet>,
    found: Option<FilePosition>,
}

impl Search {
    async fn walk(&mut self, file: &str, settings: &SourceConfig) -> Result<(), Fault> {
        let mut tracker = GroupTracker::new(self.flavor);
        each_event(settings, self.flavor, file, |frame| {
            let step = tracker.observe(file, frame).map_err(|error| unreadable(file, &error))?;
            let mut at = FilePosition::new(file, frame.to);
            if let Meaning::PreviousGtids(set) | Meaning::GtidList(set) = step.meaning {
                // With the file's head: raw files are whole.
                at.offset = 0;
                self.executed = Some(set);
            }
            // What a crash tore never committed.
            let ended = step.ended.filter(|ended| ended.verdict != Verdict::Torn);
            if let Some(gtid) = ended.and_then(|ended| ended.gtid)
                && let Some(executed) = &mut self.executed
            {
                executed.add(&gtid).map_err(|error| unreadable(file, &error))?;
            }
            Ok(!(step.boundary && self.reached(&at)))
        })
        .await
    }

    /// Whether everything wanted was executed by now.
    fn reached(&mut self, at: &FilePosition) -> bool {
        let Some(executed) = &self.executed else { return false };
        let reached = self.wanted.is_subset_of(executed);
        if reached && executed.is_subset_of(&self.wanted) {
            self.found = Some(at.clone());
        }
        reached
    }
}

impl Missed {
    /// A fault that is waited out until the source has the position, or the words are others.
    pub fn waits(self, field: &str) -> Fault {
        match self {
            Self::Nowhere(why) => {
                Fault::source(Reason::PositionNotFound, format!("{field}: {why}"))
            }
            Self::Fault(fault) => fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_found_only_where_exactly_its_transactions_were_executed() {
        const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let set = |text: &str| GtidSet::parse(Flavor::MySQL, &format!("{A}:{text}")).unwrap();
        let at = FilePosition::new("binlog.000002", 900);
        let search = |wanted: &str, executed: &str| {
            let (wanted, executed) = (set(wanted), Some(set(executed)));
            let mut search = Search { flavor: Flavor::MySQL, wanted, executed, found: None };
            (search.reached(&at), search.found.is_some())
        };
        assert_eq!(search("1-5", "1-4"), (false, false));
        assert_eq!(search("1-5", "1-5"), (true, true));
        assert_eq!(search("1-3:5", "1-5"), (true, false), "the fourth came before the fifth");
    }
}
