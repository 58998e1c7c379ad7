//! The sweeper: one thread for all detectors of the process, that sleeps until the next deadline.
//!
//! It holds each detector weakly, and not at all while it sleeps; it survives a panic in a round; it ends when
//! the last [`Sweeper`] handle is dropped. It only calls [`Sweepable::sweep`], which decides and enqueues.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::{Clock, Nanos};
use crate::error::{Error, ErrorCode, Result};
use crate::parking::Parking;
use crate::process::{OfProcess, Process, Singleton};

/// Something that the sweeper looks after.
pub(crate) trait Sweepable: Send + Sync {
    /// Judges what is due at `now`; returns when something will be due next. Calls no host code and does no I/O.
    fn sweep(&self, now: Nanos) -> Option<Nanos>;
    /// A round of it has panicked: enqueues that somebody hears of it.
    fn complain(&self, text: &'static str);
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
    state: Parking<State>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    sweepable: Vec<Weak<dyn Sweepable>>,
    /// The first wake-up since the last round began.
    woken: Option<Instant>,
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

    pub(crate) fn look_after(&self, sweepable: Weak<dyn Sweepable>) {
        self.shared.state.lock().sweepable.push(sweepable);
        self.wake();
    }

    /// Something is due sooner than the sweeper knows, or a clock was moved by hand.
    pub(crate) fn wake(&self) {
        if !self.process.is_current() {
            return;
        }
        let now = Instant::now();
        self.shared.state.lock().woken.get_or_insert(now);
        self.shared.state.notify_one();
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        if self.process.is_current() {
            self.shared.state.lock().ended = true;
            self.shared.state.notify_one();
        }
    }
}

/// Nobody is judged for the time in which nobody ran. A clock that does not run by itself has not run on meanwhile.
fn did_not_run(round: &[Weak<dyn Sweepable>], span: Duration) {
    if span <= OVERSLEPT {
        return;
    }
    for sweepable in round.iter().filter_map(Weak::upgrade) {
        // A clock may be another caller's code.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            if sweepable.clock().is_real() {
                sweepable.clock().skip(span);
            }
        }));
    }
}

/// How late it is, measured without a gap: what comes after is measured from here.
fn late(due: &mut Instant) -> Duration {
    let now = Instant::now();
    let late = now.saturating_duration_since(*due);
    *due = now;
    late
}

/// One detector's share of a round. Returns how long it may sleep then.
fn sweep_one(
    sweepable: &dyn Sweepable,
    round: &[Weak<dyn Sweepable>],
    due: &mut Instant,
) -> Option<Duration> {
    // A stop may hit a round, too. Everybody is judged by a time that was read before this look at how late it is, so
    // that no stop comes in between.
    let now = loop {
        let now = sweepable.clock().now();
        let late = late(due);
        if late <= OVERSLEPT {
            break now;
        }
        did_not_run(round, late);
    };
    let next = sweepable.sweep(now).filter(|_| sweepable.clock().is_real())?;
    Some(Duration::from_nanos(next.saturating_sub(sweepable.clock().now())))
}

fn run(shared: &Shared) {
    let mut round: Vec<Weak<dyn Sweepable>> = Vec::new();
    // When this thread was to run next, or last ran.
    let mut due = Instant::now();
    loop {
        // Those of the last round: whoever came meanwhile has a clock that starts after the stop.
        did_not_run(&round, late(&mut due));
        round = {
            let mut state = shared.state.lock();
            if state.ended {
                return;
            }
            state.woken = None;
            state.sweepable.retain(|s| s.strong_count() > 0);
            state.sweepable.clone()
        };
        let mut sleep: Option<Duration> = None;
        for weak in &round {
            let Some(sweepable) = weak.upgrade() else { continue };
            // A panic in one round, or in a clock that is another caller's code, must not end detection for everybody.
            let one = AssertUnwindSafe(|| sweep_one(&*sweepable, &round, &mut due));
            let until = catch_unwind(one).unwrap_or_else(|_| {
                sweepable.complain("a round of the leak sweeper panicked; it goes on");
                Some(Duration::from_secs(1))
            });
            if let Some(until) = until {
                sleep = Some(sleep.map_or(until, |s| s.min(until)));
            }
        }

        let state = shared.state.lock();
        let late = late(&mut due);
        if late > OVERSLEPT {
            drop(state);
            did_not_run(&round, late);
            continue;
        }
        if state.ended || state.woken.is_some() {
            continue;
        }
        match sleep {
            None => {
                let state = shared.state.wait(state);
                due = state.woken.unwrap_or_else(Instant::now);
            }
            Some(sleep) => {
                let until = due + sleep;
                let state = shared.state.wait_until(state, until);
                // Woken before its time, it was to run then; a stop may have come between that and now.
                due = state.woken.map_or(until, |woken| woken.min(until));
            }
        }
    }
}
