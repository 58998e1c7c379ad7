//! Acquisition sites: where checkouts were acquired, each kept once, symbolised late.
//!
//! Capturing and interning happen on the caller's thread and do no formatting, no symbolisation, no I/O and, for a
//! known site, no allocation. Symbolising ([`Site::resolve`]) takes a tenth of a second the first time and belongs to
//! whoever writes reports, never to a caller.

use std::ffi::c_void;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

pub use super::frame::{Frame, FrameKind, ResolvedSite};

/// Which site, within one [`SiteTable`](crate::SiteTable).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SiteId(pub(super) u32);

impl SiteId {
    /// The one site of everything that was acquired with [`StackCapture::Off`](crate::StackCapture::Off).
    pub const OFF: SiteId = SiteId(0);
    /// The one site of everything beyond the bounds of the table.
    pub const OTHER: SiteId = SiteId(1);

    /// The one site of checkouts whose host tells the line later, for as long as it has not (`locate`).
    pub const LATER: SiteId = SiteId(2);

    /// The number behind it: small, dense, counted from 0 in each table.
    pub const fn index(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_index(index: u32) -> SiteId {
        SiteId(index)
    }
}

/// A stack frame as a host (Python, Node, C) knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostFrame<'a> {
    /// The file, as the host names it.
    pub file: &'a str,
    /// The line, from 1; 0 if unknown.
    pub line: u32,
    /// The function; empty if unknown.
    pub function: &'a str,
}

impl<'a> HostFrame<'a> {
    /// A frame in that line of that function.
    pub const fn new(file: &'a str, line: u32, function: &'a str) -> HostFrame<'a> {
        HostFrame { file, line, function }
    }
}

/// What makes two sites the same.
pub(super) enum Key {
    Off,
    Other,
    Later,
    /// No frames: the call site alone.
    Native {
        location: &'static Location<'static>,
        frames: Box<[usize]>,
    },
    Host(Box<[HostText]>),
}

pub(super) struct HostText {
    pub(super) file: Box<str>,
    pub(super) line: u32,
    pub(super) function: Box<str>,
}

/// How often something happened at a site. On a cache line of its own: every acquire writes here and reads the key.
#[derive(Default)]
#[repr(align(64))]
struct Counters {
    acquired: AtomicU64,
    leaked: AtomicU64,
    recovered: AtomicU64,
    force_released: AtomicU64,
}

/// One acquisition site and its record.
pub struct Site {
    pub(super) hash: u64,
    pub(super) key: Key,
    counters: Counters,
    resolved: OnceLock<Arc<ResolvedSite>>,
}

