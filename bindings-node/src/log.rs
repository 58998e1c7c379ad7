//! Log lines to standard error, from whichever thread has something to say: a blocked event loop does not keep them back.
//! `LEAKPOOL_LOG` (off, error, warn, info, debug, trace) or `setLogLevel` says how much; warn unless set.

use std::io::Write as _;
use std::sync::Once;

use leakpool::host::{self, LogLine};
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// Installs the log, once in the process.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Ours alone: the addon has its own copy of `tracing`.
        host::log_to(write);
        if let Ok(wanted) = std::env::var("LEAKPOOL_LOG") {
            // A word that is none leaves the log as it is, and a program running.
            let _ = host::set_log_level(&wanted);
        }
    });
}

/// How much is logged.
#[napi(catch_unwind)]
pub fn set_log_level(level: String) -> Result<()> {
    host::set_log_level(&level).map_err(|e| Error::new(Status::InvalidArg, e.message().to_owned()))
}

fn write(line: LogLine) {
    let text = format!("{} {} leakpool: {}\n", host::log_time(), line.level, line.message);
    // In one write, so that lines of several threads do not mix. There is no one to report a failure to.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
