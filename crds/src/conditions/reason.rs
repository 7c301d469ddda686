//! Every reason, what it means, and whether waiting can mend it.

use super::UnknownWord;

/// Declares the closed list: variant, kind of fault, meaning.
macro_rules! reasons {
    ($($name:ident, $class:ident, $meaning:literal;)+) => {
        /// Why a condition has its status. The text is the variant's name.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord,
            serde::Serialize, schemars::JsonSchema,
        )]
        pub enum Reason {
            $(#[doc = $meaning] $name,)+
        }

        impl Reason {
            /// Every reason, grouped by what it speaks about.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word in `reason`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// What it means, in one line.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }

            /// What kind of state it names.
            pub const fn class(self) -> ReasonClass {
                match self { $(Self::$name => ReasonClass::$class,)+ }
            }
        }
    };
}

/// What kind of state a reason names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReasonClass {
    /// Nothing is wrong.
    Fine,
    /// Work is under way; time alone ends it.
    Progress,
    /// A fault that may pass; the worker retries with back-off.
    Retried,
    /// A fault that stays until somebody changes something. The worker keeps looking whether they
    /// did, but the stream counts as Stalled.
    Stalled,
    /// Not known.
    Unknown,
}

reasons! {
    // The stream as a whole.
    Streaming, Fine, "the stream runs and all is well";
    Starting, Progress, "the worker is starting: reading its archive, checking the source, claiming";
    RollingOut, Progress, "the Deployment is being rolled out";
    RolloutWaiting, Progress, "a newer worker waits for its turn; the present one goes on";
    RolloutHalted, Stalled, "newer workers failed elsewhere, so this one is left alone; the present one goes on";
    Deleting, Progress, "the BinlogStream is being deleted; archive and checkpoint stay";
    WaitingForOldChildren, Progress, "objects of a deleted BinlogStream of this name are still being collected";
    WorkerNotReady, Retried, "no worker pod is ready";
    PodUnschedulable, Retried, "the worker's pod finds no node";
    ImagePullFailed, Retried, "the worker's image cannot be pulled";
    WorkerCrashing, Retried, "the worker's process ends again and again";
    VolumeNotAttached, Retried, "the volume is still attached to another node or is not bound";
    ApplyFailed, Retried, "the operator could not write the stream's objects";
    ConfigPending, Progress, "the worker has not read the newest configuration yet";
    StatusStale, Unknown, "the worker has not reported for 30 s; what is shown may be old";
    NodeLost, Unknown, "the worker's node has stopped to report; Kubernetes starts the worker elsewhere after 30 s";
    Draining, Progress, "the worker commits what it holds and ends";
    Paused, Fine, "spec.state is Paused: the connection is closed, the pod stays";
    Stopped, Fine, "spec.state is Stopped: there is no pod";
    NotPaused, Fine, "spec.state is Running";
    NotReconciling, Fine, "nothing is being rolled out";
    NotStalled, Fine, "nothing waits for a person";
    Fenced, Stalled, "another instance claimed the stream; this one writes nothing any more";
    // Configuration.
    SpecInvalid, Stalled, "the specification cannot work as it is";
    ConfigInvalid, Stalled, "the worker's configuration file cannot work as it is";
    ImageNotAllowed, Stalled, "worker.image is not on the operator's list of allowed images";
    EndpointNotAllowed, Stalled, "the host or endpoint is an address that is refused";
    SecretMissing, Stalled, "a Secret, a ConfigMap or a key in it does not exist";
    SecretInvalid, Stalled, "a Secret's value cannot be used as what it should be";
    PrefixInUse, Stalled, "two streams of this cluster would write to one archive root";
    ServerIdConflict, Stalled, "the server id is in use by another replica of the source";
    // Source: connection.
    Connected, Fine, "the replication connection is up";
    Connecting, Progress, "the connection to the source is being made";
    DnsFailure, Retried, "the host name does not resolve";
    ConnectionRefused, Retried, "nothing listens at the address";
    ConnectTimeout, Retried, "the source did not answer in time";
    ConnectionLost, Retried, "the connection broke or went silent";
    TooManyConnections, Retried, "the source has no free connection";
    HostBlocked, Stalled, "the source blocks or does not allow the worker's address";
    TlsFailed, Stalled, "the encrypted connection could not be made or the certificate was refused";
    TlsUnsupported, Stalled, "the source offers no TLS, and the mode asks for it";
    AuthFailed, Stalled, "user name or password were refused";
    AuthUnsupported, Stalled, "the account's authentication method is not supported";
    PasswordExpired, Stalled, "the account's password has expired";
    AccessDenied, Stalled, "the account may not do what is needed";
    MissingGrant, Stalled, "the account lacks a privilege";
    // Source: settings and history.
    FlavorMismatch, Stalled, "the server is of another flavor than the one specified or archived";
    VersionUnsupported, Stalled, "the server's version is not supported";
    BinlogDisabled, Stalled, "the source writes no binlog (log_bin is off)";
    BinlogFormatNotRow, Stalled, "the source does not log rows (binlog_format is not ROW)";
    RowImageNotFull, Stalled, "the source does not log full rows (binlog_row_image is not FULL)";
    ReplicaUpdatesNotLogged, Stalled, "the source is a replica that does not log what it replicates";
    BinlogEncryptionUnsupported, Stalled, "the source's binlog is encrypted in a way that is not sent";
    BinlogPurged, Stalled, "the source has purged the position that is needed next";
    PositionNotFound, Stalled, "the source has no such file or position";
    GtidNotAvailable, Stalled, "the source lacks transactions that are needed, or GTIDs are off";
    SourceMoved, Retried, "the host now leads to another server than the open dump";
    LineageMismatch, Stalled, "the server is not the one archived, and nothing proves the same history";
    DivergentHistory, Stalled, "the archive holds transactions that the source does not know";
    RawDiscontinuity, Stalled, "the bytes received do not continue the bytes archived";
    ChecksumMismatch, Retried, "an event's checksum does not match its bytes";
    ProtocolError, Retried, "the source sent something that is not understood";
    SourceError, Retried, "the source answered with an error";
    HeartbeatMissed, Retried, "neither event nor heartbeat arrived for three intervals";
    // Archive.
    Current, Fine, "everything received is durable, or will be within the commit delay";
    Behind, Retried, "what is received becomes durable too late";
    BucketNotFound, Stalled, "the bucket does not exist";
    ArchiveAccessDenied, Stalled, "the object store refuses the request";
    ArchiveAuthFailed, Stalled, "the object store does not know the access key or refuses its signature";
    ArchiveUnreachable, Retried, "the object store cannot be reached";
    ArchiveTlsFailed, Stalled, "the object store's certificate was refused";
    ArchiveThrottled, Retried, "the object store asks to slow down";
    ArchiveFailing, Retried, "the archive answers with errors";
    ArchiveFull, Stalled, "the volume is full";
    ArchiveReadOnly, Stalled, "the volume cannot be written";
    EncryptionKeyUnavailable, Stalled, "the store's encryption key is missing, disabled or not allowed";
    ClockSkewed, Stalled, "the worker's clock differs too much from the store's";
    FencingUnsupported, Stalled, "the store does not make conditional creates exclusive";
    ArchiveOwnedElsewhere, Stalled, "the archive belongs to another cluster, namespace or name";
    ArchiveBehindCheckpoint, Stalled, "the archive lacks commits that the checkpoint knows";
    ArchiveForked, Stalled, "the archive's history differs from the checkpoint's";
    ArchiveDamaged, Stalled, "an entry or an object of the archive is missing or altered";
    LogConflict, Stalled, "a log entry of this epoch exists with other bytes";
    FormatUnsupported, Stalled, "the archive was written by a newer version";
    ForeignTableWriter, Fine, "another program wrote into the published Delta table; its versions are skipped";
    PublishFailed, Retried, "the published Delta table stays behind; the archive itself goes on";
    // Checkpoint.
    Saved, Fine, "the checkpoint follows the log";
    CheckpointWriteFailed, Retried, "the checkpoint could not be written; the archive goes on";
    CheckpointConflict, Retried, "another writer changed the checkpoint";
    CheckpointUnreachable, Retried, "the checkpoint store cannot be reached; the archive goes on";
    CheckpointAccessDenied, Retried, "the checkpoint store refuses the request; the archive goes on";
    CheckpointTableInvalid, Stalled, "the stream_state table exists with another shape";
    // Decoding.
    Decoding, Fine, "every table of the filter is decoded";
    TableStopped, Stalled, "at least one table cannot be decoded and is stopped; raw goes on";
    DecodingFailed, Stalled, "an event cannot be decoded and the change log stands; raw goes on";
    SchemaUnknown, Stalled, "the table's columns are not known for certain";
    PartialRow, Stalled, "the source logged a row that is not whole";
    // Lag.
    CaughtUp, Fine, "everything the source has written was read";
    CatchingUp, Progress, "the worker reads older events and comes closer";
    Idle, Fine, "the source writes nothing; heartbeats prove the connection";
    LagStalled, Retried, "there is more to read and nothing arrives";
    LagUnknown, Unknown, "how far behind the stream is cannot be known now";
    // Gaps.
    NoGap, Fine, "no gap is open";
    GapDetected, Stalled, "events are missing from the archive; acknowledge the gap to go on";
    XaPreparedBeforeStart, Stalled, "a prepared transaction was decided whose rows were never seen";
    RolledBackGroup, Stalled, "a group ended by rollback had changed non-transactional tables";
    CheckpointReset, Fine, "events were passed over because somebody reset the checkpoint";
    CheckpointSet, Fine, "events were passed over because somebody set the checkpoint";
    // What cannot be known, and what should not happen.
    Unknown, Unknown, "not known yet";
    InternalError, Retried, "a fault of the program itself; please report it";
}

impl Reason {
    /// Whether only a change by somebody can end it: the stream counts as Stalled.
    pub const fn is_stalled(self) -> bool {
        matches!(self.class(), ReasonClass::Stalled)
    }
}

impl<'de> serde::Deserialize<'de> for Reason {
    /// A word of a newer program reads as `Unknown`: programs are upgraded at different times.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Ok(text.parse().unwrap_or(Self::Unknown))
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Reason {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let found = Self::ALL.iter().copied().find(|reason| reason.as_str() == text);
        found.ok_or_else(|| UnknownWord(text.to_owned(), "reason"))
    }
}
