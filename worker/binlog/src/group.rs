//! From events to groups (transactions): where one begins, where it ends, and how.
//!
//! Invariants:
//! - `boundary` is true only where no group is open: a stream may be cut and resumed there
//!   (`every_boundary_is_a_restart_point` in `tests/suite/groups.rs`);
//! - a group's GTID is handed out by `ended` alone, so it cannot join a set before its commit
//!   (`a_gtid_is_handed_out_at_the_groups_end`);
//! - an event that cannot be placed is an error, never passed over
//!   (`events_that_cannot_be_placed_are_errors`).

use crds::position::{FilePosition, Flavor, Gtid, GtidSet};

use crate::decoder::TableName;
use crate::event::EventType;
use crate::frame::Frame;
use crate::gtid;
use crate::inflate;
use crate::payload;
use crate::query::{self, Query, Statement};

/// The group an event belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its id; `None` in an anonymous group.
    pub gtid: Option<Gtid>,
    /// The same as text.
    pub gtid_text: Option<String>,
    /// Its first byte.
    pub from: FilePosition,
    /// Commit time in microseconds since 1970: the GTID event's own, else the second in its header.
    /// `None` if neither is set.
    pub commit_time_us: Option<i64>,
    /// Server that executed it first.
    pub server_id: u32,
    /// Where its rows are told, if that is not where they stand: the first byte of the verdict about a prepared group.
    pub told_at: Option<FilePosition>,
    /// MariaDB: it is one of the two groups that one ALTER TABLE is logged as (`binlog_alter_two_phase`).
    pub half_of_alter: bool,
}

/// How a group ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its changes hold.
    Committed,
    /// It was logged only because it touched tables that cannot roll back.
    RolledBack,
    /// First phase of an XA transaction: its changes hold only after a later `XaVerdict`.
    XaPrepared {
        /// Id of the XA transaction, `X'6162',X'',1`.
        xid: String,
    },
    /// The group carries no rows; it decides over a prepared XA transaction.
    XaVerdict {
        /// Id of the XA transaction, in the same form.
        xid: String,
        /// Whether its changes hold.
        committed: bool,
    },
    /// The file ended inside the group: the source crashed, and the transaction never happened.
    Torn,
}

/// A group that ended with the observed event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedGroup {
    /// Its id. Unless it is torn, it now belongs to the set of processed transactions.
    pub gtid: Option<Gtid>,
    /// How it ended.
    pub verdict: Verdict,
    /// Its first byte.
    pub from: FilePosition,
    /// Seconds since 1970 in the header of its last event.
    pub event_time: u32,
    /// Commit time in microseconds since 1970, as in [`Group`].
    pub commit_time_us: Option<i64>,
}

/// What an event means to the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Describes a table.
    TableMap,
    /// Carries rows.
    Rows,
    /// Text of the statement behind the rows that follow.
    RowsQuery,
    /// A statement that may have changed rows, without rows events: a gap to be named.
    StatementDml {
        /// The table whose rows it changed; `None` if it may have been any.
        table: Option<TableName>,
    },
    /// A place in the group to which it may go back.
    Savepoint {
        /// Its name, in lower case.
        name: String,
    },
    /// The group's changes behind the savepoint are undone. The servers write both only where a
    /// table that cannot roll back was changed too.
    RollbackTo {
        /// Name of the savepoint, in lower case.
        name: String,
    },
    /// A statement that may have changed a schema. Tables that it empties, drops or renames are told by the decoder.
    Ddl,
    /// A compressed transaction.
    Payload,
    /// The source lost events: a gap to be named.
    Incident,
    /// The file ends here by rotation.
    Rotate {
        /// Name of the next file.
        next_file: String,
    },
    /// The file ends here by a shutdown.
    Stop,
    /// First event of a file.
    FormatDescription,
    /// MySQL: transactions in earlier files.
    PreviousGtids(GtidSet),
    /// MariaDB: the last transaction of each domain in earlier files.
    GtidList(GtidSet),
    /// Nothing that concerns the pipeline.
    Other,
}

/// Outcome of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Whether the end of this event is a place to cut and to resume.
    pub boundary: bool,
    /// The group that ended with this event.
    pub ended: Option<EndedGroup>,
    /// What the event is.
    pub meaning: Meaning,
}

