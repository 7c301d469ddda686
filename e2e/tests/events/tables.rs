//! Statements about whole tables, and the groups that they stand in.

use super::*;

on_every_server! {
    tables_that_are_emptied_dropped_and_renamed_are_changes_of_their_own
    a_table_made_from_a_query_is_told_row_by_row
    a_loaded_file_is_told_row_by_row
    rows_changed_by_partition_are_a_named_gap
}

fn whole(told: &Told) -> Vec<(&str, String, Option<String>)> {
    let whole = told.rows.iter().filter(|row| row.primary_key.is_none() && row.changed.is_none());
    whole
        .filter(|row| matches!(row.op.as_str(), "truncate" | "drop" | "rename"))
        .map(|row| {
            let to = row.after.as_ref().map(|to| {
                format!(
                    "{}.{}",
                    to["schema"].as_str().unwrap_or_default(),
                    to["table"].as_str().unwrap_or_default()
                )
            });
            (row.op.as_str(), row.table(), to)
        })
        .collect()
}

async fn tables_that_are_emptied_dropped_and_renamed_are_changes_of_their_own(
    kind: ServerKind,
) -> Result<()> {
    let stage = Stage::set(
        Server::builder(kind),
        &[
            "CREATE TABLE kept (id INT PRIMARY KEY, v INT)",
            "CREATE TABLE swapped (id INT PRIMARY KEY, v INT)",
            "CREATE TABLE gone (id INT PRIMARY KEY, v INT)",
            "CREATE DATABASE attic",
            "CREATE TABLE attic.a (id INT)",
            "CREATE TABLE attic.b (id INT)",
            "CREATE VIEW seen AS SELECT id FROM kept",
        ],
    )
    .await?;
    let worker = stage.worker().await?;
    stage
        .run(&[
            "INSERT INTO kept VALUES (1, 1), (2, 2)",
            "TRUNCATE TABLE kept",
            "INSERT INTO kept VALUES (3, 3)",
            // As gh-ost and pt-online-schema-change do.
            "INSERT INTO swapped VALUES (1, 1)",
            "CREATE TABLE _swapped_new LIKE swapped",
            "INSERT INTO _swapped_new SELECT * FROM swapped",
            "INSERT INTO _swapped_new VALUES (2, 2)",
            "RENAME TABLE swapped TO _swapped_old, _swapped_new TO swapped",
            "UPDATE swapped SET v = 7 WHERE id = 1",
            "INSERT INTO gone VALUES (1, 1)",
            "INSERT INTO attic.a VALUES (1)",
            "DROP TABLE gone, _swapped_old",
            "CREATE TABLE gone (id INT PRIMARY KEY, v INT)",
            "INSERT INTO gone VALUES (9, 9)",
            "ALTER TABLE gone RENAME TO attic.`odd ``name`, ALGORITHM=COPY",
            "RENAME TABLE attic.`odd ``name` TO gone",
            "CREATE TEMPORARY TABLE passing (id INT)",
            "INSERT INTO passing VALUES (1)",
            "DROP TEMPORARY TABLE passing",
            "DROP VIEW seen",
            "DROP DATABASE attic",
        ])
        .await?;
    let columns = &["id", "v"];
    let tables = ["kept", "swapped", "gone"];
    let tables = tables.map(|name| table(&format!("shop.{name}"), &["id"], columns));
    let told = stage.finish(&worker, &tables).await?;
    assert_eq!(told.gaps, []);
    let to = |table: &str| Some(table.to_owned());
    let mut expected = vec![
        ("truncate", "shop.kept".to_owned(), None),
        ("rename", "shop.swapped".to_owned(), to("shop._swapped_old")),
        ("rename", "shop._swapped_new".to_owned(), to("shop.swapped")),
        ("drop", "shop.gone".to_owned(), None),
        ("drop", "shop._swapped_old".to_owned(), None),
        ("rename", "shop.gone".to_owned(), to("attic.odd `name")),
        ("rename", "attic.odd `name".to_owned(), to("shop.gone")),
        ("drop", "attic.".to_owned(), None),
    ];
    let found = whole(&told);
    if found.iter().any(|(op, table, _)| *op == "drop" && table == "attic.a") {
        // A server may drop the tables one by one.
        expected.insert(7, ("drop", "attic.a".to_owned(), None));
    }
    assert_eq!(found, expected);
    let statement = |row: &ChangeRow| row.statement.clone().unwrap_or_default();
    let truncate = told.rows.iter().find(|row| row.op == "truncate").map(statement);
    assert!(truncate.is_some_and(|text| text.contains("TRUNCATE TABLE kept")));
    Ok(())
}

