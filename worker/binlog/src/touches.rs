//! Whether a statement may give a table another definition. Nothing is parsed: a statement that does so names the
//! table, or the whole schema, and everything that may be such a name counts.
//!
//! Invariant: no statement that redefines a table is missed (`a_statement_that_may_redefine_a_table_is_never_missed`);
//! one too many costs a question to the source.

use crate::query::{self, Statement};

/// Words that speak of tables without naming them.
const ALL_TABLES: [&str; 3] = ["DATABASE", "SCHEMA", "IMPORT"];

/// Whether the statement may redefine the table of this name, in whatever schema.
pub(crate) fn may_redefine(text: &[u8], table: &str) -> bool {
    // Another name may be quoted, escaped, or in the client's own character set.
    let plain =
        table.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$'));
    if !plain || table.is_empty() {
        return !is_control(text);
    }
    let part_of_name =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
    text.split(|byte| !part_of_name(byte)).any(|word| {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        is(table) || ALL_TABLES.iter().any(|name| is(name))
    })
}

/// Statements that only begin, end or divide transactions.
pub(crate) fn is_control(text: &[u8]) -> bool {
    matches!(
        query::classify(text),
        Statement::Begin
            | Statement::Commit
            | Statement::Rollback
            | Statement::Inside
            | Statement::Savepoint(_)
            | Statement::RollbackTo(_)
            | Statement::XaStart
            | Statement::XaVerdict { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_may_redefine_a_table_is_never_missed() {
        for text in [
            "ALTER TABLE orders ADD c INT",
            "alter table Shop.ORDERS drop c",
            "ALTER/**/TABLE`orders`RENAME COLUMN a TO b",
            "RENAME TABLE orders TO _orders_del, _orders_gho TO orders",
            "/*!50100 CREATE TABLE orders (id INT) */",
            "CREATE TABLE `orders` LIKE old",
            "DROP TABLE IF EXISTS a,orders",
            "DROP DATABASE shop",
            "CREATE SCHEMA shop",
            "ALTER TABLE \"orders\" FORCE",
        ] {
            assert!(may_redefine(text.as_bytes(), "orders"), "{text}");
        }
        for name in ["bestellungen-2026", "a`b", "täble", "two words"] {
            assert!(may_redefine(b"ALTER TABLE x ADD c INT", name), "{name}");
            assert!(!may_redefine(b"BEGIN", name) && !may_redefine(b"COMMIT", name), "{name}");
        }
    }

    #[test]
    fn a_statement_about_other_tables_leaves_a_table_as_it_is() {
        for text in ["BEGIN", "ALTER TABLE orders_old ADD c INT", "CREATE TABLE my$orders (id INT)"]
        {
            assert!(!may_redefine(text.as_bytes(), "orders"), "{text}");
        }
    }
}
