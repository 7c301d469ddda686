//! From the packets of a dump to the events of a file.
//!
//! Invariants:
//! - an event is `Framed::Event` only if its bytes stand in the file at `[from, to)`; what the server
//!   makes up for this connection never is (`artificial_events_are_told_apart` in `tests/suite/frames.rs`);
//! - the offset is counted here in 64 bits; a header position that contradicts it is an error, one
//!   that is 0 says nothing (`a_hole_is_a_raw_discontinuity`, `positions_wrap_at_4_gib`);
//! - no event whose CRC32 is wrong is handed out (`a_flipped_bit_is_found`).

use crds::position::FilePosition;

use crate::event::{
    CHECKSUM_LENGTH, EventType, FLAG_ARTIFICIAL, FLAG_IN_USE, HEADER_LENGTH, Header,
};
use crate::format::{self, Checksum, FormatDescription};
use crate::reader::Reader;

/// Longest file name that is taken from the server, in bytes.
const MAX_FILE_NAME: usize = 512;

/// An event of the file, or one made up by the server for this connection.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The event's header.
    pub header: Header,
    /// The whole event, header and checksum included.
    pub bytes: &'a [u8],
    /// The event without header and checksum.
    pub body: &'a [u8],
    /// Offset of the event's first byte in the file.
    pub from: u64,
    /// Offset behind the event's last byte; equal to `from` if the event is not in the file.
    pub to: u64,
}

impl Frame<'_> {
    /// Whether the server made the event up for this connection.
    pub const fn is_artificial(&self) -> bool {
        self.from == self.to
    }
}

