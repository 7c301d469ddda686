//! JSON updates that the server logs as diffs: what stands in the change log is what the server itself has.

use super::*;

/// Updates of many shapes; each is a diff where the server can make one.
const UPDATES: [&str; 22] = [
    "UPDATE docs SET d = JSON_SET(d, '$.name', 'x') WHERE id = 1",
    "UPDATE docs SET d = JSON_SET(d, '$.count', 18446744073709551615) WHERE id = 1",
    "UPDATE docs SET d = JSON_REPLACE(d, '$.list[1]', 7.25) WHERE id = 1",
    "UPDATE docs SET d = JSON_REPLACE(d, '$.list[0]', CAST('2026-01-02 03:04:05.678901' AS DATETIME(6))) WHERE id = 1",
    "UPDATE docs SET d = JSON_REPLACE(d, '$.deep.\"odd key\".\"a.b\\\\\"c\"', TRUE) WHERE id = 1",
    "UPDATE docs SET d = JSON_REMOVE(d, '$.gone') WHERE id = 1",
    "UPDATE docs SET d = JSON_REMOVE(d, '$.list[0]') WHERE id = 1",
    "UPDATE docs SET d = JSON_SET(d, '$.a', 1) WHERE id = 1",
    "UPDATE docs SET d = JSON_SET(d, '$.\u{e9}', 'two bytes') WHERE id = 1",
    "UPDATE docs SET d = JSON_SET(d, '$.bb', CAST(1.50 AS DECIMAL(10,2))) WHERE id = 1",
    "UPDATE docs SET d = JSON_ARRAY_APPEND(d, '$.list', 'end') WHERE id = 1",
    "UPDATE docs SET d = JSON_ARRAY_INSERT(d, '$.list[0]', JSON_OBJECT('k', JSON_ARRAY(1, NULL))) WHERE id = 1",
    "UPDATE docs SET d = JSON_SET(d, '$.list[99]', 'far') WHERE id = 1",
    "UPDATE docs SET d = JSON_SET(d, '$.deep.more', JSON_OBJECT('z', 1, 'yy', 2, 'x', 3)) WHERE id = 1",
    "UPDATE docs SET d = JSON_SET(d, '$.a', 1), n = n + 1 WHERE id = 1",
    "UPDATE docs SET d = JSON_REPLACE(d, '$.name', NULL), e = JSON_SET(e, '$.a', 2) WHERE id = 1",
    "UPDATE docs SET d = JSON_SET(d, '$.name', REPEAT('long', 500)) WHERE id = 1",
    "UPDATE docs SET d = JSON_REMOVE(JSON_SET(d, '$.name', 'y', '$.count', -1), '$.bb') WHERE id = 1",
    "UPDATE docs SET d = JSON_OBJECT('whole', 'new') WHERE id = 2",
    "UPDATE docs SET d = JSON_SET(d, '$.whole', JSON_ARRAY()) WHERE id = 2",
    "UPDATE docs SET d = NULL WHERE id = 2",
    "UPDATE docs SET n = n + 1",
];

