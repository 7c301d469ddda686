//! From the events of a group to row changes.
//!
//! Invariants:
//! - a row's ordinals count every rows event of its group, and every statement about whole tables, wanted or not, so that its identity does
//!   not depend on filters or stops (`identity_does_not_depend_on_the_filter` in `tests/suite/changes.rs`);
//! - a table that cannot be decoded is stopped under its name, its rows are left out from then on, and
//!   the others go on (`a_table_without_names_is_stopped_and_the_others_go_on`);
//! - an event that may carry rows and is not decoded is an error, never passed over.

mod emit;
mod names;
mod tables;
mod whole;

use std::collections::{BTreeMap, HashSet};
use std::io::Cursor;
use std::sync::Arc;

use crds::position::{FilePosition, Flavor};

use crate::change::{ChangeSink, SinkError};
use crate::event::{EventType, HEADER_LENGTH, Header};
use crate::filter::Filter;
use crate::frame::Frame;
use crate::group::Group;
use crate::payload::Payload;
use crate::plan::Plan;
use crate::query::{self, Statement};
use crate::rows::Layout;
use crate::schema::SchemaRecord;
use crate::touches::is_control;
use emit::Emitter;
pub use names::Unnamed;
use tables::{Described, Tables};

/// Fingerprints remembered as handed out; past it a schema may be handed out again.
const MAX_FINGERPRINTS: usize = 65_536;

/// A table, by its names on the source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// Schema of the table.
    pub schema: String,
    /// Name of the table.
    pub table: String,
}

impl TableName {
    fn of(plan: &Plan) -> Self {
        Self { schema: plan.schema.clone(), table: plan.table.clone() }
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// A table whose rows are not decoded any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoppedTable {
    /// What could not be decoded, and how to mend it. Names types and columns, never values.
    pub reason: String,
    /// Start of the first group whose rows are missing, wholly or in part. For a prepared group that a later one
    /// commits it is that one's: what was told in between stands.
    pub since: FilePosition,
    /// The first row that is missing there: ordinal of its event in the group, of the row in the event.
    pub since_row: (u32, u32),
}

/// Why decoding must stop. A fault of one table stops that table only and is no error.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The event could not be read, or contradicts the ones before it.
    #[error("decode {event_type} at {file}:{offset}: {problem}")]
    Malformed {
        /// File of the event.
        file: String,
        /// Offset of the event.
        offset: u64,
        /// Type of the event.
        event_type: EventType,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The event may carry rows, and its type is not decoded.
    #[error("decode {event_type} at {file}:{offset}: this type may carry rows and is not decoded")]
    Unsupported {
        /// File of the event.
        file: String,
        /// Offset of the event.
        offset: u64,
        /// Type of the event.
        event_type: EventType,
    },
    /// The sink did not take a row.
    #[error("hand over a row change of {table}")]
    Sink {
        /// The row's table.
        table: TableName,
        /// What the sink said.
        source: SinkError,
    },
}

/// Decodes the rows of a stream.
pub struct ChangeDecoder {
    flavor: Flavor,
    filter: Filter,
    tables: Tables,
    stopped: BTreeMap<TableName, StoppedTable>,
    /// What table maps without column names are completed with.
    described: Described,
    /// Whether to ask for what is not known.
    asks: bool,
    /// What is asked for.
    unnamed: Option<Unnamed>,
    /// The compressed transaction has a statement that does more than to begin or end it.
    mixed: bool,
    new_schemas: Vec<SchemaRecord>,
    handed_out: HashSet<String>,
    /// Start of the group that the state below belongs to.
    group: Option<FilePosition>,
    /// Rows events seen in the group.
    ordinal: u32,
    /// Text of the running statement; empty if the source does not log it.
    statement: String,
    emitter: Emitter,
    inflated: Vec<u8>,
    /// Tables with values that the group's events do not tell, and a column of each.
    unknown: BTreeMap<TableName, String>,
    /// The compressed transaction being unpacked, and where its event stands.
    packed: Option<(Payload<Cursor<Vec<u8>>>, FilePosition)>,
    inner: Vec<u8>,
}

/// Where an event stands, for messages.
#[derive(Clone, Copy)]
struct At<'a> {
    file: &'a str,
    offset: u64,
}

impl At<'_> {
    fn malformed(self, event_type: EventType, problem: &'static str) -> DecodeError {
        DecodeError::Malformed {
            file: self.file.to_owned(),
            offset: self.offset,
            event_type,
            problem,
        }
    }

    fn unsupported(self, event_type: EventType) -> DecodeError {
        DecodeError::Unsupported { file: self.file.to_owned(), offset: self.offset, event_type }
    }
}

impl ChangeDecoder {
    /// A decoder for a source of this flavor.
    pub fn new(flavor: Flavor, filter: Filter) -> Self {
        Self {
            flavor,
            filter,
            tables: Tables::default(),
            stopped: BTreeMap::new(),
            described: Described::new(),
            asks: false,
            unnamed: None,
            mixed: false,
            new_schemas: Vec::new(),
            handed_out: HashSet::new(),
            group: None,
            ordinal: 0,
            statement: String::new(),
            emitter: Emitter::default(),
            inflated: Vec::new(),
            unknown: BTreeMap::new(),
            packed: None,
            inner: Vec::new(),
        }
    }

