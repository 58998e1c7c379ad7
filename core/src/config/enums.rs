//! The options that take one of a few words.

use super::enum_names::choices;

/// When force release may take a due checkout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForceReleaseWhen {
    /// As soon as it is due.
    #[default]
    Due,
    /// Only while a caller waits for a connection; then the longest idle suspect first.
    Exhausted,
}

/// How much of the call stack an acquire records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StackCapture {
    /// The call site and the whole stack.
    #[default]
    Full,
    /// The call site alone.
    Site,
    /// Nothing.
    Off,
}

/// How SQL is shown in reports, events and errors. Parameter values are never shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SqlText {
    /// The text, literals after `PASSWORD` masked, cut at 4 KiB.
    #[default]
    Full,
    /// The text with every literal replaced.
    Fingerprint,
    /// Not at all.
    Off,
}

/// What happens to a session when it is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reset {
    /// An open transaction is rolled back, `LISTEN`s are ended.
    #[default]
    Rollback,
    /// Nothing beyond what law 3 demands: a dirty session is closed.
    None,
    /// Settings, temporary tables, advisory locks and `LISTEN`s too; prepared statements are kept.
    Session,
}

/// Whether repeated SQL is kept prepared under a name on each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StatementCache {
    /// Yes, unless a connection pooler stands between: it is found out when a connection is made.
    #[default]
    Auto,
    /// Yes, whatever stands between.
    On,
    /// No.
    Off,
}

impl From<bool> for StatementCache {
    fn from(on: bool) -> StatementCache {
        if on { StatementCache::On } else { StatementCache::Off }
    }
}

choices! {
    ForceReleaseWhen { Due = "due", Exhausted = "exhausted" }
    StackCapture { Full = "full", Site = "site", Off = "off" }
    SqlText { Full = "full", Fingerprint = "fingerprint", Off = "off" }
    Reset { Rollback = "rollback", None = "none", Session = "session" }
    StatementCache { Auto = "auto", On = "true", Off = "false" }
}
