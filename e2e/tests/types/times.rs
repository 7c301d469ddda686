//! DATE, TIME, DATETIME, TIMESTAMP with every number of digits behind the second, and YEAR.

use e2e::server::ServerKind;
use e2e::types::{Column, Form, Table};

const DATES: [&str; 10] = [
    "'0000-00-00'",
    "'0000-01-01'",
    "'0001-01-01'",
    "'1000-01-01'",
    "'2020-00-00'",
    "'2020-02-00'",
    "'2024-02-29'",
    "'2023-02-30'",
    "'1969-12-31'",
    "'9999-12-31'",
];

const TIMES: [&str; 13] = [
    "'00:00:00'",
    "'-838:59:59'",
    "'838:59:59'",
    "'838:59:58.999999'",
    "'-838:59:58.999999'",
    "'-00:00:01'",
    "'-00:00:00.000001'",
    "'-00:00:00.9'",
    "'23:59:59.654321'",
    "'-12:34:56.054321'",
    "'100:00:00.5'",
    "'-100:00:00.5'",
    "'00:00:00.1'",
];

const DATETIMES: [&str; 10] = [
    "'0000-00-00 00:00:00'",
    "'0000-01-01 00:00:00.1'",
    "'0001-01-01 00:00:00.000001'",
    "'1000-01-01 00:00:00'",
    "'2020-00-00 01:02:03.5'",
    "'2024-02-29 12:34:56.123456'",
    "'2023-02-31 23:59:59.05'",
    "'1969-12-31 23:59:59.999999'",
    "'9999-12-31 23:59:59'",
    "'9999-12-31 23:59:59.499999'",
];

/// What a server cannot keep it keeps as zero: it says so itself.
const TIMESTAMPS: [&str; 12] = [
    "'0000-00-00 00:00:00'",
    "'1970-01-01 00:00:00.000001'",
    "'1970-01-01 00:00:01'",
    "'1970-01-01 00:00:01.999999'",
    "'2001-09-09 01:46:40.054321'",
    "'2024-02-29 12:34:56.123456'",
    "'2038-01-19 03:14:07'",
    "'2038-01-19 03:14:07.499999'",
    "'2038-01-19 03:14:08'",
    "'2100-02-28 23:59:59.5'",
    "'2106-02-07 06:28:15'",
    "'2106-02-07 06:28:15.499999'",
];

pub fn tables(kind: ServerKind) -> Vec<Table> {
    let of = |name: &str, edges: &[&str]| -> Vec<Column> {
        let column = |digits: u8| {
            let definition = format!("{name}({digits}) NULL");
            Column::new(&format!("f{digits}"), &definition, Form::Printed, edges)
        };
        (0..=6).map(column).collect()
    };
    let years = ["0", "1901", "2155", "1970", "'0'", "'69'", "2024"];
    let mut tables = vec![
        Table::new("dates", vec![Column::new("d", "DATE", Form::Printed, &DATES)]),
        Table::new("years", vec![Column::new("y", "YEAR", Form::Unsigned, &years)]),
        Table::new("times", of("TIME", &TIMES)),
        Table::new("datetimes", of("DATETIME", &DATETIMES)),
    ];
    let mut timestamps = of("TIMESTAMP", &TIMESTAMPS);
    if kind == ServerKind::MariaDb118 {
        // The last second there is.
        timestamps[6].edges.push("'2106-02-07 06:28:15.999999'".into());
    }
    tables.push(Table::new("timestamps", timestamps));
    tables
}
