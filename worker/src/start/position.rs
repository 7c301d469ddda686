//! Where a stream begins that has neither checkpoint nor archive.
//!
//! Raw bytes always begin at byte 0 of a file: the head proves what was executed before it. The change log
//! begins at the position asked for; one inside a transaction snaps back to the transaction's start.

use binlog::{Framed, Framer, GroupTracker};
use crds::conditions::Reason;
use crds::position::{FilePosition, Flavor, GtidSet};
use crds::v1alpha1::{StartMode, StartSpec};
use source::{Connection, Identity, SourceConfig};

use crate::fault::Fault;
use crate::pipeline::held::Held;

/// Events that begin a group or stand between groups, as SHOW BINLOG EVENTS names them.
const BOUNDARY_EVENTS: [&str; 10] = [
    "Gtid",
    "Anonymous_Gtid",
    "Gtid_tagged",
    "Rotate",
    "Stop",
    "Format_desc",
    "Previous_gtids",
    "Gtid_list",
    "Binlog_checkpoint",
    "Start_encryption",
];

/// A resolved start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The file that raw begins with, at byte 0.
    pub file: String,
    /// Where the change log begins, there or further ahead; offset 0 = with the file.
    pub changes_from: FilePosition,
    /// Transactions whose rows are not wanted.
    pub held: Option<Held>,
}

impl Start {
    /// The change log begins with the file.
    pub fn with_file(file: String, held: Option<Held>) -> Self {
        Self { changes_from: FilePosition::new(file.clone(), 0), file, held }
    }
}

/// Resolves `start`. Opens dumps where SQL cannot tell: only the holder of the stream may ask.
pub async fn resolve(
    start: &StartSpec,
    identity: &Identity,
    control: &mut Connection,
    settings: &SourceConfig,
) -> Result<Start, Fault> {
    match start.mode {
        StartMode::Latest => {
            let end = control.end_position().await?.ok_or_else(|| {
                Fault::source(
                    Reason::BinlogDisabled,
                    "the source does not say where it writes its binlog",
                )
            })?;
            Ok(Start { file: end.file.clone(), changes_from: end, held: None })
        }
        StartMode::Earliest => {
            let oldest = identity.binlogs.as_ref().and_then(|files| files.first());
            let oldest = oldest.ok_or_else(|| {
                Fault::source(Reason::BinlogDisabled, "the source lists no binlog files")
            })?;
            Ok(Start::with_file(oldest.name.clone(), None))
        }
        StartMode::FilePosition => {
            let spec = start.file_position.as_ref().ok_or_else(|| missing("start.filePosition"))?;
            let wanted = FilePosition::new(spec.file.clone(), spec.position);
            let at = boundary(&wanted, identity.flavor, control, settings).await?;
            if at.offset <= FilePosition::FIRST_EVENT {
                return Ok(Start::with_file(at.file, None));
            }
            Ok(Start { file: at.file.clone(), changes_from: at, held: None })
        }
        StartMode::GtidSet => {
            let text = start.gtid_set.as_deref().ok_or_else(|| missing("start.gtidSet"))?;
            let held = GtidSet::parse(identity.flavor, text).map_err(|error| {
                Fault::source(Reason::SpecInvalid, format!("start.gtidSet: {error}"))
            })?;
            let file = source::connect(settings).await?.locate(identity.flavor, &held).await?;
            Ok(Start::with_file(file, Some(Held::Covered(held))))
        }
    }
}

fn missing(field: &str) -> Fault {
    Fault::source(Reason::SpecInvalid, format!("{field} is missing for this start.mode"))
}

/// `wanted`, or the start of the transaction that it lies in.
async fn boundary(
    wanted: &FilePosition,
    flavor: Flavor,
    control: &mut Connection,
    settings: &SourceConfig,
) -> Result<FilePosition, Fault> {
    if wanted.offset <= FilePosition::FIRST_EVENT {
        return Ok(wanted.clone());
    }
    let files = control.binlog_files().await?.unwrap_or_default();
    if files.iter().any(|file| file.name == wanted.file && file.size == wanted.offset) {
        return Ok(wanted.clone());
    }
    match control.binlog_event_at(wanted).await? {
        Some(event) if BOUNDARY_EVENTS.contains(&event.kind.as_str()) => Ok(wanted.clone()),
        _ => group_around(wanted, flavor, settings).await,
    }
}

/// Reads the file from its head and finds the group that `wanted` lies in.
async fn group_around(
    wanted: &FilePosition,
    flavor: Flavor,
    settings: &SourceConfig,
) -> Result<FilePosition, Fault> {
    let head = FilePosition::new(wanted.file.clone(), FilePosition::FIRST_EVENT);
    let mut dump = source::connect(settings).await?.dump(flavor, &head).await?;
    let (mut framer, mut tracker) = (Framer::new(&head), GroupTracker::new(flavor));
    let unreadable =
        |error: &dyn std::error::Error| Fault::source(Reason::ProtocolError, error.to_string());
    loop {
        let framed = framer.accept(dump.next().await?).map_err(|error| unreadable(&error))?;
        let Framed::Event(frame) = framed else { continue };
        tracker.observe(&wanted.file, &frame).map_err(|error| unreadable(&error))?;
        if frame.to > wanted.offset {
            let start = tracker.group().map_or(frame.from, |group| group.from.offset);
            tracing::info!(wanted = %wanted, start, "start position lies inside a transaction, beginning with it");
            return Ok(FilePosition::new(wanted.file.clone(), start));
        }
    }
}
