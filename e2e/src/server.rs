//! A MySQL or MariaDB server of one version on a free port, from a copy of the prepared data folder.
//!
//! `root` (no password, loopback only) is the tests' user; `repl` / `repl` holds what a worker needs
//! and nothing more.

mod options;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Row, Value};

use crate::pki::Leaf;
use crate::process::{Process, Signal};
use crate::wait::{Look, until};
use crate::{Context, Failure, Result, site};

const START_LIMIT: Duration = Duration::from_mins(1);

/// The versions the tests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServerKind {
    /// MySQL 9.7.
    MySql97,
    /// MariaDB 10.11.
    MariaDb1011,
    /// MariaDB 11.8.
    MariaDb118,
}

impl ServerKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::MySql97, Self::MariaDb1011, Self::MariaDb118];

    /// The name of its product in the cache.
    pub fn name(self) -> &'static str {
        match self {
            Self::MySql97 => "mysql-9.7",
            Self::MariaDb1011 => "mariadb-10.11",
            Self::MariaDb118 => "mariadb-11.8",
        }
    }

    /// Whether it is MySQL rather than MariaDB.
    pub fn is_mysql(self) -> bool {
        self == Self::MySql97
    }
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Builder {
    kind: ServerKind,
    options: Vec<(String, String)>,
    port: Option<u16>,
}

impl Builder {
    /// Sets a server option, over the harness's own value. Underscores and dashes are the same.
    #[must_use]
    #[allow(clippy::needless_pass_by_value, reason = "a call reads better with the value itself")]
    pub fn option(mut self, name: &str, value: impl ToString) -> Self {
        self.options.push((name.replace('-', "_"), value.to_string()));
        self
    }

    /// Presents this certificate; `authority` verifies clients' certificates.
    #[must_use]
    pub fn tls(self, leaf: &Leaf, authority: &Path) -> Self {
        self.option("ssl_ca", authority.display())
            .option("ssl_cert", leaf.certificate.display())
            .option("ssl_key", leaf.key.display())
    }

    /// Listens on this port instead of a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Copies the data folder and starts the server; returns once it answers.
    pub async fn start(self) -> Result<Server> {
        let folder = site::folder(self.kind.name())?;
        let product = site::cached(self.kind.name())?;
        site::copy_folder(&product.join("data"), &folder.join("data")).await?;
        let product = product.canonicalize().context(|| "resolve the server's folder")?;
        let port = self.port.map_or_else(site::free_port, Ok)?;
        let text = options::file(self.kind, &product, &folder, port, &self.options);
        std::fs::write(folder.join("my.cnf"), text).context(|| "write my.cnf")?;
        let mut server = Server { kind: self.kind, product, folder, port, process: None };
        server.start().await?;
        Ok(server)
    }
}

