//! What a table map leaves out unless `binlog_row_metadata` is FULL, known from elsewhere.
//!
//! A description is a whole table map, less its id. Completing one puts the description's optional fields behind
//! the columns that the event itself names, so that everything else, the fingerprint too, is as if the source had
//! logged it whole.
//!
//! Invariant: a description is used only for a table map with exactly its names, column types, metadata and
//! nullability, and with no optional field that says something else (`a_description_fits_its_own_table_map_only` in
//! `tests/suite/descriptions.rs`). That no statement changed the table in between is up to the caller.

use sha2::{Digest, Sha256};

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

    /// The description as it is kept: what a table map says behind its id.
    pub fn as_bytes(&self) -> &[u8] {
        &self.described
    }

    /// Reads what [`Self::as_bytes`] gave.
    pub fn from_bytes(described: &[u8]) -> Option<Self> {
        Self::of(&[&[0; TABLE_ID_BYTES][..], described].concat())
    }

    /// Name of the schema record that it gives.
    pub fn fingerprint(&self) -> String {
        hex::encode(Sha256::digest(&self.described))
    }

    /// Whether the other one describes the same definition, in whatever form.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let (fixed, ours) = self.described.split_at(self.fixed);
        let (others, theirs) = other.described.split_at(other.fixed);
        let (Ok(ours), Ok(theirs)) = (Optional::parse(ours), Optional::parse(theirs)) else {
            return false;
        };
        let columns = ours.names.as_ref().map_or(0, Vec::len);
        fixed == others
            && (&ours.names, &ours.key) == (&theirs.names, &theirs.key)
            && (&ours.sets, &ours.enums) == (&theirs.sets, &theirs.enums)
            && ours.unsigned == theirs.unsigned
            && alike(&ours.collations, &theirs.collations, columns)
            && alike(&ours.member_collations, &theirs.member_collations, columns)
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

/// Whether the two say the same of the columns that both list: a default says something of any number of them.
fn alike(ours: &Collations, theirs: &Collations, columns: usize) -> bool {
    let listed = |of: &Collations| if let Collations::Each(ids) = of { ids.len() } else { columns };
    (0..listed(ours).min(listed(theirs))).all(|at| ours.of(at) == theirs.of(at))
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
