//! What the detector and the pool tell: events and their typed reasons. Plain data; nothing here tells anybody.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::facts::{Activity, TransactionStatus};
use super::id::CheckoutId;
use super::site::Site;
use super::verdict::{RevokeReason, Suspicion, Verdict};
use tracing::Level;

use crate::config::Names;
use crate::error::ErrorCode;

/// A live checkout at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CheckoutInfo {
    /// Its id.
    pub id: CheckoutId,
    /// The name of its pool.
    pub pool: Arc<str>,
    /// Where it was acquired.
    pub site: Arc<Site>,
    /// What its caller called it.
    pub label: Option<Arc<str>>,
    /// The host's word for who acquired it (an asyncio task, a thread).
    pub owner: Option<Arc<str>>,
    /// How long it has been held.
    pub held: Duration,
    /// How long it has been of no use; `None` while a statement runs.
    pub idle_for: Option<Duration>,
    /// How long the statement that runs has been running.
    pub executing_for: Option<Duration>,
    /// What its session does now.
    pub activity: Activity,
    /// The transaction status that the server told last.
    pub transaction: TransactionStatus,
    /// What the detector concludes.
    pub verdict: Verdict,
    /// True once it was reported as a leak.
    pub reported: bool,
    /// True if the task or thread that acquired it has ended.
    pub owner_ended: bool,
    /// True if a `LISTEN` was seen on the session.
    pub listening: bool,
    /// The limit that its caller announced.
    pub expected: Option<Duration>,
    /// The last SQL, as `sql_text` allows, and how long ago it was sent.
    pub last_sql: Option<LastSql>,
    /// The server's process.
    pub backend_pid: Option<u32>,
}

/// The last SQL of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastSql {
    /// The text: never with parameter values, at most 4 KiB.
    pub text: String,
    /// How long ago it was sent.
    pub age: Duration,
}

/// Why a checkout was taken away, when, and where it came from. The source of a `ForceReleased` error.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Revocation {
    /// The checkout that ended.
    pub checkout: CheckoutId,
    /// The pool it came from.
    pub pool: Arc<str>,
    /// When it was taken away.
    pub at: SystemTime,
    /// Why.
    pub reason: RevokeReason,
    /// Where it was acquired.
    pub site: Arc<Site>,
    /// How long it had been held.
    pub held: Duration,
    /// How long it had been of no use; `None` if a statement ran.
    pub idle_for: Option<Duration>,
    /// A finalizer showed that the handle cannot be reached any more.
    pub(crate) abandoned: Arc<AtomicBool>,
}

impl Revocation {
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }
}

impl fmt::Display for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "checkout {} of pool {:?} was taken back ", self.checkout, &*self.pool)?;
        if let Ok(ago) = self.at.elapsed() {
            write!(f, "{} ago ", spoken(ago))?;
        }
        match (self.reason, self.idle_for) {
            (RevokeReason::Unused, Some(idle)) => write!(f, "after it had been unused for {}", spoken(idle))?,
            (RevokeReason::Unused, None) => write!(f, "after it had been unused")?,
            (RevokeReason::Busy, _) => write!(f, "because one statement ran for too long")?,
            (RevokeReason::Proven, _) => write!(f, "because its handle had become unreachable")?,
            (RevokeReason::Manual, _) => write!(f, "on request")?,
            (RevokeReason::PoolClosed, _) => write!(f, "because the pool was closed")?,
        }
        write!(f, "; it had been held for {} and was acquired at {}", spoken(self.held), self.site.place())
    }
}

impl StdError for Revocation {}

/// A duration as a person would say it, no finer than that: `250 ms`, `1.5 s`, `12 min 5 s`. (Options are shown
/// exactly: `config::duration::human`.)
pub(crate) fn spoken(d: Duration) -> String {
    let ms = d.as_millis();
    if ms < 1_000 {
        format!("{ms} ms")
    } else if ms < 60_000 {
        let tenths = ms / 100;
        if tenths.is_multiple_of(10) {
            format!("{} s", tenths / 10)
        } else {
            format!("{}.{} s", tenths / 10, tenths % 10)
        }
    } else {
        let s = d.as_secs();
        match (s / 3600, s / 60 % 60, s % 60) {
            (0, m, 0) => format!("{m} min"),
            (0, m, s) => format!("{m} min {s} s"),
            (h, 0, _) => format!("{h} h"),
            (h, m, _) => format!("{h} h {m} min"),
        }
    }
}

/// Why a connection left the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RemoveReason {
    /// Idle for `idle_timeout`.
    Idle,
    /// Older than `max_lifetime`.
    Lifetime,
    /// Checked out `max_uses` times.
    Uses,
    /// Its holder asked for it (`release_broken`).
    Broken,
    /// The session ended by itself (server gone, killed).
    Lost,
    /// It was returned dirty and not clean within `reset_timeout`, or the reset failed.
    Reset,
    /// It was taken away from its holder.
    Revoked,
    /// The pool was made smaller.
    Resized,
    /// The pool was closed.
    PoolClosed,
}

