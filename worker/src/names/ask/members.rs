//! Members of ENUM and SET, out of the type's text and into the column's own character set.

use source::{Connection, SourceError};

/// Members that one question converts.
const AT_ONCE: usize = 500;

/// The members in the column's character set; `None`: the text does not show them exactly.
pub(super) async fn of(
    connection: &mut Connection,
    column_type: &str,
    charset: &str,
) -> Result<Option<Vec<Vec<u8>>>, SourceError> {
    let Some(members) = read(column_type).filter(|members| are_exact(members, charset)) else {
        return Ok(None);
    };
    if matches!(charset, "utf8" | "utf8mb3" | "utf8mb4" | "ascii" | "binary") {
        return Ok(Some(members.into_iter().map(String::into_bytes).collect()));
    }
    let mut converted = Vec::with_capacity(members.len());
    for some in members.chunks(AT_ONCE) {
        let cell = |member: &String| {
            format!("HEX(CONVERT(_utf8mb4 X'{}' USING {charset}))", hex::encode(member))
        };
        let cells: Vec<String> = some.iter().map(cell).collect();
        let rows = connection.query(&format!("SELECT {}", cells.join(","))).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        for at in 0..some.len() {
            let Some(bytes) = row.text_at(at).and_then(|text| hex::decode(text).ok()) else {
                return Ok(None);
            };
            converted.push(bytes);
        }
    }
    Ok(Some(converted))
}

/// Whether the server shows such members as they are. What its three-byte Unicode cannot show, and bytes that are
/// no character, become a question mark: only in these sets there are none.
fn are_exact(members: &[String], charset: &str) -> bool {
    let plain = charset.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let exact = |member: &String| match charset {
        "utf8" | "utf8mb3" | "latin1" => true,
        "binary" | "ascii" => member.is_ascii() && !member.contains('?'),
        _ => !member.contains('?'),
    };
    plain && !charset.is_empty() && members.iter().all(exact)
}

/// Takes `enum('a','b''c')` apart.
fn read(column_type: &str) -> Option<Vec<String>> {
    let list = column_type.strip_prefix("enum(").or_else(|| column_type.strip_prefix("set("))?;
    let mut rest = list.strip_suffix(')')?.chars().peekable();
    let mut members = Vec::new();
    loop {
        if rest.next()? != '\'' {
            return None;
        }
        let mut member = String::new();
        loop {
            match rest.next()? {
                '\'' if rest.peek() == Some(&'\'') => member.extend(rest.next()),
                '\'' => break,
                '\\' => member.push(match rest.next()? {
                    'n' => '\n',
                    'r' => '\r',
                    '0' => '\0',
                    same @ ('\\' | '\'' | '"') => same,
                    _ => return None,
                }),
                plain => member.push(plain),
            }
        }
        members.push(member);
        match rest.next() {
            None => return Some(members),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_as_the_server_writes_them() {
        let read = |text| read(text).unwrap_or_default();
        assert_eq!(
            read("enum('a','b''c','d\\\\e','é','x,y','')"),
            ["a", "b'c", "d\\e", "é", "x,y", ""]
        );
        assert_eq!(read("set('p)','q')"), ["p)", "q"]);
        for odd in ["enum(", "enum('a'", "enum('a' 'b')", "enum('a\\q')", "int", "enum('a') x"] {
            assert_eq!(read(odd), [""; 0], "{odd}");
        }
    }

    #[test]
    fn a_member_that_may_be_another_one_is_refused() {
        let exact = |member: &str, charset| are_exact(&[member.to_owned()], charset);
        assert!(exact("why?", "latin1") && exact("é", "latin1") && exact("é", "utf8mb4"));
        assert!(!exact("?", "utf8mb4") && !exact("?", "sjis") && !exact("é", "binary"));
        assert!(!exact("a", "") && !exact("a", "x;y"));
    }
}
