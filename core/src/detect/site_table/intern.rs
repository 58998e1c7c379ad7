//! Where sites are kept: an append-only list with an index that is read without locks.
//!
//! Readers see a site once its index entry is published, and it stays where it is until the table goes away. The
//! lock is for writers alone: a site is made once, then found for ever.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::detect::site::{Key, Site};

const FIRST_CHUNK: u32 = 64;
/// Chunks double, so 16 of them hold four million sites.
const CHUNKS: usize = 16;
const FIRST_LEVEL: usize = 256;
/// Levels quadruple and are at most half full.
const LEVELS: usize = 8;
/// What fits into chunks and levels.
pub(super) const MOST: u32 = 1 << 20;

type Level = Box<[AtomicU64]>;
type Chunk = Box<[OnceLock<Arc<Site>>]>;

pub(super) struct Interner {
    /// Open addressing; a word is the upper half of the hash and the id plus one. A level that was outgrown stays, as
    /// somebody may still be reading it; who misses there looks again under the lock.
    levels: [OnceLock<Level>; LEVELS],
    level: AtomicUsize,
    chunks: [OnceLock<Chunk>; CHUNKS],
    len: AtomicU32,
    /// Held to add a site, never to find one. Nothing but memory is touched under it.
    adding: Mutex<()>,
}

impl Interner {
    pub(super) fn new() -> Interner {
        Interner {
            levels: [const { OnceLock::new() }; LEVELS],
            level: AtomicUsize::new(0),
            chunks: [const { OnceLock::new() }; CHUNKS],
            len: AtomicU32::new(0),
            adding: Mutex::new(()),
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.len.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<&Arc<Site>> {
        let (chunk, offset, _) = place(id)?;
        self.chunks.get(chunk)?.get()?.get(offset)?.get()
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, same: impl Fn(&Key) -> bool) -> Option<u32> {
        let level = self.levels.get(self.level.load(Ordering::Acquire))?.get()?;
        // Sizes are powers of two: a division would cost more than the rest of the search.
        let mask = level.len() - 1;
        let mut at = hash as usize;
        for _ in 0..level.len() {
            // Acquire: the site behind the id was made before the word was stored.
            let word = level[at & mask].load(Ordering::Acquire);
            if word == 0 {
                return None;
            }
            let id = (word as u32).wrapping_sub(1);
            if word >> 32 == hash >> 32 && self.get(id).is_some_and(|site| same(&site.key)) {
                return Some(id);
            }
            at = at.wrapping_add(1);
        }
        None
    }

    /// Finds or adds. `None` if there are `most` sites already.
    pub(super) fn add(
        &self,
        hash: u64,
        most: u32,
        same: impl Fn(&Key) -> bool,
        key: impl FnOnce() -> Key,
    ) -> Option<u32> {
        // Without the lock: when the table is full, nobody has to queue to learn so.
        if self.len() >= most.min(MOST) {
            return None;
        }
        let _adding = self.adding.lock();
        if let Some(id) = self.find(hash, same) {
            return Some(id);
        }
        let id = self.len();
        if id >= most.min(MOST) {
            return None;
        }
        let (chunk, offset, size) = place(id)?;
        let chunk =
            self.chunks.get(chunk)?.get_or_init(|| (0..size).map(|_| OnceLock::new()).collect::<Chunk>());
        chunk.get(offset)?.set(Arc::new(Site::new(hash, key()))).ok()?;
        self.len.store(id + 1, Ordering::Release);
        self.publish(id, hash);
        Some(id)
    }

    /// Caller must hold `adding`.
    fn publish(&self, id: u32, hash: u64) {
        let current = self.level.load(Ordering::Relaxed);
        let wanted =
            (current..LEVELS).find(|level| size(*level) >= 2 * (id as usize + 1)).unwrap_or(LEVELS - 1);
        let level =
            self.levels[wanted].get_or_init(|| (0..size(wanted)).map(|_| AtomicU64::new(0)).collect());
        if wanted == current {
            return enter(level, id, hash);
        }
        for id in 0..=id {
            if let Some(site) = self.get(id) {
                enter(level, id, site.hash);
            }
        }
        // Release: whoever sees the new level sees what was entered.
        self.level.store(wanted, Ordering::Release);
    }
}

fn size(level: usize) -> usize {
    FIRST_LEVEL << (2 * level)
}

/// Caller must hold `adding` and have left room.
fn enter(level: &[AtomicU64], id: u32, hash: u64) {
    let word = (hash >> 32) << 32 | u64::from(id + 1);
    let start = hash as usize;
    for step in 0..level.len() {
        let slot = &level[start.wrapping_add(step) % level.len()];
        if slot.load(Ordering::Relaxed) == 0 {
            return slot.store(word, Ordering::Release);
        }
    }
}

/// The chunk of an id, its place in there, and how many that chunk holds.
#[inline]
fn place(id: u32) -> Option<(usize, usize, usize)> {
    let chunk = (id / FIRST_CHUNK).checked_add(1)?.ilog2();
    let before = FIRST_CHUNK.checked_mul((1 << chunk) - 1)?;
    Some((chunk as usize, (id - before) as usize, (FIRST_CHUNK as usize) << chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_has_a_place_of_its_own() {
        let (mut chunk, mut next) = (0, 0);
        for id in 0..100_000 {
            let (at, offset, size) = place(id).unwrap();
            if at != chunk {
                (chunk, next) = (chunk + 1, 0);
            }
            assert_eq!((at, offset), (chunk, next), "{id}");
            assert!(offset < size);
            next += 1;
        }
        assert!(place(MOST).unwrap().0 < CHUNKS);
        assert!(size(LEVELS - 1) >= 2 * MOST as usize);
        let _ = place(u32::MAX);
    }
}
