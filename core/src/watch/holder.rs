//! One checkout of another library's pool: how it ends exactly once, and what a holder who comes late is told.

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
pub(super) struct WatchedCheckout {
    pub(super) slot: Arc<Slot>,
    watch: Weak<Watch>,
    /// Held while the slot is stamped: so nothing stamps a slot that has been given back.
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    state: HolderState,
    reclaim: Option<Reclaimer>,
    used_late: bool,
}

/// Where a checkout stands, as far as its holder has been told.
#[derive(Default)]
enum HolderState {
    #[default]
    Holds,
    /// Its holder gave it back after the detector took it, but before we were told so.
    GivenBackLate,
    Revoked(Arc<Revocation>),
    Ended,
}

impl fmt::Debug for WatchedCheckout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedCheckout").field("slot", &self.slot.index()).finish_non_exhaustive()
    }
}

impl Reclaim for WatchedCheckout {
    fn revoke(&self, revocation: Arc<Revocation>) {
        let (reclaim, late) = {
            let mut inner = self.inner.lock();
            let late = matches!(inner.state, HolderState::GivenBackLate);
            inner.state = if late { HolderState::Ended } else { HolderState::Revoked(revocation.clone()) };
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
pub(super) enum LateAction {
    /// It was taken away; true for the first time that this is told for a use.
    Revoked(Arc<Revocation>, bool),
    /// It is being taken away this moment: `WatchedCheckout::revoke` tells.
    Revoking,
    /// It has ended already.
    Ended,
}

impl WatchedCheckout {
    pub(super) fn new(
        slot: Arc<Slot>,
        watch: Weak<Watch>,
        reclaim: Option<Reclaimer>,
    ) -> Arc<WatchedCheckout> {
        Arc::new(WatchedCheckout { slot, watch, inner: Mutex::new(Inner { reclaim, ..Inner::default() }) })
    }

    pub(super) fn touch(&self, touch: Touch<'_>, now: Nanos) -> Result<(), LateAction> {
        let mut inner = self.inner.lock();
        match &inner.state {
            HolderState::Holds => {
                stamp(&self.slot, touch, now);
                Ok(())
            }
            HolderState::Revoked(revocation) => {
                let revocation = revocation.clone();
                let first = !std::mem::replace(&mut inner.used_late, true);
                Err(LateAction::Revoked(revocation, first))
            }
            HolderState::GivenBackLate | HolderState::Ended => Err(LateAction::Ended),
        }
    }

    /// The holder gave it back, and the registry has answered with `ended`.
    pub(super) fn give_back(&self, id: CheckoutId, ended: Result<(), Word>) -> Result<(), LateAction> {
        let mut inner = self.inner.lock();
        let result = match (ended, &inner.state) {
            (Ok(()), _) => {
                inner.state = HolderState::Ended;
                Ok(())
            }
            (Err(_), HolderState::Revoked(revocation)) => {
                let revocation = revocation.clone();
                inner.state = HolderState::Ended;
                Err(LateAction::Revoked(revocation, true))
            }
            (Err(word), HolderState::Holds)
                if word.state == State::Ended && word.generation == id.generation() =>
            {
                inner.state = HolderState::GivenBackLate;
                Err(LateAction::Revoking)
            }
            (Err(_), HolderState::Holds | HolderState::GivenBackLate | HolderState::Ended) => {
                Err(LateAction::Ended)
            }
        };
        // What the callback has captured is dropped with no lock held. `revoke` takes its own.
        let unused = if result.is_ok() { inner.reclaim.take() } else { None };
        drop(inner);
        drop(unused);
        result
    }

    /// Why it is not live.
    pub(super) fn why_not(&self) -> LateAction {
        match &self.inner.lock().state {
            HolderState::Revoked(revocation) => LateAction::Revoked(revocation.clone(), false),
            HolderState::Holds => LateAction::Revoking,
            HolderState::GivenBackLate | HolderState::Ended => LateAction::Ended,
        }
    }
}
