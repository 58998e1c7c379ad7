//! `leakpool_event`: what a callback is told. Looked at through functions, so that what nobody asks for is not made.

use std::cell::OnceCell;
use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::{SystemTime, UNIX_EPOCH};

use leakpool::{Event, EventData, Frame};

use crate::boundary::{Nothing, borrowed, c_text, plain};
use crate::checkouts::{LEAKPOOL_NONE, leakpool_checkouts, millis, place};
use crate::details::{Owned, leakpool_exhaustion, leakpool_revocation};
use crate::enums::leakpool_event_kind;
use crate::id::Mask;

impl Nothing for leakpool_event_kind {
    const NOTHING: Self = leakpool_event_kind::LEAKPOOL_EVENT_ERROR;
}

/// An event, as a callback is told it. Borrowed, and everything that is borrowed from it too: gone when the callback
/// returns. Only for the thread of the callback.
#[derive(Debug)]
pub struct leakpool_event {
    event: Event,
    pool: OnceCell<CString>,
    text: OnceCell<CString>,
    reason: OnceCell<Option<CString>>,
    last_sql: OnceCell<Option<CString>>,
    exhaustion: OnceCell<Option<Owned<leakpool_exhaustion>>>,
    revocation: OnceCell<Option<Owned<leakpool_revocation>>>,
    place: OnceCell<Option<Place>>,
    checkouts: OnceCell<leakpool_checkouts>,
}

#[derive(Debug)]
struct Place {
    file: Option<CString>,
    line: u32,
    function: Option<CString>,
}

impl leakpool_event {
    pub(crate) fn new(event: &Event) -> leakpool_event {
        leakpool_event {
            event: event.clone(),
            pool: OnceCell::new(),
            text: OnceCell::new(),
            reason: OnceCell::new(),
            last_sql: OnceCell::new(),
            exhaustion: OnceCell::new(),
            revocation: OnceCell::new(),
            place: OnceCell::new(),
            checkouts: OnceCell::new(),
        }
    }

    fn place(&self) -> Option<&Place> {
        let make = || {
            let Frame { file, line, function, .. } = place(self.event.data.site()?);
            let text = |text: Option<String>| text.as_deref().map(c_text);
            Some(Place { file: text(file), line: line.unwrap_or(0), function: text(function) })
        };
        self.place.get_or_init(make).as_ref()
    }

    fn held(&self) -> Option<std::time::Duration> {
        match &self.event.data {
            EventData::Release { held, .. } => Some(*held),
            EventData::LateUse { revocation } | EventData::LateRelease { revocation } => {
                Some(revocation.held)
            }
            EventData::Leak { checkout, .. }
            | EventData::LeakRecovered { checkout }
            | EventData::LongRunning { checkout }
            | EventData::ForceRelease { checkout, .. } => Some(checkout.held),
            _ => None,
        }
    }
}

/// # Safety
/// `event` is NULL or lives for the call.
unsafe fn of<'a>(event: *const leakpool_event) -> Option<&'a leakpool_event> {
    // SAFETY: the caller's promise.
    unsafe { event.as_ref() }
}

/// Its kind. LEAKPOOL_EVENT_ERROR for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_event_get_kind(event: *const leakpool_event) -> leakpool_event_kind {
    // SAFETY: as the header says.
    plain(|| unsafe { of(event) }.map_or(Nothing::NOTHING, |e| e.event.kind().into()))
}

/// The name of a kind: "connect" and so on; "unknown" for a number that is none. Lives for ever.
#[unsafe(no_mangle)]
pub extern "C" fn leakpool_event_kind_name(kind: i32) -> *const c_char {
    plain(|| name_of(kind).as_ptr())
}

fn name_of(kind: i32) -> &'static CStr {
    const NAMES: [&CStr; 15] = [
        c"connect",
        c"acquire",
        c"release",
        c"remove",
        c"error",
        c"leak",
        c"leaks_detected",
        c"leak_recovered",
        c"long_running",
        c"force_release",
        c"late_use",
        c"late_release",
        c"dirty_release",
        c"exhausted",
        c"utilization",
    ];
    usize::try_from(kind).ok().and_then(|kind| NAMES.get(kind).copied()).unwrap_or(c"unknown")
}

