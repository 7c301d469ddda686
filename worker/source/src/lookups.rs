//! Short questions about the source's binlogs, in the words of every supported version.
//!
//! A right that is missing is an answer here (`None`), so that the preflight can name all that is
//! missing at once; only what the server cannot say otherwise is an error.

use crds::position::FilePosition;
use uuid::Uuid;

use crate::connection::{Connection, quote};
use crate::error::SourceError;
use crate::result_set::ResultSet;

/// One line of SHOW BINARY LOGS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinlogFile {
    /// Name of the file.
    pub name: String,
    /// Its size in bytes, as the server says it (an encrypted file counts its own header too).
    pub size: u64,
}

/// What stands at a position of a binlog file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinlogEvent {
    /// Offset of the event.
    pub position: u64,
    /// Name of its type, as SHOW BINLOG EVENTS writes it: `Gtid`, `Xid`, `Rotate`.
    pub kind: String,
    /// End of the event as its header says it: 32 bits, and 0 inside some MariaDB transactions.
    pub end: u64,
    /// Server id of the event.
    pub server_id: u32,
}

/// A replica the source knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaHost {
    /// Its server id.
    pub server_id: u32,
    /// The host it reported, or nothing.
    pub host: String,
    /// Its UUID; MariaDB has none.
    pub uuid: Option<String>,
}

/// ER_SPECIFIC_ACCESS_DENIED, ER_TABLEACCESS_DENIED, ER_DBACCESS_DENIED.
pub(crate) const DENIED: [u16; 3] = [1227, 1142, 1044];
const SYNTAX: u16 = 1064;
const NO_BINARY_LOGGING: u16 = 1381;
/// ER_ERROR_WHEN_EXECUTING_COMMAND, ER_UNKNOWN_TARGET_BINLOG.
const NOT_THERE: [u16; 2] = [1220, 1373];

impl Connection {
    /// The first statement of `words` the server's version knows; `None` if the right is missing.
    pub(crate) async fn first_known(
        &mut self,
        words: &[&str],
    ) -> Result<Option<ResultSet>, SourceError> {
        let mut last = None;
        for sql in words {
            match self.query(sql).await {
                Ok(rows) => return Ok(Some(rows)),
                Err(error) if error.code().is_some_and(|code| DENIED.contains(&code)) => {
                    return Ok(None);
                }
                Err(error) if error.code() == Some(SYNTAX) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        last.map_or(Ok(None), Err)
    }

    /// The source's binlog files, oldest first. `None`: not allowed to see them; empty: no binlog.
    ///
    /// # Errors
    /// A broken connection, or an answer that is none.
    pub async fn binlog_files(&mut self) -> Result<Option<Vec<BinlogFile>>, SourceError> {
        let rows = match self.first_known(&["SHOW BINARY LOGS"]).await {
            Err(error) if error.code() == Some(NO_BINARY_LOGGING) => return Ok(Some(Vec::new())),
            rows => rows?,
        };
        let Some(rows) = rows else { return Ok(None) };
        let file = |row: crate::Row<'_>| {
            Ok(BinlogFile { name: row.required("Log_name")?, size: row.number("File_size")? })
        };
        rows.rows().map(file).collect::<Result<_, _>>().map(Some)
    }

    /// Where the source writes now. `None`: not allowed to see it, or no binlog.
    ///
    /// # Errors
    /// A broken connection, or an answer that is none.
    pub async fn end_position(&mut self) -> Result<Option<FilePosition>, SourceError> {
        // MySQL renamed it in 8.2 and dropped the old words in 8.4.
        let words = ["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"];
        let Some(rows) = self.first_known(&words).await? else { return Ok(None) };
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(FilePosition::new(row.required("File")?, row.number("Position")?)))
    }

    /// Whether statements and rows of every schema get into the binlog: neither binlog-do-db nor binlog-ignore-db.
    ///
    /// # Errors
    /// A broken connection, or an answer that is none.
    pub async fn logs_every_schema(&mut self) -> Result<bool, SourceError> {
        let words = ["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"];
        let rows = self.first_known(&words).await?;
        let row = rows.as_ref().and_then(ResultSet::first);
        let is_empty =
            |name| row.and_then(|row| row.text(name)).is_some_and(|list| list.is_empty());
        Ok(is_empty("Binlog_Do_DB") && is_empty("Binlog_Ignore_DB"))
    }

