//! GTID events of both flavors, and the sets at the start of a file.

use crds::position::{Gtid, GtidSet, MAX_GNO, MariaDbGtidSet, MySqlGtidSet};
use uuid::Uuid;

use crate::event::{EventType, Header};
use crate::query::xid_text;
use crate::reader::{Reader, Short};

/// The first event of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupStart {
    /// `None` in an anonymous group.
    pub(crate) gtid: Option<Gtid>,
    /// Microseconds since 1970, MySQL 8.0.1 and later.
    pub(crate) commit_time_us: Option<i64>,
    /// MariaDB: no BEGIN follows; the group goes on to XID, COMMIT or XA_PREPARE.
    pub(crate) begins: bool,
    /// MariaDB: id of the XA transaction that is prepared here.
    pub(crate) xid: Option<String>,
    /// MariaDB: an ALTER TABLE begins, or ends what began before.
    pub(crate) half_of_alter: bool,
}

/// Reads GTID, ANONYMOUS_GTID, GTID_TAGGED or MariaDB's GTID.
pub(crate) fn group_start(header: &Header, body: &[u8]) -> Result<GroupStart, Short> {
    match header.event_type {
        EventType::GTID_TAGGED => tagged(body),
        EventType::MARIADB_GTID => mariadb(header.server_id, body),
        _ => untagged(header.event_type == EventType::ANONYMOUS_GTID, body),
    }
}

fn untagged(anonymous: bool, body: &[u8]) -> Result<GroupStart, Short> {
    let mut reader = Reader::new(body);
    reader.u8()?; // flags
    let uuid = Uuid::from_bytes(reader.array()?);
    let gno = reader.u64()?;
    let gtid = if anonymous { None } else { Some(mysql_gtid(uuid, None, gno)?) };
    let mut start = GroupStart { gtid, ..GroupStart::default() };
    // Logical clock (5.7), then commit times (8.0.1), each absent from older servers.
    if reader.u8() == Ok(2) && reader.take(16).is_ok() && reader.len() >= 7 {
        let packed = reader.uint(7)?;
        let immediate = packed & ((1 << 55) - 1);
        start.commit_time_us = positive(immediate);
    }
    Ok(start)
}

/// MySQL's serialization format: version, size, last field that may not be ignored, then fields as
/// (id, value) in rising order.
fn tagged(body: &[u8]) -> Result<GroupStart, Short> {
    let mut reader = Reader::new(body);
    let envelope = reader.len();
    if reader.varlen()? != 1 {
        return Err(Short); // a version of the format that is not known
    }
    let size = usize::try_from(reader.varlen()?).map_err(|_| Short)?;
    let last_needed = reader.varlen()?;
    let used = envelope - reader.len();
    let mut fields = Reader::new(reader.take(size.checked_sub(used).ok_or(Short)?)?);
    let (mut uuid, mut gno, mut tag, mut time) = (None, None, None, None);
    while !fields.is_empty() {
        match fields.varlen()? {
            0 | 7..=11 => {
                fields.varlen()?;
            }
            1 => {
                let mut bytes = [0; 16];
                for byte in &mut bytes {
                    *byte = u8::try_from(fields.varlen()?).map_err(|_| Short)?;
                }
                uuid = Some(Uuid::from_bytes(bytes));
            }
            2 => gno = Some(fields.varlen_signed()?),
            3 => tag = Some(tag_text(&mut fields)?),
            4 | 5 => {
                fields.varlen_signed()?;
            }
            6 => time = positive(fields.varlen()?),
            field if field <= last_needed => return Err(Short),
            _ => break, // of a later version, and said to be dispensable
        }
    }
    let gno = gno.and_then(|gno| u64::try_from(gno).ok()).ok_or(Short)?;
    let gtid = mysql_gtid(uuid.ok_or(Short)?, tag.flatten(), gno)?;
    Ok(GroupStart { gtid: Some(gtid), commit_time_us: time, ..GroupStart::default() })
}

fn mysql_gtid(uuid: Uuid, tag: Option<&str>, gno: u64) -> Result<Gtid, Short> {
    if !(1..=MAX_GNO).contains(&gno) {
        return Err(Short);
    }
    if tag.is_some() {
        // The set's own rules say which tags exist.
        MySqlGtidSet::default().add_range(uuid, tag, gno, gno).map_err(|_| Short)?;
    }
    Ok(Gtid::MySql { uuid, tag: tag.map(str::to_owned), gno })
}

