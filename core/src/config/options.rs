//! The one table of options: names in every host's casing, kinds, defaults as text. Whatever sets, lists or
//! suggests an option by name goes through it. The fields and their defaults live in `policy.rs` and `pool_options.rs`.

use std::fmt;
use std::time::Duration;

use super::duration::{duration_from_millis, duration_from_secs, from_text, human};
use super::enum_names::nearest;
use super::enums::{ForceReleaseWhen, Reset, SqlText, StackCapture, StatementCache};
use super::names::Names;
use super::policy::LeakPolicy;
use super::pool_options::PoolOptions;
use crate::error::{Error, ErrorCode, Result};

/// What kind of value an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// A whole number, 0 or more.
    Integer,
    /// A number from 0 to 1.
    Share,
    /// A duration.
    Duration,
    /// True or false.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A text.
    Text,
}

/// A value on its way from a host to an option.
#[derive(Debug, Clone, PartialEq)]
pub enum OptionValue {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction; whole ones are taken for integers too, since some hosts have no others.
    Number(f64),
    /// A duration in seconds.
    Seconds(f64),
    /// A duration in milliseconds.
    Millis(f64),
    /// A text; durations as `30 s`.
    Text(String),
}

impl fmt::Display for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionValue::Bool(v) => v.fmt(f),
            OptionValue::Integer(v) => v.fmt(f),
            OptionValue::Number(v) => v.fmt(f),
            OptionValue::Seconds(v) => write!(f, "{v} s"),
            OptionValue::Millis(v) => write!(f, "{v} ms"),
            // Cut, so that a whole file given by mistake does not fill the log.
            OptionValue::Text(v) => v.chars().take(80).collect::<String>().fmt(f),
        }
    }
}

/// All options of a pool: its own and those of the detector.
///
/// ```
/// use leakpool::{Names, OptionValue, Settings};
/// let mut settings = Settings::default();
/// settings.set(Names::Core, "max_size", OptionValue::Integer(20)).unwrap();
/// settings.set(Names::Node, "leakThresholdMs", OptionValue::Millis(1500.0)).unwrap();
/// settings.validate().unwrap();
/// let e = settings.set(Names::Core, "max_sise", OptionValue::Integer(20)).unwrap_err();
/// assert_eq!(e.to_string(), "there is no option max_sise; did you mean max_size?");
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// The pool's own options.
    pub pool: PoolOptions,
    /// What the detector judges by.
    pub leak: LeakPolicy,
}

/// One option: what it is called, takes and does.
#[derive(Debug)]
#[non_exhaustive]
pub struct OptionSpec {
    /// Its name in Rust and C.
    pub name: &'static str,
    /// Its name in Node.
    pub node: &'static str,
    /// Its name in Python.
    pub python: &'static str,
    /// What it takes.
    pub kind: OptionKind,
    /// Its default in Rust and C, as text.
    pub default: &'static str,
    /// True if it can be changed while the pool runs.
    pub live: bool,
    /// What it does, in one line.
    pub doc: &'static str,
    set: fn(&mut Settings, &str, OptionValue) -> Result<()>,
    get: fn(&Settings) -> String,
}