/// Why an event cannot be placed. The stream cannot go on: what follows might be misread.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("follow groups at {file}:{offset}: {event_type} {problem}")]
pub struct GroupError {
    /// File of the event.
    pub file: String,
    /// Offset of the event.
    pub offset: u64,
    /// Type of the event.
    pub event_type: EventType,
    /// What is wrong with it.
    pub problem: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Outside,
    /// The group's id came; one statement, or a BEGIN, follows.
    Announced,
    /// The group goes on to XID, COMMIT, ROLLBACK or XA_PREPARE.
    Begun,
}

/// Follows the events of a stream group by group.
#[derive(Debug)]
pub struct GroupTracker {
    flavor: Flavor,
    state: State,
    group: Option<Group>,
    inflated: Vec<u8>,
}

type Problem = &'static str;

/// What a statement or event does to the open group.
enum Turn {
    Stay(Meaning),
    End(Meaning, Verdict),
    /// An event outside of groups.
    Between(Meaning),
}

impl GroupTracker {
    /// A tracker that stands at a boundary.
    pub const fn new(flavor: Flavor) -> Self {
        Self { flavor, state: State::Outside, group: None, inflated: Vec::new() }
    }

    /// Flavor of the source.
    pub const fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// The group of the last observed event; also if the event ended it.
    pub const fn group(&self) -> Option<&Group> {
        self.group.as_ref()
    }

    /// Whether a group is open behind the last observed event.
    pub fn is_open(&self) -> bool {
        self.state != State::Outside
    }

    /// Forgets the open group: the next event comes from a boundary.
    pub fn reset(&mut self) {
        self.state = State::Outside;
        self.group = None;
    }

    /// Places the next event.
    ///
    /// # Errors
    /// The event makes no sense where it stands, or could not be read.
    pub fn observe(&mut self, file: &str, frame: &Frame<'_>) -> Result<Step, GroupError> {
        if self.state == State::Outside {
            self.group = None;
        }
        if frame.is_artificial() {
            return Ok(Step { boundary: false, ended: None, meaning: Meaning::Other });
        }
        let error = |problem| GroupError {
            file: file.to_owned(),
            offset: frame.from,
            event_type: frame.header.event_type,
            problem,
        };
        let turn = self.turn(file, frame).map_err(error)?;
        let (meaning, verdict, boundary) = match turn {
            Turn::Stay(meaning) => (meaning, None, self.state == State::Outside),
            Turn::End(meaning, verdict) => (meaning, Some(verdict), true),
            Turn::Between(meaning) => (meaning, self.is_open().then_some(Verdict::Torn), true),
        };
        let ended = verdict.map(|verdict| {
            self.state = State::Outside;
            EndedGroup {
                gtid: self.group.as_ref().and_then(|group| group.gtid.clone()),
                from: self.group.as_ref().map_or_else(
                    || FilePosition::new(file, frame.from),
                    |group| group.from.clone(),
                ),
                event_time: frame.header.timestamp,
                commit_time_us: self.group.as_ref().and_then(|group| group.commit_time_us),
                verdict,
            }
        });
        Ok(Step { boundary, ended, meaning })
    }

