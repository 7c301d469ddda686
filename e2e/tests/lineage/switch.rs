//! Another history: the source was reset, or the address leads to another server.

use e2e::Failure;
use e2e::proxy::TcpProxy;
use e2e::wait::{Look, until};

use super::*;

/// The identity probe's interval, and a little for the look itself.
const PROBED: Duration = Duration::from_secs(40);

/// Begins a new history of the binlog, at a given second or now.
async fn reset(server: &Server, second: Option<u32>) -> Result<()> {
    let reset =
        if server.kind().is_mysql() { "RESET BINARY LOGS AND GTIDS" } else { "RESET MASTER" };
    let set = format!("SET TIMESTAMP = {}", second.unwrap_or_default());
    server.run(&[&set, reset]).await
}

/// Resets the binlog and writes on: either less than was archived, or so much more that the old position exists
/// again and only the bytes there tell.
async fn is_divergent_after_a_reset(
    kind: ServerKind,
    rows: u64,
    second: Option<u32>,
) -> Result<()> {
    let server = shop(kind).await?;
    if second.is_some() {
        reset(&server, second).await?;
    }
    let stream = from_here(Stream::new("reset", &server)?, &server).await?;
    let worker = stream.start()?;
    workload::large(&server, 200, 50).await?;
    finish(&worker, &server, &[]).await?;
    reset(&server, second).await?;
    workload::large(&server, rows, 50).await?;
    server.run(&["FLUSH BINARY LOGS"]).await?;
    workload::large(&server, 100, 50).await?;
    let before = oracle::check_log(&stream.archive()).await?;
    let name = if kind.is_mysql() {
        server.value("SELECT @@GLOBAL.server_uuid").await?
    } else {
        server.value("SELECT @@GLOBAL.server_id").await?
    };
    let worker = stream.start()?;
    waits(&worker, Reason::DivergentHistory, &format!("accept-source to \"{name}\"")).await?;
    let after = oracle::check_log(&stream.archive()).await?;
    assert_eq!(
        (before.raw, before.changes),
        (after.raw, after.changes),
        "nothing of it was archived"
    );
    stream.clone().with(&json!({"consents": {"acceptSource": name, "by": "the test"}}))?.write()?;
    streaming(&worker).await?;
    finish(&worker, &server, &["history"]).await?;
    let lineages = entries(&stream.archive(), "lineage").await?;
    let causes: Vec<_> = lineages.iter().map(|entry| entry["lineage"]["cause"].as_str()).collect();
    assert_eq!(causes, [Some("start"), Some("consent")], "{lineages:?}");
    // The same numbers now name other transactions: all of the new ones must be there.
    let folded = oracle::fold(&stream.archive(), &server, &workload::tables(false)).await?;
    let blobs = &folded.tables["shop.blobs"];
    assert!(
        blobs.missing.is_empty() && blobs.different.is_empty() && blobs.wrong.is_empty(),
        "{blobs:?}"
    );
    assert_eq!(folded.rows, 200 + rows + 100);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_mysql_97_waits_for_consent() -> Result<()> {
    is_divergent_after_a_reset(ServerKind::MySql97, 10, None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_mysql_97_that_grew_past_our_position_is_told_by_its_bytes() -> Result<()> {
    is_divergent_after_a_reset(ServerKind::MySql97, 20_000, None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_mariadb_11_8_waits_for_consent() -> Result<()> {
    is_divergent_after_a_reset(ServerKind::MariaDb118, 10, None).await
}

/// Then the files' heads are the same to the byte.
const THE_SAME_SECOND: Option<u32> = Some(1_790_000_000);

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_mysql_97_in_the_second_in_which_its_file_began_is_no_lost_tail() -> Result<()> {
    is_divergent_after_a_reset(ServerKind::MySql97, 10, THE_SAME_SECOND).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_mariadb_11_8_in_the_second_in_which_its_file_began_is_no_lost_tail()
-> Result<()> {
    is_divergent_after_a_reset(ServerKind::MariaDb118, 10, THE_SAME_SECOND).await
}

/// A primary and its replica, which logs what it replicates.
pub(super) async fn pair(kind: ServerKind) -> Result<(Server, Server)> {
    let (first, second) =
        (shop(kind).await?, Server::builder(kind).option("log_slave_updates", "ON"));
    let second = if kind.is_mysql() { Server::builder(kind) } else { second }.start().await?;
    let port = first.port();
    if kind.is_mysql() {
        let change = format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, SOURCE_USER='repl', \
             SOURCE_PASSWORD='repl', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1"
        );
        second.run(&[&change, "START REPLICA"]).await?;
    } else {
        let change = format!(
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='repl', \
             MASTER_PASSWORD='repl', MASTER_USE_GTID=slave_pos"
        );
        second.run(&[&change, "START SLAVE"]).await?;
    }
    Ok((first, second))
}

/// Waits for the replica, promotes it, and leaves the old primary read-only.
async fn promote(first: &Server, second: &Server) -> Result<()> {
    let kind = first.kind();
    first
        .run(&[if kind.is_mysql() {
            "SET GLOBAL super_read_only = ON"
        } else {
            "SET GLOBAL read_only = ON"
        }])
        .await?;
    let wanted = first.gtids().await?;
    until("the replica holds what the primary does", ARCHIVED, || async {
        let held = second.gtids().await?;
        let all = if kind.is_mysql() {
            second.value(&format!("SELECT GTID_SUBSET('{wanted}', '{held}')")).await? == "1"
        } else {
            held == wanted
        };
        Ok::<_, Failure>(Look::holds(all, || format!("{held}, wanted {wanted}")))
    })
    .await?;
    let stop: [&str; 2] = if kind.is_mysql() {
        ["STOP REPLICA", "RESET REPLICA ALL"]
    } else {
        ["STOP SLAVE", "RESET SLAVE ALL"]
    };
    second.run(&stop).await
}

/// Writers on the primary, then the address moves to the promoted replica; gives what was written in all.
async fn moved(kind: ServerKind) -> Result<(Server, Server, TcpProxy, Stream, Worker, u64)> {
    let (first, second) = pair(kind).await?;
    let proxy = TcpProxy::start(first.address()).await?;
    let (stream, worker) = followed(Stream::from_port("vip", proxy.port())?, &first).await?;
    let writers = Writers::start(&first, 30, 2).await?;
    worker.until("it reads under load", SHOWN, |status| status.counters.rows > 3_000).await?;
    // Rotations of the replica's own: its files are not the primary's.
    second.run(&["FLUSH BINARY LOGS"]).await?;
    worker.until("it reads on", SHOWN, |status| status.counters.rows > 6_000).await?;
    let mut done = writers.stop().await?;
    promote(&first, &second).await?;
    worker.archived_all_of(&first, ARCHIVED).await?;
    // The open dump stays on the demoted server, which looks idle.
    proxy.switch(second.address());
    done += workload::large(&second, 500, 50).await?;
    Ok((first, second, proxy, stream, worker, done.changes))
}

pub(super) async fn goes_on_at(worker: &Worker, server: &Server, limit: Duration) -> Result<()> {
    let id = u32::from(server.port());
    let there = |status: &WorkerStatus| {
        status.phase == Phase::Streaming
            && status.source.connected
            && status.source.server_id == Some(id)
    };
    worker.until("it streams from the promoted server", limit, there).await.map(drop)
}

async fn both_lineages_are_whole(
    stream: &Stream,
    first: &Server,
    second: &Server,
    changes: u64,
) -> Result<()> {
    let facts = sound(stream, second).await?;
    let lineages: BTreeSet<_> = facts.raw.iter().map(|raw| raw.lineage.clone()).collect();
    assert_eq!(lineages.len(), 2, "{lineages:?}");
    let oldest = lineages.first().context(|| "no lineage")?;
    oracle::check_raw(&stream.archive(), &facts, oldest, first).await?;
    assert_eq!(facts.changes.iter().map(|(_, rows)| rows).sum::<u64>(), changes);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_moved_to_a_mysql_peer_is_seen_and_followed_without_loss_or_double()
-> Result<()> {
    let (first, second, _proxy, stream, worker, changes) = moved(ServerKind::MySql97).await?;
    goes_on_at(&worker, &second, PROBED).await?;
    assert!(worker.log().contains("SourceMoved"), "{}", worker.log());
    let more = workload::large(&second, 500, 50).await?;
    until("the promoted server is archived", ARCHIVED, || async {
        let durable = worker.status().await?.durable;
        let (file, offset) = second.position().await?;
        let there = durable.as_ref().is_some_and(|at| at.file == file && at.offset == offset);
        Ok::<_, Failure>(Look::holds(there, || format!("{durable:?}, wanted {file}:{offset}")))
    })
    .await?;
    finish(&worker, &second, &[]).await?;
    both_lineages_are_whole(&stream, &first, &second, changes + more.changes).await?;
    let lineages = entries(&stream.archive(), "lineage").await?;
    assert_eq!(lineages[1]["lineage"]["cause"], "failover");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_moved_to_a_mariadb_peer_waits_for_consent() -> Result<()> {
    let (first, second, _proxy, stream, worker, changes) = moved(ServerKind::MariaDb118).await?;
    worker.until("the move is seen", PROBED, |status| status.phase == Phase::Waiting).await?;
    let id = second.port().to_string();
    waits(&worker, Reason::LineageMismatch, &format!("accept-source to \"{id}\"")).await?;
    assert!(worker.log().contains("SourceMoved"), "{}", worker.log());
    assert_eq!(entries(&stream.archive(), "lineage").await?.len(), 1, "nothing was written");
    stream.clone().with(&json!({"consents": {"acceptSource": id}}))?.write()?;
    goes_on_at(&worker, &second, STREAMS).await?;
    finish(&worker, &second, &[]).await?;
    both_lineages_are_whole(&stream, &first, &second, changes).await?;
    let lineages = entries(&stream.archive(), "lineage").await?;
    assert_eq!(lineages[1]["lineage"]["cause"], "consent");
    Ok(())
}
