//! Checkouts as C sees them: `uint64_t`, masked by the name of their pool, so that an id of another pool, or one made
//! up, is recognised as unknown instead of meaning another caller's checkout.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::OnceLock;

use leakpool::CheckoutId;

/// What ids of one pool are masked with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mask(u64);

impl Mask {
    /// The same for the same name, within one process.
    pub(crate) fn of(pool: &str) -> Mask {
        static STATE: OnceLock<RandomState> = OnceLock::new();
        // The top bit is set, which no id has: so no masked id is 0.
        Mask(STATE.get_or_init(RandomState::new).hash_one(pool) | 1 << 63)
    }

    pub(crate) fn give(self, id: CheckoutId) -> u64 {
        id.to_u64() ^ self.0
    }

    pub(crate) fn take(self, raw: u64) -> CheckoutId {
        CheckoutId::from_u64(raw ^ self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_means_something_to_its_own_pool_only_and_is_never_zero() {
        let (a, b) = (Mask::of("orders"), Mask::of("users"));
        let id: CheckoutId = "3.17".parse().unwrap();
        assert_ne!(a.give(id), 0);
        assert_eq!(Mask::of("orders").take(a.give(id)), id);
        assert_ne!(b.take(a.give(id)), id);
    }
}
