//! What a server's refusal of a dump means.
//!
//! Error 1236 carries a dozen causes in its text alone. The texts below are those of MySQL 5.7 to
//! 9.7 (which renamed master to source and slave to replica) and MariaDB 10.5 to 11.8; one test
//! line per text (`each_text_of_1236_has_its_meaning`). What is not known stays `Other` and is
//! retried: a gap is never concluded from an unknown text.

use crds::conditions::Reason;

use crate::error::{Class, ServerError};

/// Why the server would not send, or stopped sending, the binlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DumpRefusal {
    /// The file, or transactions of the set, are no longer on the server (or never were).
    Purged,
    /// The position is below the first event of the file.
    ImpossiblePosition,
    /// The position is past the end of the file: another history, or a lost tail.
    PositionBeyondFile,
    /// The position is not the start of an event, or the file is damaged there.
    BadEvent,
    /// Another replica connected with the same server id or UUID.
    ServerIdClash,
    /// The event does not fit `max_allowed_packet` of the server.
    EventTooLarge,
    /// MariaDB does not know a GTID of the set.
    GtidNotFound,
    /// The set holds transactions the server never had.
    GtidDiverged,
    /// A start by GTID needs gtid_mode=ON.
    GtidModeOff,
    /// The server writes no binlog.
    LogBinOff,
    /// The server has no server id.
    ServerIdUnset,
    /// The client did not announce what the server requires (checksums, MariaDB capability).
    ClientTooOld,
    /// The account may not dump.
    AccessDenied,
    /// Known to none of the above.
    Other,
}

impl DumpRefusal {
    /// What a person, or the worker, should do.
    pub const fn mend(self) -> &'static str {
        match self {
            Self::Purged => {
                "the range from here is gone from the source unless another of its binlogs holds it: raise binlog_expire_logs_seconds, and acknowledge the gap to go on at the oldest event"
            }
            Self::ImpossiblePosition | Self::PositionBeyondFile | Self::BadEvent => {
                "the source's file is not the one this position was taken from, or lost its tail (restore, RESET, crash with sync_binlog != 1)"
            }
            Self::ServerIdClash => {
                "give this stream another serverId, or the other replica another server_id"
            }
            Self::EventTooLarge => "raise max_allowed_packet on the source to 1G",
            Self::GtidNotFound | Self::GtidDiverged => {
                "the source's history is not the one this set was taken from"
            }
            Self::GtidModeOff => {
                "set gtid_mode=ON on the source, or start by file position (start.mode: FilePosition)"
            }
            Self::LogBinOff => "start the source with log_bin (--log-bin) and restart it",
            Self::ServerIdUnset => "set server_id on the source to a unique number above 0",
            Self::ClientTooOld => "this server version is not supported; please report it",
            Self::AccessDenied => "GRANT REPLICATION SLAVE ON *.* TO the account",
            Self::Other => "see the source's error log",
        }
    }

    /// The condition's reason it is shown under.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Purged => Reason::BinlogPurged,
            Self::ImpossiblePosition | Self::PositionBeyondFile | Self::BadEvent => {
                Reason::PositionNotFound
            }
            Self::ServerIdClash => Reason::ServerIdConflict,
            Self::GtidNotFound | Self::GtidModeOff => Reason::GtidNotAvailable,
            Self::GtidDiverged => Reason::DivergentHistory,
            Self::LogBinOff => Reason::BinlogDisabled,
            Self::ClientTooOld => Reason::ProtocolError,
            Self::AccessDenied => Reason::MissingGrant,
            Self::EventTooLarge | Self::ServerIdUnset | Self::Other => Reason::SourceError,
        }
    }

    /// Whether connecting again can help.
    pub const fn class(self) -> Class {
        match self {
            Self::Purged
            | Self::ImpossiblePosition
            | Self::PositionBeyondFile
            | Self::BadEvent
            | Self::GtidNotFound
            | Self::GtidDiverged => Class::History,
            Self::ServerIdClash
            | Self::EventTooLarge
            | Self::GtidModeOff
            | Self::LogBinOff
            | Self::ServerIdUnset
            | Self::ClientTooOld
            | Self::AccessDenied => Class::Mend,
            Self::Other => Class::Transient,
        }
    }
}

