//! The source as the configuration names it: settings with secrets read from their files, a control
//! connection, and what it says.
//!
//! Files are read at each connect, so that a rotated password or certificate needs no restart. If a file
//! vanishes, the last good contents serve on.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crds::conditions::Reason;
use crds::position::{Flavor, GtidSet};
use crds::v1alpha1::{StartMode, StartSpec};
use crds::worker_config::{TlsConfig, WorkerConfig};
use crds::worker_status::SourceRole;
use jiff::Timestamp;
use source::preflight::{self, Facts, Finding, Need, Severity, Start};
use source::{Connection, Role, Secret, SourceConfig, TlsSettings};

use crate::board::Board;
use crate::fault::Fault;

/// Reads files that hold secrets, and keeps the last good contents of each.
#[derive(Default)]
pub struct SecretFiles {
    last: Mutex<HashMap<PathBuf, Vec<u8>>>,
}

impl SecretFiles {
    /// The file's contents without one trailing line end.
    pub fn read(&self, path: &Path) -> Result<Secret, Fault> {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match std::fs::read(path) {
            Ok(bytes) => {
                last.insert(path.to_owned(), bytes.clone());
                Ok(Secret::from_file_contents(bytes))
            }
            Err(error) => match last.get(path) {
                Some(bytes) => {
                    tracing::warn!(path = %path.display(), %error, "secret file is gone, using its last contents");
                    Ok(Secret::from_file_contents(bytes.clone()))
                }
                None => Err(Fault::source(
                    Reason::SecretMissing,
                    format!(
                        "read secret file {}: {error}; create the Secret with that key",
                        path.display()
                    ),
                )),
            },
        }
    }

    fn text(&self, path: &Path) -> Result<String, Fault> {
        let secret = self.read(path)?;
        String::from_utf8(secret.expose().to_vec()).map_err(|_| {
            Fault::source(
                Reason::SecretInvalid,
                format!("read secret file {}: it is not UTF-8 text", path.display()),
            )
        })
    }
}

/// Who to log in as, and where.
pub struct Address<'a> {
    /// Host name or address.
    pub host: &'a str,
    /// TCP port.
    pub port: u16,
    /// Account by value.
    pub username: Option<&'a str>,
    /// Account by file.
    pub username_file: Option<&'a Path>,
    /// Password.
    pub password_file: &'a Path,
    /// TLS.
    pub tls: &'a TlsConfig,
}

