//! The optional fields of a table map: what `binlog_row_metadata` adds.

use crate::reader::{Reader, Short};

/// The optional fields, as they stand in the event. Which columns a field speaks of depends on the
/// columns' types and on the flavor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Optional<'a> {
    /// One bit per numeric column, from the highest bit of each byte.
    pub(crate) unsigned: Option<&'a [u8]>,
    /// Collations of character columns.
    pub(crate) collations: Collations,
    /// Collations of ENUM and SET columns.
    pub(crate) member_collations: Collations,
    /// Column names.
    pub(crate) names: Option<Vec<&'a str>>,
    /// Members of each SET column.
    pub(crate) sets: Vec<Vec<&'a [u8]>>,
    /// Members of each ENUM column.
    pub(crate) enums: Vec<Vec<&'a [u8]>>,
    /// Indexes of the primary key's columns, in key order.
    pub(crate) key: Vec<u64>,
    /// Shape of each geometry column.
    pub(crate) geometries: Vec<u64>,
    /// One bit per column, from the highest bit of each byte; 0 is invisible.
    pub(crate) visible: Option<&'a [u8]>,
    /// Dimensions of each vector column.
    pub(crate) dimensions: Vec<u64>,
}

/// Collations of some of the columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Collations {
    #[default]
    Unknown,
    /// One for most, and (index, collation) of the others.
    Default(u64, Vec<(u64, u64)>),
    /// One each.
    Each(Vec<u64>),
}

impl Collations {
    /// The collation of the `index`th of the columns spoken of.
    pub(crate) fn of(&self, index: usize) -> Option<u32> {
        let id = match self {
            Self::Unknown => None,
            Self::Default(most, others) => others
                .binary_search_by_key(&(index as u64), |(at, _)| *at)
                .ok()
                .and_then(|at| others.get(at))
                .map(|(_, id)| *id)
                .or(Some(*most)),
            Self::Each(ids) => ids.get(index).copied(),
        };
        id.and_then(|id| u32::try_from(id).ok())
    }
}

/// Bit `index` of a bitmap that fills each byte from its highest bit.
pub(crate) fn high_bit(bitmap: &[u8], index: usize) -> bool {
    bitmap.get(index / 8).is_some_and(|byte| byte << (index % 8) & 0x80 != 0)
}

impl<'a> Optional<'a> {
    /// Reads type, length, value to the end; fields of later versions are passed over.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Short> {
        let mut optional = Self::default();
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let field = reader.u8()?;
            let value = reader.lenenc_bytes()?;
            match field {
                1 => optional.unsigned = Some(value),
                2 => optional.collations = default_collation(value)?,
                3 => optional.collations = Collations::Each(numbers(value)?),
                4 => optional.names = Some(names(value)?),
                5 => optional.sets = members(value)?,
                6 => optional.enums = members(value)?,
                7 => optional.geometries = numbers(value)?,
                8 => optional.key = numbers(value)?,
                // Pairs of column and length of the key's prefix.
                9 => optional.key = numbers(value)?.into_iter().step_by(2).collect(),
                10 => optional.member_collations = default_collation(value)?,
                11 => optional.member_collations = Collations::Each(numbers(value)?),
                12 => optional.visible = Some(value),
                13 => optional.dimensions = numbers(value)?,
                _ => {}
            }
        }
        Ok(optional)
    }
}

fn numbers(value: &[u8]) -> Result<Vec<u64>, Short> {
    let mut reader = Reader::new(value);
    let mut numbers = Vec::with_capacity(value.len());
    while !reader.is_empty() {
        numbers.push(reader.lenenc()?);
    }
    Ok(numbers)
}

fn default_collation(value: &[u8]) -> Result<Collations, Short> {
    let numbers = numbers(value)?;
    let (most, others) = numbers.split_first().ok_or(Short)?;
    let (pairs, odd) = others.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(Short);
    }
    let mut pairs: Vec<_> = pairs.iter().map(|[index, id]| (*index, *id)).collect();
    pairs.sort_unstable();
    Ok(Collations::Default(*most, pairs))
}

fn names(value: &[u8]) -> Result<Vec<&str>, Short> {
    let mut reader = Reader::new(value);
    let mut names = Vec::new();
    while !reader.is_empty() {
        names.push(std::str::from_utf8(reader.lenenc_bytes()?).map_err(|_| Short)?);
    }
    Ok(names)
}

fn members(value: &[u8]) -> Result<Vec<Vec<&[u8]>>, Short> {
    let mut reader = Reader::new(value);
    let mut columns = Vec::new();
    while !reader.is_empty() {
        let count = usize::try_from(reader.lenenc()?).map_err(|_| Short)?;
        // Each member takes at least a byte: the count cannot promise more than is there.
        let mut members = Vec::with_capacity(count.min(reader.len()));
        for _ in 0..count {
            members.push(reader.lenenc_bytes()?);
        }
        columns.push(members);
    }
    Ok(columns)
}
