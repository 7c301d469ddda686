//! The checks, part by part. Each part is taken apart in full, so that a new field must be decided
//! upon here.

use std::net::SocketAddr;

use super::super::{
    ArchiveConfig, CONFIG_VERSION, CheckpointConfig, CheckpointStoreConfig, Consents, S3Config,
    SourceConfig, StreamStateStore, TlsConfig, WorkerConfig,
};
use super::Findings;
use super::bounds::{duration, is_binlog_file, is_endpoint, is_host, is_label, is_table, quantity};
use crate::annotations::{
    AcceptedArchive, CheckpointRequest, parse_accept_source, parse_acknowledge_gap,
    parse_commit_now,
};
use crate::position::{Flavor, GtidSet};
use crate::v1alpha1::{FilterSpec, StartMode, StartSpec, TlsMode};

pub(super) fn check(config: &WorkerConfig, found: &mut Findings) {
    let WorkerConfig {
        version,
        namespace,
        name,
        instance,
        owner,
        generation: _,
        source,
        server_id,
        start,
        filter,
        batch,
        checkpoint,
        archive,
        on_gap: _,
        state: _,
        consents,
        allowed_endpoints: _,
        spool,
        work_dir,
        listen,
        log_format: _,
        log_level: _,
        grace_period_seconds,
    } = config;
    found.require(
        *version == CONFIG_VERSION,
        "version",
        version,
        format!("this worker reads version {CONFIG_VERSION}; use the worker of the same release"),
    );
    found.require(
        is_label(namespace, 63),
        "namespace",
        namespace,
        "must be lower-case letters, digits and -, at most 63",
    );
    found.require(
        is_label(name, 52),
        "name",
        name,
        "must be lower-case letters, digits and -, at most 52",
    );
    if let Some(id) = &instance.id {
        let plain = (1..=64).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        found.require(plain, "instance.id", id, "must be 1 to 64 letters, digits, -, _ or .");
    }
    for (field, value) in [
        ("owner.cluster", &owner.cluster),
        ("owner.namespace", &owner.namespace),
        ("owner.name", &owner.name),
    ] {
        let holds = (1..=253).contains(&value.len()) && !value.contains(char::is_control);
        found.require(holds, field, value, "must be 1 to 253 characters; any name that is yours");
    }
    self::source(source, found);
    if let Some(id) = server_id {
        found.require(*id != 0, "serverId", id, "must be 1 to 4294967295, unique at the source");
    }
    self::start(start, source.flavor, found);
    self::filter(filter, found);
    found.require(
        (1..=100_000).contains(&batch.max_events),
        "batch.maxEvents",
        batch.max_events,
        "must be 1 to 100000",
    );
    self::checkpoint(checkpoint, instance.pod.is_some(), found);
    self::archive(archive, found);
    self::consents(consents, found);
    quantity(found, "spool.size", &spool.size, "64Mi", "4Ti");
    found.require(
        !work_dir.as_os_str().is_empty(),
        "workDir",
        work_dir.display(),
        "name a directory that the worker may write",
    );
    found.require(
        listen.parse::<SocketAddr>().is_ok(),
        "listen",
        listen,
        "must be address:port, like [::]:8080 or 127.0.0.1:8080",
    );
    found.require(
        (1..=3600).contains(grace_period_seconds),
        "gracePeriodSeconds",
        grace_period_seconds,
        "must be 1 to 3600",
    );
}

fn source(source: &SourceConfig, found: &mut Findings) {
    let SourceConfig {
        host,
        port,
        flavor: _,
        username,
        username_file,
        password_file,
        tls,
        heartbeat_interval,
        connect_timeout,
    } = source;
    found.require(is_host(host), "source.host", host, HOST);
    found.require(*port != 0, "source.port", port, "must be 1 to 65535");
    found.require(
        username.is_some() != username_file.is_some(),
        "source.username",
        username.as_deref().unwrap_or_default(),
        "needs exactly one of username and usernameFile",
    );
    found.require(
        !password_file.as_os_str().is_empty(),
        "source.passwordFile",
        password_file.display(),
        "name a file with the password",
    );
    self::tls("source.tls", tls, found);
    duration(found, "source.heartbeatInterval", heartbeat_interval, "1s", "60s");
    duration(found, "source.connectTimeout", connect_timeout, "1s", "60s");
}

