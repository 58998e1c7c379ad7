//! The leak detector: knows no pool, no tokio, no I/O.

pub(crate) mod unwind;