    /// Decodes one event of `group`; rows go to `sink` in the order of the bytes. A group that
    /// starts elsewhere than the last one starts afresh. A compressed transaction is only opened:
    /// its events come by [`Self::unpack`].
    ///
    /// # Errors
    /// The group cannot be decoded further, or the sink refused a row. What it gave so far does not
    /// stand; the next group can be decoded.
    pub fn decode(
        &mut self,
        file: &str,
        frame: &Frame<'_>,
        group: &Group,
        sink: &mut dyn ChangeSink,
    ) -> Result<(), DecodeError> {
        if self.group.as_ref() != Some(&group.from) {
            self.reset_group();
            self.group = Some(group.from.clone());
        }
        let at = At { file, offset: frame.from };
        if frame.header.event_type == EventType::TRANSACTION_PAYLOAD {
            let payload = Payload::copy(frame.body)
                .map_err(|problem| at.malformed(EventType::TRANSACTION_PAYLOAD, problem))?;
            self.packed = Some((payload, FilePosition::new(file, frame.from)));
            return Ok(());
        }
        self.event(at, &frame.header, frame.body, group, sink)
    }

    /// Decodes the next event of the compressed transaction that was opened last; `false` if there
    /// is none. One at a time, because they can be any number of times as long as what was sent.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn unpack(
        &mut self,
        group: &Group,
        sink: &mut dyn ChangeSink,
    ) -> Result<bool, DecodeError> {
        let Some((mut payload, from)) = self.packed.take() else { return Ok(false) };
        let at = At { file: &from.file, offset: from.offset };
        let mut inner = std::mem::take(&mut self.inner);
        let outcome = match payload.next(&mut inner) {
            Ok(None) => Ok(false),
            Ok(Some(header)) => {
                let body = inner.get(HEADER_LENGTH..).unwrap_or_default();
                self.mixed |= header.event_type == EventType::QUERY && is_mixed_in(body);
                check_inner(at, &header, body)
                    .and_then(|()| self.event(at, &header, body, group, sink))
                    .map(|()| true)
            }
            Err(problem) => Err(at.malformed(EventType::TRANSACTION_PAYLOAD, problem)),
        };
        self.inner = inner;
        if matches!(outcome, Ok(true)) {
            self.packed = Some((payload, from));
        }
        outcome
    }

    /// Tables that the group has announced so far, wanted or not.
    pub fn group_tables(&self) -> impl Iterator<Item = TableName> + '_ {
        self.tables.of_group()
    }

    /// Those of them whose rows are wanted and whose maps name no columns.
    pub fn unnamed_of_group(&self) -> impl Iterator<Item = TableName> + '_ {
        self.tables.unnamed_of_group()
    }

    /// Tables whose rows are skipped.
    pub const fn stopped(&self) -> &BTreeMap<TableName, StoppedTable> {
        &self.stopped
    }

    /// Skips a table's rows from now on: it was found stopped in an earlier life of the stream.
    pub fn stop_table(&mut self, table: TableName, stopped: StoppedTable) {
        self.tables.set_skip(&table.schema, &table.table, true);
        self.stopped.entry(table).or_insert(stopped);
    }

    /// Decodes a stopped table's rows again, once its cause is mended and its gap recorded.
    pub fn resume_table(&mut self, table: &TableName) -> Option<StoppedTable> {
        let stopped = self.stopped.remove(table)?;
        self.tables.set_skip(
            &table.schema,
            &table.table,
            !self.filter.wants(&table.schema, &table.table),
        );
        Some(stopped)
    }

    /// Tables in which the open group changed a value that its events do not tell, and a column of each:
    /// a JSON diff of a document that the image before lacks. The row is there, without the value.
    pub fn take_unknown_values(&mut self) -> BTreeMap<TableName, String> {
        std::mem::take(&mut self.unknown)
    }

    /// Schemas met since the last call. The same schema may come again.
    pub fn take_new_schemas(&mut self) -> Vec<SchemaRecord> {
        std::mem::take(&mut self.new_schemas)
    }

    /// Forgets the group's table maps, statement and ordinals: the next event starts a group.
    /// Needed only before the same group is read again.
    pub fn reset_group(&mut self) {
        self.group = None;
        self.packed = None;
        self.unnamed = None;
        self.mixed = false;
        self.unknown.clear();
        self.ordinal = 0;
        self.statement.clear();
        self.tables.next_group();
    }

    fn event(
        &mut self,
        at: At<'_>,
        header: &Header,
        body: &[u8],
        group: &Group,
        sink: &mut dyn ChangeSink,
    ) -> Result<(), DecodeError> {
        let event_type = header.event_type;
        match event_type {
            EventType::TABLE_MAP => self
                .announce(body)
                .map_err(|crate::reader::Short| at.malformed(event_type, "it is malformed")),
            EventType::ROWS_QUERY => {
                // A length of one byte that is too short for most statements comes first.
                self.set_statement(body.get(1..).unwrap_or_default());
                Ok(())
            }
            EventType::ANNOTATE_ROWS => {
                self.set_statement(body);
                Ok(())
            }
            EventType::QUERY | EventType::QUERY_COMPRESSED => {
                self.whole_tables(at, event_type, body, group, sink)
            }
            EventType::PRE_GA_WRITE_ROWS
            | EventType::PRE_GA_UPDATE_ROWS
            | EventType::PRE_GA_DELETE_ROWS
            | EventType::PARTIAL_ROW_DATA => Err(at.unsupported(event_type)),
            _ => match Layout::of(event_type) {
                Some(layout) => self.rows(at, event_type, layout, body, group, sink),
                None => Ok(()),
            },
        }
    }

    fn announce(&mut self, body: &[u8]) -> Result<(), crate::reader::Short> {
        let Self { filter, stopped, described, new_schemas, handed_out, tables, .. } = self;
        let (asks, unnamed) = (self.asks, &mut self.unnamed);
        tables.announce(self.flavor, body, described, |plan| {
            if !filter.wants(&plan.schema, &plan.table) {
                return true;
            }
            if asks && plan.unknown {
                *unnamed = Some(Unnamed { table: TableName::of(plan), body: body.to_vec() });
            }
            if plan.fault.is_none() && !handed_out.contains(&plan.fingerprint) {
                if handed_out.len() >= MAX_FINGERPRINTS {
                    handed_out.clear();
                }
                handed_out.insert(plan.fingerprint.clone());
                new_schemas.push(plan.record());
            }
            !stopped.is_empty() && stopped.contains_key(&TableName::of(plan))
        })
    }

    fn set_statement(&mut self, text: &[u8]) {
        self.statement.clear();
        self.statement.push_str(&String::from_utf8_lossy(text));
    }

    fn rows(
        &mut self,
        at: At<'_>,
        event_type: EventType,
        layout: Layout,
        body: &[u8],
        group: &Group,
        sink: &mut dyn ChangeSink,
    ) -> Result<(), DecodeError> {
        let ordinal = self.ordinal;
        self.ordinal += 1;
        let event = crate::rows::RowsEvent::parse(layout, body)
            .map_err(|_| at.malformed(event_type, "it is cut short"))?;
        if event.is_dummy() {
            return Ok(());
        }
        let Some(table) = self.tables.find(event.table_id) else {
            return Err(at.malformed(event_type, "its group did not announce its table"));
        };
        let (plan, skip) = (Arc::clone(&table.plan), table.skip);
        if event.ends_statement() {
            self.tables.trim();
        }
        if skip {
            return Ok(());
        }
        let context = emit::Context {
            plan: &plan,
            group,
            commit_time_us: group.commit_time_us.unwrap_or_default(),
            ordinal,
            statement: (!self.statement.is_empty()).then_some(self.statement.as_str()),
        };
        let emitted = self.emitter.emit(&context, layout, &event, sink);
        if let Some(column) = self.emitter.take_unknown() {
            self.unknown.insert(TableName::of(&plan), column);
        }
        match emitted {
            Ok(()) => Ok(()),
            Err(emit::Failure::Table(reason)) => {
                let since = group.told_at.as_ref().unwrap_or(&group.from).clone();
                let since_row = (ordinal, self.emitter.handed_over());
                let stopped = StoppedTable { reason, since, since_row };
                self.stop_table(TableName::of(&plan), stopped);
                Ok(())
            }
            Err(emit::Failure::Sink(source)) => {
                Err(DecodeError::Sink { table: TableName::of(&plan), source })
            }
        }
    }
}

