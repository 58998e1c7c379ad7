//! One session with the server: what it is (`state`), who polls it (`poller`) and what it then does (`driver`), what
//! passes on its wire (`wire`, `observer`, `rewrite`) and what of that is in flight, the raw exchange of hosts
//! (`exchange`), what a revoked holder is answered (`fence`), and how it is ended (`closer`).
//!
//! It knows no pool: what it has to say to its owner goes through a trait (`owner`).

mod cancels;
pub(crate) mod closer;
pub(crate) mod driver;
pub mod exchange;
pub(crate) mod fence;
pub(crate) mod in_flight;
pub(crate) mod notifications;
mod observer;
pub(crate) mod owner;
mod parameters;
pub(crate) mod poller;
mod reset;
mod rewrite;
pub(crate) mod state;
pub(crate) mod wire;
