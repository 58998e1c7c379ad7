//! The table of checkouts that C holds: from a `uint64_t` to its connection.

use std::collections::HashMap;
use std::sync::Arc;

use leakpool::host::SharedCheckout;
use leakpool::{CheckoutId, Connection, Result};
use parking_lot::Mutex;

const SHARDS: usize = 16;

/// The checkouts of one pool.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Each is held for one look-up, and never while the core is called.
    shards: [Mutex<HashMap<CheckoutId, Arc<SharedCheckout>>>; SHARDS],
}

impl Table {
    fn shard(&self, id: CheckoutId) -> &Mutex<HashMap<CheckoutId, Arc<SharedCheckout>>> {
        &self.shards[(id.to_u64() % SHARDS as u64) as usize]
    }

    pub(crate) fn put(&self, connection: Connection) -> CheckoutId {
        let id = connection.id();
        let checkout = Arc::new(SharedCheckout::new(connection));
        let before = self.shard(id).lock().insert(id, checkout);
        drop(before);
        id
    }

    pub(crate) fn find(&self, id: CheckoutId) -> Option<Arc<SharedCheckout>> {
        self.shard(id).lock().get(&id).cloned()
    }

    /// Gives a checkout back: at once, or when the last call on it that is under way in another thread has returned.
    /// `None` if there is no such checkout.
    pub(crate) fn give_back(&self, id: CheckoutId, broken: bool) -> Option<Result<()>> {
        let checkout = self.shard(id).lock().remove(&id)?;
        Some(checkout.release(broken))
    }

    /// Lets go of everything that is still held; for a pool that is freed.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let all = std::mem::take(&mut *shard.lock());
            drop(all);
        }
    }
}