    fn turn(&mut self, file: &str, frame: &Frame<'_>) -> Result<Turn, Problem> {
        match frame.header.event_type {
            EventType::GTID
            | EventType::ANONYMOUS_GTID
            | EventType::GTID_TAGGED
            | EventType::MARIADB_GTID => self.start_group(file, frame),
            EventType::QUERY => self.query(file, frame, frame.body),
            EventType::QUERY_COMPRESSED => self.compressed_query(file, frame),
            EventType::XID => self.end(Meaning::Other, Verdict::Committed),
            EventType::XA_PREPARE => {
                let (one_phase, xid) = gtid::xa_prepare(frame.body).map_err(|_| "is cut short")?;
                let verdict =
                    if one_phase { Verdict::Committed } else { Verdict::XaPrepared { xid } };
                self.end(Meaning::Other, verdict)
            }
            EventType::TRANSACTION_PAYLOAD => {
                // One that cannot be read ends its group too; the decoder says that its rows are lost.
                let prepares = payload::prepares(frame.body).unwrap_or_default();
                self.open(file, frame, State::Announced);
                let verdict =
                    prepares.map_or(Verdict::Committed, |xid| Verdict::XaPrepared { xid });
                self.end(Meaning::Payload, verdict)
            }
            EventType::INCIDENT => Ok(match self.state {
                State::Outside => Turn::Between(Meaning::Incident),
                State::Announced => Turn::End(Meaning::Incident, Verdict::Committed),
                State::Begun => Turn::Stay(Meaning::Incident),
            }),
            EventType::FORMAT_DESCRIPTION
            | EventType::PREVIOUS_GTIDS
            | EventType::GTID_LIST
            | EventType::BINLOG_CHECKPOINT
            | EventType::START_ENCRYPTION
            | EventType::ROTATE
            | EventType::STOP => between(frame).map(Turn::Between),
            _ => self.content(file, frame).map(Turn::Stay),
        }
    }

    fn start_group(&mut self, file: &str, frame: &Frame<'_>) -> Result<Turn, Problem> {
        if self.is_open() {
            return Err("came inside a group that has not ended");
        }
        let mariadb = frame.header.event_type == EventType::MARIADB_GTID;
        if mariadb != (self.flavor == Flavor::MariaDB) {
            return Err("does not belong to the source's flavor");
        }
        let start = gtid::group_start(&frame.header, frame.body).map_err(|_| "is malformed")?;
        let state = if start.begins { State::Begun } else { State::Announced };
        self.open(file, frame, state);
        if let Some(group) = &mut self.group {
            group.gtid_text = start.gtid.as_ref().map(Gtid::to_string);
            group.gtid = start.gtid;
            group.half_of_alter = start.half_of_alter;
            group.commit_time_us = start.commit_time_us.or(group.commit_time_us);
        }
        Ok(Turn::Stay(Meaning::Other))
    }

    /// Opens an anonymous group at this event if none is open.
    fn open(&mut self, file: &str, frame: &Frame<'_>, state: State) {
        if self.is_open() {
            return;
        }
        let seconds = i64::from(frame.header.timestamp);
        self.state = state;
        self.group = Some(Group {
            gtid: None,
            gtid_text: None,
            from: FilePosition::new(file, frame.from),
            commit_time_us: (seconds != 0).then_some(seconds * 1_000_000),
            server_id: frame.header.server_id,
            told_at: None,
            half_of_alter: false,
        });
    }

    fn end(&self, meaning: Meaning, verdict: Verdict) -> Result<Turn, Problem> {
        if self.is_open() {
            Ok(Turn::End(meaning, verdict))
        } else {
            Err("ends a group, but none is open")
        }
    }

    fn compressed_query(&mut self, file: &str, frame: &Frame<'_>) -> Result<Turn, Problem> {
        let Query { schema, error, text: packed } =
            query::parse(frame.body).map_err(|_| "is cut short")?;
        let mut text = std::mem::take(&mut self.inflated);
        let inflated = inflate::event(packed, &mut text).map_err(|_| "cannot be inflated");
        let turn = inflated
            .and_then(|()| self.statement(file, frame, Query { schema, error, text: &text }));
        self.inflated = text;
        turn
    }

    fn query(&mut self, file: &str, frame: &Frame<'_>, body: &[u8]) -> Result<Turn, Problem> {
        let query = query::parse(body).map_err(|_| "is cut short")?;
        self.statement(file, frame, query)
    }

