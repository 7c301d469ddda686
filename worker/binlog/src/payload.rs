//! TRANSACTION_PAYLOAD: the events of a transaction in one zstd stream.
//!
//! Invariants:
//! - memory grows with what really comes out of the stream, up to the largest event, and never with
//!   what a length field promises;
//! - a stream that is cut short, or does not end with its last event, is an error
//!   (`a_truncated_payload_is_an_error` in `tests/suite/hostile.rs`).

use std::io::{BufRead, Cursor, Read};

use crate::event::{EventType, HEADER_LENGTH, Header};
use crate::gtid;
use crate::query::{self, Statement};
use crate::reader::{Reader, Short};

/// No event of a server is longer: `binlog_row_event_max_size` ends at one row, and a row at 1 GiB.
const MAX_EVENT: u32 = (1 << 30) + (64 << 20);
/// Largest zstd window of the levels that the server offers.
const MAX_WINDOW_LOG: u32 = 27;

/// Reads the events of a payload one by one.
pub(crate) struct Payload<R: BufRead> {
    stream: Stream<R>,
    /// Bytes still to come by the payload's own word.
    left: Option<u64>,
}

enum Stream<R: BufRead> {
    Plain(R),
    Zstd(Box<zstd::stream::read::Decoder<'static, R>>),
}

type Problem = &'static str;

const MALFORMED: Problem = "its fields are malformed";
const CUT: Problem = "its compressed events are cut short";

impl<'a> Payload<&'a [u8]> {
    /// Opens the body of the event.
    pub(crate) fn open(body: &'a [u8]) -> Result<Self, Problem> {
        let fields = fields(body).map_err(|_| MALFORMED)?;
        Self::start(&fields, fields.packed)
    }
}

impl Payload<Cursor<Vec<u8>>> {
    /// Opens a copy of the body, to be read while later calls come and go.
    pub(crate) fn copy(body: &[u8]) -> Result<Self, Problem> {
        let fields = fields(body).map_err(|_| MALFORMED)?;
        Self::start(&fields, Cursor::new(fields.packed.to_vec()))
    }
}

impl<R: BufRead> Payload<R> {
    fn start(fields: &Fields<'_>, packed: R) -> Result<Self, Problem> {
        let stream = match fields.algorithm {
            0 => {
                let cannot = |_| "its zstd stream cannot be opened";
                let mut stream =
                    zstd::stream::read::Decoder::with_buffer(packed).map_err(cannot)?;
                stream.window_log_max(MAX_WINDOW_LOG).map_err(cannot)?;
                Stream::Zstd(Box::new(stream))
            }
            255 => Stream::Plain(packed),
            _ => return Err("its compression is not known"),
        };
        Ok(Self { stream, left: fields.plain_size })
    }

    /// Reads the next event into `event` (cleared first); `None` at the end.
    pub(crate) fn next(&mut self, event: &mut Vec<u8>) -> Result<Option<Header>, Problem> {
        event.clear();
        self.read(HEADER_LENGTH as u64, event)?;
        if event.is_empty() {
            return match self.left {
                None | Some(0) => Ok(None),
                Some(_) => Err(CUT),
            };
        }
        let header = Header::parse(event).ok_or(CUT)?;
        if header.length > MAX_EVENT {
            return Err("one of its events is too long");
        }
        let rest = header.length.checked_sub(HEADER_LENGTH as u32).ok_or(CUT)?;
        self.read(u64::from(rest), event)?;
        if event.len() != header.length as usize {
            return Err(CUT);
        }
        if let Some(left) = &mut self.left {
            *left =
                left.checked_sub(u64::from(header.length)).ok_or("it is longer than it says")?;
        }
        Ok(Some(header))
    }

    fn read(&mut self, count: u64, event: &mut Vec<u8>) -> Result<(), Problem> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.take(count).read_to_end(event),
            Stream::Zstd(stream) => stream.take(count).read_to_end(event),
        }
        .map(|_| ())
        .map_err(|_| "its zstd stream is damaged")
    }
}

/// The id of the XA transaction that a payload prepares; `None` if it commits.
///
/// MySQL 9.7 compresses `XA START .. XA END, XA_PREPARE` as well, and only the last event tells it from
/// a commit. The first one tells whether it is worth reading so far.
pub(crate) fn prepares(body: &[u8]) -> Result<Option<String>, Problem> {
    let mut payload = Payload::open(body)?;
    let mut event = Vec::new();
    let mut first = true;
    while let Some(header) = payload.next(&mut event)? {
        let body = event.get(HEADER_LENGTH..).unwrap_or_default();
        if std::mem::take(&mut first) && !starts_xa(&header, body)? {
            return Ok(None);
        }
        if header.event_type == EventType::XA_PREPARE {
            let (one_phase, xid) = gtid::xa_prepare(body).map_err(|_| CUT)?;
            return Ok((!one_phase).then_some(xid));
        }
    }
    Ok(None)
}

fn starts_xa(header: &Header, body: &[u8]) -> Result<bool, Problem> {
    if header.event_type != EventType::QUERY {
        return Ok(false);
    }
    let text = query::parse(body).map_err(|_| CUT)?.text;
    Ok(query::classify(text) == Statement::XaStart)
}

struct Fields<'a> {
    algorithm: u64,
    plain_size: Option<u64>,
    packed: &'a [u8],
}

/// Fields as (type, length, value) up to the end mark, then the stream.
fn fields(body: &[u8]) -> Result<Fields<'_>, Short> {
    let mut reader = Reader::new(body);
    let mut fields = Fields { algorithm: 255, plain_size: None, packed: &[] };
    let mut packed_size = None;
    loop {
        let field = reader.lenenc()?;
        if field == 0 {
            break;
        }
        let mut value = Reader::new(reader.lenenc_bytes()?);
        match field {
            1 => packed_size = Some(value.lenenc()?),
            2 => fields.algorithm = value.lenenc()?,
            3 => fields.plain_size = Some(value.lenenc()?),
            _ => {}
        }
    }
    fields.packed = match packed_size {
        Some(size) => reader.take(usize::try_from(size).map_err(|_| Short)?)?,
        None => reader.rest(),
    };
    Ok(fields)
}
