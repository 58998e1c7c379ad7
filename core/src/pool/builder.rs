//! Building a pool: where its sessions are, its options, its runtime and clock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::runtime::Handle;

use super::handle::Pool;
use super::name::NameClaim;
use super::shared::Shared;
use crate::alert::dispatch::Outbox;
use crate::clock::{Clock, SystemClock};
use crate::config::{
    ConnectConfig, ForceReleaseWhen, LeakPolicy, Names, OptionValue, PoolOptions, Reset, Settings, SqlText,
    StackCapture, StatementCache,
};
use crate::detect::Detector;
use crate::error::{Error, ErrorCode, Result};
use crate::net::tls::Tls;
use crate::session::closer::Closer;

/// Makes a [`Pool`]. Every option has its default (README, "Options"); contradictions are found by
/// [`build`](PoolBuilder::build).
#[derive(Debug)]
#[must_use = "call build()"]
pub struct PoolBuilder {
    target: Target,
    settings: Settings,
    runtime: Option<Handle>,
    clock: Option<Arc<dyn Clock>>,
    /// The first mistake; told by `build`, so that the chain of calls stays a chain.
    mistake: Option<Error>,
}

#[derive(Debug)]
enum Target {
    /// As given, not read yet. Never shown: it may hold a password.
    Dsn(crate::config::Secret),
    Config(Box<ConnectConfig>),
}

