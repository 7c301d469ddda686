//! XA transactions: nothing of them is told before their COMMIT, whatever happens in between.

use std::collections::BTreeSet;

use e2e::xa;

use super::*;

on_every_server! {
    prepared_transactions_are_told_with_their_verdict
    packed_prepared_transactions_are_told_with_their_verdict
    a_large_prepared_transaction_is_told_whole_by_a_later_worker
    a_transaction_prepared_before_the_start_is_a_named_gap
}

const OPEN_AT_ONCE: u32 = 30;

/// Prepares a transaction of three changes on a connection that ends; its GTID.
async fn prepare(stage: &Stage, number: u32) -> Result<String> {
    let insert =
        format!("INSERT INTO held VALUES ({number}, 'x{number}'), ({}, 'y')", number + 1000);
    let update = format!("UPDATE held SET v = 'z' WHERE id = {}", number + 1000);
    xa::prepare(&stage.server, &format!("x{number}"), &["USE shop", &insert, &update]).await
}

async fn decide(stage: &Stage, verdict: &str, number: u32) -> Result<()> {
    xa::decide(&stage.server, verdict, &format!("x{number}")).await
}

fn held() -> Table {
    table("shop.held", &["id"], &["id", "v"])
}

/// Many are open at once, over kills of the worker, rotation and a restart of the server.
async fn told_with_their_verdict(builder: Builder) -> Result<()> {
    let mut stage =
        Stage::set(builder, &["CREATE TABLE held (id INT PRIMARY KEY, v VARCHAR(200))"]).await?;
    let worker = stage.worker().await?;
    let mut prepared = BTreeMap::new();
    for number in 0..OPEN_AT_ONCE {
        prepared.insert(number, prepare(&stage, number).await?);
    }
    stage
        .run(&[
            "INSERT INTO held VALUES (500, 'plain')",
            "XA START 'one'",
            "INSERT INTO held VALUES (501, 'one phase')",
            "XA END 'one'",
            "XA COMMIT 'one' ONE PHASE",
            "XA START 'nothing'",
            "XA END 'nothing'",
            "XA PREPARE 'nothing'",
            "XA COMMIT 'nothing'",
        ])
        .await?;
    // At once, while their bytes are in memory.
    decide(&stage, "COMMIT", 0).await?;
    decide(&stage, "ROLLBACK", 1).await?;
    stage.archived(&worker).await?;
    worker.kill().await?;

    // By another worker, from another file.
    stage.run(&["FLUSH BINARY LOGS"]).await?;
    let before: i64 =
        stage.server.value("SELECT UNIX_TIMESTAMP()").await?.parse().context(|| "read the time")?;
    let worker = stage.worker().await?;
    for number in 2..10 {
        decide(&stage, if number % 3 == 0 { "ROLLBACK" } else { "COMMIT" }, number).await?;
    }
    // Wherever the kill finds it.
    worker.kill().await?;
    let worker = stage.worker().await?;
    for number in 10..13 {
        decide(&stage, "COMMIT", number).await?;
    }
    stage.archived(&worker).await?;
    let ended = stage.server.stop().await?;
    assert!(ended.success(), "{ended}");
    stage.server.start().await?;
    for number in 13..OPEN_AT_ONCE - 1 {
        decide(&stage, if number % 2 == 0 { "ROLLBACK" } else { "COMMIT" }, number).await?;
    }
    // An id may be used again; the last one stays open.
    prepared.insert(1, prepare(&stage, 1).await?);
    decide(&stage, "COMMIT", 1).await?;

    let told = stage.finish(&worker, &[held()]).await?;
    assert_eq!(told.gaps, []);
    let committed = |number: &u32| match *number {
        0..=1 => true,
        2..=9 => !number.is_multiple_of(3),
        10..=12 => true,
        13..29 => number % 2 == 1,
        _ => false,
    };
    let mut expected = BTreeSet::new();
    for (number, gtid) in prepared.iter().filter(|(number, _)| committed(number)) {
        for (event, row, id) in [(0, 0, *number), (0, 1, number + 1000), (1, 0, number + 1000)] {
            expected.insert((Some(gtid.clone()), event, row, id.to_string()));
        }
    }
    let of_xa = told.rows.iter().filter(|row| !matches!(id(row).as_str(), "500" | "501"));
    let found: BTreeSet<_> = of_xa
        .clone()
        .map(|row| (row.gtid.clone(), row.event_ordinal, row.row_ordinal, id(row)))
        .collect();
    assert_eq!(found, expected, "they keep the identity of what was prepared");
    assert_eq!(told.rows.len(), expected.len() + 2);
    for row in of_xa.filter(|row| id(row).parse().is_ok_and(|id: u32| id % 1000 >= 2)) {
        assert!(row.commit_time >= before * 1_000_000, "its commit is its verdict: {row:?}");
    }
    Ok(())
}

