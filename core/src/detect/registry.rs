//! The registry: the table of slots and the queue of deadlines. It returns what it finds and calls nobody.
//!
//! **The deadline queue.** A slot stands in the queue at most once that counts: `Slot::queued` holds the time of
//! the entry that counts, zero for none; other entries of the slot are stale and skipped. An acquire looks at
//! `queued` and, if the slot is going to be looked at early enough anyway, does nothing: so a pool under traffic
//! touches the queue once per slot and threshold, not once per acquire.
//!
//! That is sound because of the order of two pairs (all `SeqCst`): an acquire *stores the state, then looks at
//! `queued`*; the sweeper *clears `queued`, then looks at the state*. At least one of the two sees the other, and
//! only the one that moves `queued` from its old value pushes. `loom` checks it (loom_tests.rs).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::checkout::{CheckoutLabels, Slot, State, Word};
use super::id::{CheckoutId, MAX_SLOTS};
use super::site::SiteId;
use super::sync::{Mutex, Ordering, RwLock, lock, read, write};
use crate::clock::Nanos;
use crate::error::{Error, ErrorCode, Result};

#[derive(Debug)]
pub(crate) struct Registry {
    /// Append-only; written when a slot is made, which is rare. Never held while anything else is locked.
    slots: RwLock<Vec<Arc<Slot>>>,
    /// Slots whose session is gone and whose last user let go of them.
    free: Mutex<Vec<u32>>,
    /// Held for a push or a pop.
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    heap: BinaryHeap<Reverse<(Nanos, u32)>>,
    /// The time until which the sweeper sleeps; `u64::MAX` = until it is woken.
    asleep_until: Nanos,
}

impl Registry {
    pub(crate) fn new() -> Registry {
        Registry {
            slots: RwLock::new(Vec::new()),
            free: Mutex::new(Vec::new()),
            queue: Mutex::new(Queue::default()),
        }
    }

    /// A slot that nobody uses.
    pub(crate) fn claim(&self) -> Result<Arc<Slot>> {
        let reused = lock(&self.free).pop();
        if let Some(slot) = reused.and_then(|index| self.slot(index)) {
            slot.recycle();
            return Ok(slot);
        }
        let mut slots = write(&self.slots);
        if slots.len() >= MAX_SLOTS {
            return Err(Error::new(
                ErrorCode::LimitReached,
                format!("{MAX_SLOTS} checkouts are live in one detector; that is its limit"),
            ));
        }
        let slot = Arc::new(Slot::new(slots.len() as u32));
        slots.push(slot.clone());
        Ok(slot)
    }

    /// Gives a slot back for another session. The caller was its last user: nothing stamps it any more.
    pub(crate) fn retire(&self, slot: &Slot) {
        lock(&self.free).push(slot.index());
    }

    /// Checks a slot out and makes sure that it is looked at `first_look` from now (zero = never). The second value
    /// is true if the sweeper has to be woken for that.
    #[inline]
    pub(crate) fn check_out(
        &self,
        slot: &Slot,
        now: Nanos,
        site: SiteId,
        expected: Nanos,
        extras: CheckoutLabels,
        first_look: Nanos,
    ) -> (CheckoutId, bool) {
        let id = slot.check_out(now, site, expected, extras);
        let wake = first_look > 0 && self.schedule(slot, now.saturating_add(first_look));
        (id, wake)
    }

    /// Makes sure that the slot is looked at by `due`. True if the sweeper sleeps for longer than that.
    #[inline]
    pub(crate) fn schedule(&self, slot: &Slot, due: Nanos) -> bool {
        let mut seen = slot.queued.load(Ordering::SeqCst);
        loop {
            if seen != 0 && seen <= due {
                return false;
            }
            match slot.queued.compare_exchange(seen, due, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return self.push(due, slot.index()),
                Err(now_there) => seen = now_there,
            }
        }
    }

    #[cold]
    fn push(&self, due: Nanos, index: u32) -> bool {
        let mut queue = lock(&self.queue);
        queue.heap.push(Reverse((due, index)));
        let sooner = due < queue.asleep_until;
        if sooner {
            queue.asleep_until = due;
        }
        sooner
    }

    /// The next slot whose time has come, if one has. Its entry is gone from the queue.
    pub(crate) fn pop_due(&self, now: Nanos) -> Option<Arc<Slot>> {
        loop {
            let index = {
                let mut queue = lock(&self.queue);
                let Reverse((due, index)) = *queue.heap.peek()?;
                if due > now {
                    return None;
                }
                queue.heap.pop();
                (due, index)
            };
            let slot = self.slot(index.1)?;
            // Clear first, look at the state afterwards: see the protocol above. A stale entry clears nothing.
            if slot.queued.compare_exchange(index.0, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                return Some(slot);
            }
        }
    }

    /// The next time anything is due; from now on a push of something sooner asks for a wake-up.
    pub(crate) fn fall_asleep(&self) -> Option<Nanos> {
        let mut queue = lock(&self.queue);
        let next = queue.heap.peek().map(|Reverse((due, _))| *due);
        queue.asleep_until = next.unwrap_or(Nanos::MAX);
        next
    }

    fn slot(&self, index: u32) -> Option<Arc<Slot>> {
        read(&self.slots).get(index as usize).cloned()
    }

    /// The slot of a checkout, if that checkout is (or was last) its generation.
    pub(crate) fn find(&self, id: CheckoutId) -> Option<(Arc<Slot>, Word)> {
        let slot = self.slot(u32::try_from(id.slot()).ok()?)?;
        let word = slot.word();
        (word.generation == id.generation()).then_some((slot, word))
    }

    /// True if the slot of this id has lived through its generation.
    pub(crate) fn has_issued(&self, id: CheckoutId) -> bool {
        let slot = u32::try_from(id.slot()).ok().and_then(|index| self.slot(index));
        id.generation() > 0 && slot.is_some_and(|slot| slot.word().generation >= id.generation())
    }

    /// True if an entry stands in the queue that counts for this slot.
    #[cfg(all(test, leakpool_loom))]
    pub(super) fn looks_at(&self, slot: &Slot) -> bool {
        let due = slot.queued.load(Ordering::SeqCst);
        due != 0 && lock(&self.queue).heap.iter().any(|entry| entry.0 == (due, slot.index()))
    }

    /// Every slot that is in `state` now.
    pub(crate) fn in_state(&self, state: State) -> Vec<Arc<Slot>> {
        self.with(|word| word.state == state)
    }

    /// Every slot whose word is like that now.
    pub(crate) fn with(&self, wanted: impl Fn(Word) -> bool) -> Vec<Arc<Slot>> {
        read(&self.slots).iter().filter(|s| wanted(s.word())).cloned().collect()
    }
}

#[cfg(all(test, not(leakpool_loom)))]
mod tests;
