//! The detector: registry, policy, books and sites of one pool; how checkouts begin, end and are listed. What is judged,
//! and when, is in `sweep.rs`.
//!
//! Lock protocol: `order` may be held while the sink enqueues; no other lock of the detector is held while another one is
//! taken, and none while a [`Reclaim`](super::Reclaim) runs.

use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};

use super::checkout::{CheckoutLabels, Flags, Slot, State, Word};
use super::event::{CheckoutInfo, DirtyReason, Event, EventData, EventKind, EventSink, LastSql, Revocation};
use super::facts::Facts;
use super::id::CheckoutId;
use super::registry::Registry;
use super::site::{Site, SiteId};
use super::site_table::SiteTable;
use super::sql;
use super::stats::{Stats, book, count};
use super::sweeper::Sweeper;
use super::verdict::{Limits, RevokeReason, idle_since, judge, span};
use crate::clock::{Clock, Nanos, nanos};
use crate::config::{LeakPolicy, SqlText, StackCapture};
use crate::error::{Error, ErrorCode, Result};

/// A checkout whose line was told after its acquire.
pub(crate) struct Located {
    pub(crate) site: Arc<Site>,
    /// It was reported as leaked before, without its line.
    pub(crate) reported: bool,
}

/// How an acquire ended: what `begin` needs to know.
#[derive(Debug, Clone, Default)]
pub(crate) struct CheckOutParams {
    pub(crate) expected: Duration,
    pub(crate) extras: CheckoutLabels,
    pub(crate) waited: Nanos,
}

/// The shared state of one detector.
pub(crate) struct Detector {
    pub(super) name: Arc<str>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) policy: RwLock<Arc<LeakPolicy>>,
    /// The hot path's share of the policy, so that an acquire takes no lock for it.
    pub(super) first_look: AtomicU64,
    pub(super) capture: AtomicU64,
    pub(crate) sites: SiteTable,
    pub(super) registry: Registry,
    pub(crate) stats: Stats,
    pub(crate) sink: Arc<dyn EventSink>,
    /// `None` once closed, so that the thread can end.
    pub(super) sweeper: Mutex<Option<Arc<Sweeper>>>,
    /// Held around "say something about a flagged checkout" and the enqueuing of it, so that `leak` always comes
    /// before `leak_recovered` and `force_release` of the same checkout.
    pub(super) order: Mutex<()>,
    /// Acquires that wait for a connection that others hold.
    pub(crate) waiting: Arc<AtomicUsize>,
    /// `max_size` of the pool, for utilization; zero = unknown.
    pub(crate) capacity: AtomicUsize,
    pub(crate) reset_timeout: AtomicU64,
    pub(super) last_check: AtomicU64,
    pub(super) utilization_reported: AtomicBool,
    pub(super) batch_reported: AtomicBool,
    /// Called at the end of a sweep with the time; returns when it wants to be called again.
    pub(super) upkeep: RwLock<Option<Weak<dyn Upkeep>>>,
}

/// What a pool wants done from time to time. Decides and enqueues only.
pub(crate) trait Upkeep: Send + Sync {
    /// Looks at what is due; returns when to come back.
    fn upkeep(&self, now: Nanos) -> Option<Nanos>;
}

impl fmt::Debug for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detector").field("name", &self.name).field("books", &self.stats.books()).finish()
    }
}

fn pack_capture(mode: StackCapture, depth: usize) -> u64 {
    let mode = match mode {
        StackCapture::Full => 0,
        StackCapture::Site => 1,
        StackCapture::Off => 2,
    };
    (depth as u64) << 8 | mode
}

fn unpack_capture(raw: u64) -> (StackCapture, usize) {
    let mode = match raw & 0xff {
        0 => StackCapture::Full,
        1 => StackCapture::Site,
        _ => StackCapture::Off,
    };
    (mode, (raw >> 8) as usize)
}

