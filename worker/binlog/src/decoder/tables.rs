//! The tables announced in the stream.
//!
//! A table map stands before the rows of every statement, mostly with the same bytes as the last
//! time: then its plan is found by its table id and compared, nothing is parsed. Tables of earlier
//! groups are kept within a bound, but a rows event may only speak of one its own group announced.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crds::position::Flavor;

use super::TableName;
use crate::description::{self, TableDescription};
use crate::plan::{Plan, TABLE_ID_BYTES};
use crate::reader::{Reader, Short};
use crate::table_map::TableMap;

/// Table maps kept over groups, in bytes of their bodies; their plans take some 20 times as much.
const MAX_KEPT: usize = 1 << 20;

/// What table maps without column names are completed with, or why they are not.
pub(super) type Described = BTreeMap<TableName, Result<TableDescription, String>>;

/// A table and what was decided about it.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) plan: Arc<Plan>,
    pub(super) skip: bool,
    body: Arc<[u8]>,
    group: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tables {
    by_id: HashMap<u64, Table>,
    plans: HashMap<Arc<[u8]>, Arc<Plan>>,
    kept: usize,
    group: u64,
    /// Tables of this group that are not among `by_id` any more.
    trimmed: BTreeSet<TableName>,
}

impl Tables {
    /// Forgets what the last group announced.
    pub(super) fn next_group(&mut self) {
        self.group += 1;
        self.trimmed.clear();
        self.trim();
    }

    /// Bounds what is kept; only where no announced table is needed any more.
    pub(super) fn trim(&mut self) {
        if self.kept > MAX_KEPT {
            self.trimmed = self.of_group().collect();
            self.by_id.clear();
            self.plans.clear();
            self.kept = 0;
        }
    }

    /// Takes a table map; one that names no columns is completed with what is known of the table. `decide` says
    /// whether its rows are skipped; it is asked when the table was not known under this id.
    pub(super) fn announce(
        &mut self,
        flavor: Flavor,
        body: &[u8],
        known: &Described,
        decide: impl FnOnce(&Arc<Plan>) -> bool,
    ) -> Result<(), Short> {
        let described = body.get(TABLE_ID_BYTES..).ok_or(Short)?;
        let table_id = Reader::new(body).u48()?;
        if let Some(known) = self.by_id.get_mut(&table_id)
            && known.body.as_ref() == described
        {
            known.group = self.group;
            return Ok(());
        }
        let compiled = self.plans.get_key_value(described);
        let (body, plan) = if let Some((bytes, plan)) = compiled {
            (Arc::clone(bytes), Arc::clone(plan))
        } else {
            let plan = Arc::new(compile(flavor, body, known)?);
            let bytes: Arc<[u8]> = Arc::from(described);
            self.kept += bytes.len();
            self.plans.insert(Arc::clone(&bytes), Arc::clone(&plan));
            (bytes, plan)
        };
        self.kept += 64;
        let skip = decide(&plan);
        self.by_id.insert(table_id, Table { plan, skip, body, group: self.group });
        Ok(())
    }

    /// The table of a rows event, if this group announced it.
    pub(super) fn find(&self, table_id: u64) -> Option<&Table> {
        self.by_id.get(&table_id).filter(|table| table.group == self.group)
    }

    /// Names of the tables that this group announced.
    pub(super) fn of_group(&self) -> impl Iterator<Item = TableName> + '_ {
        let announced = self.by_id.values().filter(|table| table.group == self.group);
        announced.map(|table| TableName::of(&table.plan)).chain(self.trimmed.iter().cloned())
    }

    /// Those of them, as far as they are kept, whose rows are wanted and whose maps name no columns.
    pub(super) fn unnamed_of_group(&self) -> impl Iterator<Item = TableName> + '_ {
        let announced = self.by_id.values().filter(|table| table.group == self.group);
        let unnamed = announced.filter(|table| table.plan.unnamed && !table.skip);
        unnamed.map(|table| TableName::of(&table.plan))
    }

    /// The table's next map is compiled anew, though its bytes may be those of the last one.
    pub(super) fn forget(&mut self, name: &TableName) {
        let is_it = |plan: &Plan| plan.schema == name.schema && plan.table == name.table;
        self.plans.retain(|_, plan| !is_it(plan));
        for table in self.by_id.values_mut().filter(|table| is_it(&table.plan)) {
            table.body = Arc::from([].as_slice());
        }
    }

    /// Decides anew about one table under all its ids.
    pub(super) fn set_skip(&mut self, schema: &str, name: &str, skip: bool) {
        for table in self.by_id.values_mut() {
            if table.plan.schema == schema && table.plan.table == name {
                table.skip = skip;
            }
        }
    }
}

fn compile(flavor: Flavor, body: &[u8], known: &Described) -> Result<Plan, Short> {
    let map = TableMap::parse(body)?;
    if !description::is_wanting(&map) {
        return Ok(Plan::compile(flavor, &map, body));
    }
    let name = TableName { schema: map.schema.to_owned(), table: map.table.to_owned() };
    let fault = match known.get(&name) {
        None => {
            let plan = Plan::compile(flavor, &map, body);
            return Ok(Plan { unnamed: true, unknown: true, ..plan });
        }
        Some(Ok(description)) => match description.complete(&map, body) {
            Some(whole) => {
                let plan = Plan::compile(flavor, &TableMap::parse(&whole)?, &whole);
                return Ok(Plan { unnamed: true, ..plan });
            }
            None => {
                "its table map contradicts what is known of its columns; run SET GLOBAL \
                     binlog_row_metadata=FULL on the source"
            }
        },
        Some(Err(refused)) => refused.as_str(),
    };
    let plan = Plan::compile(flavor, &map, body);
    Ok(Plan { fault: Some(fault.to_owned()), unnamed: true, ..plan })
}
