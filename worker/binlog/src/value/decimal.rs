//! DECIMAL: nine digits to four big-endian bytes, from the point outwards; the first bit is
//! inverted, and all bits of a negative number are.

use super::json_text::JsonText;
use super::{Ascii, BadValue};
use crate::reader::Reader;

/// Bytes that hold 0 to 8 digits.
const BYTES: [usize; 9] = [0, 1, 1, 2, 2, 3, 3, 4, 4];
/// A column has 65 digits at most; in JSON documents MySQL counts whole groups, nine at most.
const MAX_PRECISION: u8 = 81;

/// Appends the number as a JSON string.
pub(crate) fn push_quoted(
    reader: &mut Reader<'_>,
    precision: u8,
    scale: u8,
    out: &mut JsonText,
) -> Result<(), BadValue> {
    out.push(b'"');
    push(reader, precision, scale, out)?;
    out.push(b'"');
    Ok(())
}

/// Appends the number's digits: no leading zeros but one, all digits of the scale.
pub(crate) fn push(
    reader: &mut Reader<'_>,
    precision: u8,
    scale: u8,
    out: &mut JsonText,
) -> Result<(), BadValue> {
    if precision > MAX_PRECISION || scale > precision || precision == 0 {
        return Err(BadValue("its precision does not exist"));
    }
    let (whole, scale) = (usize::from(precision - scale), usize::from(scale));
    let first = *reader.rest().first().ok_or(crate::reader::Short)?;
    let negative = first & 0x80 == 0;
    let mut groups = Groups { reader, mask: if negative { u32::MAX } else { 0 }, flip: 0x80 };
    let mut digits = Ascii::<{ MAX_PRECISION as usize }>::new();
    groups.push(&mut digits, whole % 9)?;
    for _ in 0..whole / 9 {
        groups.push(&mut digits, 9)?;
    }
    for _ in 0..scale / 9 {
        groups.push(&mut digits, 9)?;
    }
    groups.push(&mut digits, scale % 9)?;
    if negative {
        out.push(b'-');
    }
    let (whole, fraction) = digits.as_bytes().split_at_checked(whole).unwrap_or_default();
    match whole.iter().position(|digit| *digit != b'0') {
        Some(zeros) => out.push_bytes(whole.get(zeros..).unwrap_or_default()),
        None => out.push(b'0'),
    }
    if !fraction.is_empty() {
        out.push(b'.');
        out.push_bytes(fraction);
    }
    Ok(())
}

struct Groups<'r, 'a> {
    reader: &'r mut Reader<'a>,
    mask: u32,
    /// Inverts the very first bit.
    flip: u8,
}

impl Groups<'_, '_> {
    fn push<const N: usize>(&mut self, out: &mut Ascii<N>, digits: usize) -> Result<(), BadValue> {
        let bytes = BYTES.get(digits).copied().unwrap_or(4);
        if bytes == 0 {
            return Ok(());
        }
        let stored = self.reader.uint_be(bytes)? as u32 ^ (u32::from(self.flip) << (8 * bytes - 8));
        self.flip = 0;
        let value = (stored ^ self.mask) & (u32::MAX >> (32 - 8 * bytes));
        if value >= 10_u32.pow(digits as u32) {
            return Err(BadValue("it is no decimal number"));
        }
        out.push_digits(value, digits);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8], precision: u8, scale: u8) -> Result<String, BadValue> {
        let mut out = JsonText::default();
        let mut reader = Reader::new(bytes);
        push(&mut reader, precision, scale, &mut out)?;
        assert!(reader.is_empty());
        out.finish()
    }

    #[test]
    fn decimals_of_every_shape() {
        // The servers' own example: 1234567890.1234 as DECIMAL(14,4).
        let plus = [0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2];
        assert_eq!(text(&plus, 14, 4).unwrap(), "1234567890.1234");
        let minus = plus.map(|byte| !byte);
        assert_eq!(text(&minus, 14, 4).unwrap(), "-1234567890.1234");
        // As MySQL keeps the largest DECIMAL(65,30) in a JSON document.
        let nines = [0x3b, 0x9a, 0xc9, 0xff];
        let largest = [&[0x85, 0xf5, 0xe0, 0xff][..], &nines.repeat(6), &[3, 0xe7]].concat();
        let digits = format!("{}.{}", "9".repeat(35), "9".repeat(30));
        assert_eq!(text(&largest, 66, 30).unwrap(), digits);
        assert_eq!(text(&[0x80], 1, 0).unwrap(), "0");
        assert_eq!(text(&[0x85], 1, 1).unwrap(), "0.5");
        assert_eq!(text(&[0x7a], 1, 1).unwrap(), "-0.5");
        assert_eq!(text(&[0x80, 7], 4, 2).unwrap(), "0.07");
    }

    #[test]
    fn what_is_no_decimal_is_refused() {
        assert!(text(&[0xe3], 1, 0).is_err());
        assert!(text(&[], 4, 2).is_err());
        assert!(text(&[0x80; 50], 82, 2).is_err());
        assert!(text(&[0x80], 2, 3).is_err());
    }
}
