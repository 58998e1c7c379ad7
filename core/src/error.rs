//! The one list of error codes and the error type that carries them.
//!
//! Every host maps [`ErrorCode`] exhaustively; nothing here knows a pool, a socket or a host. A message is a
//! sentence that says what happened, to what, and what to do. No message ever holds a password.

use std::error::Error as StdError;
use std::fmt;

macro_rules! error_codes {
    ($($(#[$doc:meta])+ $variant:ident = $number:literal, $name:literal;)+) => {
        /// What went wrong, as a stable code. The numbers are part of the C interface and never change meaning.
        ///
        /// ```
        /// use leakpool::ErrorCode;
        /// assert_eq!(ErrorCode::AcquireTimeout.name(), "acquire_timeout");
        /// assert_eq!(ErrorCode::from_number(ErrorCode::Forked.number()), Some(ErrorCode::Forked));
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum ErrorCode { $($(#[$doc])+ $variant = $number,)+ }

        impl ErrorCode {
            /// Every code, in the order of their numbers.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant),+];

            /// The name in `snake_case`, the same in every host.
            pub const fn name(self) -> &'static str {
                match self { $(ErrorCode::$variant => $name,)+ }
            }
        }
    };
}

error_codes! {
    /// An option has a value that its rule forbids, contradicts another option, or does not exist.
    InvalidOption = 1, "invalid_option";
    /// A connection string or a `PG*` environment variable cannot be understood.
    InvalidDsn = 2, "invalid_dsn";
    /// An argument of a call is wrong (a forged id, a NUL byte in SQL, too many parameters).
    InvalidArgument = 3, "invalid_argument";
    /// There is no tokio runtime to run connections on: build the pool inside one, or give it one.
    NoRuntime = 4, "no_runtime";
    /// No connection became free, or could be made, within `acquire_timeout`. Carries the diagnosis.
    AcquireTimeout = 5, "acquire_timeout";
    /// `try_acquire` found no idle connection.
    NoneIdle = 6, "none_idle";
    /// The pool was closed.
    PoolClosed = 7, "pool_closed";
    /// The server cannot be reached (name, route, refused, timed out).
    Unreachable = 8, "unreachable";
    /// The server refused user, password or authentication method.
    AuthenticationFailed = 9, "authentication_failed";
    /// The database does not exist.
    DatabaseMissing = 10, "database_missing";
    /// TLS could not be agreed on, or a certificate did not pass.
    TlsFailed = 11, "tls_failed";
    /// The server has no connection left for us (SQLSTATE 53300).
    ServerConnectionLimit = 12, "server_connection_limit";
    /// No host of the list is of the wanted kind (`target_session_attrs`).
    WrongSessionKind = 13, "wrong_session_kind";
    /// The connection was taken away from its holder. Carries when, why and the site.
    ForceReleased = 14, "force_released";
    /// The session ended while it was held (server restarted, killed, network gone).
    ConnectionLost = 15, "connection_lost";
    /// The checkout was released already.
    AlreadyReleased = 16, "already_released";
    /// No live checkout has this id.
    UnknownCheckout = 17, "unknown_checkout";
    /// The server answered with an error. Carries its fields.
    Database = 18, "database";
    /// The server said something that the protocol does not allow here, or a value cannot be decoded.
    Protocol = 19, "protocol";
    /// This process was forked after the pool was made: make a new pool in the child.
    Forked = 20, "forked";
    /// A panic was caught inside the library. The text is in the message.
    Panicked = 21, "panicked";
    /// This way of use is not supported here; the message says what to do instead.
    Unsupported = 22, "unsupported";
    /// A limit of the library itself was reached (65,535 connections, 16,777,216 live checkouts).
    LimitReached = 23, "limit_reached";
    /// As many acquires wait for a connection as `max_waiting` allows.
    TooManyWaiting = 24, "too_many_waiting";
}

impl ErrorCode {
    /// The number, stable across versions.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The code with this number, if there is one.
    pub fn from_number(number: u16) -> Option<ErrorCode> {
        ErrorCode::ALL.iter().copied().find(|c| c.number() == number)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error of leakpool: a code, a sentence, and what lies behind it as its source.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    code: ErrorCode,
    message: String,
    sqlstate: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// A `Result` with leakpool's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with a code and its sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Error {
        Error(Box::new(Inner { code, message: message.into(), sqlstate: None, source: None }))
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// The same error with the server's SQLSTATE.
    #[must_use]
    pub fn with_sqlstate(mut self, sqlstate: impl Into<String>) -> Error {
        self.0.sqlstate = Some(sqlstate.into());
        self
    }

    /// The same error with another sentence; its code, SQLSTATE and source stay.
    #[must_use]
    pub(crate) fn reword(mut self, message: impl Into<String>) -> Error {
        self.0.message = message.into();
        self
    }

    /// `InvalidOption`: names the option, the value and the rule.
    pub fn option(name: &str, value: impl fmt::Display, rule: impl fmt::Display) -> Error {
        Error::new(ErrorCode::InvalidOption, format!("{name} ({value}) {rule}"))
    }

    /// The code.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The sentence, without its causes.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The SQLSTATE (five characters), where the server or the fence of a revoked checkout gave one.
    pub fn sqlstate(&self) -> Option<&str> {
        self.0.sqlstate.as_deref()
    }

    /// What lies behind, as its own type: the diagnosis of an acquire that timed out (`Exhausted`), why a
    /// checkout was revoked (`Revocation`), the server's error (`tokio_postgres::Error`).
    pub fn detail<T: StdError + 'static>(&self) -> Option<&T> {
        self.0.source.as_deref().and_then(|s| s.downcast_ref::<T>())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|s| s as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_unique_numbers_and_names() {
        for (i, a) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(a.number() as usize, i + 1, "{a} leaves a gap");
            for b in &ErrorCode::ALL[i + 1..] {
                assert_ne!(a.name(), b.name());
            }
        }
        assert_eq!(ErrorCode::from_number(0), None);
    }

    #[test]
    fn an_option_error_names_option_value_and_rule() {
        let e = Error::option("force_release_after", "10 s", "must be longer than leak_threshold (30 s)");
        assert_eq!(e.to_string(), "force_release_after (10 s) must be longer than leak_threshold (30 s)");
        assert_eq!(e.code(), ErrorCode::InvalidOption);
    }
}
