//! Raw bytes on their way to the archive.
//!
//! Holds the bytes of one binlog file from the last sealed part onwards. What stands before `mark` ends at a
//! boundary and may be committed; what follows belongs to an open group.
//!
//! Invariants
//! - Parts of a file are contiguous: each part starts where the one before it ended
//!   (`parts_are_contiguous_and_rebuild_the_file`).
//! - `seal` never gives bytes past the mark (`seal_leaves_the_open_group_behind`).

use std::ops::Range;

/// The four bytes that open every binlog file; the dump protocol never sends them.
pub const MAGIC: [u8; 4] = *b"\xfebin";

/// A stretch of one binlog file, ready to be compressed and uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawPart {
    /// The binlog file that the bytes belong to.
    pub file: String,
    /// `[start, end)` in that file.
    pub range: Range<u64>,
    /// The bytes themselves, as the source served them.
    pub bytes: Vec<u8>,
}

/// Bytes of the current file that are in no part yet.
#[derive(Debug)]
pub struct RawBuffer {
    file: String,
    from: u64,
    bytes: Vec<u8>,
    mark: usize,
}

impl RawBuffer {
    /// Starts at `offset` of `file`. Offset 0 means that the magic is still missing: it is added here, and
    /// joins the marked bytes with the file's first event.
    pub fn new(file: &str, offset: u64) -> Self {
        let mut buffer = Self { file: file.to_owned(), from: offset, bytes: Vec::new(), mark: 0 };
        if offset == 0 {
            buffer.bytes.extend_from_slice(&MAGIC);
        }
        buffer
    }

    /// Adds one event's bytes, checksum included.
    pub fn push(&mut self, event: &[u8]) {
        self.bytes.extend_from_slice(event);
    }

    /// Says that everything so far ends at a boundary.
    pub fn mark(&mut self) {
        self.mark = self.bytes.len();
    }

    /// Bytes that may be committed.
    pub fn marked_bytes(&self) -> usize {
        self.mark
    }

    /// Bytes of the open group.
    pub fn open_bytes(&self) -> usize {
        self.bytes.len() - self.mark
    }

    /// What stands behind the mark: the open group, unless parts of it were taken.
    pub fn open(&self) -> &[u8] {
        self.bytes.get(self.mark..).unwrap_or_default()
    }

    /// The file that the buffer belongs to.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Offset behind the last byte held.
    pub fn end(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }

    /// Takes the bytes up to the mark as a part; `None` when there are none.
    pub fn seal(&mut self) -> Option<RawPart> {
        self.take(self.mark)
    }

    /// Takes all bytes, those of the open group too: a part of a group that streams alone.
    pub fn seal_open(&mut self) -> Option<RawPart> {
        self.take(self.bytes.len())
    }

    fn take(&mut self, length: usize) -> Option<RawPart> {
        if length == 0 {
            return None;
        }
        let rest = self.bytes.split_off(length);
        let bytes = std::mem::replace(&mut self.bytes, rest);
        let range = self.from..self.from + length as u64;
        self.from = range.end;
        self.mark = self.mark.saturating_sub(length);
        Some(RawPart { file: self.file.clone(), range, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_contiguous_and_rebuild_the_file() {
        let mut buffer = RawBuffer::new("binlog.000001", 0);
        let mut whole = MAGIC.to_vec();
        let mut parts = Vec::new();
        for n in 0u8..20 {
            let event = vec![n; usize::from(n) + 1];
            whole.extend_from_slice(&event);
            buffer.push(&event);
            if n % 3 == 0 {
                buffer.mark();
            }
            if n % 5 == 0 {
                parts.extend(buffer.seal());
            }
        }
        parts.extend(buffer.seal_open());
        let mut at = 0;
        let mut rebuilt = Vec::new();
        for part in parts {
            assert_eq!(part.range.start, at);
            at = part.range.end;
            rebuilt.extend(part.bytes);
        }
        assert_eq!(rebuilt, whole);
        assert_eq!(buffer.end(), whole.len() as u64);
    }

    #[test]
    fn seal_leaves_the_open_group_behind() {
        let mut buffer = RawBuffer::new("binlog.000001", 400);
        buffer.push(b"committed");
        buffer.mark();
        buffer.push(b"open");
        let part = buffer.seal().unwrap();
        assert_eq!((part.range, part.bytes.as_slice()), (400..409, b"committed".as_slice()));
        assert_eq!((buffer.open_bytes(), buffer.marked_bytes()), (4, 0));
        assert!(buffer.seal().is_none());
    }

    #[test]
    fn a_buffer_resumed_mid_file_adds_no_magic() {
        assert!(RawBuffer::new("binlog.000007", 1873).seal().is_none());
        let mut fresh = RawBuffer::new("binlog.000007", 0);
        assert!(fresh.seal().is_none());
        fresh.mark();
        assert_eq!(fresh.seal().unwrap().bytes, MAGIC);
    }
}
