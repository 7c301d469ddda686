//! The worker's configuration file.

use crds::v1alpha1::{OnGap, StartMode, StreamState};
use crds::worker_config::{CheckpointStoreConfig, ConfigError, LogFormat, WorkerConfig};

const SMALL: &str = include_str!("data/worker.yaml");

/// The messages that a change of the small file gives.
fn refused(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from}");
    WorkerConfig::from_yaml(&SMALL.replace(from, to)).unwrap_err().to_string()
}

#[test]
fn a_small_file_is_enough() {
    let config = WorkerConfig::from_yaml(SMALL).unwrap();
    assert_eq!(config.start.mode, StartMode::Earliest);
    assert_eq!(config.checkpoint.store, CheckpointStoreConfig::File);
    assert_eq!(config.archive.commit.max_delay.get().as_millis(), 1000);
    assert_eq!(config.archive.commit.max_bytes.get(), 64 << 20);
    assert_eq!(config.batch.max_events, 1000);
    assert_eq!((config.on_gap, config.state), (OnGap::Stop, StreamState::Running));
    assert_eq!(config.listen, "[::]:8080");
    assert_eq!(config.log_format, LogFormat::Text);
    assert!(config.instance.pod.is_none());
}

#[test]
fn a_file_reads_back_as_it_was_written() {
    let config = WorkerConfig::from_yaml(SMALL).unwrap();
    assert_eq!(WorkerConfig::from_yaml(&config.to_yaml().unwrap()).unwrap(), config);
}

#[test]
fn json_is_read_too() {
    let json = serde_json::to_string(&WorkerConfig::from_yaml(SMALL).unwrap()).unwrap();
    assert!(WorkerConfig::from_yaml(&json).is_ok());
}

#[test]
fn a_typo_is_named() {
    assert_eq!(
        refused("maxDelay: 1s", "maxdelay: 1s"),
        "read configuration: archive.commit.maxdelay is not known; did you mean maxDelay?"
    );
    assert_eq!(
        refused("passwordFile", "pasword_file"),
        "read configuration: source.pasword_file is not known; did you mean passwordFile?"
    );
    let message = refused("workDir:", "retention: 7\nworkDir:");
    assert!(message.contains("retention is not known; known are"), "{message}");
}

#[test]
fn a_typo_in_a_part_of_the_resource_is_named() {
    let message = refused("start: {mode: Earliest}", "start: {mode: Earliest, gtidset: x}");
    assert!(message.contains("start.gtidset is not known; did you mean gtidSet?"), "{message}");
    let message = refused("start:", "filter: {excludetables: [a.b]}\nstart:");
    assert!(message.contains("filter.excludetables is not known"), "{message}");
}

#[test]
fn a_missing_field_is_named() {
    let message = refused("workDir: /var/lib/binlog/work\n", "");
    assert_eq!(message, "read configuration: workDir: is missing");
    let message = refused("  passwordFile: /etc/binlog/password\n", "");
    assert_eq!(message, "read configuration: source.passwordFile: is missing");
}

#[test]
fn a_value_of_the_wrong_kind_is_named() {
    for (from, to, expected) in [
        ("port: 3307", "port: high", "source.port: must be a whole number"),
        ("host: 127.0.0.1", "host: 7", "source.host: must be text"),
        (
            "mode: Disabled",
            "mode: disabled",
            "source.tls.mode: \"disabled\" is not one of Disabled, Preferred",
        ),
        ("maxDelay: 1s", "maxDelay: 1", "archive.commit.maxDelay: must be text"),
        (
            "maxDelay: 1s",
            "maxDelay: 1 second",
            "archive.commit.maxDelay: \"1 second\" is no duration",
        ),
        ("workDir:", "filter: {schemas: shop}\nworkDir:", "filter.schemas: must be a list"),
        ("workDir:", "filter: {schemas: [7]}\nworkDir:", "filter.schemas[0]: must be text"),
        ("workDir:", "source2: 1\nworkDir:", "source2 is not known; did you mean source?"),
        (
            "store: File",
            "store: Disk",
            "checkpoint.store: \"Disk\" is not one of ConfigMap, StreamState, File",
        ),
    ] {
        let message = refused(from, to);
        assert!(message.contains(expected), "{to}: {message}");
    }
}

#[test]
fn what_is_no_yaml_is_refused() {
    assert!(matches!(WorkerConfig::from_yaml("a: [b"), Err(ConfigError::Syntax(_))));
    assert!(WorkerConfig::from_yaml("").is_err());
    assert!(WorkerConfig::from_yaml("just text").is_err());
}

