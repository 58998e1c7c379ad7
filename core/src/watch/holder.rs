//! One checkout of somebody else's pool: how it ends exactly once, and what a holder who comes late is told.

use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Watch;
use super::check_out::{Reclaimer, Touch, stamp};
use crate::clock::Nanos;
use crate::detect::Reclaim;
use crate::detect::checkout::{Slot, State, Word};
use crate::detect::event::{EventData, Revocation};
use crate::detect::id::CheckoutId;

/// One live or revoked checkout.
pub(super) struct Holding {
    pub(super) slot: Arc<Slot>,
    watch: Weak<Watch>,
    /// Held while the slot is stamped: so nothing stamps a slot that has been given back.
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    fate: Fate,
    reclaim: Option<Reclaimer>,
    used_late: bool,
}

/// Where a checkout stands, as far as its holder has been told.
#[derive(Default)]
enum Fate {
    #[default]
    Held,
    /// Its holder gave it back after the detector took it, but before we were told so.
    GivenBackLate,
    Revoked(Arc<Revocation>),
    Ended,
}

impl fmt::Debug for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holding").field("slot", &self.slot.index()).finish_non_exhaustive()
    }
}

impl Reclaim for Holding {
    fn revoke(&self, revocation: Arc<Revocation>) {
        let (reclaim, late) = {
            let mut inner = self.inner.lock();
            let late = matches!(inner.fate, Fate::GivenBackLate);
            inner.fate = if late { Fate::Ended } else { Fate::Revoked(revocation.clone()) };
            (inner.reclaim.take(), late)
        };
        let Some(watch) = self.watch.upgrade() else { return };
        watch.forget_live(revocation.checkout, !late);
        watch.detector.retire(&self.slot);
        if late {
            watch.detector.emit(EventData::LateRelease { revocation: revocation.clone() });
        }
        if let Some(reclaim) = reclaim {
            watch.outbox.run(move || reclaim(&revocation));
        }
    }

    // A checkout here goes from held to ended; it never is `returning`.
    fn give_up_return(&self, _generation: u64) {}
}

/// Why a call about a checkout does not go through.
pub(super) enum Late {
    /// It was taken away; true for the first time that this is told for a use.
    Revoked(Arc<Revocation>, bool),
    /// It is being taken away this moment: `Holding::revoke` tells.
    Revoking,
    /// It has ended already.
    Ended,
}

impl Holding {
    pub(super) fn new(slot: Arc<Slot>, watch: Weak<Watch>, reclaim: Option<Reclaimer>) -> Arc<Holding> {
        Arc::new(Holding { slot, watch, inner: Mutex::new(Inner { reclaim, ..Inner::default() }) })
    }

    pub(super) fn touch(&self, touch: Touch<'_>, now: Nanos) -> Result<(), Late> {
        let mut inner = self.inner.lock();
        match &inner.fate {
            Fate::Held => {
                stamp(&self.slot, touch, now);
                Ok(())
            }
            Fate::Revoked(revocation) => {
                let revocation = revocation.clone();
                let first = !std::mem::replace(&mut inner.used_late, true);
                Err(Late::Revoked(revocation, first))
            }
            Fate::GivenBackLate | Fate::Ended => Err(Late::Ended),
        }
    }

    /// The holder gave it back, and the registry has answered with `ended`.
    pub(super) fn give_back(&self, id: CheckoutId, ended: Result<(), Word>) -> Result<(), Late> {
        let mut inner = self.inner.lock();
        let result = match (ended, &inner.fate) {
            (Ok(()), _) => {
                inner.fate = Fate::Ended;
                Ok(())
            }
            (Err(_), Fate::Revoked(revocation)) => {
                let revocation = revocation.clone();
                inner.fate = Fate::Ended;
                Err(Late::Revoked(revocation, true))
            }
            (Err(word), Fate::Held) if word.state == State::Ended && word.generation == id.generation() => {
                inner.fate = Fate::GivenBackLate;
                Err(Late::Revoking)
            }
            (Err(_), Fate::Held | Fate::GivenBackLate | Fate::Ended) => Err(Late::Ended),
        };
        // What the callback has captured is dropped with no lock held. `revoke` takes its own.
        let unused = if result.is_ok() { inner.reclaim.take() } else { None };
        drop(inner);
        drop(unused);
        result
    }

    /// Why it is not live.
    pub(super) fn why_not(&self) -> Late {
        match &self.inner.lock().fate {
            Fate::Revoked(revocation) => Late::Revoked(revocation.clone(), false),
            Fate::Held => Late::Revoking,
            Fate::GivenBackLate | Fate::Ended => Late::Ended,
        }
    }
}
