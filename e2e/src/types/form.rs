//! How the change log shows a type, how the server is asked for the same, and whether both agree.

use serde_json::Value;

use super::Cell;

/// How the change log shows the values of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// A number, as the server prints it.
    Number,
    /// A number that the server prints otherwise: BIT, YEAR.
    Unsigned,
    /// A number that reads back to the same bits: FLOAT.
    Float,
    /// The same for DOUBLE.
    Double,
    /// A string, as the server prints it.
    Printed,
    /// `{"$hex": ...}`.
    Bytes,
    /// Text of this character set: a string exactly where the server converts it to Unicode and back
    /// to the same bytes, else `{"$hex": ..., "$charset": ...}`.
    Text(String),
    /// ENUM or SET of this character set: as text, or the index where that would not tell which.
    Member(String),
    /// JSON of MySQL.
    Json,
}

impl Form {
    /// The expressions to select for a column.
    pub(super) fn selected(&self, column: &str) -> Vec<String> {
        let text = |charset: &str| {
            vec![
                format!("LOWER(HEX({column}))"),
                format!("LOWER(HEX(CONVERT({column} USING utf8mb4)))"),
                format!("LOWER(HEX(CONVERT(CONVERT({column} USING utf8mb4) USING {charset})))"),
            ]
        };
        match self {
            Self::Number | Self::Printed | Self::Json => vec![column.to_owned()],
            Self::Unsigned => vec![format!("CAST({column} AS UNSIGNED)")],
            // As it stands DOUBLE(20,5) is printed with five digits behind the point, and kept with more.
            Self::Float | Self::Double => vec![format!("CAST({column} AS DOUBLE)")],
            Self::Bytes => vec![format!("LOWER(HEX({column}))")],
            Self::Text(charset) => text(charset),
            Self::Member(charset) => {
                let mut selected = text(charset);
                selected.push(format!("CAST({column} AS UNSIGNED)"));
                selected
            }
        }
    }

    /// How many they are.
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Text(_) => 3,
            Self::Member(_) => 4,
            _ => 1,
        }
    }

    /// Whether a value of the change log, its numbers being texts, is what the server showed.
    pub(super) fn agrees(&self, ours: &Value, server: &Cell) -> bool {
        let Some(Some(first)) = server.first() else { return ours.is_null() };
        match self {
            Self::Number | Self::Unsigned => number(ours) == Some(first),
            Self::Float => number(ours).is_some_and(|ours| {
                let server = first.parse::<f64>().map(|server| (server as f32).to_bits());
                ours.parse::<f32>().ok().map(f32::to_bits) == server.ok()
            }),
            Self::Double => number(ours).is_some_and(|ours| same_bits(ours, first)),
            Self::Printed => ours.as_str() == Some(first),
            Self::Bytes => has(ours, 1, "$hex", first),
            Self::Text(charset) => is_text(ours, charset, server),
            Self::Member(charset) => {
                let index = server.get(3).and_then(Option::as_ref);
                let is_none = first.is_empty() && ours == "";
                is_none
                    || is_text(ours, charset, server)
                    || index.is_some() && number(ours) == index
            }
            Self::Json => {
                numbers_as_texts(first).is_ok_and(|document| is_document(ours, &document))
            }
        }
    }
}

