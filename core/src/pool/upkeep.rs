//! Size and upkeep: how many connections there are, which leave for their age, and which are kept warm.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::acquire::Made;
use super::control::Control;
use super::shared::{Place, Shared};
use crate::clock::{Nanos, nanos};
use crate::detect::Upkeep;
use crate::detect::event::{EventData, RemoveReason};
use crate::error::Result;
use crate::monitor::status::Connections;

impl Shared {
    pub(crate) fn connections(&self) -> Connections {
        let max_size = self.sizing.lock().max_size;
        Connections {
            idle: self.idle.status().available,
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
        {
            let mut sizing = self.sizing.lock();
            let before = sizing.max_size;
            sizing.max_size = max_size;
            if max_size > sizing.told {
                sizing.told = max_size;
                self.idle.resize(max_size);
            }
            if max_size > before {
                for _ in before..max_size {
                    self.put_permit();
                }
            } else {
                let surplus = before - max_size;
                let out = surplus - self.permits.forget_permits(surplus);
                self.debt.fetch_add(out, Ordering::SeqCst);
            }
        }
        self.detector.capacity.store(max_size, Ordering::Relaxed);
        let open = self.idle.status().size;
        let mut surplus = open.saturating_sub(max_size);
        self.remove_idle(RemoveReason::Resized, |_| {
            surplus > 0 && {
                surplus -= 1;
                true
            }
        });
        if let Some(shared) = self.me.upgrade()
            && self.lacks_idle()
        {
            shared.warm_up();
        }
        Ok(())
    }

    /// Ends the lifetime of every connection that there is: those that are idle leave now, the others as they come back.
    pub(crate) fn drain(&self) -> Result<()> {
        self.usable()?;
        self.drains.fetch_add(1, Ordering::SeqCst);
        self.remove_idle(RemoveReason::Lifetime, |_| true);
        if let Some(shared) = self.me.upgrade()
            && self.lacks_idle()
        {
            shared.warm_up();
        }
        Ok(())
    }

    /// Removes those idle connections for which `which` says so.
    pub(super) fn remove_idle(&self, reason: RemoveReason, mut which: impl FnMut(&Control) -> bool) {
        let removed = self.idle.retain(|conn, _| !which(&conn.control)).removed;
        for conn in removed {
            self.discard(conn, reason);
        }
    }

    /// True if there are fewer idle connections than `min_idle`, and room for one more.
    pub(super) fn lacks_idle(&self) -> bool {
        let status = self.idle.status();
        let there = status.size + self.connecting.load(Ordering::SeqCst);
        status.available < self.options().min_idle && there < self.sizing.lock().max_size
    }

    /// Keeps `min_idle` connections warm: one task at a time makes what is missing.
    pub(super) fn warm_up(self: &Arc<Self>) {
        if self.warming.swap(true, Ordering::SeqCst) {
            return;
        }
        let shared = self.clone();
        drop(self.runtime.spawn(async move {
            while !shared.is_closed() && shared.lacks_idle() {
                if !shared.take_permit() {
                    break;
                }
                let place = Place::of(&shared);
                let deadline = shared.detector.now().saturating_add(30_000_000_000);
                match shared.clone().make(place, deadline).await {
                    Some(Ok(Made { object, place })) => {
                        drop(object);
                        drop(place);
                    }
                    Some(Err(e)) => {
                        shared.detector.emit(EventData::Error { code: e.code(), message: e.to_string() });
                        break;
                    }
                    None => break,
                }
            }
            shared.warming.store(false, Ordering::SeqCst);
        }));
    }
}

impl Upkeep for Shared {
    fn upkeep(&self, now: Nanos) -> Option<Nanos> {
        if self.is_closed() || !self.process.is_current() {
            return None;
        }
        let options = self.options();
        let idle_timeout = nanos(options.idle_timeout);
        let mut next = Nanos::MAX;
        self.remove_idle(RemoveReason::Lost, Control::is_ended);
        self.remove_idle(RemoveReason::Lifetime, |control| now >= control.expires_at);
        let mut spare = self.idle.status().available.saturating_sub(options.min_idle);
        // deadpool keeps the longest idle in front, and `retain` goes from there.
        self.remove_idle(RemoveReason::Idle, |control| {
            let due = control.idle_since.load(Ordering::Relaxed).saturating_add(idle_timeout);
            let remove = idle_timeout > 0 && spare > 0 && due <= now;
            if remove {
                spare -= 1;
            } else {
                next = next.min(control.expires_at);
                if idle_timeout > 0 && due > now {
                    next = next.min(due);
                }
            }
            remove
        });
        let status = self.idle.status();
        if status.available < options.min_idle {
            if let Some(shared) = self.me.upgrade() {
                shared.warm_up();
            }
            next = next.min(now.saturating_add(1_000_000_000));
        }
        if status.size > 0 && idle_timeout > 0 {
            next = next.min(now.saturating_add(idle_timeout));
        }
        (next != Nanos::MAX).then_some(next)
    }
}
