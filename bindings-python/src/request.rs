//! What is asked of a connection: queries, results, streams, COPY, notifications, cancels.

pub(crate) mod cancelling;
pub(crate) mod collect;
pub(crate) mod copy;
pub(crate) mod notify;
pub(crate) mod query;
pub(crate) mod result;
pub(crate) mod stream;
