//! The closed lists.

use std::collections::BTreeSet;

use crds::conditions::{ConditionType, Reason};

#[test]
fn every_reason_parses_back() {
    for reason in Reason::ALL {
        assert_eq!(reason.as_str().parse::<Reason>().as_ref(), Ok(reason));
        assert_eq!(serde_json::to_string(reason).unwrap(), format!("\"{reason}\""));
        assert!(reason.as_str().len() <= 64);
        assert!(!reason.meaning().is_empty());
    }
    for kind in ConditionType::ALL {
        assert_eq!(kind.as_str().parse::<ConditionType>(), Ok(kind));
        assert!(!kind.meaning().is_empty());
    }
}

#[test]
fn reasons_are_unique() {
    let words: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(words.len(), Reason::ALL.len());
}

#[test]
fn a_word_of_a_newer_program_reads_as_unknown() {
    assert_eq!(serde_json::from_str::<Reason>("\"NotYetInvented\"").unwrap(), Reason::Unknown);
    assert_eq!(
        "NotYetInvented".parse::<Reason>().unwrap_err().to_string(),
        "\"NotYetInvented\" is no known reason"
    );
}

/// A reason once shipped is in logs, alerts and archives: it may get company, it is never renamed.
#[test]
fn reasons_once_shipped_stay() {
    let shipped = include_str!("data/reasons.txt");
    for word in shipped.lines() {
        assert!(word.parse::<Reason>().is_ok(), "{word} is gone");
    }
    assert_eq!(
        shipped.lines().count(),
        Reason::ALL.len(),
        "add the new reason to data/reasons.txt"
    );
}
