//! Waiting: on the loop of asyncio, and on a thread that lets the interpreter go meanwhile.

pub(crate) mod aio;
pub(crate) mod waiting;
pub(crate) mod wakeup;