macro_rules! counter {
    ($(#[$doc:meta])+ $name:ident, $(#[$inc_doc:meta])+ $inc:ident) => {
        $(#[$doc])+
        pub fn $name(&self) -> u64 {
            self.counters.$name.load(Ordering::Relaxed)
        }

        $(#[$inc_doc])+
        #[inline]
        pub fn $inc(&self) {
            self.counters.$name.fetch_add(1, Ordering::Relaxed);
        }
    };
}

impl Site {
    pub(super) fn new(hash: u64, key: Key) -> Site {
        Site { hash, key, counters: Counters::default(), resolved: OnceLock::new() }
    }

    /// The line that acquired, as `file:line`, without symbolising anything: for errors and events that are made
    /// on the caller's thread. Once a report has symbolised the site, its culprit line.
    pub fn place(&self) -> String {
        if let Some(resolved) = self.resolved()
            && let (Some(file), Some(line)) = (&resolved.culprit.file, resolved.culprit.line)
        {
            return format!("{file}:{line}");
        }
        match self.location() {
            Some((file, line)) => format!("{file}:{line}"),
            None if self.is_told_later() => FOLLOWS.into(),
            None => "an unknown line (stack_capture is off)".into(),
        }
    }

    /// True for [`SiteId::LATER`].
    pub fn is_told_later(&self) -> bool {
        matches!(self.key, Key::Later)
    }

    counter! {
        /// How many checkouts began here.
        acquired,
        /// Counts a checkout that began here.
        acquired_inc
    }
    counter! {
        /// How many checkouts of this site were flagged as leaks, each once.
        leaked,
        /// Counts a checkout that was flagged.
        leaked_inc
    }
    counter! {
        /// How many flagged checkouts of this site were released after all.
        recovered,
        /// Counts a flagged checkout that was released after all.
        recovered_inc
    }
    counter! {
        /// How many checkouts of this site were taken back.
        force_released,
        /// Counts a checkout that was taken back.
        force_released_inc
    }

    /// File and line of the call, without symbolising; `None` for [`SiteId::OFF`] and [`SiteId::OTHER`].
    pub fn location(&self) -> Option<(&str, u32)> {
        match &self.key {
            Key::Native { location, .. } => Some((location.file(), location.line())),
            Key::Host(frames) => frames.first().map(|frame| (&*frame.file, frame.line)),
            Key::Off | Key::Other | Key::Later => None,
        }
    }

    /// The captured return addresses, innermost first; empty for host frames and for a call site alone.
    pub fn addresses(&self) -> &[usize] {
        match &self.key {
            Key::Native { frames, .. } => frames,
            Key::Host(_) | Key::Off | Key::Other | Key::Later => &[],
        }
    }

    /// The site with names and lines, looked up once. Reads debug information: the first call in a process takes
    /// about 100 ms, so never call this on the thread of somebody who acquires.
    pub fn resolve(&self) -> Arc<ResolvedSite> {
        self.resolved.get_or_init(|| Arc::new(self.symbolise())).clone()
    }

    /// The same if somebody has looked it up already.
    pub fn resolved(&self) -> Option<Arc<ResolvedSite>> {
        self.resolved.get().cloned()
    }

    fn symbolise(&self) -> ResolvedSite {
        let frames = match &self.key {
            Key::Native { frames, .. } => frames.iter().flat_map(|address| symbols(*address)).collect(),
            Key::Host(frames) => frames.iter().map(|f| Frame::host(&f.function, &f.file, f.line)).collect(),
            Key::Off | Key::Other => Vec::new(),
            Key::Later => return ResolvedSite::named(FOLLOWS),
        };
        let call = match &self.key {
            Key::Native { location, .. } => Some((location.file(), location.line())),
            Key::Host(_) | Key::Off | Key::Other | Key::Later => None,
        };
        ResolvedSite::new(call, frames)
    }
}

/// Every function that is inlined at an address, innermost first.
fn symbols(address: usize) -> Vec<Frame> {
    let mut found = Vec::new();
    // Takes a lock of the process, which another caller may have poisoned; a report without names is still a report.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        backtrace::resolve(address as *mut c_void, |symbol| {
            let name = symbol.name().map(|name| format!("{name:#}"));
            let file = symbol.filename().map(|path| path.to_string_lossy());
            let frame = Frame::native(name.as_deref(), file.as_deref(), symbol.lineno());
            found.push(if file.as_deref().is_some_and(is_ours) { frame.in_library() } else { frame });
        });
    }));
    if found.is_empty() {
        found.push(Frame::unknown());
    }
    found
}

/// Functions inlined from here carry a bare name, and the path says whose they are only if it is a registry's. Our
/// own is found by asking for a function of this file.
fn is_ours(file: &str) -> bool {
    static ROOT: OnceLock<Option<String>> = OnceLock::new();
    let root = ROOT.get_or_init(|| {
        let mut root = None;
        // Addresses are taken for return addresses, so the first byte would belong to what stands before it.
        let inside = (landmark as *const () as usize + 1) as *mut c_void;
        backtrace::resolve(inside, |symbol| {
            let file = symbol.filename().map(|path| path.to_string_lossy().replace('\\', "/"));
            root = file.and_then(|file| Some(source_root(&file, module_path!())?.to_string()));
        });
        root
    });
    root.as_deref().is_some_and(|root| file.starts_with(root))
}

/// A function whose file is this one, in every build.
#[inline(never)]
fn landmark() -> usize {
    std::hint::black_box(line!() as usize)
}

/// The folder of a crate's sources, with its slash: so many folders above the file of one of its modules as that has
/// names in front of it. `None` for a bare file name, beneath which everything would stand.
fn source_root<'a>(file: &'a str, module: &str) -> Option<&'a str> {
    let own_folder = usize::from(file.ends_with("/mod.rs"));
    let (mut root, mut levels) = (file, module.split("::").count() - 1 + own_folder);
    while levels > 0 {
        root = root.rsplit_once('/')?.0;
        levels -= 1;
    }
    Some(&file[..=root.len()])
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("location", &self.location())
            .field("depth", &self.addresses().len())
            .field("acquired", &self.acquired())
            .field("leaked", &self.leaked())
            .field("recovered", &self.recovered())
            .field("force_released", &self.force_released())
            .finish()
    }
}

/// How a line is called that a host has not told yet.
const FOLLOWS: &str = "a line that follows as soon as its thread is free to tell it";

#[cfg(test)]
mod tests;
