//! Can this source be streamed, as it is set and with this account? Pure, over facts gathered once.
//!
//! Invariant: each finding names the statement or field that mends it
//! (`each_finding_names_its_mend`), and all are found at once, not one per attempt.

use std::time::Duration;

use crds::conditions::Reason;
use crds::position::{FilePosition, Flavor, GtidSet};

use crate::connection::Connection;
use crate::error::SourceError;
use crate::grants::Grants;
use crate::identity::{Identity, Role, inspect};
use crate::lookups::ReplicaHost;

mod start;

/// A source that keeps less than this may purge what a worker away for a night still needs.
const SHORT_RETENTION: Duration = Duration::from_hours(24);

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Streams, but somebody should know.
    Warn,
    /// Cannot or must not stream.
    Refuse,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether it stops the stream.
    pub severity: Severity,
    /// Reason of the condition.
    pub reason: Reason,
    /// What was found and the statement or field that mends it.
    pub message: String,
}

/// All that is known of source and account.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The server.
    pub identity: Identity,
    /// The account's rights.
    pub grants: Grants,
    /// Registered replicas; `None`: not allowed to see them.
    pub replicas: Option<Vec<ReplicaHost>>,
    /// Prepared transactions; `None`: not allowed to see them.
    pub prepared_xa: Option<Vec<Vec<u8>>>,
}

/// Where the dump is to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the end of the newest file.
    Latest,
    /// At the oldest event the source has.
    Earliest,
    /// At a position.
    File(FilePosition),
    /// After a set of transactions already held.
    Gtid(GtidSet),
}

/// What the stream needs from the source.
#[derive(Clone, Debug)]
pub struct Need {
    /// Our server id.
    pub server_id: u32,
    /// Flavor given in the spec or found in the archive.
    pub flavor: Option<Flavor>,
    /// Where to begin.
    pub start: Start,
    /// Whether row changes are decoded (else raw only).
    pub changes: bool,
}

/// Asks the source for all the facts, by SQL only: a dump would end the live worker's.
///
/// # Errors
/// A broken connection, or answers that are none; a missing right is no error but a finding.
pub async fn gather(connection: &mut Connection) -> Result<Facts, SourceError> {
    let identity = inspect(connection).await?;
    let grants = Grants::read(connection, identity.flavor).await?;
    let replicas = connection.replicas().await?;
    let prepared_xa = connection.prepared_xa().await?;
    Ok(Facts { identity, grants, replicas, prepared_xa })
}

/// Compares facts with needs. Refusals come first.
pub fn check(facts: &Facts, need: &Need) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    server(&facts.identity, need, &mut findings);
    grants(facts, &mut findings);
    if facts.identity.log_bin {
        binlog(facts, need, &mut findings);
        server_id(facts, need, &mut findings);
        start::check(facts, need, &mut findings);
    }
    findings.0.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn refuse(&mut self, reason: Reason, message: String) {
        self.0.push(Finding { severity: Severity::Refuse, reason, message });
    }

    fn warn(&mut self, reason: Reason, message: String) {
        self.0.push(Finding { severity: Severity::Warn, reason, message });
    }
}

/// `SET PERSIST` where it exists; elsewhere the setting has to go into the file too.
fn set(identity: &Identity, assignment: &str) -> String {
    match identity.flavor {
        Flavor::MySQL => format!("SET PERSIST {assignment}"),
        Flavor::MariaDB => format!("SET GLOBAL {assignment} (and put it into the server's my.cnf)"),
    }
}

fn server(identity: &Identity, need: &Need, findings: &mut Findings) {
    let Identity { flavor, version, .. } = identity;
    if let Some(wanted) = need.flavor.filter(|wanted| wanted != flavor) {
        findings.refuse(
            Reason::FlavorMismatch,
            format!("the source is {flavor} ({version}), and {wanted} is expected: correct source.flavor, or point source.host at the {wanted} server"),
        );
    }
    if too_old(*flavor, version) {
        findings.warn(
            Reason::VersionUnsupported,
            format!("{flavor} {version} is older than MySQL 8.0 and MariaDB 10.5 and is not tested: upgrade the source"),
        );
    }
    if !identity.log_bin {
        findings.refuse(
            Reason::BinlogDisabled,
            "log_bin is off: put log_bin=binlog into the server's my.cnf and restart it (managed servers: switch automated backups on)".to_owned(),
        );
    }
    if !identity.binlog_has_files {
        findings.refuse(
            Reason::VersionUnsupported,
            "binlog_storage_engine=innodb has neither binlog files nor positions: start the server without binlog_storage_engine".to_owned(),
        );
    }
}

fn too_old(flavor: Flavor, version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    match flavor {
        Flavor::MySQL => version < (8, 0),
        Flavor::MariaDB => version < (10, 5),
    }
}

fn grants(facts: &Facts, findings: &mut Findings) {
    let Facts { identity, grants, .. } = facts;
    let account = &grants.account;
    if !grants.can_dump() {
        findings.refuse(
            Reason::MissingGrant,
            format!(
                "{account} may not read the binlog: GRANT REPLICATION SLAVE ON *.* TO {account}"
            ),
        );
    }
    // What the server let us do counts for more than what we read in SHOW GRANTS.
    if !grants.can_monitor() && identity.log_bin && identity.binlogs.is_none() {
        let privilege = match identity.flavor {
            Flavor::MySQL => "REPLICATION CLIENT",
            Flavor::MariaDB => "BINLOG MONITOR",
        };
        findings.refuse(
            Reason::MissingGrant,
            format!("{account} may not list the binlogs: GRANT {privilege} ON *.* TO {account}"),
        );
    }
}