    /// Whether this connection leads to that server.
    ///
    /// # Errors
    /// A broken connection, or an answer that is none.
    pub async fn is_server(&mut self, id: u32, uuid: Option<Uuid>) -> Result<bool, SourceError> {
        let name = if uuid.is_some() { "@@GLOBAL.server_uuid" } else { "''" };
        let rows = self.query(&format!("SELECT @@GLOBAL.server_id AS id, {name} AS uuid")).await?;
        let Some(row) = rows.first() else { return Ok(false) };
        let same = |uuid: Uuid| {
            row.text("uuid").is_some_and(|text| text.parse::<Uuid>().is_ok_and(|here| here == uuid))
        };
        Ok(row.number("id")? == u64::from(id) && uuid.is_none_or(same))
    }

    /// The event that starts at `at`; `None` if no event starts there, or there is no such file.
    ///
    /// # Errors
    /// A broken connection, or a missing right: only guessing would be left.
    pub async fn binlog_event_at(
        &mut self,
        at: &FilePosition,
    ) -> Result<Option<BinlogEvent>, SourceError> {
        let file = quote(&at.file);
        let sql = format!("SHOW BINLOG EVENTS IN {file} FROM {} LIMIT 1", at.offset);
        let rows = match self.query(&sql).await {
            Err(error) if error.code().is_some_and(|code| NOT_THERE.contains(&code)) => {
                return Ok(None);
            }
            rows => rows?,
        };
        let Some(row) = rows.first() else { return Ok(None) };
        let position = row.number("Pos")?;
        if position != at.offset {
            return Ok(None);
        }
        let server_id = u32::try_from(row.number("Server_id")?).unwrap_or(0);
        let (kind, end) = (row.required("Event_type")?, row.number("End_log_pos")?);
        Ok(Some(BinlogEvent { position, kind, end, server_id }))
    }

    /// Ids of the transactions that are prepared and not decided (XA RECOVER), global and branch
    /// part together. `None`: not allowed to see them.
    ///
    /// # Errors
    /// A broken connection, or an answer that is none.
    pub async fn prepared_xa(&mut self) -> Result<Option<Vec<Vec<u8>>>, SourceError> {
        let rows = match self.first_known(&["XA RECOVER"]).await {
            // ER_XAER_RMERR is what MySQL says without XA_RECOVER_ADMIN.
            Err(error) if error.code() == Some(1401) => return Ok(None),
            rows => rows?,
        };
        let xids = |rows: ResultSet| {
            rows.rows().filter_map(|row| row.bytes("data").map(<[u8]>::to_vec)).collect()
        };
        Ok(rows.map(xids))
    }

    /// The replicas registered at the source. `None`: not allowed to see them.
    ///
    /// # Errors
    /// A broken connection, or an answer that is none.
    pub async fn replicas(&mut self) -> Result<Option<Vec<ReplicaHost>>, SourceError> {
        // MySQL from 8.0.22, MariaDB from 10.5, and before.
        let words = ["SHOW REPLICAS", "SHOW REPLICA HOSTS", "SHOW SLAVE HOSTS"];
        let Some(rows) = self.first_known(&words).await? else { return Ok(None) };
        let host = |row: crate::Row<'_>| {
            Ok(ReplicaHost {
                server_id: u32::try_from(row.number("Server_id")?).unwrap_or(0),
                host: row.text("Host").unwrap_or_default(),
                uuid: row.text("Replica_UUID").or_else(|| row.text("Slave_UUID")),
            })
        };
        rows.rows().map(host).collect::<Result<_, _>>().map(Some)
    }

    /// The source's clock, in microseconds since 1970 (UTC).
    ///
    /// # Errors
    /// A broken connection, or an answer that is none.
    pub async fn clock_us(&mut self) -> Result<i64, SourceError> {
        let sql = "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) AS now";
        let rows = self.query(sql).await?;
        let now = rows.first().map_or(Ok(0), |row| row.number("now"))?;
        Ok(i64::try_from(now).unwrap_or(i64::MAX))
    }
}
