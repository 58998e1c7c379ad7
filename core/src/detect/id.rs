//! The name of a checkout.

use std::fmt;
use std::str::FromStr;

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
