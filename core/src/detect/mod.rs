//! The leak detector: knows no pool, no tokio, no I/O.

mod frame;
pub mod site;
pub(crate) mod unwind;
