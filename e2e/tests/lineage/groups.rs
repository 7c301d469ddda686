//! Transactions whose rows the change log cannot know, or not all: they are named, never left out silently, and
//! what was undone is not told.

use e2e::server::Builder;

use super::*;

/// A server that lets tables without transactions be changed inside one, with the workload's schema and such tables.
async fn mixed(builder: Builder, kind: ServerKind) -> Result<Server> {
    // MySQL with GTIDs refuses such transactions by itself.
    let builder = if kind.is_mysql() {
        builder.option("gtid_mode", "OFF").option("enforce_gtid_consistency", "OFF")
    } else {
        builder
    };
    let server = builder.start().await?;
    workload::prepare(&server).await?;
    Ok(server)
}

/// Table gaps of all entries as (table, reason).
async fn table_gaps(archive: &Archive) -> Result<BTreeSet<(String, String)>> {
    let mut gaps = BTreeSet::new();
    for (_, entry) in archive.entries().await? {
        for gap in entry["gaps"].as_array().into_iter().flatten() {
            let text = |field: &str| gap[field].as_str().unwrap_or_default().to_owned();
            gaps.insert((text("table"), text("reason")));
        }
    }
    Ok(gaps)
}

async fn rolled_back_groups_are_named(server: Server) -> Result<()> {
    server
        .run(&[
            "CREATE TABLE shop.unsafe (id INT, what VARCHAR(200)) ENGINE=MyISAM",
            "CREATE TABLE shop.safe (id INT, what VARCHAR(200))",
        ])
        .await?;
    let (stream, worker) = followed(Stream::new("groups", &server)?, &server).await?;
    // Rows of the table without transactions stay; the group ends with ROLLBACK.
    server
        .run(&[
            "SET SESSION binlog_format = MIXED",
            "BEGIN",
            "INSERT INTO shop.safe VALUES (1, UUID())",
            "INSERT INTO shop.unsafe SELECT id, CONCAT(UUID(), what) FROM shop.safe",
            "ROLLBACK",
        ])
        .await?;
    let done = workload::large(&server, 100, 10).await?;
    finish(&worker, &server, &[]).await?;
    let facts = sound(&stream, &server).await?;
    let (file, _) = server.position().await?;
    let events = server.rows(&format!("SHOW BINLOG EVENTS IN '{file}'")).await?;
    let kinds: Vec<_> =
        events.iter().map(|event| (event[2].as_deref(), event[5].as_deref())).collect();
    let gaps = table_gaps(&stream.archive()).await?;
    println!("{}: {gaps:?}", server.kind().name());
    let rows = facts.changes.iter().map(|(_, rows)| rows).sum::<u64>();
    let unsafe_is_told =
        gaps.iter().any(|(table, _)| table == "shop.unsafe") || rows == done.changes + 1;
    assert!(unsafe_is_told, "{rows} rows, {gaps:?} {kinds:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_groups_of_mysql_97_are_named_gaps() -> Result<()> {
    let kind = ServerKind::MySql97;
    rolled_back_groups_are_named(mixed(Server::builder(kind), kind).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_groups_of_mysql_97_are_named_gaps_when_compressed() -> Result<()> {
    let kind = ServerKind::MySql97;
    let builder = Server::builder(kind).option("binlog_transaction_compression", "ON");
    rolled_back_groups_are_named(mixed(builder, kind).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_groups_of_mariadb_10_11_are_named_gaps() -> Result<()> {
    let kind = ServerKind::MariaDb1011;
    rolled_back_groups_are_named(mixed(Server::builder(kind), kind).await?).await
}

/// MariaDB logs the undone rows and the return to the savepoint, MySQL only what is left.
async fn undone_rows_are_not_told(kind: ServerKind) -> Result<()> {
    let server = mixed(Server::builder(kind), kind).await?;
    server.run(&["CREATE TABLE shop.unsafe (id INT PRIMARY KEY) ENGINE=MyISAM"]).await?;
    let (stream, worker) = followed(Stream::new("undone", &server)?, &server).await?;
    let journal = |writer: u32| {
        format!(
            "INSERT INTO shop.journal (at, writer, what) \
             VALUES ('2026-03-04 05:06:07.000', {writer}, UUID())"
        )
    };
    server
        .run(&[
            "BEGIN",
            &journal(1),
            "SAVEPOINT here",
            &journal(2),
            "INSERT INTO shop.unsafe VALUES (1)",
            "ROLLBACK TO SAVEPOINT here",
            &journal(3),
            "COMMIT",
        ])
        .await?;
    let (file, _) = server.position().await?;
    let events = server.rows(&format!("SHOW BINLOG EVENTS IN '{file}'")).await?;
    let returns = |event: &Vec<Option<String>>| {
        event[5].as_deref().is_some_and(|info| info.contains("ROLLBACK TO"))
    };
    assert_eq!(events.iter().any(returns), !kind.is_mysql(), "{events:?}");
    finish(&worker, &server, &[]).await?;
    let facts = sound(&stream, &server).await?;
    let gaps = table_gaps(&stream.archive()).await?;
    let rows = facts.changes.iter().map(|(_, rows)| rows).sum::<u64>();
    println!("{}: {rows} rows, {gaps:?}", kind.name());
    assert_eq!(rows, 3, "two of the journal, one that cannot be undone");
    assert_eq!(gaps, BTreeSet::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_undone_by_a_savepoint_of_mysql_97_are_not_told() -> Result<()> {
    undone_rows_are_not_told(ServerKind::MySql97).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_undone_by_a_savepoint_of_mariadb_11_8_are_not_told() -> Result<()> {
    undone_rows_are_not_told(ServerKind::MariaDb118).await
}

/// Small as it is sent, several files of rows when it is unpacked.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_compressed_transaction_of_mysql_97_comes_whole() -> Result<()> {
    let builder = Server::builder(ServerKind::MySql97);
    let server = builder.option("binlog_transaction_compression", "ON").start().await?;
    workload::prepare(&server).await?;
    let (stream, worker) = followed(Stream::new("packed", &server)?, &server).await?;
    let done = workload::large(&server, 30_000, 4_000).await?;
    finish(&worker, &server, &[]).await?;
    let facts = sound(&stream, &server).await?;
    assert_eq!(facts.changes.iter().map(|(_, rows)| rows).sum::<u64>(), done.changes);
    assert!(facts.changes.len() >= 3, "{:?}", facts.changes);
    assert_eq!(table_gaps(&stream.archive()).await?, BTreeSet::new());
    Ok(())
}
