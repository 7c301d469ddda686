//! Packets over one byte stream, read into one buffer.
//!
//! Invariants:
//! - A packet is handed out as a slice of the read buffer; only what was split into several 16 MiB
//!   frames is moved, in place (`joins_frames_in_place`).
//! - The buffer grows with bytes that arrived, never with a length a peer claims, up to `cap`, and
//!   shrinks back when a large packet was consumed (`shrinks_after_a_large_packet`).
//! - Dropping a read in flight loses nothing: no state moves before a packet is whole
//!   (`a_cancelled_read_loses_no_byte`).

use std::io;
use std::ops::Range;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Length of a frame that is followed by another of the same packet.
const FULL_FRAME: usize = 0xff_ffff;
const HEADER: usize = 4;
/// Below this much free room at its end, the buffer is compacted before the next read.
const LOW_ROOM: usize = 64 << 10;

/// What can go wrong between two packets.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the server closed the connection")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("packet number {got} where {want} was due")]
    OutOfOrder { got: u8, want: u8 },
    #[error("packet of at least {bytes} bytes, above the limit of {cap}")]
    TooLarge { bytes: usize, cap: usize },
}

/// Packet framing of the client/server protocol over `io`.
pub(crate) struct Wire<S> {
    io: S,
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// Number the next packet must carry, in either direction.
    sequence: u8,
    /// Size the buffer starts with and returns to.
    base: usize,
    /// Largest packet accepted.
    cap: usize,
}

enum Scan {
    /// A whole packet lies at `start`: total bytes with headers, and number of frames.
    Whole { bytes: usize, frames: usize },
    /// This many bytes from `start` are needed to say more.
    Need(usize),
}

impl<S> Wire<S> {
    pub(crate) fn new(io: S, base: usize, cap: usize) -> Self {
        let base = base.max(HEADER);
        Self { io, buf: vec![0; base], start: 0, end: 0, sequence: 0, base, cap }
    }

    /// Gives the byte stream back, to be wrapped in TLS. `None` when bytes were received that
    /// belong to no packet asked for: taking them over would mix clear text into the TLS session.
    pub(crate) fn into_io(self) -> Option<S> {
        (self.start == self.end).then_some(self.io)
    }

    /// Carries the packet number over to the wrapped stream.
    pub(crate) fn sequence(&self) -> u8 {
        self.sequence
    }

    pub(crate) fn set_sequence(&mut self, sequence: u8) {
        self.sequence = sequence;
    }

    /// Switches to the limits of another use of the same connection.
    pub(crate) fn set_limits(&mut self, base: usize, cap: usize) {
        self.base = base.max(HEADER);
        self.cap = cap;
        if self.buf.len() < self.base {
            self.buf.resize(self.base, 0);
        }
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.buf.len()
    }

    fn scan(&self) -> Result<Scan, WireError> {
        let have = &self.buf[self.start..self.end];
        let (mut at, mut frames, mut payload) = (0, 0, 0);
        loop {
            let Some(&[a, b, c, sequence]) = have.get(at..at + HEADER) else {
                return Ok(Scan::Need(at + HEADER));
            };
            let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
            let want = self.sequence.wrapping_add(frames as u8);
            if sequence != want {
                return Err(WireError::OutOfOrder { got: sequence, want });
            }
            payload += length;
            if payload > self.cap {
                return Err(WireError::TooLarge { bytes: payload, cap: self.cap });
            }
            if have.len() < at + HEADER + length {
                return Ok(Scan::Need(at + HEADER + length));
            }
            at += HEADER + length;
            frames += 1;
            if length < FULL_FRAME {
                return Ok(Scan::Whole { bytes: at, frames });
            }
        }
    }

    /// Takes the packet of `frames` frames at `start`, closing the gaps its headers leave.
    fn take(&mut self, bytes: usize, frames: usize) -> Range<usize> {
        let from = self.start + HEADER;
        let packet_end = self.start + bytes;
        let mut to = if frames == 1 { packet_end } else { from + FULL_FRAME };
        let mut next = to;
        for _ in 1..frames {
            let body = next + HEADER;
            let length = (packet_end - body).min(FULL_FRAME);
            self.buf.copy_within(body..body + length, to);
            to += length;
            next = body + length;
        }
        self.start = packet_end;
        self.sequence = self.sequence.wrapping_add(frames as u8);
        from..to
    }

    /// Makes room for `need` bytes from `start`.
    fn make_room(&mut self, need: usize) {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        let oversized = self.buf.len() > self.base && need <= self.base;
        if oversized && self.end - self.start <= self.base {
            let mut small = vec![0; self.base];
            let held = self.end - self.start;
            small[..held].copy_from_slice(&self.buf[self.start..self.end]);
            self.buf = small;
            self.start = 0;
            self.end = held;
        } else if self.start > 0
            && (self.buf.len() - self.start < need || self.buf.len() - self.end < LOW_ROOM)
        {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buf.len() < self.start + need {
            // Exact growth, one frame at a time: doubling would hold twice a 1 GiB event.
            let more = self.start + need - self.buf.len();
            self.buf.reserve_exact(more);
            self.buf.resize(self.start + need, 0);
        }
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// The next packet's payload if it is in the buffer already.
    pub(crate) fn buffered(&mut self) -> Result<Option<Range<usize>>, WireError> {
        match self.scan()? {
            Scan::Whole { bytes, frames } => Ok(Some(self.take(bytes, frames))),
            Scan::Need(_) => Ok(None),
        }
    }

    /// One read from the stream, of at least one byte. Safe to cancel.
    pub(crate) async fn fill(&mut self) -> Result<(), WireError> {
        if let Scan::Need(need) = self.scan()? {
            self.make_room(need);
        }
        let read = self.io.read(&mut self.buf[self.end..]).await?;
        if read == 0 {
            return Err(WireError::Closed);
        }
        self.end += read;
        Ok(())
    }

    /// The bytes of a range just returned by [`Wire::buffered`].
    pub(crate) fn slice(&self, range: Range<usize>) -> &[u8] {
        &self.buf[range]
    }

    /// The next packet's payload. The caller sets the time limit.
    pub(crate) async fn packet(&mut self) -> Result<&[u8], WireError> {
        loop {
            if let Some(range) = self.buffered()? {
                return Ok(self.slice(range));
            }
            self.fill().await?;
        }
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Sends one packet, in as many frames as it needs.
    pub(crate) async fn send(&mut self, payload: &[u8]) -> Result<(), WireError> {
        let mut out = Vec::with_capacity(payload.len() + HEADER);
        let mut rest = payload;
        loop {
            let (frame, after) = rest.split_at(rest.len().min(FULL_FRAME));
            out.extend_from_slice(&(frame.len() as u32).to_le_bytes()[..3]);
            out.push(self.sequence);
            out.extend_from_slice(frame);
            self.sequence = self.sequence.wrapping_add(1);
            rest = after;
            if frame.len() < FULL_FRAME {
                break;
            }
        }
        self.io.write_all(&out).await?;
        self.io.flush().await?;
        Ok(())
    }

    /// Sends a command, which starts a new exchange at packet number 0.
    pub(crate) async fn command(&mut self, code: u8, argument: &[u8]) -> Result<(), WireError> {
        self.sequence = 0;
        let mut payload = Vec::with_capacity(argument.len() + 1);
        payload.push(code);
        payload.extend_from_slice(argument);
        self.send(&payload).await
    }
}

#[cfg(test)]
#[path = "wire/tests.rs"]
mod tests;