/// Address of the API server of this worker's pod, as the kubelet tells it.
pub fn api_server() -> Option<IpAddr> {
    let host = std::env::var("KUBERNETES_SERVICE_HOST").ok()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Settings for a connection.
pub fn settings(
    config: &WorkerConfig,
    address: &Address<'_>,
    secrets: &SecretFiles,
    server_id: u32,
) -> Result<SourceConfig, Fault> {
    let username = match (address.username, address.username_file) {
        (Some(name), _) => name.to_owned(),
        (None, Some(file)) => secrets.text(file)?,
        (None, None) => {
            return Err(Fault::source(
                Reason::ConfigInvalid,
                "source.username: set it, or usernameFile",
            ));
        }
    };
    let TlsConfig { mode, ca_file, cert_file, key_file, server_name } = address.tls.clone();
    for file in [&ca_file, &cert_file, &key_file].into_iter().flatten() {
        secrets.read(file)?;
    }
    let endpoints = config.endpoints(api_server());
    if let Some(refused) = endpoints.host(address.host) {
        let text = format!("connect to {:?}: it {}", address.host, refused.why());
        return Err(Fault::source(Reason::EndpointNotAllowed, text));
    }
    Ok(SourceConfig {
        host: address.host.to_owned(),
        port: address.port,
        endpoints,
        tls: TlsSettings { mode, ca: ca_file, cert: cert_file, key: key_file, server_name },
        username,
        password: secrets.read(address.password_file)?,
        connect_timeout: config.source.connect_timeout.get(),
        heartbeat_interval: config.source.heartbeat_interval.get(),
        server_id,
    })
}

/// Settings for the source itself.
pub fn source_settings(
    config: &WorkerConfig,
    secrets: &SecretFiles,
    server_id: u32,
) -> Result<SourceConfig, Fault> {
    let source = &config.source;
    let address = Address {
        host: &source.host,
        port: source.port,
        username: source.username.as_deref(),
        username_file: source.username_file.as_deref(),
        password_file: &source.password_file,
        tls: &source.tls,
    };
    settings(config, &address, secrets, server_id)
}

/// Our id as a replica: the configured one, else one derived from the instance, far from small hand-made ids.
pub fn server_id(config: &WorkerConfig, instance: &str) -> u32 {
    config.server_id.unwrap_or_else(|| 0x4000_0000 | (crc32fast::hash(instance.as_bytes()) >> 2))
}

/// Connects, asks and checks. What cannot work is a fault that names the mend.
pub async fn inspect(
    config: &WorkerConfig,
    settings: &SourceConfig,
    fresh: bool,
    board: &Board,
) -> Result<(Connection, Facts), Fault> {
    let mut connection = source::connect(settings).await?;
    let facts = preflight::gather(&mut connection).await?;
    let need = Need {
        server_id: settings.server_id,
        flavor: config.source.flavor,
        start: if fresh {
            wanted_start(&config.start, facts.identity.flavor)?
        } else {
            Start::Earliest
        },
        changes: config.archive.changes.enabled,
    };
    let findings = preflight::check(&facts, &need);
    show(&connection, &facts, settings, board);
    let refusals: Vec<&Finding> =
        findings.iter().filter(|finding| finding.severity == Severity::Refuse).collect();
    if let Some(first) = refusals.first() {
        let all: Vec<&str> = refusals.iter().map(|finding| finding.message.as_str()).collect();
        return Err(Fault::source(first.reason, all.join("; ")));
    }
    for finding in &findings {
        tracing::warn!(reason = %finding.reason, message = %finding.message, "source needs attention");
    }
    Ok((connection, facts))
}

fn wanted_start(start: &StartSpec, flavor: Flavor) -> Result<Start, Fault> {
    Ok(match start.mode {
        StartMode::Latest => Start::Latest,
        StartMode::Earliest => Start::Earliest,
        StartMode::FilePosition => match &start.file_position {
            Some(at) => {
                Start::File(crds::position::FilePosition::new(at.file.clone(), at.position))
            }
            None => return Err(invalid_start("start.filePosition is missing")),
        },
        StartMode::GtidSet => {
            let text = start.gtid_set.as_deref().unwrap_or_default();
            Start::Gtid(GtidSet::parse(flavor, text).map_err(|error| {
                invalid_start(format!("start.gtidSet is not a {flavor} set: {error}"))
            })?)
        }
    })
}

fn invalid_start(message: impl Into<String>) -> Fault {
    Fault::source(Reason::SpecInvalid, message)
}

fn show(connection: &Connection, facts: &Facts, settings: &SourceConfig, board: &Board) {
    let identity = &facts.identity;
    board.update(|all| {
        all.lag.set_clock_offset(identity.clock_us - Timestamp::now().as_microsecond());
        let source = &mut all.report.source;
        source.address = Some(connection.address().to_owned());
        source.server_uuid = identity.server_uuid;
        source.server_id = Some(identity.server_id);
        source.own_server_id = Some(settings.server_id);
        source.version = Some(identity.version.clone());
        source.flavor = Some(identity.flavor);
        source.role = Some(role(identity.role));
        source.binlog_retention_seconds = Some(identity.retention.map_or(0, |keep| keep.as_secs()));
        source.encrypted = Some(connection.tls().is_some());
    });
}

fn role(role: Role) -> SourceRole {
    match role {
        Role::Primary => SourceRole::Primary,
        Role::Replica => SourceRole::Replica,
        Role::Unknown => SourceRole::Unknown,
    }
}
