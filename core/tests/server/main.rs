//! Tests against a real server. They need `DATABASE_URL`: run them by `make test`, or under `tests/with-postgres`.

mod basics;
mod exchange;
mod support;
