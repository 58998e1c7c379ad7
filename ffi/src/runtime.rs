//! The runtime on which the connections of all pools live: one for the process, kept while a pool lives.

use std::sync::{Arc, Weak};
use std::time::Duration;

use leakpool::{Error, ErrorCode, Result};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};

/// Connections are little work for a thread: parsing of messages. Two, so that one long result delays nobody.
const WORKERS: usize = 2;
/// The lock is held while a runtime is made. Held for longer than that, it was held when the process was forked.
const PATIENCE: Duration = Duration::from_secs(5);

static CURRENT: Mutex<(u32, Weak<Runtime>)> = Mutex::new((0, Weak::new()));

/// The runtime of this process. A forked child gets one of its own; the parent's is of no use to it.
pub(crate) fn current() -> Result<Arc<Runtime>> {
    let Some(mut current) = CURRENT.try_lock_for(PATIENCE) else {
        return Err(Error::new(
            ErrorCode::Forked,
            "this process was forked while a pool was being made; start it with spawn or exec instead",
        ));
    };
    let process = std::process::id();
    if current.0 == process
        && let Some(runtime) = current.1.upgrade()
    {
        return Ok(runtime);
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("leakpool-io")
        .enable_all()
        .build()
        .map_err(|e| Error::new(ErrorCode::LimitReached, format!("the runtime cannot be started: {e}")))?;
    let runtime = Arc::new(runtime);
    *current = (process, Arc::downgrade(&runtime));
    Ok(runtime)
}
