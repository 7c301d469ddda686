//! Whole numbers, BIT, YEAR, FLOAT and DOUBLE.

use super::BadValue;
use super::json_text::JsonText;
use crate::reader::Reader;

/// An integer of 1, 2, 3, 4 or 8 little-endian bytes.
#[inline]
pub(crate) fn integer(
    reader: &mut Reader<'_>,
    bytes: u8,
    unsigned: bool,
    out: &mut JsonText,
) -> Result<(), BadValue> {
    let value = match bytes {
        1 => u64::from(reader.u8()?),
        2 => u64::from(reader.u16()?),
        3 => u64::from(reader.u24()?),
        4 => u64::from(reader.u32()?),
        _ => reader.u64()?,
    };
    let mut digits = itoa::Buffer::new();
    if unsigned {
        out.push_str(digits.format(value));
    } else {
        let unused = 64 - 8 * u32::from(bytes);
        out.push_str(digits.format((value << unused) as i64 >> unused));
    }
    Ok(())
}

/// BIT: big-endian bytes, as many as its bits need.
pub(crate) fn bits(reader: &mut Reader<'_>, bytes: u8, out: &mut JsonText) -> Result<(), BadValue> {
    let value = reader.uint_be(usize::from(bytes))?;
    out.push_str(itoa::Buffer::new().format(value));
    Ok(())
}

/// YEAR: years since 1900; 0 is the year 0000.
pub(crate) fn year(reader: &mut Reader<'_>, out: &mut JsonText) -> Result<(), BadValue> {
    let value = reader.u8()?;
    let year = if value == 0 { 0 } else { 1900 + u16::from(value) };
    out.push_str(itoa::Buffer::new().format(year));
    Ok(())
}

/// FLOAT.
pub(crate) fn float(reader: &mut Reader<'_>, out: &mut JsonText) -> Result<(), BadValue> {
    let value = f32::from_bits(reader.u32()?);
    if !value.is_finite() {
        return Err(BadValue("it is not a finite number"));
    }
    out.push_str(zmij::Buffer::new().format_finite(value));
    Ok(())
}

/// DOUBLE.
pub(crate) fn double(reader: &mut Reader<'_>, out: &mut JsonText) -> Result<(), BadValue> {
    push_double(f64::from_bits(reader.u64()?), out)
}

pub(super) fn push_double(value: f64, out: &mut JsonText) -> Result<(), BadValue> {
    if !value.is_finite() {
        return Err(BadValue("it is not a finite number"));
    }
    out.push_str(zmij::Buffer::new().format_finite(value));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8], unsigned: bool) -> String {
        let mut out = JsonText::default();
        integer(&mut Reader::new(bytes), bytes.len() as u8, unsigned, &mut out).unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn integers_at_their_edges() {
        for (bytes, signed, unsigned) in [
            (&[0x80][..], "-128", "128"),
            (&[0xff], "-1", "255"),
            (&[0, 0x80], "-32768", "32768"),
            (&[0xff, 0xff, 0x7f], "8388607", "8388607"),
            (&[0, 0, 0x80], "-8388608", "8388608"),
            (&[0xff; 4], "-1", "4294967295"),
            (&[0xff; 8], "-1", "18446744073709551615"),
            (&[0, 0, 0, 0, 0, 0, 0, 0x80], "-9223372036854775808", "9223372036854775808"),
        ] {
            assert_eq!(text(bytes, false), signed);
            assert_eq!(text(bytes, true), unsigned);
        }
    }

    #[test]
    fn years_bits_and_floats() {
        let mut out = JsonText::default();
        for byte in [0, 1, 255] {
            year(&mut Reader::new(&[byte]), &mut out).unwrap();
            out.push(b' ');
        }
        bits(&mut Reader::new(&[0xff; 8]), 8, &mut out).unwrap();
        out.push(b' ');
        bits(&mut Reader::new(&[1, 0]), 2, &mut out).unwrap();
        assert_eq!(out.as_str(), "0 1901 2155 18446744073709551615 256");
        for value in [0.0, -0.0, 0.1, 1e300, 5e-324, f64::MAX, 2.25] {
            let mut out = JsonText::default();
            double(&mut Reader::new(&f64::to_bits(value).to_le_bytes()), &mut out).unwrap();
            assert_eq!(out.as_str().parse::<f64>().unwrap().to_bits(), value.to_bits(), "{value}");
        }
        let mut out = JsonText::default();
        float(&mut Reader::new(&0.1_f32.to_bits().to_le_bytes()), &mut out).unwrap();
        assert_eq!(out.as_str(), "0.1");
        assert!(float(&mut Reader::new(&f32::NAN.to_bits().to_le_bytes()), &mut out).is_err());
    }
}