#[test]
fn values_that_cannot_work_name_field_value_and_mend() {
    let bad = [
        (
            "host: 127.0.0.1",
            "host: 127.0.0.1:3306",
            "source.host is \"127.0.0.1:3306\": must be a host name",
        ),
        ("port: 3307", "port: 0", "source.port"),
        (
            "username: streamer",
            "username: a\n  usernameFile: /b",
            "needs exactly one of username and usernameFile",
        ),
        ("  username: streamer\n", "", "needs exactly one of username and usernameFile"),
        (
            "mode: Disabled",
            "mode: Required, caFile: /ca",
            "caFile is only used with mode VerifyCA or VerifyFull",
        ),
        (
            "mode: Disabled",
            "mode: Disabled, certFile: /c, keyFile: /k",
            "certFile needs encryption",
        ),
        ("mode: Disabled", "mode: Required, certFile: /c", "certFile and keyFile belong together"),
        (
            "mode: Disabled",
            "mode: VerifyCA, serverName: x",
            "serverName is only used with mode VerifyFull",
        ),
        (
            "mode: Earliest",
            "mode: FilePosition",
            "start.filePosition and mode FilePosition belong together",
        ),
        ("mode: Earliest", "mode: GtidSet, gtidSet: nonsense", "must be a MySQL set"),
        (
            "store: File",
            "store: ConfigMap",
            "checkpoint.configMap and store ConfigMap belong together",
        ),
        (
            "maxDelay: 1s",
            "maxDelay: 50ms",
            "archive.commit.maxDelay is \"50ms\": must be a duration from 100ms to 10m",
        ),
        ("commit: {maxDelay: 1s}", "commit: {maxBytes: 2Gi}", "must be a size from 1Mi to 1Gi"),
        ("commit: {maxDelay: 1s}", "s3: {bucket: history}", "needs exactly one of s3 and volume"),
        (
            "commit: {maxDelay: 1s}",
            "raw: {enabled: false}\n  changes: {enabled: false}",
            "nothing would be kept",
        ),
        ("volume: {path: /var/lib/binlog/archive}", "s3: {bucket: History}", "archive.s3.bucket"),
        (
            "volume: {path: /var/lib/binlog/archive}",
            "s3: {bucket: history, prefix: a/../b}",
            "archive.s3.prefix",
        ),
        ("name: orders\nowner", "name: Orders\nowner", "name is \"Orders\""),
        ("workDir:", "consents: {acceptArchive: x}\nworkDir:", "consents.acceptArchive"),
        ("workDir:", "consents: {acknowledgeGaps: [\"\"]}\nworkDir:", "consents.acknowledgeGaps"),
        ("workDir:", "listen: \"8080\"\nworkDir:", "must be address:port"),
        ("workDir:", "version: 2\nworkDir:", "this worker reads version 1"),
        (
            "workDir:",
            "filter: {schemas: [a], tables: [b.c]}\nworkDir:",
            "is outside filter.schemas",
        ),
        ("workDir:", "filter: {tables: [\"*.c\"]}\nworkDir:", "must be schema.table"),
        (
            "workDir:",
            "batch: {maxEvents: 0}\nworkDir:",
            "batch.maxEvents is \"0\": must be 1 to 100000",
        ),
        (
            "workDir:",
            "instance: {pod: {name: p, uid: u, node: n}}\nworkDir:",
            "store File is for workers outside Kubernetes",
        ),
    ];
    for (from, to, expected) in bad {
        let message = refused(from, to);
        assert!(message.contains(expected), "{to}: {message}");
    }
}

#[test]
fn an_endpoints_password_is_not_repeated() {
    let s3 = "s3: {bucket: history, endpoint: \"https://key:word@store\"}";
    let message = refused("volume: {path: /var/lib/binlog/archive}", s3);
    assert!(message.contains("archive.s3.endpoint") && !message.contains("word@"), "{message}");
}

#[test]
fn all_errors_are_reported_at_once() {
    let broken = SMALL.replace("port: 3307", "port: 0").replace("maxDelay: 1s", "maxDelay: 1h");
    match WorkerConfig::from_yaml(&broken) {
        Err(ConfigError::Invalid(errors)) => assert_eq!(errors.len(), 2, "{errors:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_filter_beside_raw_is_pointed_out() {
    let filtered = SMALL.replace("workDir:", "filter: {schemas: [shop]}\nworkDir:");
    let warnings = WorkerConfig::from_yaml(&filtered).unwrap().warnings();
    assert!(warnings[0].message.contains("the raw archive holds every schema"), "{warnings:?}");
    assert!(WorkerConfig::from_yaml(SMALL).unwrap().warnings().is_empty());
}

#[test]
fn consents_name_gaps_or_all() {
    let with = |gaps: &str| {
        let text =
            SMALL.replace("workDir:", &format!("consents: {{acknowledgeGaps: {gaps}}}\nworkDir:"));
        WorkerConfig::from_yaml(&text).unwrap().consents
    };
    assert!(with("[g-1]").acknowledges("g-1") && !with("[g-1]").acknowledges("g-2"));
    assert!(with("[all]").acknowledges_all() && !with("[all]").acknowledges("g-2"));
}

#[test]
fn requests_of_people_are_read_one_at_a_time() {
    const REQUEST: &str = "7f1c0c0e-5b0a-4f3e-9d2b-0a1b2c3d4e5f@42";
    let with =
        |consents: &str| SMALL.replace("workDir:", &format!("consents: {{{consents}}}\nworkDir:"));
    let read =
        |consents: &str| WorkerConfig::from_yaml(&with(consents)).map(|config| config.consents);
    let reset = read(&format!("resetCheckpoint: {REQUEST}")).unwrap();
    assert_eq!(reset.checkpoint_request().unwrap().action(), "reset-checkpoint");
    let set = read(&format!("setCheckpoint: '{REQUEST}/binlog.000007:4'")).unwrap();
    assert_eq!(set.checkpoint_request().unwrap().action(), "set-checkpoint");
    assert_eq!(read("commitNow: today").unwrap().commit_now.as_deref(), Some("today"));
    for (consents, named) in [
        ("resetCheckpoint: all".to_owned(), "consents.resetCheckpoint is \"all\""),
        (format!("setCheckpoint: {REQUEST}"), "consents.setCheckpoint"),
        ("commitNow: ''".to_owned(), "consents.commitNow"),
        (
            format!("resetCheckpoint: {REQUEST}, setCheckpoint: '{REQUEST}/binlog.000007:4'"),
            "not both",
        ),
    ] {
        let error = read(&consents).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}
