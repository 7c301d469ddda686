//! Folding the changes of a recording gives what the server itself says its tables hold.

use std::collections::{BTreeMap, HashMap, HashSet};

use binlog::{Filter, Op, Verdict};
use serde_json::{Map, Value};

use crate::support::{ALL, Played, Recording, Row, play};

type Tables = BTreeMap<String, Vec<Value>>;

#[test]
fn folded_changes_equal_what_the_server_selects() {
    for recording in &ALL {
        let played = play(recording, Filter::default());
        let folded = fold(&played);
        let selected = selected(recording);
        for (table, rows) in &selected {
            let ours = folded.get(table).cloned().unwrap_or_default();
            let from = format!("{} {table}", recording.name);
            assert_eq!(ours.len(), rows.len(), "{from}: {ours:#?}");
            for row in rows {
                let found = ours.iter().any(|our| same(our, row));
                assert!(found, "{from}: no row equals {row:#}\nin {ours:#?}");
            }
        }
    }
}

#[test]
fn no_identity_comes_twice() {
    for recording in &ALL {
        let played = play(recording, Filter::default());
        let mut seen = HashSet::new();
        for row in &played.rows {
            let identity = (row.gtid.clone(), row.position, row.event, row.nth);
            assert!(seen.insert(identity), "{} {row:?}", recording.name);
        }
    }
}

fn selected(recording: &Recording) -> Tables {
    let mut tables = Tables::new();
    for line in recording.select.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let table = line["table"].as_str().unwrap().to_owned();
        tables.entry(table).or_default().push(line["row"].clone());
    }
    tables
}

/// Applies the changes group by group; prepared ones at their verdict.
fn fold(played: &Played) -> Tables {
    let mut tables: BTreeMap<String, BTreeMap<String, Map<String, Value>>> = BTreeMap::new();
    let mut prepared: HashMap<String, u64> = HashMap::new();
    for ended in &played.ended {
        let from = match &ended.verdict {
            Verdict::Committed => ended.from.offset,
            Verdict::XaPrepared { xid } => {
                prepared.insert(xid.clone(), ended.from.offset);
                continue;
            }
            Verdict::XaVerdict { xid, committed } => {
                let from = prepared.remove(xid).unwrap();
                if !committed {
                    continue;
                }
                from
            }
            Verdict::RolledBack | Verdict::Torn => continue,
        };
        for row in played.rows.iter().filter(|row| row.position == from) {
            if row.op == Op::Drop {
                tables.remove(&row.table);
                continue;
            }
            apply(tables.entry(row.table.clone()).or_default(), row);
        }
    }
    assert!(prepared.is_empty());
    tables
        .into_iter()
        .map(|(table, rows)| (table, rows.into_values().map(Value::Object).collect()))
        .collect()
}

fn apply(rows: &mut BTreeMap<String, Map<String, Value>>, row: &Row) {
    let image = |text: &Option<String>| -> Map<String, Value> {
        serde_json::from_str(text.as_deref().unwrap()).unwrap()
    };
    // A table without a key is only inserted into here: its rows are kept under their place.
    let key = row.pk.clone().unwrap_or_else(|| format!("{}-{}", row.position, row.nth));
    match row.op {
        Op::Insert => assert!(rows.insert(key, image(&row.after)).is_none()),
        Op::Delete => assert!(rows.remove(&key).is_some()),
        Op::Truncate => rows.clear(),
        Op::Drop | Op::Rename => panic!("not of a row: {row:?}"),
        Op::Update => {
            let mut whole = rows.remove(&key).unwrap();
            for (name, old) in image(&row.before) {
                assert_eq!(whole[&name], old, "{name}");
            }
            let after = image(&row.after);
            for (name, new) in after {
                let changed = whole[&name] != new;
                assert_eq!(changed, row.changed.contains(&name), "{name}");
                whole.insert(name, new);
            }
            rows.insert(key, whole);
        }
    }
}

/// Equal values; a floating point number may be printed in another way, and a FLOAT with more digits.
fn same(ours: &Value, server: &Value) -> bool {
    match (ours, server) {
        (Value::Object(ours), Value::Object(server)) => {
            ours.len() == server.len()
                && ours
                    .iter()
                    .all(|(name, value)| server.get(name).is_some_and(|other| same(value, other)))
        }
        (Value::Array(ours), Value::Array(server)) => {
            ours.len() == server.len() && ours.iter().zip(server).all(|(a, b)| same(a, b))
        }
        (Value::Number(ours), Value::Number(server)) => {
            let (ours, server) = (ours.to_string(), server.to_string());
            ours == server
                || ours.contains(['.', 'e'])
                    && (ours.parse::<f64>() == server.parse::<f64>()
                        || ours.parse::<f32>() == server.parse::<f32>())
        }
        (ours, server) => ours == server,
    }
}
