//! How a server is reached: hosts, sockets, TLS, certificates, the framing of messages, the fields of the server's errors.
//!
//! Knows no session, no pool and no detector: what is spoken on a stream is the business of whoever asked for it.

pub(crate) mod certificate;
pub(crate) mod connect;
pub(crate) mod error;
pub(crate) mod fields;
pub(crate) mod framing;
pub(crate) mod socket;
pub(crate) mod tls;

#[cfg(test)]
mod server_tests;
#[cfg(test)]
mod testing;
