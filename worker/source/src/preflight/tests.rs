use super::*;
use crate::lookups::BinlogFile;

fn identity(flavor: Flavor) -> Identity {
    let set = |text| GtidSet::parse(flavor, text).expect("a set");
    let (executed, purged) = match flavor {
        Flavor::MySQL => (
            set("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-100"),
            set("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-10"),
        ),
        Flavor::MariaDB => (set("0-1-100"), set("0-1-10")),
    };
    let files = (5..=7).map(|n| BinlogFile { name: format!("binlog.{n:06}"), size: 1000 });
    Identity {
        flavor,
        version: if flavor == Flavor::MySQL { "8.4.7".into() } else { "11.8.6-MariaDB".into() },
        hostname: "db".into(),
        server_uuid: None,
        server_id: 1,
        read_only: false,
        role: Role::Primary,
        log_bin: true,
        binlog_format: "ROW".into(),
        row_image: "FULL".into(),
        row_metadata: "FULL".into(),
        row_value_options: String::new(),
        checksum: "CRC32".into(),
        gtid_mode: "ON".into(),
        executed,
        purged: Some(purged),
        binlogs: Some(files.collect()),
        end: Some(FilePosition::new("binlog.000007", 1000)),
        retention: Some(Duration::from_hours(30 * 24)),
        logs_replica_updates: true,
        binlog_encrypted: false,
        binlog_has_files: true,
        lower_case_table_names: 0,
        sync_binlog: 1,
        clock_us: 0,
    }
}

fn facts(flavor: Flavor) -> Facts {
    let line = "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `r`@`%`";
    Facts {
        identity: identity(flavor),
        grants: Grants::parse("'r'@'%'".to_owned(), [line]),
        replicas: Some(Vec::new()),
        prepared_xa: Some(Vec::new()),
    }
}

fn need(start: Start) -> Need {
    Need { server_id: 4711, flavor: None, start, changes: true }
}

fn found(facts: &Facts, need: &Need) -> Vec<(Severity, Reason)> {
    check(facts, need).into_iter().map(|finding| (finding.severity, finding.reason)).collect()
}

#[test]
fn a_source_that_is_set_right_has_no_findings() {
    for flavor in [Flavor::MySQL, Flavor::MariaDB] {
        let facts = facts(flavor);
        let held = facts.identity.purged.clone().expect("a set");
        for start in [
            Start::Latest,
            Start::Earliest,
            Start::File(FilePosition::new("binlog.000005", 4)),
            Start::File(FilePosition::new("binlog.000007", 1000)),
            Start::Gtid(held),
            Start::Gtid(facts.identity.executed.clone()),
        ] {
            assert_eq!(check(&facts, &need(start.clone())), [], "{flavor} {start:?}");
        }
    }
}

