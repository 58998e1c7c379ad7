//! The pool's own options, with their defaults.

use std::time::Duration;

use super::enums::{Reset, StatementCache};
use super::names::Names;

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
    /// So many acquires may wait for a connection; one more fails at once. Default 0 = no limit.
    pub max_waiting: usize,
    /// An idle connection is closed after that long. Default 600 s; zero = never.
    pub idle_timeout: Duration,
    /// A connection is not handed out again after that long. Default 3600 s; zero = no limit.
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
            max_waiting: 0,
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
