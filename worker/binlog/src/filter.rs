//! Which tables' rows are decoded into the change log.
//!
//! A table is wanted if both rules take it: its schema is in the list of schemas (or the list is
//! empty) AND the table is in the list of tables (or the list is empty), and no exclusion names it.

use crds::v1alpha1::FilterSpec;

use crate::decoder::TableName;

/// Schemas of the servers themselves: only taken when named.
const SYSTEM_SCHEMAS: [&str; 4] = ["mysql", "sys", "information_schema", "performance_schema"];

/// Why a rule was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read filter rule {rule:?}: {problem}")]
pub struct FilterError {
    /// The rule as written.
    pub rule: String,
    /// What is wrong with it and what was expected.
    pub problem: &'static str,
}

/// The rules of one stream.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    schemas: Vec<String>,
    tables: Vec<TableRule>,
    excluded: Vec<TableRule>,
    own: Option<(String, String)>,
    fold_case: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct TableRule {
    schema: String,
    /// Parts between the `*`s; one part is a plain name.
    table: Vec<String>,
}

impl Filter {
    /// A filter from the resource's rules: schema names; `schema.table` with `*` in the table part
    /// and back-ticks around names that need them.
    ///
    /// # Errors
    /// A rule is not of its form.
    pub fn new(
        schemas: &[String],
        tables: &[String],
        exclude_tables: &[String],
    ) -> Result<Self, FilterError> {
        Ok(Self {
            schemas: schemas.iter().map(|rule| schema_rule(rule)).collect::<Result<_, _>>()?,
            tables: tables.iter().map(|rule| table_rule(rule)).collect::<Result<_, _>>()?,
            excluded: exclude_tables
                .iter()
                .map(|rule| table_rule(rule))
                .collect::<Result<_, _>>()?,
            own: None,
            fold_case: false,
        })
    }

    /// A filter from the resource's own form.
    ///
    /// # Errors
    /// A rule is not of its form.
    pub fn from_spec(spec: &FilterSpec) -> Result<Self, FilterError> {
        let FilterSpec { schemas, tables, exclude_tables } = spec;
        Self::new(schemas, tables, exclude_tables)
    }

    /// A filter that takes these tables and no other.
    pub fn of_tables<'a>(tables: impl IntoIterator<Item = &'a TableName>) -> Self {
        let rule = |name: &TableName| TableRule {
            schema: name.schema.clone(),
            table: vec![name.table.clone()],
        };
        Self { tables: tables.into_iter().map(rule).collect(), ..Self::default() }
    }

    /// Compares names as the source does: with `lower_case_table_names` 1 or 2, in lower case.
    #[must_use]
    pub fn lower_case_table_names(mut self, setting: u8) -> Self {
        self.fold_case = setting != 0;
        if self.fold_case {
            let rules = self.tables.iter_mut().chain(&mut self.excluded);
            for rule in rules {
                rule.schema = rule.schema.to_lowercase();
                rule.table.iter_mut().for_each(|part| *part = part.to_lowercase());
            }
            self.schemas.iter_mut().for_each(|schema| *schema = schema.to_lowercase());
            if let Some((schema, table)) = &mut self.own {
                (*schema, *table) = (schema.to_lowercase(), table.to_lowercase());
            }
        }
        self
    }

    /// Leaves out the table that holds our own state on the source, whatever the rules say.
    #[must_use]
    pub fn without_own_table(mut self, schema: &str, table: &str) -> Self {
        let fold = |name: &str| if self.fold_case { name.to_lowercase() } else { name.to_owned() };
        self.own = Some((fold(schema), fold(table)));
        self
    }

    /// Whether the table is the one that holds our own state on the source.
    pub fn is_own_table(&self, schema: &str, table: &str) -> bool {
        self.folded(schema, table, |schema, table| {
            self.own.as_ref().is_some_and(|(own, name)| own == schema && name == table)
        })
    }

    /// Whether the table's rows are wanted.
    pub fn wants(&self, schema: &str, table: &str) -> bool {
        self.folded(schema, table, |schema, table| self.decide(schema, table))
    }

    /// Whether some table of the schema could be wanted.
    pub fn may_want(&self, schema: &str) -> bool {
        self.folded(schema, "", |schema, _| {
            let listed = self.schemas.iter().any(|listed| listed == schema);
            let by_table = self.tables.iter().any(|rule| rule.schema == schema);
            let system = SYSTEM_SCHEMAS.iter().any(|system| schema.eq_ignore_ascii_case(system));
            (listed || self.schemas.is_empty())
                && (by_table || self.tables.is_empty())
                && (listed || by_table || !system)
        })
    }

    fn folded(&self, schema: &str, table: &str, test: impl Fn(&str, &str) -> bool) -> bool {
        if self.fold_case {
            test(&schema.to_lowercase(), &table.to_lowercase())
        } else {
            test(schema, table)
        }
    }

    fn decide(&self, schema: &str, table: &str) -> bool {
        let named = |rules: &[TableRule]| rules.iter().any(|rule| rule.takes(schema, table));
        if self.own.as_ref().is_some_and(|(own, name)| own == schema && name == table)
            || named(&self.excluded)
        {
            return false;
        }
        let schema_listed = self.schemas.iter().any(|listed| listed == schema);
        let table_listed = named(&self.tables);
        if SYSTEM_SCHEMAS.iter().any(|system| schema.eq_ignore_ascii_case(system))
            && !schema_listed
            && !table_listed
        {
            return false;
        }
        (self.schemas.is_empty() || schema_listed) && (self.tables.is_empty() || table_listed)
    }
}

