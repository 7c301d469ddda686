//! Which binlog file holds what comes next after a GTID set.
//!
//! A dump by GTID is opened and its first event read: the artificial ROTATE that names the file. No
//! other byte of such a dump is used. It counts as a dump at the source, where it ends the one of
//! the same server id: only the holder of the stream may ask.

use std::time::Duration;

use crds::position::{Flavor, GtidSet, MariaDbGtidSet, MySqlGtidSet};
use mysql_common::packets::{ComBinlogDumpGtid, GnoInterval, Sid, Tag};
use mysql_common::proto::MySerialize;
use tokio::time::timeout;

use crate::connection::{Connection, quote};
use crate::dump::Events;
use crate::error::SourceError;

/// The server opens its files one by one, newest first, to read what each begins with.
const LOCATE_LIMIT: Duration = Duration::from_mins(2);
const COM_BINLOG_DUMP: u8 = 0x12;
const COM_BINLOG_DUMP_GTID: u8 = 0x1e;
const HEADER: usize = 19;
const ROTATE: u8 = 4;

impl Connection {
    /// Names the file in which the first transaction outside `held` starts, or would.
    ///
    /// # Errors
    /// [`SourceError::Dump`] with `Purged`, `GtidNotFound` or `GtidDiverged` when the source cannot
    /// go on from that set.
    pub async fn locate(mut self, flavor: Flavor, held: &GtidSet) -> Result<String, SourceError> {
        let doing = "locate the file of a gtid set";
        // Without checksums the ROTATE ends with the file name; nothing else is read.
        let session = "SET @source_binlog_checksum='NONE', @master_binlog_checksum='NONE'";
        self.execute(session).await?;
        let (code, request) = match (flavor, held) {
            (Flavor::MySQL, GtidSet::MySql(held)) => {
                (COM_BINLOG_DUMP_GTID, mysql_request(held, self.server_id)?)
            }
            (Flavor::MariaDB, GtidSet::MariaDb(held)) => {
                self.execute(&mariadb_session(held)).await?;
                (COM_BINLOG_DUMP, mariadb_request(self.server_id))
            }
            _ => {
                return Err(SourceError::Config {
                    field: "start.gtidSet",
                    value: held.to_string().chars().take(80).collect(),
                    problem: "of another flavor than the server",
                });
            }
        };
        let mut wire = self.wire;
        wire.command(code, &request).await.map_err(|e| SourceError::wire(doing, e))?;
        let position = match held.to_string() {
            set if set.is_empty() => "the empty gtid set".to_owned(),
            set => format!("gtid set {}", set.chars().take(200).collect::<String>()),
        };
        let mut events = Events { wire, silence: LOCATE_LIMIT, position };
        let first = timeout(LOCATE_LIMIT, events.next())
            .await
            .map_err(|_| SourceError::Timeout { doing: doing.to_owned(), limit: LOCATE_LIMIT })??;
        rotate_target(first).ok_or_else(|| SourceError::protocol(doing, "no ROTATE came first"))
    }
}

/// The file named by a ROTATE without a checksum.
pub(crate) fn rotate_target(event: &[u8]) -> Option<String> {
    if event.get(4) != Some(&ROTATE) {
        return None;
    }
    let name = std::str::from_utf8(event.get(HEADER + 8..)?).ok()?;
    let plain = !name.is_empty() && !name.contains(['/', '\\', '\0']);
    plain.then(|| name.to_owned())
}