    fn statement(
        &mut self,
        file: &str,
        frame: &Frame<'_>,
        query: Query<'_>,
    ) -> Result<Turn, Problem> {
        let statement = query::classify(query.text);
        if statement == Statement::Nothing && !self.is_open() {
            return Ok(Turn::Between(Meaning::Other));
        }
        self.open(file, frame, State::Announced);
        let stay_or_end = |meaning| match self.state {
            State::Begun => Turn::Stay(meaning),
            State::Outside | State::Announced => Turn::End(meaning, Verdict::Committed),
        };
        Ok(match statement {
            Statement::Begin | Statement::XaStart => {
                self.state = State::Begun;
                Turn::Stay(Meaning::Other)
            }
            Statement::Inside => Turn::Stay(Meaning::Other),
            Statement::Savepoint(name) => Turn::Stay(Meaning::Savepoint { name }),
            Statement::RollbackTo(name) => Turn::Stay(Meaning::RollbackTo { name }),
            Statement::Commit => Turn::End(Meaning::Other, Verdict::Committed),
            Statement::Rollback => Turn::End(Meaning::Other, Verdict::RolledBack),
            Statement::XaVerdict { xid, committed } => {
                Turn::End(Meaning::Other, Verdict::XaVerdict { xid, committed })
            }
            Statement::Nothing => stay_or_end(Meaning::Other),
            Statement::Ddl | Statement::Tables(_) => stay_or_end(Meaning::Ddl),
            Statement::Dml(table) => stay_or_end(Meaning::StatementDml {
                table: table.map(|table| table.within(query.schema)),
            }),
            Statement::Bad => return Err("carries a statement whose id or name cannot be read"),
        })
    }

    /// Events that only stand inside groups, and those that are not known.
    fn content(&mut self, file: &str, frame: &Frame<'_>) -> Result<Meaning, Problem> {
        let meaning = match frame.header.event_type {
            EventType::TABLE_MAP => Meaning::TableMap,
            EventType::WRITE_ROWS_V1
            | EventType::UPDATE_ROWS_V1
            | EventType::DELETE_ROWS_V1
            | EventType::PRE_GA_WRITE_ROWS
            | EventType::PRE_GA_UPDATE_ROWS
            | EventType::PRE_GA_DELETE_ROWS
            | EventType::WRITE_ROWS
            | EventType::UPDATE_ROWS
            | EventType::DELETE_ROWS
            | EventType::PARTIAL_UPDATE_ROWS
            | EventType::WRITE_ROWS_COMPRESSED_V1
            | EventType::UPDATE_ROWS_COMPRESSED_V1
            | EventType::DELETE_ROWS_COMPRESSED_V1
            | EventType::WRITE_ROWS_COMPRESSED
            | EventType::UPDATE_ROWS_COMPRESSED
            | EventType::DELETE_ROWS_COMPRESSED
            | EventType::PARTIAL_ROW_DATA => Meaning::Rows,
            EventType::ROWS_QUERY | EventType::ANNOTATE_ROWS => Meaning::RowsQuery,
            EventType::EXECUTE_LOAD_QUERY => Meaning::StatementDml { table: None },
            EventType::INTVAR
            | EventType::RAND
            | EventType::USER_VAR
            | EventType::BEGIN_LOAD_QUERY
            | EventType::APPEND_BLOCK
            | EventType::DELETE_FILE
            | EventType::TRANSACTION_CONTEXT
            | EventType::VIEW_CHANGE => Meaning::Other,
            EventType::IGNORABLE => return Ok(Meaning::Other),
            _ if frame.header.is_ignorable() => return Ok(Meaning::Other),
            _ => return Err("is not known and may not be ignored"),
        };
        let rows = matches!(meaning, Meaning::TableMap | Meaning::Rows);
        self.open(file, frame, if rows { State::Begun } else { State::Announced });
        if rows {
            self.state = State::Begun;
        }
        Ok(meaning)
    }
}

/// Reads an event that stands between groups.
fn between(frame: &Frame<'_>) -> Result<Meaning, Problem> {
    let malformed = |_| "is malformed";
    Ok(match frame.header.event_type {
        EventType::FORMAT_DESCRIPTION => Meaning::FormatDescription,
        EventType::PREVIOUS_GTIDS => {
            Meaning::PreviousGtids(gtid::previous_gtids(frame.body).map_err(malformed)?)
        }
        EventType::GTID_LIST => Meaning::GtidList(gtid::gtid_list(frame.body).map_err(malformed)?),
        EventType::STOP => Meaning::Stop,
        EventType::ROTATE => {
            let name = frame.body.get(8..).ok_or("is cut short")?;
            let name = std::str::from_utf8(name).map_err(|_| "names a file that is no text")?;
            Meaning::Rotate { next_file: name.to_owned() }
        }
        _ => Meaning::Other,
    })
}