macro_rules! options {
    ($($(#[$doc:meta])* $part:ident.$name:ident: $type:ty;)+) => {
        $(
            $(#[$doc])*
            pub fn $name(mut self, value: $type) -> PoolBuilder {
                self.settings.$part.$name = value;
                self
            }
        )+
    };
}

impl Pool {
    /// A builder with every option at its default.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::new()
    }
}

impl PoolBuilder {
    pub(super) fn new() -> PoolBuilder {
        PoolBuilder {
            target: Target::Dsn(crate::config::Secret::new("")),
            settings: Settings::default(),
            runtime: None,
            clock: None,
            mistake: None,
        }
    }

    /// Where to connect: a URL or `key=value` text. What it leaves open comes from the `PG*` environment.
    pub fn dsn(mut self, dsn: &str) -> PoolBuilder {
        self.target = Target::Dsn(crate::config::Secret::new(dsn));
        self
    }

    /// Where to connect, already taken apart.
    pub fn connect_config(mut self, config: ConnectConfig) -> PoolBuilder {
        self.target = Target::Config(Box::new(config));
        self
    }

    /// Whether repeated SQL is kept prepared: `true`, `false`, or [`StatementCache::Auto`], the default, which is yes
    /// unless a connection pooler stands between.
    pub fn statement_cache(mut self, value: impl Into<StatementCache>) -> PoolBuilder {
        self.settings.pool.statement_cache = value.into();
        self
    }

    options! {
        /// The most connections, 1 to 65,535.
        pool.max_size: usize;
        /// Connections kept warm.
        pool.min_idle: usize;
        /// The longest wait of an acquire; zero = for ever.
        pool.acquire_timeout: Duration;
        /// So many acquires may wait for a connection; one more fails at once. Zero = no limit.
        pool.max_waiting: usize;
        /// An idle connection is closed after that long; zero = never.
        pool.idle_timeout: Duration;
        /// A connection is not handed out again after that long (less up to a tenth, so that connections made together
        /// do not end together); zero = no limit.
        pool.max_lifetime: Duration;
        /// A connection is closed after that many checkouts; zero = no limit.
        pool.max_uses: u64;
        /// How long [`Pool::close`] waits for holders that look honest.
        pool.close_timeout: Duration;
        /// What happens to a session when it is returned.
        pool.reset: Reset;
        /// A returned session that is not clean by then is closed.
        pool.reset_timeout: Duration;
        /// Unused for that long = suspected; zero turns detection off.
        leak.leak_threshold: Duration;
        /// The longest time between two looks at utilization.
        leak.check_interval: Duration;
        /// `leaks_detected` fires when that many are flagged at once; zero = never.
        leak.max_leaks_before_alert: u32;
        /// Unused for that long = taken back; zero = never.
        leak.force_release_after: Duration;
        /// Take back a checkout whose statement has run for `force_release_after`, too.
        leak.force_release_busy: bool;
        /// When force release may act.
        leak.force_release_when: ForceReleaseWhen;
        /// The event `utilization` fires at this share of `max_size` in use; zero = never.
        leak.utilization_warning: f64;
        /// What an acquire records of its caller.
        leak.stack_capture: StackCapture;
        /// The most frames that are recorded, 1 to 128.
        leak.stack_depth: usize;
        /// How SQL is shown.
        leak.sql_text: SqlText;
    }

    /// Held that long, being used now and then no longer excuses; zero = never. Not set: 10 x `leak_threshold`.
    pub fn max_held(mut self, value: Duration) -> PoolBuilder {
        self.settings.leak.max_held = Some(value);
        self
    }

    /// The pool's name; goes into `application_name`, events and metrics. Unique in the process.
    pub fn name(mut self, name: impl Into<String>) -> PoolBuilder {
        self.settings.pool.name = Some(name.into());
        self
    }

    /// All leak options at once.
    pub fn policy(mut self, policy: LeakPolicy) -> PoolBuilder {
        self.settings.leak = policy;
        self
    }

    /// All other options at once.
    pub fn options(mut self, options: PoolOptions) -> PoolBuilder {
        self.settings.pool = options;
        self
    }

    /// One option by its name, for those who read them from a file: `set("leak_threshold", "45s")`.
    pub fn set(mut self, name: &str, value: impl Into<OptionValue>) -> PoolBuilder {
        if let Err(e) = self.settings.set(Names::Core, name, value.into()) {
            self.mistake.get_or_insert(e);
        }
        self
    }

    /// The runtime that connections live on. Not set: the one in which `build` is called. It needs I/O and time.
    pub fn runtime(mut self, runtime: Handle) -> PoolBuilder {
        self.runtime = Some(runtime);
        self
    }

    /// The clock that everything is judged by; for tests.
    pub fn clock(mut self, clock: impl Clock + 'static) -> PoolBuilder {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Makes the pool. It connects when it is first asked to (or at once, for `min_idle`).
    ///
    /// # Errors
    /// `InvalidOption` names the option, the value and the rule; `InvalidDsn` the parameter; `NoRuntime` if there
    /// is no tokio runtime.
    pub fn build(self) -> Result<Pool> {
        if let Some(mistake) = self.mistake {
            return Err(mistake);
        }
        self.settings.validate()?;
        let Settings { pool: options, leak: policy, .. } = self.settings;
        let mut target = match self.target {
            Target::Dsn(dsn) => ConnectConfig::parse(dsn.expose())?,
            Target::Config(config) => *config,
        };
        // Files of certificates are looked at now rather than at the first acquire.
        Tls::new(&target)?;
        let runtime = match self.runtime {
            Some(runtime) => runtime,
            None => Handle::try_current().map_err(|e| {
                Error::new(
                    ErrorCode::NoRuntime,
                    "there is no tokio runtime here: build the pool inside one, or give it one with runtime()",
                )
                .with_source(e)
            })?,
        };
        check_runtime(&runtime)?;
        let name = NameClaim::claim(options.name.as_deref())?;
        target.application_name = Some(application_name(target.application_name.as_deref(), name.name()));
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let outbox = Outbox::new()?;
        let detector = Detector::start(name.name().clone(), policy, clock, outbox.clone())?;
        let closer = Closer::shared(|| Ok(Outbox::new()?))?;
        Ok(Pool::of(Shared::new(name, options, target, detector, outbox, runtime, closer)))
    }
}

/// A runtime without I/O or time would make the first acquire panic. tokio has no other way to ask.
fn check_runtime(runtime: &Handle) -> Result<()> {
    let able = catch_unwind(AssertUnwindSafe(|| {
        let _enter = runtime.enter();
        drop(tokio::time::sleep(Duration::ZERO));
        UnixStream::pair().is_ok()
    }));
    match able {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(Error::new(
            ErrorCode::NoRuntime,
            "the tokio runtime of the pool has no I/O or no time: build it with enable_all()",
        )),
    }
}

/// What `pg_stat_activity` shows: the application's own name and the pool's, at most 63 bytes (NAMEDATALEN).
fn application_name(given: Option<&str>, pool: &str) -> String {
    let mut name = match given {
        Some(given) if !given.is_empty() => format!("{given} [{pool}]"),
        Some(_) | None => pool.to_owned(),
    };
    let mut end = name.len().min(63);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    name
}
