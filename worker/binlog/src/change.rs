//! One row change, as it is handed to a sink.

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// The row came to be.
    Insert,
    /// The row changed.
    Update,
    /// The row is gone.
    Delete,
    /// All rows of the table are gone.
    Truncate,
    /// The table is gone with all its rows; without a table's name, all tables of the schema are.
    Drop,
    /// The table has another name: `before` and `after` are objects of `schema` and `table`.
    Rename,
}

impl Op {
    /// The word stored in the change log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
            Self::Drop => "drop",
            Self::Rename => "rename",
        }
    }
}

/// One row change. Borrowed from the decoder's buffers: a sink copies what it keeps.
///
/// Identity: `gtid` where there is one, else lineage, `file` and `position`; then `event_ordinal`
/// and `row_ordinal`. The same bytes give the same identity, whatever the filter.
#[derive(Clone, Copy, Debug)]
pub struct ChangeRow<'a> {
    /// Commit time in microseconds since 1970 by the source's clock.
    pub commit_time_us: i64,
    /// What happened.
    pub op: Op,
    /// Schema of the table.
    pub schema: &'a str,
    /// Name of the table.
    pub table: &'a str,
    /// Values of the primary key in key order as a JSON array; of the row before an update. `None`
    /// if the table has no primary key or the image lacks a part of it.
    pub pk_text: Option<&'a str>,
    /// First 8 bytes (big-endian) of the SHA-256 of `pk_text`.
    pub pk_hash: Option<u64>,
    /// The row before as a JSON object; columns that the image lacks are left out, NULL is null.
    pub before: Option<&'a str>,
    /// The row after, in the same form.
    pub after: Option<&'a str>,
    /// Update: columns whose bytes differ, or that only the after image has. Else empty.
    pub changed: &'a [&'a str],
    /// Id of the transaction.
    pub gtid: Option<&'a str>,
    /// File that holds the group's first event.
    pub file: &'a str,
    /// Offset of the group's first event.
    pub position: u64,
    /// Which event of the group, from 0, counted through compressed payloads: of rows events and of
    /// statements about whole tables.
    pub event_ordinal: u32,
    /// Which row of the event, or table of the statement, from 0.
    pub row_ordinal: u32,
    /// Fingerprint of the table's schema: SHA-256 in hex, see `SchemaRecord`; empty for a whole table.
    pub fingerprint: &'a str,
    /// Server that executed the transaction first.
    pub server_id: u32,
    /// The statement, if the source logs it; it always does for a whole table.
    pub statement: Option<&'a str>,
}

/// Why a sink did not take a row. The decoder hands it on unchanged.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SinkError {
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl SinkError {
    /// An error with a message that says what the sink was doing.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// An error with its cause.
    pub fn because(
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { message: message.into(), source: Some(source.into()) }
    }
}

/// Takes row changes.
pub trait ChangeSink {
    /// Takes one row.
    ///
    /// # Errors
    /// The row could not be kept; decoding stops there.
    fn push(&mut self, row: &ChangeRow<'_>) -> Result<(), SinkError>;
}