/// Lower-case fragments, first match wins: longer histories are told apart before shorter ones.
const TEXTS: &[(&str, DumpRefusal)] = &[
    ("same server_uuid/server_id", DumpRefusal::ServerIdClash),
    ("purged required binary logs", DumpRefusal::Purged),
    ("has purged binary logs", DumpRefusal::Purged),
    ("could not find gtid state requested by slave", DumpRefusal::Purged),
    ("could not find first log file name", DumpRefusal::Purged),
    ("could not find next log", DumpRefusal::Purged),
    ("could not open log file", DumpRefusal::Purged),
    ("slave has diverged", DumpRefusal::GtidDiverged),
    ("more gtids than the", DumpRefusal::GtidDiverged),
    ("which is not in the master's binlog", DumpRefusal::GtidNotFound),
    ("is missing the gtid", DumpRefusal::GtidNotFound),
    ("impossible position", DumpRefusal::ImpossiblePosition),
    ("position > file size", DumpRefusal::PositionBeyondFile),
    ("exceeded max_allowed_packet", DumpRefusal::EventTooLarge),
    ("binlog truncated in the middle of event", DumpRefusal::BadEvent),
    ("bogus data in log event", DumpRefusal::BadEvent),
    ("did not pass crc check", DumpRefusal::BadEvent),
    ("did not pass checksum algorithm check", DumpRefusal::BadEvent),
    ("corrupt event", DumpRefusal::ClientTooOld),
    ("can not handle replication events with the checksum", DumpRefusal::ClientTooOld),
    ("can not handle gtid", DumpRefusal::ClientTooOld),
    ("binary log is not open", DumpRefusal::LogBinOff),
    ("auto_position mode: this server has gtid_mode", DumpRefusal::GtidModeOff),
    ("when @@global.gtid_mode = off", DumpRefusal::GtidModeOff),
    ("server_id was not set", DumpRefusal::ServerIdUnset),
    ("server id was not set", DumpRefusal::ServerIdUnset),
];

/// Says what an ERR packet in a dump means.
pub fn classify(error: &ServerError) -> DumpRefusal {
    match error.code {
        // ER_SLAVE_SAME_ID of MariaDB.
        4052 => DumpRefusal::ServerIdClash,
        1227 | 1044 | 1045 | 1142 => DumpRefusal::AccessDenied,
        // ER_MASTER_FATAL_ERROR_READING_BINLOG, ER_SOURCE_HAS_PURGED_REQUIRED_GTIDS.
        1236 | 1789 | 1373 => {
            let text = error.message.to_lowercase();
            TEXTS
                .iter()
                .find(|(fragment, _)| text.contains(fragment))
                .map_or(DumpRefusal::Other, |(_, refusal)| *refusal)
        }
        _ => DumpRefusal::Other,
    }
}

/// Error numbers of plain statements and of the handshake that pass by themselves are transient;
/// those about rights and accounts want a person.
pub(crate) const fn class_of_code(code: u16) -> Class {
    match code {
        // No rights, unknown database or table, account locked or expired, host not allowed.
        1044 | 1045 | 1049 | 1130 | 1142 | 1143 | 1146 | 1227 | 1251 | 1370 | 1524 | 1698
        | 1820 | 1862 | 3118 | 3159 | 3955 | 4151 => Class::Mend,
        _ => Class::Transient,
    }
}

