//! The pool's places and its idle connections: one structure under one short lock.
//!
//! A *place* is what a caller needs to have a connection: an idle one, or one that is made for it. At most `max_size` are
//! taken. Idle connections have none. Whoever waits for a place gets it in turn; a place that is free while somebody
//! waits does not exist. Nothing is woken, dropped or called under the lock.
//!
//! So there are never more connections than `max_size`: one is only made by whoever has a place, found none idle, and was not
//! overtaken by a pool that was made smaller ([`is_overfull`](Places::is_overfull)).

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use futures_channel::oneshot;
use parking_lot::{Mutex, MutexGuard};

/// The places of one pool of `T`.
pub(super) struct Places<T> {
    books: Mutex<Books<T>>,
    /// How many wait, for those who only look.
    waiting: Arc<AtomicUsize>,
}

struct Books<T> {
    max_size: usize,
    /// Places that are taken: by holders, by connections on their way back or being made, by one who has waited and was
    /// not polled since.
    taken: usize,
    /// Connections that exist: idle ones, held ones, those on their way back.
    open: usize,
    /// The longest idle first.
    idle: Vec<T>,
    /// In the order of their tickets.
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
    next_ticket: u64,
    closed: bool,
}

/// What there was to take.
pub(super) enum Take<T> {
    /// A place, and the idle connection that was used last.
    Connection(T),
    /// A place alone.
    Place,
    /// All places are taken, or the pool is closed.
    Nothing,
}

/// The counts of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) max_size: usize,
    pub(super) open: usize,
    pub(super) idle: usize,
}

/// As many wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

/// No place will be free any more: the pool is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed;

impl<T> Places<T> {
    /// `waiting` is kept at the number of those who wait.
    pub(super) fn new(max_size: usize, waiting: Arc<AtomicUsize>) -> Places<T> {
        let books = Books {
            max_size,
            taken: 0,
            open: 0,
            idle: Vec::new(),
            waiting: BTreeMap::new(),
            next_ticket: 0,
            closed: false,
        };
        Places { books: Mutex::new(books), waiting }
    }

    /// Takes a place, and an idle connection for it if there is one.
    #[inline]
    pub(super) fn take(&self) -> Take<T> {
        let mut books = self.books.lock();
        if books.closed || books.taken >= books.max_size {
            return Take::Nothing;
        }
        books.taken += 1;
        books.idle.pop().map_or(Take::Place, Take::Connection)
    }

    /// Takes a place for a connection more, which is to be idle: if there is room for one.
    pub(super) fn take_for_one_more(&self) -> bool {
        let mut books = self.books.lock();
        let room = !books.closed && books.taken + books.idle.len() < books.max_size;
        books.taken += usize::from(room);
        room
    }

    /// An idle connection for one who has a place.
    pub(super) fn pop(&self) -> Option<T> {
        self.books.lock().idle.pop()
    }

    /// A connection was made.
    pub(super) fn opened(&self) {
        self.books.lock().open += 1;
    }

    /// A connection is gone that had been taken out; the place stays taken.
    pub(super) fn gone(&self) {
        let mut books = self.books.lock();
        debug_assert!(books.open > 0, "more connections have gone than there were");
        books.open = books.open.saturating_sub(1);
    }

    /// More places are taken than there are: the pool was made smaller meanwhile.
    pub(super) fn is_overfull(&self) -> bool {
        let books = self.books.lock();
        books.taken > books.max_size
    }

    /// A place is free: with its connection gone, if it had one.
    pub(super) fn free(&self, connection_gone: bool) {
        let mut books = self.books.lock();
        debug_assert!(books.taken > 0 && (books.open > 0 || !connection_gone), "a place was freed twice");
        books.taken = books.taken.saturating_sub(1);
        books.open = books.open.saturating_sub(usize::from(connection_gone));
        self.serve(books);
    }

