//! The Node addon: what `lib/*.js` cannot do itself. It translates; the core decides. Declarations only.
//!
//! One thread of JavaScript has one `event_loop::EventLoop`; everything here runs on that thread, but for the waker
//! (`event_loop/loop_waker.rs`), which any thread may wake, and the queue of events. `native.d.ts` is the contract with `lib/`.

// In a build for tests nothing is registered with Node, so nobody calls the exported functions.
#![cfg_attr(test, allow(dead_code))]

mod clock;
mod detector;
mod error;
mod event_loop;
mod frames;
mod info;
mod log;
mod options;
mod pool;
mod rows;
mod testing;
