"""What sync and async connections share: state, settings, handlers, and how a request is made.

A connection is one checkout: made by a pool, it ends when it is given back. Nothing here waits for anything by itself:
what does is `async def`, and asks the native layer by `_native_*`, which in the sync class block and in the async
class return what is awaited.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple

from . import errors as e
from ._enums import IsolationLevel, TransactionStatus
from ._exceptions import Diagnostic
from ._info import ConnectionInfo
from ._leakpool import NativeConnection
from ._request_lock import AsyncRequestLock, RequestLock
from .rows import Row_co as Row

if TYPE_CHECKING:
    from ._leakpool import NativeResult
    from .transaction import BaseTransaction

logger = logging.getLogger("leakpool")

_IDLE = int(TransactionStatus.IDLE)

NoticeHandler = Callable[[Diagnostic], None]
NotifyHandler = Callable[["Notify"], None]


class Notify(NamedTuple):
    """A notification: what `NOTIFY channel, 'payload'` sent, and the server's process that sent it."""

    channel: str
    payload: str
    pid: int


Notify.__module__ = "leakpool"


class BaseConnection(NativeConnection, Generic[Row]):
    """What sync and async connections share. The state stands in class attributes until it is set."""

    Warning = e.Warning
    Error = e.Error
    InterfaceError = e.InterfaceError
    DatabaseError = e.DatabaseError
    DataError = e.DataError
    OperationalError = e.OperationalError
    IntegrityError = e.IntegrityError
    InternalError = e.InternalError
    ProgrammingError = e.ProgrammingError
    NotSupportedError = e.NotSupportedError

    #: What a pool has to carry from one checkout of a session to the next if its `configure` callback has set it.
    SESSION_STATE: ClassVar[tuple[str, ...]] = (
        "_autocommit",
        "_begin",
        "_isolation_level",
        "_read_only",
        "_deferrable",
        "_notice_handlers",
        "_notify_handlers",
        "prepare_threshold",
        "row_factory",
        "cursor_factory",
        "server_cursor_factory",
    )

    #: What makes the rows of new cursors.
    row_factory: Any

    _waits: ClassVar[bool]
    _native_query: Callable[..., Any]
    _native_query_many: Callable[..., Any]
    _native_stream: Callable[..., Any]
    _native_copy_in: Callable[..., Any]
    _native_copy_out: Callable[..., Any]
    _native_notifications: Callable[..., Any]
    _make_request_lock: ClassVar[type[RequestLock | AsyncRequestLock]]

    _request_lock: RequestLock | AsyncRequestLock | None = None
    _autocommit: bool = False
    _isolation_level: IsolationLevel | None = None
    _read_only: bool | None = None
    _deferrable: bool | None = None
    _begin: str = "BEGIN"
    _notice_handlers: tuple[NoticeHandler, ...] = ()
    _notify_handlers: tuple[NotifyHandler, ...] = ()
    #: The transaction blocks that are open, the innermost last.
    _transactions: tuple[BaseTransaction[Any], ...] = ()
    #: `close` gives the connection back to its pool instead of ending its session.
    _close_returns: bool = False
    #: A pool made for this connection alone, which ends with it.
    _own_pool: Any = None

    #: `None`: no statement is kept prepared on the server. Otherwise they are, from the first time on.
    prepare_threshold: int | None = 5

    # ---- state ---------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """True once the connection cannot be used any more: given back, closed, taken away, or its session ended."""
        return self.released or self.broken

    @property
    def info(self) -> ConnectionInfo:
        """Where the connection leads and how it stands."""
        return ConnectionInfo(self)

    @property
    def autocommit(self) -> bool:
        """True: each statement is its own transaction. False: the first statement begins one."""
        return self._autocommit

    @property
    def isolation_level(self) -> IsolationLevel | None:
        """What transactions begin with; `None`: the server's default."""
        return self._isolation_level

    @property
    def read_only(self) -> bool | None:
        """What transactions begin with; `None`: the server's default."""
        return self._read_only

    @property
    def deferrable(self) -> bool | None:
        """What transactions begin with; `None`: the server's default."""
        return self._deferrable

    def add_notice_handler(self, callback: NoticeHandler) -> None:
        """Calls `callback(diagnostic)` for each notice or warning that comes with an answer from now on."""
        _callable("add_notice_handler", callback)
        if not self._notice_handlers:
            self.take_notices()
        self._notice_handlers = (*self._notice_handlers, callback)

    def remove_notice_handler(self, callback: NoticeHandler) -> None:
        """Stops calling it. Raises ValueError if it was not added."""
        self._notice_handlers = _without(self._notice_handlers, callback)

    def add_notify_handler(self, callback: NotifyHandler) -> None:
        """Calls `callback(notify)` for each notification that has come when a request ends, from now on."""
        _callable("add_notify_handler", callback)
        self._notify_handlers = (*self._notify_handlers, callback)

    def remove_notify_handler(self, callback: NotifyHandler) -> None:
        """Stops calling it. Raises ValueError if it was not added."""
        self._notify_handlers = _without(self._notify_handlers, callback)

    def __repr__(self) -> str:
        cls = type(self)
        return f"<leakpool.{cls.__qualname__} [{self._state()}] at {id(self):#x}>"

    def _state(self) -> str:
        """What a `repr` says about the session."""
        if self.closed:
            return "BAD"
        told = f"{TransactionStatus(self.transaction_status).name}] ["
        pool = getattr(self, "pool_name", None)
        return f"{told}pool={pool} pid={self.backend_pid}" if pool else f"{told}pid={self.backend_pid}"

    # ---- settings ------------------------------------------------------------------------------------------

    def _change(self, name: str, value: Any) -> None:
        """Changes one of the settings that transactions begin with, between two of them."""
        self._check_usable()
        if self._transactions:
            raise e.ProgrammingError(
                f"can't change {name!r} now: connection.transaction() context in progress"
            )
        status = self.transaction_status
        if status != _IDLE:
            where = TransactionStatus(status).name
            raise e.ProgrammingError(f"can't change {name!r} now: connection in transaction status {where}")
        if name == "isolation_level" and value is not None:
            value = IsolationLevel(value)
        elif value is not None or name == "autocommit":
            value = bool(value)
        setattr(self, f"_{name}", value)
        self._begin = self._begin_sql()

    def _begin_sql(self) -> str:
        words = ["BEGIN"]
        if self._isolation_level is not None:
            words.append("ISOLATION LEVEL " + self._isolation_level.name.replace("_", " "))
        if self._read_only is not None:
            words.append("READ ONLY" if self._read_only else "READ WRITE")
        if self._deferrable is not None:
            words.append("DEFERRABLE" if self._deferrable else "NOT DEFERRABLE")
        return " ".join(words)

    # ---- requests ------------------------------------------------------------------------------------------

    def _check_usable(self) -> None:
        """Raises what happened to a connection that cannot be used any more."""
        if self.released:
            # The native layer knows what happened, and counts late uses.
            self.check_usable()
            raise e.ConnectionReleased("the connection is closed")
        if self.broken:
            raise e.ConnectionLost("the connection is lost: its session has ended")

    def _first_request_lock(self) -> RequestLock | AsyncRequestLock:
        # Two threads may come here at the same time: one of the two is kept.
        request_lock: RequestLock | AsyncRequestLock = self.__dict__.setdefault(
            "_request_lock", self._make_request_lock()
        )
        return request_lock

    async def _take_request_lock(self, what: str = "") -> RequestLock | AsyncRequestLock:
        request_lock = self._request_lock or self._first_request_lock()
        if not request_lock.take(what):
            await request_lock.wait(what)
        if self.being_cleared:
            try:
                await self._cleared()
            except BaseException:
                request_lock.done()
                raise
        return request_lock

    async def _cleared(self) -> None:
        """Waits until it is known what came of a request that was given up, and its cancel can hit nothing else."""
        while self.being_cleared:
            await self._pause(0.0005)

    async def _request(self, native: Callable[..., Any], sql: str, *args: Any, **how: Any) -> Any:
        """One request, with a BEGIN in front if it is time for one."""
        request_lock = await self._take_request_lock()
        try:
            return await self._ask(native, sql, *args, **how)
        finally:
            request_lock.done()

    async def _ask(self, native: Callable[..., Any], sql: str, *args: Any, **how: Any) -> Any:
        """The same for who has the turn."""
        if not self._autocommit and self.transaction_status == _IDLE:
            how["first"] = self._begin
        return await self._send(native, sql, *args, **how)

    async def _send(self, native: Callable[..., Any], sql: str, *args: Any, **how: Any) -> Any:
        """The same without a BEGIN."""
        try:
            answer = native(sql, *args, **how)
            return await answer if self._waits else answer
        except e.DatabaseError as error:
            e.show_place(error, sql)
            raise
        except UnicodeEncodeError as error:
            if isinstance(error, e.Error):
                raise
            raise e.InvalidText(*error.args) from None
        finally:
            if self._notice_handlers or self._notify_handlers:
                self._tell_handlers()

    async def _command(self, *commands: str) -> None:
        """Runs commands that belong to the connection, not to its user, in one request."""
        request_lock = await self._take_request_lock()
        try:
            await self._send(self._native_query, "; ".join(commands))
        finally:
            request_lock.done()

    async def _cancel_arrives(self, timeout: float = 30.0) -> None:
        """Waits until a cancel that was asked for has reached the server: sent anything before, that might be hit."""
        deadline = time.monotonic() + timeout
        while not self.closed and self.being_cancelled:
            if time.monotonic() > deadline:
                raise e.CancellationTimeout(
                    f"the cancel request did not reach the server within {timeout:g} sec"
                )
            await self._pause(0.0005)

    async def _pause(self, seconds: float) -> None:
        if self._waits:
            await asyncio.sleep(seconds)
        else:
            time.sleep(seconds)  # noqa: ASYNC251

    def _tell_handlers(self) -> None:
        """Passes on what has come with an answer. A handler that raises is logged, and the others are told."""
        if self._notice_handlers:
            for fields in self.take_notices():
                self._tell("notice", self._notice_handlers, Diagnostic(fields))
        if self._notify_handlers and not self.closed:
            for told in self.notifications(timeout=0):
                self._tell("notify", self._notify_handlers, Notify(*told))

    def _tell(self, kind: str, handlers: tuple[Callable[[Any], None], ...], told: Any) -> None:
        for handler in handlers:
            try:
                handler(told)
            except Exception:
                logger.exception("error processing %s callback %r", kind, handler)

    # ---- transactions --------------------------------------------------------------------------------------

    async def _commit(self) -> None:
        if self._transactions:
            raise e.ProgrammingError(
                "Explicit commit() forbidden within a Transaction context. "
                "(Transaction will be automatically committed on successful exit from context.)"
            )
        await self._end_transaction("COMMIT")

    async def _rollback(self) -> None:
        if self._transactions:
            raise e.ProgrammingError(
                "Explicit rollback() forbidden within a Transaction context. "
                "(Either raise Rollback() or allow an exception to propagate out of the context.)"
            )
        await self._end_transaction("ROLLBACK")

    async def _end_transaction(self, command: str) -> None:
        self._check_usable()
        request_lock = await self._take_request_lock()
        try:
            if self.transaction_status != _IDLE:
                await self._send(self._native_query, command)
        finally:
            request_lock.done()

    async def _exit(self, exc_type: type[BaseException] | None) -> None:
        """The end of `with connection:`."""
        if exc_type is None:
            await self._commit()
        elif not self.closed:
            try:
                await self._rollback()
            except Exception:
                logger.warning("error ignored while rolling back %r", self, exc_info=True)

    def _end(self) -> Any:
        """What `close` does. Returns the pool that is to be closed with it."""
        pool, self._own_pool = self._own_pool, None
        if not self.released:
            self.release(broken=not self._close_returns)
        return pool

    async def _literals(self, values: Any) -> list[str]:
        """Values as the server writes them in SQL, with their types: for statements that take no parameters."""
        count = len(values)
        if not count:
            return []
        parts = (f"quote_nullable(${n}), format_type(pg_typeof(${n}), NULL)" for n in range(1, count + 1))
        results: list[NativeResult] = await self._request(
            self._native_query, "SELECT " + ", ".join(parts), values, cached=False
        )
        (told,) = results[0].rows()
        return [
            text if text == "NULL" or kind in ("text", "unknown") else f"{text}::{kind}"
            for text, kind in zip(told[::2], told[1::2], strict=True)
        ]


def _callable(method: str, callback: object) -> None:
    if not callable(callback):
        raise TypeError(f"{method}() needs a callable, got {type(callback).__name__}")


def _without(handlers: tuple[Any, ...], callback: object) -> tuple[Any, ...]:
    kept = list(handlers)
    try:
        kept.remove(callback)
    except ValueError:
        raise ValueError(f"{callback!r} is no handler of this connection") from None
    return tuple(kept)
