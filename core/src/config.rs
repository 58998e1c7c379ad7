//! What can be set: the pool's options, the leak policy, their defaults (written once, here) and their rules.
//!
//! Durations of zero mean "off" where off makes sense. Nothing here connects or reads a clock.

mod build;
mod choice;
mod connect_config;
mod dsn;
pub(crate) mod duration;
mod options;
mod parameters;
mod passfile;
mod scope;
mod validate;

use std::time::Duration;

pub use connect_config::{
    ChangingPassword, ChannelBinding, LoadBalanceHosts, SslMode, SslNegotiation, TargetSessionAttrs,
};
pub use connect_config::{ConnectConfig, Endpoint, Host, Keepalive, RootCertificates, Secret};
pub use duration::{duration_from_millis, duration_from_secs};
pub use options::{Names, OPTIONS, OptionKind, OptionSpec, OptionValue, Settings};

pub(crate) use validate::{check_name, named};

use choice::choices;

/// When force release may take a due checkout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForceReleaseWhen {
    /// As soon as it is due.
    #[default]
    Due,
    /// Only while somebody waits for a connection; then the longest idle suspect first.
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

/// What the detector judges by. Every field can be changed while the pool runs (`reconfigure`).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LeakPolicy {
    /// Unused for that long = suspected. Default 30 s; zero turns detection off.
    pub leak_threshold: Duration,
    /// The longest time between two looks at utilization. Default 5 s.
    pub check_interval: Duration,
    /// `leaks_detected` fires when that many are flagged at once. Default 3; zero = never.
    pub max_leaks_before_alert: u32,
    /// Held that long, being used now and then no longer excuses. `None` = 10 x `leak_threshold`; zero = never.
    pub max_held: Option<Duration>,
    /// Unused for that long = taken back. Default 300 s; zero = never.
    pub force_release_after: Duration,
    /// Take back a checkout whose statement has run for `force_release_after`, too. Default false.
    pub force_release_busy: bool,
    /// When force release may act. Default [`ForceReleaseWhen::Due`].
    pub force_release_when: ForceReleaseWhen,
    /// The event `utilization` fires at this share of `max_size` in use. Default 0.8; zero = never.
    pub utilization_warning: f64,
    /// What an acquire records of its caller. Default [`StackCapture::Full`].
    pub stack_capture: StackCapture,
    /// The most frames that are recorded, 1 to 128. Default 32.
    pub stack_depth: usize,
    /// How SQL is shown. Default [`SqlText::Full`].
    pub sql_text: SqlText,
    /// Whose names stand in what is said about it.
    pub(crate) names: Names,
}

impl Default for LeakPolicy {
    fn default() -> Self {
        LeakPolicy {
            leak_threshold: Duration::from_secs(30),
            check_interval: Duration::from_secs(5),
            max_leaks_before_alert: 3,
            max_held: None,
            force_release_after: Duration::from_secs(300),
            force_release_busy: false,
            force_release_when: ForceReleaseWhen::Due,
            utilization_warning: 0.8,
            stack_capture: StackCapture::Full,
            stack_depth: 32,
            sql_text: SqlText::Full,
            names: Names::Core,
        }
    }
}

impl LeakPolicy {
    /// `max_held` with its default worked out; zero = never.
    pub fn effective_max_held(&self) -> Duration {
        self.max_held.unwrap_or_else(|| self.leak_threshold.saturating_mul(10))
    }
}

/// The pool's own options (everything that is not about leaks).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PoolOptions {
    /// The most connections, 1 to 65,535. Default 10.
    pub max_size: usize,
    /// Connections kept warm. Default 0.
    pub min_idle: usize,
    /// The longest wait of an acquire, all phases together. Default 30 s; zero = for ever.
    pub acquire_timeout: Duration,
    /// An idle connection is closed after that long. Default 600 s; zero = never.
    pub idle_timeout: Duration,
    /// A connection is not lent again after that long. Default 3600 s; zero = no limit.
    pub max_lifetime: Duration,
    /// A connection is closed after that many checkouts. Default 0 = no limit.
    pub max_uses: u64,
    /// How long `close` waits for holders that look honest. Default 30 s; zero = not at all.
    pub close_timeout: Duration,
    /// Repeated SQL of our own conveniences is prepared once per connection. Default true.
    pub statement_cache: StatementCache,
    /// What happens to a session when it is returned. Default [`Reset::Rollback`].
    pub reset: Reset,
    /// A returned session that is not clean by then is closed. Default 5 s.
    pub reset_timeout: Duration,
    /// The pool's name; goes into `application_name`, events and metrics. Default `pool-1`, `pool-2`, ….
    pub name: Option<String>,
    /// Whose names stand in what is said about it.
    pub(crate) names: Names,
}

impl Default for PoolOptions {
    fn default() -> Self {
        PoolOptions {
            max_size: 10,
            min_idle: 0,
            acquire_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(600),
            max_lifetime: Duration::from_secs(3600),
            max_uses: 0,
            close_timeout: Duration::from_secs(30),
            statement_cache: StatementCache::Auto,
            reset: Reset::Rollback,
            reset_timeout: Duration::from_secs(5),
            name: None,
            names: Names::Core,
        }
    }
}
