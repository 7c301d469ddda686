//! XA transactions that are prepared in the range and have no verdict in it.
//!
//! Who reads the verdict later tells their rows, if their table maps name the columns. Where they do not, only this range
//! says what they mean: their tables stay open from there on, so that the range is read again behind the verdict.

use std::collections::{BTreeMap, BTreeSet};

use archive::Point;
use binlog::{StoppedTable, TableName};

use super::select::{Sought, is_before};

/// A prepared transaction without a verdict.
#[derive(Debug)]
pub(super) struct Undecided {
    /// First byte of its group.
    pub(super) at: Point,
    /// Its tables whose maps name no columns.
    pub(super) tables: BTreeSet<TableName>,
}

/// Where tables stop for them.
#[derive(Debug, Default)]
pub(super) struct Halts {
    /// Ahead, by table, with the reason.
    pub(super) ahead: BTreeMap<TableName, (Point, String)>,
    /// Before the gap: it stays as it is.
    pub(super) standing: BTreeMap<TableName, (Point, StoppedTable)>,
}

impl Halts {
    /// Where what is sought stops for these transactions, by their ids. What is given up is no reason to stop.
    pub(super) fn of(undecided: &BTreeMap<String, Undecided>, sought: &[Sought]) -> Self {
        let mut halts = Self::default();
        for (xid, Undecided { at, tables }) in undecided {
            let why = format!(
                "the XA transaction {xid}, prepared at {at}, has no verdict in what was archived; decide it on the \
                 source, let the stream archive that, and run this again"
            );
            for gap in sought.iter().filter(|gap| tables.contains(&gap.table)) {
                halts.add(gap, at, &why);
            }
        }
        halts
    }

    fn add(&mut self, gap: &Sought, at: &Point, why: &str) {
        let table = gap.table.clone();
        if !is_before(at, &gap.from) {
            let halt = (at.clone(), why.to_owned());
            let first = self.ahead.entry(table).or_insert_with(|| halt.clone());
            if is_before(at, &first.0) {
                *first = halt;
            }
        } else if !gap.gives_up {
            let (since, since_row) = (gap.from.position(), gap.from_row);
            let stands = StoppedTable { reason: why.to_owned(), since, since_row };
            self.standing.insert(table, (gap.from.clone(), stands));
        }
    }
}

#[cfg(test)]
mod tests {
    use archive::entry::TableGap;

    use super::*;

    fn at(pos: u64) -> Point {
        Point::new("0001-x", "b.000001", pos)
    }

    fn table(name: &str) -> TableName {
        TableName { schema: "t".into(), table: name.into() }
    }

    fn gap(name: &str, from: u64, gives_up: bool) -> Sought {
        let logged = TableGap {
            id: name.into(),
            scope: "table".into(),
            table: Some(table(name).to_string()),
            reason: "TableStopped".into(),
            from: at(from),
            to: None,
            from_row: None,
            missing: None,
            by: None,
            since: None,
        };
        let (table, from, from_row) = (table(name), at(from), (0, 0));
        Sought { table, logged, from, from_row, gives_up }
    }

    #[test]
    fn a_table_stops_at_the_first_one_and_one_before_its_gap_leaves_the_gap_as_it_is() {
        let one = |pos, names: &[&str]| Undecided {
            at: at(pos),
            tables: names.iter().map(|name| table(name)).collect(),
        };
        let undecided = [("x", one(500, &["a"])), ("y", one(300, &["a", "b", "c"]))];
        let undecided = undecided.into_iter().map(|(xid, one)| (xid.to_owned(), one)).collect();
        let sought = [gap("a", 300, false), gap("b", 301, false), gap("c", 301, true)];
        let halts = Halts::of(&undecided, &[&sought[..], &[gap("d", 4, false)]].concat());
        let ahead: Vec<_> = halts.ahead.iter().map(|(table, (at, _))| (table, at.pos)).collect();
        assert_eq!(ahead, [(&table("a"), 300)]);
        let standing: Vec<_> =
            halts.standing.iter().map(|(table, (at, _))| (table, at.pos)).collect();
        assert_eq!(standing, [(&table("b"), 301)], "what is given up is not waited for");
    }
}
