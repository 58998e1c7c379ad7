//! What is in flight on a session, and so what *settled* means: the one place that says so.
//!
//! Everything that decides it is bits of one atomic word, so that the caller sees one moment: whether the connection's
//! task has something to do (a request that was queued in the client is seen here before it is on the wire, because
//! queueing it wakes the task), what the client has not flushed, messages that are half-written or half-read, what the
//! server owes an answer to, and the transaction status. Release, driver, cancel and Terminate ask for [`Seen`]; what the
//! closer has to cancel is read from it once the fence stands. The verdict has the part of it that it needs in the
//! slot's stamps, published by the same hand in the same step (`wire.rs`).
//!
//! A batch of Close and Sync alone is not in flight once it is written: it waits for nothing, and changes nothing.
//!
//! Who writes: wakers set `WOKEN`; everything else is written by the poller the driver, who is alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

use crate::detect::facts::TransactionStatus;
use crate::net::socket::IoMode;

/// There is something to do that no poll has begun to do.
const WOKEN: u64 = 1;
/// Somebody polls the driver.
const POLLING: u64 = 1 << 1;
/// Something may wait in the client's queue or buffer: the last poll did not end with all of it flushed.
const UNFLUSHED: u64 = 1 << 2;
/// A message to the server is half-written.
const SENDING: u64 = 1 << 3;
/// A message of the server is half-read.
const RECEIVING: u64 = 1 << 4;
/// Messages were sent that no Sync has ended yet.
const BATCH: u64 = 1 << 5;
/// The server skips what comes until the Sync that is owed.
const OWES_SYNC: u64 = 1 << 6;
/// The server waits for copy data.
const COPY_IN: u64 = 1 << 7;
/// A raw exchange has its io_mode, or waits for it.
const EXCHANGE: u64 = 1 << 8;
const STATUS_SHIFT: u32 = 9;
const REQUESTS_SHIFT: u32 = 16;
const MOST_REQUESTS: u64 = 0xffff;

/// The wire's share of the word: what the poller knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OnTheWire {
    pub(crate) unflushed: bool,
    pub(crate) sending: bool,
    pub(crate) receiving: bool,
    pub(crate) batch: bool,
    pub(crate) owes_sync: bool,
    pub(crate) copy_in: bool,
    pub(crate) exchange: bool,
    pub(crate) status: TransactionStatus,
    /// Requests that the server owes a ReadyForQuery, without batches of Close alone.
    pub(crate) requests: usize,
}

impl OnTheWire {
    /// As [`Seen::is_quiet`].
    pub(crate) fn is_quiet(self) -> bool {
        Seen(self.pack()).is_quiet()
    }

    fn pack(self) -> u64 {
        let flags = [
            (self.unflushed, UNFLUSHED),
            (self.sending, SENDING),
            (self.receiving, RECEIVING),
            (self.batch, BATCH),
            (self.owes_sync, OWES_SYNC),
            (self.copy_in, COPY_IN),
            (self.exchange, EXCHANGE),
        ];
        let status: u64 = match self.status {
            TransactionStatus::Idle => 0,
            TransactionStatus::InTransaction => 1,
            TransactionStatus::Failed => 2,
        };
        flags.iter().filter(|(set, _)| *set).fold(0, |word, (_, bit)| word | bit)
            | status << STATUS_SHIFT
            | (self.requests as u64).min(MOST_REQUESTS) << REQUESTS_SHIFT
    }
}

/// What was in flight at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen(u64);

impl Seen {
    /// Nothing is in flight, and nobody is about to change that: only now does the transaction status mean anything.
    pub(crate) fn is_settled(self) -> bool {
        self.is_idle() && self.is_quiet()
    }

    /// Nothing is in flight, as far as the wire goes. For the poller, which knows that nobody else sends.
    pub(crate) fn is_quiet(self) -> bool {
        const NOT_IN_FLIGHT: u64 = WOKEN | POLLING | 3 << STATUS_SHIFT;
        self.0 & !NOT_IN_FLIGHT == 0
    }

    /// The task has nothing to do.
    pub(crate) fn is_idle(self) -> bool {
        self.0 & (WOKEN | POLLING) == 0
    }

    pub(crate) fn status(self) -> TransactionStatus {
        match self.0 >> STATUS_SHIFT & 3 {
            0 => TransactionStatus::Idle,
            1 => TransactionStatus::InTransaction,
            _ => TransactionStatus::Failed,
        }
    }

    /// What the server has to be kept from, or brought to an end.
    pub(crate) fn work(self) -> Work {
        let requests = self.0 >> REQUESTS_SHIFT & MOST_REQUESTS;
        // What is half-sent, or sent up to its Sync, runs as well, and is one more: unless it is copy data.
        let begun = self.0 & (SENDING | BATCH) != 0 && self.0 & COPY_IN == 0;
        match requests + u64::from(begun) {
            0 if self.is_quiet() => Work::None,
            0 | 1 => Work::One,
            _ => Work::Many,
        }
    }
}

/// What a session that is to be ended may be running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    None,
    One,
    /// One request, and others that were sent behind it.
    Many,
}

