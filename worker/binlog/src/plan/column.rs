//! One column of a plan.

use crds::position::Flavor;

use crate::schema::ColumnRecord;
use crate::table_map::{ColumnType, Optional, code, high_bit};
use crate::value::charset::Charset;
use crate::value::members::Members;
use crate::value::text;

/// A column and how its bytes become text.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// `,"name":`, escaped for JSON.
    pub(crate) label: String,
    pub(crate) kind: Kind,
    wire: ColumnType,
    collation: Option<u32>,
    invisible: bool,
}

/// How a value's bytes become JSON text. `prefix` is the number of bytes of its length.
#[derive(Debug)]
pub(crate) enum Kind {
    Integer {
        bytes: u8,
        unsigned: bool,
    },
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Bits {
        bytes: u8,
    },
    Year,
    Date,
    Time {
        fraction: u8,
    },
    DateTime {
        fraction: u8,
    },
    Timestamp {
        fraction: u8,
    },
    OldTime,
    OldDateTime,
    OldTimestamp,
    Text {
        prefix: u8,
        charset: Charset,
    },
    /// Bytes; fewer than `length` are filled up with zeros, which the server cuts off.
    Bytes {
        prefix: u8,
        length: u16,
    },
    /// MariaDB's COMPRESSED columns; bytes if there is no character set.
    Packed {
        prefix: u8,
        charset: Option<Charset>,
    },
    Enum {
        bytes: u8,
        members: Members,
    },
    Set {
        bytes: u8,
        members: Members,
    },
    Json {
        prefix: u8,
    },
}

/// Counters over the kinds of columns that optional fields list by themselves.
#[derive(Default)]
struct Counters {
    numeric: usize,
    character: usize,
    member: usize,
    enums: usize,
    sets: usize,
}

pub(super) fn compile(
    flavor: Flavor,
    types: &[ColumnType],
    optional: &Optional<'_>,
) -> Result<Vec<Column>, String> {
    let Some(names) = &optional.names else {
        return Err("its table map names no columns; run SET GLOBAL binlog_row_metadata=FULL on \
                    the source"
            .to_owned());
    };
    if names.len() != types.len() {
        return Err(format!("its table map names {} of {} columns", names.len(), types.len()));
    }
    let mut counters = Counters::default();
    let mut columns = Vec::with_capacity(types.len());
    for (index, (column_type, name)) in types.iter().zip(names).enumerate() {
        let label = format!(",{}:", text::json_str(name));
        let collation = counters.collation(flavor, column_type.code, optional);
        let kind = counters
            .kind(flavor, *column_type, collation, optional)
            .map_err(|problem| format!("column {name}: {problem}"))?;
        columns.push(Column {
            name: (*name).to_owned(),
            label,
            kind,
            wire: *column_type,
            collation,
            invisible: optional.visible.is_some_and(|visible| !high_bit(visible, index)),
        });
    }
    Ok(columns)
}

impl Counters {
    /// The column's collation, if it is of a kind that has one.
    fn collation(&mut self, flavor: Flavor, code: u8, optional: &Optional<'_>) -> Option<u32> {
        let (collations, counter) = match code {
            code::ENUM | code::SET => (&optional.member_collations, &mut self.member),
            code::STRING | code::VAR_STRING | code::VARCHAR | code::TINY_BLOB..=code::BLOB => {
                (&optional.collations, &mut self.character)
            }
            // MariaDB counts GEOMETRY among the columns with a character set, MySQL does not.
            code::BLOB_COMPRESSED | code::VARCHAR_COMPRESSED | code::GEOMETRY
                if flavor == Flavor::MariaDB =>
            {
                (&optional.collations, &mut self.character)
            }
            // MySQL counts VECTOR among them too, as the bytes it is.
            code::VECTOR if flavor == Flavor::MySQL => {
                self.character += 1;
                return None;
            }
            _ => return None,
        };
        let collation = collations.of(*counter);
        *counter += 1;
        collation
    }

