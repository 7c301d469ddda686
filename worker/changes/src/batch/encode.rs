//! Rows to a Parquet file.

use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};

use super::rows::Rows;
use super::{BatchError, ChangeFile, ParquetSettings};

/// Columns whose values hardly repeat: a dictionary would be built and thrown away.
const PLAIN: [&str; 4] = ["primary_key", "primary_key_hash", "before", "after"];

/// Columns that nobody prunes by; their statistics would hold row values for nothing.
const WITHOUT_STATISTICS: [&str; 3] = ["before", "after", "statement"];

/// Numbers that rise by small steps.
const RISING: [&str; 4] = ["commit_time", "position", "event_ordinal", "row_ordinal"];

pub(super) fn encode(rows: Rows, settings: &ParquetSettings) -> Result<ChangeFile, BatchError> {
    let count = rows.len() as u64;
    let (min_time_us, max_time_us) = rows.time_range().unwrap_or_default();
    let batch = rows.into_batch().map_err(failed)?;
    // Without the Arrow schema in the metadata a reader sees plain text, not our dictionaries.
    let options = ArrowWriterOptions::new()
        .with_properties(properties(settings)?)
        .with_skip_arrow_metadata(true);
    let mut writer =
        ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options).map_err(failed)?;
    writer.write(&batch).map_err(failed)?;
    // The writer has its own copy; compressing makes another.
    drop(batch);
    let file = writer.into_inner().map_err(failed)?;
    Ok(ChangeFile {
        sha256: hex::encode(Sha256::digest(&file)),
        bytes: file.into(),
        rows: count,
        min_time_us,
        max_time_us,
    })
}

fn properties(settings: &ParquetSettings) -> Result<WriterProperties, BatchError> {
    let level = ZstdLevel::try_new(settings.zstd_level).map_err(failed)?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(settings.row_group_rows))
        .set_max_row_group_bytes(Some(settings.row_group_bytes))
        .set_created_by(concat!("binlog-operator ", env!("CARGO_PKG_VERSION")).to_owned());
    for name in PLAIN {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    for name in RISING {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(name), false)
            .set_column_encoding(ColumnPath::from(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in WITHOUT_STATISTICS {
        properties = properties
            .set_column_statistics_enabled(ColumnPath::from(name), EnabledStatistics::None);
    }
    Ok(properties.build())
}

pub(super) fn failed(error: impl std::fmt::Display) -> BatchError {
    BatchError::Encode(error.to_string())
}
