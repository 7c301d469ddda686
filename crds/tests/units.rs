//! Durations and sizes.

use std::time::Duration;

use crds::units::{DURATION_PATTERN, DurationText, QUANTITY_PATTERN, QuantityText};
use proptest::prelude::*;

#[test]
fn durations_are_read() {
    for (text, millis) in
        [("500ms", 500), ("10s", 10_000), ("1m30s", 90_000), ("1h0m1s1ms", 3_601_001)]
    {
        let read: DurationText = text.parse().unwrap();
        assert_eq!(
            (read.get(), read.to_string()),
            (Duration::from_millis(millis), text.to_owned())
        );
    }
}

#[test]
fn what_is_no_duration_is_refused() {
    for text in ["", "5", "s", "5 s", "-5s", "1.5s", "5d", "1s1s1s1s1s", "1234567890s", "5sx"] {
        assert!(text.parse::<DurationText>().is_err(), "{text:?}");
    }
}

#[test]
fn sizes_are_read() {
    for (text, bytes) in [("1", 1), ("64Mi", 64 << 20), ("1G", 1_000_000_000), ("4Ti", 4 << 40)] {
        let read: QuantityText = text.parse().unwrap();
        assert_eq!((read.get(), read.to_string()), (bytes, text.to_owned()));
    }
}

#[test]
fn what_is_no_size_is_refused() {
    for text in
        ["", "0", "01", "1.5Gi", "-1", "1KB", "Gi", "1 Gi", "999999999999999Ti", "1000000000000000"]
    {
        assert!(text.parse::<QuantityText>().is_err(), "{text:?}");
    }
}

#[test]
fn patterns_of_the_schema_are_those_of_the_parser() {
    let crd = crds::schema::crd_json().unwrap().to_string();
    assert!(crd.contains(&serde_json::to_string(DURATION_PATTERN).unwrap()));
    assert!(crd.contains(&serde_json::to_string(QUANTITY_PATTERN).unwrap()));
}

proptest! {
    #[test]
    fn what_the_duration_pattern_matches_is_read(text in "([0-9]{1,9}(ms|s|m|h)){1,4}") {
        prop_assert!(text.parse::<DurationText>().is_ok());
    }

    #[test]
    fn what_the_size_pattern_matches_is_read_unless_it_overflows(
        text in "[1-9][0-9]{0,6}(k|M|G|T|Ki|Mi|Gi|Ti)?",
    ) {
        prop_assert!(text.parse::<QuantityText>().is_ok());
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,40}") {
        let _ = (text.parse::<DurationText>().is_ok(), text.parse::<QuantityText>().is_ok());
    }
}
