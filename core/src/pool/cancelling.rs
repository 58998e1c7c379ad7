//! Whether a cancel that was asked for is still on its way. Asking for one is `Connection::cancel`.

use super::connection::Connection;

impl Connection {
    /// True while a cancel that this connection's holder asked for has not reached the server yet. Until then it may
    /// hit the next statement; a host that cancels the rest of a result waits for it before it sends anything else.
    pub fn is_being_cancelled(&self) -> bool {
        self.control().is_being_cancelled()
    }
}
