//! The programs that run beside ours, each checked to have done the whole work.

use std::process::Command;
use std::time::Duration;

use e2e::server::Server;
use e2e::{Context, Failure, Result, site};
use serde::Deserialize;

use crate::measure::{Run, run};
use crate::shape::Load;

/// The server's own tool copies the binlog file; the copy must be equal.
pub async fn raw(server: &Server, load: &Load) -> Result<Run> {
    let mysql = server.kind().is_mysql();
    let (program, plain) = if mysql {
        ("mysqlbinlog", "--ssl-mode=DISABLED")
    } else {
        ("mariadb-binlog", "--skip-ssl")
    };
    let folder = site::folder("raw")?;
    let mut command = Command::new(server.client(program));
    command
        .args(["--no-defaults", "--raw", "--read-from-remote-server", "--host=127.0.0.1"])
        .args([&format!("--port={}", server.port()), "--user=root", plain])
        .args([&format!("--result-file={}/", folder.display()), &load.file]);
    let (run, _) = run(command).await?;
    let compared = Command::new("cmp")
        .args([folder.join(&load.file), server.binlog(&load.file)])
        .status()
        .context(|| "run cmp")?;
    if !compared.success() {
        return Err(Failure::new(format!("{program} made another file than {}", load.file)));
    }
    let _removed = std::fs::remove_dir_all(folder);
    Ok(run)
}

/// A reader that keeps nothing of the binlog file: what the source sends at most. The time is that of the dump.
pub async fn read_only(server: &Server, load: &Load) -> Result<Run> {
    let mut command = Command::new(site::built("examples/probe")?);
    command.args(["127.0.0.1", &server.port().to_string(), "root"]).args([
        "--events",
        "file",
        "--from",
        &format!("{}:4", load.file),
    ]);
    let (run, printed) = run(command).await?;
    let printed = String::from_utf8_lossy(&printed);
    let last = printed.lines().last().unwrap_or_default();
    let took = last.strip_suffix(" s").and_then(|line| line.rsplit(' ').next()?.parse().ok());
    let wall = took.context(|| format!("read what probe printed: {last}"))?;
    Ok(Run { wall: Duration::from_secs_f64(wall), ..run })
}

/// What a decoder counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Counted {
    pub changes: u64,
    pub images: u64,
}

/// Our decoder on the server's file.
pub async fn own_decoder(server: &Server, load: &Load) -> Result<(Run, Counted)> {
    let mut command = Command::new(site::built("examples/decode")?);
    command.arg("--quiet").arg(server.binlog(&load.file));
    decoder(command, load).await
}

/// go-mysql on the server's file, on one core as ours.
pub async fn go_mysql(server: &Server, load: &Load) -> Result<(Run, Counted)> {
    let mut command = Command::new(site::program("go-mysql")?);
    let flavor = if server.kind().is_mysql() { "mysql" } else { "mariadb" };
    command.arg(flavor).arg(server.binlog(&load.file)).env("GOMAXPROCS", "1");
    decoder(command, load).await
}

async fn decoder(command: Command, load: &Load) -> Result<(Run, Counted)> {
    let name = command.get_program().display().to_string();
    let (run, printed) = run(command).await?;
    let counted: Counted =
        serde_json::from_slice(&printed).context(|| format!("read what {name} printed"))?;
    if counted.changes != load.changes {
        let Counted { changes, .. } = counted;
        let written = load.changes;
        return Err(Failure::new(format!("{name} found {changes} changes of {written}")));
    }
    Ok((run, counted))
}

/// Debezium's embedded engine, from a server's first binlog file to JSON in memory: the shape must be the first. Its
/// time runs from the first change to the last, so that the start of its machine does not count.
pub async fn debezium(server: &Server, load: &Load, table: &str) -> Result<Run> {
    #[derive(Deserialize)]
    struct Took {
        wall: f64,
        cpu: f64,
    }
    let mut command = Command::new(site::program("debezium")?);
    command.args([&server.port().to_string(), table, &load.changes.to_string()]);
    let (run, printed) = run(command).await?;
    let took: Took = serde_json::from_slice(&printed).context(|| "read what debezium printed")?;
    let (wall, cpu) = (Duration::from_secs_f64(took.wall), Duration::from_secs_f64(took.cpu));
    Ok(Run { wall, cpu, ..run })
}
