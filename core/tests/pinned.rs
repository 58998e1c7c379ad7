//! What a release is judged by leans on how two libraries behave: the session's task knows that nothing waits in
//! tokio-postgres's queue or buffer because its `Connection` flushes after everything that it had to write, and because
//! tokio-util's `Framed` flushes the stream beneath it only with an empty buffer (`pool/in_flight.rs`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[test]
fn the_libraries_whose_flush_is_relied_on_are_those_that_were_read() {
    let lock = include_str!("../../Cargo.lock");
    for (name, version) in [("tokio-postgres", "0.7.18"), ("tokio-util", "0.7.20")] {
        let package = format!("name = \"{name}\"\nversion = \"{version}\"");
        assert!(
            lock.contains(&package),
            "{name} is not {version} any more. Read its flushing again (tokio_postgres::Connection::poll_message: \
             poll_write, then poll_flush; tokio_util::codec::Framed::poll_flush), run the tests `in_flight`, and name \
             the new version here."
        );
    }
}
