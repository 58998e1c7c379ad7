//! `leakpool_subscription`: callbacks for events, and the end of them.

use std::ffi::c_void;
use std::ptr;

use leakpool::{Event, EventKind, Result, Subscription};

use crate::boundary::{Out, free, invalid};
use crate::detector::{leakpool_detector, watching};
use crate::error::{guard, leakpool_error, leakpool_status};
use crate::event::leakpool_event;
use crate::pool::{leakpool_pool, shared};
use crate::user_data::UserData;

/// For subscriptions: events of every kind, also of those that later versions add.
pub const LEAKPOOL_ALL_EVENTS: u32 = u32::MAX;

/// Is told an event, on a thread of the library's, one event at a time and in order, with no lock held.
///
/// event is borrowed, and gone when the callback returns. The callback may call every function of this library. It
/// must return: no exception, no longjmp. While it runs, nobody else of the process is told anything; one that is too
/// slow loses events, which are counted.
pub type leakpool_event_fn =
    Option<unsafe extern "C" fn(event: *const leakpool_event, user_data: *mut c_void)>;

/// A subscription of a callback. Yours: end it with leakpool_subscription_free(). It may outlive its pool.
#[derive(Debug)]
pub struct leakpool_subscription(#[allow(dead_code)] Subscription);

fn kinds(mask: u32) -> Result<Vec<EventKind>> {
    let bit = |kind: &EventKind| 1_u32 << (*kind as u8);
    let known = EventKind::ALL.iter().fold(0, |known, kind| known | bit(kind));
    if mask == 0 || (mask != LEAKPOOL_ALL_EVENTS && mask & !known != 0) {
        return Err(invalid("kinds", "must be some of LEAKPOOL_EVENT_BIT(…), or LEAKPOOL_ALL_EVENTS"));
    }
    Ok(EventKind::ALL.iter().copied().filter(|kind| mask & bit(kind) != 0).collect())
}

fn teller(callback: leakpool_event_fn, user_data: *mut c_void) -> Result<impl Fn(&Event) + Send + Sync> {
    let callback = callback.ok_or_else(|| invalid("callback", "must not be NULL"))?;
    let user_data = UserData::new(user_data);
    Ok(move |event: &Event| {
        let event = leakpool_event::new(event);
        // SAFETY: the callback is as the header says; the event lives until it has returned.
        unsafe { callback(&raw const event, user_data.get()) };
    })
}

/// Calls callback for every event of these kinds: LEAKPOOL_EVENT_BIT(kind), combined with |, or LEAKPOOL_ALL_EVENTS.
/// user_data is passed through, and must be usable on another thread until the subscription has ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_pool_subscribe(
    pool: *const leakpool_pool,
    event_kinds: u32,
    callback: leakpool_event_fn,
    user_data: *mut c_void,
    subscription: *mut *mut leakpool_subscription,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let out = unsafe { Out::new("subscription", subscription, ptr::null_mut()) }?;
        // SAFETY: as the header says.
        let pool = unsafe { shared(pool) }?;
        pool.pool.check_process()?;
        let told = teller(callback, user_data)?;
        out.give(leakpool_subscription(pool.pool.subscribe(&kinds(event_kinds)?, told)));
        Ok(())
    })
}

/// The same for the events of a watched pool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_detector_subscribe(
    detector: *const leakpool_detector,
    event_kinds: u32,
    callback: leakpool_event_fn,
    user_data: *mut c_void,
    subscription: *mut *mut leakpool_subscription,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let out = unsafe { Out::new("subscription", subscription, ptr::null_mut()) }?;
        // SAFETY: as the header says.
        let detector = unsafe { watching(detector) }?;
        detector.detector.check_process()?;
        let told = teller(callback, user_data)?;
        out.give(leakpool_subscription(detector.detector.subscribe(&kinds(event_kinds)?, told)));
        Ok(())
    })
}

/// Ends a subscription. A barrier: once it has returned, the callback runs on no other thread and is never called
/// again, so that user_data may be freed. Inside its own callback it returns at once. As it waits for a call that is
/// under way, hold no lock that the callback takes. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_subscription_free(subscription: *mut leakpool_subscription) {
    // SAFETY: as the header says.
    unsafe { free(subscription) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_bits() {
        assert_eq!(kinds(LEAKPOOL_ALL_EVENTS).unwrap(), EventKind::ALL);
        assert_eq!(kinds(1 << 5).unwrap(), [EventKind::Leak]);
        assert!(kinds(0).is_err());
        assert!(kinds(1 << 31).is_err());
    }
}