    fn kind(
        &mut self,
        flavor: Flavor,
        column: ColumnType,
        collation: Option<u32>,
        optional: &Optional<'_>,
    ) -> Result<Kind, String> {
        let [first, second] = column.meta;
        let wide = u16::from_le_bytes(column.meta);
        let prefix = if wide > 255 { 2 } else { 1 };
        Ok(match column.code {
            code::TINY | code::SHORT | code::INT24 | code::LONG | code::LONGLONG => {
                let unsigned = self.unsigned(optional)?;
                Kind::Integer { bytes: integer_bytes(column.code), unsigned }
            }
            code::FLOAT | code::DOUBLE | code::NEWDECIMAL | code::YEAR => {
                self.numeric += 1;
                match column.code {
                    code::FLOAT => Kind::Float,
                    code::DOUBLE => Kind::Double,
                    code::YEAR => Kind::Year,
                    _ => Kind::Decimal { precision: first, scale: second },
                }
            }
            // Bits beyond the whole bytes, and whole bytes.
            code::BIT if first > 7 || second > 8 => {
                return Err(format!("a BIT of {second} bytes and {first} bits does not exist"));
            }
            code::BIT => Kind::Bits { bytes: second + u8::from(first > 0) },
            code::DATE | code::NEWDATE => Kind::Date,
            // MariaDB's form of before 10.1 may have a fraction; how long it is the table map does
            // not say.
            code::TIME | code::DATETIME | code::TIMESTAMP if flavor == Flavor::MariaDB => {
                return Err(OLD_TIMES.to_owned());
            }
            code::TIME => Kind::OldTime,
            code::DATETIME => Kind::OldDateTime,
            code::TIMESTAMP => Kind::OldTimestamp,
            code::TIME2 => Kind::Time { fraction: first },
            code::DATETIME2 => Kind::DateTime { fraction: first },
            code::TIMESTAMP2 => Kind::Timestamp { fraction: first },
            code::STRING => string(prefix, collation, wide)?,
            code::VARCHAR | code::VAR_STRING => string(prefix, collation, 0)?,
            code::TINY_BLOB..=code::BLOB => string(first, collation, 0)?,
            code::VECTOR | code::GEOMETRY => Kind::Bytes { prefix: first, length: 0 },
            code::JSON => Kind::Json { prefix: first },
            code::BLOB_COMPRESSED | code::VARCHAR_COMPRESSED => {
                let collation = collation.ok_or(NO_COLLATION)?;
                let charset = (!Charset::is_binary(collation)).then(|| Charset::of(collation));
                let blob = column.code == code::BLOB_COMPRESSED;
                Kind::Packed { prefix: if blob { first } else { prefix }, charset }
            }
            code::ENUM => {
                let members = members(optional.enums.get(self.enums), collation)?;
                self.enums += 1;
                Kind::Enum { bytes: first, members }
            }
            code::SET => {
                let members = members(optional.sets.get(self.sets), collation)?;
                self.sets += 1;
                Kind::Set { bytes: first, members }
            }
            unknown => return Err(format!("type {unknown} is not known here")),
        })
    }

    fn unsigned(&mut self, optional: &Optional<'_>) -> Result<bool, String> {
        let bitmap = optional.unsigned.ok_or("its sign is not in the table map")?;
        let unsigned = high_bit(bitmap, self.numeric);
        self.numeric += 1;
        Ok(unsigned)
    }
}

const NO_COLLATION: &str = "its character set is not in the table map; run SET GLOBAL \
                            binlog_row_metadata=FULL on the source";

const OLD_TIMES: &str = "it is kept in MariaDB's form of before 10.1, of which the binlog does not \
                         say how long it is; run SET GLOBAL mysql56_temporal_format=ON and ALTER \
                         TABLE ... FORCE on the source";

const fn integer_bytes(code: u8) -> u8 {
    match code {
        code::TINY => 1,
        code::SHORT => 2,
        code::INT24 => 3,
        code::LONG => 4,
        _ => 8,
    }
}

fn string(prefix: u8, collation: Option<u32>, length: u16) -> Result<Kind, String> {
    let collation = collation.ok_or(NO_COLLATION)?;
    Ok(if Charset::is_binary(collation) {
        Kind::Bytes { prefix, length }
    } else {
        Kind::Text { prefix, charset: Charset::of(collation) }
    })
}

