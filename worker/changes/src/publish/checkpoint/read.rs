//! Rows of a checkpoint as actions: ours, or one that another writer's tool made of our table.
//! Columns are found by name and brought to our types; what we do not know is passed over.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, ListArray, MapArray, StringArray, StructArray};
use arrow_array::{BooleanArray, Int32Array, Int64Array};
use arrow_cast::cast;
use arrow_schema::DataType;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::super::PublishError;
use super::super::action::{Add, Format, MetaData, Protocol, Txn};
use super::shape::{ADD, METADATA, PROTOCOL, TXN};
use super::{BATCH_ROWS, Heads, failed};

/// Protocol, metadata and transactions.
pub(in super::super) fn read_heads(bytes: &Bytes) -> Result<Heads, PublishError> {
    let mut heads = Heads::default();
    for batch in reader(bytes.clone(), &[TXN, METADATA, PROTOCOL])? {
        let batch = batch.map_err(failed)?;
        if let Some(column) = Rows::column(&batch, PROTOCOL)? {
            let (reader, writer) =
                (column.ints("minReaderVersion")?, column.ints("minWriterVersion")?);
            let (readers, writers) =
                (column.lists("readerFeatures")?, column.lists("writerFeatures")?);
            for row in column.rows() {
                heads.protocol = Some(Protocol {
                    min_reader_version: reader.value(row),
                    min_writer_version: writer.value(row),
                    reader_features: list(readers.as_ref(), row)?,
                    writer_features: list(writers.as_ref(), row)?,
                });
            }
        }
        if let Some(column) = Rows::column(&batch, METADATA)? {
            for row in column.rows() {
                heads.metadata = Some(metadata(&column, row)?);
            }
        }
        if let Some(column) = Rows::column(&batch, TXN)? {
            let (app, version) = (column.texts("appId")?, column.longs("version")?);
            let updated = column.longs("lastUpdated")?;
            for row in column.rows() {
                let txn = Txn {
                    app_id: app.value(row).to_owned(),
                    version: version.value(row),
                    last_updated: updated.is_valid(row).then(|| updated.value(row)),
                };
                heads.txns.insert(txn.app_id.clone(), txn);
            }
        }
    }
    if heads.protocol.is_none() || heads.metadata.is_none() {
        return Err(failed("it has no protocol or no metadata"));
    }
    Ok(heads)
}

/// The files, in batches.
pub(super) fn adds(
    bytes: Bytes,
) -> Result<impl Iterator<Item = Result<Vec<Add>, PublishError>>, PublishError> {
    Ok(reader(bytes, &[ADD])?.map(|batch| {
        let batch = batch.map_err(failed)?;
        let column =
            Rows::column(&batch, ADD)?.ok_or_else(|| failed("it has no column of files"))?;
        files(&column)
    }))
}

fn files(column: &Rows) -> Result<Vec<Add>, PublishError> {
    let (path, stats) = (column.texts("path")?, column.texts("stats")?);
    let (size, modified) = (column.longs("size")?, column.longs("modificationTime")?);
    let data_change = column.booleans("dataChange")?;
    let partitions = column.maps("partitionValues")?;
    let file = |row: usize| {
        Ok(Add {
            path: path.value(row).to_owned(),
            partition_values: pairs(partitions.as_ref(), row)?,
            size: size.value(row),
            modification_time: modified.value(row),
            data_change: data_change.value(row),
            stats: stats.is_valid(row).then(|| stats.value(row).to_owned()),
        })
    };
    column.rows().map(file).collect()
}

fn metadata(column: &Rows, row: usize) -> Result<MetaData, PublishError> {
    let text = |name: &str| -> Result<Option<String>, PublishError> {
        let column = column.texts(name)?;
        Ok(column.is_valid(row).then(|| column.value(row).to_owned()))
    };
    let format = Rows(column.child("format").and_then(as_struct).ok_or_else(|| missing("format"))?);
    let known = |pairs: BTreeMap<String, Option<String>>| -> BTreeMap<String, String> {
        pairs.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    };
    let created = column.longs("createdTime")?;
    Ok(MetaData {
        id: text("id")?.ok_or_else(|| missing("metaData.id"))?,
        name: text("name")?,
        description: text("description")?,
        format: Format {
            provider: format.texts("provider")?.value(row).to_owned(),
            options: known(pairs(format.maps("options")?.as_ref(), row)?),
        },
        schema_string: text("schemaString")?.ok_or_else(|| missing("metaData.schemaString"))?,
        partition_columns: list(column.lists("partitionColumns")?.as_ref(), row)?
            .unwrap_or_default(),
        configuration: known(pairs(column.maps("configuration")?.as_ref(), row)?),
        created_time: created.is_valid(row).then(|| created.value(row)),
    })
}

