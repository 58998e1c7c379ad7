//! The sweeper: one thread for all detectors of the process, that sleeps until the next deadline.
//!
//! It holds each detector weakly, and not at all while it sleeps; it survives a panic in a round; it ends when
//! the last [`Sweeper`] handle is dropped. It only calls [`Swept::sweep`], which decides and enqueues.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::clock::{Clock, Nanos};
use crate::error::{Error, ErrorCode, Result};
use crate::process::{OfProcess, Process, Singleton};

/// Something that the sweeper looks after.
pub(crate) trait Swept: Send + Sync {
    /// Judges what is due; returns when something will be due next. Calls no host code and does no I/O.
    fn sweep(&self) -> Option<Nanos>;
    /// The clock that its times are on.
    fn clock(&self) -> &dyn Clock;
}

/// If the thread wakes that much later than it meant to, the process did not run (SIGSTOP, a suspended virtual
/// machine), and nobody is judged for that time. A loaded machine stays well below it.
const OVERSLEPT: Duration = Duration::from_secs(1);

/// A share in the process's sweeper thread.
#[derive(Debug)]
pub(crate) struct Sweeper {
    shared: Arc<Shared>,
    process: Process,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    swept: Vec<Weak<dyn Swept>>,
    woken: bool,
    ended: bool,
}

static CURRENT: Singleton<Sweeper> = Singleton::new();

impl OfProcess for Sweeper {
    fn process(&self) -> Process {
        self.process
    }
}

impl Sweeper {
    /// The process's sweeper; its thread is started if there is none.
    pub(crate) fn shared() -> Result<Arc<Sweeper>> {
        CURRENT.get_or_make(|| {
            let shared = Arc::new(Shared::default());
            let for_thread = shared.clone();
            thread::Builder::new().name("leakpool-sweeper".into()).spawn(move || run(&for_thread)).map_err(
                |e| {
                    Error::new(ErrorCode::LimitReached, "the sweeper thread cannot be started").with_source(e)
                },
            )?;
            Ok(Sweeper { shared, process: Process::current() })
        })
    }

    pub(crate) fn look_after(&self, swept: Weak<dyn Swept>) {
        self.shared.state.lock().swept.push(swept);
        self.wake();
    }

    /// Something is due sooner than the sweeper knows, or a clock was moved by hand.
    pub(crate) fn wake(&self) {
        if !self.process.is_current() {
            return;
        }
        self.shared.state.lock().woken = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        if self.process.is_current() {
            self.shared.state.lock().ended = true;
            self.shared.wake.notify_one();
        }
    }
}

fn run(shared: &Shared) {
    loop {
        let round: Vec<Weak<dyn Swept>> = {
            let mut state = shared.state.lock();
            if state.ended {
                return;
            }
            state.woken = false;
            state.swept.retain(|s| s.strong_count() > 0);
            state.swept.clone()
        };
        let mut sleep: Option<Duration> = None;
        for weak in &round {
            let Some(swept) = weak.upgrade() else { continue };
            // A panic in one round must not end detection for everybody.
            let next = catch_unwind(AssertUnwindSafe(|| swept.sweep())).unwrap_or_else(|_| {
                tracing::error!(target: "leakpool", "a round of the leak sweeper panicked; it goes on");
                Some(swept.clock().now() + 1_000_000_000)
            });
            if let Some(next) = next.filter(|_| swept.clock().is_real()) {
                let until = Duration::from_nanos(next.saturating_sub(swept.clock().now()));
                sleep = Some(sleep.map_or(until, |s| s.min(until)));
            }
        }

        let mut state = shared.state.lock();
        if state.ended || state.woken {
            continue;
        }
        let Some(sleep) = sleep else {
            shared.wake.wait(&mut state);
            continue;
        };
        let until = Instant::now() + sleep;
        let timed_out = shared.wake.wait_until(&mut state, until).timed_out();
        drop(state);
        let late = until.elapsed();
        if timed_out && late > OVERSLEPT {
            for swept in round.iter().filter_map(Weak::upgrade) {
                swept.clock().skip(late);
            }
        }
    }
}
