//! The 19-byte header of every event, and the codes of the event types.

use crate::reader::{Reader, Short};

/// Length of an event's header in bytes.
pub const HEADER_LENGTH: usize = 19;
/// Length of the CRC32 at the end of a checked event in bytes.
pub const CHECKSUM_LENGTH: usize = 4;

/// Set in a format description while its file is open on the server's disk; never on the wire.
pub(crate) const FLAG_IN_USE: u16 = 0x1;
/// The statement means something else in another session: it works on a temporary table.
pub(crate) const FLAG_THREAD_SPECIFIC: u16 = 0x4;
/// Made up by the server for this connection; not a byte of it is in the file.
pub(crate) const FLAG_ARTIFICIAL: u16 = 0x20;
/// A reader that does not know the type may go on without it.
pub(crate) const FLAG_IGNORABLE: u16 = 0x80;

/// Code of an event's type.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventType(pub u8);

macro_rules! event_types {
    ($($name:ident = $code:literal, $doc:literal;)*) => {
        impl EventType {
            $(#[doc = $doc] pub const $name: Self = Self($code);)*

            /// The server's name of the type; `None` for a code that is not known here.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $($code => Some(stringify!($name)),)* _ => None }
            }
        }
    };
}

event_types! {
    QUERY = 2, "A statement: transaction control, DDL, or DML in statement format.";
    STOP = 3, "The server shut down; the file ends here.";
    ROTATE = 4, "The next file's name.";
    INTVAR = 5, "LAST_INSERT_ID or INSERT_ID of the next statement.";
    APPEND_BLOCK = 9, "Part of a LOAD DATA file (statement format).";
    DELETE_FILE = 11, "A LOAD DATA file was dropped (statement format).";
    RAND = 13, "Seeds of the next statement.";
    USER_VAR = 14, "A user variable of the next statement.";
    FORMAT_DESCRIPTION = 15, "First event of a file.";
    XID = 16, "Commit of a transaction.";
    BEGIN_LOAD_QUERY = 17, "First part of a LOAD DATA file (statement format).";
    EXECUTE_LOAD_QUERY = 18, "A LOAD DATA statement (statement format).";
    TABLE_MAP = 19, "Describes a table to the rows events that follow.";
    PRE_GA_WRITE_ROWS = 20, "Rows of a MySQL 5.1 pre-release.";
    PRE_GA_UPDATE_ROWS = 21, "Rows of a MySQL 5.1 pre-release.";
    PRE_GA_DELETE_ROWS = 22, "Rows of a MySQL 5.1 pre-release.";
    WRITE_ROWS_V1 = 23, "Inserted rows (MariaDB, MySQL 5.1-5.5).";
    UPDATE_ROWS_V1 = 24, "Updated rows (MariaDB, MySQL 5.1-5.5).";
    DELETE_ROWS_V1 = 25, "Deleted rows (MariaDB, MySQL 5.1-5.5).";
    INCIDENT = 26, "The server lost events.";
    HEARTBEAT = 27, "Nothing new; the server is alive.";
    IGNORABLE = 28, "May be passed over.";
    ROWS_QUERY = 29, "Text of the statement behind the rows events that follow.";
    WRITE_ROWS = 30, "Inserted rows.";
    UPDATE_ROWS = 31, "Updated rows.";
    DELETE_ROWS = 32, "Deleted rows.";
    GTID = 33, "First event of a group.";
    ANONYMOUS_GTID = 34, "First event of a group without an id.";
    PREVIOUS_GTIDS = 35, "Transactions in earlier files.";
    TRANSACTION_CONTEXT = 36, "Group replication's certification data.";
    VIEW_CHANGE = 37, "Group replication's membership change.";
    XA_PREPARE = 38, "End of an XA transaction's first phase.";
    PARTIAL_UPDATE_ROWS = 39, "Updated rows with JSON diffs.";
    TRANSACTION_PAYLOAD = 40, "A compressed transaction.";
    HEARTBEAT_V2 = 41, "Heartbeat with a 64-bit position.";
    GTID_TAGGED = 42, "First event of a group whose id has a tag.";
    ANNOTATE_ROWS = 160, "MariaDB: text of the statement behind the rows events that follow.";
    BINLOG_CHECKPOINT = 161, "MariaDB: oldest file needed for crash recovery.";
    MARIADB_GTID = 162, "MariaDB: first event of a group.";
    GTID_LIST = 163, "MariaDB: transactions in earlier files.";
    START_ENCRYPTION = 164, "MariaDB: the file is encrypted on the server's disk.";
    QUERY_COMPRESSED = 165, "MariaDB: a compressed statement.";
    WRITE_ROWS_COMPRESSED_V1 = 166, "MariaDB: compressed inserted rows.";
    UPDATE_ROWS_COMPRESSED_V1 = 167, "MariaDB: compressed updated rows.";
    DELETE_ROWS_COMPRESSED_V1 = 168, "MariaDB: compressed deleted rows.";
    WRITE_ROWS_COMPRESSED = 169, "MariaDB: compressed inserted rows, version 2.";
    UPDATE_ROWS_COMPRESSED = 170, "MariaDB: compressed updated rows, version 2.";
    DELETE_ROWS_COMPRESSED = 171, "MariaDB: compressed deleted rows, version 2.";
    PARTIAL_ROW_DATA = 172, "MariaDB 12.3: a piece of a rows event.";
}

impl std::fmt::Display for EventType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "type {}", self.0),
        }
    }
}

impl std::fmt::Debug for EventType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// The header of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Seconds since 1970 by the source's clock; 0 in artificial events.
    pub timestamp: u32,
    /// What the event is.
    pub event_type: EventType,
    /// The server that wrote the event first.
    pub server_id: u32,
    /// Length of the whole event in bytes, header and checksum included.
    pub length: u32,
    /// Offset of the event's end modulo 2^32; 0 inside some transactions and in artificial events.
    pub log_pos: u32,
    /// Flags of the event.
    pub flags: u16,
}

impl Header {
    /// Reads a header off the front of an event; `None` if the bytes are too few.
    pub fn parse(event: &[u8]) -> Option<Self> {
        Self::read(&mut Reader::new(event)).ok()
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Short> {
        Ok(Self {
            timestamp: reader.u32()?,
            event_type: EventType(reader.u8()?),
            server_id: reader.u32()?,
            length: reader.u32()?,
            log_pos: reader.u32()?,
            flags: reader.u16()?,
        })
    }

    /// Whether a reader that does not know the type may go on without it.
    pub const fn is_ignorable(&self) -> bool {
        self.flags & FLAG_IGNORABLE != 0
    }
}