impl RemoveReason {
    /// The name in `snake_case`, the same in every host.
    pub const fn name(self) -> &'static str {
        match self {
            RemoveReason::Idle => "idle",
            RemoveReason::Lifetime => "lifetime",
            RemoveReason::Uses => "uses",
            RemoveReason::Broken => "broken",
            RemoveReason::Lost => "lost",
            RemoveReason::Reset => "reset",
            RemoveReason::Revoked => "revoked",
            RemoveReason::Resized => "resized",
            RemoveReason::PoolClosed => "pool_closed",
        }
    }
}

/// What was open when a connection was returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DirtyReason {
    /// A statement was still running.
    Executing,
    /// A COPY was open, or a result was not read to its end.
    Stalled,
    /// A transaction was open.
    InTransaction,
    /// A failed transaction was open.
    InFailedTransaction,
}

impl DirtyReason {
    /// The name in `snake_case`, the same in every host.
    pub const fn name(self) -> &'static str {
        match self {
            DirtyReason::Executing => "executing",
            DirtyReason::Stalled => "stalled",
            DirtyReason::InTransaction => "in_transaction",
            DirtyReason::InFailedTransaction => "in_failed_transaction",
        }
    }
}

/// What keeps an acquire from getting a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Diagnosis {
    /// Leaked checkouts hold the connections.
    Leak,
    /// Statements run, and hold them.
    SlowQueries,
    /// All are held by healthy users: there are more of them than connections.
    PoolTooSmall,
    /// No connection could be made.
    DatabaseUnreachable,
    /// The server has reached its own limit of connections.
    ServerConnectionLimit,
}

impl Diagnosis {
    /// The name in `snake_case`, the same in every host.
    pub const fn name(self) -> &'static str {
        match self {
            Diagnosis::Leak => "leak",
            Diagnosis::SlowQueries => "slow_queries",
            Diagnosis::PoolTooSmall => "pool_too_small",
            Diagnosis::DatabaseUnreachable => "database_unreachable",
            Diagnosis::ServerConnectionLimit => "server_connection_limit",
        }
    }
}

/// In which phase an acquire ran into its time-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AcquirePhase {
    /// Waiting for a connection that others hold.
    Wait,
    /// Making a new connection.
    Connect,
}

impl AcquirePhase {
    /// The name in `snake_case`, the same in every host.
    pub const fn name(self) -> &'static str {
        match self {
            AcquirePhase::Wait => "wait",
            AcquirePhase::Connect => "connect",
        }
    }
}

/// An acquire that ran into its time-out: why, and who holds the connections. The source of `AcquireTimeout`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Exhausted {
    /// What keeps it waiting.
    pub diagnosis: Diagnosis,
    /// In which phase.
    pub phase: AcquirePhase,
    /// How long it waited.
    pub waited: Duration,
    /// The pool's limit then.
    pub max_size: usize,
    /// How many other acquires waited.
    pub waiting: usize,
    /// Sessions that were still ending on the server and count against its limit.
    pub ending: usize,
    /// Who held the connections, longest idle first.
    pub holders: Vec<CheckoutInfo>,
    /// The last error of an attempt to connect.
    pub last_error: Option<String>,
    /// Whose option names stand in its advice.
    pub(crate) names: Names,
}

/// What happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EventData {
    /// A connection was made.
    Connect {
        /// The server's process.
        backend_pid: Option<u32>,
        /// How long it took.
        took: Duration,
    },
    /// A checkout began.
    Acquire {
        /// Which.
        id: CheckoutId,
        /// Where.
        site: Arc<Site>,
        /// How long it had waited.
        waited: Duration,
    },
    /// A checkout was ended by its holder.
    Release {
        /// Which.
        id: CheckoutId,
        /// How long it was held.
        held: Duration,
    },
    /// A connection left the pool.
    Remove {
        /// Why.
        reason: RemoveReason,
        /// The server's process.
        backend_pid: Option<u32>,
    },
    /// Something failed that no caller waits for: an idle session died, a warm-up could not connect.
    Error {
        /// The code.
        code: ErrorCode,
        /// The sentence.
        message: String,
    },
    /// A checkout is reported as leaked, once.
    Leak {
        /// Which.
        checkout: Box<CheckoutInfo>,
        /// Why, where it is only suspected.
        suspicion: Option<Suspicion>,
    },
    /// As many as `max_leaks_before_alert` are flagged at once.
    LeaksDetected {
        /// All that are flagged now.
        leaks: Vec<CheckoutInfo>,
    },
    /// A checkout that had been reported was released after all.
    LeakRecovered {
        /// Which, as it was then.
        checkout: Box<CheckoutInfo>,
    },
    /// A statement runs on a checkout that is over the threshold; told once per checkout.
    LongRunning {
        /// Which.
        checkout: Box<CheckoutInfo>,
    },
    /// A checkout was taken away from its holder.
    ForceRelease {
        /// Which, as it was then.
        checkout: Box<CheckoutInfo>,
        /// Why.
        reason: RevokeReason,
    },
    /// A holder used what had been taken away (told for the first use).
    LateUse {
        /// The checkout and how it ended.
        revocation: Arc<Revocation>,
    },
    /// A holder released what had been taken away.
    LateRelease {
        /// The checkout and how it ended.
        revocation: Arc<Revocation>,
    },
    /// A connection was returned with something open.
    DirtyRelease {
        /// Which.
        id: CheckoutId,
        /// Where it was acquired.
        site: Arc<Site>,
        /// What was open.
        found: DirtyReason,
        /// The last SQL.
        last_sql: Option<LastSql>,
    },
    /// An acquire ran into its time-out.
    Exhausted(Arc<Exhausted>),
    /// The share of connections in use has reached `utilization_warning`.
    Utilization {
        /// Connections in use.
        in_use: usize,
        /// The pool's limit.
        max_size: usize,
    },
}

