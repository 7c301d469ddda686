//! Tables whose columns go through all their edge values by INSERT, UPDATE and DELETE, and what the
//! server itself shows of them after each step, for comparison with the change log.

mod form;
mod image;

use std::collections::BTreeMap;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};

use crate::oracle::Change;
use crate::server::Server;
use crate::{Context, Failure, Result};

pub use form::{Form, numbers_as_texts};
use image::check_whole;
pub use image::{Disagreements, check_present};

/// Schema of all these tables.
pub const SCHEMA: &str = "types";

/// What the server gave for one column: the texts of the expressions its form asks for.
pub type Cell = Vec<Option<String>>;

/// One connection that lets edge values in: no strict mode, times in UTC.
#[derive(Debug)]
pub struct Session {
    connection: Conn,
}

impl Session {
    /// Connects, and makes the schema.
    pub async fn open(server: &Server) -> Result<Self> {
        let mut session = Self { connection: server.connect().await? };
        session.run(&format!("CREATE DATABASE IF NOT EXISTS {SCHEMA}")).await?;
        for statement in [
            "SET NAMES utf8mb4, time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES'",
            "SET SESSION group_concat_max_len = 100000000",
            &format!("USE {SCHEMA}"),
        ] {
            session.run(statement).await?;
        }
        Ok(session)
    }

    /// Runs one statement.
    pub async fn run(&mut self, statement: &str) -> Result<()> {
        let run = self.connection.query_drop(statement).await;
        run.context(|| format!("run {}", shortened(statement)))
    }

    /// Runs one statement, which the server may refuse; what it says then.
    pub async fn attempt(&mut self, statement: &str) -> Result<Option<String>> {
        match self.connection.query_drop(statement).await {
            Ok(()) => Ok(None),
            Err(mysql_async::Error::Server(refusal)) => Ok(Some(refusal.to_string())),
            Err(error) => Err(error).context(|| format!("run {}", shortened(statement))),
        }
    }

    /// All rows of a query, by the text protocol. What is no UTF-8 is an error: ask with HEX.
    pub async fn rows(&mut self, query: &str) -> Result<Vec<Cell>> {
        let shown = shortened(query);
        let rows: Vec<Row> =
            self.connection.query(query).await.context(|| format!("run {shown}"))?;
        let text = |value| match value {
            Value::NULL => Ok(None),
            Value::Bytes(bytes) => {
                String::from_utf8(bytes).map(Some).context(|| format!("read {shown}"))
            }
            other => Ok(Some(other.as_sql(true))),
        };
        rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect()
    }

    /// The first column of a query.
    pub async fn column(&mut self, query: &str) -> Result<Vec<String>> {
        let rows = self.rows(query).await?;
        Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
    }
}

fn shortened(statement: &str) -> String {
    statement.chars().take(300).collect()
}

/// A column and the values it is to take.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Type and attributes.
    pub definition: String,
    /// How the change log shows it.
    pub form: Form,
    /// SQL expressions of its edge values; none for a column that the server fills.
    pub edges: Vec<String>,
}

impl Column {
    /// A column with its edge values.
    pub fn new(name: &str, definition: &str, form: Form, edges: &[&str]) -> Self {
        let edges = edges.iter().map(ToString::to_string).collect();
        Self { name: name.into(), definition: definition.into(), form, edges }
    }
}

/// A table of such columns behind `id`, its key, and `step`, which every statement changes.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Type and attributes of `id`.
    pub id: &'static str,
    /// Its columns.
    pub columns: Vec<Column>,
    /// What stands behind the columns in CREATE TABLE, keys too.
    pub options: &'static str,
    /// Columns of the server's own, which no statement can name: they stand behind the others in a row.
    pub hidden: &'static [&'static str],
    /// Columns that the server logs with inserts only.
    pub inserted_only: &'static [&'static str],
}

