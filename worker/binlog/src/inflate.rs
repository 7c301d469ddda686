//! MariaDB's compressed events: one byte `0x80 | algorithm << 4 | n`, the plain length in n
//! big-endian bytes, a zlib stream.

use std::io::Read;

use crate::reader::{Reader, Short};

/// Deflate cannot expand more than this; a longer announcement is a lie.
const MAX_RATIO: usize = 1032;

/// Inflates `packed` into `plain` (cleared first). Grows by what really comes out, never by what is
/// announced.
pub(crate) fn event(packed: &[u8], plain: &mut Vec<u8>) -> Result<(), Short> {
    let mut reader = Reader::new(packed);
    let head = reader.u8()?;
    if head & 0xf0 != 0x80 {
        return Err(Short);
    }
    let length = reader.uint_be(usize::from(head & 7))?;
    exact(flate2::read::ZlibDecoder::new(reader.rest()), reader.len(), length, plain)
}

/// Inflates one value of a MariaDB COMPRESSED column: one byte `method << 4 | raw << 3 | n`, the
/// plain length in n big-endian bytes, a deflate stream. Method 0 is plain bytes.
pub(crate) fn column<'a>(packed: &'a [u8], plain: &'a mut Vec<u8>) -> Result<&'a [u8], Short> {
    let mut reader = Reader::new(packed);
    if reader.is_empty() {
        return Ok(packed);
    }
    let head = reader.u8()?;
    match head >> 4 {
        0 => Ok(reader.rest()),
        8 => {
            let length = reader.uint_be(usize::from(head & 7))?;
            let (stream, packed) = (reader.rest(), reader.len());
            if head & 8 == 0 {
                exact(flate2::read::ZlibDecoder::new(stream), packed, length, plain)?;
            } else {
                exact(flate2::read::DeflateDecoder::new(stream), packed, length, plain)?;
            }
            Ok(plain)
        }
        _ => Err(Short),
    }
}

fn exact(stream: impl Read, packed: usize, length: u64, plain: &mut Vec<u8>) -> Result<(), Short> {
    let length = usize::try_from(length).map_err(|_| Short)?;
    if length > packed.saturating_mul(MAX_RATIO).saturating_add(64) {
        return Err(Short);
    }
    plain.clear();
    // One byte more than announced shows a stream that is longer.
    stream.take(length as u64 + 1).read_to_end(plain).map_err(|_| Short)?;
    if plain.len() == length { Ok(()) } else { Err(Short) }
}
