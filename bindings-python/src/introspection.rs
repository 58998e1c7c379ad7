//! What is shown: snapshots, events, counts, the frames of Python, log lines.

pub(crate) mod counts;
pub(crate) mod events;
pub(crate) mod frames;
pub(crate) mod logging;
pub(crate) mod snapshot;
