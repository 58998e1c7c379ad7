//! The Node addon: what `lib/*.js` cannot do itself. It translates; the core decides. Declarations only.
//!
//! One thread of JavaScript has one [`event_loop::EventLoop`]; everything here runs on that thread, but for the bell
//! ([`bell`]), which any thread may ring, and the mailbox of events. `native.d.ts` is the contract with `lib/`.

mod bell;
mod error;
mod event_loop;
mod options;
mod pack;
mod params;
mod pool;
mod query;
mod rows;