fn tag_text<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a str>, Short> {
    let length = usize::try_from(reader.varlen()?).map_err(|_| Short)?;
    let text = std::str::from_utf8(reader.take(length)?).map_err(|_| Short)?;
    Ok((!text.is_empty()).then_some(text))
}

fn positive(microseconds: u64) -> Option<i64> {
    i64::try_from(microseconds).ok().filter(|time| *time > 0)
}

fn mariadb(server: u32, body: &[u8]) -> Result<GroupStart, Short> {
    const STANDALONE: u8 = 1;
    const GROUP_COMMIT_ID: u8 = 2;
    const PREPARED_XA: u8 = 64;
    const COMPLETED_XA: u8 = 128;
    /// Among the flags behind, which older servers have not: an ALTER TABLE starts, is committed, is rolled back.
    const HALF_OF_ALTER: u8 = 2 | 4 | 8;
    let mut reader = Reader::new(body);
    let seq = reader.u64()?;
    let domain = reader.u32()?;
    let flags = reader.u8()?;
    if flags & GROUP_COMMIT_ID != 0 {
        reader.u64()?;
    }
    let mut xid = None;
    if flags & (PREPARED_XA | COMPLETED_XA) != 0 {
        let format = reader.u32()?;
        let (global, branch) = (usize::from(reader.u8()?), usize::from(reader.u8()?));
        xid = Some(xid_text(format, reader.take(global)?, reader.take(branch)?));
    }
    let more_flags = reader.u8().unwrap_or_default();
    Ok(GroupStart {
        gtid: Some(Gtid::MariaDb { domain, server, seq }),
        commit_time_us: None,
        begins: flags & (STANDALONE | COMPLETED_XA) == 0,
        xid,
        half_of_alter: more_flags & HALF_OF_ALTER != 0,
    })
}

/// An XA_PREPARE body: whether the transaction is committed in one phase, and its id.
pub(crate) fn xa_prepare(body: &[u8]) -> Result<(bool, String), Short> {
    let mut reader = Reader::new(body);
    let one_phase = reader.u8()? != 0;
    let format = reader.u32()?;
    let (global, branch) = (reader.u32()? as usize, reader.u32()? as usize);
    Ok((one_phase, xid_text(format, reader.take(global)?, reader.take(branch)?)))
}

/// PREVIOUS_GTIDS, in the form without and with tags.
pub(crate) fn previous_gtids(body: &[u8]) -> Result<GtidSet, Short> {
    let mut reader = Reader::new(body);
    let head = reader.u64()?;
    // With tags the first and the last byte are 1 and the count stands between.
    let tags = head >> 56 == 1;
    let count = if tags { (head >> 8) & ((1 << 48) - 1) } else { head };
    let mut set = MySqlGtidSet::default();
    for _ in 0..count {
        let uuid = Uuid::from_bytes(reader.array()?);
        let tag = if tags { tag_text(&mut reader)? } else { None };
        for _ in 0..reader.u64()? {
            let (first, end) = (reader.u64()?, reader.u64()?);
            let last = end.checked_sub(1).ok_or(Short)?;
            set.add_range(uuid, tag, first, last).map_err(|_| Short)?;
        }
    }
    Ok(GtidSet::MySql(set))
}

/// MariaDB's GTID_LIST. A domain is listed once per server that wrote in it, the latest last: that is
/// the domain's position. The others are what was seen of those servers before it.
pub(crate) fn gtid_list(body: &[u8]) -> Result<GtidSet, Short> {
    const COUNT: u32 = (1 << 28) - 1;
    let mut reader = Reader::new(body);
    let mut listed: Vec<(u32, u32, u64)> = Vec::new();
    let mut latest = std::collections::HashMap::new();
    for _ in 0..reader.u32()? & COUNT {
        let entry @ (domain, server, seq) = (reader.u32()?, reader.u32()?, reader.u64()?);
        latest.insert(domain, (seq, server));
        listed.push(entry);
    }
    let mut set = MariaDbGtidSet::default();
    for (domain, server, seq) in listed {
        // Without strict mode a server may have written a higher number earlier: it is no position.
        if latest.get(&domain).is_some_and(|latest| (seq, server) <= *latest) {
            set.add(domain, server, seq);
        }
    }
    Ok(GtidSet::MariaDb(set))
}
