//! What deadpool manages: the place of a connection in the pool. The client itself is in the hands of its holder
//! while it is lent.
//!
//! deadpool never connects here: an acquire makes its connection itself, within its own deadline, and hands it
//! over through the mailbox; so no call into deadpool ever waits.

use std::sync::Arc;

use deadpool::managed::{self, Metrics, RecycleResult};
use parking_lot::Mutex;

use super::control::{BoxedClient, Control};

/// One connection as deadpool sees it.
#[derive(Debug)]
pub(crate) struct Conn {
    /// `None` while the connection is lent.
    pub(crate) client: Option<BoxedClient>,
    pub(crate) control: Arc<Control>,
}

/// The mailbox from which deadpool takes what an acquire has connected.
#[derive(Default)]
pub(crate) struct Manager {
    /// Held for a push or a pop.
    made: Mutex<Vec<Conn>>,
}

/// deadpool has neither an idle object nor one in the mailbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoneThere;

impl Manager {
    pub(crate) fn hand_over(&self, conn: Conn) {
        self.made.lock().push(conn);
    }

    pub(crate) fn has_mail(&self) -> bool {
        !self.made.lock().is_empty()
    }

    pub(crate) fn take_made(&self) -> Vec<Conn> {
        std::mem::take(&mut *self.made.lock())
    }
}

impl managed::Manager for Manager {
    type Type = Conn;
    type Error = NoneThere;

    async fn create(&self) -> Result<Conn, NoneThere> {
        self.made.lock().pop().ok_or(NoneThere)
    }

    async fn recycle(&self, _: &mut Conn, _: &Metrics) -> RecycleResult<NoneThere> {
        // Whether it may be lent again is judged by the acquire, which has a clock in its hand.
        Ok(())
    }
}
