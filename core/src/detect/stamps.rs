//! What passes on a session, stamped by its one writer and read by anybody.

use std::sync::Arc;

use super::facts::Traffic;
use super::sync::{AtomicU32, AtomicU64, Mutex, Ordering, lock};
use crate::clock::Nanos;

/// What the wire (or, without one, the host by `touch`) stamps on a session.
#[derive(Debug)]
pub(crate) struct Stamps {
    pub(super) traffic: AtomicU64,
    /// The last request of effect sent, or its answer received.
    pub(super) last_use: AtomicU64,
    /// The last byte that moved in either direction.
    pub(super) last_byte: AtomicU64,
    /// When the statement that runs was sent.
    pub(super) started: AtomicU64,
    /// The generation that has the session, or had it last.
    pub(super) checked_out: AtomicU64,
    pub(super) backend_pid: AtomicU32,
    /// The last statement as one: a text with the time of another, or of another checkout, would be another caller's.
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
    pub(super) fn new() -> Stamps {
        Stamps {
            traffic: AtomicU64::new(0),
            last_use: AtomicU64::new(0),
            last_byte: AtomicU64::new(0),
            started: AtomicU64::new(0),
            checked_out: AtomicU64::new(0),
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
        let generation = self.checked_out.load(Ordering::Acquire);
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
