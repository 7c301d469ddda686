//! GTID sets of both flavors against plain sets of numbers.

use std::collections::BTreeSet;

use crds::position::{Flavor, Gtid, GtidError, GtidSet, MAX_GNO, MySqlGtidSet};
use proptest::prelude::*;
use uuid::Uuid;

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "4350f323-7565-4e59-8763-4b1b83a0ce0e";

fn mysql(text: &str) -> GtidSet {
    GtidSet::parse(Flavor::MySQL, text).unwrap()
}

fn mariadb(text: &str) -> GtidSet {
    GtidSet::parse(Flavor::MariaDB, text).unwrap()
}

fn parsed(text: &str) -> Gtid {
    text.parse().unwrap()
}

#[test]
fn canonical_text_is_sorted_and_merged() {
    let upper = A.to_uppercase();
    let set = mysql(&format!("{B}:7, \n {upper}:5:1-3:4 ,{A}:aba:9:1-2,{A}:AbA:3"));
    assert_eq!(set.to_string(), format!("{A}:1-5:aba:1-3:9,{B}:7"));
}

#[test]
fn a_tag_holds_until_the_next_tag_or_comma() {
    let set = mysql(&format!("{A}:1:x:2:3:y:4,{A}:5"));
    assert_eq!(set.to_string(), format!("{A}:1:5:x:2-3:y:4"));
    assert!(set.contains(&format!("{A}:x:3").parse().unwrap()));
    assert!(!set.contains(&format!("{A}:3").parse().unwrap()));
}

#[test]
fn uuids_are_read_with_and_without_dashes() {
    assert_eq!(mysql(&format!("{}:1", A.replace('-', ""))), mysql(&format!("{A}:1")));
}

#[test]
fn empty_text_is_the_empty_set() {
    for text in ["", " \n", ","] {
        assert!(mysql(text).is_empty());
    }
    assert!(mariadb("").is_empty());
    assert_eq!(mysql("").to_string(), "");
}

#[test]
fn hostile_text_is_refused() {
    for text in [
        A.to_owned(),
        format!("{A}:"),
        format!("{A}:0"),
        format!("{A}:5-4"),
        format!("{A}:+5"),
        format!("{A}:9223372036854775807"),
        format!("{A}:99999999999999999999"),
        format!("{A}:tag"),
        format!("{A}:1:tag"),
        format!("{A}:a-b:1"),
        format!("{A}:{}:1", "t".repeat(33)),
        "nonsense:1".to_owned(),
        "0-1-5".to_owned(),
        format!("{A}:1;DROP"),
    ] {
        assert!(GtidSet::parse(Flavor::MySQL, &text).is_err(), "{text}");
    }
    for text in ["0-1", "0-1-2-3", "0-1-", "-1-1-1", "4294967296-1-1", "0-1-x", ",", "0-1-1,,"] {
        assert!(GtidSet::parse(Flavor::MariaDB, text).is_err(), "{text}");
    }
    let long = " ".repeat((16 << 20) + 1);
    assert!(matches!(GtidSet::parse(Flavor::MySQL, &long), Err(GtidError::TooLong { .. })));
}

#[test]
fn intervals_in_hostile_order_are_read_in_time() {
    // A million intervals, last first: inserting each at its place would move 2^40 bytes.
    let mut text = A.to_owned();
    for gno in (1..=1_000_000_u64).rev() {
        text.push(':');
        text.push_str(&(gno * 2).to_string());
    }
    assert!(matches!(mysql(&text), GtidSet::MySql(set) if set.count() == 1_000_000));
}

#[test]
fn huge_intervals_are_cheap() {
    let all = mysql(&format!("{A}:1-{MAX_GNO}"));
    let middle = mysql(&format!("{A}:1000-{}", MAX_GNO - 1000));
    let rest = all.subtract(&middle).unwrap();
    assert_eq!(rest.to_string(), format!("{A}:1-999:{}-{MAX_GNO}", MAX_GNO - 999));
    assert_eq!(rest.union(&middle).unwrap(), all);
    assert!(middle.is_subset_of(&all) && !all.is_subset_of(&middle));
}

#[test]
fn gtids_print_and_parse() {
    for text in
        [format!("{A}:5"), format!("{A}:blue_1:5"), "0-4294967295-18446744073709551615".into()]
    {
        let gtid: Gtid = text.parse().unwrap();
        assert_eq!(gtid.to_string(), text);
        assert_eq!(serde_json::to_string(&gtid).unwrap(), format!("\"{text}\""));
    }
    assert!(format!("{A}:1-2").parse::<Gtid>().is_err());
}

#[test]
fn a_set_never_takes_the_other_flavor() {
    let mut set = mysql("");
    assert!(matches!(set.add(&"0-1-1".parse().unwrap()), Err(GtidError::FlavorMismatch { .. })));
    assert!(set.union(&mariadb("0-1-1")).is_err());
    assert!(set.is_subset_of(&mariadb("0-1-1")), "the empty set is a subset of every set");
    assert!(!mysql(&format!("{A}:1")).is_subset_of(&mariadb("0-1-1")));
}

#[test]
fn a_refused_tag_leaves_the_set_as_it_was() {
    let mut set = MySqlGtidSet::default();
    assert!(set.add_range(Uuid::nil(), Some("no tag"), 1, 1).is_err());
    assert!(set.is_empty());
}