macro_rules! event_kinds {
    ($($variant:ident = $name:literal;)+) => {
        /// The kind of an event, for those who want only some.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum EventKind {
            $(#[doc = concat!("`", $name, "`")] $variant,)+
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$variant),+];

            /// The name in `snake_case`, the same in every host.
            pub const fn name(self) -> &'static str {
                match self { $(EventKind::$variant => $name,)+ }
            }
        }
    };
}

event_kinds! {
    Connect = "connect";
    Acquire = "acquire";
    Release = "release";
    Remove = "remove";
    Error = "error";
    Leak = "leak";
    LeaksDetected = "leaks_detected";
    LeakRecovered = "leak_recovered";
    LongRunning = "long_running";
    ForceRelease = "force_release";
    LateUse = "late_use";
    LateRelease = "late_release";
    DirtyRelease = "dirty_release";
    Exhausted = "exhausted";
    Utilization = "utilization";
}

impl EventKind {
    pub(crate) const fn bit(self) -> u32 {
        1 << self as u8
    }
}

impl EventData {
    /// Its kind.
    pub fn kind(&self) -> EventKind {
        match self {
            EventData::Connect { .. } => EventKind::Connect,
            EventData::Acquire { .. } => EventKind::Acquire,
            EventData::Release { .. } => EventKind::Release,
            EventData::Remove { .. } => EventKind::Remove,
            EventData::Error { .. } => EventKind::Error,
            EventData::Leak { .. } => EventKind::Leak,
            EventData::LeaksDetected { .. } => EventKind::LeaksDetected,
            EventData::LeakRecovered { .. } => EventKind::LeakRecovered,
            EventData::LongRunning { .. } => EventKind::LongRunning,
            EventData::ForceRelease { .. } => EventKind::ForceRelease,
            EventData::LateUse { .. } => EventKind::LateUse,
            EventData::LateRelease { .. } => EventKind::LateRelease,
            EventData::DirtyRelease { .. } => EventKind::DirtyRelease,
            EventData::Exhausted(_) => EventKind::Exhausted,
            EventData::Utilization { .. } => EventKind::Utilization,
        }
    }

    /// The checkout that it is about, if it is about one.
    pub fn checkout(&self) -> Option<CheckoutId> {
        match self {
            EventData::Acquire { id, .. }
            | EventData::Release { id, .. }
            | EventData::DirtyRelease { id, .. } => Some(*id),
            EventData::Leak { checkout, .. }
            | EventData::LeakRecovered { checkout }
            | EventData::LongRunning { checkout }
            | EventData::ForceRelease { checkout, .. } => Some(checkout.id),
            EventData::LateUse { revocation } | EventData::LateRelease { revocation } => {
                Some(revocation.checkout)
            }
            EventData::Connect { .. }
            | EventData::Remove { .. }
            | EventData::Error { .. }
            | EventData::LeaksDetected { .. }
            | EventData::Exhausted(_)
            | EventData::Utilization { .. } => None,
        }
    }
}

/// Something that happened in a pool.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Event {
    /// The pool's name.
    pub pool: Arc<str>,
    /// When, by the wall clock.
    pub at: SystemTime,
    /// What.
    pub data: EventData,
}

impl Event {
    /// Its kind.
    pub fn kind(&self) -> EventKind {
        self.data.kind()
    }
}

/// Writes a line to the log.
pub(crate) type LogLine = Box<dyn FnOnce() + Send>;

/// Whoever takes events from a detector. `send` never blocks: it enqueues, or counts a loss.
pub(crate) trait EventSink: Send + Sync + fmt::Debug {
    /// True if anybody listens to this kind.
    fn wants(&self, kind: EventKind) -> bool;
    /// Takes one event, in order.
    fn send(&self, event: Event);
    /// True if lines of this level are read by anybody.
    fn reads(&self, level: Level) -> bool;
    /// Takes a line for the log, which is written on a thread that may wait: a subscriber of `tracing` is host code.
    fn log(&self, level: Level, line: LogLine);
    /// Takes a sentence for the log about something that went wrong in the library itself.
    fn complain(&self, text: &'static str);
    /// How many were lost because a subscriber was too slow.
    fn dropped(&self) -> u64;
}
