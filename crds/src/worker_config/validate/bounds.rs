//! Single values: the same bounds as the resource's.

use std::net::IpAddr;
use std::time::Duration;

use super::Findings;
use crate::units::{DurationText, QuantityText};

/// A host without port, scheme or user.
pub(super) fn is_host(text: &str) -> bool {
    let plain = !text.is_empty()
        && text.len() <= 253
        && !text.contains([':', '/', '@'])
        && !text.contains(char::is_whitespace);
    plain || text.parse::<IpAddr>().is_ok()
}

/// An http or https URL without user or query.
pub(super) fn is_endpoint(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with(['/', ':'])
            && !rest.contains(['@', '?', '#'])
            && !rest.contains(char::is_whitespace)
    })
}

/// A DNS label as Kubernetes names objects.
pub(super) fn is_label(text: &str, longest: usize) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    text.len() <= longest
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// A binlog file name with its number.
pub(super) fn is_binlog_file(text: &str) -> bool {
    text.len() <= 255
        && !text.contains(['/', '\\'])
        && text.rsplit_once('.').is_some_and(|(base, digits)| {
            !base.is_empty()
                && (6..=10).contains(&digits.len())
                && digits.bytes().all(|b| b.is_ascii_digit())
        })
}

/// `schema.table`, back-ticks around names with dots, `*` in the table part only.
pub(super) fn is_table(text: &str) -> bool {
    fn name(text: &str, starred: bool) -> Option<&str> {
        if let Some(rest) = text.strip_prefix('`') {
            let end = rest.find('`')?;
            return ((1..=64).contains(&rest[..end].chars().count())).then(|| &rest[end + 1..]);
        }
        let end = text.find('.').unwrap_or(text.len());
        let word = &text[..end];
        let ok = (1..=64).contains(&word.chars().count())
            && !word.contains(['`'])
            && !word.contains(char::is_whitespace)
            && (starred || !word.contains('*'));
        ok.then(|| &text[end..])
    }
    name(text, false)
        .and_then(|rest| rest.strip_prefix('.'))
        .and_then(|rest| name(rest, true))
        .is_some_and(str::is_empty)
}

/// A duration within bounds.
pub(super) fn duration(
    found: &mut Findings,
    field: &str,
    value: &DurationText,
    least: &str,
    most: &str,
) {
    let bound = |text: &str| text.parse::<DurationText>().map_or(Duration::ZERO, |d| d.get());
    let holds = (bound(least)..=bound(most)).contains(&value.get());
    found.require(holds, field, value, format!("must be a duration from {least} to {most}"));
}

/// A size within bounds.
pub(super) fn quantity(
    found: &mut Findings,
    field: &str,
    value: &QuantityText,
    least: &str,
    most: &str,
) {
    let bound = |text: &str| text.parse::<QuantityText>().map_or(0, |q| q.get());
    let holds = (bound(least)..=bound(most)).contains(&value.get());
    found.require(holds, field, value, format!("must be a size from {least} to {most}"));
}
