//! A range of the raw archive as the source would send it: file by file, event by event.

use archive::Point;
use archive::entry::RawObject;
use archive::read_back::{Leg, ReadBack, ReadBackError, Stretch, Walk};
use binlog::{EventType, HEADER_LENGTH, Header};
use crds::position::FilePosition;

use crate::fault::Fault;
use crate::pipeline::raw::MAGIC;

/// Set in an event that no file holds.
const ARTIFICIAL: u16 = 0x20;

/// Takes what the range holds, in order.
pub(super) trait Taker {
    /// A stretch begins: nothing before it continues into it.
    async fn begin(&mut self, n: u64, stretch: &Stretch) -> Result<(), Fault>;
    /// What one entry names comes next: the position is a boundary.
    async fn begin_leg(&mut self, leg: &Leg) -> Result<(), Fault>;
    /// One event, as a dump sends it.
    async fn event(&mut self, event: &[u8]) -> Result<(), Fault>;
}

/// Hands what a walk finds to the taker.
pub(super) async fn feed(
    reader: &ReadBack,
    mut walk: Walk,
    taker: &mut impl Taker,
) -> Result<(), Fault> {
    let mut file = String::new();
    while let Some(leg) = walk.next().await? {
        if let Some(stretch) = &leg.begins {
            taker.begin(leg.n, stretch).await?;
            file.clear();
        }
        taker.begin_leg(&leg).await?;
        for piece in &leg.pieces {
            let object = &piece.object;
            let start = piece.wanted.start.max(FilePosition::FIRST_EVENT);
            if object.file != file {
                file.clone_from(&object.file);
                taker.event(&file_start(&file, start)).await?;
                if start > FilePosition::FIRST_EVENT {
                    let at = Point::new(&leg.to.lineage, &file, start);
                    taker.event(&format_description(reader, leg.n, &at).await?).await?;
                }
            }
            let bytes = reader.bytes(object).await?;
            let wanted = (start - object.from) as usize..(piece.wanted.end - object.from) as usize;
            // An object that holds but the magic has no event.
            let mut rest = bytes.get(wanted).unwrap_or_default();
            while !rest.is_empty() {
                let (event, behind) = first_event(rest, object)?;
                taker.event(event).await?;
                rest = behind;
            }
        }
    }
    Ok(())
}

/// The event that opens a file in a dump.
fn file_start(file: &str, position: u64) -> Vec<u8> {
    let length = (HEADER_LENGTH + 8 + file.len()) as u32;
    let mut event = vec![0; 4];
    event.push(EventType::ROTATE.0);
    event.extend([0; 4]);
    event.extend(length.to_le_bytes());
    event.extend([0; 4]);
    event.extend(ARTIFICIAL.to_le_bytes());
    event.extend(position.to_le_bytes());
    event.extend(file.as_bytes());
    event
}

/// Who begins inside a file needs what stands at its head.
async fn format_description(reader: &ReadBack, n: u64, at: &Point) -> Result<Vec<u8>, Fault> {
    let object = reader.file_head(n, at).await?;
    let bytes = reader.bytes(&object).await?;
    let events = bytes.get(MAGIC.len()..).unwrap_or_default();
    Ok(first_event(events, &object)?.0.to_vec())
}

fn first_event<'a>(bytes: &'a [u8], object: &RawObject) -> Result<(&'a [u8], &'a [u8]), Fault> {
    let length = Header::parse(bytes).map(|header| header.length as usize);
    let length = length.filter(|length| *length >= HEADER_LENGTH);
    length.and_then(|length| bytes.split_at_checked(length)).ok_or_else(|| {
        let problem = "it does not end with an event".to_owned();
        ReadBackError::Damaged { key: object.key.clone(), problem }.into()
    })
}
