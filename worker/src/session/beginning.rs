//! What a binlog file of the source begins with. Only the holder of the stream may ask: a dump ends the one of
//! the same server id.

use std::sync::Arc;

use archive::entry::RawHead;
use archive::read_back::{ReadBack, ReadBackError};
use archive::{Point, State, Store};
use binlog::{EventType, Frame, Framed, Framer, GroupTracker, Meaning};
use crds::conditions::Reason;
use crds::position::{FilePosition, Flavor, GtidSet};
use source::{SourceConfig, SourceError};

use crate::fault::{Fault, chain};

/// So many bytes behind the head of a file are compared with the archive's: with commit times and transaction
/// numbers in them, two histories differ in their first transaction.
const COMPARED: u64 = 1 << 20;

/// What was executed before a file, where its head says so.
pub(super) async fn executed_before(
    settings: &SourceConfig,
    flavor: Flavor,
    file: &str,
) -> Result<Option<GtidSet>, Fault> {
    let mut tracker = GroupTracker::new(flavor);
    let mut before = None;
    each_event(settings, flavor, file, |frame| {
        match tracker.observe(file, frame).map_err(|error| unreadable(file, &error))?.meaning {
            Meaning::PreviousGtids(set) | Meaning::GtidList(set) => before = Some(set),
            _ => {}
        }
        Ok(before.is_none() && tracker.group().is_none())
    })
    .await?;
    Ok(before)
}

/// Whether the source's file begins as the archived one does: at the same time, with the same transactions. The time
/// alone does not tell: a server can be reset within that second. Without raw bytes there is no proof.
pub(super) async fn same_beginning(
    store: &Arc<dyn Store>,
    state: &State,
    lineage: &str,
    settings: &SourceConfig,
    flavor: Flavor,
    head: &RawHead,
) -> Result<bool, Fault> {
    let file = &head.file;
    let reader = ReadBack::new(Arc::clone(store), state.n);
    let begins = Point::new(lineage, file, 0);
    let Some(archived) = first_bytes(&reader, state.n, &begins).await? else { return Ok(false) };
    let (mut same, mut compared) = (true, 0);
    each_event(settings, flavor, file, |frame| {
        // Not by its bytes: a flag tells whether the file is open.
        if frame.header.event_type == EventType::FORMAT_DESCRIPTION {
            same = frame.header.timestamp == head.fde_time;
            return Ok(same);
        }
        let place = usize::try_from(frame.from).unwrap_or(usize::MAX);
        let Some(ours) = archived.get(place..).filter(|ours| !ours.is_empty()) else {
            return Ok(false);
        };
        same = ours.starts_with(frame.bytes);
        compared += frame.to - frame.from;
        Ok(same && compared < COMPARED)
    })
    .await?;
    Ok(same && compared > 0)
}

/// The archive's first raw bytes of a file: those that the log names, not what a dead writer left beside them.
async fn first_bytes(reader: &ReadBack, n: u64, head: &Point) -> Result<Option<Vec<u8>>, Fault> {
    match reader.file_head(n, head).await {
        Ok(object) => Ok(Some(reader.bytes(&object).await?)),
        Err(ReadBackError::NotHeld { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Shows the events of a file until `more` wants no more of them or the file ends.
pub(super) async fn each_event(
    settings: &SourceConfig,
    flavor: Flavor,
    file: &str,
    mut more: impl FnMut(&Frame<'_>) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    let start = FilePosition::new(file.to_owned(), FilePosition::FIRST_EVENT);
    let mut dump = source::connect(settings).await?.dump(flavor, &start).await?;
    let mut framer = Framer::new(&start);
    let mut any = false;
    loop {
        let event = match dump.next().await {
            // A torn end, which the server cannot read itself.
            Err(SourceError::Dump { .. }) if any => return Ok(()),
            event => event?,
        };
        match framer.accept(event).map_err(|error| unreadable(file, &error))? {
            Framed::Event(frame) => {
                any = true;
                if !more(&frame)? {
                    return Ok(());
                }
            }
            // The next file, or the end of the newest one.
            Framed::FileStart { .. } | Framed::Heartbeat { .. } if any => return Ok(()),
            _ => {}
        }
    }
}

pub(super) fn unreadable(file: &str, error: &dyn std::error::Error) -> Fault {
    Fault::source(Reason::ProtocolError, format!("read the beginning of {file}: {}", chain(error)))
}
