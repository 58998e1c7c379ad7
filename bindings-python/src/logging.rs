//! The core's log lines on Python's logger `leakpool`.
//!
//! They come through `tracing`, on any thread, and may come where a lock is waited for: so they are only queued there, and
//! a thread of their own takes the GIL and logs them. Nobody waits for it but the interpreter's end, for a moment.

use std::fmt::Write;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::waiting::attached;

/// How many lines wait for a busy interpreter before further ones are lost.
const ROOM: usize = 1024;
/// How long the interpreter's end waits for lines that were queued.
const LAST_WORDS: Duration = Duration::from_secs(1);

struct Line {
    level: Level,
    message: String,
    /// `event`, `pool`, `checkout`, `site`, ... by their names.
    fields: Vec<(&'static str, String)>,
}

/// The queue of this process, and how far it is.
struct Queue {
    lines: SyncSender<Line>,
    process: u32,
}

static QUEUE: Mutex<Option<Queue>> = Mutex::new(None);
static QUEUED: AtomicU64 = AtomicU64::new(0);
static LOGGED: AtomicU64 = AtomicU64::new(0);
static LOST: AtomicU64 = AtomicU64::new(0);

/// Starts the thread of this process, if there is none. A forked child needs its own.
fn queue(line: Line) {
    let mut queue = QUEUE.lock();
    if queue.as_ref().is_none_or(|queue| queue.process != process::id()) {
        let (lines, received) = sync_channel(ROOM);
        let started = std::thread::Builder::new().name("leakpool-log".into()).spawn(move || run(&received));
        if started.is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
            return;
        }
        QUEUED.store(0, Ordering::SeqCst);
        LOGGED.store(0, Ordering::SeqCst);
        *queue = Some(Queue { lines, process: process::id() });
    }
    let Some(queue) = &*queue else { return };
    match queue.lines.try_send(line) {
        Ok(()) => QUEUED.fetch_add(1, Ordering::SeqCst),
        Err(_) => LOST.fetch_add(1, Ordering::Relaxed),
    };
}

fn run(lines: &Receiver<Line>) {
    for line in lines {
        let told = attached(|py| {
            let lost = LOST.swap(0, Ordering::Relaxed);
            if lost > 0 {
                let message = format!("{lost} log lines were lost: the interpreter was busy");
                tell(py, &Line { level: Level::WARN, message, fields: Vec::new() });
            }
            tell(py, &line);
        });
        LOGGED.fetch_add(1, Ordering::SeqCst);
        if told.is_none() {
            return;
        }
    }
}

/// Python's number for a level.
fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG => 10,
        Level::TRACE => 5,
    }
}

fn tell(py: Python<'_>, line: &Line) {
    if let Err(e) = log(py, line) {
        e.write_unraisable(py, None);
    }
}

/// One record. Where the line is about a site, the record stands there: `pathname` and `lineno` lead to the culprit.
fn log(py: Python<'_>, line: &Line) -> PyResult<()> {
    static LOGGER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let logger = LOGGER
        .get_or_try_init(py, || {
            py.import("logging")?.call_method1("getLogger", ("leakpool",)).map(Bound::unbind)
        })?
        .bind(py);
    let level = number(line.level);
    if !logger.call_method1("isEnabledFor", (level,))?.is_truthy()? {
        return Ok(());
    }
    let extra = PyDict::new(py);
    for (name, value) in &line.fields {
        extra.set_item(name, value)?;
    }
    let site = line.fields.iter().find(|(name, _)| *name == "site").and_then(|(_, site)| place(site));
    let (function, file, number) = site.unwrap_or(("", "leakpool", 0));
    let args = ("leakpool", level, file, number, &line.message, (), py.None(), function, extra);
    let record = logger.call_method1("makeRecord", args)?;
    logger.call_method1("handle", (record,)).map(drop)
}

/// `process (/srv/app/orders.py:42)` taken apart.
fn place(site: &str) -> Option<(&str, &str, u32)> {
    let (function, rest) = site.rsplit_once(" (").unwrap_or(("", site));
    let (file, line) = rest.trim_end_matches(')').rsplit_once(':')?;
    Some((function, file, line.parse().ok()?))
}

/// What `tracing` calls.
struct Lines;

struct Fields(Line);

impl Fields {
    fn add(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.0.message = value,
            name => self.0.fields.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = write!(text, "{value:?}");
        self.add(field, text);
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("leakpool") && *metadata.level() <= Level::DEBUG
    }

    /// Not the two lines that come with every acquire: who wants those subscribes to events.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if crate::waiting::is_over() {
            return;
        }
        let line = Line { level: *event.metadata().level(), message: String::new(), fields: Vec::new() };
        let mut fields = Fields(line);
        event.record(&mut fields);
        queue(fields.0);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// From here on the core's lines are Python's.
pub(crate) fn begin() {
    // Somebody else's, in a program that embeds both: theirs stays.
    let _ = tracing::subscriber::set_global_default(Lines);
}

/// Waits until what was queued is logged. False if it takes too long.
pub(crate) fn flush(py: Python<'_>, limit: Duration) -> bool {
    let until = QUEUED.load(Ordering::SeqCst);
    let begun = Instant::now();
    py.detach(|| {
        while LOGGED.load(Ordering::SeqCst) < until {
            if begun.elapsed() > limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    })
}

/// The interpreter ends: what was queued is logged, and nothing after it.
pub(crate) fn end(py: Python<'_>) {
    flush(py, LAST_WORDS);
}
