//! For the library's own tests: exports that panic. Compiled with the feature `test-panic` only; in no header.

use std::ffi::c_char;

use leakpool::Result;

use crate::boundary::{plain, text};
use crate::error::{guard, leakpool_error, leakpool_status};

/// Panics with that text behind a function with a status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_test_panic(
    message: *const c_char,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: the test passes a text or NULL.
        let message = unsafe { text("message", message) }?;
        fall(message)
    })
}

/// Panics behind a function without a status.
#[unsafe(no_mangle)]
#[allow(clippy::panic)]
pub extern "C" fn leakpool_test_panic_plain() -> usize {
    plain(|| panic!("behind a function without a status"))
}

#[allow(clippy::panic)]
fn fall(message: &str) -> Result<()> {
    panic!("{message}")
}
