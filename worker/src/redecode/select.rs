//! Which gaps are decoded again, and which range that is.

use archive::entry::TableGap;
use archive::{Point, State};
use binlog::TableName;
use crds::position::FilePosition;

use crate::pipeline::assemble::RowPlace;

/// Gaps that one way through the range closes; the others come after it. Bounds what one entry must say.
pub(super) const MAX_GAPS: usize = 1_000;

/// What the command line asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// `schema.table`; empty: every table with an open gap.
    pub tables: Vec<String>,
    /// What lies before it stays missing, by name.
    pub from: Option<Point>,
    /// What lies behind it stays open.
    pub to: Option<Point>,
}

/// A gap on its way.
#[derive(Debug, Clone)]
pub(super) struct Sought {
    pub(super) table: TableName,
    /// As the log has it.
    pub(super) logged: TableGap,
    /// First row wanted: its group, ordinals of its event and of itself.
    pub(super) from: Point,
    pub(super) from_row: (u32, u32),
    /// What lies before is given up, and not yet named so.
    pub(super) gives_up: bool,
}

impl Sought {
    /// The place of the first row wanted, in the gap's own lineage.
    pub(super) fn place(&self) -> RowPlace {
        RowPlace { group: self.from.position(), row: self.from_row }
    }

    /// Whether everything before the first row wanted has been read.
    pub(super) fn is_reached(&self, lineage: &str, at: &FilePosition) -> bool {
        is_reached(&self.from, lineage, at)
    }

    /// The gap, if its first missing row is this one.
    pub(super) fn beginning(&self, from: &Point, row: (u32, u32)) -> TableGap {
        let from_row = Some(row).filter(|row| *row != (0, 0));
        TableGap { from: from.clone(), from_row, ..self.logged.clone() }
    }
}

/// Whether everything before `from` has been read at this place of the lineage.
pub(super) fn is_reached(from: &Point, lineage: &str, at: &FilePosition) -> bool {
    if from.lineage != lineage {
        return from.lineage.as_str() < lineage;
    }
    if from.file == at.file {
        return from.pos <= at.offset;
    }
    at.cmp_in_lineage(&from.position()).is_some_and(std::cmp::Ordering::is_ge)
}

/// Why nothing is decoded.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum SelectError {
    #[error("{0} has no open gap; `worker redecode` without --table takes those that have")]
    NoGap(String),
    #[error("{0}: a name with several dots does not tell schema and table apart")]
    Ambiguous(String),
    #[error("--from {0} is in no lineage of the archive")]
    NoLineage(Point),
}

/// The open gaps of tables that are asked for, the oldest first.
pub(super) fn select(state: &State, wanted: &Selection) -> Result<Vec<Sought>, SelectError> {
    let lineages = &state.facts.lineages;
    let unknown = |at: &&Point| !lineages.iter().any(|stint| stint.id == at.lineage);
    if let Some(at) = wanted.from.iter().chain(&wanted.to).find(unknown) {
        return Err(SelectError::NoLineage(at.clone()));
    }
    let open = || state.facts.table_gaps.iter().filter(|gap| gap.to.is_none());
    let named = |gap: &&TableGap, table: &String| gap.table.as_ref() == Some(table);
    if let Some(table) = wanted.tables.iter().find(|table| !open().any(|gap| named(&gap, table))) {
        return Err(SelectError::NoGap(table.clone()));
    }
    let asked = |gap: &&TableGap| {
        wanted.tables.is_empty() || wanted.tables.iter().any(|table| named(gap, table))
    };
    let mut all = Vec::new();
    for gap in open().filter(asked) {
        let Some(name) = &gap.table else { continue };
        let Some((schema, table)) = name.split_once('.').filter(|(_, table)| !table.contains('.'))
        else {
            return Err(SelectError::Ambiguous(name.clone()));
        };
        let given_up = wanted.from.clone().filter(|from| is_before(&gap.from, from));
        let gives_up = given_up.is_some();
        let from_row = if gives_up { (0, 0) } else { gap.from_row.unwrap_or_default() };
        let from = given_up.unwrap_or_else(|| gap.from.clone());
        let table = TableName { schema: schema.to_owned(), table: table.to_owned() };
        all.push(Sought { table, logged: gap.clone(), from, from_row, gives_up });
    }
    all.retain(|gap| wanted.to.as_ref().is_none_or(|to| is_before(&gap.from, to)));
    all.sort_by(|one, other| order(&one.from, &other.from));
    Ok(all)
}

/// Lineages begin with their number.
fn order(one: &Point, other: &Point) -> std::cmp::Ordering {
    let within = || {
        let files = one.position().cmp_in_lineage(&other.position());
        files.unwrap_or_else(|| (&one.file, one.pos).cmp(&(&other.file, other.pos)))
    };
    one.lineage.cmp(&other.lineage).then_with(within)
}

/// Whether `one` lies before `other`.
pub(super) fn is_before(one: &Point, other: &Point) -> bool {
    order(one, other).is_lt()
}

/// Reads `LINEAGE/FILE:POSITION`.
pub fn parse_point(text: &str) -> Result<Point, String> {
    let wrong = || "expected LINEAGE/FILE:POSITION, like 0001-3306/binlog.000042:2048".to_owned();
    let (lineage, rest) = text.split_once('/').ok_or_else(wrong)?;
    let (file, pos) = rest.rsplit_once(':').ok_or_else(wrong)?;
    let pos = pos.parse().map_err(|_| wrong())?;
    let at = FilePosition::new(file, pos);
    if lineage.is_empty() || at.file.is_empty() {
        return Err(wrong());
    }
    Ok(Point::new(lineage, at.file, pos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_read_as_it_is_written() {
        let point = parse_point("0001-3306/binlog.000042:2048").unwrap();
        assert_eq!(point, Point::new("0001-3306", "binlog.000042", 2048));
        for wrong in ["binlog.000042:2048", "0001-x/binlog.000042", "0001-x/f:x", "/f.1:3", "l/:3"]
        {
            assert!(parse_point(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn points_are_in_the_order_of_lineage_file_number_and_offset() {
        let point = |text| parse_point(text).unwrap();
        let row =
            ["0001-9/b.999999:9", "0002-1/b.000001:4", "0002-1/b.000010:4", "0002-1/b.000010:5"];
        for pair in row.windows(2) {
            assert!(is_before(&point(pair[0]), &point(pair[1])), "{pair:?}");
            assert!(!is_before(&point(pair[1]), &point(pair[0])), "{pair:?}");
        }
    }
}
