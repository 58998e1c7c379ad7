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

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Weak};

use super::Reclaim;
use super::site::SiteId;
use super::sync::{AtomicU32, AtomicU64, Mutex, Ordering, lock};
use crate::clock::Nanos;
use crate::error::{Error, ErrorCode};

const SLOT_BITS: u32 = 24;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
/// The most slots that a registry can have.
pub(crate) const MAX_SLOTS: usize = 1 << SLOT_BITS;

/// The name of one checkout: the slot and its generation in a `u64`. A stale one never means another checkout.
///
/// ```
/// use leakpool::CheckoutId;
/// let id: CheckoutId = "3.17".parse().unwrap();
/// assert_eq!(id.to_string(), "3.17");
/// assert_eq!(CheckoutId::from_u64(id.to_u64()), id);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CheckoutId(u64);

impl CheckoutId {
    pub(crate) fn new(slot: u32, generation: u64) -> CheckoutId {
        CheckoutId((generation << SLOT_BITS) | u64::from(slot))
    }

    /// The id as the number that C, Python and Node pass around.
    pub fn to_u64(self) -> u64 {
        self.0
    }

    /// The id from such a number; whether it means a live checkout is found out when it is used.
    pub fn from_u64(raw: u64) -> CheckoutId {
        CheckoutId(raw)
    }

    /// The number of its connection: the same for all checkouts of one connection, for as long as that lives.
    pub fn slot(self) -> usize {
        (self.0 & SLOT_MASK) as usize
    }

    pub(crate) fn generation(self) -> u64 {
        self.0 >> SLOT_BITS
    }
}

impl fmt::Display for CheckoutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot(), self.generation())
    }
}

impl fmt::Debug for CheckoutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckoutId({self})")
    }
}

impl FromStr for CheckoutId {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let parsed = s.split_once('.').and_then(|(slot, generation)| {
            let slot = slot.parse::<u32>().ok().filter(|s| u64::from(*s) <= SLOT_MASK)?;
            let generation = generation.parse::<u64>().ok().filter(|g| *g <= u64::MAX >> SLOT_BITS)?;
            Some(CheckoutId::new(slot, generation))
        });
        parsed.ok_or_else(|| {
            Error::new(
                ErrorCode::InvalidArgument,
                format!("checkout id {s:?} is not of the form slot.generation"),
            )
        })
    }
}

/// Where a slot's current generation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Not lent.
    Free,
    /// Lent to a caller.
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

/// What a session is doing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activity {
    /// The server works on a statement.
    Executing,
    /// The server waits for its client: an open `COPY … FROM STDIN`, or a result that nobody reads.
    Stalled,
    /// Nothing runs, no transaction is open.
    Idle,
    /// Nothing runs, a transaction is open.
    IdleInTransaction,
    /// Nothing runs, a transaction is open and has failed.
    IdleInFailedTransaction,
    /// Not known: somebody else's driver does something that nobody follows. It is not "unused".
    Unknown,
}

impl Activity {
    /// The name in `snake_case`, the same in every host.
    pub const fn name(self) -> &'static str {
        match self {
            Activity::Executing => "executing",
            Activity::Stalled => "stalled",
            Activity::Idle => "idle",
            Activity::IdleInTransaction => "idle_in_transaction",
            Activity::IdleInFailedTransaction => "idle_in_failed_transaction",
            Activity::Unknown => "unknown",
        }
    }

    /// What a person reads: `idle in transaction`.
    pub const fn words(self) -> &'static str {
        match self {
            Activity::Executing => "executing",
            Activity::Stalled => "stalled",
            Activity::Idle => "idle",
            Activity::IdleInTransaction => "idle in transaction",
            Activity::IdleInFailedTransaction => "idle in failed transaction",
            Activity::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// The transaction status of a `ReadyForQuery` message (PostgreSQL, "Message Formats").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TransactionStatus {
    /// `I`: not in a transaction.
    #[default]
    Idle,
    /// `T`: in a transaction.
    InTransaction,
    /// `E`: in a failed transaction.
    Failed,
}

