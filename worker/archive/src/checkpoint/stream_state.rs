//! A checkpoint in a table of a MySQL or MariaDB server: one row per stream, readable by people and
//! by other tools (`binlog_file`, `binlog_position`, `gtid_set`), the whole record beside.
//!
//! Compare and swap by the statement's own condition: `UPDATE ... WHERE n < new AND archive_id =
//! own` (`a_zombie_cannot_take_a_row_back`). A table of that name with another shape is never
//! touched; its state can be imported.

use async_trait::async_trait;
use crds::conditions::Reason;

use super::{
    Checkpoint, CheckpointStore, CheckpointStoreError, Loaded, Replace, Saved, read, settled,
};

/// Longest GTID set kept in its own column; the record's rules hold for the record.
const MAX_COLUMN_GTID: usize = 1 << 20;

/// A value bound to `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SqlValue {
    /// Text.
    Text(String),
    /// A number.
    Number(u64),
    /// NULL.
    Null,
}

impl From<&str> for SqlValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for SqlValue {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

/// A statement that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    /// The server's error number; none when the connection failed.
    pub code: Option<u16>,
    /// What went wrong, without values.
    pub message: String,
}

/// A connection to the server that keeps the table. Each call is within its own limit of time and
/// reconnects when it has to.
#[async_trait]
pub trait Sql: Send + Sync + 'static {
    /// Rows of text, NULL as `None`.
    async fn query(
        &self,
        statement: &str,
        values: &[SqlValue],
    ) -> Result<Vec<Vec<Option<String>>>, SqlError>;

    /// The number of rows matched or inserted. UPDATE must count the rows it matched
    /// (CLIENT_FOUND_ROWS).
    async fn execute(&self, statement: &str, values: &[SqlValue]) -> Result<u64, SqlError>;
}

/// A checkpoint in a table.
pub struct StreamStateStore<S> {
    sql: S,
    table: String,
    namespace: String,
    name: String,
}

