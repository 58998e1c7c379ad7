//! What a pool does when one of its sessions has something to say.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::record::Record;
use super::shared::{Conn, Shared};
use crate::config::Reset;
use crate::detect::checkout::State;
use crate::detect::event::RemoveReason;
use crate::session::closer::Ending;
use crate::session::owner::{BoxedClient, Owner};
use crate::session::state::SessionState;

impl Owner<SessionState> for Record<Shared> {
    fn reset(&self) -> Option<Reset> {
        self.pool.upgrade().map(|pool| pool.reset)
    }

    fn returned(self: Arc<Self>, session: &Arc<SessionState>, client: BoxedClient) {
        if let Some(pool) = self.pool.upgrade() {
            let now = pool.detector.now();
            pool.take_back(Conn { client, session: session.clone(), record: self }, now);
        }
    }

    fn left(&self, session: &SessionState, reason: RemoveReason) {
        if let Some(pool) = self.pool.upgrade() {
            pool.free_place(true);
            pool.removed(reason, session.slot.stamps.backend_pid());
        }
    }

    fn ended(&self, session: &SessionState) {
        if !self.is_admitted() {
            return;
        }
        if session.detector.lost(&session.slot) {
            self.left(session, RemoveReason::Lost);
        } else {
            session.end_unsettled_return();
        }
        if session.slot.word().state == State::Free
            && !session.closing.load(Ordering::SeqCst)
            && let Some(pool) = self.pool.upgrade()
        {
            pool.idle_connection_lost(format!(
                "an idle connection to {} ended: the server closed it, or the network did",
                session.peer
            ));
        }
    }

    fn let_go(&self) {
        if self.task_let_go()
            && let Some(pool) = self.pool.upgrade()
        {
            pool.tasks.fetch_sub(1, Ordering::SeqCst);
            pool.timing.changed.notify_waiters();
        }
    }

    fn end(&self, ending: Ending) {
        if let Some(pool) = self.pool.upgrade()
            && let Some(closer) = pool.timing.closer()
        {
            closer.end(ending, &pool.ending);
        }
    }
}