impl Table {
    /// A table of these columns.
    pub fn new(name: &str, columns: Vec<Column>) -> Self {
        Self {
            name: name.into(),
            id: "INT PRIMARY KEY",
            columns,
            options: ")",
            hidden: &[],
            inserted_only: &[],
        }
    }

    /// The statement that makes it.
    pub fn create(&self) -> String {
        let columns: Vec<_> = self
            .columns
            .iter()
            .map(|column| format!(", {} {}", quoted(&column.name), column.definition))
            .collect();
        format!(
            "CREATE TABLE {} (id {}, step INT NOT NULL{}{}",
            quoted(&self.name),
            self.id,
            columns.concat(),
            self.options
        )
    }

    /// Columns with values of their own, with the `turn`th one of each.
    fn edges(&self, turn: usize) -> impl Iterator<Item = (String, &str)> {
        self.columns.iter().filter(|column| !column.edges.is_empty()).map(move |column| {
            (quoted(&column.name), column.edges[turn % column.edges.len()].as_str())
        })
    }

    fn insert(&self, id: usize) -> String {
        let (names, values): (Vec<_>, Vec<_>) = self.edges(id).unzip();
        format!(
            "INSERT INTO {} (id, step, {}) VALUES ({id}, 1, {})",
            quoted(&self.name),
            names.join(", "),
            values.join(", ")
        )
    }

    fn update(&self, id: usize, step: usize, turn: usize) -> String {
        let set: Vec<_> =
            self.edges(turn).map(|(name, value)| format!(", {name} = {value}")).collect();
        format!("UPDATE {} SET step = {step}{} WHERE id = {id}", quoted(&self.name), set.concat())
    }

    /// What the server says it holds: the cells of `step` and all columns by id.
    pub async fn contents(&self, session: &mut Session) -> Result<BTreeMap<u64, Vec<Cell>>> {
        Ok(self.rows(session).await?.into_iter().collect())
    }

    /// The same where rows may share an id.
    pub async fn rows(&self, session: &mut Session) -> Result<Vec<(u64, Vec<Cell>)>> {
        let mut expressions = vec!["id".to_owned(), "step".to_owned()];
        for column in &self.columns {
            expressions.extend(column.form.selected(&quoted(&column.name)));
        }
        let query = format!("SELECT {} FROM {}", expressions.join(", "), quoted(&self.name));
        let mut contents = Vec::new();
        for row in session.rows(&query).await? {
            let mut values = row.into_iter();
            let id = values.next().flatten().and_then(|id| id.parse().ok());
            let id = id.context(|| format!("{} has a row without an id", self.name))?;
            let mut cells = vec![values.by_ref().take(1).collect()];
            for column in &self.columns {
                cells.push(values.by_ref().take(column.form.width()).collect());
            }
            contents.push((id, cells));
        }
        Ok(contents)
    }

    /// Makes the table and takes it through all values: inserted, updated to the next one, to NULL
    /// and back, deleted.
    pub async fn run(self, session: &mut Session) -> Result<Trial> {
        session.run(&self.create()).await?;
        let rows = self.columns.iter().map(|column| column.edges.len()).max().unwrap_or(0);
        let name = quoted(&self.name);
        let nulls: Vec<_> = self.edges(0).map(|(column, _)| format!(", {column} = NULL")).collect();
        let steps = [
            (0..rows).map(|id| self.insert(id)).collect(),
            (0..rows).map(|id| self.update(id, 2, id + 1)).collect(),
            vec![format!("UPDATE {name} SET step = 3{}", nulls.concat())],
            (0..rows).map(|id| self.update(id, 4, id + 2)).collect(),
            vec![format!("DELETE FROM {name}")],
        ];
        let mut trial = Trial { table: self, expected: Vec::new() };
        for statements in steps {
            trial.step(session, &statements).await?;
        }
        Ok(trial)
    }
}

/// A name in backticks.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A change that the server was seen to make to a row.
#[derive(Debug)]
struct Expected {
    id: u64,
    before: Option<Vec<Cell>>,
    after: Option<Vec<Cell>>,
}

