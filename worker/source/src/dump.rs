//! The binlog as the source sends it, event by event.
//!
//! Invariants:
//! - The dump is asked for by file and offset, so its bytes are the file's: a dump by GTID alters
//!   the format description and leaves holes.
//! - Nothing is announced that changes bytes: checksums stay as the file has them, and MariaDB's
//!   ANNOTATE_ROWS are asked for (flag 2, capability 4), without which they are left out.
//! - A source that says nothing for three heartbeats is an error, never an idle source
//!   (`a_silent_source_is_an_error`).
//! - [`Dump::next`] may be cancelled at any point without losing a byte.

use std::ops::Range;
use std::time::Duration;

use crds::position::{FilePosition, Flavor};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::connection::{Connection, quote};
use crate::error::{ServerError, SourceError};
use crate::transport::Transport;
use crate::wire::Wire;

/// The read buffer; also what one read can take from the socket.
pub(crate) const READ_BUFFER: usize = 1 << 20;
/// Largest event: max_allowed_packet cannot exceed 1 GiB, header and packet byte come on top.
pub(crate) const MAX_EVENT: usize = (1 << 30) + (64 << 10);
const COM_REGISTER_SLAVE: u8 = 0x15;
const COM_BINLOG_DUMP: u8 = 0x12;
/// MariaDB: send ANNOTATE_ROWS too.
const SEND_ANNOTATE_ROWS: u16 = 0x02;
/// What we show as in SHOW REPLICAS.
pub(crate) const REPLICA_HOST: &str = "binlog-worker";

/// A running dump. Dropping it ends it.
pub struct Dump {
    events: Events<Transport>,
    connection_id: u32,
}

impl std::fmt::Debug for Dump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dump")
            .field("from", &self.events.position)
            .field("connection_id", &self.connection_id)
            .finish_non_exhaustive()
    }
}

impl Dump {
    /// The next event with its header and checksum, as sent; the slice lives in the read buffer.
    ///
    /// # Errors
    /// [`SourceError::Silent`], [`SourceError::Dump`], [`SourceError::DumpEnded`], or a broken
    /// connection. After an error the dump gives no more events.
    pub async fn next(&mut self) -> Result<&[u8], SourceError> {
        self.events.next().await
    }

    /// The next event if it is in the buffer already, without waiting: for taking all that came
    /// with one read.
    ///
    /// # Errors
    /// As [`Dump::next`].
    pub fn next_buffered(&mut self) -> Result<Option<&[u8]>, SourceError> {
        self.events.next_buffered()
    }

    /// The server's id of this connection, as in its process list.
    pub fn connection_id(&self) -> u32 {
        self.connection_id
    }
}

impl Connection {
    /// Registers as a replica and starts the dump at `from`, which must be the start of an event.
    ///
    /// # Errors
    /// [`SourceError::PositionBeyondDump`] for an offset above 32 bits; the server's refusal of the
    /// position comes with the first [`Dump::next`].
    pub async fn dump(mut self, flavor: Flavor, from: &FilePosition) -> Result<Dump, SourceError> {
        let request = dump_request(flavor, from, self.server_id)?;
        let heartbeat = self.heartbeat;
        let statement = session_statement(flavor, self.server_id, heartbeat);
        self.execute(&statement).await?;
        self.plain(COM_REGISTER_SLAVE, &registration(self.server_id), "register as a replica")
            .await?;
        let connection_id = self.connection_id();
        let mut wire = self.wire;
        wire.set_limits(READ_BUFFER, MAX_EVENT);
        let position = from.to_string();
        let silence = heartbeat * 3;
        let sent = timeout(silence, wire.command(COM_BINLOG_DUMP, &request)).await;
        sent.map_err(|_| SourceError::Silent { limit: silence })?
            .map_err(|e| SourceError::wire("start the dump", e))?;
        Ok(Dump { events: Events { wire, silence, position }, connection_id })
    }
}