/// The condition's reason of an error number outside a dump.
pub(crate) const fn reason_of_code(code: u16) -> Reason {
    match code {
        1040 | 1203 | 1226 => Reason::TooManyConnections,
        1129 | 1130 => Reason::HostBlocked,
        1045 | 1698 | 3118 | 3955 | 4151 => Reason::AuthFailed,
        1251 | 1524 | 1275 => Reason::AuthUnsupported,
        1820 | 1862 => Reason::PasswordExpired,
        3159 => Reason::TlsFailed,
        1227 => Reason::MissingGrant,
        1044 | 1142 | 1143 | 1370 => Reason::AccessDenied,
        1381 => Reason::BinlogDisabled,
        1053 | 1152 | 1317 | 1927 => Reason::ConnectionLost,
        _ => Reason::SourceError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(message: &str) -> DumpRefusal {
        classify(&ServerError { code: 1236, state: None, message: message.to_owned() })
    }

    #[test]
    fn what_is_wrong_with_an_account_is_told_apart_and_wants_a_person() {
        for (code, reason) in [
            (1045, Reason::AuthFailed),
            (3118, Reason::AuthFailed),
            // Locked after too many refusals: MySQL, MariaDB.
            (3955, Reason::AuthFailed),
            (4151, Reason::AuthFailed),
            (1130, Reason::HostBlocked),
            (1251, Reason::AuthUnsupported),
            (1862, Reason::PasswordExpired),
            (1142, Reason::AccessDenied),
            (1227, Reason::MissingGrant),
        ] {
            assert_eq!(
                (reason_of_code(code), class_of_code(code)),
                (reason, Class::Mend),
                "{code}"
            );
        }
    }

    #[test]
    fn each_text_of_1236_has_its_meaning() {
        use DumpRefusal::*;
        for (text, meaning) in [
            ("Could not find first log file name in binary log index file", Purged),
            (
                "could not find next log; the first event 'b.000001' at 4, the last event read from './b.000003' at 126",
                Purged,
            ),
            (
                "Cannot replicate because the source purged required binary logs. Replicate the missing transactions from elsewhere, or provision a new replica from backup. The GTID set sent by the replica is '', and the missing transactions are '3e11fa47-71ca-11e1-9e33-c80aa9429562:1-2'",
                Purged,
            ),
            (
                "The slave is connecting using CHANGE MASTER TO MASTER_AUTO_POSITION = 1, but the master has purged binary logs containing GTIDs that the slave requires.",
                Purged,
            ),
            (
                "Could not find GTID state requested by slave in any binlog files. Probably the slave state is too old and required binlog files have been purged.",
                Purged,
            ),
            (
                "Error: connecting slave requested to start from GTID 0-1-99, which is not in the master's binlog",
                GtidNotFound,
            ),
            (
                "Error: connecting slave requested to start from GTID 0-1-99, which is not in the master's binlog. Since the master's binlog contains GTIDs with higher sequence numbers, it probably means that the slave has diverged due to executing extra erroneous transactions",
                GtidDiverged,
            ),
            (
                "The binlog on the master is missing the GTID 0-1-7 requested by the slave (even though both a prior and a subsequent sequence number does exist), and GTID strict mode is enabled",
                GtidNotFound,
            ),
            (
                "Replica has more GTIDs than the source has, using the source's SERVER_UUID. This may indicate that the end of the binary log was truncated",
                GtidDiverged,
            ),
            (
                "Slave has more GTIDs than the master has, using the master's SERVER_UUID.",
                GtidDiverged,
            ),
            (
                "Client requested source to start replication from impossible position; the first event '' at 4",
                ImpossiblePosition,
            ),
            (
                "Client requested master to start replication from position > file size",
                PositionBeyondFile,
            ),
            (
                "log event entry exceeded max_allowed_packet; Increase max_allowed_packet on source; the first event 'b.000001' at 4",
                EventTooLarge,
            ),
            (
                "A replica with the same server_uuid/server_id as this replica has connected to the source; the first event",
                ServerIdClash,
            ),
            (
                "A slave with the same server_uuid/server_id as this slave has connected to the master",
                ServerIdClash,
            ),
            (
                "bogus data in log event; the first event 'b.000001' at 126, the last event read from",
                BadEvent,
            ),
            (
                "binlog truncated in the middle of event; consider out of disk space on source",
                BadEvent,
            ),
            ("event read from binlog did not pass crc check", BadEvent),
            (
                "Failed to replace GTID event with backwards-compatible event: corrupt event.",
                ClientTooOld,
            ),
            (
                "Slave can not handle replication events with the checksum that master is configured to log",
                ClientTooOld,
            ),
            ("Binary log is not open", LogBinOff),
            (
                "The replication sender thread cannot start in AUTO_POSITION mode: this server has GTID_MODE = OFF instead of ON.",
                GtidModeOff,
            ),
            ("Misconfigured master - server_id was not set", ServerIdUnset),
            ("a text of a version not yet written", Other),
        ] {
            assert_eq!(refused(text), meaning, "{text}");
        }
    }

    #[test]
    fn codes_speak_where_texts_do_not() {
        let error = |code| ServerError { code, state: None, message: String::new() };
        assert_eq!(classify(&error(4052)), DumpRefusal::ServerIdClash);
        assert_eq!(classify(&error(1227)), DumpRefusal::AccessDenied);
        assert_eq!(classify(&error(1053)), DumpRefusal::Other);
    }

    #[test]
    fn an_unknown_text_is_retried_and_never_taken_for_history() {
        assert_eq!(refused("something new").class(), Class::Transient);
        assert_eq!(refused("Could not find first log file name").class(), Class::History);
    }
}
