//! One connection that takes tables through random statements, one table after the other.

use std::ops::AddAssign;
use std::sync::Arc;

use e2e::server::ServerKind;
use e2e::types::{Column, Form, Session, quoted};
use e2e::{Failure, Result};
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::columns::{Pool, document, value};
use super::subject::{Subject, defined};

/// Rows that a table keeps, more or less.
const KEPT: u64 = 40;

/// What became of statements.
#[derive(Debug, Default, Clone, Copy)]
pub struct Count {
    /// Statements that the server ran.
    pub done: u64,
    /// Those that it refused.
    pub refused: u64,
    /// ALTERs, RENAMEs and TRUNCATEs among those it ran.
    pub definitions: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.done += other.done;
        self.refused += other.refused;
        self.definitions += other.definitions;
    }
}

/// Takes tables through random statements; everything follows from the seed.
#[derive(Debug)]
pub struct Writer {
    pub session: Session,
    pub pool: Arc<Pool>,
    pub kind: ServerKind,
    random: StdRng,
    /// Whether documents may be updated in part.
    partial: bool,
    count: Count,
}

impl Writer {
    pub fn new(session: Session, pool: Arc<Pool>, kind: ServerKind) -> Self {
        let random = StdRng::seed_from_u64(0);
        Self { session, pool, kind, random, partial: false, count: Count::default() }
    }

    /// Makes the table of this name and runs so many statements on it.
    pub async fn table(
        &mut self,
        name: &str,
        seed: u64,
        statements: u64,
    ) -> Result<(Subject, Count)> {
        (self.random, self.count) = (StdRng::seed_from_u64(seed), Count::default());
        if self.kind.is_mysql() {
            self.partial = self.random.random_bool(0.3);
            let option = if self.partial { "PARTIAL_JSON" } else { "" };
            self.session.run(&format!("SET SESSION binlog_row_value_options = '{option}'")).await?;
        }
        let mut subject = self.create(name).await?;
        while self.count.done + self.count.refused < statements {
            self.step(&mut subject).await?;
        }
        Ok((subject, self.count))
    }

    /// A server may refuse a definition: too long rows, a default that does not fit.
    async fn create(&mut self, name: &str) -> Result<Subject> {
        let mut said = None;
        for _ in 0..20 {
            let subject = Subject::draw(&mut self.random, &self.pool, self.kind, name)?;
            said = self.session.attempt(&subject.create()).await?;
            if said.is_none() {
                return Ok(subject);
            }
        }
        Err(Failure::new(format!("no table in 20 tries: {said:?}")))
    }

    async fn run(&mut self, statement: &str) -> Result<bool> {
        let said = self.session.attempt(statement).await?;
        let done = said.is_none();
        self.count += Count { done: done.into(), refused: (!done).into(), definitions: 0 };
        Ok(done)
    }

    /// One statement, or a transaction of several.
    async fn step(&mut self, subject: &mut Subject) -> Result<()> {
        match self.random.random_range(0..1000) {
            0..30 => self.alter(subject).await,
            30..35 => self.rename(subject).await,
            35..40 => {
                let done = self.run(&format!("TRUNCATE TABLE {}", subject.quoted())).await?;
                self.count.definitions += u64::from(done);
                Ok(())
            }
            40..150 => self.transaction(subject).await,
            _ => self.change(subject).await,
        }
    }

    async fn transaction(&mut self, subject: &mut Subject) -> Result<()> {
        self.session.run("BEGIN").await?;
        self.changes(subject).await?;
        if self.random.random_bool(0.5) {
            self.session.run("SAVEPOINT here").await?;
            self.changes(subject).await?;
            let to = ["ROLLBACK TO SAVEPOINT here", "RELEASE SAVEPOINT here"];
            self.session.run(to[usize::from(self.random.random_bool(0.3))]).await?;
            self.changes(subject).await?;
        }
        let end = if self.random.random_bool(0.2) { "ROLLBACK" } else { "COMMIT" };
        self.session.run(end).await
    }

    async fn changes(&mut self, subject: &mut Subject) -> Result<()> {
        for _ in 0..self.random.random_range(1..4) {
            self.change(subject).await?;
        }
        Ok(())
    }