#[test]
fn mariadb_coverage_ignores_the_server() {
    let held = mariadb("0-77-28,0-99-29,3-77-1");
    assert_eq!(held.to_string(), "0-99-29,3-77-1");
    assert!(held.contains(&"0-5-29".parse().unwrap()));
    assert!(!held.contains(&"0-99-30".parse().unwrap()));
    assert!(!held.contains(&"7-1-1".parse().unwrap()));
    assert!(mariadb("0-1-29").is_subset_of(&held));
    assert!(!mariadb("0-1-29,9-1-1").is_subset_of(&held));
    assert_eq!(mariadb("0-1-30,3-1-1").subtract(&held).unwrap().to_string(), "0-1-30");
}

#[test]
fn mariadb_remembers_what_each_server_wrote() {
    let mut held = mariadb("0-1-100");
    assert!(held.has_seen(&parsed("0-1-100")) && !held.has_seen(&parsed("0-2-7")));
    held.add(&parsed("0-2-101")).unwrap();
    assert_eq!(held.to_string(), "0-2-101", "the position is one per domain");
    assert_eq!(held.to_full_text(), "0-1-100,0-2-101");
    let read = mariadb(&held.to_full_text());
    assert_eq!(read, held);
    assert!(read.has_seen(&parsed("0-1-100")) && !read.has_seen(&parsed("0-1-101")));
    assert!(read.contains(&parsed("0-1-101")), "coverage ignores the server all the same");
    let behind = mariadb("0-1-90,0-3-4").unseen_by(&held).unwrap();
    assert_eq!(behind.to_full_text(), "0-3-4");
}

#[test]
fn mariadb_positions_never_move_back() {
    let mut held = mariadb("0-1-10");
    held.add(&"0-2-9".parse().unwrap()).unwrap();
    assert_eq!(held.to_string(), "0-1-10");
    held.add(&"0-2-11".parse().unwrap()).unwrap();
    assert_eq!(held.to_string(), "0-2-11");
}

/// A small world: two servers, two tags each, numbers up to 40.
type Plain = BTreeSet<(bool, bool, u64)>;

fn plain() -> impl Strategy<Value = Plain> {
    proptest::collection::btree_set((any::<bool>(), any::<bool>(), 1_u64..40), 0..60)
}

fn gtid((server, tagged, gno): (bool, bool, u64)) -> Gtid {
    let uuid = if server { A } else { B }.parse().unwrap();
    Gtid::MySql { uuid, tag: tagged.then(|| "blue".to_owned()), gno }
}

fn build(plain: &Plain) -> GtidSet {
    let mut set = GtidSet::new(Flavor::MySQL);
    for one in plain {
        set.add(&gtid(*one)).unwrap();
    }
    set
}

proptest! {
    #[test]
    fn operations_agree_with_a_plain_set(left in plain(), right in plain()) {
        let (a, b) = (build(&left), build(&right));
        prop_assert_eq!(a.union(&b).unwrap(), build(&left.union(&right).copied().collect()));
        prop_assert_eq!(a.subtract(&b).unwrap(), build(&left.difference(&right).copied().collect()));
        prop_assert_eq!(a.is_subset_of(&b), left.is_subset(&right));
        for one in left.union(&right) {
            prop_assert_eq!(a.contains(&gtid(*one)), left.contains(one));
        }
    }

    #[test]
    fn text_round_trips(one in plain()) {
        let set = build(&one);
        prop_assert_eq!(&GtidSet::parse(Flavor::MySQL, &set.to_string()).unwrap(), &set);
        prop_assert_eq!(build(&one).to_string(), set.to_string());
    }

    #[test]
    fn the_order_of_adding_does_not_matter(one in plain(), seed in any::<u64>()) {
        let mut shuffled: Vec<_> = one.iter().copied().collect();
        shuffled.sort_by_key(|(s, t, g)| g.wrapping_mul(seed | 1) ^ u64::from(*s) ^ u64::from(*t));
        let mut set = GtidSet::new(Flavor::MySQL);
        for item in shuffled {
            set.add(&gtid(item)).unwrap();
        }
        prop_assert_eq!(set, build(&one));
    }

    #[test]
    fn mariadb_union_is_the_least_cover(
        left in proptest::collection::vec((0_u32..4, 1_u32..4, 1_u64..50), 0..8),
        right in proptest::collection::vec((0_u32..4, 1_u32..4, 1_u64..50), 0..8),
    ) {
        let set = |items: &[(u32, u32, u64)]| {
            let mut set = GtidSet::new(Flavor::MariaDB);
            for (domain, server, seq) in items {
                set.add(&Gtid::MariaDb { domain: *domain, server: *server, seq: *seq }).unwrap();
            }
            set
        };
        let (a, b) = (set(&left), set(&right));
        let both = a.union(&b).unwrap();
        prop_assert_eq!(&both, &b.union(&a).unwrap());
        prop_assert!(a.is_subset_of(&both) && b.is_subset_of(&both));
        prop_assert_eq!(a.subtract(&b).unwrap().is_empty(), a.is_subset_of(&b));
        prop_assert_eq!(&GtidSet::parse(Flavor::MariaDB, &both.to_string()).unwrap(), &both);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[-0-9a-f:,_ x]{0,80}") {
        for flavor in [Flavor::MySQL, Flavor::MariaDB] {
            if let Ok(set) = GtidSet::parse(flavor, &text) {
                prop_assert_eq!(GtidSet::parse(flavor, &set.to_string()).unwrap(), set);
            }
        }
    }
}