impl OptionSpec {
    /// The option with this name in that host.
    ///
    /// # Errors
    /// `InvalidOption` if there is none, with the nearest known name.
    ///
    /// ```
    /// use leakpool::{Names, OptionSpec};
    /// let spec = OptionSpec::named(Names::Node, "idleTimeoutMillis").unwrap();
    /// assert_eq!((spec.name, spec.default), ("idle_timeout", "600 s"));
    /// assert!(OptionSpec::named(Names::Core, "idle").is_err());
    /// ```
    pub fn named(names: Names, name: &str) -> Result<&'static OptionSpec> {
        OPTIONS.iter().find(|o| o.name_in(names) == name).ok_or_else(|| {
            let shown: String = name.chars().take(80).collect();
            let hint = match OptionSpec::nearest(names, name) {
                Some(known) => format!("; did you mean {known}?"),
                None => {
                    let known: Vec<_> = OPTIONS.iter().map(|o| o.name_in(names)).collect();
                    format!("; there are {}", known.join(", "))
                }
            };
            Error::new(ErrorCode::InvalidOption, format!("there is no option {shown}{hint}"))
        })
    }

    /// The nearest name of an option in that host, if one is near; the name itself if there is such an option.
    pub fn nearest(names: Names, name: &str) -> Option<&'static str> {
        match OPTIONS.iter().find(|o| o.name_in(names) == name) {
            Some(spec) => Some(spec.name_in(names)),
            None => nearest(name, OPTIONS.iter().map(|o| o.name_in(names))),
        }
    }

    /// Its name in that host.
    pub fn name_in(&self, names: Names) -> &'static str {
        match names {
            Names::Core => self.name,
            Names::Node => self.node,
            Names::Python => self.python,
        }
    }

    /// A bare number of that host as a value of this option: a duration in the host's unit, if it is one.
    pub fn number(&self, names: Names, number: f64) -> OptionValue {
        match (self.kind, names) {
            (OptionKind::Duration, Names::Python) => OptionValue::Seconds(number),
            (OptionKind::Duration, Names::Node) if self.node.ends_with("Seconds") => {
                OptionValue::Seconds(number)
            }
            (OptionKind::Duration, Names::Node) => OptionValue::Millis(number),
            (OptionKind::Duration, Names::Core)
            | (
                OptionKind::Integer
                | OptionKind::Share
                | OptionKind::Flag
                | OptionKind::Choice(_)
                | OptionKind::Text,
                _,
            ) => OptionValue::Number(number),
        }
    }
}

impl Settings {
    /// The defaults of that host: where its own ecosystem's pool has another one, that one.
    pub fn defaults(names: Names) -> Settings {
        let mut settings = Settings::default();
        (settings.pool.names, settings.leak.names) = (names, names);
        match names {
            Names::Core => {}
            Names::Node => {
                settings.pool.idle_timeout = Duration::from_secs(10);
                settings.pool.max_lifetime = Duration::ZERO;
            }
            Names::Python => settings.pool.close_timeout = Duration::from_secs(5),
        }
        settings
    }

    /// Sets one option by its name in that host. Rules that bind several options are checked by
    /// [`validate`](Settings::validate), so that the order of setting does not matter.
    ///
    /// # Errors
    /// `InvalidOption`: no such option, a value of the wrong type, or a number that the type cannot hold.
    pub fn set(&mut self, names: Names, name: &str, value: OptionValue) -> Result<()> {
        let spec = OptionSpec::named(names, name)?;
        (spec.set)(self, name, value)
    }

    /// The value of one option as text.
    ///
    /// # Errors
    /// `InvalidOption` if there is no such option.
    pub fn get(&self, names: Names, name: &str) -> Result<String> {
        OptionSpec::named(names, name).map(|spec| (spec.get)(self))
    }
}

/// A type that an option can have: how it is taken from a host's value, and shown.
trait Field: Sized {
    const KIND: OptionKind;
    fn take(name: &str, value: OptionValue) -> Result<Self>;
    fn show(&self) -> String;
}

fn whole(name: &str, value: OptionValue, max: u64) -> Result<u64> {
    let number = match value {
        OptionValue::Integer(n) => u64::try_from(n).ok(),
        // Every whole number up to 2^53 is exact in an f64; beyond it the host has lost digits already.
        OptionValue::Number(n) if n.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&n) => {
            Some(n as u64)
        }
        OptionValue::Bool(_)
        | OptionValue::Number(_)
        | OptionValue::Seconds(_)
        | OptionValue::Millis(_)
        | OptionValue::Text(_) => None,
    };
    match number {
        Some(n) if n <= max => Ok(n),
        Some(_) | None => Err(Error::option(name, value, format_args!("must be a whole number, 0 to {max}"))),
    }
}

