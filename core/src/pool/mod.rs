//! The pool on deadpool-postgres.

pub(crate) mod connect;
pub(crate) mod failure;
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod verify;

#[cfg(test)]
mod server_tests;
#[cfg(test)]
mod testing;
