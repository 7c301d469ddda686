//! Bytes: BINARY, VARBINARY, BLOB, GEOMETRY, VECTOR, and MariaDB's UUID, INET4, INET6 and compressed
//! columns.

use e2e::server::ServerKind;
use e2e::types::{Column, Form, Table};

pub fn tables(kind: ServerKind) -> Vec<Table> {
    let mut tables = vec![Table::new("bytes", bytes()), Table::new("geometries", geometries())];
    match kind {
        ServerKind::MySql97 => tables.push(Table::new("vectors", vectors("STRING_TO_VECTOR"))),
        ServerKind::MariaDb1011 => {}
        ServerKind::MariaDb118 => tables.push(Table::new("vectors", vectors("VEC_FromText"))),
    }
    if !kind.is_mysql() {
        tables.push(Table::new("addresses", addresses()));
        tables.push(Table::new("compressed", compressed()));
    }
    tables
}

fn bytes() -> Vec<Column> {
    let all: Vec<u8> = (0..=255).collect();
    let all = format!("x'{}'", hex::encode(all));
    let edges = [
        "''",
        "x'00'",
        "x'0000ff00'",
        "x'ff'",
        "x'2020'",
        "x'610020'",
        &all,
        "'{\"$hex\":\"00\"}'",
        "REPEAT(x'00', 255)",
        "REPEAT(x'ab00', 40000)",
    ];
    let definitions = [
        "BINARY(1)",
        "BINARY(16)",
        "BINARY(255)",
        "VARBINARY(1)",
        "VARBINARY(255)",
        "VARBINARY(256)",
        "VARBINARY(5000)",
        "TINYBLOB",
        "BLOB",
        "MEDIUMBLOB",
        "LONGBLOB",
    ];
    definitions.map(|definition| Column::new(definition, definition, Form::Bytes, &edges)).into()
}

fn geometries() -> Vec<Column> {
    let shapes = [
        ("POINT", &["POINT(1 2)", "POINT(-1e300 4.9e-324)"][..]),
        ("LINESTRING", &["LINESTRING(0 0,1 1,2 -2)"]),
        ("POLYGON", &["POLYGON((0 0,10 0,10 10,0 10,0 0),(1 1,2 1,2 2,1 2,1 1))"]),
        ("MULTIPOINT", &["MULTIPOINT(1 1,2 2)"]),
        ("MULTILINESTRING", &["MULTILINESTRING((0 0,1 1),(2 2,3 3))"]),
        ("MULTIPOLYGON", &["MULTIPOLYGON(((0 0,1 0,1 1,0 0)),((5 5,6 5,6 6,5 5)))"]),
        (
            "GEOMETRYCOLLECTION",
            &[
                "GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1))",
                "GEOMETRYCOLLECTION(GEOMETRYCOLLECTION(POINT(0 0)))",
                "GEOMETRYCOLLECTION EMPTY",
            ],
        ),
    ];
    let made = |shape: &&str| format!("ST_GeomFromText('{shape}')");
    let column = |name: &str, edges| Column {
        name: name.into(),
        definition: name.into(),
        form: Form::Bytes,
        edges,
    };
    let mut any: Vec<String> =
        shapes.iter().flat_map(|(_, shapes)| shapes.iter().map(made)).collect();
    any.push("ST_GeomFromText('POINT(50 7)', 4326)".into());
    any.push("ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))', 4326)".into());
    let mut columns = vec![column("GEOMETRY", any)];
    columns.extend(
        shapes.iter().map(|(name, shapes)| column(name, shapes.iter().map(made).collect())),
    );
    // Behind them a text whose character set is found only if they are counted as the server does.
    let latin1 = Form::Text("latin1".into());
    columns.push(Column::new("t", "VARCHAR(20) CHARACTER SET latin1", latin1, &["'é'", "'€'"]));
    columns
}

fn vectors(from_text: &str) -> Vec<Column> {
    let column = |dimensions: usize| {
        let texts = ["3.4028235e38", "-1.1754944e-38", "0", "0.1"].map(|one| {
            let list = vec![one; dimensions].join(",");
            format!("{from_text}('[{list}]')")
        });
        Column {
            name: format!("v{dimensions}"),
            definition: format!("VECTOR({dimensions})"),
            form: Form::Bytes,
            edges: texts.into(),
        }
    };
    [1, 3, 63, 64, 1536].map(column).into()
}

fn addresses() -> Vec<Column> {
    let uuid = [
        "'00000000-0000-0000-0000-000000000000'",
        "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        "'00112233-4455-6677-8899-aabbccddee00'",
        "'123e4567-e89b-12d3-a456-426614174000'",
        "'123e4567-e89b-72d3-8000-000000000000'",
    ];
    let inet4 = ["'0.0.0.0'", "'255.255.255.255'", "'10.0.0.0'", "'192.0.2.32'"];
    let inet6 =
        ["'::'", "'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'", "'2001:db8::'", "'::ffff:192.0.2.1'"];
    vec![
        Column::new("u", "UUID", Form::Bytes, &uuid),
        Column::new("i4", "INET4", Form::Bytes, &inet4),
        Column::new("i6", "INET6", Form::Bytes, &inet6),
    ]
}

/// Short values are kept plain in such a column, long ones deflated.
fn compressed() -> Vec<Column> {
    let texts = [
        "''",
        "'short'",
        "REPEAT('inflate me ', 100)",
        "REPEAT('é€', 90)",
        "SHA2('noise', 512)",
        "REPEAT('x', 99)",
        "REPEAT('x', 100)",
        "REPEAT('a large one ', 10000)",
    ];
    let text = |name: &str, definition: &str, charset: &str| {
        Column::new(name, definition, Form::Text(charset.into()), &texts)
    };
    let bytes = [
        "''",
        "x'00'",
        "REPEAT(x'00', 101)",
        "REPEAT(x'00ff', 30000)",
        "UNHEX(SHA2('noise', 512))",
    ];
    let binary = |name: &str, definition: &str| Column::new(name, definition, Form::Bytes, &bytes);
    vec![
        text("v", "VARCHAR(100) COMPRESSED CHARACTER SET utf8mb4", "utf8mb4"),
        text("w", "VARCHAR(5000) COMPRESSED CHARACTER SET latin1", "latin1"),
        text("tt", "TINYTEXT COMPRESSED CHARACTER SET utf8mb4", "utf8mb4"),
        text("t", "TEXT COMPRESSED CHARACTER SET utf16", "utf16"),
        text("mt", "MEDIUMTEXT COMPRESSED CHARACTER SET latin1", "latin1"),
        text("lt", "LONGTEXT COMPRESSED CHARACTER SET utf8mb4", "utf8mb4"),
        binary("vb", "VARBINARY(200) COMPRESSED"),
        binary("wb", "VARBINARY(5000) COMPRESSED"),
        binary("tb", "TINYBLOB COMPRESSED"),
        binary("b", "BLOB COMPRESSED"),
        binary("lb", "LONGBLOB COMPRESSED"),
    ]
}
