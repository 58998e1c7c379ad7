//! What an error of the server or of the wire means: its code and its sentence. And when several servers were tried,
//! which of their errors counts.

use std::error::Error as StdError;
use std::io;

use super::fields::ServerError;
use super::tls;
use crate::error::{Error, ErrorCode};

/// When an error came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Before the session was ready.
    Connecting,
    /// While it was used.
    InUse,
}

/// The SQLSTATE with which the fence of a revoked checkout answers. PostgreSQL has no class `LP`.
pub const FORCE_RELEASED: &str = "LP001";

/// The error of a commit that was answered by a rollback.
pub(crate) fn rolled_back_instead() -> Error {
    let text = "the transaction had failed before; it was rolled back instead of committed";
    Error::new(ErrorCode::Database, text).with_sqlstate("25P02")
}

/// The server does not know the statement any more, or its result would have other columns now. It has not run if it
/// was not bound: a statement inside of it may fail by the same error.
pub(crate) fn is_stale(code: &str, routine: Option<&str>) -> bool {
    match code {
        "26000" => true,
        // Other features may be unsupported for good. The routine's name is not translated, as the message is.
        "0A000" => routine == Some("RevalidateCachedQuery"),
        _ => false,
    }
}

/// An error of `tokio-postgres` as one of ours; `at` names the server. The original is kept as the source.
pub(crate) fn server_error(e: tokio_postgres::Error, at: &str, phase: Phase) -> Error {
    if let Some(db) = e.as_db_error() {
        let said = said(db.code().code(), db.message(), at, phase);
        return said.with_source(e);
    }
    if let Some(io) = find::<io::Error>(&e) {
        let tls = io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        let code = match (phase, tls) {
            (Phase::Connecting, true) => ErrorCode::TlsFailed,
            (Phase::Connecting, false) => ErrorCode::Unreachable,
            (Phase::InUse, true | false) => ErrorCode::ConnectionLost,
        };
        let sentence = format!("the connection to {at} broke: {}", tls::explain(io));
        return Error::new(code, sentence).with_source(e);
    }
    let (code, sentence) = match (e.to_string().as_str(), phase) {
        _ if e.is_closed() => match phase {
            Phase::Connecting => {
                (ErrorCode::Unreachable, format!("{at} closed the connection before it was ready"))
            }
            Phase::InUse => (ErrorCode::ConnectionLost, format!("the connection to {at} is closed")),
        },
        // The kinds are private to tokio-postgres: these are their texts, checked by the tests.
        ("invalid configuration", Phase::Connecting) => (
            ErrorCode::AuthenticationFailed,
            format!(
                "{at} asks for a password and there is none: set password, PGPASSWORD or a password file"
            ),
        ),
        ("authentication error", Phase::Connecting) => {
            (ErrorCode::AuthenticationFailed, format!("{at}: {}", chain(&e)))
        }
        (text, Phase::InUse)
            if text.starts_with("error serializing parameter") || text.starts_with("expected ") =>
        {
            (ErrorCode::InvalidArgument, chain(&e))
        }
        (_, Phase::Connecting) => (ErrorCode::Protocol, format!("{at}: {}", chain(&e))),
        (_, Phase::InUse) => (ErrorCode::Protocol, chain(&e)),
    };
    Error::new(code, sentence).with_source(e)
}

/// An error that came in a raw exchange. All its fields are kept as the source.
pub(crate) fn exchange_error(e: ServerError, at: &str, phase: Phase) -> Error {
    said(e.code(), e.message(), at, phase).with_source(e)
}

/// What the server said, as one of ours.
fn said(state: &str, message: &str, at: &str, phase: Phase) -> Error {
    let code = code_of(state, phase);
    let sentence = match (code, phase) {
        (ErrorCode::ForceReleased, _) => message.to_owned(),
        // PgBouncer (its parameter of that name). Set by a statement instead, it would reach other clients' sessions.
        (_, Phase::Connecting) if state == "08P01" && message.contains("unsupported startup parameter") => {
            format!(
                "{at}: {message} (SQLSTATE {state}): a pooler stands between, which does not pass this parameter on; leave it \
             out here and set it for the role (ALTER ROLE … SET …), or name it in the pooler's ignore_startup_parameters, \
             which drops it"
            )
        }
        (_, Phase::Connecting) => format!("{at}: {message} (SQLSTATE {state})"),
        (_, Phase::InUse) => format!("{message} (SQLSTATE {state})"),
    };
    Error::new(code, sentence).with_sqlstate(state)
}

