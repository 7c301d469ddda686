//! S3 servers in processes of their own, and a client to look into their buckets.
//!
//! versitygw is the store of the tests: its conditional creates are atomic. s3s-fs is the one that
//! must be refused: it lets several creates of one key win.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::Builder as HttpClient;

use crate::pki::Leaf;
use crate::process::Process;
use crate::wait::{Look, until};
use crate::{Context, Failure, Result, site};

/// The access key of every test server.
pub const ACCESS_KEY: &str = "AKTESTTESTTESTTEST01";
/// Its secret, with the characters that trip encoders.
pub const SECRET_KEY: &str = "test/secret+with=marks0123456789";
/// The region of every test server.
pub const REGION: &str = "us-east-1";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// Creates are atomic.
    Versitygw,
    /// Creates are not atomic: only for showing that it is refused.
    S3sFs,
}

/// A running S3 server; dropped, it is killed.
#[derive(Debug)]
pub struct S3 {
    kind: StoreKind,
    folder: PathBuf,
    port: u16,
    /// The one key it knows, and its secret.
    key: (String, String),
    process: Option<Process>,
}

impl S3 {
    /// Starts versitygw.
    pub async fn start() -> Result<Self> {
        Self::start_kind(StoreKind::Versitygw).await
    }

    /// Starts a server of this kind on a free port.
    pub async fn start_kind(kind: StoreKind) -> Result<Self> {
        let folder = site::folder("s3")?;
        std::fs::create_dir_all(folder.join("data")).context(|| "make the data folder")?;
        let key = (ACCESS_KEY.to_owned(), SECRET_KEY.to_owned());
        let mut s3 = Self { kind, folder, port: site::free_port()?, key, process: None };
        s3.restart().await?;
        Ok(s3)
    }

    /// Starts it again on what it holds, for after [`kill`](Self::kill).
    pub async fn restart(&mut self) -> Result<()> {
        let data = self.folder.join("data");
        let command = match self.kind {
            StoreKind::Versitygw => {
                let mut command = versitygw(self.port, &self.key)?;
                command.arg("posix").arg(data);
                command
            }
            StoreKind::S3sFs => {
                let mut command = Command::new(site::program("s3s-fs")?);
                command
                    .args(["--host", "0.0.0.0", "--port", &self.port.to_string()])
                    .args(["--access-key", &self.key.0, "--secret-key", &self.key.1])
                    .arg(data);
                command
            }
        };
        let log = self.folder.join("s3.log");
        let process = &*self.process.insert(Process::spawn("s3 server", command, &log)?);
        listens(process, self.port).await
    }

    /// Starts it again with another key; it does not know the one before any more.
    pub async fn rekey(&mut self, access_key: &str, secret_key: &str) -> Result<()> {
        self.kill().await?;
        self.key = (access_key.to_owned(), secret_key.to_owned());
        self.restart().await
    }

    /// A second server on the same buckets that speaks TLS only, and its port. Dropped, it is killed.
    pub async fn over_tls(&self, leaf: &Leaf) -> Result<(Process, u16)> {
        let port = site::free_port()?;
        let mut command = versitygw(port, &self.key)?;
        command.arg("--cert").arg(&leaf.certificate).arg("--key").arg(&leaf.key);
        command.arg("posix").arg(self.folder.join("data"));
        let process = Process::spawn("s3 server", command, &self.folder.join("s3-tls.log"))?;
        listens(&process, port).await?;
        Ok((process, port))
    }

    /// The port, on every address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:<port>`, for a proxy in front of it.
    pub fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The endpoint for processes of the namespace.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The endpoint for pods.
    pub fn endpoint_for_pods(&self) -> String {
        format!("http://{}:{}", site::NODE_ADDRESS, self.port)
    }

    /// The server process, to freeze it for example.
    pub fn process(&self) -> Result<&Process> {
        self.process.as_ref().context(|| "the S3 server is not running")
    }

    /// Kills the server; what it holds stays.
    pub async fn kill(&self) -> Result<()> {
        self.process()?.kill().await
    }

    /// A client that goes straight to the server, without retries.
    pub fn client(&self) -> Client {
        client(&self.endpoint())
    }

    /// Makes a bucket and gives a handle to look into it.
    pub async fn bucket(&self, name: &str) -> Result<Bucket> {
        let client = self.client();
        client
            .create_bucket()
            .bucket(name)
            .send()
            .await
            .context(|| format!("make bucket {name}"))?;
        Ok(Bucket { client, name: name.into() })
    }
}

fn versitygw(port: u16, (access, secret): &(String, String)) -> Result<Command> {
    let mut command = Command::new(site::program("versitygw")?);
    command.env("ROOT_ACCESS_KEY", access).env("ROOT_SECRET_KEY", secret).args([
        "--port",
        &format!(":{port}"),
        "--region",
        REGION,
    ]);
    Ok(command)
}

async fn listens(process: &Process, port: u16) -> Result<()> {
    until("the S3 server listens", Duration::from_secs(20), || async move {
        if let Err(ended) = process.check_runs() {
            return Ok(Look::Never(ended.to_string()));
        }
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        Ok::<_, Failure>(Look::Yes(()))
    })
    .await
}

/// A client for an endpoint, without retries: a test sees each answer.
pub fn client(endpoint: &str) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(HttpClient::new().build_http())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .force_path_style(true)
        .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
        .credentials_provider(Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test"))
        .build();
    Client::from_conf(config)
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// The size in bytes.
    pub size: u64,
}

/// A bucket, looked into past any proxy.
#[derive(Debug, Clone)]
pub struct Bucket {
    client: Client,
    name: String,
}

impl Bucket {
    /// The bucket's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All objects whose keys start with `prefix`, in order of key.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let mut pages =
            self.client.list_objects_v2().bucket(&self.name).prefix(prefix).into_paginator().send();
        let mut listed = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.context(|| format!("list {}/{prefix}", self.name))?;
            for object in page.contents() {
                listed.push(Listed {
                    key: object.key().unwrap_or_default().into(),
                    size: object.size().and_then(|size| size.try_into().ok()).unwrap_or_default(),
                });
            }
        }
        listed.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(listed)
    }

    /// The bytes of an object.
    pub async fn get(&self, key: &str) -> Result<Vec<u8>> {
        let doing = || format!("get {}/{key}", self.name);
        let object =
            self.client.get_object().bucket(&self.name).key(key).send().await.context(doing)?;
        Ok(object.body.collect().await.context(doing)?.to_vec())
    }

    /// Writes an object over whatever is there.
    pub async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<()> {
        let put = self.client.put_object().bucket(&self.name).key(key);
        put.body(ByteStream::from(bytes))
            .send()
            .await
            .context(|| format!("put {}/{key}", self.name))?;
        Ok(())
    }

    /// Deletes an object.
    pub async fn delete(&self, key: &str) -> Result<()> {
        let delete = self.client.delete_object().bucket(&self.name).key(key);
        delete.send().await.context(|| format!("delete {}/{key}", self.name))?;
        Ok(())
    }
}
