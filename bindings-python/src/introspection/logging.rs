//! The core's log lines on Python's logger `leakpool`.
//!
//! They come through `tracing`, on any thread, and may come where a lock is waited for: so they are only queued there, and
//! a thread of their own takes the GIL and logs them. Nobody waits for it but the interpreter's end, for a moment.

use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use leakpool::host::{self, LogLine};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use tracing::Level;

use crate::event_loop::waiting::attached;

/// How many lines wait for a busy interpreter before further ones are lost.
const ROOM: usize = 1024;
/// How long the interpreter's end waits for lines that were queued.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The queue of this process, and how far it is.
struct Queue {
    lines: SyncSender<LogLine>,
    process: u32,
}

static QUEUE: Mutex<Option<Queue>> = Mutex::new(None);
static QUEUED: AtomicU64 = AtomicU64::new(0);
static LOGGED: AtomicU64 = AtomicU64::new(0);
static LOST: AtomicU64 = AtomicU64::new(0);

/// Starts the thread of this process, if there is none. A forked child needs its own.
fn queue(line: LogLine) {
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

fn run(lines: &Receiver<LogLine>) {
    for line in lines {
        let told = attached(|py| {
            let lost = LOST.swap(0, Ordering::Relaxed);
            if lost > 0 {
                let message = format!("{lost} log lines were lost: the interpreter was busy");
                tell(py, &LogLine::new(Level::WARN, message));
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

fn tell(py: Python<'_>, line: &LogLine) {
    if let Err(e) = log(py, line) {
        e.write_unraisable(py, None);
    }
}

/// One record. Where the line is about a site, the record stands there: `pathname` and `lineno` lead to the culprit.
fn log(py: Python<'_>, line: &LogLine) -> PyResult<()> {
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

/// From here on the core's lines are Python's.
pub(crate) fn begin() {
    let write = |line| {
        if !crate::event_loop::waiting::is_over() {
            queue(line);
        }
    };
    // In a program that embeds both, another subscriber may be there already: its lines stay its own. Not the two lines that
    // come with every acquire: who wants those subscribes to events.
    if host::log_to(write) {
        let _ = host::set_log_level("debug");
    }
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