fn code_of(state: &str, phase: Phase) -> ErrorCode {
    match (phase, state) {
        (_, FORCE_RELEASED) => ErrorCode::ForceReleased,
        (Phase::Connecting, "28P01" | "28000") => ErrorCode::AuthenticationFailed,
        (Phase::Connecting, "3D000") => ErrorCode::DatabaseMissing,
        (Phase::Connecting, "53300") => ErrorCode::ServerConnectionLimit,
        // Starting up, shutting down, recovering.
        (Phase::Connecting, "57P01" | "57P02" | "57P03") => ErrorCode::Unreachable,
        // Ended by an administrator, a crash, or the server's own time-outs for idle sessions.
        (Phase::InUse, "57P01" | "57P02" | "57P04" | "57P05" | "25P03") => ErrorCode::ConnectionLost,
        (Phase::Connecting | Phase::InUse, _) => ErrorCode::Database,
    }
}

fn find<'a, T: StdError + 'static>(e: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(e);
    while let Some(e) = next {
        if let Some(found) = e.downcast_ref() {
            return Some(found);
        }
        next = e.source();
    }
    None
}

/// An error and its causes in one sentence.
fn chain(e: &(dyn StdError + 'static)) -> String {
    let mut text = e.to_string();
    let mut next = e.source();
    while let Some(e) = next {
        text = format!("{text}: {e}");
        next = e.source();
    }
    text
}

/// The errors of all servers that were tried.
#[derive(Default)]
pub(crate) struct Tried(Vec<Error>);

/// Codes in the order of how far we came: the last of these is what the whole attempt failed with.
const FURTHEST: [ErrorCode; 8] = [
    ErrorCode::Unreachable,
    ErrorCode::TlsFailed,
    ErrorCode::WrongSessionKind,
    ErrorCode::Protocol,
    ErrorCode::Database,
    // The pool waits and tries again: so it must not be hidden by another server's reason.
    ErrorCode::ServerConnectionLimit,
    ErrorCode::AuthenticationFailed,
    ErrorCode::DatabaseMissing,
];

impl Tried {
    pub(crate) fn add(&mut self, e: Error) {
        self.0.push(e);
    }

    /// Forgets servers that were only of the wrong kind.
    pub(crate) fn forget_wrong_kinds(&mut self) {
        self.0.retain(|e| e.code() != ErrorCode::WrongSessionKind);
    }

    /// One error for all, with the sentence of each.
    pub(crate) fn into_error(self) -> Error {
        let mut sentences: Vec<String> = Vec::new();
        for e in &self.0 {
            // The second pass of `prefer-standby` meets the same dead server again.
            if !sentences.iter().any(|s| s == e.message()) {
                sentences.push(e.message().to_owned());
            }
        }
        let rank = |e: &Error| FURTHEST.iter().position(|code| *code == e.code());
        match self.0.into_iter().max_by_key(rank) {
            Some(e) if sentences.len() < 2 => e,
            Some(e) => e.reword(format!("no server can be used: {}", sentences.join("; "))),
            None => Error::new(ErrorCode::Unreachable, "there was no server to try"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_that_counts_is_the_one_that_came_furthest_and_all_are_named() {
        let mut tried = Tried::default();
        tried.add(Error::new(ErrorCode::Unreachable, "a is down"));
        tried.add(Error::new(ErrorCode::ServerConnectionLimit, "b is full").with_sqlstate("53300"));
        tried.add(Error::new(ErrorCode::WrongSessionKind, "c is a standby"));
        tried.add(Error::new(ErrorCode::Unreachable, "a is down"));
        let e = tried.into_error();
        assert_eq!((e.code(), e.sqlstate()), (ErrorCode::ServerConnectionLimit, Some("53300")));
        assert_eq!(e.to_string(), "no server can be used: a is down; b is full; c is a standby");
    }

    #[test]
    fn states_mean_different_things_before_and_in_a_session() {
        for (state, connecting, in_use) in [
            ("28P01", ErrorCode::AuthenticationFailed, ErrorCode::Database),
            ("28000", ErrorCode::AuthenticationFailed, ErrorCode::Database),
            ("3D000", ErrorCode::DatabaseMissing, ErrorCode::Database),
            ("53300", ErrorCode::ServerConnectionLimit, ErrorCode::Database),
            ("57P01", ErrorCode::Unreachable, ErrorCode::ConnectionLost),
            ("57P03", ErrorCode::Unreachable, ErrorCode::Database),
            ("25P03", ErrorCode::Database, ErrorCode::ConnectionLost),
            ("42P01", ErrorCode::Database, ErrorCode::Database),
            (FORCE_RELEASED, ErrorCode::ForceReleased, ErrorCode::ForceReleased),
        ] {
            assert_eq!(code_of(state, Phase::Connecting), connecting, "{state}");
            assert_eq!(code_of(state, Phase::InUse), in_use, "{state}");
        }
    }
}