const HOST: &str = "must be a host name or an address without port, scheme or user; the port goes \
                    into the field port beside it";

fn tls(field: &str, tls: &TlsConfig, found: &mut Findings) {
    let TlsConfig { mode, ca_file, cert_file, key_file, server_name } = tls;
    let mode_name = format!("{mode:?}");
    found.require(
        ca_file.is_none() || mode.verifies(),
        &format!("{field}.mode"),
        &mode_name,
        "caFile is only used with mode VerifyCA or VerifyFull; set that mode or remove caFile",
    );
    found.require(
        cert_file.is_some() == key_file.is_some(),
        &format!("{field}.certFile"),
        cert_file.as_deref().unwrap_or("".as_ref()).display(),
        "certFile and keyFile belong together; set both or neither",
    );
    found.require(
        cert_file.is_none() || *mode != TlsMode::Disabled,
        &format!("{field}.mode"),
        &mode_name,
        "certFile needs encryption; set another mode than Disabled or remove it",
    );
    found.require(
        server_name.is_none() || *mode == TlsMode::VerifyFull,
        &format!("{field}.mode"),
        &mode_name,
        "serverName is only used with mode VerifyFull; set that mode or remove serverName",
    );
}

fn start(start: &StartSpec, flavor: Option<Flavor>, found: &mut Findings) {
    let StartSpec { mode, file_position, gtid_set } = start;
    let mode_name = format!("{mode:?}");
    found.require(
        (*mode == StartMode::FilePosition) == file_position.is_some(),
        "start.mode",
        &mode_name,
        "start.filePosition and mode FilePosition belong together; set both or neither",
    );
    found.require(
        (*mode == StartMode::GtidSet) == gtid_set.is_some(),
        "start.mode",
        &mode_name,
        "start.gtidSet and mode GtidSet belong together; set both or neither",
    );
    if let Some(at) = file_position {
        found.require(
            is_binlog_file(&at.file),
            "start.filePosition.file",
            &at.file,
            "must be a binlog file name like binlog.000042, without a directory",
        );
        found.require(
            (4..=(1 << 53) - 1).contains(&at.position),
            "start.filePosition.position",
            at.position,
            "must be 4 or more: the first event of a file is at 4",
        );
    }
    if let Some(text) = gtid_set {
        // Without a flavor either form may be meant; the worker checks again when it is known.
        let flavors = flavor.map_or(vec![Flavor::MySQL, Flavor::MariaDB], |one| vec![one]);
        let readable = flavors.into_iter().any(|flavor| GtidSet::parse(flavor, text).is_ok());
        found.require(
            readable && text.len() <= 16_384,
            "start.gtidSet",
            text,
            "must be a MySQL set like 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5 or a MariaDB list \
             like 0-1-270",
        );
    }
}

fn filter(filter: &FilterSpec, found: &mut Findings) {
    let FilterSpec { schemas, tables, exclude_tables } = filter;
    found.require(schemas.len() <= 64, "filter.schemas", schemas.len(), "at most 64 entries");
    found.require(tables.len() <= 256, "filter.tables", tables.len(), "at most 256 entries");
    found.require(
        exclude_tables.len() <= 1024,
        "filter.excludeTables",
        exclude_tables.len(),
        "at most 1024 entries",
    );
    for schema in schemas {
        let plain = (1..=64).contains(&schema.chars().count()) && !schema.contains(['`', '*', '/']);
        found.require(plain, "filter.schemas", schema, "must be a schema's name, no pattern");
    }
    for (field, list) in [("filter.tables", tables), ("filter.excludeTables", exclude_tables)] {
        for table in list {
            found.require(
                is_table(table),
                field,
                table,
                "must be schema.table; * in the table part only, back-ticks around names with dots",
            );
        }
    }
    for table in tables {
        let listed = schemas.is_empty()
            || schemas.iter().any(|schema| {
                table.starts_with(&format!("{schema}."))
                    || table.starts_with(&format!("`{schema}`."))
            });
        found.require(
            listed,
            "filter.tables",
            table,
            "is outside filter.schemas and would never match; add its schema or remove the table",
        );
    }
}