impl<S: Sql> StreamStateStore<S> {
    /// The stream's row in `database.table`.
    pub fn new(sql: S, database: &str, table: &str, namespace: &str, name: &str) -> Self {
        let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
        let table = format!("{}.{}", quoted(database), quoted(table));
        Self { sql, table, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    fn error(&self, action: &str, error: &SqlError) -> CheckpointStoreError {
        let action = format!("{action} checkpoint row in {}", self.table);
        // 1142, 1044: no privilege. 1049, 1146: no such database, table. 1054: no such column.
        let (reason, mend) = match error.code {
            Some(1142 | 1044 | 1045 | 1227) => (
                Reason::CheckpointAccessDenied,
                format!("; GRANT SELECT, INSERT, UPDATE, CREATE ON {} TO the account", self.table),
            ),
            Some(1049) => (Reason::CheckpointWriteFailed, "; create the database".to_owned()),
            Some(1146) => {
                (Reason::CheckpointWriteFailed, "; create the table or grant CREATE".to_owned())
            }
            Some(1290 | 1836) => (
                Reason::CheckpointWriteFailed,
                "; the server is read only, set checkpoint.streamState.host to its primary"
                    .to_owned(),
            ),
            Some(1054) => return self.foreign(),
            Some(_) => (Reason::CheckpointWriteFailed, String::new()),
            None => (Reason::CheckpointUnreachable, String::new()),
        };
        CheckpointStoreError::new(reason, action, format!("{}{mend}", error.message))
    }

    fn foreign(&self) -> CheckpointStoreError {
        CheckpointStoreError::new(
            Reason::CheckpointTableInvalid,
            format!("read checkpoint row in {}", self.table),
            "the table exists with other columns and is not touched; use another \
             checkpoint.streamState.table and take its position over with `worker state import`",
        )
    }

    fn row(&self) -> [SqlValue; 2] {
        [SqlValue::from(self.namespace.as_str()), SqlValue::from(self.name.as_str())]
    }

    async fn make_table(&self) -> Result<(), CheckpointStoreError> {
        let statement = format!(
            "CREATE TABLE IF NOT EXISTS {} (\
             namespace VARCHAR(63) NOT NULL, name VARCHAR(63) NOT NULL, \
             archive_id CHAR(36) NOT NULL, n BIGINT UNSIGNED NOT NULL, \
             binlog_file VARCHAR(255) NOT NULL, binlog_position BIGINT UNSIGNED NOT NULL, \
             gtid_set LONGTEXT, record LONGTEXT NOT NULL, \
             updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, \
             PRIMARY KEY (namespace, name)) \
             ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            self.table
        );
        let made = self.sql.execute(&statement, &[]).await;
        made.map(drop).map_err(|error| self.error("create", &error))
    }

    async fn insert(&self, record: &Checkpoint, text: &str) -> Result<u64, SqlError> {
        let statement = format!(
            "INSERT IGNORE INTO {} \
             (namespace, name, archive_id, n, binlog_file, binlog_position, gtid_set, record) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            self.table
        );
        let mut values = self.row().to_vec();
        values.extend(columns(record, text));
        self.sql.execute(&statement, &values).await
    }

    /// `guard` is what the row must still be for the update to happen.
    async fn update(
        &self,
        record: &Checkpoint,
        text: &str,
        guard: &str,
        guarded: &[SqlValue],
    ) -> Result<u64, SqlError> {
        let statement = format!(
            "UPDATE {} SET archive_id = ?, n = ?, binlog_file = ?, binlog_position = ?, \
             gtid_set = ?, record = ? WHERE namespace = ? AND name = ? AND {guard}",
            self.table
        );
        let mut values = columns(record, text).to_vec();
        values.extend(self.row());
        values.extend_from_slice(guarded);
        self.sql.execute(&statement, &values).await
    }
}

fn columns(record: &Checkpoint, text: &str) -> [SqlValue; 6] {
    let gtid = record.gtid.set.as_deref().filter(|set| set.len() <= MAX_COLUMN_GTID);
    [
        SqlValue::Text(record.archive.to_string()),
        SqlValue::Number(record.n),
        SqlValue::Text(record.file.clone()),
        SqlValue::Number(record.pos),
        gtid.map_or(SqlValue::Null, SqlValue::from),
        SqlValue::from(text),
    ]
}

#[async_trait]
impl<S: Sql> CheckpointStore for StreamStateStore<S> {
    async fn load(&self) -> Result<Loaded, CheckpointStoreError> {
        let statement =
            format!("SELECT record FROM {} WHERE namespace = ? AND name = ?", self.table);
        let rows = match self.sql.query(&statement, &self.row()).await {
            Ok(rows) => rows,
            // No table: it is made at the first save.
            Err(error) if error.code == Some(1146) => return Ok(Loaded::Absent),
            Err(error) => return Err(self.error("read", &error)),
        };
        let text = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
        Ok(text.map_or(Loaded::Absent, |text| read(&text)))
    }

    async fn save(
        &self,
        record: &Checkpoint,
        replace: Replace,
    ) -> Result<Saved, CheckpointStoreError> {
        let action = || format!("write checkpoint row in {}", self.table);
        let text = record.to_json().map_err(|error| {
            CheckpointStoreError::new(Reason::InternalError, action(), error.to_string())
        })?;
        let stored = self.load().await?;
        if let Some(saved) = settled(&stored, record, replace) {
            return Ok(saved);
        }
        let changed = match &stored {
            Loaded::Absent => match self.insert(record, &text).await {
                Err(error) if error.code == Some(1146) => {
                    self.make_table().await?;
                    self.insert(record, &text).await
                }
                inserted => inserted,
            },
            Loaded::Found(old) if replace == Replace::Consented => {
                let guard = [SqlValue::Text(old.archive.to_string()), SqlValue::Number(old.n)];
                self.update(record, &text, "archive_id = ? AND n = ?", &guard).await
            }
            Loaded::Found(_) => {
                let guard =
                    [SqlValue::Text(record.archive.to_string()), SqlValue::Number(record.n)];
                self.update(record, &text, "archive_id = ? AND n < ?", &guard).await
            }
            // Torn or edited by hand: its columns mean nothing.
            Loaded::Bad(_) => self.update(record, &text, "1 = 1", &[]).await,
        };
        match changed.map_err(|error| self.error("write", &error))? {
            0 => Ok(Saved::Stale("another writer was faster".to_owned())),
            _ => Ok(Saved::Stored),
        }
    }

    fn describe(&self) -> String {
        format!("table {}", self.table)
    }
}
