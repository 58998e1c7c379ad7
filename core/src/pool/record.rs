//! What the pool keeps about one of its sessions: its age, its uses. What it does when the session has something to say
//! is in `owner.rs`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::clock::Nanos;
use crate::detect::event::RemoveReason;
use crate::session::owner::BoxedClient;
use crate::session::state::SessionState;

/// One connection in the pool's hands: idle, or on its way to a caller or back.
pub(super) struct Conn<Pool> {
    pub(super) client: BoxedClient,
    pub(super) session: Arc<SessionState>,
    pub(super) record: Arc<Record<Pool>>,
}

/// `Pool` is what the pool's clones share, which this file does not know.
pub(super) struct Record<Pool> {
    pub(super) pool: Weak<Pool>,
    /// From when on it is not handed out again; `u64::MAX` = never.
    pub(super) expires_at: Nanos,
    /// How often the pool had been drained when it was made: drained again, it is not checked out any more.
    drains: u64,
    pub(super) idle_since: AtomicU64,
    /// Checkouts that `max_uses` still allows; `u64::MAX` = no limit.
    uses_left: AtomicU64,
    /// It is the pool's: the attempt to connect that made it has won. Before, nobody hears of it.
    admitted: AtomicBool,
    /// Counted among the tasks that a close waits for.
    counted: AtomicBool,
}

impl<Pool> Record<Pool> {
    /// `drains`: how often the pool was drained until now. `max_uses`: zero = no limit.
    pub(super) fn new(
        pool: Weak<Pool>,
        expires_at: Nanos,
        drains: u64,
        max_uses: u64,
        now: Nanos,
    ) -> Arc<Record<Pool>> {
        Arc::new(Record {
            pool,
            expires_at,
            drains,
            idle_since: AtomicU64::new(now),
            uses_left: AtomicU64::new(if max_uses == 0 { u64::MAX } else { max_uses }),
            admitted: AtomicBool::new(false),
            counted: AtomicBool::new(false),
        })
    }

    /// Why this connection is not handed out again.
    pub(super) fn unusable_reason(
        &self,
        session: &SessionState,
        drains: u64,
        now: Nanos,
    ) -> Option<RemoveReason> {
        if session.is_ended() {
            return Some(RemoveReason::Lost);
        }
        // It heard something: the notifications would be the next holder's.
        if session.traffic().listening {
            return Some(RemoveReason::Reset);
        }
        if now >= self.expires_at || self.drains != drains {
            return Some(RemoveReason::Lifetime);
        }
        (self.uses_left.load(Ordering::Relaxed) == 0).then_some(RemoveReason::Uses)
    }

    /// One checkout more.
    pub(super) fn used(&self) {
        if self.uses_left.load(Ordering::Relaxed) != u64::MAX {
            self.uses_left.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The session is the pool's from here on.
    pub(super) fn admit(&self) {
        self.admitted.store(true, Ordering::SeqCst);
    }

    /// There is a task now that drives the session.
    pub(super) fn task_began(&self) {
        self.counted.store(true, Ordering::SeqCst);
    }

    /// That task has let go of the session. True the first time.
    pub(super) fn task_let_go(&self) -> bool {
        self.counted.swap(false, Ordering::SeqCst)
    }

    pub(super) fn is_admitted(&self) -> bool {
        self.admitted.load(Ordering::SeqCst)
    }
}
