//! What lies behind an error or an event: why an acquire got nothing, how a checkout was taken away.

use std::ffi::{CString, c_char};
use std::ptr;

use leakpool::{Exhausted, Revocation};

use crate::boundary::c_text;
use crate::checkouts::{LEAKPOOL_NONE, leakpool_checkouts, millis, place};
use crate::id::Mask;

/// Why an acquire ran into its time-out. Borrowed, with its texts, from the error or event that it came from. Later
/// versions may add fields at its end: never copy one by its size.
#[repr(C)]
#[derive(Debug)]
pub struct leakpool_exhaustion {
    /// "leak", "slow_queries", "pool_too_small", "database_unreachable" or "server_connection_limit".
    pub diagnosis: *const c_char,
    /// "wait": for a connection that others hold; "connect": while a connection was being made.
    pub phase: *const c_char,
    /// The last error of an attempt to connect; NULL if there was none.
    pub last_error: *const c_char,
    /// Who held the connections, longest idle first. Do not free it.
    pub holders: *const leakpool_checkouts,
    /// How long the acquire waited.
    pub waited_ms: u64,
    /// The pool's limit then.
    pub max_size: u64,
    /// How many other acquires waited.
    pub waiting: u64,
    /// Sessions that were still ending on the server, and count against its limit.
    pub ending: u64,
}

/// How a checkout was taken away. Borrowed, with its texts, from the error or event that it came from. Later versions
/// may add fields at its end: never copy one by its size.
#[repr(C)]
#[derive(Debug)]
pub struct leakpool_revocation {
    /// The checkout that ended.
    pub checkout: u64,
    /// How long it had been held.
    pub held_ms: u64,
    /// How long it had been of no use; LEAKPOOL_NONE if a statement ran.
    pub idle_ms: u64,
    /// "unused", "busy", "proven", "manual" or "pool_closed".
    pub reason: *const c_char,
    /// The file of the line that acquired; NULL if it is not known.
    pub file: *const c_char,
    /// The function of that line; NULL if it is not known.
    pub function: *const c_char,
    /// That line; 0 if it is not known.
    pub line: u32,
    /// 0.
    pub reserved: u32,
}

/// One of them, and what it points to.
#[derive(Debug)]
pub(crate) struct Owned<T> {
    pub(crate) value: T,
    _texts: Vec<CString>,
    _holders: Option<Box<leakpool_checkouts>>,
}

/// Texts on the heap, which stay where they are.
#[derive(Default)]
struct Texts(Vec<CString>);

impl Texts {
    fn keep(&mut self, text: Option<&str>) -> *const c_char {
        let Some(text) = text else { return ptr::null() };
        let text = c_text(text);
        let pointer = text.as_ptr();
        self.0.push(text);
        pointer
    }
}

impl Owned<leakpool_exhaustion> {
    pub(crate) fn exhaustion(from: &Exhausted) -> Self {
        let mut texts = Texts::default();
        let holders = Box::new(leakpool_checkouts::new(&from.holders));
        let value = leakpool_exhaustion {
            diagnosis: texts.keep(Some(from.diagnosis.name())),
            phase: texts.keep(Some(from.phase.name())),
            last_error: texts.keep(from.last_error.as_deref()),
            holders: ptr::from_ref(&*holders),
            waited_ms: millis(from.waited),
            max_size: from.max_size as u64,
            waiting: from.waiting as u64,
            ending: from.ending as u64,
        };
        Owned { value, _texts: texts.0, _holders: Some(holders) }
    }
}

impl Owned<leakpool_revocation> {
    pub(crate) fn revocation(from: &Revocation) -> Self {
        let mut texts = Texts::default();
        let place = place(&from.site);
        let value = leakpool_revocation {
            checkout: Mask::of(&from.pool).give(from.checkout),
            held_ms: millis(from.held),
            idle_ms: from.idle_for.map_or(LEAKPOOL_NONE, millis),
            reason: texts.keep(Some(from.reason.name())),
            file: texts.keep(place.file.as_deref()),
            function: texts.keep(place.function.as_deref()),
            line: place.line.unwrap_or(0),
            reserved: 0,
        };
        Owned { value, _texts: texts.0, _holders: None }
    }
}