/// What a packet of the dump turned out to be.
#[derive(Clone, Debug)]
pub enum Framed<'a> {
    /// Real bytes of the file: archive them.
    Event(Frame<'a>),
    /// The next bytes are of this file, from this offset.
    FileStart {
        /// Name of the file.
        file: String,
        /// Offset of the next event in it.
        position: u64,
    },
    /// A format description or GTID list sent again: state for the decoder, never archived.
    Artificial(Frame<'a>),
    /// Nothing new.
    Heartbeat {
        /// The file the server stands in, if it says so.
        file: Option<String>,
        /// The offset the server stands at.
        position: u64,
    },
}

/// Why a packet is not the next part of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The packet is not as long as its header says, or shorter than a header.
    #[error("frame event at {file}:{offset}: {got} bytes came, the header says {said}")]
    Length {
        /// The file read.
        file: String,
        /// The offset read to.
        offset: u64,
        /// Bytes in the packet.
        got: usize,
        /// Bytes announced.
        said: u32,
    },
    /// The CRC32 does not fit the bytes.
    #[error(
        "frame {event_type} at {file}:{offset}: checksum {found:08x} instead of {expected:08x}; \
         the bytes were changed on the way or on the source's disk"
    )]
    Checksum {
        /// The file read.
        file: String,
        /// The offset of the event.
        offset: u64,
        /// Type of the event.
        event_type: EventType,
        /// CRC32 of the bytes.
        expected: u32,
        /// CRC32 in the event.
        found: u32,
    },
    /// The event does not begin where the one before it ended.
    #[error(
        "frame {event_type}: read {file} to {expected}, but the event ends at {log_pos} (mod 2^32) \
         and is {length} bytes long: bytes are missing (RawDiscontinuity)"
    )]
    RawDiscontinuity {
        /// The file read.
        file: String,
        /// The offset read to.
        expected: u64,
        /// The end the event's header names.
        log_pos: u32,
        /// Length of the event.
        length: u32,
        /// Type of the event.
        event_type: EventType,
    },
    /// An event came that must not come there, or could not be read.
    #[error("frame {event_type} at {file}:{offset}: {problem}")]
    Malformed {
        /// The file read.
        file: String,
        /// The offset read to.
        offset: u64,
        /// Type of the event.
        event_type: EventType,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Follows a dump packet by packet.
#[derive(Debug)]
pub struct Framer {
    file: String,
    offset: u64,
    format: Option<FormatDescription>,
}

impl Framer {
    /// A framer for a dump that was asked to start at `start`.
    pub fn new(start: &FilePosition) -> Self {
        Self { file: start.file.clone(), offset: start.offset, format: None }
    }

    /// The file whose events come next.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// End of the last event of the file.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The file's format description, once it came.
    pub const fn format(&self) -> Option<&FormatDescription> {
        self.format.as_ref()
    }

    /// Takes the next packet (without the status byte).
    ///
    /// # Errors
    /// The dump cannot be continued: reconnect at the last boundary. After an error the framer's
    /// state is as before the packet.
    pub fn accept<'a>(&mut self, event: &'a [u8]) -> Result<Framed<'a>, FrameError> {
        let header = Header::parse(event).ok_or_else(|| self.length_error(event, 0))?;
        if header.length as usize != event.len() {
            return Err(self.length_error(event, header.length));
        }
        match header.event_type {
            EventType::FORMAT_DESCRIPTION => self.accept_format(header, event),
            EventType::HEARTBEAT | EventType::HEARTBEAT_V2 => self.accept_heartbeat(header, event),
            EventType::ROTATE if header.log_pos == 0 || header.flags & FLAG_ARTIFICIAL != 0 => {
                self.accept_file_start(header, event)
            }
            _ => self.accept_event(header, event),
        }
    }

    fn accept_event<'a>(
        &mut self,
        header: Header,
        event: &'a [u8],
    ) -> Result<Framed<'a>, FrameError> {
        let Some(format) = &self.format else {
            return Err(self.malformed(header, "it came before the format description"));
        };
        let body = match format.checksum {
            Checksum::None => event.get(HEADER_LENGTH..).unwrap_or_default(),
            Checksum::Crc32 => self.checked(header, event)?,
        };
        let in_place = self.in_place(header);
        let artificial = header.flags & FLAG_ARTIFICIAL != 0
            || (header.event_type == EventType::GTID_LIST && !in_place);
        if artificial {
            return Ok(Framed::Artificial(self.frame(header, event, body, 0)));
        }
        if header.log_pos != 0 && !in_place {
            return Err(self.discontinuity(header));
        }
        let frame = self.frame(header, event, body, u64::from(header.length));
        self.offset = frame.to;
        Ok(Framed::Event(frame))
    }

    /// The event is in the file if it stands where the file is read to; a dump that starts inside
    /// a file sends it again, changed, without a position.
    fn accept_format<'a>(
        &mut self,
        header: Header,
        event: &'a [u8],
    ) -> Result<Framed<'a>, FrameError> {
        let tail = event.get(HEADER_LENGTH..).unwrap_or_default();
        let Some(parsed) = format::parse(tail) else {
            return Err(self.malformed(header, "it is no format description of version 4"));
        };
        // Checked even if the events after it are not.
        let body = self.checked(header, event)?;
        let checksum = match parsed.algorithm {
            0 => Checksum::None,
            1 => Checksum::Crc32,
            _ => return Err(self.malformed(header, "its checksum algorithm is not known")),
        };
        let in_place =
            header.flags & FLAG_ARTIFICIAL == 0 && header.log_pos != 0 && self.in_place(header);
        if !in_place && header.log_pos != 0 && self.offset == FilePosition::FIRST_EVENT {
            return Err(self.discontinuity(header));
        }
        self.format = Some(FormatDescription {
            server_version: parsed.server_version,
            created: parsed.created,
            timestamp: header.timestamp,
            server_id: header.server_id,
            checksum,
        });
        if !in_place {
            return Ok(Framed::Artificial(self.frame(header, event, body, 0)));
        }
        let frame = self.frame(header, event, body, u64::from(header.length));
        self.offset = frame.to;
        Ok(Framed::Event(frame))
    }

    fn accept_file_start<'a>(
        &mut self,
        header: Header,
        event: &'a [u8],
    ) -> Result<Framed<'a>, FrameError> {
        let tail = Self::unchecked_tail(event);
        let mut reader = Reader::new(tail);
        let position = reader.u64().map_err(|_| self.malformed(header, "it is cut short"))?;
        let file = self.file_name(header, reader.rest())?;
        self.file.clear();
        self.file.push_str(file);
        self.offset = position;
        Ok(Framed::FileStart { file: file.to_owned(), position })
    }

    fn accept_heartbeat<'a>(
        &self,
        header: Header,
        event: &'a [u8],
    ) -> Result<Framed<'a>, FrameError> {
        let tail = Self::unchecked_tail(event);
        if header.event_type == EventType::HEARTBEAT {
            let name = self.file_name(header, tail)?;
            let file = (!name.is_empty()).then(|| name.to_owned());
            return Ok(Framed::Heartbeat { file, position: self.widen(header.log_pos) });
        }
        let short = |_| self.malformed(header, "it is cut short");
        let (mut file, mut position) = (None, self.offset);
        let mut reader = Reader::new(tail);
        while !reader.is_empty() {
            let field = reader.lenenc().map_err(short)?;
            let value = reader.lenenc_bytes().map_err(short)?;
            match field {
                0 => break,
                1 => file = Some(self.file_name(header, value)?.to_owned()),
                2 => position = Reader::new(value).lenenc().map_err(short)?,
                _ => {}
            }
        }
        Ok(Framed::Heartbeat { file, position })
    }

    /// The body of an event that must end in a right CRC32.
    fn checked<'a>(&self, header: Header, event: &'a [u8]) -> Result<&'a [u8], FrameError> {
        let (covered, found) = event
            .split_last_chunk::<CHECKSUM_LENGTH>()
            .filter(|(covered, _)| covered.len() >= HEADER_LENGTH)
            .ok_or_else(|| self.length_error(event, header.length))?;
        let (expected, found) = (crc32(header, covered), u32::from_le_bytes(*found));
        if expected != found {
            return Err(FrameError::Checksum {
                file: self.file.clone(),
                offset: self.offset,
                event_type: header.event_type,
                expected,
                found,
            });
        }
        Ok(covered.get(HEADER_LENGTH..).unwrap_or_default())
    }

    /// The body of an event made up for the connection. Whether it is checked follows from the
    /// server's present setting, not from the file's: the checksum is taken off where it fits.
    fn unchecked_tail(event: &[u8]) -> &[u8] {
        let covered = event.split_last_chunk::<CHECKSUM_LENGTH>().filter(|(covered, found)| {
            covered.len() >= HEADER_LENGTH
                && crc32fast::hash(covered) == u32::from_le_bytes(**found)
        });
        covered.map_or(event, |(covered, _)| covered).get(HEADER_LENGTH..).unwrap_or_default()
    }

    fn file_name<'a>(&self, header: Header, name: &'a [u8]) -> Result<&'a str, FrameError> {
        std::str::from_utf8(name)
            .ok()
            .filter(|name| name.len() <= MAX_FILE_NAME)
            .filter(|name| !name.contains(|c: char| c.is_control() || c == '/' || c == '\\'))
            .ok_or_else(|| self.malformed(header, "its file name is not a name"))
    }

    /// Whether the header's position says that the event begins where the last one ended.
    fn in_place(&self, header: Header) -> bool {
        self.offset.wrapping_add(u64::from(header.length)) as u32 == header.log_pos
    }

    /// The first offset at or after our own that ends in these 32 bits.
    fn widen(&self, log_pos: u32) -> u64 {
        self.offset.saturating_add(u64::from(log_pos.wrapping_sub(self.offset as u32)))
    }

    const fn frame<'a>(
        &self,
        header: Header,
        bytes: &'a [u8],
        body: &'a [u8],
        advance: u64,
    ) -> Frame<'a> {
        let to = self.offset.saturating_add(advance);
        Frame { header, bytes, body, from: self.offset, to }
    }

    fn length_error(&self, event: &[u8], said: u32) -> FrameError {
        FrameError::Length { file: self.file.clone(), offset: self.offset, got: event.len(), said }
    }

    fn discontinuity(&self, header: Header) -> FrameError {
        FrameError::RawDiscontinuity {
            file: self.file.clone(),
            expected: self.offset,
            log_pos: header.log_pos,
            length: header.length,
            event_type: header.event_type,
        }
    }

    fn malformed(&self, header: Header, problem: &'static str) -> FrameError {
        FrameError::Malformed {
            file: self.file.clone(),
            offset: self.offset,
            event_type: header.event_type,
            problem,
        }
    }
}

/// The in-use flag is set on the server's disk after the checksum was made.
fn crc32(header: Header, covered: &[u8]) -> u32 {
    if header.event_type != EventType::FORMAT_DESCRIPTION || header.flags & FLAG_IN_USE == 0 {
        return crc32fast::hash(covered);
    }
    let at = HEADER_LENGTH - 2;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(covered.get(..at).unwrap_or_default());
    hasher.update(&(header.flags & !FLAG_IN_USE).to_le_bytes());
    hasher.update(covered.get(HEADER_LENGTH..).unwrap_or_default());
    hasher.finalize()
}
