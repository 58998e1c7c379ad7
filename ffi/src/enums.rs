//! The enums of the header, and what they are in the core. A number of theirs never changes its meaning.

use leakpool::EventKind;

/// The kind of an event.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum leakpool_event_kind {
    /// A connection was made.
    LEAKPOOL_EVENT_CONNECT = 0,
    /// A checkout began.
    LEAKPOOL_EVENT_ACQUIRE = 1,
    /// A checkout was ended by its holder.
    LEAKPOOL_EVENT_RELEASE = 2,
    /// A connection left the pool.
    LEAKPOOL_EVENT_REMOVE = 3,
    /// Something failed that no caller waits for.
    LEAKPOOL_EVENT_ERROR = 4,
    /// A checkout is reported as leaked, once.
    LEAKPOOL_EVENT_LEAK = 5,
    /// As many as max_leaks_before_alert are flagged at once.
    LEAKPOOL_EVENT_LEAKS_DETECTED = 6,
    /// A checkout that had been reported was released after all.
    LEAKPOOL_EVENT_LEAK_RECOVERED = 7,
    /// A statement runs on a checkout that is over the threshold; told once for each checkout.
    LEAKPOOL_EVENT_LONG_RUNNING = 8,
    /// A checkout was taken away from its holder.
    LEAKPOOL_EVENT_FORCE_RELEASE = 9,
    /// A holder used what had been taken away.
    LEAKPOOL_EVENT_LATE_USE = 10,
    /// A holder released what had been taken away.
    LEAKPOOL_EVENT_LATE_RELEASE = 11,
    /// A connection was released with something open.
    LEAKPOOL_EVENT_DIRTY_RELEASE = 12,
    /// An acquire ran into its time-out.
    LEAKPOOL_EVENT_EXHAUSTED = 13,
    /// The share of connections in use has reached utilization_warning.
    LEAKPOOL_EVENT_UTILIZATION = 14,
}

impl From<EventKind> for leakpool_event_kind {
    fn from(kind: EventKind) -> leakpool_event_kind {
        match kind {
            EventKind::Connect => leakpool_event_kind::LEAKPOOL_EVENT_CONNECT,
            EventKind::Acquire => leakpool_event_kind::LEAKPOOL_EVENT_ACQUIRE,
            EventKind::Release => leakpool_event_kind::LEAKPOOL_EVENT_RELEASE,
            EventKind::Remove => leakpool_event_kind::LEAKPOOL_EVENT_REMOVE,
            EventKind::Error => leakpool_event_kind::LEAKPOOL_EVENT_ERROR,
            EventKind::Leak => leakpool_event_kind::LEAKPOOL_EVENT_LEAK,
            EventKind::LeaksDetected => leakpool_event_kind::LEAKPOOL_EVENT_LEAKS_DETECTED,
            EventKind::LeakRecovered => leakpool_event_kind::LEAKPOOL_EVENT_LEAK_RECOVERED,
            EventKind::LongRunning => leakpool_event_kind::LEAKPOOL_EVENT_LONG_RUNNING,
            EventKind::ForceRelease => leakpool_event_kind::LEAKPOOL_EVENT_FORCE_RELEASE,
            EventKind::LateUse => leakpool_event_kind::LEAKPOOL_EVENT_LATE_USE,
            EventKind::LateRelease => leakpool_event_kind::LEAKPOOL_EVENT_LATE_RELEASE,
            EventKind::DirtyRelease => leakpool_event_kind::LEAKPOOL_EVENT_DIRTY_RELEASE,
            EventKind::Exhausted => leakpool_event_kind::LEAKPOOL_EVENT_EXHAUSTED,
            EventKind::Utilization => leakpool_event_kind::LEAKPOOL_EVENT_UTILIZATION,
        }
    }
}

/// When force release may take what is due (leakpool_options.force_release_when).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub enum leakpool_force_release_when {
    /// As soon as it is due.
    LEAKPOOL_WHEN_DUE = 0,
    /// Only while a caller waits for a connection.
    LEAKPOOL_WHEN_EXHAUSTED = 1,
}

/// How much of the call stack an acquire records (leakpool_options.stack_capture). A C program tells one line.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub enum leakpool_stack_capture {
    /// Everything that is known.
    LEAKPOOL_STACK_FULL = 0,
    /// The call site alone.
    LEAKPOOL_STACK_SITE = 1,
    /// Nothing.
    LEAKPOOL_STACK_OFF = 2,
}

