//! The core's log lines for hosts that have no subscriber of `tracing`: one for all, with a level that may change.

use std::fmt::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::config::nearest;
use crate::error::{Error, ErrorCode, Result};

/// How much is logged, in words: each includes those before it.
pub const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// One line of the log.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// The sentence.
    pub message: String,
    /// What it is about, by name: `event`, `pool`, `checkout`, `site`, …. Parts of the sentence already.
    pub fields: Vec<(&'static str, String)>,
}

impl LogLine {
    /// A line about the host's own doing.
    pub fn new(level: Level, message: impl Into<String>) -> LogLine {
        LogLine { level, message: message.into(), fields: Vec::new() }
    }
}

type Writer = Box<dyn Fn(LogLine) + Send + Sync>;

static WRITER: OnceLock<Writer> = OnceLock::new();
/// The number of the level in `LOG_LEVELS`.
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

/// From here on, lines of this copy of the library go to `write`, from whichever thread has them. Once in a process. False
/// if another subscriber is there already, whose lines they are then: a program in Rust has its own.
pub fn log_to(write: impl Fn(LogLine) + Send + Sync + 'static) -> bool {
    WRITER.set(Box::new(write)).is_ok() && tracing::subscriber::set_global_default(Lines).is_ok()
}

/// How much is logged from here on; `warn` unless set. One of [`LOG_LEVELS`].
///
/// # Errors
/// `InvalidArgument` for another word.
pub fn set_log_level(level: &str) -> Result<()> {
    let Some(number) = LOG_LEVELS.iter().position(|known| known.eq_ignore_ascii_case(level)) else {
        let shown: String = level.chars().take(80).collect();
        let hint =
            nearest(&shown, LOG_LEVELS).map(|known| format!("; did you mean {known}?")).unwrap_or_default();
        let text = format!("the log level ({shown}) must be one of {}{hint}", LOG_LEVELS.join(", "));
        return Err(Error::new(ErrorCode::InvalidArgument, text));
    };
    LEVEL.store(number, Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
    Ok(())
}

/// The time as it stands in front of a line: `2026-11-23T10:05:22.123Z` (RFC 3339).
pub fn log_time() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

/// Logs a line of the host's own, as the library's are.
pub fn log(line: LogLine) {
    if line.level <= filter()
        && let Some(write) = WRITER.get()
    {
        write(line);
    }
}

/// What a panic says.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    crate::process::panic_text(panic)
}

struct Lines;

struct Reading(LogLine);

impl Visit for Reading {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.0.message = value.to_owned(),
            name => self.0.fields.push((name, value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = write!(text, "{value:?}");
        self.record_str(field, &text);
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("leakpool") && metadata.is_event() && *metadata.level() <= filter()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(filter())
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut reading = Reading(LogLine::new(*event.metadata().level(), ""));
        event.record(&mut reading);
        if let Some(write) = WRITER.get() {
            write(reading.0);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
