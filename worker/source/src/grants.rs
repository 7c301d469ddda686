//! What the account may do, from SHOW GRANTS.

use crds::position::Flavor;

use crate::connection::Connection;
use crate::error::SourceError;

/// Global privileges of the account, those of its active roles included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// `user`@`host` as the server matched it, quoted, ready for a GRANT.
    pub account: String,
    privileges: Vec<String>,
}

impl Grants {
    /// Asks the source.
    ///
    /// # Errors
    /// A broken connection, or an answer that is none.
    pub async fn read(connection: &mut Connection, flavor: Flavor) -> Result<Self, SourceError> {
        let sql = "SELECT CURRENT_USER() AS account, CURRENT_ROLE() AS roles";
        let rows = connection.query(sql).await?;
        let cell = |name| rows.first().and_then(|row| row.text(name)).unwrap_or_default();
        let (account, roles) = (quote_account(&cell("account")), cell("roles"));
        let has_role = !roles.is_empty() && roles != "NONE";
        // CURRENT_ROLE() of MySQL is a quoted list that USING takes as it is.
        let statements = match (flavor, has_role) {
            (Flavor::MySQL, true) => vec![format!("SHOW GRANTS FOR CURRENT_USER() USING {roles}")],
            (Flavor::MariaDB, true) => {
                vec!["SHOW GRANTS".to_owned(), "SHOW GRANTS FOR CURRENT_ROLE".to_owned()]
            }
            (_, false) => vec!["SHOW GRANTS".to_owned()],
        };
        let mut lines = Vec::new();
        for sql in statements {
            let rows = connection.query(&sql).await?;
            lines.extend(rows.rows().filter_map(|row| row.text_at(0)));
        }
        Ok(Self::parse(account, lines.iter().map(String::as_str)))
    }

    /// Reads the lines of SHOW GRANTS; only those on `*.*` count.
    pub fn parse<'a>(account: String, lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut privileges = Vec::new();
        for line in lines {
            let Some((list, rest)) =
                line.strip_prefix("GRANT ").and_then(|line| line.split_once(" ON "))
            else {
                continue;
            };
            if rest.trim_start().starts_with("*.* ") {
                privileges.extend(list.split(',').map(|name| name.trim().to_uppercase()));
            }
        }
        Self { account, privileges }
    }

    fn any(&self, names: &[&str]) -> bool {
        let all = ["ALL PRIVILEGES", "ALL"];
        self.privileges
            .iter()
            .any(|held| all.contains(&held.as_str()) || names.contains(&held.as_str()))
    }

    /// May dump the binlog.
    pub fn can_dump(&self) -> bool {
        self.any(&["REPLICATION SLAVE", "REPLICATION REPLICA"])
    }

    /// May see the columns of every table. What is granted on single schemas is not counted.
    pub fn can_see_tables(&self) -> bool {
        self.any(&["REFERENCES", "SELECT", "INSERT", "UPDATE"])
    }

    /// May list binlogs and positions.
    pub fn can_monitor(&self) -> bool {
        self.any(&["REPLICATION CLIENT", "BINLOG MONITOR", "SUPER"])
    }
}

/// `user@host` as CURRENT_USER() gives it, quoted; the host never holds an `@`.
fn quote_account(account: &str) -> String {
    let (user, host) = account.rsplit_once('@').unwrap_or((account, "%"));
    let quoted = |part: &str| format!("'{}'", part.replace('\'', "''"));
    format!("{}@{}", quoted(user), quoted(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_grants_both_flavours_print() {
        for (lines, dump, monitor) in [
            (&["GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `r`@`%`"][..], true, true),
            (
                &[
                    "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO `r`@`%` IDENTIFIED BY PASSWORD '*0'",
                ],
                true,
                true,
            ),
            (&["GRANT ALL PRIVILEGES ON *.* TO `r`@`%`"], true, true),
            (&["GRANT SELECT, SUPER ON *.* TO `r`@`%`"], false, true),
            (
                &["GRANT USAGE ON *.* TO `r`@`%`", "GRANT ALL PRIVILEGES ON `shop`.* TO `r`@`%`"],
                false,
                false,
            ),
            (&["GRANT `reader`@`%` TO `r`@`%`"], false, false),
            (&["GRANT PROXY ON ``@`` TO `r`@`%`"], false, false),
        ] {
            let grants = Grants::parse(String::new(), lines.iter().copied());
            assert_eq!((grants.can_dump(), grants.can_monitor()), (dump, monitor), "{lines:?}");
        }
    }

    #[test]
    fn the_account_is_quoted_for_a_statement() {
        assert_eq!(quote_account("o'neil@x@10.0.%"), "'o''neil@x'@'10.0.%'");
    }
}