/// A table and the changes that the server was seen to make to it.
#[derive(Debug)]
pub struct Trial {
    table: Table,
    expected: Vec<Expected>,
}

impl Trial {
    /// A table made by the caller, empty still.
    pub fn of(table: Table) -> Self {
        Self { table, expected: Vec::new() }
    }

    /// Runs statements as one transaction and looks what they changed; each changes a row once at most.
    pub async fn step(&mut self, session: &mut Session, statements: &[String]) -> Result<()> {
        let mut before = self.table.contents(session).await?;
        session.run("BEGIN").await?;
        for statement in statements {
            session.run(statement).await?;
        }
        session.run("COMMIT").await?;
        let after = self.table.contents(session).await?;
        for (id, after) in after {
            let before = before.remove(&id);
            if before.as_ref() != Some(&after) {
                self.expected.push(Expected { id, before, after: Some(after) });
            }
        }
        let gone = before.into_iter();
        self.expected.extend(gone.map(|(id, row)| Expected { id, before: Some(row), after: None }));
        Ok(())
    }

    /// Number of changes.
    pub fn changes(&self) -> usize {
        self.expected.len()
    }

    /// Compares the change log with what the server showed.
    pub fn check(&self, log: &[Change], wrong: &mut Disagreements) {
        let table = &self.table;
        let ours: Vec<_> = log.iter().filter(|change| change.table == table.name).collect();
        if ours.len() != self.expected.len() {
            let (ours, server) = (ours.len(), self.expected.len());
            wrong.add(&table.name, format!("{ours} changes in the log, {server} on the server"));
            return;
        }
        for (change, expected) in ours.into_iter().zip(&self.expected) {
            let Expected { id, before, after } = expected;
            let op = match (before, after) {
                (None, _) => "insert",
                (_, None) => "delete",
                _ => "update",
            };
            // The server may add columns of its own to the key.
            let key = format!("[{id}");
            if change.op != op
                || !change.primary_key.as_ref().is_some_and(|is| is.starts_with(&key))
            {
                let (op_is, key_is) = (&change.op, &change.primary_key);
                wrong.add(&table.name, format!("{op_is} of {key_is:?} is the {op} of {key}"));
            }
            let left_out = if before.is_some() { table.inserted_only } else { &[] };
            for (image, row) in [(&change.before, before), (&change.after, after)] {
                check_whole(table, *id, image.as_deref(), row.as_deref(), left_out, wrong);
            }
            if let (Some(before), Some(after)) = (before, after) {
                self.check_changed(change, before, after, wrong);
            }
        }
    }

    /// JSON may be kept in other bytes with the same text, so its columns may be there or not.
    fn check_changed(
        &self,
        change: &Change,
        before: &[Cell],
        after: &[Cell],
        wrong: &mut Disagreements,
    ) {
        let columns = &self.table.columns;
        let is_json = |name: &str| {
            columns.iter().any(|column| column.name == name && column.form == Form::Json)
        };
        let Table { hidden, inserted_only, .. } = self.table;
        let is_told = |name: &str| {
            !is_json(name) && !hidden.contains(&name) && !inserted_only.contains(&name)
        };
        let names = ["step"].into_iter().chain(columns.iter().map(|column| column.name.as_str()));
        let differing = names.zip(before.iter().zip(after)).filter(|(_, (old, new))| old != new);
        let expected: Vec<_> =
            differing.map(|(name, _)| name).filter(|name| is_told(name)).collect();
        let ours = change.changed.iter().flatten().map(String::as_str);
        let ours: Vec<_> = ours.filter(|name| is_told(name)).collect();
        if ours != expected {
            wrong.add(&self.table.name, format!("changed are {ours:?}, the server's {expected:?}"));
        }
    }
}

/// Fails with everything that disagrees.
pub fn agree(wrong: &Disagreements) -> Result<()> {
    match wrong.report() {
        None => Ok(()),
        Some(report) => Err(Failure::new(report)),
    }
}
