//! One checkout: its id, the state machine that ends it exactly once, and the stamps that tell what its session
//! does.
//!
//! A [`Slot`] belongs to one connection for life (or, under a detector without a pool, to one checkout after the
//! other); a checkout is one generation of it. Everything here is an atomic or a lock that is held for a few
//! instructions. Nothing here reads a clock, judges, or calls anybody.
//!
//! ```text
//!            check_out            check_in (clean)
//!   Free ───────────────▶ Held ─────────────────────▶ Free
//!    ▲                    │  │ check_in (unsettled or dirty)
//!    │      settle        │  └──────────▶ Returning ──┐
//!    └────────────────────┼──────────────────┘        │ reset_timeout
//!                  revoke ▼                           ▼
//!                       Ended ◀──────────────────── Ended      (the session is gone; the slot is retired)
//! ```

use std::sync::{Arc, Weak};

use super::facts::{Facts, Traffic};
use super::id::CheckoutId;
use super::reclaim::Reclaim;
use super::site::SiteId;
use super::stamps::Stamps;
use super::sync::{AtomicU32, AtomicU64, Mutex, Ordering, lock};
use crate::clock::Nanos;

/// Where a slot's current generation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Not checked out.
    Free,
    /// Checked out to a caller.
    Held,
    /// Given back, but not yet settled: its connection task is still cleaning up.
    Returning,
    /// Taken away, lost or closed; the session is gone.
    Ended,
}

impl State {
    fn from_bits(bits: u64) -> State {
        match bits & STATE_MASK {
            0 => State::Free,
            1 => State::Held,
            2 => State::Returning,
            _ => State::Ended,
        }
    }
}

const STATE_MASK: u64 = 0b11;
const FLAG_SHIFT: u32 = 2;
const GENERATION_SHIFT: u32 = 24;

/// What the detector has already said about a checkout. Part of the state word, so that "said once" and "ended
/// once" are decided by one compare-and-swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags(u64);

impl Flags {
    /// Reported as a leak (suspected or proven).
    pub(crate) const LEAK: Flags = Flags(1);
    /// A finalizer showed that the handle is unreachable.
    pub(crate) const PROVEN: Flags = Flags(1 << 1);
    /// Reported as long running.
    pub(crate) const LONG_RUNNING: Flags = Flags(1 << 2);
    /// The task or thread that acquired it has ended.
    pub(crate) const OWNER_ENDED: Flags = Flags(1 << 3);
    /// It has a label or another extra that lies behind the lock.
    pub(crate) const EXTRAS: Flags = Flags(1 << 4);
    /// It was taken away from its holder: its fence stands, or will in a moment.
    pub(crate) const REVOKED: Flags = Flags(1 << 5);

    pub(crate) fn has(self, flag: Flags) -> bool {
        self.0 & flag.0 != 0
    }

    fn with(self, flag: Flags) -> Flags {
        Flags(self.0 | flag.0)
    }
}

/// The state word taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) generation: u64,
    pub(crate) flags: Flags,
    pub(crate) state: State,
}

impl Word {
    fn unpack(raw: u64) -> Word {
        let flags = (raw >> FLAG_SHIFT) & ((1 << (GENERATION_SHIFT - FLAG_SHIFT)) - 1);
        Word { generation: raw >> GENERATION_SHIFT, flags: Flags(flags), state: State::from_bits(raw) }
    }

    fn pack(self) -> u64 {
        let state = match self.state {
            State::Free => 0,
            State::Held => 1,
            State::Returning => 2,
            State::Ended => 3,
        };
        (self.generation << GENERATION_SHIFT) | (self.flags.0 << FLAG_SHIFT) | state
    }
}

/// What a caller may say about a checkout when it acquires.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CheckoutLabels {
    pub(crate) label: Option<Arc<str>>,
    /// The host's word for who acquired it: an asyncio task's name, a thread's name.
    pub(crate) owner: Option<Arc<str>>,
}

impl CheckoutLabels {
    fn is_empty(&self) -> bool {
        self.label.is_none() && self.owner.is_none()
    }
}

