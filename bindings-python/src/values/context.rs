//! What of a session the values depend on: the parameters that the server reports.

use std::sync::Arc;

use leakpool::Connection;
use pyo3::prelude::*;

use super::json;

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

/// Those that values depend on.
const PARAMETERS: [&str; 4] = ["client_encoding", "TimeZone", "DateStyle", "IntervalStyle"];

/// The parameters as they were at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    values: [Option<Arc<str>>; PARAMETERS.len()],
}

impl Snapshot {
    /// As this function tells them.
    pub(crate) fn new(parameter: impl Fn(&str) -> Option<Arc<str>>) -> Snapshot {
        Snapshot { values: PARAMETERS.map(parameter) }
    }
}

impl Session for Snapshot {
    fn parameter(&self, name: &str) -> Option<Arc<str>> {
        let index = PARAMETERS.iter().position(|one| *one == name)?;
        self.values.get(index)?.clone()
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

    /// The parameters as they are now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::new(|name| self.parameter(name))
    }

    /// The function that makes objects from JSON.
    pub(crate) fn json_loads(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        json::loads(py)
    }
}
