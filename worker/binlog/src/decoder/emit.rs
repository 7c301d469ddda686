//! From one rows event to the rows handed to a sink.

use sha2::{Digest, Sha256};

use crate::change::{ChangeRow, ChangeSink, Op, SinkError};
use crate::group::Group;
use crate::inflate;
use crate::plan::Plan;
use crate::reader::Reader;
use crate::rows::{Before, CellState, Fault, Image, Layout, RowsEvent, differs};

/// What the rows of one event have in common.
pub(super) struct Context<'a> {
    pub(super) plan: &'a Plan,
    pub(super) group: &'a Group,
    pub(super) commit_time_us: i64,
    pub(super) ordinal: u32,
    pub(super) statement: Option<&'a str>,
}

/// Why an event's rows were not handed over, or not all.
pub(super) enum Failure {
    /// The table cannot be decoded.
    Table(String),
    Sink(SinkError),
}

/// Buffers that are used for every row.
#[derive(Default)]
pub(super) struct Emitter {
    before: Image,
    after: Image,
    key: String,
    inflated: Vec<u8>,
    /// A column with a value that the event does not tell, since it was last taken.
    unknown: Option<String>,
    /// Rows of the event that the sink has taken.
    handed_over: u32,
}

impl Emitter {
    /// The column of a value that was left out, if there was one.
    pub(super) fn take_unknown(&mut self) -> Option<String> {
        self.unknown.take()
    }

    /// How many rows of the last event the sink has taken.
    pub(super) const fn handed_over(&self) -> u32 {
        self.handed_over
    }

    pub(super) fn emit(
        &mut self,
        context: &Context<'_>,
        layout: Layout,
        event: &RowsEvent<'_>,
        sink: &mut dyn ChangeSink,
    ) -> Result<(), Failure> {
        let plan = context.plan;
        self.handed_over = 0;
        if let Some(fault) = &plan.fault {
            return Err(Failure::Table(fault.clone()));
        }
        if event.columns != plan.columns.len() {
            let (rows, map) = (event.columns, plan.columns.len());
            let reason = format!("its rows have {rows} columns, its table map {map}");
            return Err(Failure::Table(reason));
        }
        let outcome = if layout.compressed {
            self.compressed_rows(context, layout, event, sink)
        } else {
            self.rows(context, layout, event, event.rows, sink)
        };
        self.before.release();
        self.after.release();
        outcome
    }

    fn compressed_rows(
        &mut self,
        context: &Context<'_>,
        layout: Layout,
        event: &RowsEvent<'_>,
        sink: &mut dyn ChangeSink,
    ) -> Result<(), Failure> {
        let mut inflated = std::mem::take(&mut self.inflated);
        let outcome = match inflate::event(event.rows, &mut inflated) {
            Ok(()) => self.rows(context, layout, event, &inflated, sink),
            Err(_) => Err(Failure::Table("its compressed rows cannot be inflated".to_owned())),
        };
        self.inflated = inflated;
        outcome
    }

    fn rows(
        &mut self,
        context: &Context<'_>,
        layout: Layout,
        event: &RowsEvent<'_>,
        rows: &[u8],
        sink: &mut dyn ChangeSink,
    ) -> Result<(), Failure> {
        let plan = context.plan;
        let fault = |(index, bad): Fault| {
            let column = plan.columns.get(index);
            let (name, type_name) =
                column.map_or(("", String::new()), |c| (c.name.as_str(), c.type_name()));
            Failure::Table(format!("column {name} ({type_name}): {}", bad.0))
        };
        let mut reader = Reader::new(rows);
        let mut changed: Vec<&str> = Vec::new();
        for row_ordinal in 0_u32.. {
            // An image without columns takes no bytes: then the rows cannot even be counted.
            if reader.is_empty() && (row_ordinal > 0 || event.first.iter().any(|byte| *byte != 0)) {
                break;
            }
            let start = reader;
            let (before, after) = match layout.op {
                Op::Insert => {
                    self.after.read(plan, event.first, &mut reader, None).map_err(fault)?;
                    (None, Some(&self.after))
                }
                Op::Delete => {
                    self.before.read(plan, event.first, &mut reader, None).map_err(fault)?;
                    (Some(&self.before), None)
                }
                // Told by statements.
                Op::Truncate | Op::Drop | Op::Rename => return Ok(()),
                Op::Update => {
                    self.before.read(plan, event.first, &mut reader, None).map_err(fault)?;
                    let middle = reader;
                    let known = Before { image: &self.before, bytes: start.rest() };
                    if layout.partial {
                        self.after.read_partial(plan, event.second, &mut reader, known)
                    } else {
                        self.after.read(plan, event.second, &mut reader, Some(known))
                    }
                    .map_err(fault)?;
                    changed.clear();
                    let cells = self.before.cells.iter().zip(&self.after.cells);
                    for ((before, after), column) in cells.zip(&plan.columns) {
                        if differs(*before, start.rest(), *after, middle.rest()) {
                            changed.push(&column.name);
                        }
                        if after.state == CellState::Unknown {
                            self.unknown = Some(column.name.clone());
                        }
                    }
                    (Some(&self.before), Some(&self.after))
                }
            };
            if reader.len() == start.len() {
                return Err(Failure::Table(
                    "its rows hold no columns; run SET GLOBAL binlog_row_image=FULL on the source"
                        .to_owned(),
                ));
            }
            let has_key =
                before.or(after).is_some_and(|image| push_key(plan, image, &mut self.key));
            let pk_text = has_key.then_some(self.key.as_str());
            let row = ChangeRow {
                commit_time_us: context.commit_time_us,
                op: layout.op,
                schema: &plan.schema,
                table: &plan.table,
                pk_text,
                pk_hash: pk_text.map(hash),
                before: before.map(|image| image.text.as_str()),
                after: after.map(|image| image.text.as_str()),
                changed: &changed,
                gtid: context.group.gtid_text.as_deref(),
                file: &context.group.from.file,
                position: context.group.from.offset,
                event_ordinal: context.ordinal,
                row_ordinal,
                fingerprint: &plan.fingerprint,
                server_id: context.group.server_id,
                statement: context.statement,
            };
            sink.push(&row).map_err(Failure::Sink)?;
            self.handed_over = row_ordinal + 1;
        }
        Ok(())
    }
}

/// Writes the primary key's values as a JSON array; `false` if the image lacks one.
fn push_key(plan: &Plan, image: &Image, key: &mut String) -> bool {
    key.clear();
    for index in &plan.key {
        let Some(value) = image.value(*index) else { return false };
        key.push(if key.is_empty() { '[' } else { ',' });
        key.push_str(value);
    }
    key.push(']');
    !plan.key.is_empty()
}

/// Stable over versions: part of what the archive keeps.
fn hash(key: &str) -> u64 {
    let digest = Sha256::digest(key.as_bytes());
    digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