/// The name of the pool that it happened in. Borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_event_pool(event: *const leakpool_event) -> *const c_char {
    // SAFETY: as the header says.
    let name = || Some(unsafe { of(event) }?).map(|e| e.pool.get_or_init(|| c_text(&e.event.pool)));
    plain(|| borrowed(name()))
}

/// When it happened, in milliseconds since 1970 (UTC).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_event_time_ms(event: *const leakpool_event) -> u64 {
    let since = |at: SystemTime| at.duration_since(UNIX_EPOCH).map_or(0, millis);
    // SAFETY: as the header says.
    plain(|| unsafe { of(event) }.map_or(0, |e| since(e.event.at)))
}

/// What happened, for a person: the whole report for a leak, a sentence otherwise. Borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_event_text(event: *const leakpool_event) -> *const c_char {
    // SAFETY: as the header says.
    let text = || Some(unsafe { of(event) }?).map(|e| e.text.get_or_init(|| c_text(&e.event.text())));
    plain(|| borrowed(text()))
}

/// The checkout that it is about; 0 if it is not about one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_event_checkout(event: *const leakpool_event) -> u64 {
    // SAFETY: as the header says.
    let id =
        || unsafe { of(event) }.and_then(|e| Some(Mask::of(&e.event.pool).give(e.event.data.checkout()?)));
    plain(|| id().unwrap_or(0))
}

/// Why, in one word; NULL where there is nothing to say. LEAK: "unused", "held_by_pings", "proven". FORCE_RELEASE,
/// LATE_USE, LATE_RELEASE: "unused", "busy", "proven", "manual", "pool_closed". DIRTY_RELEASE, what was open:
/// "executing", "stalled", "in_transaction", "in_failed_transaction". REMOVE: "idle", "lifetime", "uses", "broken",
/// "lost", "reset", "revoked", "resized", "pool_closed". EXHAUSTED: the diagnosis, as leakpool_error_diagnosis(). ERROR:
/// the name of a status. Borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_event_reason(event: *const leakpool_event) -> *const c_char {
    let reason = || {
        // SAFETY: as the header says.
        let e = unsafe { of(event) }?;
        e.reason.get_or_init(|| e.event.data.reason().map(c_text)).as_ref()
    };
    plain(|| borrowed(reason()))
}

/// The file of the line that acquired the checkout; NULL if it is not about one, or the line is not known. Borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_event_file(event: *const leakpool_event) -> *const c_char {
    // SAFETY: as the header says.
    plain(|| borrowed(unsafe { of(event) }.and_then(|e| e.place()?.file.as_ref())))
}

/// The line that acquired the checkout; 0 if it is not about one, or the line is not known.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_event_line(event: *const leakpool_event) -> u32 {
    // SAFETY: as the header says.
    plain(|| unsafe { of(event) }.and_then(|e| e.place()).map_or(0, |place| place.line))
}

/// The function that acquired the checkout; NULL if it is not about one, or it is not known. Borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_event_function(event: *const leakpool_event) -> *const c_char {
    // SAFETY: as the header says.
    plain(|| borrowed(unsafe { of(event) }.and_then(|e| e.place()?.function.as_ref())))
}

/// The checkouts that it is about: one for LEAK, LEAK_RECOVERED, LONG_RUNNING and FORCE_RELEASE; all that are flagged
/// for LEAKS_DETECTED; who holds the connections, longest idle first, for EXHAUSTED; otherwise none. NULL for NULL.
/// Borrowed: do not free it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_event_checkouts(event: *const leakpool_event) -> *const leakpool_checkouts {
    // SAFETY: as the header says.
    let Some(e) = (unsafe { of(event) }) else { return ptr::null() };
    plain(|| ptr::from_ref(e.checkouts.get_or_init(|| leakpool_checkouts::new(e.event.data.checkouts()))))
}

/// How long the checkout was held; LEAKPOOL_NONE where that is not told.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_event_held_ms(event: *const leakpool_event) -> u64 {
    // SAFETY: as the header says.
    plain(|| unsafe { of(event) }.and_then(leakpool_event::held).map_or(LEAKPOOL_NONE, millis))
}