impl TableRule {
    fn takes(&self, schema: &str, table: &str) -> bool {
        self.schema == schema && matches_parts(&self.table, table)
    }
}

/// Greedy match of literal parts between `*`s: the first must begin the name, the last end it.
fn matches_parts(parts: &[String], name: &str) -> bool {
    let [first, middle @ .., last] = parts else {
        return parts.first().is_some_and(|only| only == name);
    };
    let Some(mut rest) = name.strip_prefix(first.as_str()) else { return false };
    for part in middle {
        match rest.find(part.as_str()) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last.as_str())
}

/// A schema is named as it is: dots are letters, there are no quotes.
fn schema_rule(rule: &str) -> Result<String, FilterError> {
    if rule.is_empty() || rule.contains(['`', '*', '/']) {
        let problem = "is not the plain name of a schema; write it without back-ticks and stars";
        return Err(FilterError { rule: rule.to_owned(), problem });
    }
    Ok(rule.to_owned())
}

fn table_rule(rule: &str) -> Result<TableRule, FilterError> {
    let error = |problem| FilterError { rule: rule.to_owned(), problem };
    let (schema, rest) = name_parts(rule).map_err(error)?;
    let [schema] = schema.as_slice() else {
        return Err(error("has a * in the schema; only the table part may have one"));
    };
    let rest = rest.strip_prefix('.').ok_or_else(|| error("is not schema.table"))?;
    let (table, rest) = name_parts(rest).map_err(error)?;
    if schema.is_empty() || table.concat().is_empty() && table.len() == 1 || !rest.is_empty() {
        return Err(error("is not schema.table; quote names with dots in back-ticks"));
    }
    Ok(TableRule { schema: schema.clone(), table })
}