macro_rules! whole_number_fields {
    ($($type:ty: $max:expr),+) => {$(
        impl Field for $type {
            const KIND: OptionKind = OptionKind::Integer;
            fn take(name: &str, value: OptionValue) -> Result<Self> {
                let n = whole(name, value, $max)?;
                <$type>::try_from(n).map_err(|_| Error::option(name, n, "is too large"))
            }
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

// 2^53 for the widest: the largest that Node can say exactly, and a `max_uses` that nobody reaches.
whole_number_fields!(usize: 65_535, u32: u64::from(u32::MAX), u64: 9_007_199_254_740_992);

impl Field for bool {
    const KIND: OptionKind = OptionKind::Flag;
    fn take(name: &str, value: OptionValue) -> Result<bool> {
        match value {
            OptionValue::Bool(v) => Ok(v),
            OptionValue::Text(ref t) if t == "true" => Ok(true),
            OptionValue::Text(ref t) if t == "false" => Ok(false),
            OptionValue::Integer(_)
            | OptionValue::Number(_)
            | OptionValue::Seconds(_)
            | OptionValue::Millis(_)
            | OptionValue::Text(_) => Err(Error::option(name, value, "must be true or false")),
        }
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Field for f64 {
    const KIND: OptionKind = OptionKind::Share;
    fn take(name: &str, value: OptionValue) -> Result<f64> {
        let number = match value {
            OptionValue::Integer(n) => n as f64,
            OptionValue::Number(n) => n,
            OptionValue::Bool(_)
            | OptionValue::Seconds(_)
            | OptionValue::Millis(_)
            | OptionValue::Text(_) => f64::NAN,
        };
        if (0.0..=1.0).contains(&number) {
            return Ok(number);
        }
        Err(Error::option(name, value, "must be a number from 0 to 1"))
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Field for Duration {
    const KIND: OptionKind = OptionKind::Duration;
    fn take(name: &str, value: OptionValue) -> Result<Duration> {
        match value {
            OptionValue::Seconds(n) => duration_from_secs(name, n),
            OptionValue::Millis(n) => duration_from_millis(name, n),
            OptionValue::Text(ref text) => from_text(name, text),
            OptionValue::Bool(_) | OptionValue::Integer(_) | OptionValue::Number(_) => Err(Error::option(
                name,
                value,
                "must be a duration: seconds, milliseconds, or a text such as `30 s`",
            )),
        }
    }
    fn show(&self) -> String {
        human(*self)
    }
}

impl Field for Option<Duration> {
    const KIND: OptionKind = OptionKind::Duration;
    fn take(name: &str, value: OptionValue) -> Result<Self> {
        Duration::take(name, value).map(Some)
    }
    fn show(&self) -> String {
        // The only option that is derived from another one unless it is set.
        self.map_or_else(|| "10 x leak_threshold".into(), human)
    }
}

impl Field for Option<String> {
    const KIND: OptionKind = OptionKind::Text;
    fn take(name: &str, value: OptionValue) -> Result<Self> {
        match value {
            OptionValue::Text(text) => Ok(Some(text)),
            OptionValue::Bool(_)
            | OptionValue::Integer(_)
            | OptionValue::Number(_)
            | OptionValue::Seconds(_)
            | OptionValue::Millis(_) => Err(Error::option(name, value, "must be a text")),
        }
    }
    fn show(&self) -> String {
        self.clone().unwrap_or_else(|| "pool-1, pool-2, ...".into())
    }
}

macro_rules! choice_fields {
    ($($type:ty),+) => {$(
        impl Field for $type {
            const KIND: OptionKind = OptionKind::Choice(<$type>::NAMES);
            fn take(name: &str, value: OptionValue) -> Result<Self> {
                let found = match &value {
                    OptionValue::Text(text) => <$type>::from_name(text),
                    OptionValue::Bool(_)
                    | OptionValue::Integer(_)
                    | OptionValue::Number(_)
                    | OptionValue::Seconds(_)
                    | OptionValue::Millis(_) => None,
                };
                found.ok_or_else(|| {
                    Error::option(name, value, format_args!("must be one of {}", <$type>::NAMES.join(", ")))
                })
            }
            fn show(&self) -> String {
                self.name().into()
            }
        }
    )+};
}

impl Field for StatementCache {
    const KIND: OptionKind = OptionKind::Flag;
    fn take(name: &str, value: OptionValue) -> Result<Self> {
        match value {
            OptionValue::Bool(true) => Ok(StatementCache::On),
            OptionValue::Bool(false) => Ok(StatementCache::Off),
            OptionValue::Text(text) if StatementCache::from_name(&text).is_some() => {
                Ok(StatementCache::from_name(&text).unwrap_or_default())
            }
            value => bool::take(name, value).map(StatementCache::from),
        }
    }
    fn show(&self) -> String {
        self.name().into()
    }
}

choice_fields!(ForceReleaseWhen, StackCapture, SqlText, Reset);

macro_rules! options {
    ($($part:ident $name:ident: $type:ty = $default:literal, $node:literal, $python:literal, $doc:literal;)+) => {
        /// Every option, in the order of the documentation.
        pub static OPTIONS: &[OptionSpec] = &[$(OptionSpec {
            name: stringify!($name),
            node: $node,
            python: $python,
            kind: <$type as Field>::KIND,
            default: $default,
            live: options!(@live $part),
            doc: $doc,
            set: |settings, name, value| {
                settings.$part.$name = <$type as Field>::take(name, value)?;
                Ok(())
            },
            get: |settings| settings.$part.$name.show(),
        }),+];
    };
    (@live pool) => { false };
    (@live leak) => { true };
}

options! {
    pool max_size: usize = "10", "max", "max_size", "The most connections, 1 to 65,535.";
    pool min_idle: usize = "0", "min", "min_size", "Connections kept warm.";
    pool acquire_timeout: Duration = "30 s", "connectionTimeoutMillis", "timeout", "The longest wait of an acquire; 0 = for ever.";
    pool max_waiting: usize = "0", "maxWaiting", "max_waiting", "So many acquires may wait for a connection; one more fails at once. 0 = no limit.";
    pool idle_timeout: Duration = "600 s", "idleTimeoutMillis", "max_idle", "An idle connection is closed after that long; 0 = never.";
    pool max_lifetime: Duration = "3600 s", "maxLifetimeSeconds", "max_lifetime", "A connection is not handed out again after that long; 0 = no limit.";
    pool max_uses: u64 = "0", "maxUses", "max_uses", "A connection is closed after that many checkouts; 0 = no limit.";
    leak leak_threshold: Duration = "30 s", "leakThresholdMs", "leak_threshold", "Unused for that long = suspected; 0 turns detection off.";
    leak check_interval: Duration = "5 s", "checkIntervalMs", "check_interval", "The longest time between two looks at utilization.";
    leak max_leaks_before_alert: u32 = "3", "maxLeaksBeforeAlert", "max_leaks_before_alert", "The batch alert fires when that many are flagged at once; 0 = never.";
    leak max_held: Option<Duration> = "10 x leak_threshold", "maxHeldMs", "max_held", "Held that long, being used now and then no longer excuses; 0 = never.";
    leak force_release_after: Duration = "300 s", "forceReleaseAfterMs", "force_release_after", "Unused for that long = taken back; 0 = never.";
    leak force_release_busy: bool = "false", "forceReleaseBusy", "force_release_busy", "Take back a checkout whose one statement has run for that long, too.";
    leak force_release_when: ForceReleaseWhen = "due", "forceReleaseWhen", "force_release_when", "When force release may act: as soon as due, or only while an acquire waits.";
    pool close_timeout: Duration = "30 s", "closeTimeoutMillis", "close_timeout", "How long close waits for holders that look honest; 0 = not at all.";
    pool statement_cache: StatementCache = "auto", "statementCache", "statement_cache", "Repeated SQL is prepared once per connection: true, false, or auto = unless a pooler stands between.";
    pool reset: Reset = "rollback", "reset", "reset", "What happens to a session when it is returned.";
    pool reset_timeout: Duration = "5 s", "resetTimeoutMillis", "reset_timeout", "A returned session that is not clean by then is closed.";
    leak utilization_warning: f64 = "0.8", "utilizationWarning", "utilization_warning", "The event fires at this share of max_size in use; 0 = never.";
    leak stack_capture: StackCapture = "full", "stackCapture", "stack_capture", "How much of the call stack an acquire records.";
    leak stack_depth: usize = "32", "stackDepth", "stack_depth", "The most frames that are recorded, 1 to 128.";
    leak sql_text: SqlText = "full", "sqlText", "sql_text", "How SQL is shown.";
    pool name: Option<String> = "pool-1, pool-2, ...", "name", "name", "The pool's name in application_name, events and metrics.";
}