fn reader(bytes: Bytes, columns: &[&str]) -> Result<ParquetRecordBatchReader, PublishError> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder =
        ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options).map_err(failed)?;
    let schema = builder.parquet_schema();
    let roots = schema.root_schema().get_fields().iter().enumerate();
    let wanted = roots.filter(|(_, field)| columns.contains(&field.name())).map(|(at, _)| at);
    let mask = ProjectionMask::roots(schema, wanted.collect::<Vec<_>>());
    builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(failed)
}

/// One column of a checkpoint: the actions of one kind.
struct Rows(StructArray);

impl Rows {
    fn column(batch: &arrow_array::RecordBatch, name: &str) -> Result<Option<Rows>, PublishError> {
        let Some(column) = batch.column_by_name(name) else {
            return Ok(None);
        };
        Ok(Some(Rows(as_struct(column).ok_or_else(|| missing(name))?)))
    }

    /// Rows that hold an action of this kind.
    fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.0.len()).filter(|row| self.0.is_valid(*row))
    }

    fn child(&self, name: &str) -> Option<&ArrayRef> {
        self.0.column_by_name(name)
    }

    /// The child as `to`; all null when the checkpoint lacks it.
    fn typed<T: Array + Clone + 'static>(
        &self,
        name: &str,
        to: &DataType,
    ) -> Result<T, PublishError> {
        let array = match self.child(name) {
            Some(array) => cast(array, to).map_err(failed)?,
            None => arrow_array::new_null_array(to, self.0.len()),
        };
        array.as_any().downcast_ref::<T>().cloned().ok_or_else(|| missing(name))
    }

    fn texts(&self, name: &str) -> Result<StringArray, PublishError> {
        self.typed(name, &DataType::Utf8)
    }

    fn longs(&self, name: &str) -> Result<Int64Array, PublishError> {
        self.typed(name, &DataType::Int64)
    }

    fn ints(&self, name: &str) -> Result<Int32Array, PublishError> {
        self.typed(name, &DataType::Int32)
    }

    fn booleans(&self, name: &str) -> Result<BooleanArray, PublishError> {
        self.typed(name, &DataType::Boolean)
    }

    fn lists(&self, name: &str) -> Result<Option<ListArray>, PublishError> {
        self.nested(name)
    }

    fn maps(&self, name: &str) -> Result<Option<MapArray>, PublishError> {
        self.nested(name)
    }

    fn nested<T: Array + Clone + 'static>(&self, name: &str) -> Result<Option<T>, PublishError> {
        let Some(array) = self.child(name) else {
            return Ok(None);
        };
        array.as_any().downcast_ref::<T>().cloned().map(Some).ok_or_else(|| missing(name))
    }
}

fn as_struct(array: &ArrayRef) -> Option<StructArray> {
    array.as_any().downcast_ref::<StructArray>().cloned()
}

fn as_texts(array: &ArrayRef) -> Result<StringArray, PublishError> {
    let array: ArrayRef = cast(array, &DataType::Utf8).map_err(failed)?;
    array.as_any().downcast_ref::<StringArray>().cloned().ok_or_else(|| missing("text"))
}

fn list(column: Option<&ListArray>, row: usize) -> Result<Option<Vec<String>>, PublishError> {
    let Some(column) = column.filter(|column| column.is_valid(row)) else {
        return Ok(None);
    };
    let texts = as_texts(&column.value(row))?;
    Ok(Some(texts.iter().flatten().map(str::to_owned).collect()))
}

fn pairs(
    column: Option<&MapArray>,
    row: usize,
) -> Result<BTreeMap<String, Option<String>>, PublishError> {
    let Some(column) = column.filter(|column| column.is_valid(row)) else {
        return Ok(BTreeMap::new());
    };
    let entries: Arc<dyn Array> = Arc::new(column.value(row));
    let entries = as_struct(&entries).ok_or_else(|| missing("map"))?;
    let (keys, values) = (as_texts(entries.column(0))?, as_texts(entries.column(1))?);
    let pair = |(key, value): (Option<&str>, Option<&str>)| {
        Some((key?.to_owned(), value.map(str::to_owned)))
    };
    Ok(keys.iter().zip(values.iter()).filter_map(pair).collect())
}

fn missing(name: &str) -> PublishError {
    failed(format!("its {name} is missing or of another type"))
}