/// Reads one name off the front, cut at each `*`. In back-ticks a `*` is a letter like any other
/// and a doubled back-tick stands for one.
fn name_parts(text: &str) -> Result<(Vec<String>, &str), &'static str> {
    let mut parts = vec![String::new()];
    let push = |c: char, parts: &mut Vec<String>| {
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    };
    let Some(quoted) = text.strip_prefix('`') else {
        let end = text.find(['.', '`']).unwrap_or(text.len());
        for c in text[..end].chars() {
            if c == '*' { parts.push(String::new()) } else { push(c, &mut parts) }
        }
        return Ok((parts, &text[end..]));
    };
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != '`' {
            push(c, &mut parts);
        } else if chars.next_if(|(_, next)| *next == '`').is_some() {
            push('`', &mut parts);
        } else {
            return Ok((parts, &quoted[at + 1..]));
        }
    }
    Err("has a back-tick without its pair")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(schemas: &[&str], tables: &[&str], exclude: &[&str]) -> Filter {
        let own = |rules: &[&str]| rules.iter().map(ToString::to_string).collect::<Vec<_>>();
        Filter::new(&own(schemas), &own(tables), &own(exclude)).unwrap()
    }

    #[test]
    fn a_table_needs_both_rules() {
        let both = filter(&["shop"], &["shop.orders", "hr.*"], &[]);
        assert!(both.wants("shop", "orders"));
        assert!(!both.wants("shop", "items"));
        assert!(!both.wants("hr", "people"));
        assert!(filter(&[], &[], &[]).wants("any", "thing"));
        assert!(filter(&["shop"], &[], &["shop.tmp_*"]).wants("shop", "orders"));
        assert!(!filter(&["shop"], &[], &["shop.tmp_*"]).wants("shop", "tmp_1"));
    }

    #[test]
    fn a_schema_may_be_wanted_where_one_of_its_tables_may() {
        assert!(filter(&[], &[], &[]).may_want("shop"));
        assert!(!filter(&[], &[], &[]).may_want("mysql"));
        assert!(filter(&["mysql"], &[], &[]).may_want("mysql"));
        let both = filter(&["shop"], &["shop.orders", "hr.*"], &[]);
        assert!(both.may_want("shop") && !both.may_want("hr") && !both.may_want("log"));
        assert!(filter(&[], &["HR.*"], &[]).lower_case_table_names(1).may_want("hr"));
    }

    #[test]
    fn stars_match_any_text_in_the_table_part() {
        for (rule, table, wanted) in [
            ("s.*", "anything", true),
            ("s.a*", "a", true),
            ("s.a*", "ba", false),
            ("s.*z", "xyz", true),
            ("s.a*b*c", "aXbXc", true),
            ("s.a*b*c", "ac", false),
            ("s.aa*aa", "aaa", false),
            ("s.`a*`", "a*", true),
            ("s.`a*`", "ab", false),
            ("`s`.`o``dd.name`", "o`dd.name", true),
        ] {
            assert_eq!(filter(&[], &[rule], &[]).wants("s", table), wanted, "{rule} {table}");
        }
    }

    #[test]
    fn system_schemas_are_taken_only_when_named() {
        assert!(!filter(&[], &[], &[]).wants("mysql", "user"));
        assert!(!filter(&[], &[], &[]).wants("sys", "sys_config"));
        assert!(filter(&["mysql"], &[], &[]).wants("mysql", "user"));
        assert!(filter(&[], &["mysql.time_zone"], &[]).wants("mysql", "time_zone"));
    }

    #[test]
    fn names_fold_as_the_source_folds_them() {
        let rules = filter(&["Shop"], &["Shop.Orders"], &[]);
        assert!(!rules.wants("shop", "orders"));
        let folded = rules.lower_case_table_names(1).without_own_table("Ops", "State");
        assert!(folded.wants("SHOP", "orders"));
        assert!(folded.is_own_table("ops", "STATE"));
        assert!(!folded.wants("ops", "state"));
    }

    #[test]
    fn malformed_rules_are_refused() {
        for rule in ["", "orders", "*.orders", "s.", ".t", "a.b.c", "`a.b", "s.`t`x"] {
            let error = Filter::new(&[], &[rule.to_owned()], &[]).unwrap_err();
            assert_eq!(error.rule, rule);
        }
        for rule in ["", "*", "a*", "`a"] {
            assert!(Filter::new(&[rule.to_owned()], &[], &[]).is_err(), "{rule}");
        }
    }
}
