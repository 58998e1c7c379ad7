"""Every error that leakpool raises.

- PEP 249's tree: `Error` > `InterfaceError`, `DatabaseError` > `DataError`, `OperationalError`, …
- one class for each error condition of PostgreSQL, under its name in CamelCase (`UniqueViolation`, `QueryCanceled`,
  `DeadlockDetected`, …), derived from the class of PEP 249 that it belongs to; `lookup("23505")` finds one by code;
- the pool's own: `PoolTimeout`, `PoolClosed`, `TooManyRequests`, `ForceReleased`, `ConnectionReleased`, `Forked`, …

`sqlstate` is the server's code, `diag` everything else that it said. Native code makes errors with `of_server` and
`of_core`, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from . import _exceptions, _sqlstates
from ._exceptions import (
    DatabaseError,
    DataError,
    Diagnostic,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    Warning,
    lookup,
)
from ._sqlstates import *

__all__ = [
    "CancellationTimeout",
    "ConnectionLost",
    "ConnectionReleased",
    "DataError",
    "DatabaseError",
    "Diagnostic",
    "Error",
    "ForceReleased",
    "Forked",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "InvalidDsn",
    "InvalidOption",
    "InvalidText",
    "NotSupportedError",
    "OperationalError",
    "Panicked",
    "PoolClosed",
    "PoolTimeout",
    "ProgrammingError",
    "TooManyRequests",
    "UnknownCheckout",
    "Warning",
    "lookup",
]
__all__ += _sqlstates.__all__

if TYPE_CHECKING:
    from ._leakpool import Exhausted, Revocation


class PoolTimeout(OperationalError):
    """No connection became free within the time-out. `exhausted` says why, and who holds the connections."""

    #: What the core found out about it; `None` if it did not look.
    exhausted: Exhausted | None = None

    @property
    def diagnosis(self) -> str | None:
        """`leak`, `slow_queries`, `pool_too_small`, `database_unreachable`, `server_connection_limit`."""
        return None if self.exhausted is None else self.exhausted.diagnosis


class PoolClosed(OperationalError):
    """The pool was closed, or not opened yet."""


class TooManyRequests(OperationalError):
    """As many callers as `max_waiting` allows wait for a connection already."""


class ForceReleased(OperationalError):
    """The connection was taken away from its holder, as the message tells: when, why, and where it was acquired."""

    #: When, why, from which site; `None` only if the error was made without the core.
    revocation: Revocation | None = None


class ConnectionReleased(OperationalError):
    """The connection was given back to its pool, or closed, and may be another caller's by now."""


class ConnectionLost(OperationalError):
    """The session ended while it was held: the server was stopped, the network is gone, somebody killed it."""


class CancellationTimeout(OperationalError):
    """A cancel request did not reach the server in time."""


class Forked(OperationalError):
    """The process was forked after the pool was made. The pool stays the parent's: make a new one in the child."""


class UnknownCheckout(ProgrammingError):
    """No live checkout has this id."""


class InvalidText(DataError, UnicodeEncodeError):
    """A text holds surrogates, which UTF-8 cannot carry. Also a `UnicodeEncodeError`, as psycopg users catch it."""

    def __init__(self, *args: object, fields: Mapping[str, str] | None = None) -> None:
        UnicodeEncodeError.__init__(self, *args)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return UnicodeEncodeError.__str__(self)


class InvalidOption(ProgrammingError, ValueError):
    """An option has a value that its rule forbids, contradicts another option, or does not exist."""


class InvalidDsn(ProgrammingError, ValueError):
    """A connection string or a `PG*` environment variable cannot be understood."""


class Panicked(InternalError):
    """A bug of leakpool was caught before it could do harm. The message says what to report."""


#: What each code of the core is raised as, unless the server told an SQLSTATE that says more.
_BY_CORE_CODE: dict[str, type[Error]] = {
    "invalid_option": InvalidOption,
    "invalid_dsn": InvalidDsn,
    "invalid_argument": ProgrammingError,
    "no_runtime": InterfaceError,
    "acquire_timeout": PoolTimeout,
    "none_idle": PoolTimeout,
    "pool_closed": PoolClosed,
    "unreachable": OperationalError,
    "authentication_failed": OperationalError,
    "database_missing": OperationalError,
    "tls_failed": OperationalError,
    "server_connection_limit": OperationalError,
    "wrong_session_kind": OperationalError,
    "force_released": ForceReleased,
    "connection_lost": ConnectionLost,
    "already_released": ConnectionReleased,
    "unknown_checkout": UnknownCheckout,
    "database": DatabaseError,
    "protocol": InternalError,
    "forked": Forked,
    "panicked": Panicked,
    "unsupported": NotSupportedError,
    "limit_reached": OperationalError,
    "too_many_waiting": TooManyRequests,
}


def of_server(fields: Mapping[str, str], sql: str | None = None, code: str = "database") -> Error:
    """The error for what the server said: its fields by the protocol's letters, and the statement that it is about."""
    cls = _exceptions.class_for(fields.get("C", ""))
    error = cls(_exceptions.message_of(fields, sql), fields=fields)
    error.code = code
    error._located = sql is not None or "P" not in fields
    return error


def of_core(
    code: str,
    message: str,
    *,
    sqlstate: str | None = None,
    revocation: Revocation | None = None,
    diagnosis: Exhausted | None = None,
) -> Error:
    """The error for one of the core's (`ErrorCode::name()`): with the server's SQLSTATE, if it told one.

    A code that is not known here (the core is newer than this file) is an `InternalError`.
    """
    cls = _BY_CORE_CODE.get(code, InternalError)
    if sqlstate is not None:
        said = _exceptions.class_for(sqlstate)
        # The server's word is more exact, but a class of ours is what users catch.
        if issubclass(said, cls) or cls is DatabaseError:
            cls = said
    error = cls(message)
    error.code = code
    if sqlstate is not None:
        error.sqlstate = sqlstate
    if isinstance(error, ForceReleased):
        error.revocation = revocation
    elif isinstance(error, PoolTimeout):
        error.exhausted = diagnosis
    return error


def show_place(error: Error, sql: str) -> None:
    """Makes the message of a server's error show the line of the statement that it is about, if it does not yet."""
    if error._fields is not None and not error._located:
        error.args = (_exceptions.message_of(error._fields, sql), *error.args[1:])
        error._located = True
