//! The forms in which rows, statements and ids are logged.

use super::*;

on_every_server! {
    compressed_events_are_told
    images_without_all_columns_keep_absent_apart_from_null
    statements_behind_rows_are_kept
}

/// The kind of rows events; the servers log one of several versions.
fn has(kinds: &[String], kind: &str) -> bool {
    kinds.iter().any(|found| found == kind)
}

async fn compressed_events_are_told(kind: ServerKind) -> Result<()> {
    let builder = Server::builder(kind);
    let builder = if kind.is_mysql() {
        builder.option("binlog_transaction_compression", "ON")
    } else {
        builder.option("log_bin_compress", "ON").option("log_bin_compress_min_len", 10)
    };
    let stage =
        Stage::set(builder, &["CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(3000))"]).await?;
    let worker = stage.worker().await?;
    let values: Vec<_> = (0..200).map(|id| format!("({id}, REPEAT('v', 1000))")).collect();
    stage
        .run(&[
            &format!("INSERT INTO t VALUES {}", values.join(",")),
            "UPDATE t SET v = CONCAT(v, 'w') WHERE id % 2 = 0",
            "DELETE FROM t WHERE id % 3 = 0",
            "CREATE TABLE a_table_with_a_definition_that_is_long_enough_to_be_compressed (id INT)",
            "DROP TABLE a_table_with_a_definition_that_is_long_enough_to_be_compressed",
        ])
        .await?;
    let kinds = stage.kinds().await?;
    if kind.is_mysql() {
        assert!(has(&kinds, "Transaction_payload"), "{kinds:?}");
    } else {
        for event in ["Write", "Update", "Delete"] {
            assert!(has(&kinds, &format!("{event}_rows_compressed_v1")), "{kinds:?}");
        }
        assert!(has(&kinds, "Query_compressed"), "{kinds:?}");
    }
    let told = stage.finish(&worker, &[table("shop.t", &["id"], &["id", "v"])]).await?;
    assert_eq!((told.gaps.len(), told.rows.len()), (0, 200 + 100 + 67 + 1));
    Ok(())
}

async fn images_without_all_columns_keep_absent_apart_from_null(kind: ServerKind) -> Result<()> {
    let stage = Stage::set(
        Server::builder(kind),
        &["CREATE TABLE t (id INT PRIMARY KEY, a INT, b TEXT, c INT)"],
    )
    .await?;
    let worker = stage.worker().await?;
    for image in ["NOBLOB", "MINIMAL"] {
        stage
            .run(&[
                &format!("SET SESSION binlog_row_image = {image}"),
                "INSERT INTO t (id, a, b) VALUES (1, 1, 'one')",
                "UPDATE t SET a = NULL",
                "UPDATE t SET b = NULL",
                "DELETE FROM t",
            ])
            .await?;
    }
    let versioned = if kind.is_mysql() { "Write_rows" } else { "Write_rows_v1" };
    let kinds = stage.kinds().await?;
    assert!(has(&kinds, versioned), "{kinds:?}");
    let told = stage.finish(&worker, &[]).await?;
    assert_eq!(told.gaps, []);
    let json = |value: serde_json::Value| value.as_object().cloned();
    let images = |row: &ChangeRow| (row.before.clone(), row.after.clone());
    let found: Vec<_> = told.rows.iter().map(images).collect();
    let [_, nulled, unblobbed, gone, _, minimal, without, last] = found.as_slice() else {
        return Err(Failure::new(format!("other changes than were made: {found:?}")));
    };
    // The text is left out where it is not changed.
    let (whole, null) =
        (json!({"id": "1", "a": "1", "c": null}), json!({"id": "1", "a": null, "c": null}));
    assert_eq!(*nulled, (json(whole), json(null.clone())));
    let with_text = json!({"id": "1", "a": null, "b": null, "c": null});
    assert_eq!(*unblobbed, (json(null.clone()), json(with_text)));
    assert_eq!(*gone, (json(null), None));
    assert_eq!(*minimal, (json(json!({"id": "1"})), json(json!({"a": null}))));
    assert_eq!(*without, (json(json!({"id": "1"})), json(json!({"b": null}))));
    assert_eq!(*last, (json(json!({"id": "1"})), None));
    let changed = |row: usize| told.rows[row].changed.clone().unwrap_or_default();
    assert_eq!(
        (changed(1), changed(2), changed(5), changed(6)),
        (vec!["a".to_owned()], vec!["b".to_owned()], vec!["a".to_owned()], vec!["b".to_owned()],)
    );
    Ok(())
}

async fn statements_behind_rows_are_kept(kind: ServerKind) -> Result<()> {
    let name =
        if kind.is_mysql() { "binlog_rows_query_log_events" } else { "binlog_annotate_row_events" };
    let builder = Server::builder(kind).option(name, "ON");
    let stage = Stage::set(builder, &["CREATE TABLE t (id INT PRIMARY KEY)"]).await?;
    let worker = stage.worker().await?;
    stage
        .run(&[
            "BEGIN",
            "INSERT INTO t VALUES (1), (2)",
            "SAVEPOINT here",
            "DELETE FROM t WHERE id = 1",
            "ROLLBACK TO here",
            "DELETE FROM t /* last */",
            "COMMIT",
        ])
        .await?;
    let told = stage.finish(&worker, &[table("shop.t", &["id"], &["id"])]).await?;
    assert_eq!(told.gaps, []);
    let statements: Vec<_> = told
        .rows
        .iter()
        .map(|row| (row.op.as_str(), row.statement.as_deref().unwrap_or_default()))
        .collect();
    let (insert, delete) = ("INSERT INTO t VALUES (1), (2)", "DELETE FROM t /* last */");
    assert_eq!(
        statements,
        [("insert", insert), ("insert", insert), ("delete", delete), ("delete", delete)]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tagged_ids_of_mysql_97_name_their_transactions_over_a_restart() -> Result<()> {
    let stage =
        Stage::set(Server::builder(ServerKind::MySql97), &["CREATE TABLE t (id INT PRIMARY KEY)"])
            .await?;
    let tagged = async |tag: &str, id: u32| {
        let next = format!("SET SESSION gtid_next = 'AUTOMATIC:{tag}'");
        stage.run(&[&next, &format!("INSERT INTO t VALUES ({id})")]).await
    };
    let worker = stage.worker().await?;
    tagged("nightly", 1).await?;
    tagged("import", 2).await?;
    stage.archived(&worker).await?;
    worker.kill().await?;
    stage.run(&["FLUSH BINARY LOGS"]).await?;
    let worker = stage.worker().await?;
    tagged("nightly", 3).await?;
    stage.run(&["INSERT INTO t VALUES (4)"]).await?;
    let kinds = stage.kinds().await?;
    assert!(
        has(&kinds, "Gtid_tagged") || kinds.iter().any(|kind| kind.contains("agged")),
        "{kinds:?}"
    );
    let told = stage.finish(&worker, &[table("shop.t", &["id"], &["id"])]).await?;
    assert_eq!(told.gaps, []);
    let uuid = stage.server.value("SELECT @@server_uuid").await?;
    let gtids: Vec<_> = told.rows.iter().map(|row| row.gtid.clone().unwrap_or_default()).collect();
    assert_eq!(gtids.len(), 4);
    let tagged =
        [format!("{uuid}:nightly:1"), format!("{uuid}:import:1"), format!("{uuid}:nightly:2")];
    assert_eq!(gtids[..3], tagged);
    assert!(gtids[3].starts_with(&format!("{uuid}:")) && gtids[3].matches(':').count() == 1);
    Ok(())
}
