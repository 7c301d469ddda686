//! Streams for tests and the `worker` binary on them, outside Kubernetes.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use crds::worker_config::WorkerConfig;
use crds::worker_status::WorkerStatus;
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::archive::Archive;
use crate::process::{Process, Signal};
use crate::s3::{ACCESS_KEY, Bucket, REGION, S3, SECRET_KEY};
use crate::server::Server;
use crate::wait::{Look, until, within};
use crate::{Context, Failure, Result, http, logs, site};

/// The password of `repl`, which no log may show where it stands alone. It equals the user name, so
/// logs are searched for the S3 secret only.
const PASSWORD: &str = "repl";
const HTTP_LIMIT: Duration = Duration::from_secs(5);
const REDECODE_LIMIT: Duration = Duration::from_mins(2);

/// A stream: its configuration and the folder with everything it refers to.
///
/// Made for one server with a volume archive, a file checkpoint, start mode `Earliest`, commits
/// each 500 ms and heartbeats each second; change `config` before [`start`](Self::start) for
/// anything else.
#[derive(Debug, Clone)]
pub struct Stream {
    /// What the worker will be told.
    pub config: WorkerConfig,
    folder: PathBuf,
    bucket: Option<(Bucket, String)>,
}

impl Stream {
    /// A stream of this name from this server.
    pub fn new(name: &str, server: &Server) -> Result<Self> {
        Self::from_port(name, server.port())
    }

    /// A stream of this name from whatever listens on a loopback port.
    pub fn from_port(name: &str, port: u16) -> Result<Self> {
        let folder = site::folder(name)?;
        let config = config(name, port, &folder)?;
        for made in ["archive", "work"] {
            std::fs::create_dir_all(folder.join(made)).context(|| "make the stream's folders")?;
        }
        for (file, secret) in
            [("password", PASSWORD), ("access-key", ACCESS_KEY), ("secret-key", SECRET_KEY)]
        {
            std::fs::write(folder.join(file), secret).context(|| format!("write {file}"))?;
        }
        Ok(Self { config, folder, bucket: None })
    }

    /// Changes the configuration as JSON: objects are merged, `null` removes a key.
    #[must_use = "the changed stream is returned"]
    pub fn with(mut self, change: &Value) -> Result<Self> {
        let mut whole = serde_json::to_value(&self.config)?;
        merge(&mut whole, change);
        self.config = serde_json::from_value(whole)?;
        Ok(self)
    }

    /// Archives to a bucket, through `endpoint` (the server's own, or a proxy's).
    #[must_use = "the changed stream is returned"]
    pub fn on_s3(mut self, s3: &S3, bucket: &Bucket, endpoint: &str) -> Result<Self> {
        self.bucket = Some((bucket.clone(), s3.endpoint()));
        let s3 = json!({
            "bucket": bucket.name(), "prefix": "history", "region": REGION, "endpoint": endpoint,
            "forcePathStyle": true,
            "credentialFiles": {
                "accessKeyIdFile": self.folder.join("access-key"),
                "secretAccessKeyFile": self.folder.join("secret-key"),
            },
        });
        self.with(&json!({"archive": {"s3": s3, "volume": null}}))
    }

    /// Checkpoints into `stream_state` of `database` on the source.
    #[must_use = "the changed stream is returned"]
    pub fn on_stream_state(self, database: &str) -> Result<Self> {
        let checkpoint = json!({
            "store": "StreamState", "file": null, "streamState": {"database": database},
        });
        self.with(&json!({"checkpoint": checkpoint}))
    }

    /// The same stream for a second process: the same archive and checkpoint, its own working
    /// folder, instance and port.
    pub fn second(&self) -> Result<Self> {
        let folder = site::folder(&self.config.name)?;
        let change = json!({
            "workDir": folder, "listen": format!("127.0.0.1:{}", site::free_port()?),
            "instance": {"id": null},
        });
        self.clone().with(&change)
    }

    /// The stream's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the archive is.
    pub fn archive(&self) -> Archive {
        let WorkerConfig { namespace, name, .. } = &self.config;
        match &self.bucket {
            Some((bucket, endpoint)) => Archive::S3 {
                bucket: bucket.clone(),
                endpoint: endpoint.clone(),
                root: format!("history/{namespace}/{name}"),
            },
            None => Archive::Volume(self.folder.join("archive").join(namespace).join(name)),
        }
    }

    fn config_file(&self) -> PathBuf {
        self.config.work_dir.join("config.yaml")
    }

    /// Writes the configuration; a running worker reads it again.
    pub fn write(&self) -> Result<()> {
        let file = self.config_file();
        let text = self.config.to_yaml().context(|| "write the configuration as YAML")?;
        let new = file.with_extension("new");
        std::fs::write(&new, text).context(|| format!("write {}", new.display()))?;
        std::fs::rename(&new, &file).context(|| format!("replace {}", file.display()))
    }