/// Whether the connection's task has something to do, and what is in flight.
#[derive(Debug)]
pub(crate) struct Task {
    word: AtomicU64,
    /// The runtime's task.
    inner: AtomicWaker,
    io_mode: Arc<IoMode>,
}

impl Task {
    pub(crate) fn new(io_mode: Arc<IoMode>) -> Arc<Task> {
        Arc::new(Task { word: AtomicU64::new(WOKEN), inner: AtomicWaker::new(), io_mode })
    }

    /// Whom to wake from now on.
    pub(crate) fn register(&self, runtime: &Waker) {
        self.inner.register(runtime);
    }

    /// Wakes the runtime's task, the poller.
    pub(crate) fn wake_task(&self) {
        self.mark_woken();
        self.inner.wake();
    }

    /// There is something to do, and whoever says so sees to it that somebody does it.
    pub(crate) fn mark_woken(&self) {
        self.word.fetch_or(WOKEN, Ordering::SeqCst);
    }

    pub(crate) fn io_mode(&self) -> &IoMode {
        &self.io_mode
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.word.load(Ordering::SeqCst) & WOKEN != 0
    }

    /// Somebody polls the driver.
    pub(crate) fn begin_poll(&self) {
        // Never idle in between, for whoever looks meanwhile.
        self.word.fetch_or(POLLING, Ordering::SeqCst);
        self.word.fetch_and(!WOKEN, Ordering::SeqCst);
        // Before the observer looks whether the checkout was revoked: see `end_session`.
        fence(Ordering::SeqCst);
    }

    /// The poll is over: true if nothing has woken the task meanwhile.
    pub(crate) fn end_poll(&self) -> bool {
        self.word.fetch_and(!POLLING, Ordering::SeqCst) & WOKEN == 0
    }

    /// The poller's news. Wakers write at the same time.
    pub(crate) fn publish(&self, now: OnTheWire) {
        let new = now.pack();
        let _ = self
            .word
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |word| Some(word & (WOKEN | POLLING) | new));
    }

    /// What is in flight now.
    pub(crate) fn seen(&self) -> Seen {
        Seen(self.word.load(Ordering::SeqCst))
    }

    /// True while somebody polls the driver. Once the fence stands, and no poll is under way, nothing more is sent.
    pub(crate) fn is_polled(&self) -> bool {
        self.word.load(Ordering::SeqCst) & POLLING != 0
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.mark_woken();
        // A caller that polls looks at the state before it lets go.
        if !self.io_mode.by_caller.load(Ordering::SeqCst) {
            self.inner.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(now: OnTheWire) -> Seen {
        Seen(now.pack())
    }

    #[test]
    fn each_thing_in_flight_keeps_a_session_from_being_settled() {
        let quiet = OnTheWire::default();
        assert!(seen(quiet).is_settled());
        for one in [
            OnTheWire { unflushed: true, ..quiet },
            OnTheWire { sending: true, ..quiet },
            OnTheWire { receiving: true, ..quiet },
            OnTheWire { batch: true, ..quiet },
            OnTheWire { owes_sync: true, ..quiet },
            OnTheWire { copy_in: true, ..quiet },
            OnTheWire { exchange: true, ..quiet },
            OnTheWire { requests: 1, ..quiet },
            OnTheWire { requests: usize::MAX, ..quiet },
        ] {
            assert!(!seen(one).is_quiet() && !seen(one).is_settled(), "{one:?}");
            assert_ne!(seen(one).work(), Work::None, "{one:?}");
        }
        for status in [TransactionStatus::Idle, TransactionStatus::InTransaction, TransactionStatus::Failed] {
            let seen = seen(OnTheWire { status, ..quiet });
            assert!(seen.is_settled() && seen.status() == status, "the status is no matter of flight");
        }
    }

    #[test]
    fn whoever_wakes_the_task_unsettles_it_until_a_poll_has_ended() {
        let task = Task::new(Arc::default());
        assert!(!task.seen().is_settled(), "a new task is to be polled first");
        task.begin_poll();
        assert!(!task.seen().is_settled() && task.is_polled());
        task.publish(OnTheWire { requests: 1, ..OnTheWire::default() });
        assert!(task.end_poll() && !task.seen().is_settled());
        task.begin_poll();
        task.publish(OnTheWire::default());
        task.mark_woken();
        assert!(task.is_woken(), "the news of the poller keeps the wake-up");
        assert!(!task.end_poll() && !task.seen().is_settled() && task.seen().is_quiet());
        task.begin_poll();
        assert!(task.end_poll() && task.seen().is_settled());
    }

    #[test]
    fn what_was_sent_behind_a_request_is_more_than_one() {
        let one = OnTheWire { requests: 1, ..OnTheWire::default() };
        assert_eq!(seen(one).work(), Work::One);
        assert_eq!(seen(OnTheWire { sending: true, ..one }).work(), Work::Many);
        assert_eq!(seen(OnTheWire { requests: 2, ..one }).work(), Work::Many);
        let copying = OnTheWire { copy_in: true, ..one };
        assert_eq!(
            seen(OnTheWire { sending: true, ..copying }).work(),
            Work::One,
            "a COPY by a simple query"
        );
        assert_eq!(seen(OnTheWire { requests: 0, owes_sync: true, ..copying }).work(), Work::One);
    }
}