fn is_mixed_in(body: &[u8]) -> bool {
    !query::parse(body).is_ok_and(|query| is_control(query.text))
}

/// The server compresses only transactions of row events that commit or are prepared; anything else in
/// there would have been taken for a commit already.
fn check_inner(at: At<'_>, header: &Header, body: &[u8]) -> Result<(), DecodeError> {
    let event_type = header.event_type;
    match event_type {
        EventType::QUERY => {
            let query = query::parse(body)
                .map_err(|_| at.malformed(event_type, "it is cut short in its payload"))?;
            match query::classify(query.text) {
                Statement::Begin
                | Statement::Commit
                | Statement::Inside
                | Statement::Savepoint(_)
                | Statement::Nothing
                | Statement::XaStart
                | Statement::Tables(_)
                | Statement::Ddl => Ok(()),
                _ => Err(at.malformed(event_type, "a payload must not hold such a statement")),
            }
        }
        EventType::XID
        | EventType::XA_PREPARE
        | EventType::TABLE_MAP
        | EventType::ROWS_QUERY
        | EventType::INTVAR
        | EventType::RAND
        | EventType::USER_VAR
        | EventType::TRANSACTION_CONTEXT
        | EventType::VIEW_CHANGE => Ok(()),
        _ if Layout::of(event_type).is_some() || header.is_ignorable() => Ok(()),
        _ => Err(at.unsupported(event_type)),
    }
}
