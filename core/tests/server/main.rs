//! Tests against a real server. They need `DATABASE_URL`: run them by `make test`, or under `tests/with-postgres`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod basics;
mod exchange;
mod pool;
mod support;
