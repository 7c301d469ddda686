//! DATE, TIME, DATETIME and TIMESTAMP, printed as the servers print them (TIMESTAMP in UTC).

use super::json_text::JsonText;
use super::{Ascii, BadValue, two_digits};
use crate::reader::Reader;

type Text = Ascii<40>;

/// DATE: day, month and year in 24 bits, from the lowest.
pub(crate) fn date(reader: &mut Reader<'_>, out: &mut JsonText) -> Result<(), BadValue> {
    let packed = reader.u24()?;
    let mut text = Text::new();
    push_date(&mut text, packed >> 9, packed >> 5 & 15, packed & 31);
    quote(&text, out);
    Ok(())
}

/// DATETIME: 40 bits, big-endian, the first always 1; then the fraction.
pub(crate) fn datetime(
    reader: &mut Reader<'_>,
    fraction: u8,
    out: &mut JsonText,
) -> Result<(), BadValue> {
    let packed = reader.uint_be(5)?;
    if packed >> 39 == 0 {
        return Err(BadValue("it is before the year 0"));
    }
    let packed = packed & 0x7f_ffff_ffff;
    let micros = read_fraction(reader, fraction)?;
    let mut text = Text::new();
    push_packed_datetime(&mut text, packed);
    push_fraction(&mut text, micros, fraction);
    quote(&text, out);
    Ok(())
}

/// Year times 13 plus month, day, hour, minute and second.
fn push_packed_datetime(text: &mut Text, packed: u64) {
    let (date, time) = (packed >> 17, packed as u32 & 0x1_ffff);
    let months = (date >> 5) as u32;
    push_date(text, months / 13, months % 13, date as u32 & 31);
    text.push(b' ');
    push_clock(text, time >> 12, time >> 6 & 63, time & 63);
}

/// TIMESTAMP: seconds since 1970 in 32 bits without sign, big-endian; then the fraction.
pub(crate) fn timestamp(
    reader: &mut Reader<'_>,
    fraction: u8,
    out: &mut JsonText,
) -> Result<(), BadValue> {
    let seconds = reader.uint_be(4)? as u32;
    let micros = read_fraction(reader, fraction)?;
    push_timestamp(seconds, micros, fraction, out);
    Ok(())
}

/// TIMESTAMP as written before MySQL 5.6: the same, little-endian.
pub(crate) fn old_timestamp(reader: &mut Reader<'_>, out: &mut JsonText) -> Result<(), BadValue> {
    push_timestamp(reader.u32()?, 0, 0, out);
    Ok(())
}

fn push_timestamp(seconds: u32, micros: u32, fraction: u8, out: &mut JsonText) {
    let mut text = Text::new();
    if seconds == 0 && micros == 0 {
        push_date(&mut text, 0, 0, 0);
        text.push(b' ');
        push_clock(&mut text, 0, 0, 0);
    } else {
        let (year, month, day) = civil(seconds / 86_400);
        let second = seconds % 86_400;
        push_date(&mut text, year, month, day);
        text.push(b' ');
        push_clock(&mut text, second / 3600, second / 60 % 60, second % 60);
    }
    push_fraction(&mut text, micros, fraction);
    quote(&text, out);
}

/// TIME: 24 bits, big-endian, offset by half their range, with the fraction behind as one number.
pub(crate) fn time(
    reader: &mut Reader<'_>,
    fraction: u8,
    out: &mut JsonText,
) -> Result<(), BadValue> {
    let bytes = fraction_bytes(fraction)?;
    let bits = 24 + 8 * bytes;
    let packed = reader.uint_be(3 + bytes)? as i64 - (1_i64 << (bits - 1));
    let magnitude = packed.unsigned_abs();
    let micros = (magnitude & ((1 << (8 * bytes)) - 1)) as u32 * scale(bytes);
    let clock = (magnitude >> (8 * bytes)) as u32;
    let mut text = Text::new();
    if packed < 0 {
        text.push(b'-');
    }
    push_time(&mut text, clock >> 12 & 0x3ff, clock >> 6 & 63, clock & 63);
    push_fraction(&mut text, micros, fraction);
    quote(&text, out);
    Ok(())
}