/// Long enough that a diff is worth it.
const DOCUMENT: &str = r#"'{"name": "a name that is long enough", "count": 1, "gone": [1, 2, 3], "list": [1, 2, "three"],
    "deep": {"odd key": {"a.b\\"c": "value"}, "fill": "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"}}'"#;

async fn diffs_are_applied(builder: Builder) -> Result<()> {
    let stage = Stage::set(
        builder,
        &["CREATE TABLE docs (id INT PRIMARY KEY, d JSON, n INT, e JSON, g JSON AS (JSON_OBJECT('n', n)))"],
    )
    .await?;
    let worker = stage.worker().await?;
    let insert = format!(
        "INSERT INTO docs (id, d, n, e) VALUES (1, {DOCUMENT}, 1, '{{\"a\": 1}}'), (2, '{{}}', 2, NULL)"
    );
    let mut statements =
        vec!["SET SESSION binlog_row_value_options = PARTIAL_JSON", insert.as_str()];
    // The server's own text of each document, behind each update.
    let mut texts: Vec<BTreeMap<String, Option<String>>> = Vec::new();
    stage.run(&statements).await?;
    for update in UPDATES {
        statements = vec!["SET SESSION binlog_row_value_options = PARTIAL_JSON", update];
        stage.run(&statements).await?;
        let rows = stage.server.rows("SELECT id, d FROM shop.docs").await?;
        texts.push(
            rows.into_iter()
                .map(|row| (row[0].clone().unwrap_or_default(), row[1].clone()))
                .collect(),
        );
    }
    let (file, _) = stage.server.position().await?;
    let events = stage.server.rows(&format!("SHOW BINLOG EVENTS IN '{file}'")).await?;
    let kinds: Vec<_> = events.iter().filter_map(|event| event[2].as_deref()).collect();
    let packed = kinds.contains(&"Transaction_payload");
    let partial = kinds.iter().filter(|kind| **kind == "Update_rows_partial").count();
    assert!(packed || partial >= UPDATES.len() - 3, "{kinds:?}");

    let told = stage.finish(&worker, &[]).await?;
    assert_eq!(told.gaps, []);
    let updates: Vec<&ChangeRow> = told.rows.iter().filter(|row| row.op == "update").collect();
    let mut seen = 0;
    let mut documents = texts.first().cloned().unwrap_or_default();
    for (update, texts) in UPDATES.iter().zip(&texts) {
        let changed = texts.iter().filter(|(id, text)| documents.get(*id) != Some(text)).count();
        let rows = if update.contains("WHERE") { 1 } else { 2 };
        for row in updates.get(seen..seen + rows).unwrap_or_default() {
            let after = row.after.as_ref().context(|| "an update without an image after")?;
            let id = after["id"].as_str().unwrap_or_default();
            let server = texts.get(id).cloned().flatten();
            let server: serde_json::Value =
                serde_json::from_str(server.as_deref().unwrap_or("null"))
                    .context(|| "read the server's JSON")?;
            assert_eq!(exact(&after["d"]), exact(&server), "after {update}");
            let told =
                row.changed.as_ref().is_some_and(|changed| changed.iter().any(|name| name == "d"));
            assert!(told || changed == 0, "{update} changed it");
        }
        seen += rows;
        documents.clone_from(texts);
    }
    assert_eq!(seen, updates.len());
    Ok(())
}

/// A value without regard to how its numbers are written.
fn exact(value: &serde_json::Value) -> String {
    let number = |text: &str| match text.parse::<f64>() {
        Ok(number) if text.parse::<i128>().is_err() => number.to_string(),
        _ => text.to_owned(),
    };
    match value {
        serde_json::Value::Number(value) => number(&value.to_string()),
        serde_json::Value::String(text) => number(text),
        serde_json::Value::Array(all) => {
            format!("[{}]", all.iter().map(exact).collect::<Vec<_>>().join(","))
        }
        serde_json::Value::Object(all) => {
            let all: BTreeMap<_, _> = all.iter().map(|(key, value)| (key, exact(value))).collect();
            format!("{all:?}")
        }
        other => other.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_diffs_of_mysql_97_are_applied() -> Result<()> {
    diffs_are_applied(Server::builder(ServerKind::MySql97)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn json_diffs_of_mysql_97_are_applied_when_compressed() -> Result<()> {
    let builder = Server::builder(ServerKind::MySql97);
    diffs_are_applied(builder.option("binlog_transaction_compression", "ON")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn json_diffs_of_documents_that_mysql_97_did_not_log_are_a_named_gap() -> Result<()> {
    let stage = Stage::set(
        Server::builder(ServerKind::MySql97),
        &["CREATE TABLE docs (id INT PRIMARY KEY, d JSON, n INT)"],
    )
    .await?;
    let worker = stage.worker().await?;
    let insert = format!("INSERT INTO docs VALUES (1, {DOCUMENT}, 1)");
    stage
        .run(&[
            insert.as_str(),
            "SET SESSION binlog_row_value_options = PARTIAL_JSON, SESSION binlog_row_image = MINIMAL",
            "UPDATE docs SET d = JSON_SET(d, '$.name', 'x'), n = 2",
            "UPDATE docs SET n = 3",
        ])
        .await?;
    let told = stage.finish(&worker, &[]).await?;
    assert_eq!(told.gaps, [("shop.docs".to_owned(), "ValueUnknown".to_owned())]);
    let images: Vec<_> = told.rows.iter().skip(1).map(|row| (&row.before, &row.after)).collect();
    let json = |value: serde_json::Value| value.as_object().cloned();
    assert_eq!(images.len(), 2);
    assert_eq!(images[0], (&json(json!({"id": "1"})), &json(json!({"n": "2"}))));
    assert_eq!(images[1].1, &json(json!({"n": "3"})));
    let changed = told.rows[1].changed.as_deref().unwrap_or_default();
    assert_eq!(changed, ["d", "n"], "it is known that it changed");
    Ok(())
}
