//! A pool, its connections and its blocks as Python has them, and what of them needs no Python.

pub(crate) mod acquire;
pub(crate) mod checkout;
pub(crate) mod connection;
pub(crate) mod inbox;
pub(crate) mod native_pool;
pub(crate) mod owner;
pub(crate) mod shared;