/// ACQUIRE, EXHAUSTED: how long the caller waited; CONNECT: how long it took; otherwise LEAKPOOL_NONE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_event_waited_ms(event: *const leakpool_event) -> u64 {
    let waited = |e: &leakpool_event| match &e.event.data {
        EventData::Acquire { waited, .. } => millis(*waited),
        EventData::Connect { took, .. } => millis(*took),
        EventData::Exhausted(exhausted) => millis(exhausted.waited),
        _ => LEAKPOOL_NONE,
    };
    // SAFETY: as the header says.
    plain(|| unsafe { of(event) }.map_or(LEAKPOOL_NONE, waited))
}

/// UTILIZATION: how many connections are in use; otherwise 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_event_in_use(event: *const leakpool_event) -> usize {
    let in_use = |e: &leakpool_event| match &e.event.data {
        EventData::Utilization { in_use, .. } => *in_use,
        _ => 0,
    };
    // SAFETY: as the header says.
    plain(|| unsafe { of(event) }.map_or(0, in_use))
}

/// UTILIZATION, EXHAUSTED: the pool's limit; otherwise 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_event_max_size(event: *const leakpool_event) -> usize {
    let max_size = |e: &leakpool_event| match &e.event.data {
        EventData::Utilization { max_size, .. } => *max_size,
        EventData::Exhausted(exhausted) => exhausted.max_size,
        _ => 0,
    };
    // SAFETY: as the header says.
    plain(|| unsafe { of(event) }.map_or(0, max_size))
}

/// EXHAUSTED: everything about it; otherwise NULL. Borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_event_exhaustion(
    event: *const leakpool_event,
) -> *const leakpool_exhaustion {
    let found = || {
        // SAFETY: as the header says.
        let e = unsafe { of(event) }?;
        let make = || match &e.event.data {
            EventData::Exhausted(exhausted) => Some(Owned::exhaustion(exhausted)),
            _ => None,
        };
        Some(&e.exhaustion.get_or_init(make).as_ref()?.value)
    };
    plain(|| found().map_or(ptr::null(), ptr::from_ref))
}

/// LATE_USE, LATE_RELEASE: when, why and from which line the checkout was taken away; otherwise NULL. Borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_event_revocation(
    event: *const leakpool_event,
) -> *const leakpool_revocation {
    let found = || {
        // SAFETY: as the header says.
        let e = unsafe { of(event) }?;
        let make = || match &e.event.data {
            EventData::LateUse { revocation } | EventData::LateRelease { revocation } => {
                Some(Owned::revocation(revocation))
            }
            _ => None,
        };
        Some(&e.revocation.get_or_init(make).as_ref()?.value)
    };
    plain(|| found().map_or(ptr::null(), ptr::from_ref))
}

/// DIRTY_RELEASE: the last SQL of the checkout, as the option sql_text allows; NULL if it is not known. (For events with
/// checkouts, see leakpool_checkout_info.) Borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_event_last_sql(event: *const leakpool_event) -> *const c_char {
    let found = || {
        // SAFETY: as the header says.
        let e = unsafe { of(event) }?;
        let make = || match &e.event.data {
            EventData::DirtyRelease { last_sql, .. } => last_sql.as_ref().map(|sql| c_text(&sql.text)),
            _ => None,
        };
        e.last_sql.get_or_init(make).as_ref()
    };
    plain(|| borrowed(found()))
}

/// CONNECT, REMOVE: the server's process; 0 if it is not known.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_event_backend_pid(event: *const leakpool_event) -> u32 {
    let pid = |e: &leakpool_event| match &e.event.data {
        EventData::Connect { backend_pid, .. } | EventData::Remove { backend_pid, .. } => *backend_pid,
        _ => None,
    };
    // SAFETY: as the header says.
    plain(|| unsafe { of(event) }.and_then(pid).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use leakpool::EventKind;

    use super::*;

    #[test]
    fn kinds_have_the_cores_numbers_and_names() {
        for kind in EventKind::ALL {
            assert_eq!(leakpool_event_kind::from(*kind) as i32, i32::from(*kind as u8));
            assert_eq!(name_of(i32::from(*kind as u8)).to_str(), Ok(kind.name()));
        }
        assert_eq!(name_of(EventKind::ALL.len() as i32), c"unknown");
        assert_eq!(name_of(-1), c"unknown");
    }
}