fn checkpoint(checkpoint: &CheckpointConfig, in_pod: bool, found: &mut Findings) {
    let CheckpointConfig { store, interval, config_map, stream_state, file } = checkpoint;
    let store_name = format!("{store:?}");
    for (wanted, present, part) in [
        (CheckpointStoreConfig::ConfigMap, config_map.is_some(), "configMap"),
        (CheckpointStoreConfig::StreamState, stream_state.is_some(), "streamState"),
        (CheckpointStoreConfig::File, file.is_some(), "file"),
    ] {
        found.require(
            (*store == wanted) == present,
            "checkpoint.store",
            &store_name,
            format!("checkpoint.{part} and store {wanted:?} belong together; set both or neither"),
        );
    }
    found.require(
        !(in_pod && *store == CheckpointStoreConfig::File),
        "checkpoint.store",
        &store_name,
        "store File is for workers outside Kubernetes; use ConfigMap or StreamState",
    );
    duration(found, "checkpoint.interval", interval, "1s", "10m");
    if let Some(state) = stream_state {
        self::stream_state(state, found);
    }
}

fn stream_state(state: &StreamStateStore, found: &mut Findings) {
    let StreamStateStore {
        host,
        port,
        database,
        table,
        username,
        username_file,
        password_file,
        tls,
    } = state;
    if let Some(host) = host {
        found.require(is_host(host), "checkpoint.streamState.host", host, HOST);
    }
    found.require(*port != 0, "checkpoint.streamState.port", port, "must be 1 to 65535");
    for (field, value) in
        [("checkpoint.streamState.database", database), ("checkpoint.streamState.table", table)]
    {
        let plain =
            (1..=64).contains(&value.chars().count()) && !value.contains(['`', '/', '\\', '.']);
        found.require(plain, field, value, "must be a plain name of 1 to 64 characters");
    }
    let named = username.is_some() || username_file.is_some();
    found.require(
        !(username.is_some() && username_file.is_some()),
        "checkpoint.streamState.username",
        username.as_deref().unwrap_or_default(),
        "takes username or usernameFile, not both",
    );
    found.require(
        named == password_file.is_some(),
        "checkpoint.streamState.passwordFile",
        password_file.as_deref().unwrap_or("".as_ref()).display(),
        "a user name and passwordFile belong together; set both or neither",
    );
    found.require(
        host.is_none() || named,
        "checkpoint.streamState.host",
        host.as_deref().unwrap_or_default(),
        "needs a user name and passwordFile: the source's account is not sent to another server",
    );
    if let Some(tls) = tls {
        self::tls("checkpoint.streamState.tls", tls, found);
    }
}

fn archive(archive: &ArchiveConfig, found: &mut Findings) {
    let ArchiveConfig { s3, volume, commit, raw, changes } = archive;
    found.require(
        s3.is_some() != volume.is_some(),
        "archive",
        "",
        "needs exactly one of s3 and volume",
    );
    found.require(
        raw.enabled || changes.enabled,
        "archive.raw.enabled",
        raw.enabled,
        "raw and changes cannot both be off: nothing would be kept",
    );
    duration(found, "archive.commit.maxDelay", &commit.max_delay, "100ms", "10m");
    quantity(found, "archive.commit.maxBytes", &commit.max_bytes, "1Mi", "1Gi");
    if let Some(s3) = s3 {
        self::s3(s3, found);
    }
    if let Some(volume) = volume {
        found.require(
            !volume.path.as_os_str().is_empty(),
            "archive.volume.path",
            volume.path.display(),
            "name a directory that the worker may write",
        );
    }
}