fn binlog(facts: &Facts, need: &Need, findings: &mut Findings) {
    let identity = &facts.identity;
    if identity.binlog_format != "ROW" {
        let message = format!(
            "binlog_format is {}, so row changes are not logged: {}, and reconnect the writers",
            identity.binlog_format,
            set(identity, "binlog_format=ROW")
        );
        if need.changes {
            findings.refuse(Reason::BinlogFormatNotRow, message);
        } else {
            findings.warn(Reason::BinlogFormatNotRow, message);
        }
    }
    if need.changes && identity.row_image != "FULL" {
        findings.warn(
            Reason::RowImageNotFull,
            format!(
                "binlog_row_image is {}, so before and after lack columns: {}",
                identity.row_image,
                set(identity, "binlog_row_image=FULL")
            ),
        );
    }
    if need.changes && identity.row_metadata != "FULL" {
        findings.warn(
            Reason::SchemaUnknown,
            format!(
                "binlog_row_metadata is {}, so the binlog does not name its columns, and {} {}",
                if identity.row_metadata.is_empty() {
                    "not known to this version"
                } else {
                    &identity.row_metadata
                },
                names(&facts.grants),
                set(identity, "binlog_row_metadata=FULL")
            ),
        );
    }
    if need.changes && identity.row_value_options.contains("PARTIAL_JSON") {
        findings.warn(
            Reason::PartialRow,
            format!(
                "binlog_row_value_options is PARTIAL_JSON, so updates log parts of documents: {}",
                set(identity, "binlog_row_value_options=''")
            ),
        );
    }
    if identity.flavor == Flavor::MariaDB && identity.binlog_encrypted {
        findings.refuse(
            Reason::BinlogEncryptionUnsupported,
            "encrypt_binlog is on: MariaDB sends such a binlog with a marker that makes the copy unreadable; start the server with encrypt_binlog=OFF".to_owned(),
        );
    }
    replica(identity, findings);
    if let Some(kept) = identity.retention.filter(|kept| *kept < SHORT_RETENTION) {
        findings.warn(
            Reason::BinlogPurged,
            format!(
                "the source keeps its binlogs for {} s only, and what it purges before it is read is lost: {}",
                kept.as_secs(),
                set(identity, "binlog_expire_logs_seconds=604800")
            ),
        );
    }
}

/// What becomes of tables whose columns the binlog does not name.
fn names(grants: &Grants) -> String {
    if grants.can_see_tables() {
        return "tables that are altered while the stream is behind will stop:".to_owned();
    }
    let account = &grants.account;
    format!("tables that {account} may not see will stop: GRANT REFERENCES ON *.* TO {account}, or")
}

/// A writable server whose role is not known is taken for a primary, as nearly all are.
fn replica(identity: &Identity, findings: &mut Findings) {
    if identity.logs_replica_updates {
        return;
    }
    let message = "the source does not log what it replicates (log_replica_updates, log_slave_updates is off): put log_slave_updates=ON into its my.cnf and restart it, or point source.host at the primary".to_owned();
    match identity.role {
        Role::Replica => findings.refuse(Reason::ReplicaUpdatesNotLogged, message),
        Role::Unknown if identity.read_only => {
            findings.warn(Reason::ReplicaUpdatesNotLogged, message);
        }
        Role::Unknown | Role::Primary => {}
    }
}

fn server_id(facts: &Facts, need: &Need, findings: &mut Findings) {
    let ours = need.server_id;
    if facts.identity.server_id == 0 {
        findings.refuse(
            Reason::ServerIdConflict,
            format!(
                "the source's server_id is 0, so it serves no replica: {}",
                set(&facts.identity, "server_id=1")
            ),
        );
    }
    if ours == 0 || facts.identity.server_id == ours {
        findings.refuse(
            Reason::ServerIdConflict,
            format!("server id {ours} is the source's own (or 0): set spec.serverId to a number no server of this topology uses"),
        );
    }
    let same_id = |replica: &&ReplicaHost| replica.server_id == ours && !replica.is_ours(ours);
    if let Some(other) = facts.replicas.iter().flatten().find(same_id) {
        findings.refuse(
            Reason::ServerIdConflict,
            format!("server id {ours} is in use by a replica of the source ({}): set spec.serverId to another number, or that replica's server_id", other.who()),
        );
    }
}

impl ReplicaHost {
    /// Whether this is a worker with that id: an earlier connection of our own stream.
    fn is_ours(&self, server_id: u32) -> bool {
        match &self.uuid {
            Some(uuid) if !uuid.is_empty() => {
                uuid.eq_ignore_ascii_case(&crate::dump::replica_uuid(server_id))
            }
            _ => self.host == crate::dump::REPLICA_HOST,
        }
    }

    fn who(&self) -> String {
        match (&self.uuid, self.host.as_str()) {
            (Some(uuid), "") => format!("uuid {uuid}"),
            (Some(uuid), host) => format!("host {host}, uuid {uuid}"),
            (None, "") => "no host reported".to_owned(),
            (None, host) => format!("host {host}"),
        }
    }
}

#[cfg(test)]
mod tests;
