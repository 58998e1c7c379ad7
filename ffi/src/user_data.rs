//! The pointer that goes with a callback.

use std::ffi::c_void;

/// What C passes through us. It says that its callback may run on another thread, by subscribing.
pub(crate) struct UserData(*mut c_void);

// SAFETY: the header says that callbacks run on a thread of the library's, and that user_data is used there.
unsafe impl Send for UserData {}
// SAFETY: as for Send.
unsafe impl Sync for UserData {}

impl UserData {
    pub(crate) fn new(pointer: *mut c_void) -> UserData {
        UserData(pointer)
    }

    pub(crate) fn get(&self) -> *mut c_void {
        self.0
    }
}
