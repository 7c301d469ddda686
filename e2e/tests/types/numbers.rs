//! Whole numbers, BIT, DECIMAL of every precision, FLOAT and DOUBLE.

use e2e::types::{Column, Form, Table};

pub fn tables() -> Vec<Table> {
    vec![
        Table::new("integers", integers()),
        Table::new("bits", bits()),
        Table::new("decimals", decimals()),
        Table::new("reals", reals()),
    ]
}

fn column(name: &str, definition: &str, form: Form, edges: Vec<String>) -> Column {
    Column { name: name.into(), definition: definition.into(), form, edges }
}

fn integers() -> Vec<Column> {
    let mut columns = Vec::new();
    for (name, bits) in
        [("TINYINT", 8), ("SMALLINT", 16), ("MEDIUMINT", 24), ("INT", 32), ("BIGINT", 64)]
    {
        let top = 1_i128 << bits;
        let texts = |values: [i128; 6]| values.iter().map(i128::to_string).collect();
        let signed = texts([-top / 2, top / 2 - 1, 0, -1, 1, top / 4]);
        let unsigned = texts([0, top - 1, top / 2, top / 2 - 1, 1, 10]);
        columns.push(column(name, name, Form::Number, signed));
        let definition = format!("{name} UNSIGNED");
        columns.push(column(&definition, &definition, Form::Number, unsigned));
    }
    columns.push(Column::new("BOOLEAN", "BOOLEAN", Form::Number, &["TRUE", "FALSE", "-128"]));
    let edges = ["0", "42", "4294967295"];
    columns.push(Column::new("filled", "INT(12) ZEROFILL", Form::Unsigned, &edges));
    columns
}

/// BIT of every width.
fn bits() -> Vec<Column> {
    let bits = |width: u32| {
        let ones = u64::MAX >> (64 - width);
        let edges = [ones, 0, 1, 1 << (width - 1), ones & 0x5555_5555_5555_5555];
        let edges = edges.iter().map(u64::to_string).collect();
        column(&format!("b{width}"), &format!("BIT({width})"), Form::Unsigned, edges)
    };
    (1..=64).map(bits).collect()
}

/// DECIMAL of every precision, with no digit, about half of its digits and as many as can be behind the
/// point.
fn decimals() -> Vec<Column> {
    let mut columns = Vec::new();
    for precision in 1..=65_usize {
        let mut scales = vec![0, (precision / 2).min(30), precision.min(30)];
        scales.dedup();
        for scale in scales {
            let (whole, fraction) = ("9".repeat(precision - scale), "9".repeat(scale));
            let most = format!("{whole}.{fraction}");
            let least = format!("0.{}1", "0".repeat(scale.saturating_sub(1)));
            let digits: String = ('1'..='9').cycle().take(precision).collect();
            let (left, right) = digits.split_at(precision - scale);
            let edges = [
                most.clone(),
                "0".into(),
                format!("-{most}"),
                least.clone(),
                format!("-{least}"),
                format!("{left}.{right}"),
                format!("-{left}.{right}"),
            ];
            let edges = edges.iter().map(|edge| format!("'{edge}'")).collect();
            let name = format!("d{precision}_{scale}");
            let definition = format!("DECIMAL({precision},{scale})");
            columns.push(column(&name, &definition, Form::Printed, edges));
        }
    }
    let edges = ["0", "99999999.99", "-1"];
    columns.push(Column::new("u", "DECIMAL(10,2) UNSIGNED", Form::Printed, &edges));
    columns
}

fn reals() -> Vec<Column> {
    let float = [
        "3.4028234663852886e38",
        "-3.4028234663852886e38",
        "1.1754943508222875e-38",
        "1.4e-45",
        "-1.4e-45",
        "1e-40",
        "0",
        "-0e0",
        "0.1",
        "-16777217",
        "1e10",
        "3.1415927",
    ];
    let double = [
        "1.7976931348623157e308",
        "-1.7976931348623157e308",
        "2.2250738585072014e-308",
        "4.9e-324",
        "-4.9e-324",
        "1e-310",
        "0",
        "-0e0",
        "0.1",
        "9007199254740993",
        "1e15",
        "1e16",
        "1e17",
        "123456789.12345679",
        "-2.5e-7",
    ];
    vec![
        Column::new("f", "FLOAT", Form::Float, &float),
        Column::new("d", "DOUBLE", Form::Double, &double),
        Column::new("fu", "FLOAT UNSIGNED", Form::Float, &float),
        Column::new("fd", "FLOAT(10,3)", Form::Float, &["0.1", "-9999999.999", "1234.5678"]),
        Column::new("dd", "DOUBLE(20,5)", Form::Double, &["0.1", "-99999999999.12345", "3"]),
    ]
}
