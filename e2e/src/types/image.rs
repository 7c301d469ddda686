//! A row image of the change log beside a row of the server.

use std::collections::BTreeMap;

use serde_json::Value;

use super::form::numbers_as_texts;
use super::{Cell, Form, Table};

/// What disagrees, and what each shown value was shown for.
#[derive(Debug, Default)]
pub struct Disagreements {
    found: BTreeMap<String, usize>,
    shown: BTreeMap<String, Cell>,
    /// Values compared.
    pub compared: u64,
}

impl Disagreements {
    /// Notes a disagreement.
    pub fn add(&mut self, at: &str, what: impl std::fmt::Display) {
        *self.found.entry(format!("{at}: {what}")).or_default() += 1;
    }

    /// Whether all agrees.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn report(&self) -> Option<String> {
        const SHOWN: usize = 60;
        let lines: Vec<_> = self
            .found
            .iter()
            .take(SHOWN)
            .map(|(what, times)| format!("{times} x {what}"))
            .collect();
        let count = self.found.len();
        (count > 0).then(|| format!("{count} disagreements:\n{}", lines.join("\n")))
    }

    /// Two values that differ on the server must not look the same in the change log.
    fn distinct(&mut self, column: &str, ours: &Value, server: &Cell) {
        let shown = format!("{column} {ours}");
        match self.shown.get(&shown) {
            Some(before) if before != server => {
                let (before, server) = (short(before), short(server));
                self.add(column, format!("{before} and {server} look the same"));
            }
            Some(_) => {}
            None => {
                self.shown.insert(shown, server.clone());
            }
        }
    }
}

/// Compares an image that holds every column but those left out with a row of the server: `step` and
/// the columns.
pub(super) fn check_whole(
    table: &Table,
    id: u64,
    image: Option<&str>,
    row: Option<&[Cell]>,
    left_out: &[&str],
    wrong: &mut Disagreements,
) {
    let (image, row) = match (image, row) {
        (None, None) => return,
        (Some(image), Some(row)) => (image, row),
        (image, _) => {
            let is = if image.is_some() { "not wanted" } else { "missing" };
            return wrong.add(&table.name, format!("an image of {id} is {is}"));
        }
    };
    let ours = check_present(table, id, image, row, wrong);
    let names = table.columns.iter().map(|column| column.name.as_str());
    let hidden = table.hidden.iter().copied();
    let all = ["id", "step"].into_iter().chain(names).chain(hidden);
    let expected: Vec<_> = all.filter(|name| !left_out.contains(name)).collect();
    if ours != expected {
        wrong.add(&table.name, format!("columns are {ours:?}, not {expected:?}"));
    }
}

/// Compares the columns that an image holds with a row of the server, and gives their names.
pub fn check_present(
    table: &Table,
    id: u64,
    image: &str,
    row: &[Cell],
    wrong: &mut Disagreements,
) -> Vec<String> {
    let Ok(Value::Object(fields)) = numbers_as_texts(image) else {
        wrong.add(&table.name, "an image is no object");
        return Vec::new();
    };
    let id = vec![Some(id.to_string())];
    let forms = table.columns.iter().map(|column| (column.name.as_str(), &column.form));
    let forms = [("id", &Form::Number), ("step", &Form::Number)].into_iter().chain(forms);
    for ((name, form), server) in forms.zip([&id].into_iter().chain(row)) {
        let Some(ours) = fields.get(name) else { continue };
        let column = format!("{}.{name}", table.name);
        if !form.agrees(ours, server) {
            let ours: String = ours.to_string().chars().take(200).collect();
            wrong.add(&column, format!("{ours} is not {}", short(server)));
        }
        wrong.distinct(&column, ours, server);
        wrong.compared += 1;
    }
    fields.into_iter().map(|(name, _)| name).collect()
}

fn short(cell: &Cell) -> String {
    format!("{cell:?}").chars().take(200).collect()
}