    /// Runs `worker redecode` on this stream, stopped by a configuration of its own.
    pub async fn redecode(
        &self,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Output> {
        let stopped = self.clone().with(&json!({"state": "Stopped"}))?;
        let file = self.config.work_dir.join("redecode.yaml");
        let text = stopped.config.to_yaml().context(|| "write the configuration as YAML")?;
        std::fs::write(&file, text).context(|| format!("write {}", file.display()))?;
        self.redecode_by(&file, arguments, environment).await
    }

    /// Runs `worker redecode` with this configuration.
    pub async fn redecode_by(
        &self,
        file: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Output> {
        let mut command = tokio::process::Command::new(site::built("worker")?);
        command
            .args(["redecode", "--config"])
            .arg(file)
            .args(arguments)
            .envs(environment.iter().copied())
            .env("RUST_BACKTRACE", "1");
        let output = within("worker redecode ends", REDECODE_LIMIT, command.output()).await?;
        output.context(|| "run worker redecode")
    }

    /// Where its own configuration is, once it was started.
    pub fn config_path(&self) -> PathBuf {
        self.config_file()
    }

    /// Starts the worker with this configuration.
    pub fn start(&self) -> Result<Worker> {
        self.start_with(&[])
    }

    /// Starts the worker with more environment variables, as for named failpoints.
    pub fn start_with(&self, environment: &[(&str, &str)]) -> Result<Worker> {
        std::fs::create_dir_all(&self.config.work_dir).context(|| "make the working folder")?;
        self.write()?;
        let mut command = Command::new(site::built("worker")?);
        command
            .args(["run", "--config"])
            .arg(self.config_file())
            .envs(environment.iter().copied())
            .env("RUST_BACKTRACE", "1");
        let address = self
            .config
            .listen
            .parse()
            .context(|| format!("read the listen address {}", self.config.listen))?;
        let log = self.config.work_dir.join("worker.log");
        Ok(Worker { process: Process::spawn(&self.config.name, command, &log)?, address })
    }
}

fn config(name: &str, port: u16, folder: &Path) -> Result<WorkerConfig> {
    let config = json!({
        "namespace": "e2e", "name": name,
        "owner": {"cluster": "e2e", "namespace": "e2e", "name": name},
        "source": {
            "host": "127.0.0.1", "port": port, "username": "repl",
            "passwordFile": folder.join("password"), "tls": {"mode": "Preferred"},
            "heartbeatInterval": "1s",
        },
        "start": {"mode": "Earliest"},
        "checkpoint": {
            "store": "File", "interval": "1s", "file": {"path": folder.join("checkpoint.json")},
        },
        "archive": {
            "volume": {"path": folder.join("archive")},
            "commit": {"maxDelay": "500ms", "maxBytes": "4Mi"},
        },
        "workDir": folder.join("work"),
        "listen": format!("127.0.0.1:{}", site::free_port()?),
    });
    Ok(serde_json::from_value(config)?)
}

/// Merges objects; `null` removes a key.
pub(crate) fn merge(into: &mut Value, change: &Value) {
    let (Value::Object(fields), Value::Object(changes)) = (&mut *into, change) else {
        *into = change.clone();
        return;
    };
    for (key, value) in changes {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// A running worker; dropped, it is killed.
#[derive(Debug)]
pub struct Worker {
    process: Process,
    address: SocketAddr,
}

impl Worker {
    /// GET of a path of its admin server.
    pub async fn get(&self, path: &str) -> Result<(StatusCode, String)> {
        http::get(self.address, path, HTTP_LIMIT).await
    }

    /// Its report.
    pub async fn status(&self) -> Result<WorkerStatus> {
        let (_, text) = self.get("/status").await?;
        serde_json::from_str(&text).context(|| format!("read /status: {text}"))
    }

    /// Waits for a report that satisfies the condition. An ended worker ends the wait.
    pub async fn until(
        &self,
        what: impl Display,
        limit: Duration,
        condition: impl Fn(&WorkerStatus) -> bool,
    ) -> Result<WorkerStatus> {
        let condition = &condition;
        until(what, limit, || async move {
            if let Err(ended) = self.process.check_runs() {
                return Ok(Look::Never(ended.to_string()));
            }
            let status = self.status().await?;
            if condition(&status) {
                return Ok(Look::Yes(status));
            }
            Ok::<_, Failure>(Look::NotYet(serde_json::to_string(&status)?))
        })
        .await
    }

    /// Waits until everything up to the server's present end is durable.
    pub async fn archived_all_of(&self, server: &Server, limit: Duration) -> Result<WorkerStatus> {
        let (file, offset) = server.position().await?;
        self.until(format!("{file}:{offset} is durable"), limit, |status| {
            status.durable.as_ref().is_some_and(|durable| {
                let number =
                    |file: &str| file.rsplit('.').next().and_then(|n| n.parse::<u64>().ok());
                (number(&durable.file), durable.offset) >= (number(&file), offset)
            })
        })
        .await
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Kills it with -9.
    pub async fn kill(&self) -> Result<()> {
        self.process.kill().await
    }

    /// SIGSTOP.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn thaw(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// SIGTERM, then waits for the drain to end.
    pub async fn terminate(&self, limit: Duration) -> Result<ExitStatus> {
        self.process.terminate(limit).await
    }

    /// Its log, over all runs of the stream in this working folder.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Fails on ERROR lines without one of the expected fragments, and on secrets.
    pub fn check_log(&self, expected: &[&str]) -> Result<()> {
        logs::check(&self.log(), expected, &[SECRET_KEY])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_a_test_stream_is_valid() {
        let config = config("orders", 3306, Path::new("/run/e2e")).unwrap();
        assert_eq!(config.validate(), []);
    }

    #[test]
    fn a_change_merges_and_null_removes() {
        let mut whole = json!({"a": {"b": 1, "c": 2}});
        merge(&mut whole, &json!({"a": {"b": null, "d": {"e": 3}}}));
        assert_eq!(whole, json!({"a": {"c": 2, "d": {"e": 3}}}));
    }
}