    /// A connection has come back, and its place is free. It is handed back if it is one too many: then it is gone.
    #[inline]
    pub(super) fn put(&self, connection: T) -> Option<T> {
        let mut books = self.books.lock();
        debug_assert!(books.taken > 0, "a connection came back twice");
        books.taken = books.taken.saturating_sub(1);
        let surplus = if books.open > books.max_size {
            books.open -= 1;
            Some(connection)
        } else {
            books.idle.push(connection);
            None
        };
        self.serve(books);
        surplus
    }

    /// Removes those idle connections for which `which` says so, asked from the longest idle on. They are gone.
    pub(super) fn remove_idle(&self, mut which: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut books = self.books.lock();
        let removed: Vec<T> = books.idle.extract_if(.., |connection| which(connection)).collect();
        books.open = books.open.saturating_sub(removed.len());
        removed
    }

    /// Changes how many places there are. Returns the idle connections that are too many, which are gone.
    pub(super) fn resize(&self, max_size: usize) -> Vec<T> {
        let mut books = self.books.lock();
        books.max_size = max_size;
        let surplus = books.open.saturating_sub(max_size).min(books.idle.len());
        let removed: Vec<T> = books.idle.drain(..surplus).collect();
        books.open -= removed.len();
        self.serve(books);
        removed
    }

    /// Nothing is taken any more, and who waits is sent away.
    pub(super) fn close(&self) {
        let mut books = self.books.lock();
        books.closed = true;
        let waiting = std::mem::take(&mut books.waiting);
        self.publish(&books);
        drop(books);
        drop(waiting);
    }

    pub(super) fn counts(&self) -> Counts {
        let books = self.books.lock();
        Counts { max_size: books.max_size, open: books.open, idle: books.idle.len() }
    }

    /// Waits for a place, after those who have come before; at most `most` do (zero = no limit).
    pub(super) fn wait(&self, most: usize) -> Result<Waiting<'_, T>, TooMany> {
        let (sender, granted) = oneshot::channel();
        let mut books = self.books.lock();
        if most > 0 && books.waiting.len() >= most && books.taken >= books.max_size {
            return Err(TooMany);
        }
        let ticket = books.next_ticket;
        books.next_ticket += 1;
        if !books.closed {
            books.waiting.insert(ticket, sender);
        }
        // One may have become free since it was asked for.
        self.serve(books);
        Ok(Waiting { places: self, ticket, granted, over: false })
    }

    /// Gives free places to those who wait.
    #[inline]
    fn serve<'a>(&'a self, mut books: MutexGuard<'a, Books<T>>) {
        if books.waiting.is_empty() {
            return;
        }
        loop {
            self.publish(&books);
            if books.taken >= books.max_size {
                return;
            }
            let Some((_, waiter)) = books.waiting.pop_first() else { return };
            books.taken += 1;
            self.publish(&books);
            // Whoever waits is woken without the lock.
            drop(books);
            let took = waiter.send(()).is_ok();
            books = self.books.lock();
            if !took {
                // It has gone in this very moment.
                books.taken -= 1;
            }
        }
    }

    fn publish(&self, books: &Books<T>) {
        self.waiting.store(books.waiting.len(), Ordering::SeqCst);
    }
}

/// One who waits for a place; dropped, it waits no more, and a place that it was just given goes to the next one.
pub(super) struct Waiting<'a, T> {
    places: &'a Places<T>,
    ticket: u64,
    granted: oneshot::Receiver<()>,
    over: bool,
}

impl<T> Future for Waiting<'_, T> {
    type Output = Result<(), Closed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let this = self.get_mut();
        let granted = ready!(Pin::new(&mut this.granted).poll(cx));
        this.over = true;
        Poll::Ready(granted.map_err(|_| Closed))
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // Dropping its sender wakes whoever polls it: not under the lock.
        let waited = {
            let mut books = self.places.books.lock();
            let waited = books.waiting.remove(&self.ticket);
            self.places.publish(&books);
            waited
        };
        if waited.is_some() {
            return;
        }
        // Somebody is about to give it a place, or has: after the close, only what was sent before counts.
        self.granted.close();
        if let Ok(Some(())) = self.granted.try_recv() {
            self.places.free(false);
        }
    }
}

#[cfg(test)]
mod tests;