/// A change to the facts, the finding it makes, and a word of the mend.
type Case = (fn(&mut Facts), Severity, Reason, &'static str);

#[test]
fn each_finding_names_its_mend() {
    use Severity::{Refuse, Warn};
    let cases: &[Case] = &[
        (|f| f.identity.log_bin = false, Refuse, Reason::BinlogDisabled, "log_bin=binlog"),
        (
            |f| f.identity.binlog_format = "MIXED".into(),
            Refuse,
            Reason::BinlogFormatNotRow,
            "SET PERSIST binlog_format=ROW",
        ),
        (
            |f| f.identity.row_image = "MINIMAL".into(),
            Warn,
            Reason::RowImageNotFull,
            "SET PERSIST binlog_row_image=FULL",
        ),
        (
            |f| f.identity.row_metadata = "MINIMAL".into(),
            Warn,
            Reason::SchemaUnknown,
            "SET PERSIST binlog_row_metadata=FULL",
        ),
        (
            |f| f.identity.row_metadata = String::new(),
            Warn,
            Reason::SchemaUnknown,
            "not known to this version",
        ),
        (
            |f| f.identity.row_value_options = "PARTIAL_JSON".into(),
            Warn,
            Reason::PartialRow,
            "binlog_row_value_options=''",
        ),
        (
            |f| f.identity.retention = Some(Duration::from_hours(1)),
            Warn,
            Reason::BinlogPurged,
            "binlog_expire_logs_seconds=",
        ),
        (|f| f.identity.server_id = 4711, Refuse, Reason::ServerIdConflict, "spec.serverId"),
        (|f| f.identity.server_id = 0, Refuse, Reason::ServerIdConflict, "server_id=1"),
        (|f| f.identity.version = "5.7.44".into(), Warn, Reason::VersionUnsupported, "upgrade"),
        (
            |f| f.identity.binlog_has_files = false,
            Refuse,
            Reason::VersionUnsupported,
            "binlog_storage_engine",
        ),
        (
            |f| {
                f.identity.role = Role::Replica;
                f.identity.logs_replica_updates = false;
            },
            Refuse,
            Reason::ReplicaUpdatesNotLogged,
            "log_slave_updates=ON",
        ),
        (
            |f| {
                f.identity.role = Role::Unknown;
                f.identity.read_only = true;
                f.identity.logs_replica_updates = false;
            },
            Warn,
            Reason::ReplicaUpdatesNotLogged,
            "log_slave_updates=ON",
        ),
        (
            |f| {
                f.grants =
                    Grants::parse("'r'@'%'".into(), ["GRANT REPLICATION CLIENT ON *.* TO `r`@`%`"]);
            },
            Refuse,
            Reason::MissingGrant,
            "GRANT REPLICATION SLAVE ON *.* TO 'r'@'%'",
        ),
        (
            |f| {
                f.grants =
                    Grants::parse("'r'@'%'".into(), ["GRANT REPLICATION SLAVE ON *.* TO `r`@`%`"]);
                f.identity.binlogs = None;
            },
            Refuse,
            Reason::MissingGrant,
            "GRANT REPLICATION CLIENT ON *.* TO 'r'@'%'",
        ),
        (
            |f| f.prepared_xa = Some(vec![b"x".to_vec()]),
            Warn,
            Reason::XaPreparedBeforeStart,
            "XA COMMIT",
        ),
        (
            |f| {
                f.replicas = Some(vec![ReplicaHost {
                    server_id: 4711,
                    host: "other".into(),
                    uuid: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562".into()),
                }]);
            },
            Refuse,
            Reason::ServerIdConflict,
            "host other",
        ),
    ];
    for (change, severity, reason, mend) in cases {
        let mut facts = facts(Flavor::MySQL);
        change(&mut facts);
        let findings = check(&facts, &need(Start::Latest));
        let [finding] = findings.as_slice() else { panic!("{reason}: {findings:?}") };
        assert_eq!((finding.severity, finding.reason), (*severity, *reason), "{finding:?}");
        assert!(finding.message.contains(mend), "{finding:?}");
    }
}

#[test]
fn mariadb_gets_its_own_words() {
    let mut facts = facts(Flavor::MariaDB);
    facts.identity.row_metadata = "NO_LOG".into();
    facts.identity.binlog_encrypted = true;
    facts.identity.binlogs = None;
    facts.grants = Grants::parse("'r'@'%'".into(), ["GRANT USAGE ON *.* TO `r`@`%`"]);
    let findings = check(&facts, &need(Start::Latest));
    let text = findings.iter().map(|f| f.message.as_str()).collect::<Vec<_>>().join("\n");
    for words in [
        "GRANT BINLOG MONITOR",
        "GRANT REPLICATION SLAVE",
        "SET GLOBAL binlog_row_metadata=FULL",
        "encrypt_binlog=OFF",
    ] {
        assert!(text.contains(words), "{words} in:\n{text}");
    }
    let refusals = findings.iter().take_while(|f| f.severity == Severity::Refuse).count();
    assert_eq!((refusals, findings.len()), (3, 4), "refusals come first");
}

#[test]
fn our_own_earlier_connection_is_no_clash() {
    let mut facts = facts(Flavor::MySQL);
    let ours =
        |uuid: Option<String>| ReplicaHost { server_id: 4711, host: "binlog-worker".into(), uuid };
    for uuid in [Some(crate::dump::replica_uuid(4711)), None, Some(String::new())] {
        facts.replicas = Some(vec![ours(uuid.clone())]);
        assert_eq!(found(&facts, &need(Start::Latest)), [], "{uuid:?}");
    }
    facts.replicas = Some(vec![ours(Some(crate::dump::replica_uuid(4712)))]);
    assert_eq!(found(&facts, &need(Start::Latest)), [(Severity::Refuse, Reason::ServerIdConflict)]);
}

#[test]
fn a_start_that_is_not_there_is_told_from_one_that_is_purged() {
    let facts = facts(Flavor::MySQL);
    for (file, offset, reason) in [
        ("binlog.000004", 4, Reason::BinlogPurged),
        ("binlog.000008", 4, Reason::PositionNotFound),
        ("mysql-bin.000005", 4, Reason::PositionNotFound),
        ("binlog.000006", 1001, Reason::PositionNotFound),
    ] {
        let need = need(Start::File(FilePosition::new(file, offset)));
        assert_eq!(found(&facts, &need), [(Severity::Refuse, reason)], "{file}:{offset}");
    }
}

#[test]
fn a_gtid_set_is_compared_with_purged_and_executed() {
    let set = |flavor, text: &str| Start::Gtid(GtidSet::parse(flavor, text).expect("a set"));
    let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    let mysql = facts(Flavor::MySQL);
    for (text, reason) in [
        (format!("{uuid}:1-9"), Reason::BinlogPurged),
        (String::new(), Reason::BinlogPurged),
        (format!("{uuid}:1-101"), Reason::DivergentHistory),
    ] {
        let need = need(set(Flavor::MySQL, &text));
        assert_eq!(found(&mysql, &need), [(Severity::Refuse, reason)], "{text}");
    }
    let maria = facts(Flavor::MariaDB);
    for (text, reason) in [("0-1-9", Reason::BinlogPurged), ("0-1-101", Reason::DivergentHistory)] {
        let need = need(set(Flavor::MariaDB, text));
        assert_eq!(found(&maria, &need), [(Severity::Refuse, reason)], "{text}");
    }
    let need_maria = need(set(Flavor::MariaDB, "0-1-50"));
    assert_eq!(found(&mysql, &need_maria), [(Severity::Refuse, Reason::FlavorMismatch)]);
    let mut off = facts(Flavor::MySQL);
    off.identity.gtid_mode = "OFF".into();
    let need_gtid = need(set(Flavor::MySQL, &format!("{uuid}:1-50")));
    assert_eq!(found(&off, &need_gtid), [(Severity::Refuse, Reason::GtidNotAvailable)]);
}

#[test]
fn raw_only_streams_do_not_need_rows() {
    let mut facts = facts(Flavor::MySQL);
    facts.identity.binlog_format = "STATEMENT".into();
    facts.identity.row_image = "MINIMAL".into();
    facts.identity.row_metadata = "MINIMAL".into();
    let need = Need { changes: false, ..need(Start::Latest) };
    assert_eq!(found(&facts, &need), [(Severity::Warn, Reason::BinlogFormatNotRow)]);
}

#[test]
fn a_binlog_that_mariadb_encrypts_is_refused_and_one_that_mysql_encrypts_is_not() {
    let with = |flavor| {
        let mut facts = facts(flavor);
        facts.identity.binlog_encrypted = true;
        found(&facts, &need(Start::Latest))
    };
    let refused = (Severity::Refuse, Reason::BinlogEncryptionUnsupported);
    assert!(with(Flavor::MariaDB).contains(&refused));
    assert!(!with(Flavor::MySQL).contains(&refused));
}
