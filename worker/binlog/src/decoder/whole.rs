//! Statements about whole tables, as changes of their own: no rows event tells that a table was emptied, dropped or
//! renamed, and who folds the change log must know.

use super::{At, ChangeDecoder, DecodeError};
use crate::change::{ChangeRow, ChangeSink, Op};
use crate::decoder::TableName;
use crate::event::EventType;
use crate::group::Group;
use crate::inflate;
use crate::query::{self, Query, Statement, TableOp};
use crate::value::text::json_str;

/// First words of nearly all statements, which are about no table.
const OFTEN: [&[u8]; 3] = [b"BEGIN", b"COMMIT", b"SAVEPOINT"];

impl ChangeDecoder {
    pub(super) fn whole_tables(
        &mut self,
        at: At<'_>,
        event_type: EventType,
        body: &[u8],
        group: &Group,
        sink: &mut dyn ChangeSink,
    ) -> Result<(), DecodeError> {
        let malformed = |problem| at.malformed(event_type, problem);
        let Query { schema, text, .. } =
            query::parse(body).map_err(|_| malformed("it is cut short"))?;
        if event_type != EventType::QUERY_COMPRESSED {
            return self.statement(schema, text, group, sink);
        }
        let mut inflated = std::mem::take(&mut self.inflated);
        let outcome = inflate::event(text, &mut inflated)
            .map_err(|_| malformed("it cannot be inflated"))
            .and_then(|()| self.statement(schema, &inflated, group, sink));
        self.inflated = inflated;
        outcome
    }

    fn statement(
        &mut self,
        schema: &[u8],
        text: &[u8],
        group: &Group,
        sink: &mut dyn ChangeSink,
    ) -> Result<(), DecodeError> {
        if OFTEN.iter().any(|often| text.starts_with(often)) {
            return Ok(());
        }
        let Statement::Tables(ops) = query::classify(text) else { return Ok(()) };
        let ordinal = self.ordinal;
        self.ordinal += 1;
        let text = String::from_utf8_lossy(text);
        for (row_ordinal, op) in (0..).zip(ops) {
            let change = Whole::of(op, schema);
            if self.wants(&change) {
                let row = change.row(group, (ordinal, row_ordinal), &text);
                sink.push(&row).map_err(|source| {
                    let table = change.table.clone();
                    DecodeError::Sink { table, source }
                })?;
            }
        }
        Ok(())
    }

    fn wants(&self, change: &Whole) -> bool {
        let TableName { schema, table } = &change.table;
        match &change.to {
            _ if table.is_empty() => self.filter.may_want(schema),
            Some(to) => {
                self.filter.wants(schema, table) || self.filter.wants(&to.schema, &to.table)
            }
            None => self.filter.wants(schema, table),
        }
    }
}

/// What happened to one table.
struct Whole {
    op: Op,
    /// Without a table's name: all of the schema.
    table: TableName,
    to: Option<TableName>,
    before: Option<String>,
    after: Option<String>,
}

impl Whole {
    fn of(op: TableOp, schema: &[u8]) -> Self {
        let of = |op, table| Self { op, table, to: None, before: None, after: None };
        match op {
            TableOp::Truncate(table) => of(Op::Truncate, table.within(schema)),
            TableOp::Drop(table) => of(Op::Drop, table.within(schema)),
            TableOp::DropSchema(schema) => of(Op::Drop, TableName { schema, table: String::new() }),
            TableOp::Rename { from, to } => {
                let (from, to) = (from.within(schema), to.within(schema));
                let (before, after) = (Some(name_json(&from)), Some(name_json(&to)));
                Self { op: Op::Rename, table: from, to: Some(to), before, after }
            }
        }
    }

    fn row<'a>(&'a self, group: &'a Group, ordinals: (u32, u32), text: &'a str) -> ChangeRow<'a> {
        ChangeRow {
            commit_time_us: group.commit_time_us.unwrap_or_default(),
            op: self.op,
            schema: &self.table.schema,
            table: &self.table.table,
            pk_text: None,
            pk_hash: None,
            before: self.before.as_deref(),
            after: self.after.as_deref(),
            changed: &[],
            gtid: group.gtid_text.as_deref(),
            file: &group.from.file,
            position: group.from.offset,
            event_ordinal: ordinals.0,
            row_ordinal: ordinals.1,
            fingerprint: "",
            server_id: group.server_id,
            statement: Some(text),
        }
    }
}

/// `{"schema":"shop","table":"orders"}`.
fn name_json(name: &TableName) -> String {
    format!(r#"{{"schema":{},"table":{}}}"#, json_str(&name.schema), json_str(&name.table))
}
