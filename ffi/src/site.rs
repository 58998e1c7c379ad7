//! The line of C that acquired.

use std::ffi::{CStr, c_char};

use leakpool::HostFrame;

/// The line as C tells it. What is missing or is no UTF-8 is left out: nobody is denied a connection for that.
///
/// # Safety
/// `file` and `function` are NULL or texts that live for `'a`.
pub(crate) unsafe fn frame<'a>(
    file: *const c_char,
    line: u32,
    function: *const c_char,
) -> Option<HostFrame<'a>> {
    // SAFETY: the caller's promise.
    let (file, function) = unsafe { (part(file), part(function)) };
    file.map(|file| HostFrame::new(file, line, function.unwrap_or_default()))
}

/// # Safety
/// `text` is NULL or a text that lives for `'a`.
unsafe fn part<'a>(text: *const c_char) -> Option<&'a str> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's promise; it is not NULL.
    unsafe { CStr::from_ptr(text) }.to_str().ok()
}
