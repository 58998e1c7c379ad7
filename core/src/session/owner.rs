//! Whom a session tells, and who polls it: the two ways up, without knowing what is there. `Session` is the session's
//! state, which this file does not know either.

use std::sync::Arc;

use deadpool_postgres::ClientWrapper;

use super::closer::Ending;
use crate::config::Reset;
use crate::detect::event::RemoveReason;

/// A client in its box, so that whoever holds it is small to move.
pub(crate) type BoxedClient = Box<ClientWrapper>;

/// Whoever hands out a session: its pool. Called with no lock of the session held; it decides and enqueues, and waits for
/// nothing.
pub(crate) trait Owner<Session>: Send + Sync {
    /// What a return runs. `None`: there is nobody to give the session back to.
    fn reset(&self) -> Option<Reset>;

    /// A return has settled: the session may be handed out again.
    fn returned(self: Arc<Self>, session: &Arc<Session>, client: BoxedClient);

    /// A checkout, or its return, has ended together with its session: the place is free. Called once, by whoever won
    /// that end.
    fn left(&self, session: &Session, reason: RemoveReason);

    /// The session has ended, and its task with it; `left` follows if that ends a checkout or a return.
    fn ended(&self, session: &Session);

    /// The session's task has let go of its socket. (The fence lives on for as long as a late holder keeps its handle.)
    fn let_go(&self);

    /// The session is to be ended by a thread of its own.
    fn end(&self, ending: Ending);
}

/// Who polls a session's connection (`poller.rs`).
pub(crate) trait Poll<Session>: Send + Sync {
    /// Does what can be done at once, on the calling thread.
    fn poll_inline(&self, session: &Session);

    /// Looks at a socket that the runtime does not watch: the server may have closed it.
    fn probe(&self, session: &Session);

    /// Reads and writes the socket on the calling thread until `is_done`, which asks something of the session, says so.
    fn poll_until(
        &self,
        session: &Session,
        is_done: &mut dyn FnMut() -> bool,
        give_up: &mut dyn FnMut() -> bool,
    ) -> Polled;
}

/// How a caller's polling ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Polled {
    Done,
    GivenUp,
    /// Another caller polls, or there is no socket any more: it is to be waited for elsewhere.
    Elsewhere,
}
