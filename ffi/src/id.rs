//! Checkouts as C sees them: `uint64_t`, masked for each pool, so that an id of another pool, or one made up, is
//! recognised as unknown instead of meaning somebody else's checkout.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use leakpool::CheckoutId;

/// What ids of one pool are masked with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mask(u64);

impl Mask {
    pub(crate) fn random() -> Mask {
        // The top bit is set, which no id has: so no masked id is 0.
        Mask(RandomState::new().build_hasher().finish() | 1 << 63)
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
        let (a, b) = (Mask::random(), Mask::random());
        let id: CheckoutId = "3.17".parse().unwrap();
        assert_ne!(a.give(id), 0);
        assert_eq!(a.take(a.give(id)), id);
        assert_ne!(b.take(a.give(id)), id);
    }
}