async fn a_table_made_from_a_query_is_told_row_by_row(kind: ServerKind) -> Result<()> {
    let stage = Stage::set(
        Server::builder(kind),
        &[
            "CREATE TABLE source (id INT PRIMARY KEY, v INT)",
            "INSERT INTO source VALUES (1, 1), (2, 2)",
        ],
    )
    .await?;
    let worker = stage.worker().await?;
    let mut statements = vec!["CREATE TABLE made (PRIMARY KEY (id)) AS SELECT * FROM source"];
    if !kind.is_mysql() {
        statements.extend([
            "CREATE OR REPLACE TABLE made (PRIMARY KEY (id)) AS SELECT id, v + 10 AS v FROM source",
            "CREATE OR REPLACE TABLE source (id INT PRIMARY KEY, v INT)",
        ]);
    }
    stage.run(&statements).await?;
    let tables =
        [table("shop.made", &["id"], &["id", "v"]), table("shop.source", &["id"], &["id", "v"])];
    let told =
        stage.finish(&worker, if kind.is_mysql() { &tables[..1] } else { &tables[..] }).await?;
    assert_eq!(told.gaps, []);
    let inserts = told.rows.iter().filter(|row| row.op == "insert").count();
    let drops: Vec<_> = whole(&told).into_iter().map(|(op, table, _)| (op, table)).collect();
    if kind.is_mysql() {
        assert_eq!((inserts, drops), (2, vec![]));
    } else {
        let expected = ["shop.made", "shop.source"].map(|name| ("drop", name.to_owned()));
        assert_eq!((inserts, drops), (4, expected.into()));
    }
    Ok(())
}

async fn a_loaded_file_is_told_row_by_row(kind: ServerKind) -> Result<()> {
    let builder = Server::builder(kind);
    let builder = if kind.is_mysql() { builder } else { builder.option("secure_file_priv", "") };
    let stage = Stage::set(builder, &["CREATE TABLE loaded (id INT PRIMARY KEY, v INT)"]).await?;
    let worker = stage.worker().await?;
    let file = stage.server.data().join("loaded.txt");
    let lines: Vec<_> = (0..500).map(|id| format!("{id}\t{}", id * 2)).collect();
    let lines = lines.join("\n") + "\n";
    std::fs::write(&file, lines).context(|| "write the file to load")?;
    let load = format!("LOAD DATA INFILE '{}' INTO TABLE loaded", file.display());
    stage.run(&[&load]).await?;
    let told = stage.finish(&worker, &[table("shop.loaded", &["id"], &["id", "v"])]).await?;
    assert_eq!((told.gaps.len(), told.rows.len()), (0, 500));
    Ok(())
}

async fn rows_changed_by_partition_are_a_named_gap(kind: ServerKind) -> Result<()> {
    let stage = Stage::set(
        Server::builder(kind),
        &[
            "CREATE TABLE parts (id INT PRIMARY KEY) PARTITION BY RANGE (id) \
             (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20))",
            "INSERT INTO parts VALUES (1), (11)",
        ],
    )
    .await?;
    let worker = stage.worker().await?;
    stage
        .run(&["ALTER TABLE parts TRUNCATE PARTITION p0", "ALTER TABLE parts DROP PARTITION p0"])
        .await?;
    let told = stage.finish(&worker, &[]).await?;
    let gap = ("shop.parts".to_owned(), "StatementDml".to_owned());
    assert!(
        !told.gaps.is_empty() && told.gaps.iter().all(|found| *found == gap),
        "{:?}",
        told.gaps
    );
    assert_eq!(told.rows.len(), 0);
    Ok(())
}