/// How SQL is shown in reports, events and errors (leakpool_options.sql_text).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub enum leakpool_sql_text {
    /// The text; never parameter values, and no passwords.
    LEAKPOOL_SQL_FULL = 0,
    /// The text with every literal replaced.
    LEAKPOOL_SQL_FINGERPRINT = 1,
    /// Not at all.
    LEAKPOOL_SQL_OFF = 2,
}

/// What happens to a session when it is released (leakpool_options.reset).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub enum leakpool_reset {
    /// An open transaction is rolled back, LISTENs are ended.
    LEAKPOOL_RESET_ROLLBACK = 0,
    /// Nothing: a session with something open is closed.
    LEAKPOOL_RESET_NONE = 1,
    /// Settings, temporary tables, advisory locks and LISTENs too; prepared statements are kept.
    LEAKPOOL_RESET_SESSION = 2,
}

/// How values travel (leakpool_param.format, and the results of queries).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub enum leakpool_format {
    /// As the type's text, in the session's DateStyle, TimeZone and so on.
    LEAKPOOL_TEXT = 0,
    /// As the type's binary form, in network byte order.
    LEAKPOOL_BINARY = 1,
}

/// The transaction status of a session. The numbers are those of libpq's PGTransactionStatusType.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum leakpool_transaction {
    /// Not in a transaction.
    LEAKPOOL_TX_IDLE = 0,
    /// In a transaction.
    LEAKPOOL_TX_OPEN = 2,
    /// In a transaction that has failed.
    LEAKPOOL_TX_FAILED = 3,
}

impl From<leakpool::TransactionStatus> for leakpool_transaction {
    fn from(status: leakpool::TransactionStatus) -> leakpool_transaction {
        match status {
            leakpool::TransactionStatus::Idle => leakpool_transaction::LEAKPOOL_TX_IDLE,
            leakpool::TransactionStatus::InTransaction => leakpool_transaction::LEAKPOOL_TX_OPEN,
            leakpool::TransactionStatus::Failed => leakpool_transaction::LEAKPOOL_TX_FAILED,
        }
    }
}

/// What the session of a checkout does now.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum leakpool_activity {
    /// The server works on a statement.
    LEAKPOOL_EXECUTING = 0,
    /// The server waits for its client: an open COPY FROM STDIN, or a result that is not read.
    LEAKPOOL_STALLED = 1,
    /// Nothing runs, no transaction is open.
    LEAKPOOL_IDLE = 2,
    /// Nothing runs, a transaction is open.
    LEAKPOOL_IDLE_IN_TRANSACTION = 3,
    /// Nothing runs, a transaction is open and has failed.
    LEAKPOOL_IDLE_IN_FAILED_TRANSACTION = 4,
    /// Not known (leakpool_detector_unknown): which is not unused.
    LEAKPOOL_ACTIVITY_UNKNOWN = 5,
}

/// What the detector concludes about a checkout.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum leakpool_verdict {
    /// Held for less than leak_threshold.
    LEAKPOOL_HEALTHY = 0,
    /// Held for longer, but at work or recently used.
    LEAKPOOL_BUSY = 1,
    /// Within the duration that its caller announced.
    LEAKPOOL_EXPECTED = 2,
    /// Probably leaked.
    LEAKPOOL_SUSPECTED = 3,
    /// Certainly leaked: the handle cannot be reached any more.
    LEAKPOOL_PROVEN = 4,
}

/// How much a line of the log matters. See leakpool_log_set().
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum leakpool_log_level {
    /// Nothing is logged.
    LEAKPOOL_LOG_OFF = 0,
    /// A leak, a pool that is exhausted, and a panic of the library itself.
    LEAKPOOL_LOG_ERROR = 1,
    /// A force release, a dirty or late release, a cancel request that was not delivered.
    LEAKPOOL_LOG_WARN = 2,
    /// A leak that has recovered, a statement that runs for long, a pooler that was found.
    LEAKPOOL_LOG_INFO = 3,
    /// Notices of the server, sessions that end.
    LEAKPOOL_LOG_DEBUG = 4,
    /// Every acquire and release.
    LEAKPOOL_LOG_TRACE = 5,
}
