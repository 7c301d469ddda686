//! Tables whose maps name no columns: what is known of them, and the question for what is not.

use crds::position::Flavor;

use super::{ChangeDecoder, TableName};
use crate::columns::SourceTable;
use crate::description::TableDescription;
use crate::reader::Short;

/// A table map that names no columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unnamed {
    /// The table.
    pub table: TableName,
    pub(super) body: Vec<u8>,
}

impl Unnamed {
    /// Its description by what the source says of the table.
    ///
    /// # Errors
    /// What contradicts it, in words.
    pub fn describe(
        &self,
        flavor: Flavor,
        source: &SourceTable,
    ) -> Result<TableDescription, String> {
        source.describe(flavor, &self.body)
    }
}

impl ChangeDecoder {
    /// Completes the table's maps that name no columns with this description from now on.
    pub fn describe(&mut self, table: TableName, description: TableDescription) {
        self.know(table, Ok(description));
    }

    fn know(&mut self, table: TableName, known: Result<TableDescription, String>) {
        self.tables.forget(&table);
        self.described.insert(table, known);
    }

    /// Asks for the columns of tables whose maps name none: see [`Self::unnamed`].
    #[must_use]
    pub fn asking(mut self) -> Self {
        self.asks = true;
        self
    }

    /// A table map, just decoded, that names no columns of a table whose rows are wanted. To be answered before the
    /// next event, or it is the rows that find out.
    pub fn unnamed(&self) -> Option<&Unnamed> {
        self.unnamed.as_ref()
    }

    /// Gives the description of the unnamed table, or says why there is none. It holds until [`Self::forget`].
    ///
    /// # Errors
    /// The table map cannot be read; it could before.
    pub fn answer(&mut self, answer: Result<TableDescription, String>) -> Result<(), &'static str> {
        let Some(Unnamed { table, body }) = self.unnamed.take() else { return Ok(()) };
        self.know(table, answer);
        self.announce(&body).map_err(|Short| "its table map cannot be read")
    }

    /// Whether the open group is a compressed one with statements among its rows: where they stand is not told.
    pub fn mixes_statements(&self) -> bool {
        self.mixed
    }

    /// Takes the question back: the table's next map asks anew.
    pub fn withdraw(&mut self) {
        if let Some(Unnamed { table, .. }) = self.unnamed.take() {
            self.tables.forget(&table);
        }
    }

    /// The table may have another definition from now on.
    pub fn forget(&mut self, table: &TableName) {
        if self.described.remove(table).is_some() {
            self.tables.forget(table);
        }
    }
}
