//! Size and maintenance: how many connections there are, which leave for their age, and which are kept warm.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::acquire::make;
use super::places::Counts;
use super::shared::{Conn, Place, Shared};
use crate::clock::{Nanos, nanos};
use crate::detect::Upkeep;
use crate::detect::event::{EventData, RemoveReason};
use crate::error::Result;
use crate::monitor::status::Connections;

/// How long one connection of a round may take.
const ROUND_LIMIT: Nanos = 30_000_000_000;

impl Shared {
    pub(crate) fn connections(&self) -> Connections {
        let Counts { max_size, idle, .. } = self.places.counts();
        Connections {
            idle,
            returning: self.detector.returning(),
            connecting: self.connecting.load(Ordering::SeqCst),
            ending: self.ending.load(Ordering::SeqCst),
            max_size,
            min_idle: self.options().min_idle,
            closed: self.is_closed(),
        }
    }

    /// `min_idle`: `None` = as it is.
    pub(crate) fn resize(&self, min_idle: Option<usize>, max_size: usize) -> Result<()> {
        self.usable()?;
        let mut options = (*self.options()).clone();
        options.max_size = max_size;
        options.min_idle = min_idle.unwrap_or(options.min_idle);
        options.validate()?;
        *self.options.write() = Arc::new(options);
        self.detector.capacity.store(max_size, Ordering::Relaxed);
        for connection in self.places.resize(max_size) {
            self.discard(connection, RemoveReason::Resized);
        }
        self.refill_now();
        Ok(())
    }

    /// True once so many connections are open; false if the pool is closed, or after the limit.
    pub(crate) async fn wait_until_open(&self, connections: usize, limit: Duration) -> bool {
        // Idle, held, or on their way back: not those that are still in the hands of whoever makes them.
        let open = || {
            let held = usize::try_from(self.detector.stats.books().active()).unwrap_or(usize::MAX);
            self.places.counts().idle + held + self.detector.returning() >= connections
        };
        tokio::select! {
            () = self.timing.until_so(|| open() || self.is_closed()) => {}
            () = self.timing.sleep(limit) => {}
        }
        open()
    }

    /// Ends the lifetime of every connection that there is: those that are idle leave now, the others as they come back.
    pub(crate) fn drain(&self) -> Result<()> {
        self.usable()?;
        self.drains.fetch_add(1, Ordering::SeqCst);
        self.remove_idle(RemoveReason::Lifetime, |_| true);
        self.refill_now();
        Ok(())
    }

    /// Removes those idle connections for which `which` says so.
    pub(super) fn remove_idle(&self, reason: RemoveReason, which: impl FnMut(&Conn) -> bool) {
        for connection in self.places.remove_idle(which) {
            self.discard(connection, reason);
        }
    }

    /// How many idle connections are missing for `min_idle`, as far as there is room for them.
    fn lacking(&self) -> usize {
        let Counts { max_size, open, idle } = self.places.counts();
        let room = max_size.saturating_sub(open + self.connecting.load(Ordering::SeqCst));
        self.options().min_idle.saturating_sub(idle).min(room)
    }

    /// Size or age were changed by hand: what is missing is made now.
    fn refill_now(&self) {
        self.refill.lock().forgive();
        if let Some(shared) = self.me.upgrade() {
            shared.refill();
        }
    }

    /// Keeps `min_idle` connections open: one round at a time makes what is missing, and the next one comes later if
    /// that was for nothing. Returns when to look again.
    fn refill(self: &Arc<Self>) -> Nanos {
        let now = self.detector.now();
        let lacking = self.lacking();
        if lacking == 0 || self.warming.load(Ordering::SeqCst) {
            // A round that ends wakes the sweeper.
            return if lacking == 0 { Nanos::MAX } else { now.saturating_add(1_000_000_000) };
        }
        let due = {
            let mut refill = self.refill.lock();
            if refill.due() <= now {
                refill.begin(now, RandomState::new().hash_one(now));
                None
            } else {
                Some(refill.due())
            }
        };
        if let Some(due) = due {
            return due;
        }
        if !self.warming.swap(true, Ordering::SeqCst) {
            drop(self.runtime.spawn(refill_round(Arc::downgrade(self), lacking)));
        }
        now.saturating_add(1_000_000_000)
    }
}

/// Makes so many connections, one after the other, until one fails.
async fn refill_round(pool: Weak<Shared>, lacking: usize) {
    for _ in 0..lacking {
        let Some(shared) = pool.upgrade() else { return };
        if shared.is_closed() || shared.lacking() == 0 || !shared.places.take_for_one_more() {
            break;
        }
        let (attempt, place) = (shared.attempt(), Place::of(&shared).into_weak());
        let deadline = shared.detector.now().saturating_add(ROUND_LIMIT);
        drop(shared);
        match make(attempt, place, deadline).await {
            // An idle one from here on.
            Some(Ok(place)) => drop(place),
            Some(Err(e)) => {
                if let Some(shared) = pool.upgrade()
                    && !shared.is_closed()
                    && shared.refill.lock().tells(shared.detector.now())
                {
                    shared.detector.emit(EventData::Error { code: e.code(), message: e.to_string() });
                }
                break;
            }
            None => break,
        }
    }
    if let Some(shared) = pool.upgrade() {
        shared.warming.store(false, Ordering::SeqCst);
        shared.detector.wake();
    }
}

impl Upkeep for Shared {
    fn upkeep(&self, now: Nanos) -> Option<Nanos> {
        if !self.process.is_current() {
            return None;
        }
        if self.is_closed() {
            // Somebody may have been flagged just now, whom the close takes back.
            self.timing.changed.notify_waiters();
            return None;
        }
        let options = self.options();
        let idle_timeout = nanos(options.idle_timeout);
        let mut next = Nanos::MAX;
        self.remove_idle(RemoveReason::Lost, |connection| connection.session.is_ended());
        self.remove_idle(RemoveReason::Lifetime, |connection| now >= connection.record.expires_at);
        let mut spare = self.places.counts().idle.saturating_sub(options.min_idle);
        self.remove_idle(RemoveReason::Idle, |Conn { record, .. }| {
            let due = record.idle_since.load(Ordering::Relaxed).saturating_add(idle_timeout);
            let remove = idle_timeout > 0 && spare > 0 && due <= now;
            if remove {
                spare -= 1;
            } else {
                next = next.min(record.expires_at);
                if idle_timeout > 0 && due > now {
                    next = next.min(due);
                }
            }
            remove
        });
        if let Some(shared) = self.me.upgrade() {
            next = next.min(shared.refill());
        }
        if self.places.counts().open > 0 && idle_timeout > 0 {
            next = next.min(now.saturating_add(idle_timeout));
        }
        (next != Nanos::MAX).then_some(next)
    }
}
