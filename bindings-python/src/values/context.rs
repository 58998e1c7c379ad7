//! What of a session the values depend on: the parameters that the server reports.

use std::sync::Arc;

use leakpool::Connection;

/// Where the parameters of a session come from.
pub(crate) trait Session {
    /// The current value of a parameter that the server reports.
    fn parameter(&self, name: &str) -> Option<Arc<str>>;
}

impl Session for Connection {
    fn parameter(&self, name: &str) -> Option<Arc<str>> {
        Connection::parameter(self, name)
    }
}

/// No session at all: the defaults.
impl Session for () {
    fn parameter(&self, _name: &str) -> Option<Arc<str>> {
        None
    }
}

/// A view of one session, made for one call: cheap, asks only for what is needed.
#[derive(Clone, Copy)]
pub(crate) struct AdaptContext<'a> {
    session: &'a dyn Session,
}

impl<'a> AdaptContext<'a> {
    /// Of this session.
    pub(crate) fn new(session: &'a dyn Session) -> AdaptContext<'a> {
        AdaptContext { session }
    }

    /// A parameter of the session.
    pub(crate) fn parameter(&self, name: &str) -> Option<Arc<str>> {
        self.session.parameter(name)
    }
}
