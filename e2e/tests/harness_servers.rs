//! Each server version starts, has what the tests rely on, and its binlog can be read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail as tests do"
)]

use std::process::Command;
use std::time::Duration;

use e2e::proxy::TcpProxy;
use e2e::server::{Server, ServerKind};
use e2e::wait::{Look, until};
use e2e::workload::{self, Plan, Writers};
use e2e::{Failure, Result};
use mysql_async::prelude::Queryable;

#[tokio::test(flavor = "multi_thread")]
async fn mysql_97_starts_with_all_that_the_tests_rely_on() -> Result<()> {
    starts(ServerKind::MySql97, "9.").await
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_10_11_starts_with_all_that_the_tests_rely_on() -> Result<()> {
    starts(ServerKind::MariaDb1011, "10.11.").await
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_11_8_starts_with_all_that_the_tests_rely_on() -> Result<()> {
    starts(ServerKind::MariaDb118, "11.8.").await
}

async fn starts(kind: ServerKind, version: &str) -> Result<()> {
    let mut server = Server::builder(kind).start().await?;
    let running = server.value("SELECT VERSION()").await?;
    let gtids = if kind.is_mysql() { "@@gtid_mode" } else { "CONCAT('domain ', @@gtid_domain_id)" };
    let capabilities = server
        .value(&format!(
            "SELECT CONCAT_WS(' ', @@binlog_format, @@binlog_row_image, @@binlog_row_metadata, \
             @@binlog_checksum, {gtids})"
        ))
        .await?;
    println!("{}: version {running}, {capabilities}", kind.name());
    assert!(running.starts_with(version), "{running}");
    let expected = if kind.is_mysql() { "ON" } else { "domain 0" };
    assert_eq!(capabilities, format!("ROW FULL FULL CRC32 {expected}"));

    server.run(&["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)"]).await?;
    server.run(&["INSERT INTO shop.t VALUES (1), (2)"]).await?;
    let (file, offset) = server.position().await?;
    assert!(reads(&server, &file).contains("INSERT INTO"), "the binlog tool shows the row");
    assert_eq!(std::fs::metadata(server.binlog(&file))?.len(), offset);
    assert!(!server.gtids().await?.is_empty());

    let mut repl = server.connect_as("repl", Some("repl")).await?;
    let denied = repl.query_drop("INSERT INTO shop.t VALUES (3)").await;
    assert!(denied.is_err(), "repl must not write");
    drop(repl);

    server.kill().await?;
    server.start().await?;
    assert_eq!(server.value("SELECT COUNT(*) FROM shop.t").await?, "2");
    assert_eq!(server.binlogs().await?.len(), 2, "a start opens a new file");
    assert!(server.stop().await?.success());
    Ok(())
}

/// What the version's own tool makes of a binlog file.
fn reads(server: &Server, file: &str) -> String {
    let tool = if server.kind().is_mysql() { "mysqlbinlog" } else { "mariadb-binlog" };
    let output = Command::new(server.client(tool))
        .args(["--no-defaults", "--verbose"])
        .arg(server.binlog(file))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_copies_of_one_version_are_two_servers() -> Result<()> {
    let one = Server::builder(ServerKind::MySql97).start().await?;
    let two =
        Server::builder(ServerKind::MySql97).option("gtid-mode", "OFF_PERMISSIVE").start().await?;
    let uuid = "SELECT @@server_uuid";
    assert_ne!(one.value(uuid).await?, two.value(uuid).await?);
    assert_eq!(two.value("SELECT @@gtid_mode").await?, "OFF_PERMISSIVE");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_address_moves_cuts_and_swallows() -> Result<()> {
    let one = Server::builder(ServerKind::MariaDb1011).option("server-id", 1).start().await?;
    let two = Server::builder(ServerKind::MariaDb1011).option("server-id", 2).start().await?;
    let proxy = TcpProxy::start(one.address()).await?;
    let connect = || {
        mysql_async::Conn::new(
            mysql_async::OptsBuilder::default()
                .ip_or_hostname("127.0.0.1")
                .tcp_port(proxy.port())
                .user(Some("root"))
                .prefer_socket(false),
        )
    };
    let server_id = "SELECT @@server_id";
    let mut open = connect().await?;
    proxy.switch(two.address());
    assert_eq!(open.query_first::<u32, _>(server_id).await?, Some(1), "it stays where it was");
    assert_eq!(connect().await?.query_first::<u32, _>(server_id).await?, Some(2));

    proxy.black_hole(true);
    let swallowed = tokio::time::timeout(Duration::from_secs(1), open.query_drop("SELECT 1")).await;
    assert!(swallowed.is_err(), "no answer comes");
    proxy.black_hole(false);
    proxy.cut();
    until("all connections are closed", Duration::from_secs(5), || async {
        let open = proxy.connections();
        Ok::<_, Failure>(Look::holds(open == 0, || format!("{open} open")))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workload_counts_what_the_binlog_holds() -> Result<()> {
    for kind in ServerKind::ALL {
        let server = Server::builder(kind).start().await?;
        workload::prepare(&server).await?;
        let plan = Plan { rows: 3_000, writers: 4, large_rows: 2_000, ..Plan::SMALL };
        let mut done = workload::run(&server, &plan).await?;
        let writers = Writers::start(&server, 2, 4).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        done += writers.stop().await?;

        let files = server.binlogs().await?;
        assert_eq!(files.len(), 4, "three rotations");
        let row = |line: &&str| {
            ["### INSERT INTO", "### UPDATE", "### DELETE FROM"]
                .iter()
                .any(|op| line.starts_with(op))
        };
        let held: usize =
            files.iter().map(|(file, _)| reads(&server, file).lines().filter(row).count()).sum();
        println!("{}: {} changes in {} transactions", kind.name(), done.changes, done.transactions);
        assert_eq!(held as u64, done.changes, "{}", kind.name());
        for table in workload::tables(true) {
            let rows = server.value(&format!("SELECT COUNT(*) FROM {}", table.name)).await?;
            assert_ne!(rows, "0", "{}", table.name);
        }
    }
    Ok(())
}