/// Events of one dump over any byte stream.
pub(crate) struct Events<S> {
    pub(crate) wire: Wire<S>,
    pub(crate) silence: Duration,
    pub(crate) position: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Events<S> {
    pub(crate) async fn next(&mut self) -> Result<&[u8], SourceError> {
        let range = loop {
            if let Some(range) = self.buffered()? {
                break range;
            }
            // Per read and not per event: a large event may take longer than the limit, as long as
            // bytes arrive.
            let filled = timeout(self.silence, self.wire.fill()).await;
            filled
                .map_err(|_| SourceError::Silent { limit: self.silence })?
                .map_err(|e| SourceError::wire("read the dump", e))?;
        };
        event(self.wire.slice(range), &self.position)
    }

    fn next_buffered(&mut self) -> Result<Option<&[u8]>, SourceError> {
        match self.buffered()? {
            None => Ok(None),
            Some(range) => event(self.wire.slice(range), &self.position).map(Some),
        }
    }

    fn buffered(&mut self) -> Result<Option<Range<usize>>, SourceError> {
        self.wire.buffered().map_err(|e| SourceError::wire("read the dump", e))
    }
}

/// Takes the status byte off.
fn event<'a>(packet: &'a [u8], position: &str) -> Result<&'a [u8], SourceError> {
    match packet {
        [0x00, event @ ..] => Ok(event),
        [0xfe, ..] if packet.len() < 9 => {
            Err(SourceError::DumpEnded { position: position.to_owned() })
        }
        _ => match ServerError::parse(packet) {
            Some(error) => Err(SourceError::dump(position, error)),
            None => Err(SourceError::protocol("read the dump", "an unknown kind of packet")),
        },
    }
}

fn dump_request(
    flavor: Flavor,
    from: &FilePosition,
    server_id: u32,
) -> Result<Vec<u8>, SourceError> {
    let beyond =
        |_| SourceError::PositionBeyondDump { file: from.file.clone(), offset: from.offset };
    let offset = u32::try_from(from.offset).map_err(beyond)?;
    let flags = match flavor {
        Flavor::MySQL => 0,
        Flavor::MariaDB => SEND_ANNOTATE_ROWS,
    };
    let mut out = offset.to_le_bytes().to_vec();
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&server_id.to_le_bytes());
    out.extend_from_slice(from.file.as_bytes());
    Ok(out)
}

/// COM_REGISTER_SLAVE: who we are in SHOW REPLICAS; no account, no port.
fn registration(server_id: u32) -> Vec<u8> {
    let mut out = server_id.to_le_bytes().to_vec();
    out.push(REPLICA_HOST.len() as u8);
    out.extend_from_slice(REPLICA_HOST.as_bytes());
    out.extend_from_slice(&[0; 2 + 2 + 4 + 4]);
    out
}

/// What a replica tells the source before a dump, under the names of every version.
pub(crate) fn session_statement(flavor: Flavor, server_id: u32, heartbeat: Duration) -> String {
    let period = heartbeat.as_nanos();
    match flavor {
        Flavor::MySQL => {
            let uuid = quote(&replica_uuid(server_id));
            format!(
                "SET @source_binlog_checksum=@@global.binlog_checksum, \
                 @master_binlog_checksum=@@global.binlog_checksum, \
                 @source_heartbeat_period={period}, @master_heartbeat_period={period}, \
                 @replica_uuid={uuid}, @slave_uuid={uuid}"
            )
        }
        Flavor::MariaDB => format!(
            "SET @master_binlog_checksum=@@global.binlog_checksum, \
             @master_heartbeat_period={period}, @mariadb_slave_capability=4"
        ),
    }
}

/// Our UUID as a replica: one per server id. So a new dump of a stream ends what the source still
/// believes to be its old one, and never another replica's.
pub(crate) fn replica_uuid(server_id: u32) -> String {
    format!("62696e6c-6f67-4f70-8000-0000{server_id:08x}")
}

#[cfg(test)]
#[path = "dump/tests.rs"]
mod tests;
