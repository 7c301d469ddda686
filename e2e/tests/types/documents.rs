//! JSON: MySQL's binary form with every inner type, MariaDB's text.

use e2e::server::ServerKind;
use e2e::types::{Column, Form, Table};

/// What both servers keep.
const ANY: [&str; 13] = [
    "'null'",
    "'true'",
    "'[]'",
    "'{}'",
    "'\"\"'",
    "'{\"\": {\"\": []}}'",
    r#"'["q\\"\\\\\\u0001\\n\\u00e9\\ud83d\\ude00é😀"]'"#,
    "'[0, -1, 127, 32767, 32768, 65535, 65536, 2147483647, -2147483648, 4294967295, 4294967296]'",
    "'[9223372036854775807, -9223372036854775808, 18446744073709551615, 1e300, -4.9e-324, 0.1]'",
    "CONCAT(REPEAT('[', 31), '1', REPEAT(']', 31))",
    "CONCAT('{\"', REPEAT('k', 60000), '\": \"', REPEAT('v', 70000), '\"}')",
    "CONCAT('[', REPEAT('{\"key\": [1, \"two\", 3.5, null, false]}, ', 5000), '0]')",
    r#"'{"$hex": "00", "$charset": "x"}'"#,
];

/// What only MySQL's binary form has a type for.
const MYSQL: [&str; 22] = [
    "JSON_ARRAY(CAST('838:59:59.000001' AS TIME(6)), CAST('-838:59:59' AS TIME), CAST('-00:00:00.5' AS TIME(1)))",
    "JSON_ARRAY(CAST('2024-02-29' AS DATE), CAST('9999-12-31 23:59:59.999999' AS DATETIME(6)))",
    "JSON_ARRAY(TIMESTAMP'2038-01-19 03:14:07.5', DATE'1000-01-01', TIMESTAMP'0001-01-01 00:00:00')",
    "JSON_ARRAY(DATE'0000-00-00', DATE'2020-00-00', TIMESTAMP'0000-00-00 00:00:00')",
    "JSON_ARRAY(CAST(1.50 AS DECIMAL(5,2)), CAST(-0.00 AS DECIMAL(5,2)), CAST(-9 AS DECIMAL(65,30)))",
    "JSON_ARRAY(CAST('99999999999999999999999999999999999.999999999999999999999999999999' AS DECIMAL(65,30)))",
    "JSON_ARRAY(18446744073709551616, -9223372036854775809, 0.000000000000000000000000000001)",
    "JSON_ARRAY(1e0, -0e0, 1e15, 1e16, 1e17, 123456789.125, 1.7976931348623157e308, 2.2250738585072014e-308)",
    "JSON_ARRAY(CAST(x'00ff' AS BINARY), CAST('' AS BINARY), b'101', CAST(REPEAT('x', 56) AS BINARY))",
    "JSON_ARRAY(CAST(REPEAT('x', 57) AS BINARY), CAST(REPEAT('x', 58) AS BINARY), CAST(REPEAT('x', 70000) AS BINARY))",
    "JSON_ARRAY(CAST(2024 AS YEAR), TRUE, FALSE, NULL)",
    "JSON_OBJECT('p', POINT(1, 2), 'bytes', UNHEX('0001'), 'n', NULL)",
    "CAST(DATE'2024-02-29' AS JSON)",
    "CAST(CAST('-12:34:56.5' AS TIME(6)) AS JSON)",
    "CAST(1.50 AS JSON)",
    "CAST(18446744073709551615 AS JSON)",
    "CAST(CAST('x' AS BINARY) AS JSON)",
    "CONCAT(REPEAT('[', 99), '{\"a\": 1}', REPEAT(']', 99))",
    "CONCAT(REPEAT('{\"a\": ', 100), '\"x\"', REPEAT('}', 100))",
    "CONCAT('{\"', REPEAT('k', 65535), '\": 1, \"', REPEAT('l', 65535), '\": 70000}')",
    r#"'{"$json": null}'"#,
    r#"'{"$json": {"$json": 1}}'"#,
];

pub fn tables(kind: ServerKind) -> Vec<Table> {
    let mut edges: Vec<&str> = ANY.into();
    let form = if kind.is_mysql() {
        edges.extend(MYSQL);
        Form::Json
    } else {
        Form::Text("utf8mb4".into())
    };
    let document = Column::new("document", "JSON", form.clone(), &edges);
    let second = Column::new("second", "JSON", form, &["'[1]'", "'{\"a\": 2}'"]);
    vec![Table::new("documents", vec![document, second])]
}
