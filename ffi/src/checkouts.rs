//! `leakpool_checkouts`: a list of checkouts as they were at one moment.

use std::ffi::{CString, c_char};
use std::ptr;
use std::time::Duration;

use leakpool::{CheckoutInfo, Frame, Site, Verdict};

use crate::boundary::{c_text, free, plain};
use crate::enums::{leakpool_activity, leakpool_transaction, leakpool_verdict};
use crate::id::Mask;

/// For durations: there is none.
pub const LEAKPOOL_NONE: u64 = u64::MAX;

/// Whole milliseconds.
pub(crate) fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX - 1)
}

/// One checkout, as it was when its list was made. Its texts are borrowed from the list. Later versions may add fields
/// at its end: never copy one by its size, and never make an array of them.
#[repr(C)]
#[derive(Debug)]
pub struct leakpool_checkout_info {
    /// Its id, for leakpool_force_release() and so on.
    pub checkout: u64,
    /// How long it has been held.
    pub held_ms: u64,
    /// How long it has been of no use; LEAKPOOL_NONE while a statement runs.
    pub idle_ms: u64,
    /// How long the statement that runs has been running; LEAKPOOL_NONE if none does.
    pub executing_ms: u64,
    /// The limit that its caller announced; LEAKPOOL_NONE if there is none.
    pub expected_ms: u64,
    /// How long ago the last SQL was sent; LEAKPOOL_NONE if none was.
    pub last_sql_age_ms: u64,
    /// The name of its pool.
    pub pool: *const c_char,
    /// The file of the line that acquired; NULL if it is not known.
    pub file: *const c_char,
    /// The function of that line; NULL if it is not known.
    pub function: *const c_char,
    /// What its caller called it; NULL if nothing.
    pub label: *const c_char,
    /// Who acquired it, in its caller's words; NULL if nothing was said.
    pub owner: *const c_char,
    /// The last SQL, as the option sql_text allows; NULL if none was seen.
    pub last_sql: *const c_char,
    /// Why it is suspected: "unused" or "held_by_pings"; otherwise NULL.
    pub suspicion: *const c_char,
    /// The line that acquired; 0 if it is not known.
    pub line: u32,
    /// The server's process; 0 if it is not known.
    pub backend_pid: u32,
    /// What its session does.
    pub activity: leakpool_activity,
    /// The transaction status that the server told last.
    pub transaction: leakpool_transaction,
    /// What the detector concludes.
    pub verdict: leakpool_verdict,
    /// 1 once it was reported as a leak.
    pub reported: i32,
    /// 1 if the thread or task that acquired it has ended.
    pub owner_ended: i32,
    /// 1 if a LISTEN was seen on the session: it is reported, but not taken back.
    pub listening: i32,
}

/// A list of checkouts, as they were at one moment. It does not change, depends on nothing else, and may be read from
/// several threads at once.
#[derive(Debug)]
pub struct leakpool_checkouts {
    infos: Vec<leakpool_checkout_info>,
    /// What the infos point to.
    _texts: Vec<CString>,
}

// SAFETY: the pointers lead to texts of its own, which nobody changes.
unsafe impl Send for leakpool_checkouts {}
// SAFETY: as for Send.
unsafe impl Sync for leakpool_checkouts {}

/// The line that acquired: as the host told it, without symbolising, where it was told.
pub(crate) fn place(site: &Site) -> Frame {
    site.resolve().culprit.clone()
}

impl leakpool_checkouts {
    pub(crate) fn new<'a>(checkouts: impl IntoIterator<Item = &'a CheckoutInfo>) -> leakpool_checkouts {
        let mut texts = Vec::new();
        let mut keep = |text: Option<&str>| -> *const c_char {
            let Some(text) = text else { return ptr::null() };
            let text = c_text(text);
            // It lies on the heap, so it stays where it is when the list of them grows.
            let pointer = text.as_ptr();
            texts.push(text);
            pointer
        };
        let mut infos = Vec::new();
        for info in checkouts {
            let place = place(&info.site);
            let suspicion = match info.verdict {
                Verdict::Suspected(suspicion) => Some(suspicion.name()),
                Verdict::Healthy | Verdict::Busy | Verdict::Expected | Verdict::Proven => None,
            };
            infos.push(leakpool_checkout_info {
                checkout: Mask::of(&info.pool).give(info.id),
                held_ms: millis(info.held),
                idle_ms: info.idle_for.map_or(LEAKPOOL_NONE, millis),
                executing_ms: info.executing_for.map_or(LEAKPOOL_NONE, millis),
                expected_ms: info.expected.map_or(LEAKPOOL_NONE, millis),
                last_sql_age_ms: info.last_sql.as_ref().map_or(LEAKPOOL_NONE, |sql| millis(sql.age)),
                pool: keep(Some(&info.pool)),
                file: keep(place.file.as_deref()),
                function: keep(place.function.as_deref()),
                label: keep(info.label.as_deref()),
                owner: keep(info.owner.as_deref()),
                last_sql: keep(info.last_sql.as_ref().map(|sql| sql.text.as_str())),
                suspicion: keep(suspicion),
                line: place.line.unwrap_or(0),
                backend_pid: info.backend_pid.unwrap_or(0),
                activity: info.activity.into(),
                transaction: info.transaction.into(),
                verdict: info.verdict.into(),
                reported: info.reported.into(),
                owner_ended: info.owner_ended.into(),
                listening: info.listening.into(),
            });
        }
        leakpool_checkouts { infos, _texts: texts }
    }
}

/// How many checkouts are in a list; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_checkouts_count(checkouts: *const leakpool_checkouts) -> usize {
    // SAFETY: as the header says.
    plain(|| unsafe { checkouts.as_ref() }.map_or(0, |list| list.infos.len()))
}

/// One checkout of a list, counted from 0; NULL if there is no such one. Borrowed: lives as long as the list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_checkouts_get(
    checkouts: *const leakpool_checkouts,
    index: usize,
) -> *const leakpool_checkout_info {
    // SAFETY: as the header says.
    let found = || unsafe { checkouts.as_ref() }?.infos.get(index);
    plain(|| found().map_or(ptr::null(), ptr::from_ref))
}

/// Frees a list. NULL is fine. Not for a list that was borrowed from an event or an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_checkouts_free(checkouts: *mut leakpool_checkouts) {
    // SAFETY: as the header says.
    unsafe { free(checkouts) };
}