impl Detector {
    pub(crate) fn start(
        name: Arc<str>,
        policy: LeakPolicy,
        clock: Arc<dyn Clock>,
        sink: Arc<dyn EventSink>,
    ) -> Result<Arc<Detector>> {
        let sweeper = Sweeper::shared()?;
        let limits = Limits::of(&policy);
        let detector = Arc::new(Detector {
            name,
            first_look: AtomicU64::new(limits.first_look(0)),
            capture: AtomicU64::new(pack_capture(policy.stack_capture, policy.stack_depth)),
            policy: RwLock::new(Arc::new(policy)),
            sites: SiteTable::new(),
            registry: Registry::new(),
            stats: Stats::default(),
            sink,
            sweeper: Mutex::new(Some(sweeper.clone())),
            order: Mutex::new(()),
            waiting: Arc::default(),
            capacity: AtomicUsize::new(0),
            reset_timeout: AtomicU64::new(5_000_000_000),
            last_check: AtomicU64::new(0),
            utilization_reported: AtomicBool::new(false),
            batch_reported: AtomicBool::new(false),
            upkeep: RwLock::new(None),
            clock,
        });
        let weak: Weak<Detector> = Arc::downgrade(&detector);
        sweeper.look_after(weak.clone());
        if !detector.clock.is_real() {
            detector.clock.on_move(Arc::new(move || {
                if let Some(detector) = weak.upgrade() {
                    detector.wake();
                }
            }));
        }
        Ok(detector)
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn now(&self) -> Nanos {
        self.clock.now()
    }

    pub(crate) fn clock_arc(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(crate) fn policy(&self) -> Arc<LeakPolicy> {
        self.policy.read().clone()
    }

    /// Puts a new policy in force; every live checkout is looked at again.
    pub(crate) fn reconfigure(&self, policy: LeakPolicy) -> Result<()> {
        policy.validate()?;
        self.first_look.store(Limits::of(&policy).first_look(0), Ordering::Relaxed);
        self.capture.store(pack_capture(policy.stack_capture, policy.stack_depth), Ordering::Relaxed);
        *self.policy.write() = Arc::new(policy);
        let now = self.now();
        for slot in self.registry.in_state(State::Held) {
            self.registry.schedule(&slot, now);
        }
        self.wake();
        Ok(())
    }

    pub(crate) fn set_upkeep(&self, upkeep: Weak<dyn Upkeep>) {
        *self.upkeep.write() = Some(upkeep);
        self.wake();
    }

    pub(crate) fn wake(&self) {
        if let Some(sweeper) = &*self.sweeper.lock() {
            sweeper.wake();
        }
    }

    /// Lets go of the sweeper: nothing is judged any more.
    pub(crate) fn stop(&self) {
        let sweeper = self.sweeper.lock().take();
        drop(sweeper);
    }

    // ---- beginnings and endings ------------------------------------------------------------------------

    pub(crate) fn claim(&self) -> Result<Arc<Slot>> {
        self.registry.claim()
    }

    pub(crate) fn retire(&self, slot: &Slot) {
        self.registry.retire(slot);
    }

    #[inline]
    pub(crate) fn capture_site(&self, location: &'static Location<'static>) -> SiteId {
        let (mode, depth) = unpack_capture(self.capture.load(Ordering::Relaxed));
        self.sites.capture(location, mode, depth)
    }

    /// A checkout begins. The caller owns the slot's session.
    #[inline]
    pub(crate) fn begin(
        &self,
        slot: &Slot,
        now: Nanos,
        site: SiteId,
        beginning: CheckOutParams,
    ) -> CheckoutId {
        let mut first_look = self.first_look.load(Ordering::Relaxed);
        let expected = nanos(beginning.expected);
        if expected > 0 {
            first_look = Limits::of(&self.policy()).first_look(expected);
        }
        // Before the slot can be judged or ended: a snapshot must never show more endings than beginnings.
        book(&self.stats.acquired);
        if let Some(site) = self.sites.get_ref(site) {
            site.acquired_inc();
        }
        self.stats.wait_time.record(beginning.waited);
        let (id, wake) = self.registry.check_out(slot, now, site, expected, beginning.extras, first_look);
        if wake {
            self.wake();
        }
        if self.sink.wants(EventKind::Acquire) {
            let site = self.sites.get(site);
            self.emit(EventData::Acquire { id, site, waited: Duration::from_nanos(beginning.waited) });
        }
        id
    }

    /// The holder gives back: `Free` (settled), `Returning` (its task has to clean up first) or `Ended` (the
    /// session is not to be used again). `Err` tells that something else had ended the holding before.
    #[inline]
    pub(crate) fn release(&self, slot: &Slot, id: CheckoutId, to: State, now: Nanos) -> Result<(), Word> {
        // Read while the checkout is ours: as soon as it has ended, the connection's task may hand out the slot anew.
        let held = now.saturating_sub(slot.acquired_at());
        let mut word = slot.word();
        let recovered = loop {
            if word.generation != id.generation() {
                return Err(word);
            }
            let info = word.flags.has(Flags::LEAK).then(|| self.info(slot, word, slot.facts_of(word), now));
            match slot.end_holding_as_seen(word, to, now) {
                Ok(()) => break info,
                // A flag was set meanwhile: look again.
                Err(seen) if seen.generation == word.generation && seen.state == State::Held => word = seen,
                Err(seen) => return Err(seen),
            }
        };
        book(&self.stats.released);
        self.stats.use_time.record(held);
        if let Some(info) = recovered {
            self.recovered(info);
        }
        if self.sink.wants(EventKind::Release) {
            self.emit(EventData::Release { id, held: Duration::from_nanos(held) });
        }
        if to == State::Returning {
            let due = now.saturating_add(self.reset_timeout.load(Ordering::Relaxed));
            if self.registry.schedule(slot, due) {
                self.wake();
            }
        }
        Ok(())
    }

    /// A release that was taken for settled turned out not to be: the slot is `returning` after all.
    #[cold]
    pub(crate) fn take_release_back(&self, slot: &Slot, id: CheckoutId) {
        let now = self.now();
        if slot.begin_returning(id.generation(), now) {
            let due = now.saturating_add(self.reset_timeout.load(Ordering::Relaxed));
            if self.registry.schedule(slot, due) {
                self.wake();
            }
        }
    }

    #[cold]
    fn recovered(&self, info: CheckoutInfo) {
        info.site.recovered_inc();
        count(&self.stats.leaks_recovered);
        let _order = self.order.lock();
        self.unflag();
        self.emit(EventData::LeakRecovered { checkout: Box::new(info) });
    }

    pub(super) fn unflag(&self) {
        let left = self.stats.leaked_now.fetch_sub(1, Ordering::Relaxed) - 1;
        if left < i64::from(self.policy().max_leaks_before_alert) {
            self.batch_reported.store(false, Ordering::Relaxed);
        }
    }

    /// The session died while it was held. True for the one that ends the holding by it.
    pub(crate) fn lost(&self, slot: &Slot) -> bool {
        let word = slot.word();
        let now = self.now();
        match slot.end_holding(word.generation, State::Ended, now) {
            Ok(flags) => {
                book(&self.stats.lost);
                self.stats.use_time.record(now.saturating_sub(slot.acquired_at()));
                if flags.has(Flags::LEAK) {
                    self.unflag();
                }
                true
            }
            Err(_) => false,
        }
    }

    /// Takes a checkout away from its holder, whatever it does.
    pub(crate) fn revoke(&self, id: CheckoutId, reason: RevokeReason) -> Result<CheckoutInfo> {
        let found = self.registry.find(id).filter(|(_, word)| word.state == State::Held);
        let Some((slot, _)) = found else { return Err(unknown(id, &self.name)) };
        self.revoke_slot(&slot, id.generation(), reason).ok_or_else(|| unknown(id, &self.name))
    }

    pub(super) fn revoke_slot(
        &self,
        slot: &Slot,
        generation: u64,
        reason: RevokeReason,
    ) -> Option<CheckoutInfo> {
        let (word, facts) = slot.facts().filter(|(word, _)| word.generation == generation)?;
        let now = self.now();
        let info = self.info(slot, word, facts, now);
        let revocation = Arc::new(Revocation {
            checkout: info.id,
            pool: self.name.clone(),
            at: SystemTime::now(),
            reason,
            site: info.site.clone(),
            held: info.held,
            idle_for: info.idle_for,
            abandoned: Arc::default(),
        });
        let owner = slot.owner();
        {
            let _order = self.order.lock();
            let flags = slot.revoke_holding(generation).ok()?;
            book(&self.stats.force_released);
            info.site.force_released_inc();
            self.stats.use_time.record(now.saturating_sub(facts.acquired_at));
            if flags.has(Flags::LEAK) {
                self.unflag();
            }
            self.emit(EventData::ForceRelease { checkout: Box::new(info.clone()), reason });
        }
        if let Some(owner) = owner {
            owner.revoke(revocation);
        }
        Some(info)
    }

    /// A finalizer showed that the handle is unreachable: reported whatever its age, and reclaimed.
    pub(crate) fn prove(&self, id: CheckoutId) -> Result<CheckoutInfo> {
        let found = self.registry.find(id).filter(|(_, word)| word.state == State::Held);
        let Some((slot, _)) = found else { return Err(unknown(id, &self.name)) };
        slot.flag(id.generation(), Flags::PROVEN);
        self.report_leak(&slot, id.generation(), None);
        self.report_batch();
        self.revoke_slot(&slot, id.generation(), RevokeReason::Proven).ok_or_else(|| unknown(id, &self.name))
    }

    /// The site of a checkout that was acquired with [`SiteId::LATER`]: its record begins now, with what has been said
    /// about the checkout so far. Whoever calls this knows that the checkout is not released, and checked out anew, meanwhile.
    pub(crate) fn locate(&self, id: CheckoutId, site: SiteId) -> Result<Located> {
        let Some((slot, _)) = self.registry.find(id) else { return Err(unknown(id, &self.name)) };
        // Whether it is flagged is looked at, and acted upon, before or after `report_leak`, not in between.
        let _order = self.order.lock();
        let told = slot.set_later_site(site);
        let site = self.sites.get(slot.site());
        let flags = slot.word().flags;
        let reported = told && flags.has(Flags::LEAK);
        if told {
            site.acquired_inc();
        }
        if reported {
            site.leaked_inc();
        }
        Ok(Located { site, reported })
    }

    /// Where a checkout was acquired, as long as its connection is not checked out anew.
    pub(crate) fn site_of(&self, id: CheckoutId) -> Option<Arc<Site>> {
        let (slot, _) = self.registry.find(id)?;
        let site = self.sites.get(slot.site());
        self.registry.find(id).map(|_| site)
    }

    /// The task or thread that acquired it has ended: a reason for suspicion, no proof.
    pub(crate) fn owner_ended(&self, id: CheckoutId) -> Result<()> {
        match self.registry.find(id).filter(|(_, word)| word.state == State::Held) {
            Some((slot, _)) => {
                slot.flag(id.generation(), Flags::OWNER_ENDED);
                Ok(())
            }
            None => Err(unknown(id, &self.name)),
        }
    }

    /// True if this id was given out by this detector, now or before.
    pub(crate) fn has_issued(&self, id: CheckoutId) -> bool {
        self.registry.has_issued(id)
    }

    /// A connection was returned with something open.
    pub(crate) fn dirty_release(&self, slot: &Slot, generation: u64, found: DirtyReason) {
        let id = CheckoutId::new(slot.index(), generation);
        let last_sql = last_sql(slot, generation, self.policy().sql_text, self.now());
        self.emit(EventData::DirtyRelease { id, site: self.sites.get(slot.site()), found, last_sql });
    }

    // ---- snapshots ---------------------------------------------------------------------------------------

    pub(super) fn info(&self, slot: &Slot, word: Word, facts: Facts, now: Nanos) -> CheckoutInfo {
        let policy = self.policy();
        let judgement = judge(&facts, &Limits::of(&policy), now);
        let extras = slot.extras(word);
        let idle = idle_since(&facts);
        CheckoutInfo {
            id: slot.id(word),
            pool: self.name.clone(),
            site: self.sites.get(slot.site()),
            label: extras.label,
            owner: extras.owner,
            held: span(facts.acquired_at, now),
            idle_for: idle.map(|since| span(since, now)),
            executing_for: (idle.is_none() && !facts.traffic.unknown)
                .then(|| span(facts.statement_started, now)),
            activity: facts.traffic.activity(),
            transaction: facts.traffic.transaction,
            verdict: judgement.verdict,
            reported: word.flags.has(Flags::LEAK),
            owner_ended: word.flags.has(Flags::OWNER_ENDED),
            listening: facts.traffic.listening,
            expected: (facts.expected > 0).then(|| Duration::from_nanos(facts.expected)),
            last_sql: last_sql(slot, word.generation, policy.sql_text, now),
            backend_pid: slot.stamps.backend_pid(),
        }
    }

    /// Every live checkout, longest held first.
    pub(crate) fn checkouts(&self) -> Vec<CheckoutInfo> {
        self.checkouts_where(|_| true)
    }

    /// Those that are, or look like, leaks: reported, or judged so now.
    pub(crate) fn leaks(&self) -> Vec<CheckoutInfo> {
        let mut leaks = self.checkouts();
        leaks.retain(|checkout| checkout.reported || checkout.verdict.is_leak());
        leaks
    }

    /// True while it is held.
    pub(crate) fn is_live(&self, id: CheckoutId) -> bool {
        self.registry.find(id).is_some_and(|(_, word)| word.state == State::Held)
    }

    /// Those of them whose word is of interest. The others cost one load each: a sweep asks for a few of many.
    pub(super) fn checkouts_where(&self, wanted: impl Fn(Word) -> bool) -> Vec<CheckoutInfo> {
        let now = self.now();
        let mut all: Vec<CheckoutInfo> = self
            .registry
            .with(|word| word.state == State::Held && wanted(word))
            .iter()
            .filter_map(|slot| {
                let (word, facts) = slot.facts()?;
                let info = self.info(slot, word, facts, now);
                // Site, label and SQL are read after the facts: checked out anew meanwhile, they are another caller's.
                let after = slot.word();
                (after.generation == word.generation && after.state == State::Held).then_some(info)
            })
            .collect();
        all.sort_by(|a, b| b.held.cmp(&a.held).then(a.id.cmp(&b.id)));
        all
    }

    /// How long the oldest live checkout has been held.
    pub(crate) fn oldest_checkout(&self) -> Option<Duration> {
        let held = self.registry.in_state(State::Held);
        let oldest = held.iter().filter_map(|slot| slot.facts().map(|(_, facts)| facts.acquired_at)).min()?;
        Some(span(oldest, self.now()))
    }

    /// How many returned sessions are not settled yet.
    pub(crate) fn returning(&self) -> usize {
        self.registry.in_state(State::Returning).len()
    }

    /// Ends every session that is still on its way back.
    pub(crate) fn give_up_returns(&self) {
        for slot in self.registry.in_state(State::Returning) {
            let word = slot.word();
            if let Some(owner) = slot.owner() {
                owner.give_up_return(word.generation);
            }
        }
    }

    pub(crate) fn emit(&self, data: EventData) {
        if self.sink.wants(data.kind()) {
            self.sink.send(Event { pool: self.name.clone(), at: SystemTime::now(), data });
        }
    }
}

fn last_sql(slot: &Slot, generation: u64, mode: SqlText, now: Nanos) -> Option<LastSql> {
    let (text, at) = slot.stamps.sql_of(generation)?;
    Some(LastSql { text: sql::shown(&text, mode)?, age: span(at, now) })
}

fn unknown(id: CheckoutId, pool: &str) -> Error {
    Error::new(
        ErrorCode::UnknownCheckout,
        format!(
            "checkout {id} of pool {pool:?} is not live: it was released or taken back before, or never was"
        ),
    )
}
