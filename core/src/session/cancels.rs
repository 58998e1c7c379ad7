//! The requests to cancel what one session runs: at most one is on its way. Asking for one is a checkout's.

use std::sync::atomic::{AtomicU8, Ordering};

/// How many are asked for and have not arrived; as long as any is, the connection is not handed out again, or it would hit the
/// next holder's statement.
#[derive(Debug, Default)]
pub(crate) struct Cancels(AtomicU8);

const NONE: u8 = 0;
const ON_ITS_WAY: u8 = 1;
/// Another one was asked for meanwhile. It may be meant for what was begun after the first one has arrived, so that does
/// not stand for it; but one stands for all of them.
const AND_ONE_MORE: u8 = 2;

impl Cancels {
    /// One more is asked for. True if it is the caller who has to send it.
    pub(crate) fn ask(&self) -> bool {
        let next = |asked| Some(if asked == NONE { ON_ITS_WAY } else { AND_ONE_MORE });
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next) == Ok(NONE)
    }

    /// The one that was sent has arrived, or never will. True if another one is to be sent.
    pub(crate) fn arrived(&self) -> bool {
        let next = |asked| Some(if asked == AND_ONE_MORE { ON_ITS_WAY } else { NONE });
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next) == Ok(AND_ONE_MORE)
    }

    /// There is nobody who would send any.
    pub(crate) fn give_up(&self) {
        self.0.store(NONE, Ordering::SeqCst);
    }

    pub(crate) fn is_any(&self) -> bool {
        self.0.load(Ordering::SeqCst) != NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stands_for_all_that_are_asked_for_while_it_is_on_its_way() {
        let cancels = Cancels::default();
        assert!(!cancels.is_any() && cancels.ask() && cancels.is_any());
        assert!(!cancels.ask() && !cancels.ask());
        assert!(cancels.arrived(), "one more for both");
        assert!(cancels.is_any() && !cancels.ask());
        assert!(cancels.arrived() && !cancels.arrived() && !cancels.is_any());
        assert!(cancels.ask());
        cancels.give_up();
        assert!(!cancels.is_any());
    }
}
