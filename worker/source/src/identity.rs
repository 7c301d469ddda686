//! Who the source is and how it is set.
//!
//! Asked by plain statements that need no right, but for the list of binlogs: what the account may
//! not see is `None` and left to the preflight to name.

use std::collections::BTreeMap;
use std::time::Duration;

use crds::position::{FilePosition, Flavor, GtidSet};
use uuid::Uuid;

use crate::connection::{Connection, quote};
use crate::error::SourceError;
use crate::lookups::BinlogFile;

/// Whether the source replicates from another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It does not, and takes writes.
    Primary,
    /// It does.
    Replica,
    /// Not allowed to see, or read-only without a source of its own.
    Unknown,
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// MySQL or MariaDB.
    pub flavor: Flavor,
    /// `VERSION()`.
    pub version: String,
    /// Name of the machine, as the server knows it.
    pub hostname: String,
    /// MySQL's identity; MariaDB has none.
    pub server_uuid: Option<Uuid>,
    /// Its server id.
    pub server_id: u32,
    /// `read_only` or `super_read_only`.
    pub read_only: bool,
    /// Whether it replicates itself.
    pub role: Role,
    /// Whether it writes a binlog.
    pub log_bin: bool,
    /// `ROW`, `MIXED`, `STATEMENT`; `ROW` where the variable is gone.
    pub binlog_format: String,
    /// `FULL`, `MINIMAL`, `NOBLOB`, `FULL_NODUP`.
    pub row_image: String,
    /// `FULL`, `MINIMAL`, `NO_LOG`.
    pub row_metadata: String,
    /// MySQL: `PARTIAL_JSON` or empty.
    pub row_value_options: String,
    /// `CRC32` or `NONE`.
    pub checksum: String,
    /// MySQL: `ON`, `OFF` or a step between; MariaDB: always `ON`.
    pub gtid_mode: String,
    /// What it has executed (MariaDB: `gtid_binlog_pos`).
    pub executed: GtidSet,
    /// What its binlogs no longer hold (MariaDB: the state at the start of the oldest). `None`:
    /// the account may not list the binlogs.
    pub purged: Option<GtidSet>,
    /// Oldest first. `None`: the account may not list them.
    pub binlogs: Option<Vec<BinlogFile>>,
    /// Where it writes now. `None`: no binlog, or not allowed to see.
    pub end: Option<FilePosition>,
    /// How long it keeps its binlogs; `None` = for ever.
    pub retention: Option<Duration>,
    /// Whether what it replicates goes to its own binlog.
    pub logs_replica_updates: bool,
    /// Whether its binlog is encrypted on its disk.
    pub binlog_encrypted: bool,
    /// Whether its binlog has files and positions at all (not so with MariaDB's InnoDB binlog).
    pub binlog_has_files: bool,
    /// 0, 1 or 2: how names of schemas and tables are stored and compared.
    pub lower_case_table_names: u8,
    /// 1 = the binlog's tail survives a crash of the machine.
    pub sync_binlog: u64,
    /// The source's clock when asked, microseconds since 1970.
    pub clock_us: i64,
}

const VARIABLES: [&str; 24] = [
    "version",
    "hostname",
    "server_uuid",
    "server_id",
    "read_only",
    "super_read_only",
    "log_bin",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "binlog_row_value_options",
    "binlog_checksum",
    "gtid_mode",
    "gtid_domain_id",
    "binlog_expire_logs_seconds",
    "binlog_expire_logs_auto_purge",
    "expire_logs_days",
    "log_replica_updates",
    "log_slave_updates",
    "binlog_encryption",
    "encrypt_binlog",
    "binlog_storage_engine",
    "lower_case_table_names",
    "sync_binlog",
];

/// Global variables by name; one the version does not have is empty.
struct Globals(BTreeMap<String, String>);

impl Globals {
    async fn read(connection: &mut Connection) -> Result<Self, SourceError> {
        let names = VARIABLES.map(quote).join(", ");
        let sql = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})");
        let rows = connection.query(&sql).await?;
        let pairs = rows
            .rows()
            .map(|row| Ok((row.required("Variable_name")?.to_lowercase(), row.required("Value")?)));
        pairs.collect::<Result<_, SourceError>>().map(Self)
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn text(&self, name: &str) -> String {
        self.0.get(name).cloned().unwrap_or_default()
    }

    fn upper(&self, name: &str) -> String {
        self.text(name).to_uppercase()
    }

    fn on(&self, name: &str) -> bool {
        matches!(self.upper(name).as_str(), "ON" | "1" | "YES")
    }

    fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    /// Seconds win over days, as in the servers; 0 in both means for ever.
    fn retention(&self) -> Option<Duration> {
        if self.has("binlog_expire_logs_auto_purge") && !self.on("binlog_expire_logs_auto_purge") {
            return None;
        }
        let seconds = match self.number("binlog_expire_logs_seconds") {
            // MariaDB's days may have a fraction.
            0 => {
                self.text("expire_logs_days").parse().map_or(0, |days: f64| (days * 86400.0) as u64)
            }
            seconds => seconds,
        };
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    fn flavor(&self) -> Flavor {
        // A variable and not the version's text, which MariaDB lets people change.
        if self.has("gtid_domain_id") { Flavor::MariaDB } else { Flavor::MySQL }
    }
}

