//! Capturing the stack of the calling thread: return addresses only, in a fraction of a microsecond.
//!
//! On Linux (x86_64, aarch64) frames are stepped over with rules from the modules' own unwind tables (`cfi.rs`), each
//! looked up once per process and kept in a table that is read and written without locks. Whatever this cannot
//! follow (another platform, a stack that is not the thread's own, generated code, a signal frame) is left to the
//! general unwinder of the crate `backtrace`. Nothing here symbolises; nothing here may fault, block or panic.

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod cfi;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod walk;

/// Fills `frames` with return addresses, the one into the caller of `capture` first, and says how many there are.
#[inline(never)]
pub(crate) fn capture(frames: &mut [usize]) -> usize {
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        // The registers must be read here, in the frame that is alive until the walk is over.
        let registers = walk::Registers::read();
        if let Some(count) = walk::walk(registers, frames) {
            return count;
        }
    }
    let marker = 0u8;
    capture_general(frames, &raw const marker as usize)
}

/// The same by the platform's unwinder: slower by an order of magnitude, but it knows every kind of frame.
/// `marker` is an address in the frame of `capture`: frames up to there are ours and left out.
#[cold]
fn capture_general(frames: &mut [usize], marker: usize) -> usize {
    let mut count = 0;
    let mut inside = true;
    let visit = |frame: &backtrace::Frame| {
        let sp = frame.sp();
        inside = inside && !sp.is_null() && sp as usize <= marker;
        let ip = frame.ip() as usize;
        if !inside && ip != 0 && count < frames.len() {
            frames[count] = ip;
            count += 1;
        }
        count < frames.len()
    };
    // The crate's lock serialises dbghelp on Windows; elsewhere it would only make us wait for whoever symbolises.
    #[cfg(unix)]
    // SAFETY: on Unix the unwinder is thread-safe by itself; the standard library calls it without this lock, too.
    unsafe {
        backtrace::trace_unsynchronized(visit)
    };
    #[cfg(not(unix))]
    backtrace::trace(visit);
    count
}

#[cfg(test)]
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests;