/// TIME as written before MySQL 5.6: HHMMSS as a decimal number of 24 bits with sign.
pub(crate) fn old_time(reader: &mut Reader<'_>, out: &mut JsonText) -> Result<(), BadValue> {
    let packed = (reader.u24()? << 8) as i32 >> 8;
    let number = packed.unsigned_abs();
    let mut text = Text::new();
    if packed < 0 {
        text.push(b'-');
    }
    push_time(&mut text, number / 10_000, number / 100 % 100, number % 100);
    quote(&text, out);
    Ok(())
}

/// DATETIME as written before MySQL 5.6: YYYYMMDDHHMMSS as a decimal number of 64 bits.
pub(crate) fn old_datetime(reader: &mut Reader<'_>, out: &mut JsonText) -> Result<(), BadValue> {
    let number = reader.u64()?;
    let (date, clock) = (number / 1_000_000, (number % 1_000_000) as u32);
    let date = u32::try_from(date)
        .ok()
        .filter(|date| *date <= 99_999_999)
        .ok_or(BadValue("it is no date"))?;
    let mut text = Text::new();
    push_date(&mut text, date / 10_000, date / 100 % 100, date % 100);
    text.push(b' ');
    push_clock(&mut text, clock / 10_000, clock / 100 % 100, clock % 100);
    quote(&text, out);
    Ok(())
}

/// Values inside a MySQL JSON document: packed in 64 bits with six digits of fraction.
pub(super) fn packed_time(packed: i64, out: &mut JsonText) {
    let magnitude = packed.unsigned_abs();
    let clock = (magnitude >> 24) as u32;
    let mut text = Text::new();
    if packed < 0 {
        text.push(b'-');
    }
    push_time(&mut text, clock >> 12 & 0x3ff, clock >> 6 & 63, clock & 63);
    push_fraction(&mut text, magnitude as u32 & 0xff_ffff, 6);
    quote(&text, out);
}

/// As [`packed_time`], for DATE, DATETIME and TIMESTAMP.
pub(super) fn packed_datetime(packed: i64, only_date: bool, out: &mut JsonText) {
    let magnitude = packed.unsigned_abs();
    let mut text = Text::new();
    if only_date {
        let date = magnitude >> 41;
        let months = (date >> 5) as u32;
        push_date(&mut text, months / 13, months % 13, date as u32 & 31);
    } else {
        push_packed_datetime(&mut text, magnitude >> 24);
        push_fraction(&mut text, magnitude as u32 & 0xff_ffff, 6);
    }
    quote(&text, out);
}

fn fraction_bytes(fraction: u8) -> Result<usize, BadValue> {
    if fraction > 6 {
        return Err(BadValue("its fraction has more than 6 digits"));
    }
    Ok(usize::from(fraction).div_ceil(2))
}

/// Microseconds in one unit of a fraction of so many bytes.
const fn scale(bytes: usize) -> u32 {
    match bytes {
        1 => 10_000,
        2 => 100,
        _ => 1,
    }
}

fn read_fraction(reader: &mut Reader<'_>, fraction: u8) -> Result<u32, BadValue> {
    let bytes = fraction_bytes(fraction)?;
    Ok(reader.uint_be(bytes)? as u32 * scale(bytes))
}

#[inline]
fn push_date(text: &mut Text, year: u32, month: u32, day: u32) {
    let ([y1, y2], [y3, y4]) = (two_digits(year / 100), two_digits(year));
    let ([m1, m2], [d1, d2]) = (two_digits(month), two_digits(day));
    text.push_some([y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2], 10);
}

fn push_time(text: &mut Text, hour: u32, minute: u32, second: u32) {
    if hour > 99 {
        text.push_digits(hour / 100, 1);
    }
    push_clock(text, hour, minute, second);
}

#[inline]
fn push_clock(text: &mut Text, hour: u32, minute: u32, second: u32) {
    let ([h1, h2], [m1, m2]) = (two_digits(hour), two_digits(minute));
    let [s1, s2] = two_digits(second);
    text.push_some([h1, h2, b':', m1, m2, b':', s1, s2], 8);
}

#[inline]
fn push_fraction(text: &mut Text, micros: u32, digits: u8) {
    if digits > 0 {
        let ([f1, f2], [f3, f4]) = (two_digits(micros / 10_000), two_digits(micros / 100));
        let [f5, f6] = two_digits(micros);
        text.push_some([b'.', f1, f2, f3, f4, f5, f6], 1 + usize::from(digits));
    }
}

