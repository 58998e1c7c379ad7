//! The sites of one detector: each kept once, found without a lock.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use super::site::{HostFrame, HostText, Key, Site, SiteId};
use super::unwind;
use crate::config::StackCapture;

mod hash;
mod intern;

use hash::Hash;
use intern::Interner;

/// The most sites that a table tells apart.
const DEFAULT_LIMIT: u32 = 65_536;
/// One site in that many is kept for call sites alone, when stacks no longer fit.
const RESERVE: u32 = 16;
/// The deepest stack that is ever captured.
const DEEPEST: usize = 128;
/// The depth up to which the buffer is small.
const USUAL: usize = 32;

/// The sites of one detector: append-only, bounded, found without a lock.
///
/// When a table is full, further stacks count for their call site alone, and further call sites for
/// [`SiteId::OTHER`]: nothing is lost, nothing grows without bound.
///
/// ```
/// use leakpool::StackCapture;
/// use leakpool::SiteTable;
/// use std::panic::Location;
///
/// #[track_caller]
/// fn acquire(table: &SiteTable) -> leakpool::SiteId {
///     table.capture(Location::caller(), StackCapture::Full, 32)
/// }
///
/// let table = SiteTable::new();
/// let ids = [1, 2].map(|_| acquire(&table));
/// assert_eq!(ids[0], ids[1]);
/// let (id, line) = (acquire(&table), line!());
/// assert_ne!(id, ids[0]);
/// assert_eq!(table.get(id).location(), Some((file!(), line)));
/// ```
pub struct SiteTable {
    interner: Interner,
    limit: u32,
}

/// Nothing and nothing are not handed to memcmp: its masked load from a dangling pointer costs 80 ns.
#[inline]
fn equal<T: PartialEq>(known: &[T], asked: &[T]) -> bool {
    known.len() == asked.len() && (asked.is_empty() || known == asked)
}

impl SiteTable {
    /// An empty table for up to 65,536 sites.
    pub fn new() -> SiteTable {
        SiteTable::with_limit(DEFAULT_LIMIT)
    }

    /// An empty table for up to `limit` sites, [`SiteId::OFF`], [`SiteId::OTHER`] and [`SiteId::LATER`] not counted. At most a million.
    pub fn with_limit(limit: u32) -> SiteTable {
        let table = SiteTable { interner: Interner::new(), limit: limit.min(intern::MOST - 3) + 3 };
        // In this order: these are OFF, OTHER and LATER.
        for (hash, key) in [(0, Key::Off), (1, Key::Other), (2, Key::Later)] {
            table.interner.add(hash, 3, |_| false, || key);
        }
        table
    }

    /// The site of the calling code: `location` and, with [`StackCapture::Full`], up to `depth` frames (1 to 128).
    /// The hot path of an acquire: about 8 ns a frame.
    #[inline]
    pub fn capture(&self, location: &'static Location<'static>, mode: StackCapture, depth: usize) -> SiteId {
        match mode {
            StackCapture::Off => SiteId::OFF,
            StackCapture::Site => self.native(location, &[]),
            StackCapture::Full if depth <= USUAL => self.full::<USUAL>(location, depth),
            StackCapture::Full => self.full::<DEEPEST>(location, depth),
        }
    }

    fn full<const SIZE: usize>(&self, location: &'static Location<'static>, depth: usize) -> SiteId {
        let mut frames = [0; SIZE];
        let count = unwind::capture(&mut frames[..depth.clamp(1, SIZE)]);
        self.native(location, &frames[..count])
    }

    fn native(&self, location: &'static Location<'static>, frames: &[usize]) -> SiteId {
        let mut hash = Hash::new(frames.len());
        hash.word(u64::from(location.line()) << 32 | u64::from(location.column()));
        hash.addresses(frames);
        self.hashed(hash.finish(), location, frames)
    }

    fn hashed(&self, hash: u64, location: &'static Location<'static>, frames: &[usize]) -> SiteId {
        let same = |key: &Key| match key {
            // One place in the source may have several copies of its `Location`.
            Key::Native { location: l, frames: f } => {
                equal(f, frames) && (std::ptr::eq(*l, location) || **l == *location)
            }
            Key::Host(_) | Key::Off | Key::Other | Key::Later => false,
        };
        if let Some(id) = self.interner.find(hash, same) {
            return SiteId(id);
        }
        let most = if frames.is_empty() { self.limit } else { self.limit - self.limit / RESERVE };
        match self.interner.add(hash, most, same, || Key::Native { location, frames: frames.into() }) {
            Some(id) => SiteId(id),
            None if frames.is_empty() => SiteId::OTHER,
            None => self.native(location, &[]),
        }
    }

    /// The site of a stack that a host captured, innermost frame first. No frames: [`SiteId::OFF`].
    pub fn intern_host(&self, frames: &[HostFrame<'_>]) -> SiteId {
        let frames = &frames[..frames.len().min(DEEPEST)];
        if frames.is_empty() {
            return SiteId::OFF;
        }
        let mut hash = Hash::new(frames.len());
        for frame in frames {
            hash.word(u64::from(frame.line));
            hash.text(frame.file);
            hash.text(frame.function);
        }
        let hash = hash.finish();
        let same = |key: &Key| match key {
            Key::Host(known) => {
                known.len() == frames.len()
                    && known.iter().zip(frames).all(|(known, frame)| {
                        known.line == frame.line
                            && equal(known.file.as_bytes(), frame.file.as_bytes())
                            && equal(known.function.as_bytes(), frame.function.as_bytes())
                    })
            }
            Key::Native { .. } | Key::Off | Key::Other | Key::Later => false,
        };
        if let Some(id) = self.interner.find(hash, same) {
            return SiteId(id);
        }
        let key = || {
            let text = |f: &HostFrame<'_>| HostText {
                file: f.file.into(),
                line: f.line,
                function: f.function.into(),
            };
            Key::Host(frames.iter().map(text).collect())
        };
        let most = if frames.len() == 1 { self.limit } else { self.limit - self.limit / RESERVE };
        match self.interner.add(hash, most, same, key) {
            Some(id) => SiteId(id),
            None if frames.len() == 1 => SiteId::OTHER,
            // The culprit candidate alone.
            None => self.intern_host(&frames[..1]),
        }
    }

    /// The site of an id. An id of another table gives that table's site of the same number, or [`SiteId::OTHER`].
    pub fn get(&self, id: SiteId) -> Arc<Site> {
        match self.interner.get(id.0).or_else(|| self.interner.get(SiteId::OTHER.0)) {
            Some(site) => site.clone(),
            None => Arc::new(Site::new(0, Key::Other)),
        }
    }

    /// The same without a reference of its own, for counting on the hot path.
    #[inline]
    pub fn get_ref(&self, id: SiteId) -> Option<&Site> {
        self.interner.get(id.0).map(|site| &**site)
    }

    /// Every site at which something was interned, in the order of their first time. Sites without a location
    /// ([`SiteId::OFF`], [`SiteId::OTHER`], [`SiteId::LATER`]) come first, and only if something was counted for them.
    pub fn sites(&self) -> Vec<Arc<Site>> {
        let all = (0..self.interner.len()).filter_map(|id| self.interner.get(id));
        all.filter(|site| site.location().is_some() || site.acquired() > 0).cloned().collect()
    }
}

impl Default for SiteTable {
    fn default() -> Self {
        SiteTable::new()
    }
}

impl fmt::Debug for SiteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SiteTable").field("sites", &self.interner.len()).field("limit", &self.limit).finish()
    }
}

#[cfg(test)]
mod tests;
