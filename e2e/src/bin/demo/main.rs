//! The demo: two servers, two streams, a real Kubernetes, a worker killed in the middle, and the
//! table that adds it all up. Run by `e2e/demo.sh` inside `e2e/ns.sh`; the first argument is the
//! folder with the images. Ends with 1 when a number differs.

mod show;
mod stage;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use e2e::process::Signal;
use e2e::wait::{Look, until};
use e2e::{Context, Failure, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::show::Watch;
use crate::stage::{Stage, Stream};

/// So much of the large transaction, at least, is received when the worker is killed.
const RECEIVED_BYTES: u64 = 500_000;
const LIMIT: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> ExitCode {
    match play().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("demo: something differs; the logs are kept under .make/failed/");
            ExitCode::FAILURE
        }
        Err(failure) => {
            eprintln!("demo: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn play() -> Result<bool> {
    let images = std::env::args().nth(1).context(|| "usage: demo FOLDER_OF_IMAGES")?;
    let folder = std::env::var("BINLOG_DEMO").context(|| "BINLOG_DEMO is not set; use demo.sh")?;
    let (images, folder) = (PathBuf::from(images), PathBuf::from(folder));
    let stage = Stage::start(&images).await?;
    stage.publish(&folder)?;
    show::line(
        "every $ line can be typed in another terminal after: export PATH=$PWD/.demo/bin:$PATH",
    );

    let start = Instant::now();
    install(&stage).await?;
    let watch = Watch::start(&stage.cluster)?;
    let wait = ["wait", "streams", "--all", "--for=condition=Ready", "--timeout=120s"];
    let streamed = async {
        stage.cluster.kubectl(&wait).await?;
        disturb(&stage).await?;
        settle(&stage).await
    };
    let streamed = streamed.await;
    watch.stop().await?;
    if streamed.is_err() {
        show::run(&stage.cluster, "kubectl", "describe streams,pods").await?;
    }
    streamed?;
    let equal = add_up(&stage, &folder).await?;
    if equal {
        show::line(&format!("passed in {} s.", start.elapsed().as_secs()));
    }
    if std::io::stdout().is_terminal() {
        stay().await?;
    }
    Ok(equal)
}

async fn install(stage: &Stage) -> Result<()> {
    let cluster = &stage.cluster;
    show::run(
        cluster,
        "helm",
        "install binlog-operator charts/binlog-operator -n binlog-system --create-namespace --wait",
    )
    .await?;
    stage.prepare_namespace().await?;
    show::note("made the Secrets, the CAs, and the Services that lead to the demo's servers");
    show::run(
        cluster,
        "kubectl",
        "apply -f config/samples/orders-mysql-s3.yaml -f config/samples/ledger-mariadb-volume.yaml",
    )
    .await
}

/// The writes, and the kill in the middle of them.
async fn disturb(stage: &Stage) -> Result<()> {
    let [orders, ledger] = stage.streams();
    show::note(
        "writing 60 000 changes to each: insert, update, delete, rollback, ALTER, one of 20 000 rows",
    );
    tokio::try_join!(orders.write("first"), ledger.write("first"))?;
    durable(stage, orders).await?;
    let before = orders.server.position().await?;
    let kill = kill_inside(stage, orders, &before);
    let ((epoch, killed), (), ()) =
        tokio::try_join!(kill, orders.write("large"), ledger.write("large"))?;
    tokio::try_join!(resumed(stage, orders, epoch, killed), rest(orders), rest(ledger))?;
    Ok(())
}

/// A new binlog file, and the last part of the writes.
async fn rest(stream: &Stream) -> Result<()> {
    stream.server.run(&["FLUSH BINARY LOGS"]).await?;
    stream.write("last").await
}

/// Waits until another start of the worker streams.
async fn resumed(stage: &Stage, stream: &Stream, epoch: u64, killed: Instant) -> Result<()> {
    let at = until(format!("{} streams again", stream.name), LIMIT, || async {
        let status = stage.status(&stage.pod(stream).await?).await?;
        let again = status["phase"] == "Streaming" && status["epoch"].as_u64() > Some(epoch);
        Ok::<_, Failure>(Look::from_option(again.then(|| status.clone()), || status.to_string()))
    })
    .await?;
    show::note(&format!(
        "{} resumed {} s after the kill at {}, epoch {}",
        stream.name,
        killed.elapsed().as_secs(),
        show::position(&at["durable"]),
        at["epoch"],
    ));
    Ok(())
}

/// Kills the worker once it has received much of what follows `before` and not made it durable;
/// gives its epoch and the time.
async fn kill_inside(
    stage: &Stage,
    stream: &Stream,
    before: &(String, u64),
) -> Result<(u64, Instant)> {
    let pod = stage.pod(stream).await?;
    let (file, start) = before;
    let (pending, epoch) =
        until("the large transaction is received and not durable", LIMIT, || async {
            let status = stage.status(&pod).await?;
            let at = |name: &str| {
                let position = &status[name];
                (position["file"] == file.as_str()).then(|| position["offset"].as_u64()).flatten()
            };
            let pending = at("received").unwrap_or(0).saturating_sub(at("durable").unwrap_or(0));
            let inside = at("received") > Some(start + RECEIVED_BYTES) && pending > 0;
            let found = inside.then(|| (pending, status["epoch"].as_u64().unwrap_or_default()));
            Ok::<_, Failure>(Look::from_option(found, || status.to_string()))
        })
        .await?;
    let process = stage.cluster.container_pid("default", &pod, "worker").await?;
    show::note(&format!(
        "killing the worker of {} (SIGKILL) with {pending} bytes received and not yet durable",
        stream.name
    ));
    show::kill(process, Signal::KILL)?;
    Ok((epoch, Instant::now()))
}

/// Closes the binlog files and waits until everything is durable that the servers have written.
async fn settle(stage: &Stage) -> Result<()> {
    for stream in stage.streams() {
        stream.server.run(&["FLUSH BINARY LOGS"]).await?;
        durable(stage, stream).await?;
    }
    Ok(())
}

/// Waits until everything is durable that the stream's server has written.
async fn durable(stage: &Stage, stream: &Stream) -> Result<()> {
    let (file, offset) = stream.server.position().await?;
    let what = format!("{} is durable to {file}:{offset}", stream.name);
    until(&what, LIMIT, || async {
        let status = stage.status(&stage.pod(stream).await?).await?;
        let durable = &status["durable"];
        let reached = durable["file"] == file.as_str()
            && durable["offset"].as_u64().is_some_and(|at| at >= offset);
        Ok::<_, Failure>(Look::holds(reached, || durable.to_string()))
    })
    .await?;
    show::note(&what);
    Ok(())
}

/// Compares with the independent reader; true when everything is equal.
async fn add_up(stage: &Stage, folder: &Path) -> Result<bool> {
    let plan = folder.join("plan.json");
    std::fs::write(&plan, serde_json::to_string_pretty(&stage.plan().await?)?)
        .context(|| "write the plan")?;
    let status = tokio::process::Command::new(stage::python()?)
        .arg(e2e::site::tree().join("e2e/demo/add_up.py"))
        .arg(&plan)
        .status()
        .await
        .context(|| "run add_up.py")?;
    Ok(status.success())
}

async fn stay() -> Result<()> {
    show::line(
        "Still running, until Ctrl-C: kubectl describe stream orders; kubectl logs deploy/orders-worker;\n\
         orders-sql (the MySQL client), ledger-sql (MariaDB's): write something and watch kubectl get streams -w",
    );
    let mut end = signal(SignalKind::terminate()).context(|| "listen for the end")?;
    end.recv().await;
    Ok(())
}
