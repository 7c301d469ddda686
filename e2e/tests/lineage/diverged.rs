//! Histories that parted: what only one of them holds comes once, and nothing comes twice.

use e2e::Failure;
use e2e::proxy::TcpProxy;
use e2e::wait::{Look, until};

use super::switch::{goes_on_at, pair};
use super::*;

/// So many transactions of one row each.
async fn singly(server: &Server, transactions: u64) -> Result<u64> {
    for _ in 0..transactions {
        workload::large(server, 1, 50).await?;
    }
    Ok(transactions)
}

/// Rows of the change log, after no identity was found twice in it.
async fn rows_once(stream: &Stream, server: &Server) -> Result<u64> {
    let facts = oracle::check_log(&stream.archive()).await?;
    let folded = oracle::fold(&stream.archive(), server, &workload::tables(false)).await?;
    assert!(folded.doubles.is_empty(), "identities occur twice: {:?}", folded.doubles);
    Ok(facts.changes.iter().map(|(_, rows)| rows).sum())
}

/// The worker is started on the server that the address now leads to, and a person says to go on there.
async fn accepted(stream: &Stream, server: &Server, reason: Reason, name: &str) -> Result<Worker> {
    let worker = stream.start()?;
    waits(&worker, reason, &format!("accept-source to \"{name}\"")).await?;
    stream.clone().with(&json!({"consents": {"acceptSource": name}}))?.write()?;
    goes_on_at(&worker, server, STREAMS).await?;
    Ok(worker)
}

/// Until its files are numbered higher than those of any server before it.
async fn rotate(server: &Server, times: usize) -> Result<()> {
    for _ in 0..times {
        server.run(&["FLUSH BINARY LOGS"]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_server_that_was_promoted_early_or_rebuilt_keeps_its_own_rows() -> Result<()> {
    let (first, second) = pair(ServerKind::MariaDb118).await?;
    let proxy = TcpProxy::start(first.address()).await?;
    let (stream, worker) = followed(Stream::from_port("early", proxy.port())?, &first).await?;
    let mut rows = singly(&first, 20).await?;
    until("the replica has it", ARCHIVED, || async {
        let (wanted, held) = (first.gtids().await?, second.gtids().await?);
        Ok::<_, Failure>(Look::holds(held == wanted, || format!("{held}, wanted {wanted}")))
    })
    .await?;
    second.run(&["STOP SLAVE", "RESET SLAVE ALL"]).await?;
    // These never reach the replica, which gives their numbers to rows of its own.
    rows += singly(&first, 5).await?;
    finish(&worker, &first, &[]).await?;
    rotate(&second, 3).await?;
    rows += singly(&second, 5).await?;
    proxy.switch(second.address());
    let id = second.port().to_string();
    let worker = accepted(&stream, &second, Reason::LineageMismatch, &id).await?;
    finish(&worker, &second, &[]).await?;
    assert_eq!(rows_once(&stream, &second).await?, rows);

    // Rebuilt from a dump: it begins at number 1 again.
    let third = shop(ServerKind::MariaDb118).await?;
    rows += singly(&third, 7).await?;
    rotate(&third, 8).await?;
    proxy.switch(third.address());
    let id = third.port().to_string();
    let worker = accepted(&stream, &third, Reason::LineageMismatch, &id).await?;
    finish(&worker, &third, &[]).await?;
    assert_eq!(rows_once(&stream, &third).await?, rows);
    Ok(())
}

/// The end of the last file is lost, as when the source's machine crashes with `sync_binlog` off.
async fn loses_its_tail(kind: ServerKind) -> Result<()> {
    let mut server = shop(kind).await?;
    let (stream, worker) = followed(Stream::new("tail", &server)?, &server).await?;
    let mut rows = singly(&server, 10).await?;
    server.run(&["FLUSH BINARY LOGS"]).await?;
    rows += singly(&server, 10).await?;
    let (file, kept) = server.position().await?;
    rows += singly(&server, 3).await?;
    finish(&worker, &server, &[]).await?;
    server.stop().await?;
    std::fs::File::options().write(true).open(server.binlog(&file))?.set_len(kept)?;
    server.start().await?;
    rows += singly(&server, 5).await?;
    let name = if kind.is_mysql() { "@@GLOBAL.server_uuid" } else { "@@GLOBAL.server_id" };
    let name = server.value(&format!("SELECT {name}")).await?;
    let worker = accepted(&stream, &server, Reason::DivergentHistory, &name).await?;
    finish(&worker, &server, &["history"]).await?;
    assert_eq!(rows_once(&stream, &server).await?, rows, "nothing was archived again");
    let lineages = entries(&stream.archive(), "lineage").await?;
    assert_ne!(lineages[1]["lineage"]["file"], file.as_str(), "it begins behind the lost tail");
    sound(&stream, &server).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_tail_of_mysql_97_makes_nothing_come_twice() -> Result<()> {
    loses_its_tail(ServerKind::MySql97).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_tail_of_mariadb_11_8_makes_nothing_come_twice() -> Result<()> {
    loses_its_tail(ServerKind::MariaDb118).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_there_and_back_between_mysql_servers_brings_each_row_once() -> Result<()> {
    let (first, second) = (shop(ServerKind::MySql97).await?, shop(ServerKind::MySql97).await?);
    let proxy = TcpProxy::start(first.address()).await?;
    let (stream, worker) = followed(Stream::from_port("back", proxy.port())?, &first).await?;
    let mut rows = singly(&first, 10).await?;
    finish(&worker, &first, &[]).await?;
    rotate(&second, 3).await?;
    rows += singly(&second, 10).await?;
    for server in [&second, &first] {
        proxy.switch(server.address());
        rows += singly(server, 5).await?;
        let name = server.value("SELECT @@GLOBAL.server_uuid").await?;
        let worker = accepted(&stream, server, Reason::DivergentHistory, &name).await?;
        until("all of the server is durable", ARCHIVED, || async {
            let durable = worker.status().await?.durable;
            let (file, offset) = server.position().await?;
            let there = durable.as_ref().is_some_and(|at| at.file == file && at.offset == offset);
            Ok::<_, Failure>(Look::holds(there, || format!("{durable:?}, wanted {file}:{offset}")))
        })
        .await?;
        assert!(worker.terminate(DRAINED).await?.success());
        assert_eq!(rows_once(&stream, server).await?, rows);
    }
    Ok(())
}
