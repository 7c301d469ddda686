//! Tables as kubectl prints them.

use std::collections::BTreeMap;

/// The first line of a table that kubectl printed: a column reaches from the beginning of its head to that of
/// the next, since a cell may hold blanks.
pub(super) fn first_line(table: &str) -> Option<BTreeMap<String, String>> {
    let (head, line) = (table.lines().next()?, table.lines().nth(1)?);
    let starts: Vec<_> = head
        .char_indices()
        .filter(|&(at, letter)| letter != ' ' && (at == 0 || head[..at].ends_with(' ')))
        .map(|(at, _)| at)
        .collect();
    let cell = |text: &str, from: usize, to: Option<usize>| {
        let to = to.map_or(text.len(), |to| to.min(text.len()));
        text.get(from.min(to)..to).unwrap_or_default().trim().to_owned()
    };
    let ends = starts.iter().skip(1).copied().map(Some).chain([None]);
    Some(
        starts
            .iter()
            .zip(ends)
            .map(|(&from, to)| (cell(head, from, to), cell(line, from, to)))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_may_hold_blanks_and_may_be_empty() {
        let table = "NAME    READY   STATUS   LAG   ARCHIVED     AGE\n\
                     orders  True             0s    behind 10s   5m\n";
        let line = first_line(table).unwrap();
        let cells = ["NAME", "READY", "STATUS", "LAG", "ARCHIVED", "AGE"].map(|head| &*line[head]);
        assert_eq!(cells, ["orders", "True", "", "0s", "behind 10s", "5m"]);
    }
}