    /// One statement that changes rows.
    async fn change(&mut self, subject: &mut Subject) -> Result<()> {
        let statement = match self.random.random_range(0..100) {
            0..25 => self.insert("INSERT INTO", subject, 1, true),
            25..35 => {
                let rows = self.random.random_range(2..6);
                self.insert("INSERT INTO", subject, rows, true)
            }
            35..42 => {
                let rows = self.random.random_range(1..4);
                self.insert("REPLACE INTO", subject, rows, false)
            }
            42..47 => self.insert("INSERT IGNORE INTO", subject, 3, false),
            47..55 => {
                let insert = self.insert("INSERT INTO", subject, 2, false);
                let set = self.set(subject);
                format!("{insert} ON DUPLICATE KEY UPDATE {set}")
            }
            55..57 => self.moved(subject),
            57..82 => {
                let (set, which) = (self.set(subject), self.which(subject));
                format!("UPDATE {} SET {set} WHERE {which}", subject.quoted())
            }
            82..88 if subject.key().is_empty() => {
                let (name, which) = (subject.quoted(), self.which(subject));
                let columns = names(subject);
                format!(
                    "INSERT INTO {name} ({columns}) SELECT {columns} FROM {name} WHERE {which} LIMIT 3"
                )
            }
            82..92 => format!("DELETE FROM {} WHERE {}", subject.quoted(), self.which(subject)),
            _ => {
                let lowest = subject.next.saturating_sub(KEPT);
                format!("DELETE FROM {} WHERE id < {lowest}", subject.quoted())
            }
        };
        self.run(&statement).await.map(|_| ())
    }

    /// Rows with new ids, or with any.
    fn insert(&mut self, verb: &str, subject: &mut Subject, rows: u64, fresh: bool) -> String {
        let all = self.random.random_bool(0.75);
        let columns: Vec<_> = subject
            .settable()
            .filter(|column| all || column.name == "part" || self.random.random_bool(0.7))
            .cloned()
            .collect();
        let names: Vec<_> =
            columns.iter().map(|column| format!(", {}", quoted(&column.name))).collect();
        let mut values = Vec::new();
        for _ in 0..rows {
            let lowest = subject.next.saturating_sub(KEPT).max(1);
            let id = if fresh {
                subject.next
            } else {
                self.random.random_range(lowest..subject.next + 3)
            };
            subject.next = subject.next.max(id + 1);
            let cells: Vec<_> =
                columns.iter().map(|column| format!(", {}", self.cell(column))).collect();
            values.push(format!("({id}, {}{})", self.random.random_range(0..100), cells.concat()));
        }
        format!(
            "{verb} {} (id, step{}) VALUES {}",
            subject.quoted(),
            names.concat(),
            values.join(", ")
        )
    }

    fn cell(&mut self, column: &Column) -> String {
        let has_default = column.definition.contains("DEFAULT");
        if has_default && self.random.random_ratio(1, 10) {
            return "DEFAULT".into();
        }
        value(&mut self.random, column)
    }

    /// Assignments to `step` and some columns.
    fn set(&mut self, subject: &Subject) -> String {
        let columns: Vec<_> = subject.settable().collect();
        let mut set = vec!["step = step + 1".to_owned()];
        let chosen: Vec<_> = columns
            .choose_multiple(&mut self.random, 3.min(columns.len()))
            .filter(|column| column.name != "only")
            .map(|column| (*column).clone())
            .collect();
        for column in &chosen {
            let (name, cell) = (quoted(&column.name), self.cell(column));
            let partly = column.form == Form::Json && self.partial && self.random.random_bool(0.7);
            set.push(if partly { self.patch(&name) } else { format!("{name} = {cell}") });
        }
        set.join(", ")
    }

    /// An update that a server may log as a difference.
    fn patch(&mut self, name: &str) -> String {
        let path = ["$.a", "$.b", "$[0]", "$.key[1]", "$.zz", "$.\"long name\".a"]
            .choose(&mut self.random)
            .unwrap_or(&"$.a");
        if self.random.random_bool(0.3) {
            return format!("{name} = JSON_REMOVE({name}, '{path}')");
        }
        let with = ["JSON_SET", "JSON_REPLACE"][self.random.random_range(0..2)];
        let document = hex::encode(document(&mut self.random, 1));
        format!("{name} = {with}({name}, '{path}', CAST(_utf8mb4 x'{document}' AS JSON))")
    }

    /// A row under another id.
    fn moved(&mut self, subject: &mut Subject) -> String {
        let which = self.which(subject);
        let id = subject.next;
        subject.next += 1;
        format!("UPDATE {} SET id = {id} WHERE {which} ORDER BY id LIMIT 1", subject.quoted())
    }