/// One place of the registry.
#[derive(Debug)]
pub(crate) struct Slot {
    index: u32,
    word: AtomicU64,
    acquired_at: AtomicU64,
    returning_since: AtomicU64,
    expected: AtomicU64,
    site: AtomicU32,
    /// When the deadline queue will look at this slot; zero = it will not. See `registry.rs` for the protocol.
    pub(super) queued: AtomicU64,
    pub(crate) stamps: Stamps,
    /// Touched only when a checkout has extras (the flag says so). Held for a clone.
    extras: Mutex<CheckoutLabels>,
    /// Held for the clone of a pointer.
    owner: Mutex<Option<Weak<dyn Reclaim>>>,
}

impl Slot {
    pub(super) fn new(index: u32) -> Slot {
        Slot {
            index,
            word: AtomicU64::new(Word { generation: 0, flags: Flags::default(), state: State::Free }.pack()),
            acquired_at: AtomicU64::new(0),
            returning_since: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            site: AtomicU32::new(0),
            queued: AtomicU64::new(0),
            stamps: Stamps::new(),
            extras: Mutex::new(CheckoutLabels::default()),
            owner: Mutex::new(None),
        }
    }

    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    pub(crate) fn word(&self) -> Word {
        Word::unpack(self.word.load(Ordering::SeqCst))
    }

    pub(crate) fn site(&self) -> SiteId {
        SiteId::from_index(self.site.load(Ordering::Acquire))
    }