/// JSON with each number as `{"#": "its text"}`, so that no digit of it is lost.
pub fn numbers_as_texts(json: &str) -> serde_json::Result<Value> {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped, mut in_number) = (false, false, false);
    for char in json.chars() {
        let begins = char == '-' || char.is_ascii_digit();
        let continues = in_number && (begins || matches!(char, '+' | '.' | 'e' | 'E'));
        let is_number = !in_string && (begins || continues);
        if is_number != in_number {
            out.push_str(if is_number { r##"{"#":""## } else { r#""}"# });
            in_number = is_number;
        }
        out.push(char);
        in_string ^= char == '"' && !escaped;
        escaped = in_string && char == '\\' && !escaped;
    }
    if in_number {
        out.push_str(r#""}"#);
    }
    serde_json::from_str(&out)
}

fn number(value: &Value) -> Option<&String> {
    match value.get("#") {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

fn same_bits(one: &str, other: &str) -> bool {
    let bits = |text: &str| text.parse::<f64>().ok().map(f64::to_bits);
    bits(one).is_some() && bits(one) == bits(other)
}

/// An object of so many fields with this one.
fn has(value: &Value, fields: usize, name: &str, text: &str) -> bool {
    value.as_object().is_some_and(|object| object.len() == fields)
        && value.get(name).and_then(Value::as_str) == Some(text)
}

fn is_text(ours: &Value, charset: &str, server: &Cell) -> bool {
    let [Some(bytes), unicode, back, ..] = server.as_slice() else { return false };
    if charset == "binary" {
        return has(ours, 1, "$hex", bytes);
    }
    // Where it comes of a conversion U+FFFD stands for a character that is not known.
    let is_unicode = charset.starts_with("utf") || charset == "ucs2";
    let unknown = !is_unicode && unicode.as_ref().is_some_and(|unicode| unicode.contains("efbfbd"));
    if back.as_ref() == Some(bytes) && !unknown {
        return ours.as_str().map(hex::encode).as_ref() == unicode.as_ref();
    }
    has(ours, 2, "$hex", bytes) && has(ours, 2, "$charset", charset)
}

/// A document stands as it is, but for two that would be taken for something else.
fn is_document(ours: &Value, document: &Value) -> bool {
    let wrapped = match document {
        Value::Null => true,
        Value::Object(fields) => fields.len() == 1 && fields.contains_key("$json"),
        _ => false,
    };
    if !wrapped {
        return same_json(ours, document);
    }
    match ours.as_object() {
        Some(fields) if fields.len() == 1 => {
            fields.get("$json").is_some_and(|inner| same_json(inner, document))
        }
        _ => false,
    }
}

/// Equal but for the way a DOUBLE is printed.
fn same_json(ours: &Value, server: &Value) -> bool {
    match (ours, server) {
        (Value::Object(_), Value::Object(_)) if number(ours).is_some() => {
            number(ours).zip(number(server)).is_some_and(|(ours, server)| same_number(ours, server))
        }
        (Value::Object(ours), Value::Object(server)) => {
            ours.len() == server.len()
                && ours.iter().all(|(name, value)| {
                    server.get(name).is_some_and(|other| same_json(value, other))
                })
        }
        (Value::Array(ours), Value::Array(server)) => {
            ours.len() == server.len() && ours.iter().zip(server).all(|(a, b)| same_json(a, b))
        }
        (ours, server) => ours == server,
    }
}

/// The same text. Where one has an exponent they are of DOUBLEs, and the same bits will do.
fn same_number(ours: &str, server: &str) -> bool {
    let is_double = ours.contains('e') || server.contains('e');
    ours == server || is_double && same_bits(ours, server)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn agrees(form: &Form, ours: &str, server: &[&str]) -> bool {
        let server = server.iter().map(|text| Some((*text).to_owned())).collect();
        form.agrees(&numbers_as_texts(ours).unwrap(), &server)
    }

    #[test]
    fn numbers_keep_their_texts_and_strings_their_digits() {
        let value = numbers_as_texts(r#"[-1.50e+2,"a\"1",true,{"x2":18446744073709551616}]"#);
        let texts = r##"[{"#":"-1.50e+2"},"a\"1",true,{"x2":{"#":"18446744073709551616"}}]"##;
        assert_eq!(value.unwrap(), serde_json::from_str::<Value>(texts).unwrap());
    }

    #[test]
    fn each_form_tells_right_from_wrong() {
        let text = Form::Text("latin1".into());
        assert!(agrees(&text, r#""é""#, &["e9", "c3a9", "e9"]));
        assert!(!agrees(&text, r#""e""#, &["e9", "c3a9", "e9"]));
        assert!(!agrees(&text, r#"{"$hex":"e9","$charset":"latin1"}"#, &["e9", "c3a9", "e9"]));
        assert!(agrees(&text, r#"{"$hex":"81","$charset":"latin1"}"#, &["81", "3f", "3f"]));
        assert!(agrees(&Form::Float, "0.1", &["0.10000000149011612"]));
        assert!(!agrees(&Form::Float, "0.0", &["-0"]));
        assert!(agrees(&Form::Json, r#"{"a":[1e300,1.50]}"#, &[r#"{"a": [1e300, 1.50]}"#]));
        assert!(agrees(&Form::Json, "1000000000000000.0", &["1e15"]));
        assert!(!agrees(&Form::Json, "1.5", &["1.50"]));
        assert!(!agrees(&Form::Json, "1.0", &["1"]));
        assert!(agrees(&Form::Json, r#"{"$json":null}"#, &["null"]));
        assert!(!agrees(&Form::Json, "null", &["null"]));
        assert!(agrees(&Form::Member("latin1".into()), "0", &["", "", "", "0"]));
    }
}