    fn which(&mut self, subject: &Subject) -> String {
        let lowest = subject.next.saturating_sub(KEPT);
        match self.random.random_range(0..4) {
            0 => format!("id % 7 = {}", self.random.random_range(0..7)),
            1 => {
                let from = self.random.random_range(lowest..subject.next + 1);
                format!("id BETWEEN {from} AND {}", from + self.random.random_range(0..6))
            }
            _ => format!("id = {}", self.random.random_range(lowest..subject.next + 1)),
        }
    }

    /// A new definition. Rows that it converts are not in the binlog: those of a table with a key are touched behind
    /// it, one by one; a table without a key is emptied in front of it.
    async fn alter(&mut self, subject: &mut Subject) -> Result<()> {
        let keyed = !subject.key().is_empty();
        if !keyed {
            self.run(&format!("DELETE FROM {}", subject.quoted())).await?;
        }
        let (actions, columns) = self.alteration(subject)?;
        if !self.run(&format!("ALTER TABLE {} {actions}", subject.quoted())).await? {
            return Ok(());
        }
        subject.columns = columns;
        self.count.definitions += 1;
        if keyed {
            // MariaDB may put values into a column that its own check then refuses: such rows go.
            let touched =
                self.run(&format!("UPDATE {} SET step = step + 1", subject.quoted())).await?;
            if !touched {
                let gone = self.run(&format!("DELETE FROM {}", subject.quoted())).await?;
                assert!(gone, "rows that cannot be told are left in {}", subject.name);
            }
        }
        Ok(())
    }

    /// What to alter, and the columns that come of it.
    fn alteration(&mut self, subject: &Subject) -> Result<(String, Vec<Column>)> {
        let (mut columns, alterable) = (subject.columns.clone(), subject.alterable());
        let first = alterable.start;
        let at = (!alterable.is_empty()).then(|| self.random.random_range(alterable.clone()));
        let name = |column: &Column| quoted(&column.name);
        let kind = self.random.random_range(0..6);
        let action = match (kind, at) {
            (0, Some(at)) if alterable.len() > 1 => {
                format!("DROP COLUMN {}", name(&columns.remove(at)))
            }
            (1, Some(at)) => {
                let new = subject.free_name(&mut self.random);
                let action = format!("RENAME COLUMN {} TO {}", name(&columns[at]), quoted(&new));
                columns[at].name = new;
                action
            }
            (2, Some(at)) if at > first => {
                // Two names change places.
                let (one, two) = (name(&columns[at]), name(&columns[first]));
                let names = (columns[at].name.clone(), columns[first].name.clone());
                (columns[first].name, columns[at].name) = names;
                format!("RENAME COLUMN {one} TO {two}, RENAME COLUMN {two} TO {one}")
            }
            (3, Some(at)) => {
                // The same column at another place.
                let column = columns.remove(at);
                let to = self.random.random_range(first..=columns.len());
                let action = format!("MODIFY COLUMN {} {}", defined(&column), behind(&columns, to));
                columns.insert(to, column);
                action
            }
            (4, Some(at)) => {
                let new = subject.column(&mut self.random, &self.pool)?;
                let action = format!("CHANGE COLUMN {} {}", name(&columns[at]), defined(&new));
                columns[at] = new;
                action
            }
            _ => {
                let new = subject.column(&mut self.random, &self.pool)?;
                let to = self.random.random_range(first..=columns.len());
                let action = format!("ADD COLUMN {} {}", defined(&new), behind(&columns, to));
                columns.insert(to, new);
                action
            }
        };
        Ok((action, columns))
    }

    async fn rename(&mut self, subject: &mut Subject) -> Result<()> {
        let (old, new) = (subject.quoted(), format!("{}r", subject.name));
        let statement = if self.random.random_bool(0.5) {
            format!("RENAME TABLE {old} TO {new}")
        } else {
            format!("ALTER TABLE {old} RENAME TO {new}")
        };
        if self.run(&statement).await? {
            subject.name = new;
            self.count.definitions += 1;
        }
        Ok(())
    }
}

/// Where a column stands that is the `to`th behind `step`.
fn behind(columns: &[Column], to: usize) -> String {
    let before = to.checked_sub(1).and_then(|at| columns.get(at));
    format!("AFTER {}", before.map_or("step".into(), |column| quoted(&column.name)))
}

/// All columns that a statement may set.
fn names(subject: &Subject) -> String {
    let names = subject.settable().map(|column| quoted(&column.name));
    ["id".to_owned(), "step".to_owned()].into_iter().chain(names).collect::<Vec<_>>().join(", ")
}
