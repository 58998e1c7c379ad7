//! One sweep: what is due is judged, what is to be said is said, what is to be taken back is taken back.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::checkout::{Flags, Slot, State};
use super::detector::Detector;
use super::event::{EventData, EventKind};
use super::stats::count;
use super::sweeper::Sweepable;
use super::verdict::{Judgement, Limits, RevokeReason, Suspicion, Verdict, idle_since, judge};
use crate::clock::{Clock, Nanos, nanos};
use crate::config::{ForceReleaseWhen, LeakPolicy};

/// The longest that the sweeper sleeps while something is checked out. It can tell that the process did not run only by
/// having overslept itself, so a stop is noticed up to this, and no deadline of before is judged by it.
const HEARTBEAT: Nanos = 1_000_000_000;

impl Detector {
    fn judge_due(&self, slot: &Slot, limits: &Limits, policy: &LeakPolicy, now: Nanos) {
        let Some((word, facts)) = slot.facts() else {
            // It is handed out again or free: an acquire has put it back into the queue, or will.
            if slot.word().state == State::Held {
                self.registry.schedule(slot, now);
            }
            return;
        };
        let Judgement { verdict, revoke, long_running, look_again } = judge(&facts, limits, now);
        if long_running && !word.flags.has(Flags::LONG_RUNNING) {
            // Before the flag, which can be set only while this checkout is still held.
            let info = self.info(slot, word, facts, now);
            if slot.flag(word.generation, Flags::LONG_RUNNING) {
                self.emit(EventData::LongRunning { checkout: Box::new(info) });
            }
        }
        if let Verdict::Suspected(suspicion) = verdict {
            self.report_leak(slot, word.generation, Some(suspicion));
        }
        if let Some(reason) = revoke.filter(|_| match policy.force_release_when {
            ForceReleaseWhen::Due => true,
            ForceReleaseWhen::Exhausted => false,
        }) {
            self.revoke_slot(slot, word.generation, reason);
            return;
        }
        if let Some(next) = look_again {
            self.registry.schedule(slot, next);
        }
    }

    pub(super) fn report_leak(&self, slot: &Slot, generation: u64, suspicion: Option<Suspicion>) {
        let Some((word, facts)) = slot.facts().filter(|(word, _)| word.generation == generation) else {
            return;
        };
        if word.flags.has(Flags::LEAK) {
            return;
        }
        let mut info = self.info(slot, word, facts, self.now());
        info.reported = true;
        let _order = self.order.lock();
        if slot.flag(generation, Flags::LEAK) {
            // It may have been told since (`locate`).
            info.site = self.sites.get(slot.site());
            count(&self.stats.leaks);
            info.site.leaked_inc();
            self.stats.leaked_now.fetch_add(1, Ordering::Relaxed);
            self.emit(EventData::Leak { checkout: Box::new(info), suspicion });
        }
    }

    /// The batch alert: once when the number of flagged checkouts reaches the limit, again after it fell below.
    pub(super) fn report_batch(&self) {
        let limit = self.policy().max_leaks_before_alert;
        let flagged = self.stats.leaked_now.load(Ordering::Relaxed);
        if limit == 0 || flagged < i64::from(limit) || self.batch_reported.swap(true, Ordering::Relaxed) {
            return;
        }
        if self.sink.wants(EventKind::LeaksDetected) {
            let leaks = self.checkouts_where(|word| word.flags.has(Flags::LEAK));
            self.emit(EventData::LeaksDetected { leaks });
        }
    }

    /// `force_release_when = exhausted`: as many due checkouts as acquires wait, longest idle first. One that was given
    /// a place waits no more, even if it does not know it yet.
    fn reclaim_for_waiters(&self, limits: &Limits, policy: &LeakPolicy, now: Nanos) {
        let waiting = self.waiting.load(Ordering::SeqCst);
        if waiting == 0 || policy.force_release_when == ForceReleaseWhen::Due {
            return;
        }
        let mut due: Vec<(Nanos, Arc<Slot>, u64, RevokeReason)> = self
            .registry
            .in_state(State::Held)
            .into_iter()
            .filter_map(|slot| {
                let (word, facts) = slot.facts()?;
                let reason = judge(&facts, limits, now).revoke?;
                Some((idle_since(&facts).unwrap_or(facts.statement_started), slot, word.generation, reason))
            })
            .collect();
        due.sort_by_key(|(since, ..)| *since);
        for (_, slot, generation, reason) in due.into_iter().take(waiting) {
            self.revoke_slot(&slot, generation, reason);
        }
    }

    /// An acquire has begun to wait for a connection that others hold.
    pub(crate) fn waiting_began(&self) {
        if self.policy().force_release_when == ForceReleaseWhen::Exhausted {
            self.wake();
        }
    }

    fn look_at_utilization(&self, policy: &LeakPolicy) {
        let max_size = self.capacity.load(Ordering::Relaxed);
        if max_size == 0 || policy.utilization_warning <= 0.0 {
            return;
        }
        let in_use = usize::try_from(self.stats.books().active()).unwrap_or(usize::MAX);
        if in_use as f64 >= policy.utilization_warning * max_size as f64 {
            if !self.utilization_reported.swap(true, Ordering::Relaxed) {
                self.emit(EventData::Utilization { in_use, max_size });
            }
        } else {
            self.utilization_reported.store(false, Ordering::Relaxed);
        }
    }
}

impl Sweepable for Detector {
    fn sweep(&self, now: Nanos) -> Option<Nanos> {
        if self.sweeper.lock().is_none() {
            return None;
        }
        let started = Instant::now();
        let policy = self.policy();
        let limits = Limits::of(&policy);
        let mut looked = false;
        while let Some(slot) = self.registry.pop_due(now) {
            looked = true;
            let word = slot.word();
            match word.state {
                State::Held => {
                    // The policy in force now: it may have been changed, and this slot queued for it, meanwhile.
                    let policy = self.policy();
                    self.judge_due(&slot, &Limits::of(&policy), &policy, now);
                }
                State::Returning => {
                    let limit = self.reset_timeout.load(Ordering::Relaxed);
                    let due = slot.returning_since().saturating_add(limit);
                    if due > now {
                        self.registry.schedule(&slot, due);
                    } else if let Some(owner) = slot.owner() {
                        if owner.is_awaited() {
                            self.registry.schedule(&slot, now.saturating_add(limit));
                        } else {
                            owner.give_up_return(word.generation);
                        }
                    }
                }
                State::Free | State::Ended => {}
            }
        }
        self.report_batch();
        self.reclaim_for_waiters(&limits, &policy, now);

        let upkeep = self.upkeep.read().as_ref().and_then(Weak::upgrade);
        let mut next = upkeep.and_then(|u| u.upkeep(now));
        if let Some(queued) = self.registry.fall_asleep() {
            // Something is checked out, or was a moment ago: utilization is looked at from time to time.
            let interval = nanos(policy.check_interval);
            let last = self.last_check.load(Ordering::Relaxed);
            if now.saturating_sub(last) >= interval {
                self.look_at_utilization(&policy);
                self.last_check.store(now, Ordering::Relaxed);
            }
            let check = self.last_check.load(Ordering::Relaxed).saturating_add(interval);
            next = Some(next.unwrap_or(Nanos::MAX).min(queued).min(check).min(now.saturating_add(HEARTBEAT)));
        }
        if looked {
            self.stats.sweep_time.record_duration(started.elapsed());
        }
        next
    }

    fn complain(&self, text: &'static str) {
        self.sink.complain(text);
    }

    fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}