fn mysql_request(held: &MySqlGtidSet, server_id: u32) -> Result<Vec<u8>, SourceError> {
    let mut sids: Vec<(uuid::Uuid, Option<&str>, Vec<GnoInterval>)> = Vec::new();
    for (uuid, tag, first, last) in held.iter() {
        // On the wire an interval ends after its last number.
        let interval = GnoInterval::new(first, last + 1);
        match sids.last_mut() {
            Some((u, t, intervals)) if *u == uuid && *t == tag => intervals.push(interval),
            _ => sids.push((uuid, tag, vec![interval])),
        }
    }
    let mut packet = ComBinlogDumpGtid::new(server_id).with_pos(4);
    for (uuid, tag, intervals) in sids {
        let mut sid = Sid::new(*uuid.as_bytes()).with_intervals(intervals);
        if let Some(tag) = tag {
            let tag = Tag::new(tag.to_owned()).map_err(|_| SourceError::Config {
                field: "start.gtidSet",
                value: tag.to_owned(),
                problem: "no valid tag",
            })?;
            sid = sid.with_tag(tag);
        }
        packet = packet.with_sid(sid);
    }
    let mut out = Vec::new();
    packet.serialize(&mut out);
    // The command byte is added by the sender.
    out.remove(0);
    Ok(out)
}

fn mariadb_session(held: &MariaDbGtidSet) -> String {
    format!(
        "SET @mariadb_slave_capability=4, @slave_gtid_strict_mode=1, @slave_connect_state={}",
        quote(&held.to_string())
    )
}

/// Position 4 of no file: `@slave_connect_state` decides.
fn mariadb_request(server_id: u32) -> Vec<u8> {
    let mut out = 4u32.to_le_bytes().to_vec();
    out.extend_from_slice(&0u16.to_le_bytes());
    out.extend_from_slice(&server_id.to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> MySqlGtidSet {
        match GtidSet::parse(Flavor::MySQL, text).expect("a set") {
            GtidSet::MySql(set) => set,
            GtidSet::MariaDb(_) => unreachable!(),
        }
    }

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn encodes_a_set_as_the_server_decodes_it() {
        let request = mysql_request(&set(&format!("{UUID}:1-5:7")), 9).expect("a request");
        // flags, server id, file name length, position, length of the set
        let (head, body) = request.split_at(2 + 4 + 4 + 8 + 4);
        assert_eq!(head[2..6], 9u32.to_le_bytes());
        assert_eq!(head[6..10], [0; 4]);
        assert_eq!(head[10..18], 4u64.to_le_bytes());
        assert_eq!(head[18..22], (body.len() as u32).to_le_bytes());
        let numbers: Vec<u64> = body[24..]
            .chunks(8)
            .map(|chunk| u64::from_le_bytes(chunk.try_into().expect("8 bytes")))
            .collect();
        assert_eq!(body[..8], 1u64.to_le_bytes());
        assert_eq!(body[8..24], *uuid::Uuid::parse_str(UUID).expect("a uuid").as_bytes());
        assert_eq!(numbers, [2, 1, 6, 7, 8], "two intervals, ends exclusive");
    }

    #[test]
    fn a_tag_switches_the_whole_set_to_the_tagged_form() {
        let text = format!("{UUID}:1-5:blue:1-2");
        let request = mysql_request(&set(&text), 9).expect("a request");
        let body = &request[22..];
        assert_eq!(body[..8], [0, 2, 0, 0, 0, 0, 0, 1], "two entries, format 1");
        assert_eq!(body[24], 0, "the first has no tag");
        assert!(body.windows(5).any(|window| window == b"\x08blue"), "varlen 4, then the tag");
    }

    #[test]
    fn the_empty_set_asks_from_the_first_file() {
        let request = mysql_request(&MySqlGtidSet::default(), 9).expect("a request");
        assert_eq!(request[18..], [8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn only_a_rotate_names_a_file() {
        let mut event = vec![0; HEADER + 8];
        event[4] = ROTATE;
        event.extend_from_slice(b"binlog.000042");
        assert_eq!(rotate_target(&event).as_deref(), Some("binlog.000042"));
        event[4] = 15;
        assert_eq!(rotate_target(&event), None);
        event[4] = ROTATE;
        assert_eq!(rotate_target(&event[..HEADER + 8]), None);
        assert_eq!(rotate_target(&event[..HEADER]), None);
        event.extend_from_slice(b"/../x");
        assert_eq!(rotate_target(&event), None);
    }
}