    /// Tells the site that was not known at the acquire. False if one is told already.
    pub(crate) fn set_later_site(&self, site: SiteId) -> bool {
        let later = SiteId::LATER.index();
        self.site.compare_exchange(later, site.index(), Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(crate) fn acquired_at(&self) -> Nanos {
        self.acquired_at.load(Ordering::Acquire)
    }

    pub(crate) fn returning_since(&self) -> Nanos {
        self.returning_since.load(Ordering::Relaxed)
    }

    /// Checks the slot out. The caller owns the connection, and with it this slot: nobody else may hand it out now.
    pub(crate) fn check_out(
        &self,
        now: Nanos,
        site: SiteId,
        expected: Nanos,
        extras: CheckoutLabels,
    ) -> CheckoutId {
        let id = self.next_id();
        let mut flags = Flags::default();
        if !extras.is_empty() {
            *lock(&self.extras) = extras;
            flags = flags.with(Flags::EXTRAS);
        }
        // Release: whoever reads one of these also sees that the generation before has ended (`facts`).
        self.acquired_at.store(now, Ordering::Release);
        self.expected.store(expected, Ordering::Release);
        self.stamps.checked_out.store(id.generation(), Ordering::Release);
        self.site.store(site.index(), Ordering::Release);
        // SeqCst: this store and the look at `queued` that follows it must not change places (registry.rs).
        let word = Word { generation: id.generation(), flags, state: State::Held };
        self.word.store(word.pack(), Ordering::SeqCst);
        id
    }

    /// The id that the next `check_out` gives, for the one who may hand out the slot.
    pub(crate) fn next_id(&self) -> CheckoutId {
        let generation = (self.word().generation + 1) & (u64::MAX >> GENERATION_SHIFT);
        CheckoutId::new(self.index, generation)
    }

    /// Ends the holding of generation `generation`: exactly one caller gets `Ok`, with the flags that had been
    /// set by then; all others learn where the slot stands.
    pub(crate) fn end_holding(&self, generation: u64, to: State, now: Nanos) -> Result<Flags, Word> {
        if to == State::Returning {
            self.returning_since.store(now, Ordering::Relaxed);
        }
        self.transition(generation, State::Held, to, Flags::default())
    }

    /// The same for a revoke: whoever comes too late can see from the word that it was one.
    pub(crate) fn revoke_holding(&self, generation: u64) -> Result<Flags, Word> {
        self.transition(generation, State::Held, State::Ended, Flags::REVOKED)
    }

    /// The same for whoever has looked at `seen` and goes by what it found there: `Err` if anything has changed.
    pub(crate) fn end_holding_as_seen(&self, seen: Word, to: State, now: Nanos) -> Result<(), Word> {
        if seen.state != State::Held {
            return Err(seen);
        }
        if to == State::Returning {
            self.returning_since.store(now, Ordering::Relaxed);
        }
        let new = Word { state: to, ..seen }.pack();
        let swapped = self.word.compare_exchange(seen.pack(), new, Ordering::SeqCst, Ordering::SeqCst);
        swapped.map(|_| ()).map_err(Word::unpack)
    }

    /// Takes a settled release back: whoever released it found that it may not be checked out yet. Only for the one who
    /// holds the object that goes with a free slot, so that nobody else can hand it out.
    pub(crate) fn begin_returning(&self, generation: u64, now: Nanos) -> bool {
        self.returning_since.store(now, Ordering::Relaxed);
        self.transition(generation, State::Free, State::Returning, Flags::default()).is_ok()
    }

    /// Ends a return: settled (`Free`) or given up (`Ended`).
    pub(crate) fn end_returning(&self, generation: u64, to: State) -> Result<Flags, Word> {
        self.transition(generation, State::Returning, to, Flags::default())
    }

    fn transition(&self, generation: u64, from: State, to: State, also: Flags) -> Result<Flags, Word> {
        let mut raw = self.word.load(Ordering::SeqCst);
        loop {
            let word = Word::unpack(raw);
            if word.generation != generation || word.state != from {
                return Err(word);
            }
            match self.word.compare_exchange(
                raw,
                Word { state: to, flags: word.flags.with(also), ..word }.pack(),
                Ordering::SeqCst,
                Ordering::SeqCst,
            ) {
                Ok(_) => return Ok(word.flags),
                Err(seen) => raw = seen,
            }
        }
    }

    /// Says something about a held checkout for the first time: true for exactly one caller.
    pub(crate) fn flag(&self, generation: u64, flag: Flags) -> bool {
        let mut raw = self.word.load(Ordering::SeqCst);
        loop {
            let word = Word::unpack(raw);
            if word.generation != generation || word.state != State::Held || word.flags.has(flag) {
                return false;
            }
            let new = Word { flags: word.flags.with(flag), ..word }.pack();
            match self.word.compare_exchange(raw, new, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(seen) => raw = seen,
            }
        }
    }

    /// Sets who can end the session of this slot; kept weakly, as that owner keeps the slot.
    pub(crate) fn set_owner(&self, owner: Weak<dyn Reclaim>) {
        *lock(&self.owner) = Some(owner);
    }

    pub(crate) fn owner(&self) -> Option<Arc<dyn Reclaim>> {
        lock(&self.owner).as_ref().and_then(Weak::upgrade)
    }

    /// The facts of the checkout that is held, if one is, and they are all of one generation.
    pub(crate) fn facts(&self) -> Option<(Word, Facts)> {
        let word = self.word();
        if word.state != State::Held {
            return None;
        }
        let facts = self.facts_of(word);
        // A release and a new acquire in between would have mixed two checkouts. The generation alone does not
        // tell: it changes last, after the facts.
        let after = self.word();
        (after.generation == word.generation && after.state == State::Held).then_some((word, facts))
    }

    /// The facts of generation `word.generation`, for whoever knows that it is not checked out anew meanwhile.
    pub(crate) fn facts_of(&self, word: Word) -> Facts {
        let acquired_at = self.acquired_at();
        // First: whoever stamps stores the last use before the traffic. Read the other way round, a statement that
        // ends just now would look idle since it was sent.
        let traffic = self.stamps.traffic();
        Facts {
            acquired_at,
            last_use: self.stamps.last_use.load(Ordering::Acquire).max(acquired_at),
            last_byte: self.stamps.last_byte.load(Ordering::Acquire).max(acquired_at),
            statement_started: self.stamps.started.load(Ordering::Acquire).max(acquired_at),
            traffic,
            expected: self.expected.load(Ordering::Acquire),
            proven: word.flags.has(Flags::PROVEN),
        }
    }

    pub(crate) fn extras(&self, word: Word) -> CheckoutLabels {
        if word.flags.has(Flags::EXTRAS) { lock(&self.extras).clone() } else { CheckoutLabels::default() }
    }

    pub(crate) fn id(&self, word: Word) -> CheckoutId {
        CheckoutId::new(self.index, word.generation)
    }

    /// Makes an ended slot ready for another session. Only the registry's free list calls this.
    pub(super) fn recycle(&self) {
        let word = self.word();
        self.stamps.set_traffic(Traffic::default());
        self.stamps.set_sql(None, 0);
        self.stamps.set_backend_pid(0);
        self.stamps.used(0);
        self.stamps.byte_moved(0);
        self.stamps.statement_started(0);
        self.word
            .store(Word { flags: Flags::default(), state: State::Free, ..word }.pack(), Ordering::SeqCst);
    }
}

#[cfg(all(test, not(leakpool_loom)))]
mod tests;
