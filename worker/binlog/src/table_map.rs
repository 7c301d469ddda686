//! TABLE_MAP: the table that the rows events after it speak of.
//!
//! Everything is borrowed from the event; `plan` compiles it into something that decodes rows.

mod optional;

pub(crate) use optional::{Collations, Optional, high_bit};

use crate::reader::{Reader, Short};

/// A column type's code, after the ENUM and SET hidden in STRING are brought to light.
pub(crate) mod code {
    pub(crate) const TINY: u8 = 1;
    pub(crate) const SHORT: u8 = 2;
    pub(crate) const LONG: u8 = 3;
    pub(crate) const FLOAT: u8 = 4;
    pub(crate) const DOUBLE: u8 = 5;
    pub(crate) const TIMESTAMP: u8 = 7;
    pub(crate) const LONGLONG: u8 = 8;
    pub(crate) const INT24: u8 = 9;
    pub(crate) const DATE: u8 = 10;
    pub(crate) const TIME: u8 = 11;
    pub(crate) const DATETIME: u8 = 12;
    pub(crate) const YEAR: u8 = 13;
    pub(crate) const NEWDATE: u8 = 14;
    pub(crate) const VARCHAR: u8 = 15;
    pub(crate) const BIT: u8 = 16;
    pub(crate) const TIMESTAMP2: u8 = 17;
    pub(crate) const DATETIME2: u8 = 18;
    pub(crate) const TIME2: u8 = 19;
    pub(crate) const BLOB_COMPRESSED: u8 = 140;
    pub(crate) const VARCHAR_COMPRESSED: u8 = 141;
    pub(crate) const VECTOR: u8 = 242;
    pub(crate) const JSON: u8 = 245;
    pub(crate) const NEWDECIMAL: u8 = 246;
    pub(crate) const ENUM: u8 = 247;
    pub(crate) const SET: u8 = 248;
    pub(crate) const TINY_BLOB: u8 = 249;
    pub(crate) const BLOB: u8 = 252;
    pub(crate) const VAR_STRING: u8 = 253;
    pub(crate) const STRING: u8 = 254;
    pub(crate) const GEOMETRY: u8 = 255;
}

/// A parsed table map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableMap<'a> {
    pub(crate) schema: &'a str,
    pub(crate) table: &'a str,
    types: &'a [u8],
    metadata: &'a [u8],
    nullable: &'a [u8],
    optional: &'a [u8],
}

/// One column's type and its metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ColumnType {
    pub(crate) code: u8,
    /// Two bytes of metadata, the meaning of which depends on the type.
    pub(crate) meta: [u8; 2],
    pub(crate) nullable: bool,
}

/// A type whose metadata has an unknown length: nothing behind it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TypeError {
    Unknown(u8),
    Short,
}

impl<'a> TableMap<'a> {
    /// Reads an event's body.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Short> {
        let mut reader = Reader::new(body);
        reader.take(8)?; // table id and flags
        let schema = name(&mut reader)?;
        let table = name(&mut reader)?;
        let columns = usize::try_from(reader.lenenc()?).map_err(|_| Short)?;
        let types = reader.take(columns)?;
        let metadata = reader.lenenc_bytes()?;
        let nullable = reader.take(columns.div_ceil(8))?;
        Ok(Self { schema, table, types, metadata, nullable, optional: reader.rest() })
    }

    /// The columns' types, in order.
    pub(crate) fn column_types(&self) -> Result<Vec<ColumnType>, TypeError> {
        let mut metadata = Reader::new(self.metadata);
        let mut columns = Vec::with_capacity(self.types.len());
        for (index, &code) in self.types.iter().enumerate() {
            let (code, meta) = type_of(code, &mut metadata)?;
            let nullable = bit(self.nullable, index);
            columns.push(ColumnType { code, meta, nullable });
        }
        Ok(columns)
    }

    /// The optional fields as they stand at the event's end.
    pub(crate) const fn optional_bytes(&self) -> &'a [u8] {
        self.optional
    }

    /// The optional fields.
    pub(crate) fn optional(&self) -> Result<Optional<'a>, Short> {
        Optional::parse(self.optional)
    }
}

/// Bit `index` of a bitmap that fills each byte from its lowest bit.
#[inline]
pub(crate) fn bit(bitmap: &[u8], index: usize) -> bool {
    bitmap.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

/// How many of the first `columns` bits are set. What pads the last byte may be.
pub(crate) fn count_bits(bitmap: &[u8], columns: usize) -> usize {
    let whole = bitmap.iter().take(columns / 8).map(|byte| byte.count_ones()).sum::<u32>();
    let rest = bitmap.get(columns / 8).map_or(0, |byte| byte & !(0xff << (columns % 8)));
    (whole + rest.count_ones()) as usize
}

fn name<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Short> {
    let name = reader.lenenc_bytes()?;
    reader.u8()?; // the NUL behind it
    std::str::from_utf8(name).map_err(|_| Short)
}

/// A type with its metadata: 0, 1 or 2 bytes by type.
fn type_of(code: u8, metadata: &mut Reader<'_>) -> Result<(u8, [u8; 2]), TypeError> {
    let length = match code {
        code::TINY
        | code::SHORT
        | code::LONG
        | code::LONGLONG
        | code::INT24
        | code::TIMESTAMP
        | code::DATE
        | code::TIME
        | code::DATETIME
        | code::YEAR
        | code::NEWDATE => 0,
        code::FLOAT
        | code::DOUBLE
        | code::TIMESTAMP2
        | code::DATETIME2
        | code::TIME2
        | code::BLOB_COMPRESSED
        | code::VECTOR
        | code::JSON
        | code::TINY_BLOB..=code::BLOB
        | code::GEOMETRY => 1,
        code::VARCHAR
        | code::BIT
        | code::VARCHAR_COMPRESSED
        | code::NEWDECIMAL
        | code::ENUM
        | code::SET
        | code::VAR_STRING
        | code::STRING => 2,
        unknown => return Err(TypeError::Unknown(unknown)),
    };
    let mut meta = [0; 2];
    for (to, from) in meta.iter_mut().zip(metadata.take(length).map_err(|_| TypeError::Short)?) {
        *to = *from;
    }
    if code != code::STRING {
        return Ok((code, meta));
    }
    // The first byte is the real type; for a CHAR of more than 255 bytes two of its bits hold the
    // upper bits of the length, inverted.
    let [real, low] = meta;
    let high = (real & 0x30) ^ 0x30;
    let length = u16::from(low) | u16::from(high) << 4;
    Ok((real | 0x30, length.to_le_bytes()))
}
