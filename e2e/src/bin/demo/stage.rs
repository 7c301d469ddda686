//! The servers, the store and the cluster of the demo, and what it asks of them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use e2e::cluster::Cluster;
use e2e::pki::Authority;
use e2e::s3::{ACCESS_KEY, REGION, S3, SECRET_KEY};
use e2e::server::{Server, ServerKind};
use e2e::{Context, Failure, Result, site};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// One stream of the demo and the server it reads.
pub struct Stream {
    /// Name of the resource.
    pub name: &'static str,
    /// The server behind it.
    pub server: Server,
    title: &'static str,
    /// The Service that leads to the server; its Secret has the same name.
    service: &'static str,
    database: &'static str,
    table: &'static str,
}

/// Everything that runs.
pub struct Stage {
    /// The cluster.
    pub cluster: Cluster,
    store: S3,
    streams: [Stream; 2],
    authority: Authority,
    /// The folder of the volume of `ledger`.
    volume: PathBuf,
}

/// The interpreter with the Delta reader.
pub fn python() -> Result<PathBuf> {
    site::cached("python/venv/bin/python")
}

impl Stage {
    /// Starts all of it.
    pub async fn start(images: &Path) -> Result<Self> {
        let authority = Authority::new(&site::folder("pki")?, "demo")?;
        let (cluster, store, orders, ledger) = tokio::try_join!(
            start_cluster(images),
            S3::start(),
            start_server(ServerKind::MySql97, &authority, "orders-mysql"),
            start_server(ServerKind::MariaDb118, &authority, "ledger-mariadb"),
        )?;
        store.bucket("history").await?;
        let orders = Stream {
            name: "orders",
            server: orders,
            title: "orders (MySQL 9.7, S3)",
            service: "orders-mysql",
            database: "shop",
            table: "orders",
        };
        let ledger = Stream {
            name: "ledger",
            server: ledger,
            title: "ledger (MariaDB 11.8, volume)",
            service: "ledger-mariadb",
            database: "bank",
            table: "ledger",
        };
        tokio::try_join!(orders.write("tables"), ledger.write("tables"))?;
        let volume = site::folder("ledger-archive")?;
        // A host path gets no group: the worker's user must be able to write.
        std::fs::set_permissions(&volume, PermissionsExt::from_mode(0o777))
            .context(|| "open the volume's folder")?;
        Ok(Self { cluster, store, streams: [orders, ledger], authority, volume })
    }

    /// Both streams.
    pub fn streams(&self) -> [&Stream; 2] {
        let [orders, ledger] = &self.streams;
        [orders, ledger]
    }

    /// Leaves what another terminal needs in the demo's folder.
    pub fn publish(&self, folder: &Path) -> Result<()> {
        let copy = |from: &Path, to: &str| {
            std::os::unix::fs::symlink(from, folder.join(to)).context(|| format!("leave {to}"))
        };
        copy(&self.cluster.admin_kubeconfig(), "kubeconfig")?;
        for stream in &self.streams {
            let socket = stream.socket()?.display().to_string();
            std::fs::write(folder.join(format!("{}.socket", stream.name)), socket)
                .context(|| "leave the server's socket")?;
        }
        Ok(())
    }

