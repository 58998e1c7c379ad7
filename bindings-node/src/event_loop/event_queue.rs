//! Events on their way from the core's dispatcher thread to a thread of JavaScript.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use leakpool::{Event, EventKind};
use parking_lot::Mutex;

use super::loop_waker::LoopWaker;

/// How many events wait for a JavaScript thread that is busy; later ones are lost, and counted.
const MOST: usize = 4096;

/// What JavaScript is told. Connections come and go in its own hands (`connect`, `acquire`, `release`), so it tells
/// those itself.
pub(crate) const REPORTED: &[EventKind] = &[
    EventKind::Remove,
    EventKind::Error,
    EventKind::Leak,
    EventKind::LeaksDetected,
    EventKind::LeakRecovered,
    EventKind::LongRunning,
    EventKind::ForceRelease,
    EventKind::LateUse,
    EventKind::LateRelease,
    EventKind::DirtyRelease,
    EventKind::Exhausted,
    EventKind::Utilization,
];

/// Lock protocol: a leaf, held for a push or a swap.
pub(crate) struct EventQueue {
    events: Mutex<Vec<Event>>,
    lost: AtomicU64,
    waker: Arc<LoopWaker>,
}

impl EventQueue {
    pub(crate) fn new(waker: Arc<LoopWaker>) -> Arc<EventQueue> {
        Arc::new(EventQueue { events: Mutex::default(), lost: AtomicU64::new(0), waker })
    }

    /// Takes an event, on any thread.
    pub(crate) fn put(&self, event: &Event) {
        let first = {
            let mut events = self.events.lock();
            if events.len() >= MOST {
                self.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
            events.push(event.clone());
            events.len() == 1
        };
        if first {
            self.waker.wake();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.lock().is_empty()
    }

    /// All that have come.
    pub(crate) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock())
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for EventQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventQueue").field("lost", &self.lost()).finish_non_exhaustive()
    }
}