fn id(row: &ChangeRow) -> String {
    let image = row.after.as_ref().or(row.before.as_ref());
    image.and_then(|image| image["id"].as_str()).unwrap_or_default().to_owned()
}

async fn prepared_transactions_are_told_with_their_verdict(kind: ServerKind) -> Result<()> {
    told_with_their_verdict(Server::builder(kind)).await
}

async fn packed_prepared_transactions_are_told_with_their_verdict(kind: ServerKind) -> Result<()> {
    let builder = Server::builder(kind);
    told_with_their_verdict(if kind.is_mysql() {
        builder.option("binlog_transaction_compression", "ON")
    } else {
        builder.option("log_bin_compress", "ON").option("log_bin_compress_min_len", 10)
    })
    .await
}

/// Too large for any memory of it: it is read back from the archive.
async fn a_large_prepared_transaction_is_told_whole_by_a_later_worker(
    kind: ServerKind,
) -> Result<()> {
    const ROWS: usize = 30_000;
    let stage = Stage::set(
        Server::builder(kind),
        &["CREATE TABLE held (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(2000))"],
    )
    .await?;
    let worker = stage.worker().await?;
    let values = vec!["(REPEAT('v', 1000))"; 1000].join(",");
    let insert = format!("INSERT INTO held (v) VALUES {values}");
    let mut statements = vec!["XA START 'large'"];
    statements.extend(std::iter::repeat_n(insert.as_str(), ROWS / 1000));
    statements.extend(["XA END 'large'", "XA PREPARE 'large'"]);
    stage.run(&statements).await?;
    stage.run(&["XA START 'gone'", &insert, "XA END 'gone'", "XA PREPARE 'gone'"]).await?;
    stage.archived(&worker).await?;
    worker.kill().await?;

    let worker = stage.worker().await?;
    stage.run(&["XA COMMIT 'large'"]).await?;
    stage.run(&["XA ROLLBACK 'gone'"]).await?;
    let told = stage.finish(&worker, &[held()]).await?;
    assert_eq!((told.gaps.len(), told.rows.len()), (0, ROWS));
    Ok(())
}

async fn a_transaction_prepared_before_the_start_is_a_named_gap(kind: ServerKind) -> Result<()> {
    let stage = Stage::set(
        Server::builder(kind),
        &[
            "CREATE TABLE held (id INT PRIMARY KEY, v VARCHAR(200))",
            "XA START 'kept'",
            "INSERT INTO held VALUES (1, 'kept')",
            "XA END 'kept'",
            "XA PREPARE 'kept'",
        ],
    )
    .await?;
    stage
        .run(&[
            "XA START 'lost'",
            "INSERT INTO held VALUES (2, 'lost')",
            "XA END 'lost'",
            "XA PREPARE 'lost'",
        ])
        .await?;
    stage.run(&["FLUSH BINARY LOGS"]).await?;
    // Begins with the file that stands there now; what was prepared in it can be told.
    let (file, position) = stage.server.position().await?;
    let at = json!({"file": file, "position": position});
    let stream = stage.stream.clone().with(&json!({"start": {"filePosition": at}}))?;
    let stage = Stage { stream, ..stage };
    let worker = stage.worker().await?;
    stage.run(&["XA COMMIT 'lost'"]).await?;
    stage.run(&["XA ROLLBACK 'kept'"]).await?;
    let told = stage.finish(&worker, &[]).await?;
    assert_eq!(told.gaps, [(String::new(), "XaPreparedBeforeStart".to_owned())]);
    assert_eq!(told.rows.len(), 0);
    Ok(())
}
