//! Durations and sizes as people write them in a specification: `10s`, `1m30s`, `64Mi`, `50Gi`.
//!
//! The text is kept as written, so that an object reads back as it was applied. The same patterns
//! stand in the CRD (`patterns_of_the_schema_are_those_of_the_parser` in `tests/units.rs`).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Pattern of a duration.
pub const DURATION_PATTERN: &str = r"^([0-9]{1,9}(ms|s|m|h)){1,4}$";
/// Pattern of a size in bytes.
pub const QUANTITY_PATTERN: &str = r"^[1-9][0-9]{0,14}(k|M|G|T|Ki|Mi|Gi|Ti)?$";

/// Text that is no duration or no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a duration.
    #[error("{0:?} is no duration; write a number and ms, s, m or h, like 10s or 1m30s")]
    Duration(String),
    /// Not a size.
    #[error("{0:?} is no size; write a number of bytes with Ki, Mi, Gi or Ti, like 64Mi")]
    Quantity(String),
}

/// A length of time, written like `500ms`, `10s` or `1m30s`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DurationText {
    text: String,
    value: Duration,
}

impl DurationText {
    /// The length of time.
    pub const fn get(&self) -> Duration {
        self.value
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A whole number of seconds.
    pub fn from_secs(seconds: u64) -> Self {
        Self { text: format!("{seconds}s"), value: Duration::from_secs(seconds) }
    }

    /// A number of milliseconds.
    pub fn from_millis(millis: u64) -> Self {
        Self { text: format!("{millis}ms"), value: Duration::from_millis(millis) }
    }
}

impl FromStr for DurationText {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let value = parse_duration(text).ok_or_else(|| UnitError::Duration(cut(text)))?;
        Ok(Self { text: text.to_owned(), value })
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        parts += 1;
        if !(1..=9).contains(&digits) || parts > 4 {
            return None;
        }
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let (unit, tail) = ["ms", "s", "m", "h"]
            .into_iter()
            .find_map(|unit| tail.strip_prefix(unit).map(|tail| (unit, tail)))?;
        total = total.checked_add(match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number * 60),
            _ => Duration::from_secs(number * 3600),
        })?;
        rest = tail;
    }
    (parts > 0).then_some(total)
}

/// A number of bytes, written like `64Mi`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QuantityText {
    text: String,
    bytes: u64,
}

impl QuantityText {
    /// The number of bytes.
    pub const fn get(&self) -> u64 {
        self.bytes
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A whole number of mebibytes.
    pub fn from_mebibytes(mebibytes: u32) -> Self {
        Self { text: format!("{mebibytes}Mi"), bytes: u64::from(mebibytes) << 20 }
    }
}

impl FromStr for QuantityText {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bytes = parse_quantity(text).ok_or_else(|| UnitError::Quantity(cut(text)))?;
        Ok(Self { text: text.to_owned(), bytes })
    }
}

fn parse_quantity(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if !(1..=15).contains(&digits) || text.starts_with('0') {
        return None;
    }
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// At most 40 characters of hostile text go into a message.
fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Text on the wire, with a pattern in the schema.
macro_rules! as_text {
    ($name:ident, $pattern:expr, $longest:literal, $what:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string", "pattern": $pattern, "maxLength": $longest,
                    "description": $what,
                })
            }
        }
    };
}

as_text!(DurationText, DURATION_PATTERN, 48, "A length of time, like 500ms, 10s or 1m30s.");
as_text!(QuantityText, QUANTITY_PATTERN, 24, "A number of bytes, like 64Mi or 50Gi.");
