//! Log lines to standard error, from whichever thread has something to say: a blocked event loop does not keep them back.
//! `LEAKPOOL_LOG` (off, error, warn, info, debug, trace) or `setLogLevel` says how much; warn unless set.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use napi::bindgen_prelude::*;
use napi_derive::napi;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The number of the level in `LEVELS`.
static LEVEL: AtomicUsize = AtomicUsize::new(2);

fn filter() -> LevelFilter {
    match LEVEL.load(Ordering::Relaxed) {
        0 => LevelFilter::OFF,
        1 => LevelFilter::ERROR,
        2 => LevelFilter::WARN,
        3 => LevelFilter::INFO,
        4 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

/// Installs the log, once in the process.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Ok(wanted) = std::env::var("LEAKPOOL_LOG")
            && let Some(level) = LEVELS.iter().position(|l| *l == wanted.to_lowercase())
        {
            LEVEL.store(level, Ordering::Relaxed);
        }
        // Ours alone: the addon has its own copy of `tracing`.
        let _ = tracing::subscriber::set_global_default(Lines);
    });
}

/// How much is logged.
#[napi(catch_unwind)]
pub fn set_log_level(level: String) -> Result<()> {
    let Some(number) = LEVELS.iter().position(|l| *l == level) else {
        let text = format!("the log level ({level}) must be one of {}", LEVELS.join(", "));
        return Err(Error::new(Status::InvalidArg, text));
    };
    LEVEL.store(number, Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
    Ok(())
}

struct Lines;

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "leakpool" && metadata.is_event() && *metadata.level() <= filter()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(filter())
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = format!("{} {} leakpool: {}\n", now(), word(*event.metadata().level()), line.message);
        // In one write, so that lines of several threads do not mix. Nobody can be told that it failed.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

const fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

/// The sentence of a log line; its fields are parts of it already.
#[derive(Default)]
struct Line {
    message: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        }
    }
}

/// `2026-11-23T10:05:22.123Z`.
fn now() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days as i64);
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:03}Z", since.subsec_millis())
}

/// Year, month and day of a number of days since 1970 (in the proleptic Gregorian calendar, whose cycle of 400 years
/// has 146,097 days; years are counted from March, so that the leap day is their last).
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year + era * 400 + next, month, day)
}