impl TransactionStatus {
    /// From the body of a ReadyForQuery; `None` for what the protocol does not know.
    pub(crate) fn from_wire(body: &[u8]) -> Option<TransactionStatus> {
        match body {
            b"I" => Some(TransactionStatus::Idle),
            b"T" => Some(TransactionStatus::InTransaction),
            b"E" => Some(TransactionStatus::Failed),
            _ => None,
        }
    }
}

/// What is known of a session's traffic, published as one word so that a reader never sees half of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Traffic {
    pub(crate) transaction: TransactionStatus,
    /// Requests that the server owes an answer to, from their first byte on; without batches of Close alone, which
    /// are no use of the connection.
    pub(crate) outstanding: u32,
    /// The server waits for its client: for copy data, or for the Sync behind what it has refused.
    pub(crate) awaits_client: bool,
    /// Bytes are on their way to the server.
    pub(crate) sending: bool,
    /// The client has stopped reading an unfinished result.
    pub(crate) unread: bool,
    /// A `LISTEN` was seen since the last reset, or a notification.
    pub(crate) listening: bool,
    /// Something ran since then that may have listened without a word.
    pub(crate) may_listen: bool,
    /// Nobody knows what the session does: a driver that is watched has ways to it that nobody follows.
    pub(crate) unknown: bool,
    /// The one request that is outstanding has had its last answer; only its ReadyForQuery is to come.
    pub(crate) answered: bool,
}

impl Traffic {
    fn pack(self) -> u64 {
        let status = match self.transaction {
            TransactionStatus::Idle => 0,
            TransactionStatus::InTransaction => 1,
            TransactionStatus::Failed => 2,
        };
        status
            | (u64::from(self.awaits_client) << 2)
            | (u64::from(self.unread) << 3)
            | (u64::from(self.listening) << 4)
            | (u64::from(self.answered) << 5)
            | (u64::from(self.sending) << 6)
            | (u64::from(self.unknown) << 8)
            | (u64::from(self.may_listen) << 7)
            | (u64::from(self.outstanding) << 32)
    }

    fn unpack(raw: u64) -> Traffic {
        Traffic {
            transaction: match raw & 3 {
                0 => TransactionStatus::Idle,
                1 => TransactionStatus::InTransaction,
                _ => TransactionStatus::Failed,
            },
            awaits_client: raw & 4 != 0,
            unread: raw & 8 != 0,
            listening: raw & 16 != 0,
            answered: raw & 32 != 0,
            sending: raw & 64 != 0,
            unknown: raw & 256 != 0,
            may_listen: raw & 128 != 0,
            outstanding: (raw >> 32) as u32,
        }
    }

    /// The session hears notifications, or may: it is not lent to anybody else like that.
    pub(crate) fn may_hear(self) -> bool {
        self.listening || self.may_listen
    }

    /// What the session is doing. Idle means that the server owes nothing and no byte is on its way to it.
    pub(crate) fn activity(self) -> Activity {
        if self.unknown {
            Activity::Unknown
        } else if (self.awaits_client && !self.sending) || (self.outstanding > 0 && self.unread) {
            Activity::Stalled
        } else if self.outstanding > 0 || self.sending {
            // Copy data that the server does not take are its work, too.
            Activity::Executing
        } else {
            match self.transaction {
                TransactionStatus::Idle => Activity::Idle,
                TransactionStatus::InTransaction => Activity::IdleInTransaction,
                TransactionStatus::Failed => Activity::IdleInFailedTransaction,
            }
        }
    }
}

/// What the wire (or, without one, the host by `touch`) stamps on a session.
#[derive(Debug)]
pub(crate) struct Stamps {
    traffic: AtomicU64,
    /// The last request of effect sent, or its answer received.
    last_use: AtomicU64,
    /// The last byte that moved in either direction.
    last_byte: AtomicU64,
    /// When the statement that runs was sent.
    started: AtomicU64,
    /// The generation that has the session, or had it last.
    lent: AtomicU64,
    backend_pid: AtomicU32,
    /// The last statement as one: a text with the time of another, or of another checkout, would be somebody else's.
    /// Held for the swap of it.
    sql: Mutex<Option<Sent>>,
}

