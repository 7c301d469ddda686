//! FORMAT_DESCRIPTION: the first event of a file, which says how the others are written.

use crate::event::CHECKSUM_LENGTH;
use crate::reader::Reader;

/// How the events of a file are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Events end without a checksum.
    None,
    /// Events end in a little-endian CRC32 of all bytes before it.
    Crc32,
}

/// What a format description says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatDescription {
    /// Version of the server that wrote the file.
    pub server_version: String,
    /// Seconds since 1970 when the server was started; 0 if the file began by a rotation.
    pub created: u32,
    /// Seconds since 1970 when the event was written. A re-sent event keeps it: a file's birthmark.
    pub timestamp: u32,
    /// Server id of the writer.
    pub server_id: u32,
    /// How the events after this one are checked.
    pub checksum: Checksum,
}

/// Body of a format description, as found.
pub(crate) struct Parsed {
    pub(crate) server_version: String,
    pub(crate) created: u32,
    pub(crate) algorithm: u8,
}

/// Reads the bytes after the header, checksum included. Servers since MySQL 5.6.1 and MariaDB 5.3 end
/// the event in an algorithm byte and a checksum, whatever the algorithm; older ones are not read. `None` if they are no format description
/// of binlog version 4.
pub(crate) fn parse(tail: &[u8]) -> Option<Parsed> {
    let mut reader = Reader::new(tail);
    let binlog_version = reader.u16().ok()?;
    let version = reader.take(50).ok()?;
    let created = reader.u32().ok()?;
    let header_length = reader.u8().ok()?;
    if binlog_version != 4 || usize::from(header_length) != crate::event::HEADER_LENGTH {
        return None;
    }
    let version = version.split(|byte| *byte == 0).next()?;
    let server_version = std::str::from_utf8(version).ok()?.to_owned();
    let at = reader.len().checked_sub(CHECKSUM_LENGTH + 1)?;
    let algorithm = *reader.rest().get(at)?;
    Some(Parsed { server_version, created, algorithm })
}
