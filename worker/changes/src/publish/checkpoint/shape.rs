//! Actions as rows of a checkpoint: one column per kind of action, all null but one.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, MapBuilder, MapFieldNames, StringBuilder};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray, StructArray,
    new_null_array,
};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef};

use super::super::action::{Add, MetaData, Protocol, Txn};
use super::Heads;

pub(super) const TXN: &str = "txn";
pub(super) const ADD: &str = "add";
const REMOVE: &str = "remove";
pub(super) const METADATA: &str = "metaData";
pub(super) const PROTOCOL: &str = "protocol";

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn long(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

fn int(name: &str) -> Field {
    Field::new(name, DataType::Int32, true)
}

fn boolean(name: &str) -> Field {
    Field::new(name, DataType::Boolean, true)
}

fn texts(name: &str) -> Field {
    Field::new(name, DataType::List(Arc::new(text("element"))), true)
}

fn map(name: &str) -> Field {
    let pair = Fields::from(vec![Field::new("key", DataType::Utf8, false), text("value")]);
    let pairs = Field::new("key_value", DataType::Struct(pair), false);
    Field::new(name, DataType::Map(Arc::new(pairs), false), true)
}

fn txn_fields() -> Fields {
    Fields::from(vec![text("appId"), long("version"), long("lastUpdated")])
}

fn add_fields() -> Fields {
    Fields::from(vec![
        text("path"),
        map("partitionValues"),
        long("size"),
        long("modificationTime"),
        boolean("dataChange"),
        text("stats"),
    ])
}

fn remove_fields() -> Fields {
    Fields::from(vec![text("path"), long("deletionTimestamp"), boolean("dataChange")])
}

fn format_fields() -> Fields {
    Fields::from(vec![text("provider"), map("options")])
}

fn metadata_fields() -> Fields {
    Fields::from(vec![
        text("id"),
        text("name"),
        text("description"),
        Field::new("format", DataType::Struct(format_fields()), true),
        text("schemaString"),
        texts("partitionColumns"),
        map("configuration"),
        long("createdTime"),
    ])
}

fn protocol_fields() -> Fields {
    Fields::from(vec![
        int("minReaderVersion"),
        int("minWriterVersion"),
        texts("readerFeatures"),
        texts("writerFeatures"),
    ])
}

/// Columns of a checkpoint. `remove` is there, always null, because readers look for it.
pub(super) fn schema() -> SchemaRef {
    let column = |name: &str, fields| Field::new(name, DataType::Struct(fields), true);
    Arc::new(Schema::new(vec![
        column(TXN, txn_fields()),
        column(ADD, add_fields()),
        column(REMOVE, remove_fields()),
        column(METADATA, metadata_fields()),
        column(PROTOCOL, protocol_fields()),
    ]))
}

/// Protocol, metadata and transactions, one batch per kind.
pub(super) fn heads(heads: &Heads) -> Result<Vec<RecordBatch>, ArrowError> {
    let Heads { protocol, metadata, txns } = heads;
    let protocols: Vec<&Protocol> = protocol.iter().collect();
    let metadatas: Vec<&MetaData> = metadata.iter().collect();
    let txns: Vec<&Txn> = txns.values().collect();
    Ok(vec![
        rows_of(PROTOCOL, protocol_column(&protocols)?)?,
        rows_of(METADATA, metadata_column(&metadatas)?)?,
        rows_of(TXN, txn_column(&txns)?)?,
    ])
}

/// Files of the table.
pub(super) fn adds(adds: &[&Add]) -> Result<RecordBatch, ArrowError> {
    let column = StructArray::try_new(
        add_fields(),
        vec![
            strings(adds.iter().map(|add| Some(add.path.as_str()))),
            maps(adds.iter().map(|add| {
                add.partition_values.iter().map(|(key, value)| (key.as_str(), value.as_deref()))
            }))?,
            longs(adds.iter().map(|add| Some(add.size))),
            longs(adds.iter().map(|add| Some(add.modification_time))),
            Arc::new(adds.iter().map(|add| Some(add.data_change)).collect::<BooleanArray>()),
            strings(adds.iter().map(|add| add.stats.as_deref())),
        ],
        None,
    )?;
    rows_of(ADD, column)
}

fn protocol_column(rows: &[&Protocol]) -> Result<StructArray, ArrowError> {
    StructArray::try_new(
        protocol_fields(),
        vec![
            ints(rows.iter().map(|row| row.min_reader_version)),
            ints(rows.iter().map(|row| row.min_writer_version)),
            lists(rows.iter().map(|row| row.reader_features.as_ref())),
            lists(rows.iter().map(|row| row.writer_features.as_ref())),
        ],
        None,
    )
}

fn metadata_column(rows: &[&MetaData]) -> Result<StructArray, ArrowError> {
    let format = StructArray::try_new(
        format_fields(),
        vec![
            strings(rows.iter().map(|row| Some(row.format.provider.as_str()))),
            maps(rows.iter().map(|row| {
                row.format.options.iter().map(|(key, value)| (key.as_str(), Some(value.as_str())))
            }))?,
        ],
        None,
    )?;
    StructArray::try_new(
        metadata_fields(),
        vec![
            strings(rows.iter().map(|row| Some(row.id.as_str()))),
            strings(rows.iter().map(|row| row.name.as_deref())),
            strings(rows.iter().map(|row| row.description.as_deref())),
            Arc::new(format),
            strings(rows.iter().map(|row| Some(row.schema_string.as_str()))),
            lists(rows.iter().map(|row| Some(&row.partition_columns))),
            maps(rows.iter().map(|row| {
                row.configuration.iter().map(|(key, value)| (key.as_str(), Some(value.as_str())))
            }))?,
            longs(rows.iter().map(|row| row.created_time)),
        ],
        None,
    )
}

fn txn_column(rows: &[&Txn]) -> Result<StructArray, ArrowError> {
    StructArray::try_new(
        txn_fields(),
        vec![
            strings(rows.iter().map(|row| Some(row.app_id.as_str()))),
            longs(rows.iter().map(|row| Some(row.version))),
            longs(rows.iter().map(|row| row.last_updated)),
        ],
        None,
    )
}

/// A batch in which only column `name` is filled.
fn rows_of(name: &str, filled: StructArray) -> Result<RecordBatch, ArrowError> {
    let rows = filled.len();
    let filled: ArrayRef = Arc::new(filled);
    let schema = schema();
    let column = |field: &Field| {
        if field.name() == name {
            Arc::clone(&filled)
        } else {
            new_null_array(field.data_type(), rows)
        }
    };
    let columns = schema.fields().iter().map(|field| column(field)).collect();
    RecordBatch::try_new(schema, columns)
}

fn strings<'a>(rows: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(rows.collect::<StringArray>())
}

fn longs(rows: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(rows.collect::<Int64Array>())
}

fn ints(rows: impl Iterator<Item = i32>) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(rows))
}

fn maps<'a, P>(rows: impl Iterator<Item = P>) -> Result<ArrayRef, ArrowError>
where
    P: Iterator<Item = (&'a str, Option<&'a str>)>,
{
    let names =
        MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for pairs in rows {
        for (key, value) in pairs {
            builder.keys().append_value(key);
            builder.values().append_option(value);
        }
        builder.append(true)?;
    }
    Ok(Arc::new(builder.finish()))
}

fn lists<'a>(rows: impl Iterator<Item = Option<&'a Vec<String>>>) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(text("element"));
    for row in rows {
        for text in row.into_iter().flatten() {
            builder.values().append_value(text);
        }
        builder.append(row.is_some());
    }
    Arc::new(builder.finish())
}
