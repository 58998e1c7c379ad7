//! A lock with its wake-up, for our own threads to sleep on. Nothing of it lies in a table of the whole process, as
//! `parking_lot`'s sleepers do: a fork while one of them falls asleep would leave that table locked, or torn, in a child
//! that begins anew.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct Parking<T> {
    state: Mutex<T>,
    wake: Condvar,
}

impl<T> Parking<T> {
    /// What a panic has left is as good as what was there before: each change of it is one assignment.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until it is woken, or for no reason.
    pub(crate) fn wait<'a>(&'a self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, at most until then.
    pub(crate) fn wait_until<'a>(&'a self, guard: MutexGuard<'a, T>, until: Instant) -> MutexGuard<'a, T> {
        let left = until.saturating_duration_since(Instant::now());
        self.wake.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0
    }

    pub(crate) fn notify_one(&self) {
        self.wake.notify_one();
    }
}
