//! Tests against a real server. They need `DATABASE_URL`: run them by `make test`, or under `tests/with-postgres`.
//!
//! DESIGN.md, section 3, by file: law 1 and 5 `race`, 5 `books`, 2 `take_back`, 3 `settle` and `in_flight`, 4 `activity`, 6 and 7
//! `independence`, 9 `secrets`, 10 `mistakes`; section 10 is `poc`. `child` is what needs a process of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod activity;
mod attempts;
mod basics;
mod books;
mod chaos;
mod child;
mod drive;
mod exchange;
mod fence;
mod flood;
mod in_flight;
mod independence;
mod late_site;
mod log_lines;
mod mistakes;
mod poc;
mod pool;
mod pooler;
mod proxy;
mod race;
mod secrets;
mod settle;
mod support;
mod take_back;
mod transactions;