/// A server; dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    kind: ServerKind,
    product: PathBuf,
    folder: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Server {
    /// What to start.
    pub fn builder(kind: ServerKind) -> Builder {
        Builder { kind, options: Vec::new(), port: None }
    }

    /// Its version.
    pub fn kind(&self) -> ServerKind {
        self.kind
    }

    /// The port it listens on, on every address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:<port>`.
    pub fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Its data folder, with the binlog files in it.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// A binlog file as the server keeps it.
    pub fn binlog(&self, file: &str) -> PathBuf {
        self.data().join(file)
    }

    /// A client program of its version, as in `mysqlbinlog`.
    pub fn client(&self, program: &str) -> PathBuf {
        self.product.join("bin").join(program)
    }

    /// The server's own log.
    pub fn error_log(&self) -> String {
        let bytes = std::fs::read(self.folder.join("server.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Starts it (again) on its data folder; returns once it answers.
    pub async fn start(&mut self) -> Result<()> {
        let daemon = if self.kind.is_mysql() { "mysqld" } else { "mariadbd" };
        let mut command = Command::new(self.client(daemon));
        command.arg(format!("--defaults-file={}", self.folder.join("my.cnf").display()));
        let process = self.process.insert(Process::spawn(
            self.kind.name(),
            command,
            &self.folder.join("output.log"),
        )?);
        let (port, log) = (self.port, self.folder.join("server.log"));
        let process = &*process;
        until(format!("{} answers", self.kind.name()), START_LIMIT, || async {
            if process.ended()?.is_some() {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                return Ok(Look::Never(format!("it ended at its start:\n{log}")));
            }
            Conn::new(login(port, "root", None)).await?.disconnect().await?;
            Ok::<_, Failure>(Look::Yes(()))
        })
        .await
    }

    fn process(&self) -> Result<&Process> {
        self.process.as_ref().context(|| format!("{} is not running", self.kind.name()))
    }

    /// Kills it with -9.
    pub async fn kill(&self) -> Result<()> {
        self.process()?.kill().await
    }

    /// Shuts it down in order, closing its binlog.
    pub async fn stop(&self) -> Result<ExitStatus> {
        self.process()?.terminate(Duration::from_mins(1)).await
    }

    /// SIGSTOP.
    pub fn freeze(&self) -> Result<()> {
        self.process()?.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn thaw(&self) -> Result<()> {
        self.process()?.signal(Signal::CONT)
    }

    /// A connection as `root`, without a default database.
    pub async fn connect(&self) -> Result<Conn> {
        self.connect_as("root", None).await
    }

    /// A connection as another user.
    pub async fn connect_as(&self, user: &str, password: Option<&str>) -> Result<Conn> {
        Conn::new(login(self.port, user, password))
            .await
            .context(|| format!("connect to {} as {user}", self.kind.name()))
    }

    /// Runs statements one after the other on one connection of `root`.
    pub async fn run(&self, statements: &[&str]) -> Result<()> {
        let mut connection = self.connect().await?;
        for statement in statements {
            connection
                .query_drop(*statement)
                .await
                .context(|| format!("run {}", shortened(statement)))?;
        }
        connection.disconnect().await?;
        Ok(())
    }

    /// The connections of a user, by their numbers.
    pub async fn connections_of(&self, user: &str) -> Result<Vec<String>> {
        let all = self.rows("SHOW PROCESSLIST").await?;
        let ours =
            all.into_iter().filter(|row| row.get(1).is_some_and(|u| u.as_deref() == Some(user)));
        Ok(ours.filter_map(|row| row.into_iter().next().flatten()).collect())
    }

    /// Ends all connections of a user.
    pub async fn disconnect(&self, user: &str) -> Result<()> {
        for connection in self.connections_of(user).await? {
            // It may have ended by itself meanwhile.
            drop(self.run(&[&format!("KILL {connection}")]).await);
        }
        Ok(())
    }

    /// All rows of a query as text; NULL is `None`.
    pub async fn rows(&self, query: &str) -> Result<Vec<Vec<Option<String>>>> {
        let mut connection = self.connect().await?;
        let rows: Vec<Row> =
            connection.query(query).await.context(|| format!("run {}", shortened(query)))?;
        connection.disconnect().await?;
        Ok(rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect())
    }

    /// The first column of the first row.
    pub async fn value(&self, query: &str) -> Result<String> {
        let rows = self.rows(query).await?;
        rows.into_iter()
            .next()
            .and_then(|row| row.into_iter().next().flatten())
            .context(|| format!("{} gave no value", shortened(query)))
    }

    /// The file and offset the next event will be written at.
    pub async fn position(&self) -> Result<(String, u64)> {
        let query =
            if self.kind.is_mysql() { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" };
        let rows = self.rows(query).await?;
        let row = rows.first().context(|| "the server writes no binlog")?;
        let [Some(file), Some(offset), ..] = row.as_slice() else {
            return Err(Failure::new(format!("{query} gave {row:?}")));
        };
        Ok((file.clone(), offset.parse().context(|| format!("read the offset {offset:?}"))?))
    }

    /// The GTIDs executed (MySQL) or the current position (MariaDB).
    pub async fn gtids(&self) -> Result<String> {
        let query = if self.kind.is_mysql() {
            "SELECT @@GLOBAL.gtid_executed"
        } else {
            "SELECT @@GLOBAL.gtid_binlog_pos"
        };
        Ok(self.value(query).await?.replace('\n', ""))
    }

    /// Names and sizes of the binlog files, oldest first.
    pub async fn binlogs(&self) -> Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for row in self.rows("SHOW BINARY LOGS").await? {
            let [Some(file), Some(size), ..] = row.as_slice() else {
                return Err(Failure::new(format!("SHOW BINARY LOGS gave {row:?}")));
            };
            files.push((file.clone(), size.parse().context(|| format!("read the size {size:?}"))?));
        }
        Ok(files)
    }
}

fn login(port: u16, user: &str, password: Option<&str>) -> OptsBuilder {
    OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(port)
        .user(Some(user))
        .pass(password)
        .prefer_socket(false)
        // Large transactions of the workload.
        .max_allowed_packet(Some(1 << 30))
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        // Text protocol: every value comes as bytes.
        Value::Bytes(bytes) => {
            Some(String::from_utf8(bytes).unwrap_or_else(|error| hex::encode(error.into_bytes())))
        }
        other => Some(other.as_sql(true)),
    }
}

fn shortened(statement: &str) -> String {
    const SHOWN: usize = 120;
    if statement.chars().count() <= SHOWN {
        return statement.into();
    }
    statement.chars().take(SHOWN).chain("...".chars()).collect()
}
