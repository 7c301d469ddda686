//! ENUM and SET: invalid values, more than 255 members, 64 bits, members that look alike, members of
//! every character set.

use e2e::Result;
use e2e::types::{Column, Form, Session, Table};

use super::charsets;

pub async fn tables(session: &mut Session) -> Result<Vec<Table>> {
    let mut columns = Vec::new();
    for (charset, _) in charsets::names(session).await? {
        let letters: Vec<_> = charsets::letters(session, &charset)
            .await?
            .into_iter()
            .map(|letter| format!("'{letter}'"))
            .collect();
        // A binary collation: in others two of them may be the same.
        let members =
            format!("({}) CHARACTER SET {charset} COLLATE {charset}_bin", letters.join(","));
        let of = |name: &str, definition: String, edges: &[&str]| {
            Column::new(name, &definition, Form::Member(charset.clone()), edges)
        };
        columns.push(of(&format!("e_{charset}"), format!("ENUM{members}"), &["0", "1", "2", "3"]));
        columns.push(of(
            &format!("s_{charset}"),
            format!("SET{members}"),
            &["0", "1", "3", "7", "4"],
        ));
    }
    Ok(vec![Table::new("members_of_charsets", columns), Table::new("members", members())])
}

fn members() -> Vec<Column> {
    let list =
        |count: usize| (1..=count).map(|nth| format!("'m{nth}'")).collect::<Vec<_>>().join(",");
    let latin1 = |name: &str, definition: String, edges: &[&str]| {
        let definition = format!("{definition} CHARACTER SET latin1 COLLATE latin1_bin");
        Column::new(name, &definition, Form::Member("latin1".into()), edges)
    };
    let mut columns = vec![
        latin1("e255", format!("ENUM({})", list(255)), &["0", "1", "255", "'m2'", "'none'"]),
        latin1("e256", format!("ENUM({})", list(256)), &["0", "1", "255", "256"]),
        latin1("e3000", format!("ENUM({})", list(3000)), &["0", "3000", "256", "257"]),
        latin1(
            "odd",
            r#"ENUM('a,b','q"uote','back\\slash','ta\tb','it''s',' lead')"#.into(),
            &["1", "2", "3", "4", "5", "6"],
        ),
        latin1("empty", "ENUM('','a')".into(), &["0", "1", "2"]),
        latin1("twice", "ENUM('a','A','a')".into(), &["0", "1", "2", "3"]),
        latin1(
            "odd_set",
            r#"SET('q"uote','back\\slash',' lead')"#.into(),
            &["1", "2", "4", "7", "0"],
        ),
        latin1("empty_set", "SET('','a')".into(), &["0", "1", "2", "3"]),
        latin1("twice_set", "SET('a','b','a')".into(), &["0", "1", "2", "3", "4", "5", "6", "7"]),
        Column::new(
            "e_binary",
            "ENUM('a','é') CHARACTER SET binary",
            Form::Member("binary".into()),
            &["0", "1", "2"],
        ),
        Column::new(
            "s_binary",
            "SET('a','é') CHARACTER SET binary",
            Form::Member("binary".into()),
            &["0", "1", "2", "3"],
        ),
    ];
    for count in [1, 7, 8, 9, 16, 17, 24, 25, 32, 33, 40, 56, 63, 64] {
        let top = u64::MAX >> (64 - count);
        let edges = [top.to_string(), "0".into(), (1_u64 << (count - 1)).to_string(), "1".into()];
        let edges: Vec<_> = edges.iter().map(String::as_str).collect();
        columns.push(latin1(&format!("s{count}"), format!("SET({})", list(count)), &edges));
    }
    columns
}
