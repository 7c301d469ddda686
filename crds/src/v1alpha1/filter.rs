//! Which tables go into the change log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::rule_at;

/// `schema.table`: back-ticks for names with dots, `*` in the table part only.
pub(crate) const TABLE: &str = r"^(`[^`]{1,64}`|[^.`*\s]{1,64})\.(`[^`]{1,64}`|[^.`\s]{1,64})$";
/// A schema's name as it is, without back-ticks.
pub(crate) const SCHEMA: &str = r"^[^`*/]+$";

/// Which tables go into the change log: those of the listed schemas AND among the listed tables,
/// without the excluded ones. An empty list means all. mysql, sys, information_schema and
/// performance_schema are left out unless named. Names compare as the source's
/// lower_case_table_names says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule_at(
    ".tables",
    "!has(self.schemas) || !has(self.tables) || size(self.schemas) == 0 || \
     self.tables.all(t, self.schemas.exists(s, t.startsWith(s + '.') || \
     t.startsWith('`' + s + '`.')))",
    "filter.tables names a table outside filter.schemas and would never match; add its schema to \
     filter.schemas or remove the table",
)]))]
pub struct FilterSpec {
    /// Schemas (databases) to take. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64), regex(pattern = SCHEMA)))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub schemas: Vec<String>,
    /// Tables to take, as schema.table; * in the table part stands for any text; back-ticks around
    /// names with dots. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 3, max = 133), regex(pattern = TABLE)))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub tables: Vec<String>,
    /// Tables to leave out, in the same form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), inner(length(min = 3, max = 133), regex(pattern = TABLE)))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub exclude_tables: Vec<String>,
}

impl FilterSpec {
    /// Whether nothing is listed: every table is taken.
    pub fn is_empty(&self) -> bool {
        let Self { schemas, tables, exclude_tables } = self;
        schemas.is_empty() && tables.is_empty() && exclude_tables.is_empty()
    }
}
