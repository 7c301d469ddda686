//! What the source does not log as rows, or lost: named, and what follows goes on.

use super::*;

on_every_server! {
    statements_that_change_rows_are_named_gaps
    events_that_the_source_lost_are_a_named_gap
}

async fn statements_that_change_rows_are_named_gaps(kind: ServerKind) -> Result<()> {
    let builder = Server::builder(kind);
    let builder = if kind.is_mysql() { builder } else { builder.option("secure_file_priv", "") };
    let stage = Stage::set(builder, &["CREATE TABLE t (id INT PRIMARY KEY, v INT)"]).await?;
    let worker = stage.worker().await?;
    let file = stage.server.data().join("loaded.txt");
    std::fs::write(&file, "7\t7\n8\t8\n").context(|| "write the file to load")?;
    stage
        .run(&[
            "SET SESSION binlog_format = STATEMENT",
            "SET @id = 1",
            "INSERT INTO t VALUES (@id, FLOOR(RAND() * 10))",
            &format!("LOAD DATA INFILE '{}' INTO TABLE t", file.display()),
            "SET SESSION binlog_format = ROW",
            "INSERT INTO t VALUES (2, 2)",
        ])
        .await?;
    let kinds = stage.kinds().await?;
    for kind in ["User var", "RAND", "Begin_load_query", "Execute_load_query"] {
        assert!(kinds.iter().any(|found| found == kind), "{kind}: {kinds:?}");
    }
    let told = stage.finish(&worker, &[]).await?;
    let gap = (String::new(), "StatementDml".to_owned());
    assert!(
        !told.gaps.is_empty() && told.gaps.iter().all(|found| *found == gap),
        "{:?}",
        told.gaps
    );
    assert_eq!(told.rows.len(), 1);
    Ok(())
}

/// A change of a table without transactions that fits no binlog cache: the server can neither log nor undo it, and logs
/// an incident.
async fn events_that_the_source_lost_are_a_named_gap(kind: ServerKind) -> Result<()> {
    let builder = Server::builder(kind)
        .option("binlog_stmt_cache_size", 4096)
        .option("max_binlog_stmt_cache_size", 4096);
    let stage = Stage::set(
        builder,
        &[
            "CREATE TABLE unsafe (id INT PRIMARY KEY, v VARCHAR(2000)) ENGINE = MyISAM",
            "CREATE TABLE t (id INT PRIMARY KEY)",
        ],
    )
    .await?;
    let worker = stage.worker().await?;
    let values: Vec<_> = (0..100).map(|id| format!("({id}, REPEAT('v', 1000))")).collect();
    let file = stage.server.position().await?.0;
    let refused = stage.run(&[&format!("INSERT INTO unsafe VALUES {}", values.join(","))]).await;
    assert!(refused.is_err(), "the server says that it cannot log it");
    stage.run(&["INSERT INTO t VALUES (1)"]).await?;
    let events = stage.server.rows(&format!("SHOW BINLOG EVENTS IN '{file}'")).await?;
    assert!(
        events.iter().any(|event| event[2].as_deref() == Some("Incident")),
        "the server logged an incident: {events:?}"
    );
    let told = stage.finish(&worker, &[table("shop.t", &["id"], &["id"])]).await?;
    assert!(told.gaps.contains(&(String::new(), "Incident".to_owned())), "{:?}", told.gaps);
    assert!(told.rows.iter().any(|row| row.table() == "shop.t"));
    Ok(())
}