/// Asks the source who it is and how it is set.
///
/// # Errors
/// A broken connection, or answers that are none.
pub async fn inspect(connection: &mut Connection) -> Result<Identity, SourceError> {
    let globals = Globals::read(connection).await?;
    let flavor = globals.flavor();
    let log_bin = globals.on("log_bin");
    let binlog_has_files = !globals.text("binlog_storage_engine").eq_ignore_ascii_case("innodb");
    let binlogs = if log_bin { connection.binlog_files().await? } else { Some(Vec::new()) };
    let end = if log_bin { connection.end_position().await? } else { None };
    let (executed, purged) = gtids(connection, flavor, binlogs.as_deref()).await?;
    let read_only = globals.on("read_only") || globals.on("super_read_only");
    let or_row = |text: String| if text.is_empty() { "ROW".to_owned() } else { text };
    Ok(Identity {
        flavor,
        version: globals.text("version"),
        hostname: globals.text("hostname"),
        server_uuid: Uuid::try_parse(&globals.text("server_uuid")).ok(),
        server_id: u32::try_from(globals.number("server_id")).unwrap_or(0),
        read_only,
        role: role(connection, flavor, read_only).await?,
        log_bin,
        binlog_format: or_row(globals.upper("binlog_format")),
        row_image: globals.upper("binlog_row_image"),
        row_metadata: globals.upper("binlog_row_metadata"),
        row_value_options: globals.upper("binlog_row_value_options"),
        checksum: globals.upper("binlog_checksum"),
        gtid_mode: match flavor {
            Flavor::MySQL => globals.upper("gtid_mode"),
            Flavor::MariaDB => "ON".to_owned(),
        },
        executed,
        purged,
        binlogs,
        end,
        retention: globals.retention(),
        logs_replica_updates: globals.on("log_replica_updates") || globals.on("log_slave_updates"),
        binlog_encrypted: globals.on("binlog_encryption") || globals.on("encrypt_binlog"),
        binlog_has_files,
        lower_case_table_names: globals.number("lower_case_table_names") as u8,
        sync_binlog: globals.number("sync_binlog"),
        clock_us: connection.clock_us().await?,
    })
}

/// What was executed, and what the binlogs no longer hold.
///
/// By SELECT: SHOW VARIABLES cuts long values off.
async fn gtids(
    connection: &mut Connection,
    flavor: Flavor,
    binlogs: Option<&[BinlogFile]>,
) -> Result<(GtidSet, Option<GtidSet>), SourceError> {
    let oldest = binlogs.map(|files| files.first());
    let sql = match (flavor, oldest) {
        (Flavor::MySQL, _) => {
            "SELECT @@GLOBAL.gtid_executed AS executed, @@GLOBAL.gtid_purged AS purged".to_owned()
        }
        (Flavor::MariaDB, Some(Some(oldest))) => format!(
            "SELECT @@GLOBAL.gtid_binlog_pos AS executed, BINLOG_GTID_POS({}, 4) AS purged",
            quote(&oldest.name)
        ),
        (Flavor::MariaDB, Some(None)) => {
            "SELECT @@GLOBAL.gtid_binlog_pos AS executed, '' AS purged".to_owned()
        }
        (Flavor::MariaDB, None) => {
            "SELECT @@GLOBAL.gtid_binlog_pos AS executed, NULL AS purged".to_owned()
        }
    };
    let rows = connection.query(&sql).await?;
    let cell = |name| rows.first().and_then(|row| row.text(name));
    let parse = |name: &str, text: &str| {
        GtidSet::parse(flavor, text).map_err(|error| SourceError::Value {
            doing: "ask the source for its gtid sets".to_owned(),
            column: name.to_owned(),
            problem: error.to_string(),
        })
    };
    let executed = parse("executed", &cell("executed").unwrap_or_default())?;
    let purged = cell("purged").map(|text| parse("purged", &text)).transpose()?;
    Ok((executed, purged))
}

async fn role(
    connection: &mut Connection,
    flavor: Flavor,
    read_only: bool,
) -> Result<Role, SourceError> {
    let words: &[&str] = match flavor {
        Flavor::MySQL => &["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"],
        Flavor::MariaDB => &["SHOW ALL SLAVES STATUS"],
    };
    Ok(match connection.first_known(words).await? {
        Some(rows) if !rows.is_empty() => Role::Replica,
        // A demoted server, or a secondary of a group, has no source of its own to show.
        Some(_) if !read_only => Role::Primary,
        _ => Role::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globals(pairs: &[(&str, &str)]) -> Globals {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Globals(pairs.iter().map(pair).collect())
    }

    #[test]
    fn retention_is_read_as_each_version_says_it() {
        let days = |n: u64| Some(Duration::from_secs(n * 86400));
        for (pairs, retention) in [
            (&[("binlog_expire_logs_seconds", "2592000"), ("expire_logs_days", "0")][..], days(30)),
            (&[("binlog_expire_logs_seconds", "0"), ("expire_logs_days", "7")], days(7)),
            (&[("expire_logs_days", "0.500000")], Some(Duration::from_hours(12))),
            (&[("binlog_expire_logs_seconds", "0")], None),
            (
                &[("binlog_expire_logs_seconds", "60"), ("binlog_expire_logs_auto_purge", "OFF")],
                None,
            ),
        ] {
            assert_eq!(globals(pairs).retention(), retention, "{pairs:?}");
        }
    }

    #[test]
    fn the_flavor_is_told_by_a_variable_and_not_by_the_version() {
        let maria = globals(&[("version", "8.0.11-renamed"), ("gtid_domain_id", "0")]);
        assert_eq!(maria.flavor(), Flavor::MariaDB);
        assert_eq!(globals(&[("version", "9.7.4")]).flavor(), Flavor::MySQL);
    }
}