fn members(names: Option<&Vec<&[u8]>>, collation: Option<u32>) -> Result<Members, String> {
    let names = names.ok_or(
        "its members are not in the table map; run SET GLOBAL binlog_row_metadata=FULL on the \
         source",
    )?;
    Ok(Members::new(names, Charset::of(collation.ok_or(NO_COLLATION)?)))
}

fn type_name(column: ColumnType, kind: &Kind) -> String {
    let [first, second] = column.meta;
    let wide = u16::from_le_bytes(column.meta);
    let fraction = |name: &str, digits: u8| {
        if digits == 0 { name.to_owned() } else { format!("{name}({digits})") }
    };
    let name = match (column.code, kind) {
        (_, Kind::Integer { bytes, unsigned }) => {
            let name = match bytes {
                1 => "tinyint",
                2 => "smallint",
                3 => "mediumint",
                4 => "int",
                _ => "bigint",
            };
            return format!("{name}{}", if *unsigned { " unsigned" } else { "" });
        }
        (_, Kind::Decimal { .. }) => return format!("decimal({first},{second})"),
        (_, Kind::Bits { .. }) => {
            return format!("bit({})", u16::from(second) * 8 + u16::from(first));
        }
        (_, Kind::Time { fraction: digits }) => return fraction("time", *digits),
        (_, Kind::DateTime { fraction: digits }) => return fraction("datetime", *digits),
        (_, Kind::Timestamp { fraction: digits }) => return fraction("timestamp", *digits),
        (code::STRING, Kind::Bytes { .. }) => return format!("binary({wide})"),
        (_, Kind::Float) => "float",
        (_, Kind::Double) => "double",
        (_, Kind::Year) => "year",
        (_, Kind::Date) => "date",
        (_, Kind::OldTime) => "time",
        (_, Kind::OldDateTime) => "datetime",
        (_, Kind::OldTimestamp) => "timestamp",
        (_, Kind::Enum { .. }) => "enum",
        (_, Kind::Set { .. }) => "set",
        (_, Kind::Json { .. }) => "json",
        (code::VECTOR, _) => "vector",
        (code::GEOMETRY, _) => "geometry",
        (code::STRING, _) => "char",
        (code::VARCHAR | code::VAR_STRING, Kind::Bytes { .. }) => "varbinary",
        (code::VARCHAR | code::VAR_STRING, _) => "varchar",
        (code::VARCHAR_COMPRESSED, Kind::Packed { charset: None, .. }) => "varbinary compressed",
        (code::VARCHAR_COMPRESSED, _) => "varchar compressed",
        (code::BLOB_COMPRESSED, Kind::Packed { charset: None, .. }) => "blob compressed",
        (code::BLOB_COMPRESSED, _) => "text compressed",
        (_, kind) => return sized_blob(first, matches!(kind, Kind::Bytes { .. })),
    };
    name.to_owned()
}

fn sized_blob(prefix: u8, bytes: bool) -> String {
    let size = match prefix {
        1 => "tiny",
        3 => "medium",
        4 => "long",
        _ => "",
    };
    format!("{size}{}", if bytes { "blob" } else { "text" })
}

impl Column {
    /// The type in words.
    pub(crate) fn type_name(&self) -> String {
        type_name(self.wire, &self.kind)
    }

    /// The label of the first column: without the comma.
    #[inline]
    pub(crate) fn label_alone(&self) -> &str {
        self.label.get(1..).unwrap_or_default()
    }

    pub(super) fn record(&self) -> ColumnRecord {
        let members = match &self.kind {
            Kind::Enum { members, .. } | Kind::Set { members, .. } => members.names.as_slice(),
            _ => &[],
        };
        ColumnRecord {
            name: self.name.clone(),
            type_name: self.type_name(),
            nullable: self.wire.nullable,
            charset: self.collation.map(|id| Charset::of(id).name().to_owned()),
            collation: self.collation,
            members: members.to_vec(),
            invisible: self.invisible,
        }
    }
}
