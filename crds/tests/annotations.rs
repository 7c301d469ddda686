//! Values of annotations.

use crds::annotations::{
    AcceptedArchive, CheckpointRequest, ON_STREAMS, Target, parse_accept_source,
    parse_acknowledge_gap, parse_adopt_archive, parse_commit_now,
};
use crds::position::FilePosition;

const ARCHIVE: &str = "7f1c0c0e-5b0a-4f3e-9d2b-0a1b2c3d4e5f";

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

#[test]
fn a_request_names_what_is_given_up_and_where_to_go_on() {
    let reset = CheckpointRequest::reset(&format!(" {ARCHIVE}@42\n")).unwrap();
    assert_eq!((reset.of.n, reset.target.as_ref(), reset.action()), (42, None, "reset-checkpoint"));
    assert_eq!(reset.value, format!("{ARCHIVE}@42"), "as the status shows it");
    let to = |position: &str| CheckpointRequest::set(&format!("{ARCHIVE}@42/{position}")).unwrap();
    let at = FilePosition::new("mysql-bin.000007", 4);
    assert_eq!(to("mysql-bin.000007:4").target, Some(Target::Position(at)));
    for set in ["3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5", "0-1-270,1-1-3"] {
        assert_eq!(to(set).target, Some(Target::Gtids(set.to_owned())));
        assert_eq!(to(set).action(), "set-checkpoint");
    }
}

#[test]
fn a_request_that_confirms_nothing_or_names_no_position_is_refused_by_name() {
    for value in ["", "yes", ARCHIVE, "x@1", &format!("{ARCHIVE}@"), &format!("{ARCHIVE}@1/b.1:4")]
    {
        let error = CheckpointRequest::reset(value).unwrap_err().to_string();
        assert!(error.starts_with("binlogstream.io/reset-checkpoint: "), "{error}");
    }
    let long = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5,".repeat(30);
    for position in ["", "binlog.000007", "binlog:4", "binlog.000007:3", "a/b.000007:4", &long] {
        let error = CheckpointRequest::set(&format!("{ARCHIVE}@1/{position}")).unwrap_err();
        assert!(error.to_string().starts_with("binlogstream.io/set-checkpoint: "), "{error}");
    }
    assert!(CheckpointRequest::set("binlog.000007:4").is_err(), "it confirms nothing");
}

#[test]
fn a_commit_is_asked_for_by_any_short_text() {
    assert_eq!(parse_commit_now(" 2026-11-27T10:00:00Z ").unwrap(), "2026-11-27T10:00:00Z");
    for value in ["", " ", "a\nb", &"x".repeat(257)] {
        assert!(parse_commit_now(value).is_err(), "{value:?}");
    }
}

#[test]
fn every_annotation_stands_in_the_readme() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    for key in ON_STREAMS {
        assert!(readme.contains(&format!("| `{key}` | ")), "README.md has no row for {key}");
    }
}
