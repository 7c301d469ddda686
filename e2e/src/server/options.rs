//! The option file of a test server: small, quick to start, everything in the binlog.

use std::path::Path;

use super::ServerKind;

/// The text of `my.cnf`; `given` replaces or adds to the harness's own values.
pub(super) fn file(
    kind: ServerKind,
    product: &Path,
    folder: &Path,
    port: u16,
    given: &[(String, String)],
) -> String {
    let share = product.join("root/usr/share");
    let found = |name: &str| {
        let maria = share.join("mariadb").join(name);
        if maria.is_dir() { maria } else { share.join("mysql").join(name) }
    };
    let messages = found("english").parent().unwrap_or(&share).to_path_buf();
    let plugins = ["mariadb", "mysql"]
        .map(|name| product.join("root/usr/lib").join(name).join("plugin"))
        .into_iter()
        .find(|plugins| plugins.is_dir())
        .unwrap_or_default();
    let mut options: Vec<(String, String)> = [
        ("basedir", product.join("root/usr").display().to_string()),
        ("lc_messages_dir", messages.display().to_string()),
        ("character_sets_dir", found("charsets").display().to_string()),
        ("plugin_dir", plugins.display().to_string()),
        ("datadir", folder.join("data").display().to_string()),
        ("socket", folder.join("my.sock").display().to_string()),
        // Servers of several runs may have the same process id, of which they name temporary files.
        ("tmpdir", folder.display().to_string()),
        ("pid_file", folder.join("server.pid").display().to_string()),
        ("log_error", folder.join("server.log").display().to_string()),
        // Pods reach it by the node's address; the namespace keeps it from the machine.
        ("bind_address", "*".into()),
        ("port", port.to_string()),
        ("user", "root".into()),
        ("server_id", port.to_string()),
        ("skip_name_resolve", "ON".into()),
        ("default_time_zone", "+00:00".into()),
        ("log_bin", "binlog".into()),
        ("binlog_format", "ROW".into()),
        ("binlog_row_image", "FULL".into()),
        ("binlog_row_metadata", "FULL".into()),
        ("binlog_checksum", "CRC32".into()),
        ("max_binlog_size", "256M".into()),
        ("innodb_buffer_pool_size", "128M".into()),
        ("innodb_flush_log_at_trx_commit", "2".into()),
        // A kill of the server alone loses nothing without a sync of each commit.
        ("sync_binlog", "0".into()),
        ("max_allowed_packet", "1G".into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let own: &[(&str, &str)] = if kind.is_mysql() {
        &[
            ("mysqlx", "OFF"),
            ("secure_file_priv", ""),
            ("gtid_mode", "ON"),
            ("enforce_gtid_consistency", "ON"),
            ("binlog_expire_logs_seconds", "0"),
            ("innodb_redo_log_capacity", "64M"),
        ]
    } else {
        &[
            ("gtid_strict_mode", "ON"),
            ("gtid_domain_id", "0"),
            ("expire_logs_days", "0"),
            ("innodb_log_file_size", "64M"),
            ("innodb_use_native_aio", "0"),
        ]
    };
    options.extend(own.iter().map(|(name, value)| ((*name).into(), (*value).into())));
    for (name, value) in given {
        options.retain(|(known, _)| known != name);
        options.push((name.clone(), value.clone()));
    }
    let group = if kind.is_mysql() { "mysqld" } else { "mariadbd" };
    let mut lines = vec![format!("[{group}]")];
    lines.extend(options.into_iter().map(|(name, value)| format!("{name}={value}")));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_option_replaces_the_harness_own() {
        let text = file(
            ServerKind::MySql97,
            Path::new("/product"),
            Path::new("/folder"),
            3306,
            &[("gtid_mode".into(), "OFF".into())],
        );
        assert!(text.starts_with("[mysqld]\n"));
        assert!(text.contains("\ngtid_mode=OFF\n") && !text.contains("gtid_mode=ON"));
    }
}
