//! Closing: nobody new, those who hold have their time, and then everything ends.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::shared::{Shared, closed};
use crate::clock::{Nanos, nanos};
use crate::detect::event::{CheckoutInfo, RemoveReason};
use crate::detect::verdict::RevokeReason;
use crate::error::Result;

impl Shared {
    /// Stops new acquires; waits for holders up to the limit; takes back what is left. Returns who still held.
    pub(crate) async fn close(self: &Arc<Self>, limit: Duration) -> Result<Vec<CheckoutInfo>> {
        self.process.check(&self.name)?;
        if self.closed.swap(true, Ordering::SeqCst) {
            return Err(closed(&self.name));
        }
        self.permits.close();
        self.changed.notify_waiters();
        self.remove_idle(RemoveReason::PoolClosed, |_| true);
        let deadline = self.detector.now().saturating_add(nanos(limit));
        let mut held = Vec::new();
        loop {
            let changed = self.changed.notified();
            let mut changed = pin!(changed);
            changed.as_mut().enable();
            let over = self.detector.now() >= deadline;
            let live = self.detector.checkouts();
            let none = live.is_empty();
            for checkout in live {
                if over || checkout.reported || checkout.verdict.is_leak() {
                    held.extend(self.detector.revoke(checkout.id, RevokeReason::PoolClosed).ok());
                }
            }
            if none && self.detector.stats.books().active() == 0 {
                break;
            }
            tokio::select! {
                () = changed => {}
                () = self.until(deadline) => {}
            }
        }
        for checkout in &held {
            tracing::warn!(
                target: "leakpool", pool = &*self.name, checkout = %checkout.id, site = %checkout.site.place(),
                "the pool was closed while a checkout was held; it was taken back",
            );
        }
        self.finish(deadline).await;
        Ok(held)
    }

    /// Waits until every task and session has ended, within limits of its own, and lets go of the threads. What is
    /// still on its way back at the deadline of the close is ended.
    async fn finish(&self, deadline: Nanos) {
        let gone = async {
            loop {
                let changed = self.changed.notified();
                let mut changed = pin!(changed);
                changed.as_mut().enable();
                for conn in self.idle.manager().take_made() {
                    self.discard(conn, RemoveReason::PoolClosed);
                }
                self.remove_idle(RemoveReason::PoolClosed, |_| true);
                if self.detector.now() >= deadline {
                    self.detector.give_up_returns();
                }
                if self.tasks.load(Ordering::SeqCst) == 0 && self.ending.load(Ordering::SeqCst) == 0 {
                    return;
                }
                let a_moment = {
                    let _enter = self.runtime.enter();
                    tokio::time::sleep(Duration::from_millis(10))
                };
                tokio::select! {
                    () = changed => {}
                    () = a_moment => {}
                }
            }
        };
        let limit = {
            let _enter = self.runtime.enter();
            tokio::time::sleep(Duration::from_secs(10))
        };
        tokio::select! {
            () = gone => {}
            // No sweeper limits a return from here on.
            () = limit => self.detector.give_up_returns(),
        }
        self.outbox.flushed().await;
        self.outbox.close();
        self.detector.stop();
        let closer = self.closer.lock().take();
        drop(closer);
    }
}
