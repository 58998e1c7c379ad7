//! Closing: nobody new, those who hold have their time, and then everything ends.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::Level;

use super::shared::{Shared, closed};
use crate::clock::{Nanos, nanos};
use crate::detect::event::{CheckoutInfo, RemoveReason};
use crate::detect::verdict::RevokeReason;
use crate::error::Result;

/// How long a close waits, at least and at most, until subscribers have been told of it: as long as its own limit, in
/// between.
const LEAST_TO_TELL: Duration = Duration::from_millis(100);
const MOST_TO_TELL: Duration = Duration::from_secs(5);

impl Shared {
    /// Nobody is served any more: who still waits is told so, and idle connections leave.
    fn turn_away(&self) {
        // Once: it wakes whoever waits for a change, the close itself included.
        if self.over.swap(true, Ordering::SeqCst) {
            return;
        }
        self.places.close();
        self.timing.changed.notify_waiters();
        self.remove_idle(RemoveReason::PoolClosed, |_| true);
    }

    /// Stops new acquires; serves those that had come before and waits for holders, both up to the limit; takes back
    /// what is left. Returns who still held.
    pub(crate) async fn close(self: &Arc<Self>, limit: Duration) -> Result<Vec<CheckoutInfo>> {
        self.process.check(&self.name)?;
        if self.closed.swap(true, Ordering::SeqCst) {
            return Err(closed(&self.name));
        }
        self.timing.changed.notify_waiters();
        let deadline = self.detector.now().saturating_add(nanos(limit));
        let mut held = Vec::new();
        loop {
            let changed = self.timing.changed.notified();
            let mut changed = pin!(changed);
            changed.as_mut().enable();
            let over = self.detector.now() >= deadline;
            if over || self.acquiring.load(Ordering::SeqCst) == 0 {
                self.turn_away();
            }
            // Who acquires is looked at first: served meanwhile, it is a live checkout by then.
            let nobody_new = self.acquiring.load(Ordering::SeqCst) == 0;
            let live = self.detector.checkouts();
            let none = live.is_empty();
            for checkout in live {
                // One that is flagged meanwhile is seen then: the sweeper says so at the end of its round.
                if over || checkout.reported {
                    held.extend(self.detector.revoke(checkout.id, RevokeReason::PoolClosed).ok());
                }
            }
            if none && (nobody_new || over) && self.detector.stats.books().active() == 0 {
                break;
            }
            tokio::select! {
                () = changed => {}
                () = self.timing.until(deadline), if !over => {}
            }
        }
        self.turn_away();
        for CheckoutInfo { id, site, .. } in &held {
            let (name, id, site) = (self.name.clone(), *id, site.clone());
            self.outbox.log(Level::WARN, move || {
                tracing::warn!(
                    target: "leakpool", pool = &*name, checkout = %id, site = %site.place(),
                    "the pool was closed while a checkout was held; it was taken back",
                );
            });
        }
        self.finish(deadline).await;
        // What there is to tell is told before the close returns, unless a callback is stuck, which may be another
        // pool's: it is told later then.
        let told_by = limit.clamp(LEAST_TO_TELL, MOST_TO_TELL);
        tokio::select! {
            _ = self.outbox.flushed() => {}
            () = self.timing.sleep(told_by) => {}
        }
        self.outbox.close();
        self.detector.stop();
        self.timing.end();
        Ok(held)
    }

    /// Waits until every task and session has ended, within limits of its own. What is still on its way back at the
    /// deadline of the close is ended.
    async fn finish(&self, deadline: Nanos) {
        let gone = async {
            loop {
                let changed = self.timing.changed.notified();
                let mut changed = pin!(changed);
                changed.as_mut().enable();
                self.remove_idle(RemoveReason::PoolClosed, |_| true);
                if self.detector.now() >= deadline {
                    self.detector.give_up_returns();
                }
                if self.tasks.load(Ordering::SeqCst) == 0 && self.ending.load(Ordering::SeqCst) == 0 {
                    return;
                }
                tokio::select! {
                    () = changed => {}
                    () = self.timing.sleep(Duration::from_millis(10)) => {}
                }
            }
        };
        tokio::select! {
            () = gone => {}
            // No sweeper limits a return from here on.
            () = self.timing.sleep(Duration::from_secs(10)) => self.detector.give_up_returns(),
        }
    }
}
