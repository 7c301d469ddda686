//! Values of annotations.

use crds::annotations::{
    AcceptedArchive, parse_accept_source, parse_acknowledge_gap, parse_adopt_archive,
};

#[test]
fn consents_are_read() {
    let id = "7f1c0c0e-5b0a-4f3e-9d2b-0a1b2c3d4e5f";
    assert_eq!(parse_adopt_archive(&format!(" {id}\n")).unwrap().to_string(), id);
    let accepted: AcceptedArchive = format!("{id}@42").parse().unwrap();
    assert_eq!((accepted.n, accepted.to_string()), (42, format!("{id}@42")));
    assert_eq!(parse_accept_source("7").unwrap(), "7");
    assert_eq!(parse_acknowledge_gap("all").unwrap(), ["all"]);
    assert_eq!(parse_acknowledge_gap("g-1, g-2").unwrap(), ["g-1", "g-2"]);
}

#[test]
fn an_empty_or_strange_value_names_what_was_expected() {
    assert!(parse_acknowledge_gap("").is_err());
    assert!(parse_acknowledge_gap("g 1;drop").is_err());
    assert!(parse_accept_source("-1").is_err());
    let error = "x@y".parse::<AcceptedArchive>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "binlogstream.io/accept-archive: \"x@y\" is not <archive id>@<number of its newest entry>"
    );
}
