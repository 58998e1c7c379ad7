//! The boundary between C and Rust: no panic passes it, and no pointer is used before it was looked at.

use std::any::Any;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use leakpool::host::{self, LogLine};
use leakpool::{Error, ErrorCode, Result};
use tracing::Level;

/// What a function without a status gives back when it cannot do what it was asked: for a NULL where there must be
/// none, and after a panic.
pub(crate) trait Nothing {
    const NOTHING: Self;
}

macro_rules! nothing {
    ($($type:ty = $value:expr;)+) => { $(impl Nothing for $type { const NOTHING: Self = $value; })+ };
}

nothing! {
    () = ();
    bool = false;
    usize = 0;
    u32 = 0;
    u64 = 0;
    i32 = 0;
}

impl<T> Nothing for *const T {
    const NOTHING: Self = ptr::null();
}

/// Runs what a function without a status does. The text of a panic goes to the log.
pub(crate) fn plain<T: Nothing>(body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let e = panicked(panic);
        let line = || host::log(LogLine::new(Level::ERROR, e.message()));
        let _ = catch_unwind(AssertUnwindSafe(line));
        T::NOTHING
    })
}

/// A panic that was caught, as an error.
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Error {
    let text = host::panic_text(&*panic).to_owned();
    // A payload may panic again when it is dropped.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(panic)));
    Error::new(ErrorCode::Panicked, format!("leakpool panicked: {text}; this is a bug, please report it"))
}

/// `InvalidArgument` about one argument.
pub(crate) fn invalid(argument: &str, rule: &str) -> Error {
    Error::new(ErrorCode::InvalidArgument, format!("{argument} {rule}"))
}

/// What a pointer of C points to.
///
/// # Safety
/// `pointer` is NULL or points to a `T` that lives, unchanged, for `'a`.
pub(crate) unsafe fn get<'a, T>(argument: &str, pointer: *const T) -> Result<&'a T> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| invalid(argument, "must not be NULL"))
}

/// A text of C.
///
/// # Safety
/// `pointer` is NULL or points to a text that ends with a NUL and lives, unchanged, for `'a`.
pub(crate) unsafe fn text<'a>(argument: &str, pointer: *const c_char) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    unsafe { text_or_null(argument, pointer) }?.ok_or_else(|| invalid(argument, "must not be NULL"))
}

/// The same where NULL means that there is none.
///
/// # Safety
/// As for [`text`].
pub(crate) unsafe fn text_or_null<'a>(argument: &str, pointer: *const c_char) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise; it is not NULL.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|_| invalid(argument, "is not valid UTF-8"))
}

/// An array of C; NULL is fine for an empty one.
///
/// # Safety
/// `pointer` is NULL or points to `length` values of `T` that live, unchanged, for `'a`.
pub(crate) unsafe fn array<'a, T>(argument: &str, pointer: *const T, length: usize) -> Result<&'a [T]> {
    if length == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(invalid(argument, "must not be NULL when its length is not 0"));
    }
    if length > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(invalid(argument, "is longer than memory can be"));
    }
    // SAFETY: the caller's promise; it is not NULL, and its size is possible.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// Where a result goes. Until it is set, it holds what it was prepared with.
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// # Safety
    /// `pointer` is NULL or points to writable memory for a `T` during the call.
    pub(crate) unsafe fn new(argument: &str, pointer: *mut T, until_then: T) -> Result<Out<T>> {
        if pointer.is_null() {
            return Err(invalid(argument, "must not be NULL"));
        }
        // SAFETY: the caller's promise; it is not NULL.
        unsafe { pointer.write(until_then) };
        Ok(Out(pointer))
    }

    pub(crate) fn set(self, value: T) {
        // SAFETY: `new` was promised that it is writable, and has checked that it is not NULL.
        unsafe { self.0.write(value) };
    }
}

impl<T> Out<*mut T> {
    /// Hands an object over to C.
    pub(crate) fn give(self, object: T) {
        self.set(Box::into_raw(Box::new(object)));
    }
}

/// Copies a struct to C that may grow from version to version: as many bytes as C's version of it has.
///
/// # Safety
/// `pointer` is NULL or points to `size` writable bytes.
pub(crate) unsafe fn give_sized<T>(argument: &str, pointer: *mut T, size: usize, value: &T) -> Result<()> {
    if pointer.is_null() {
        return Err(invalid(argument, "must not be NULL"));
    }
    check_size(argument, size, size_of::<T>())?;
    // SAFETY: both sides have `size` bytes: C's by its promise, ours as it was checked.
    unsafe { ptr::copy_nonoverlapping(ptr::from_ref(value).cast::<u8>(), pointer.cast::<u8>(), size) };
    Ok(())
}

/// A struct's size as C knows it. There has been one version of each so far, so only one size is right.
pub(crate) fn check_size(argument: &str, given: usize, known: usize) -> Result<()> {
    if given == known {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::InvalidArgument,
        format!(
            "the size of {argument} ({given}) must be its sizeof, {known} in version {} of the library: is the \
             header of another version?",
            env!("CARGO_PKG_VERSION")
        ),
    ))
}

/// Takes back what was given to C, and drops it.
///
/// # Safety
/// `pointer` is NULL or came from [`Out::give`] and was not taken back yet.
pub(crate) unsafe fn free<T>(pointer: *mut T) {
    plain(|| {
        if !pointer.is_null() {
            // SAFETY: the caller's promise.
            drop(unsafe { Box::from_raw(pointer) });
        }
    });
}

/// A text for C. A NUL inside would cut it short, so it is replaced.
pub(crate) fn c_text(text: &str) -> CString {
    let clean: Vec<u8> = text.bytes().map(|byte| if byte == 0 { b' ' } else { byte }).collect();
    CString::new(clean).unwrap_or_default()
}

/// Borrowed by C: the text, or NULL.
pub(crate) fn borrowed(text: Option<&CString>) -> *const c_char {
    text.map_or(ptr::null(), |text| text.as_ptr())
}
