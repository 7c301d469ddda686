//! What a table map leaves out unless `binlog_row_metadata` is FULL, known from elsewhere.
//!
//! A description is a whole table map, less its id. Completing one puts the description's optional fields behind
//! the columns that the event itself names, so that everything else, the fingerprint too, is as if the source had
//! logged it whole.
//!
//! Invariant: a description is used only for a table map with exactly its names, column types, metadata and
//! nullability, and with no optional field that says something else (`a_description_fits_its_own_table_map_only` in
//! `tests/suite/descriptions.rs`). That no statement changed the table in between is up to the caller.

use crate::plan::TABLE_ID_BYTES;
use crate::table_map::{Collations, Optional, TableMap};

/// The names, signs, character sets and members of a table's columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDescription {
    /// A table map's body without id and flags.
    described: Vec<u8>,
    /// Bytes before the optional fields.
    fixed: usize,
}

impl TableDescription {
    /// The description that a table map's body gives; `None` if it names no columns, or not all.
    pub fn of(body: &[u8]) -> Option<Self> {
        let map = TableMap::parse(body).ok()?;
        if is_wanting(&map) {
            return None;
        }
        let described = body.get(TABLE_ID_BYTES..)?.to_vec();
        let fixed = described.len() - map.optional_bytes().len();
        Some(Self { described, fixed })
    }

    /// The table map with the optional fields of the description; `None` if it is of another table or definition.
    pub(crate) fn complete(&self, map: &TableMap<'_>, body: &[u8]) -> Option<Vec<u8>> {
        let (fixed, optional) = self.described.split_at(self.fixed);
        let given = map.optional_bytes();
        let head = body.get(..body.len() - given.len())?;
        if head.get(TABLE_ID_BYTES..)? != fixed {
            return None;
        }
        let columns = map.column_types().ok()?.len();
        let (ours, theirs) = (Optional::parse(optional).ok()?, Optional::parse(given).ok()?);
        agree(&ours, &theirs, columns).then(|| [head, optional].concat())
    }
}

/// Whether the map does not name all its columns. One that cannot be read is not wanting: nothing completes it.
pub(crate) fn is_wanting(map: &TableMap<'_>) -> bool {
    let (Ok(types), Ok(optional)) = (map.column_types(), map.optional()) else { return false };
    optional.names.is_none_or(|names| names.len() != types.len())
}

/// Whether nothing that a table map says is said otherwise by the description.
fn agree(description: &Optional<'_>, map: &Optional<'_>, columns: usize) -> bool {
    let signs = map.unsigned.is_none_or(|signs| description.unsigned == Some(signs));
    let shapes = map.geometries.is_empty() || map.geometries == description.geometries;
    let sizes = map.dimensions.is_empty() || map.dimensions == description.dimensions;
    let same = |ours: &Collations, theirs: &Collations| match theirs {
        Collations::Unknown => true,
        Collations::Each(ids) => (0..ids.len()).all(|at| ours.of(at) == theirs.of(at)),
        Collations::Default(..) => {
            let listed = if let Collations::Each(ids) = ours { ids.len() } else { columns };
            (0..listed).all(|at| ours.of(at) == theirs.of(at))
        }
    };
    signs
        && shapes
        && sizes
        && same(&description.collations, &map.collations)
        && same(&description.member_collations, &map.member_collations)
}