/// A statement that was sent.
#[derive(Debug, Clone)]
struct Sent {
    text: Arc<str>,
    at: Nanos,
    /// Whose it is.
    generation: u64,
}

impl Stamps {
    fn new() -> Stamps {
        Stamps {
            traffic: AtomicU64::new(0),
            last_use: AtomicU64::new(0),
            last_byte: AtomicU64::new(0),
            started: AtomicU64::new(0),
            lent: AtomicU64::new(0),
            backend_pid: AtomicU32::new(0),
            sql: Mutex::new(None),
        }
    }

    pub(crate) fn traffic(&self) -> Traffic {
        Traffic::unpack(self.traffic.load(Ordering::Acquire))
    }

    pub(crate) fn set_traffic(&self, traffic: Traffic) {
        self.traffic.store(traffic.pack(), Ordering::Release);
    }

    pub(crate) fn used(&self, now: Nanos) {
        self.last_use.store(now, Ordering::Release);
    }

    pub(crate) fn byte_moved(&self, now: Nanos) {
        self.last_byte.store(now, Ordering::Release);
    }

    pub(crate) fn statement_started(&self, now: Nanos) {
        self.started.store(now, Ordering::Release);
    }

    pub(crate) fn set_sql(&self, sql: Option<Arc<str>>, now: Nanos) {
        let generation = self.lent.load(Ordering::Acquire);
        let sent = sql.map(|text| Sent { text, at: now, generation });
        // The old text is dropped after the lock is let go.
        let _old = std::mem::replace(&mut *lock(&self.sql), sent);
    }

    /// The last statement, whoever sent it.
    pub(crate) fn sql(&self) -> Option<(Arc<str>, Nanos)> {
        let sent = lock(&self.sql).clone()?;
        Some((sent.text, sent.at))
    }

    /// The last statement, if it was sent by this generation.
    pub(crate) fn sql_of(&self, generation: u64) -> Option<(Arc<str>, Nanos)> {
        let sent = lock(&self.sql).as_ref().filter(|sent| sent.generation == generation).cloned()?;
        Some((sent.text, sent.at))
    }

    pub(crate) fn set_backend_pid(&self, pid: u32) {
        self.backend_pid.store(pid, Ordering::Release);
    }

    pub(crate) fn backend_pid(&self) -> Option<u32> {
        Some(self.backend_pid.load(Ordering::Acquire)).filter(|pid| *pid != 0)
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

/// The facts that a verdict needs, read from a slot at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) acquired_at: Nanos,
    /// When the session was last of use to its holder; never before `acquired_at`.
    pub(crate) last_use: Nanos,
    pub(crate) last_byte: Nanos,
    pub(crate) statement_started: Nanos,
    pub(crate) traffic: Traffic,
    /// The caller's own limit; zero = none.
    pub(crate) expected: Nanos,
    pub(crate) proven: bool,
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

    /// Lends the slot. The caller owns the connection, and with it this slot: nobody else may lend it now.
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
        self.stamps.lent.store(id.generation(), Ordering::Release);
        self.site.store(site.index(), Ordering::Release);
        // SeqCst: this store and the look at `queued` that follows it must not change places (registry.rs).
        let word = Word { generation: id.generation(), flags, state: State::Held };
        self.word.store(word.pack(), Ordering::SeqCst);
        id
    }

    /// The id that the next `check_out` gives, for the one who may lend the slot.
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

    /// Takes a settled release back: whoever released it found that it may not be lent yet. Only for the one who
    /// holds the object that goes with a free slot, so that nobody else can lend it.
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

    /// The facts of generation `word.generation`, for whoever knows that it is not lent anew meanwhile.
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
