//! Waiting on the pool's clock: for the pool, and for those who must not keep it. Timers run on the closer's thread, so
//! that a time-out comes whatever the pool's runtime is doing (law 7).

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::clock::Nanos;
use crate::detect::Detector;
use crate::session::closer::Closer;

#[derive(Clone)]
pub(super) struct Timing {
    detector: Arc<Detector>,
    /// Told when a place becomes free or a task ends while the pool closes, when the pool is over or dropped, and when
    /// a manual clock moves.
    pub(super) changed: Arc<Notify>,
    /// Held for the clone of a pointer; `None` once the pool is closed.
    closer: Arc<Mutex<Option<Arc<Closer>>>>,
    runtime: Handle,
}

impl Timing {
    pub(super) fn new(detector: Arc<Detector>, closer: Arc<Closer>, runtime: Handle) -> Timing {
        let changed = Arc::new(Notify::new());
        if !detector.clock_arc().is_real() {
            let moved = changed.clone();
            detector.clock_arc().on_move(Arc::new(move || moved.notify_waiters()));
        }
        Timing { detector, changed, closer: Arc::new(Mutex::new(Some(closer))), runtime }
    }

    pub(super) fn now(&self) -> Nanos {
        self.detector.now()
    }

    pub(super) fn closer(&self) -> Option<Arc<Closer>> {
        self.closer.lock().clone()
    }

    /// Lets go of the closer.
    pub(super) fn end(&self) {
        let closer = self.closer.lock().take();
        drop(closer);
    }

    /// Real time, on a thread that nobody blocks.
    pub(super) async fn sleep(&self, time: Duration) {
        // Kept while the timer is: its thread must not end before.
        let closer = self.closer();
        let sleep = {
            let _enter = closer.as_deref().map_or(&self.runtime, Closer::timers).enter();
            tokio::time::sleep(time)
        };
        sleep.await;
        drop(closer);
    }

    /// Waits until the pool's clock shows `deadline`.
    pub(super) async fn until(&self, deadline: Nanos) {
        loop {
            let moved = self.changed.notified();
            let mut moved = pin!(moved);
            moved.as_mut().enable();
            let now = self.now();
            if now >= deadline {
                return;
            }
            if deadline == Nanos::MAX || !self.detector.clock_arc().is_real() {
                moved.await;
            } else {
                self.sleep(Duration::from_nanos(deadline - now)).await;
            }
        }
    }

    /// Waits until `is_so`, which is asked again whenever something has changed.
    pub(super) async fn until_so(&self, is_so: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            let mut changed = pin!(changed);
            changed.as_mut().enable();
            if is_so() {
                return;
            }
            changed.await;
        }
    }

    /// The outcome of `future`, or `None` if the deadline comes first.
    pub(super) async fn before<T>(&self, deadline: Nanos, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            out = future => Some(out),
            () = self.until(deadline) => None,
        }
    }
}
