//! Holds a file against the schema of the types, so that every fault is named with the whole path of
//! its field: an unknown key first (a typo also leaves a field missing), then a missing one, then a
//! value of the wrong kind.

use serde_json::{Map, Value};

use super::ConfigError;
use crate::units::{DURATION_PATTERN, DurationText, QUANTITY_PATTERN, QuantityText};

/// Checks a value and everything in it.
pub(super) fn check(schema: &Value, value: &Value, path: &str) -> Result<(), ConfigError> {
    let schema = without_null(schema);
    if value.is_null() && path.is_empty() {
        return Err(wrong(path, "the file is empty"));
    }
    match value {
        Value::Object(fields) if schema.get("properties").is_some() => object(schema, fields, path),
        Value::Array(items) if schema.get("items").is_some() => {
            let numbered = items.iter().enumerate();
            let mut paths = numbered.map(|(index, item)| (format!("{path}[{index}]"), item));
            paths.try_for_each(|(path, item)| check(&schema["items"], item, &path))
        }
        Value::Null => Ok(()),
        _ => kind(schema, value, path),
    }
}

fn object(schema: &Value, fields: &Map<String, Value>, path: &str) -> Result<(), ConfigError> {
    let Some(known) = schema.get("properties").and_then(Value::as_object) else { return Ok(()) };
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    if let Some(key) = fields.keys().find(|key| !known.contains_key(*key)) {
        let suggestion = suggest(key, known.keys());
        return Err(ConfigError::UnknownKey { field: below(key), suggestion });
    }
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    for key in required.filter_map(Value::as_str) {
        if fields.get(key).is_none_or(Value::is_null) {
            return Err(wrong(&below(key), "is missing"));
        }
    }
    fields.iter().try_for_each(|(key, value)| check(&known[key], value, &below(key)))
}

/// An optional part is an `anyOf` with null: the other one counts.
fn without_null(schema: &Value) -> &Value {
    let options = schema.get("anyOf").and_then(Value::as_array);
    let real =
        options.and_then(|all| all.iter().find(|one| one.get("type") != Some(&"null".into())));
    real.unwrap_or(schema)
}

/// Checks the kind of a plain value, and words and units.
fn kind(schema: &Value, value: &Value, path: &str) -> Result<(), ConfigError> {
    if let Some(problem) = wrong_type(schema, value) {
        return Err(wrong(path, problem));
    }
    let Some(text) = value.as_str() else { return Ok(()) };
    let words = words(schema);
    if !words.is_empty() && !words.contains(&text) {
        return Err(wrong(path, &format!("{text:?} is not one of {}", words.join(", "))));
    }
    let unit = match schema.get("pattern").and_then(Value::as_str) {
        Some(DURATION_PATTERN) => text.parse::<DurationText>().err(),
        Some(QUANTITY_PATTERN) => text.parse::<QuantityText>().err(),
        _ => None,
    };
    unit.map_or(Ok(()), |error| Err(wrong(path, &error.to_string())))
}

fn wrong_type(schema: &Value, value: &Value) -> Option<&'static str> {
    let types = match schema.get("type")? {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => vec![one.as_str()?],
    };
    let fits = |name: &&str| match *name {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    if types.iter().any(fits) {
        return None;
    }
    Some(match types.first().copied().unwrap_or_default() {
        "string" => "must be text; put quotes around it",
        "boolean" => "must be true or false",
        "integer" => "must be a whole number",
        "array" => "must be a list",
        "object" => "must hold fields",
        _ => "is of the wrong kind",
    })
}

/// The words of an enum, however the schema lists them.
fn words(schema: &Value) -> Vec<&str> {
    let list = |key: &str| schema.get(key).and_then(Value::as_array).into_iter().flatten();
    let plain = list("enum").filter_map(Value::as_str);
    let described = list("oneOf").filter_map(|one| one.get("const").and_then(Value::as_str));
    plain.chain(described).collect()
}

fn wrong(field: &str, problem: &str) -> ConfigError {
    ConfigError::Value { field: field.to_owned(), problem: problem.to_owned() }
}

/// A known key within two edits of the one that was written.
fn suggest<'a>(key: &str, known: impl Iterator<Item = &'a String>) -> String {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let nearest = known.iter().map(|name| (distance(key, name), *name)).min();
    match nearest {
        Some((edits, name)) if edits <= 2 => format!("; did you mean {name}?"),
        _ => format!("; known are {}", known.join(", ")),
    }
}

/// Edits between two words, letter case ignored.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.to_lowercase().chars().take(64).enumerate() {
        let mut diagonal = row.first().copied().unwrap_or_default();
        let mut before = index + 1;
        if let Some(first) = row.first_mut() {
            *first = before;
        }
        for (cell, b) in row.iter_mut().skip(1).zip(&right) {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = *cell;
            before = replaced.min(diagonal + 1).min(before + 1);
            *cell = before;
        }
    }
    row.last().copied().unwrap_or_default()
}
