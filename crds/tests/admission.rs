//! The list of admission cases covers the definition.

use std::collections::BTreeSet;

use crds::admission::{Verdict, cases, merge};
use serde_json::{Value, json};

fn messages(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            let rules = fields.get("x-kubernetes-validations").and_then(Value::as_array);
            for rule in rules.into_iter().flatten() {
                found.insert(rule["message"].as_str().unwrap().to_owned());
            }
            fields.values().for_each(|inner| messages(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| messages(inner, found)),
        _ => {}
    }
}

#[test]
fn every_rule_has_an_accepted_and_a_refused_case() {
    let mut rules = BTreeSet::new();
    messages(&crds::schema::crd_json().unwrap(), &mut rules);
    assert!(rules.len() >= 35, "{} rules", rules.len());
    let cases = cases().unwrap();
    for message in rules {
        let has = |wanted: fn(&Verdict) -> Option<&str>| {
            cases.iter().filter_map(|case| wanted(&case.verdict)).any(|text| message.contains(text))
        };
        assert!(
            has(|verdict| match verdict {
                Verdict::Allowed(text) => Some(text),
                Verdict::Refused(_) => None,
            }),
            "no accepted case for: {message}"
        );
        assert!(
            has(|verdict| match verdict {
                Verdict::Refused(text) => Some(text),
                Verdict::Allowed(_) => None,
            }),
            "no refused case for: {message}"
        );
    }
}

#[test]
fn names_of_cases_are_unique() {
    let cases = cases().unwrap();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len());
}

#[test]
fn lists_are_written_out_at_full_size() {
    let cases = cases().unwrap();
    let full = cases.iter().find(|case| case.name == "full lists of the longest names").unwrap();
    let filter = &full.create["spec"]["filter"];
    assert_eq!(filter["schemas"].as_array().unwrap().len(), 64);
    assert_eq!(filter["schemas"][63].as_str().unwrap().len(), 64);
    assert_eq!(filter["tables"].as_array().unwrap().len(), 256);
    assert_eq!(filter["excludeTables"].as_array().unwrap().len(), 1024);
    let table = filter["tables"][0].as_str().unwrap();
    assert_eq!(table.len(), 133);
    assert!(table[1..].starts_with(filter["schemas"][63].as_str().unwrap()));
}

#[test]
fn every_accepted_object_is_decoded() {
    for case in cases().unwrap() {
        if let Verdict::Allowed(_) = case.verdict {
            let mut object = case.create;
            if let Some(update) = &case.update {
                merge(&mut object, update);
            }
            let stream: Result<crds::v1alpha1::BinlogStream, _> = serde_json::from_value(object);
            assert!(stream.is_ok(), "{}: {:?}", case.name, stream.err());
        }
    }
}

#[test]
fn merging_removes_nulls() {
    let mut object = json!({"a": {"b": 1, "c": 2}});
    merge(&mut object, &json!({"a": {"b": null, "d": {"e": null, "f": 3}}}));
    assert_eq!(object, json!({"a": {"c": 2, "d": {"f": 3}}}));
}
