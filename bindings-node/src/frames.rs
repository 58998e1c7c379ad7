//! Stack frames from JavaScript: `[function, file, line, function, file, line, …]`, innermost first.

use leakpool::HostFrame;
use napi::bindgen_prelude::*;

/// Runs `f` with the frames of a flat list.
pub(crate) fn with<T>(flat: &[Either<String, u32>], f: impl FnOnce(&[HostFrame<'_>]) -> T) -> T {
    let frames: Vec<HostFrame<'_>> = flat
        .chunks_exact(3)
        .filter_map(|frame| match frame {
            [Either::A(function), Either::A(file), Either::B(line)] => {
                Some(HostFrame::new(file, *line, function))
            }
            _ => None,
        })
        .collect();
    f(&frames)
}