#[inline]
fn quote(text: &Text, out: &mut JsonText) {
    out.push_quoted(text.as_bytes());
}

/// Year, month and day of a day since 1970, by the Gregorian calendar (H. Hinnant's algorithm over
/// eras of 400 years that begin in March).
const fn civil(days: u32) -> (u32, u32, u32) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + (month <= 2) as u32;
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Decode = fn(&mut Reader<'_>, u8, &mut JsonText) -> Result<(), BadValue>;

    fn text(decode: Decode, bytes: &[u8], fraction: u8) -> String {
        let mut out = JsonText::default();
        let mut reader = Reader::new(bytes);
        decode(&mut reader, fraction, &mut out).unwrap();
        assert!(reader.is_empty());
        out.as_str().trim_matches('"').to_owned()
    }

    #[test]
    fn times_at_their_edges() {
        for (bytes, fraction, printed) in [
            (&[0x80, 0, 0][..], 0, "00:00:00"),
            (&[0x7f, 0x37, 0x08], 0, "-12:35:56"),
            (&[0xb4, 0x6e, 0xfb], 0, "838:59:59"),
            (&[0x4b, 0x91, 0x05], 0, "-838:59:59"),
            (&[0x7f, 0xff, 0xff, 0xff], 1, "-00:00:00.0"),
            (&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff], 6, "-00:00:00.000001"),
            (&[0x80, 0, 0, 0x01, 0x86, 0xa0], 6, "00:00:00.100000"),
            (&[0x80, 0x00, 0x01, 50], 2, "00:00:01.50"),
        ] {
            assert_eq!(text(time, bytes, fraction), printed);
        }
    }

    #[test]
    fn datetimes_and_timestamps_at_their_edges() {
        assert_eq!(text(datetime, &[0x80, 0, 0, 0, 0], 0), "0000-00-00 00:00:00");
        assert_eq!(
            text(datetime, &[0xfe, 0xf3, 0xff, 0x7e, 0xfb, 0x0f, 0x42, 0x3f], 6),
            "9999-12-31 23:59:59.999999"
        );
        assert_eq!(text(timestamp, &[0; 4], 0), "0000-00-00 00:00:00");
        assert_eq!(text(timestamp, &[0, 0, 0, 0, 0, 0], 4), "0000-00-00 00:00:00.0000");
        assert_eq!(text(timestamp, &[0, 0, 0, 1], 0), "1970-01-01 00:00:01");
        assert_eq!(text(timestamp, &[0x7f, 0xff, 0xff, 0xff], 0), "2038-01-19 03:14:07");
        assert_eq!(text(timestamp, &[0xff, 0xff, 0xff, 0xff], 0), "2106-02-07 06:28:15");
        assert_eq!(
            text(timestamp, &[0x65, 0xe0, 0x7d, 0x30, 0x1e, 0xd2], 3),
            "2024-02-29 12:48:48.789"
        );
    }

    #[test]
    fn dates_may_be_partial() {
        for (year, month, day) in [(0, 0, 0), (2020, 0, 0), (2020, 2, 0), (9999, 12, 31)] {
            let packed: u32 = year << 9 | month << 5 | day;
            let mut out = JsonText::default();
            date(&mut Reader::new(&packed.to_le_bytes()[..3]), &mut out).unwrap();
            assert_eq!(out.as_str(), format!("\"{year:04}-{month:02}-{day:02}\""));
        }
    }

    #[test]
    fn the_old_forms_are_decimal_numbers() {
        let mut out = JsonText::default();
        old_time(&mut Reader::new(&[0xa0, 0xe1, 0xfe]), &mut out).unwrap();
        old_datetime(&mut Reader::new(&20_240_229_123_456_u64.to_le_bytes()), &mut out).unwrap();
        old_timestamp(&mut Reader::new(&1_u32.to_le_bytes()), &mut out).unwrap();
        assert_eq!(out.as_str(), r#""-07:33:12""2024-02-29 12:34:56""1970-01-01 00:00:01""#);
        assert!(old_datetime(&mut Reader::new(&[0xff; 8]), &mut out).is_err());
    }

    #[test]
    fn every_day_of_the_calendar_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..=u32::MAX / 86_400 {
            assert_eq!(civil(days), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u32::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (year, month, day) = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (_, last) if last == length => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
        }
    }
}