    /// Secrets, authorities, Services and the volume that the samples speak of.
    pub async fn prepare_namespace(&self) -> Result<()> {
        let literal = |key: &str, value: &str| format!("--from-literal={key}={value}");
        let ca = format!("--from-file=ca.crt={}", self.authority.certificate().display());
        for stream in &self.streams {
            let (user, password) = (literal("username", "repl"), literal("password", "repl"));
            let name = stream.service;
            self.cluster.kubectl(&["create", "secret", "generic", name, &user, &password]).await?;
            self.cluster.kubectl(&["create", "configmap", &format!("{name}-ca"), &ca]).await?;
            self.cluster.expose("default", name, 3306, stream.server.port()).await?;
        }
        let key = literal("AWS_ACCESS_KEY_ID", ACCESS_KEY);
        let secret = literal("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        self.cluster.kubectl(&["create", "secret", "generic", "history-s3", &key, &secret]).await?;
        self.cluster.expose("default", "history-s3", 9000, self.store.port()).await?;
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "ledger-archive"},
            "spec": {
                "capacity": {"storage": "50Gi"}, "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": self.volume},
            },
        });
        let file = self.cluster.folder().join("ledger-archive.yaml");
        std::fs::write(&file, serde_yaml::to_string(&volume)?).context(|| "write the volume")?;
        self.cluster.kubectl(&["apply", "-f", &file.display().to_string()]).await.map(drop)
    }

    /// The worker's pod.
    pub async fn pod(&self, stream: &Stream) -> Result<String> {
        let pods = self.cluster.kubectl(&["get", "pods", "-o", "name"]).await?;
        let prefix = format!("pod/{}-worker-", stream.name);
        let pod = pods.lines().find(|pod| pod.starts_with(&prefix));
        let pod = pod.and_then(|pod| pod.strip_prefix("pod/"));
        pod.map(str::to_owned).context(|| format!("{} has no worker pod", stream.name))
    }

    /// What the worker says of itself.
    pub async fn status(&self, pod: &str) -> Result<Value> {
        let path = format!("/api/v1/namespaces/default/pods/{pod}:8080/proxy/status");
        Ok(serde_json::from_str(&self.cluster.kubectl(&["get", "--raw", &path]).await?)?)
    }

    /// What add_up.py compares: all closed binlog files, the table, the archive.
    pub async fn plan(&self) -> Result<Value> {
        let store = json!({
            "endpoint": self.store.endpoint(), "key": ACCESS_KEY, "secret": SECRET_KEY, "region": REGION,
        });
        let volume = format!("{}/default/ledger", self.volume.display());
        let [orders, ledger] = &self.streams;
        Ok(json!([
            orders.plan("s3://history/prod/default/orders", store).await?,
            ledger.plan(&volume, Value::Null).await?,
        ]))
    }
}

impl Stream {
    fn tool(&self, program: &str) -> PathBuf {
        let family = if self.server.kind().is_mysql() { "mysql" } else { "mariadb" };
        match program {
            "client" => self.server.client(family),
            _ if family == "mysql" => self.server.client("mysqlbinlog"),
            _ => self.server.client("mariadb-binlog"),
        }
    }

    fn socket(&self) -> Result<PathBuf> {
        let data = self.server.data();
        Ok(data.parent().context(|| "find the server's socket")?.join("my.sock"))
    }

    fn client(&self) -> Result<Vec<String>> {
        let (program, socket) = (self.tool("client"), self.socket()?);
        let words =
            [&program.display().to_string(), "--no-defaults", "-uroot", "-S"].map(str::to_owned);
        Ok(words.into_iter().chain([socket.display().to_string()]).collect())
    }

    /// Runs one part of the workload through the server's own client.
    pub async fn write(&self, part: &str) -> Result<()> {
        let sql = Command::new(python()?)
            .arg(site::tree().join("e2e/demo/workload.py"))
            .args([part, self.database, self.table])
            .output()
            .await
            .context(|| "run workload.py")?;
        let client = self.client()?;
        let mut child = Command::new(&client[0])
            .args(&client[1..])
            .stdin(Stdio::piped())
            .spawn()
            .context(|| format!("start {}", client[0]))?;
        let mut input = child.stdin.take().context(|| "write to the client")?;
        input.write_all(&sql.stdout).await.context(|| "write to the client")?;
        drop(input);
        let status = child.wait().await.context(|| "wait for the client")?;
        if status.success() && sql.status.success() {
            return Ok(());
        }
        Err(Failure::new(format!("write {part} to {}: {status}", self.name)))
    }

    async fn plan(&self, archive: &str, store: Value) -> Result<Value> {
        let mut files = self.server.binlogs().await?;
        // The file that is being written is not closed.
        files.pop();
        let files: Vec<_> = files.iter().map(|(file, _)| self.server.binlog(file)).collect();
        Ok(json!({
            "title": self.title, "archive": archive, "s3": store, "binlogs": files,
            "dump": [self.tool("dump"), "--no-defaults"], "client": self.client()?,
            "database": self.database, "table": self.table, "row": "4711",
        }))
    }
}

async fn start_cluster(images: &Path) -> Result<Cluster> {
    let cluster = Cluster::start().await?;
    for image in ["binlog-operator.tar", "binlog-worker.tar"] {
        cluster.import(&images.join(image)).await?;
    }
    Ok(cluster)
}

/// A server whose certificate carries the name of its Service.
async fn start_server(kind: ServerKind, authority: &Authority, name: &str) -> Result<Server> {
    let leaf = authority.issue(name, &format!("/CN={name}"), &format!("DNS:{name}"))?;
    Server::builder(kind).tls(&leaf, &authority.certificate()).start().await
}