fn s3(s3: &S3Config, found: &mut Findings) {
    let S3Config {
        bucket,
        prefix,
        region: _,
        endpoint,
        force_path_style: _,
        ca_file,
        credential_files: _,
        server_side_encryption,
        proxy,
    } = s3;
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bucket_ok = (3..=63).contains(&bucket.len())
        && bucket.starts_with(edge)
        && bucket.ends_with(edge)
        && bucket.chars().all(|c| edge(c) || c == '-' || c == '.');
    found.require(
        bucket_ok,
        "archive.s3.bucket",
        bucket,
        "must be 3 to 63 lower-case letters, digits, - and .",
    );
    let parts_ok = prefix.split('/').all(|part| part != "." && part != "..");
    let prefix_ok = prefix.len() <= 512
        && parts_ok
        && !prefix.starts_with('/')
        && !prefix.contains("//")
        && prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"!_.*'()=+@,-/".contains(&b));
    found.require(
        prefix_ok,
        "archive.s3.prefix",
        prefix,
        "must be a path without leading / and without the parts . and .., at most 512 characters",
    );
    if let Some(endpoint) = endpoint {
        found.require(
            is_endpoint(endpoint),
            "archive.s3.endpoint",
            // A user part could hold a password: it is not repeated.
            endpoint.rsplit('@').next().unwrap_or_default(),
            "must be an http or https URL without user, password or query",
        );
        found.require(
            ca_file.is_none() || endpoint.starts_with("https://"),
            "archive.s3.caFile",
            ca_file.as_deref().unwrap_or("".as_ref()).display(),
            "is only used with an https endpoint; change the endpoint or remove caFile",
        );
    }
    if let Some(sse) = server_side_encryption {
        found.require(
            sse.kms_key_id.is_none() || sse.algorithm == crate::v1alpha1::SseAlgorithm::AwsKms,
            "archive.s3.serverSideEncryption.kmsKeyId",
            sse.kms_key_id.as_deref().unwrap_or_default(),
            "is only used with algorithm aws:kms; set it or remove kmsKeyId",
        );
    }
    if let Some(proxy) = proxy {
        found.require(
            is_endpoint(&proxy.url),
            "archive.s3.proxy.url",
            proxy.url.rsplit('@').next().unwrap_or_default(),
            "must be an http or https URL without user and password",
        );
    }
}

fn consents(consents: &Consents, found: &mut Findings) {
    let Consents {
        adopt_archive: _,
        accept_source,
        accept_archive,
        acknowledge_gaps,
        commit_now,
        reset_checkpoint,
        set_checkpoint,
        by,
    } = consents;
    if let Some(value) = accept_source {
        found.require(
            parse_accept_source(value).is_ok(),
            "consents.acceptSource",
            value,
            "must be a server uuid or a numeric server id",
        );
    }
    if let Some(value) = accept_archive {
        found.require(
            value.parse::<AcceptedArchive>().is_ok(),
            "consents.acceptArchive",
            value,
            "must be <archive id>@<number of its newest entry>",
        );
    }
    found.require(
        acknowledge_gaps.len() <= 1024,
        "consents.acknowledgeGaps",
        acknowledge_gaps.len(),
        "at most 1024 entries; all acknowledges every gap",
    );
    for id in acknowledge_gaps {
        found.require(
            parse_acknowledge_gap(id).is_ok_and(|ids| ids.len() == 1),
            "consents.acknowledgeGaps",
            id,
            "must be gap ids, or all",
        );
    }
    if let Some(value) = commit_now {
        let message = "must be a text of 1 to 256 characters, as a time";
        found.require(parse_commit_now(value).is_ok(), "consents.commitNow", value, message);
    }
    requests(reset_checkpoint.as_deref(), set_checkpoint.as_deref(), found);
    if let Some(by) = by {
        found.require(by.len() <= 253, "consents.by", by, "at most 253 characters");
    }
}

fn requests(reset: Option<&str>, set: Option<&str>, found: &mut Findings) {
    if let Some(value) = reset {
        found.require(
            CheckpointRequest::reset(value).is_ok(),
            "consents.resetCheckpoint",
            value,
            "must be <archive id>@<number of its newest entry>",
        );
    }
    if let Some(value) = set {
        found.require(
            CheckpointRequest::set(value).is_ok(),
            "consents.setCheckpoint",
            value,
            "must be <archive id>@<number of its newest entry>/<file>:<offset>, or a GTID set \
             behind the slash",
        );
        let message = "the checkpoint is reset or set, not both; leave one of them out";
        found.require(reset.is_none(), "consents.setCheckpoint", value, message);
    }
}
