//! Which version of the library runs. The header's macros tell which one a program was compiled with.

use std::ffi::{CStr, c_char};

use crate::boundary::plain;

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"",
};

/// The version of the library that runs, "0.1.0". LEAKPOOL_VERSION is the one of the header. Lives for ever.
#[unsafe(no_mangle)]
pub extern "C" fn leakpool_version() -> *const c_char {
    plain(|| VERSION.as_ptr())
}

/// The same as a number, to be compared with LEAKPOOL_VERSION_NUMBER: 0.1.0 is 100, 1.2.3 is 10203.
#[unsafe(no_mangle)]
pub extern "C" fn leakpool_version_number() -> u32 {
    plain(|| number(env!("CARGO_PKG_VERSION")))
}

fn number(version: &str) -> u32 {
    let parts = version.split(['.', '-', '+']).take(3);
    parts.fold(0, |number, part| number * 100 + part.parse::<u32>().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_that_can_be_compared() {
        assert_eq!(number("0.1.0"), 100);
        assert_eq!(number("1.2.3"), 10203);
        assert_eq!(number("1.2.3-rc.1"), 10203);
        assert_eq!(VERSION.to_str(), Ok(env!("CARGO_PKG_VERSION")));
    }
}
