//! Classic Delta checkpoints: one Parquet file with the protocol, the metadata, the transactions
//! and every file of the table.
//!
//! A checkpoint is made from the one before and what changed since, streamed: memory holds both
//! files compressed and one batch of rows, however many files the table has. Held by
//! `a_checkpoint_is_the_one_before_and_what_changed`.
//!
//! Tombstones are left out: only `VACUUM` reads them, and files are deleted by us alone.

mod read;
mod shape;

use std::collections::BTreeMap;

use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::PublishError;
use super::action::{Add, MetaData, Protocol, Txn};
pub(super) use read::read_heads;

/// Rows read, filtered and written at once.
const BATCH_ROWS: usize = 4096;

/// The actions of a checkpoint that are no files.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Heads {
    pub(super) protocol: Option<Protocol>,
    pub(super) metadata: Option<MetaData>,
    pub(super) txns: BTreeMap<String, Txn>,
}

/// A finished checkpoint.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) bytes: Bytes,
    /// All actions in it.
    pub(super) actions: u64,
    /// Files of the table.
    pub(super) files: u64,
}

/// The checkpoint that follows on `older`, from which `since` names every difference.
pub(super) fn write(
    older: Option<Bytes>,
    since: &BTreeMap<String, Option<Add>>,
    heads: &Heads,
) -> Result<Written, PublishError> {
    let level = ZstdLevel::try_new(3).map_err(failed)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(16 * BATCH_ROWS))
        .set_created_by(concat!("binlog-operator ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let options =
        ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer =
        ArrowWriter::try_new_with_options(Vec::new(), shape::schema(), options).map_err(failed)?;
    let mut actions = 0;
    for batch in shape::heads(heads).map_err(failed)? {
        actions += batch.num_rows() as u64;
        writer.write(&batch).map_err(failed)?;
    }
    let mut files = 0;
    let mut put = |adds: &[&Add]| -> Result<(), PublishError> {
        files += adds.len() as u64;
        writer.write(&shape::adds(adds).map_err(failed)?).map_err(failed)
    };
    if let Some(older) = older {
        for adds in read::adds(older)? {
            let adds = adds?;
            let kept: Vec<&Add> =
                adds.iter().filter(|add| !since.contains_key(&add.path)).collect();
            put(&kept)?;
        }
    }
    let added: Vec<&Add> = since.values().flatten().collect();
    for adds in added.chunks(BATCH_ROWS) {
        put(adds)?;
    }
    let bytes = writer.into_inner().map_err(failed)?;
    Ok(Written { bytes: bytes.into(), actions: actions + files, files })
}

fn failed(error: impl std::fmt::Display) -> PublishError {
    PublishError::Checkpoint(error.to_string())
}

/// Paths of all files in a checkpoint.
#[cfg(test)]
pub(super) fn files(bytes: Bytes) -> std::collections::BTreeSet<String> {
    read::adds(bytes).unwrap().flat_map(Result::unwrap).map(|add| add.path).collect()
}

#[cfg(test)]
pub(super) mod tests;
