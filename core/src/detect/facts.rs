//! What is known of a session and its checkout at one moment, as plain data.

use std::fmt;

use crate::clock::Nanos;

/// What a session is doing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activity {
    /// The server works on a statement.
    Executing,
    /// The server waits for its client: an open `COPY … FROM STDIN`, or a result that is not read.
    Stalled,
    /// Nothing runs, no transaction is open.
    Idle,
    /// Nothing runs, a transaction is open.
    IdleInTransaction,
    /// Nothing runs, a transaction is open and has failed.
    IdleInFailedTransaction,
    /// Not known: another caller's driver does something that nobody follows. It is not "unused".
    Unknown,
}

impl Activity {
    /// The name in `snake_case`, the same in every host.
    pub const fn name(self) -> &'static str {
        match self {
            Activity::Executing => "executing",
            Activity::Stalled => "stalled",
            Activity::Idle => "idle",
            Activity::IdleInTransaction => "idle_in_transaction",
            Activity::IdleInFailedTransaction => "idle_in_failed_transaction",
            Activity::Unknown => "unknown",
        }
    }

    /// What a person reads: `idle in transaction`.
    pub const fn words(self) -> &'static str {
        match self {
            Activity::Executing => "executing",
            Activity::Stalled => "stalled",
            Activity::Idle => "idle",
            Activity::IdleInTransaction => "idle in transaction",
            Activity::IdleInFailedTransaction => "idle in failed transaction",
            Activity::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// The transaction status of a `ReadyForQuery` message (PostgreSQL, "Message Formats").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TransactionStatus {
    /// `I`: not in a transaction.
    #[default]
    Idle,
    /// `T`: in a transaction.
    InTransaction,
    /// `E`: in a failed transaction.
    Failed,
}

impl TransactionStatus {
    /// From the body of a ReadyForQuery; `None` for what the protocol does not know.
    pub(crate) fn from_wire(body: &[u8]) -> Option<TransactionStatus> {
        match body {
            b"I" => Some(TransactionStatus::Idle),
            b"T" => Some(TransactionStatus::InTransaction),
            b"E" => Some(TransactionStatus::Failed),
            _ => None,
        }
    }
}

/// What is known of a session's traffic, published as one word so that a reader never sees half of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Traffic {
    pub(crate) transaction: TransactionStatus,
    /// Requests that the server owes an answer to, from their first byte on; without batches of Close alone, which
    /// are no use of the connection.
    pub(crate) outstanding: u32,
    /// The server waits for its client: for copy data, or for the Sync behind what it has refused.
    pub(crate) awaits_client: bool,
    /// Bytes are on their way to the server.
    pub(crate) sending: bool,
    /// The client has stopped reading an unfinished result.
    pub(crate) unread: bool,
    /// A `LISTEN` was seen since the last reset, or a notification.
    pub(crate) listening: bool,
    /// Something ran since then that may have listened without a word.
    pub(crate) may_listen: bool,
    /// Nobody knows what the session does: a driver that is watched has ways to it that nobody follows.
    pub(crate) unknown: bool,
    /// The one request that is outstanding has had its last answer; only its ReadyForQuery is to come.
    pub(crate) answered: bool,
}

impl Traffic {
    pub(super) fn pack(self) -> u64 {
        let status = match self.transaction {
            TransactionStatus::Idle => 0,
            TransactionStatus::InTransaction => 1,
            TransactionStatus::Failed => 2,
        };
        status
            | (u64::from(self.awaits_client) << 2)
            | (u64::from(self.unread) << 3)
            | (u64::from(self.listening) << 4)
            | (u64::from(self.answered) << 5)
            | (u64::from(self.sending) << 6)
            | (u64::from(self.unknown) << 8)
            | (u64::from(self.may_listen) << 7)
            | (u64::from(self.outstanding) << 32)
    }

    pub(super) fn unpack(raw: u64) -> Traffic {
        Traffic {
            transaction: match raw & 3 {
                0 => TransactionStatus::Idle,
                1 => TransactionStatus::InTransaction,
                _ => TransactionStatus::Failed,
            },
            awaits_client: raw & 4 != 0,
            unread: raw & 8 != 0,
            listening: raw & 16 != 0,
            answered: raw & 32 != 0,
            sending: raw & 64 != 0,
            unknown: raw & 256 != 0,
            may_listen: raw & 128 != 0,
            outstanding: (raw >> 32) as u32,
        }
    }

    /// The session hears notifications, or may: it is not checked out to anybody else like that.
    pub(crate) fn may_hear(self) -> bool {
        self.listening || self.may_listen
    }

    /// What the session is doing. Idle means that the server owes nothing and no byte is on its way to it.
    pub(crate) fn activity(self) -> Activity {
        if self.unknown {
            Activity::Unknown
        } else if (self.awaits_client && !self.sending) || (self.outstanding > 0 && self.unread) {
            Activity::Stalled
        } else if self.outstanding > 0 || self.sending {
            // Copy data that the server does not take are its work, too.
            Activity::Executing
        } else {
            match self.transaction {
                TransactionStatus::Idle => Activity::Idle,
                TransactionStatus::InTransaction => Activity::IdleInTransaction,
                TransactionStatus::Failed => Activity::IdleInFailedTransaction,
            }
        }
    }
}

/// The facts that a verdict needs, read from a slot at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) acquired_at: Nanos,
    /// When the session was last of use to its holder; never before `acquired_at`.
    pub(crate) last_use: Nanos,
    pub(crate) last_byte: Nanos,
    pub(crate) statement_started: Nanos,
    pub(crate) traffic: Traffic,
    /// The caller's own limit; zero = none.
    pub(crate) expected: Nanos,
    pub(crate) proven: bool,
}
