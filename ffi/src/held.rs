//! The table of checkouts that C holds: from a `uint64_t` to its connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use leakpool::{CheckoutId, Connection, Result};
use parking_lot::Mutex;

const SHARDS: usize = 16;

/// One checkout. Whoever is inside a call on it shares it; the last one gives the connection back.
#[derive(Debug)]
pub(crate) struct Held {
    /// Taken by `give_back` alone.
    connection: Option<Connection>,
    broken: AtomicBool,
}

impl Held {
    fn new(connection: Connection) -> Held {
        Held { connection: Some(connection), broken: AtomicBool::new(false) }
    }

    pub(crate) fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    fn give_back(&mut self) -> Result<()> {
        let broken = self.broken.load(Ordering::SeqCst);
        self.connection.take().map_or(Ok(()), |connection| connection.release_checked(broken))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Nobody is left who could be told.
        let _ = self.give_back();
    }
}

/// The checkouts of one pool.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Each is held for one look-up, and never while the core is called.
    shards: [Mutex<HashMap<CheckoutId, Arc<Held>>>; SHARDS],
}

impl Table {
    fn shard(&self, id: CheckoutId) -> &Mutex<HashMap<CheckoutId, Arc<Held>>> {
        &self.shards[(id.to_u64() % SHARDS as u64) as usize]
    }

    pub(crate) fn put(&self, connection: Connection) -> CheckoutId {
        let id = connection.id();
        let held = Arc::new(Held::new(connection));
        let before = self.shard(id).lock().insert(id, held);
        drop(before);
        id
    }

    pub(crate) fn find(&self, id: CheckoutId) -> Option<Arc<Held>> {
        self.shard(id).lock().get(&id).cloned()
    }

    /// Gives a checkout back: at once, or when the last call on it that is under way in another thread has returned.
    /// `None` if there is no such checkout.
    pub(crate) fn give_back(&self, id: CheckoutId, broken: bool) -> Option<Result<()>> {
        let held = self.shard(id).lock().remove(&id)?;
        if broken {
            held.broken.store(true, Ordering::SeqCst);
        }
        Some(Arc::into_inner(held).map_or(Ok(()), |mut held| held.give_back()))
    }

    /// Lets go of everything that is still held; for a pool that is freed.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let all = std::mem::take(&mut *shard.lock());
            drop(all);
        }
    }
}
