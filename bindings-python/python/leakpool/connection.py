"""Connections: `Connection` blocks, `AsyncConnection` is awaited. A pool makes them; what they share is in
`_connection_base.py`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, overload

from . import errors as e
from ._connect import arguments
from ._connection_base import _IDLE, BaseConnection, Notify
from ._enums import Format, IsolationLevel
from ._leakpool import NativeConnection
from ._placeholders import Params
from ._request_lock import AsyncRequestLock, RequestLock, finish
from .cursor import AsyncCursor, Cursor
from .rows import Row_co as Row
from .rows import tuple_row
from .server_cursor import AsyncServerCursor, ServerCursor
from .transaction import AsyncTransaction, Transaction

if TYPE_CHECKING:
    from typing_extensions import Self, TypeVar

    from .rows import RowFactory

    CursorRow = TypeVar("CursorRow")

__all__ = ["AsyncConnection", "Connection", "Notify"]


def _named(name: object, scrollable: bool | None, withhold: bool) -> bool:
    """Whether a cursor of this name is one on the server."""
    if not isinstance(name, str):
        raise TypeError(f"a cursor's name must be str, got {type(name).__name__}")
    if "\0" in name:
        raise ValueError("a cursor's name cannot contain NUL (0x00) characters")
    return bool(name)


def _deadline(timeout: object, stop_after: object) -> float | None:
    """When `notifies` ends, on the monotonic clock."""
    for name, value in (("timeout", timeout), ("stop_after", stop_after)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TypeError(f"notifies() needs a number or None for {name}, got {type(value).__name__}")
    return None if timeout is None else time.monotonic() + float(timeout)  # type: ignore[arg-type]


class Connection(BaseConnection[Row]):
    """A connection, checked out by a pool: `with pool.connection() as conn:`."""

    __module__ = "leakpool"

    _waits = False
    _make_request_lock = RequestLock
    _native_query = NativeConnection.query
    _native_query_many = NativeConnection.query_many
    _native_stream = NativeConnection.stream
    _native_copy_in = NativeConnection.copy_in
    _native_copy_out = NativeConnection.copy_out
    _native_notifications = NativeConnection.notifications

    row_factory: RowFactory[Row]
    #: What `cursor()` makes.
    cursor_factory: type[Cursor[Any]] = Cursor
    #: What `cursor(name)` makes.
    server_cursor_factory: type[ServerCursor[Any]] = ServerCursor

    def __init__(self) -> None:
        #: What makes the rows of new cursors.
        self.row_factory = tuple_row  # type: ignore[assignment]

    @classmethod
    def connect(cls, conninfo: str = "", **kwargs: Any) -> Self:
        """A connection of its own, for programs that want no pool.

        `kwargs` are parameters of the connection string (`host`, `dbname`, `connect_timeout`, ...), and `autocommit`,
        `row_factory`, `cursor_factory`, `prepare_threshold`. Close it, or use it in a `with` block: that commits, or
        rolls back if an exception leaves it, and closes it.
        """
        from .pool import Pool

        args, options = arguments(cls, conninfo, kwargs)
        pool: Pool[Any] = Pool(*args, **options)
        try:
            connection = pool.getconn()
        except BaseException:
            pool.close(0)
            raise
        connection._own_pool = pool
        return connection  # type: ignore[no-any-return]

    @overload
    def cursor(self, *, binary: bool = False) -> Cursor[Row]: ...
    @overload
    def cursor(self, *, binary: bool = False, row_factory: RowFactory[CursorRow]) -> Cursor[CursorRow]: ...
    @overload
    def cursor(
        self, name: str, *, binary: bool = False, scrollable: bool | None = None, withhold: bool = False
    ) -> ServerCursor[Row]: ...
    @overload
    def cursor(
        self,
        name: str,
        *,
        binary: bool = False,
        row_factory: RowFactory[CursorRow],
        scrollable: bool | None = None,
        withhold: bool = False,
    ) -> ServerCursor[CursorRow]: ...
    def cursor(
        self,
        name: str = "",
        *,
        binary: bool = False,
        row_factory: RowFactory[Any] | None = None,
        scrollable: bool | None = None,
        withhold: bool = False,
    ) -> Cursor[Any] | ServerCursor[Any]:
        """A new cursor. With a name, its result stays on the server and is fetched in pieces."""
        self._check_usable()
        made: Cursor[Any]
        if _named(name, scrollable, withhold):
            made = self.server_cursor_factory(
                self, name, row_factory=row_factory, scrollable=scrollable, withhold=withhold
            )
        else:
            made = self.cursor_factory(self, row_factory=row_factory)
        if binary:
            made.format = Format.BINARY
        return made

    def execute(
        self,
        query: object,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool = False,
    ) -> Cursor[Row]:
        """Runs a query on a new cursor, and returns that."""
        if binary or self.cursor_factory is not Cursor:
            return self.cursor(binary=binary).execute(query, params, prepare=prepare)
        self._check_usable()
        made: Cursor[Row] = Cursor(self)
        return made.execute(query, params, prepare=prepare)

    def commit(self) -> None:
        """Commits the transaction, if one is open."""
        if not self._end_now("COMMIT"):
            finish(self._commit())

    def rollback(self) -> None:
        """Rolls the transaction back, if one is open."""
        if not self._end_now("ROLLBACK"):
            finish(self._rollback())

    def _end_now(self, command: str) -> bool:
        """Ends the transaction in the ordinary case, as `_end_transaction` does, in one step; False: it is another case."""
        request_lock = self._request_lock
        if (
            request_lock is None
            or self.released
            or self._transactions
            or self._notice_handlers
            or self._notify_handlers
            or self.being_cleared
            or not request_lock.take_if_free()
        ):
            return False
        try:
            if self.transaction_status != _IDLE:
                self.query(command)
        except e.DatabaseError as error:
            e.show_place(error, command)
            raise
        finally:
            request_lock.done()
        return True

    def transaction(self, savepoint_name: str | None = None, force_rollback: bool = False) -> Transaction:
        """A block that commits at its end, or rolls back if an exception leaves it; nested, a savepoint."""
        return Transaction(self, savepoint_name, force_rollback)

    def notifies(self, *, timeout: float | None = None, stop_after: int | None = None) -> Iterator[Notify]:
        """Yields notifications as they come, for `timeout` seconds, or until `stop_after` of them have come.

        Those that came together are yielded together, so there may be a few more than `stop_after`.
        """
        deadline, left = _deadline(timeout, stop_after), stop_after
        self._check_usable()
        while True:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            told = self._native_notifications(timeout=wait)
            for notify in map(Notify._make, told):
                self._tell("notify", self._notify_handlers, notify)
                yield notify
            if left is not None:
                left -= len(told)
                if left <= 0:
                    return
            if deadline is not None and time.monotonic() >= deadline:
                return

    @property
    def autocommit(self) -> bool:
        """True: each statement is its own transaction. False: the first statement begins one."""
        return self._autocommit

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self._change("autocommit", value)

    def set_autocommit(self, value: bool) -> None:
        """The same as setting `autocommit`."""
        self._change("autocommit", value)

    @property
    def isolation_level(self) -> IsolationLevel | None:
        """What transactions begin with; `None`: the server's default."""
        return self._isolation_level

    @isolation_level.setter
    def isolation_level(self, value: IsolationLevel | None) -> None:
        self._change("isolation_level", value)

    def set_isolation_level(self, value: IsolationLevel | None) -> None:
        """The same as setting `isolation_level`."""
        self._change("isolation_level", value)

    @property
    def read_only(self) -> bool | None:
        """What transactions begin with; `None`: the server's default."""
        return self._read_only

    @read_only.setter
    def read_only(self, value: bool | None) -> None:
        self._change("read_only", value)

    def set_read_only(self, value: bool | None) -> None:
        """The same as setting `read_only`."""
        self._change("read_only", value)

    @property
    def deferrable(self) -> bool | None:
        """What transactions begin with; `None`: the server's default."""
        return self._deferrable

    @deferrable.setter
    def deferrable(self, value: bool | None) -> None:
        self._change("deferrable", value)

    def set_deferrable(self, value: bool | None) -> None:
        """The same as setting `deferrable`."""
        self._change("deferrable", value)

    def cancel_safe(self, *, timeout: float = 30.0) -> None:
        """Asks the server to cancel what runs, and waits until the request has arrived.

        Raises `CancellationTimeout` if it has not in time.
        """
        self.cancel()
        finish(self._cancel_arrives(timeout))

    def close(self) -> None:
        """Ends the session, and the checkout with it. A second time does nothing."""
        pool = self._end()
        if pool is not None:
            pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        finish(self._exit(kind))
        if self._own_pool is not None:
            self.close()


class AsyncConnection(BaseConnection[Row]):
    """A connection, checked out by a pool: `async with pool.connection() as conn:`."""

    __module__ = "leakpool"

    _waits = True
    _make_request_lock = AsyncRequestLock
    _native_query = NativeConnection.query_async
    _native_query_many = NativeConnection.query_many_async
    _native_stream = NativeConnection.stream_async
    _native_copy_in = NativeConnection.copy_in_async
    _native_copy_out = NativeConnection.copy_out_async
    _native_notifications = NativeConnection.notifications_async

    row_factory: RowFactory[Row]
    #: What `cursor()` makes.
    cursor_factory: type[AsyncCursor[Any]] = AsyncCursor
    #: What `cursor(name)` makes.
    server_cursor_factory: type[AsyncServerCursor[Any]] = AsyncServerCursor

    def __init__(self) -> None:
        #: What makes the rows of new cursors.
        self.row_factory = tuple_row  # type: ignore[assignment]

    @classmethod
    async def connect(cls, conninfo: str = "", **kwargs: Any) -> Self:
        """As `Connection.connect`."""
        from .async_pool import AsyncPool

        args, options = arguments(cls, conninfo, kwargs)
        pool: AsyncPool[Any] = AsyncPool(*args, **options, open=False)
        await pool.open()
        try:
            connection = await pool.getconn()
        except BaseException:
            await pool.close(0)
            raise
        connection._own_pool = pool
        return connection  # type: ignore[no-any-return]

    @overload
    def cursor(self, *, binary: bool = False) -> AsyncCursor[Row]: ...
    @overload
    def cursor(
        self, *, binary: bool = False, row_factory: RowFactory[CursorRow]
    ) -> AsyncCursor[CursorRow]: ...
    @overload
    def cursor(
        self, name: str, *, binary: bool = False, scrollable: bool | None = None, withhold: bool = False
    ) -> AsyncServerCursor[Row]: ...
    @overload
    def cursor(
        self,
        name: str,
        *,
        binary: bool = False,
        row_factory: RowFactory[CursorRow],
        scrollable: bool | None = None,
        withhold: bool = False,
    ) -> AsyncServerCursor[CursorRow]: ...
    def cursor(
        self,
        name: str = "",
        *,
        binary: bool = False,
        row_factory: RowFactory[Any] | None = None,
        scrollable: bool | None = None,
        withhold: bool = False,
    ) -> AsyncCursor[Any] | AsyncServerCursor[Any]:
        """As `Connection.cursor`."""
        self._check_usable()
        made: AsyncCursor[Any]
        if _named(name, scrollable, withhold):
            made = self.server_cursor_factory(
                self, name, row_factory=row_factory, scrollable=scrollable, withhold=withhold
            )
        else:
            made = self.cursor_factory(self, row_factory=row_factory)
        if binary:
            made.format = Format.BINARY
        return made

    async def execute(
        self,
        query: object,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool = False,
    ) -> AsyncCursor[Row]:
        """Runs a query on a new cursor, and returns that."""
        if binary or self.cursor_factory is not AsyncCursor:
            return await self.cursor(binary=binary).execute(query, params, prepare=prepare)
        self._check_usable()
        made: AsyncCursor[Row] = AsyncCursor(self)
        return await made.execute(query, params, prepare=prepare)

    async def commit(self) -> None:
        """Commits the transaction, if one is open."""
        await self._commit()

    async def rollback(self) -> None:
        """Rolls the transaction back, if one is open."""
        await self._rollback()

    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncTransaction:
        """As `Connection.transaction`: `async with connection.transaction():`."""
        return AsyncTransaction(self, savepoint_name, force_rollback)

    async def notifies(
        self, *, timeout: float | None = None, stop_after: int | None = None
    ) -> AsyncIterator[Notify]:
        """As `Connection.notifies`."""
        deadline, left = _deadline(timeout, stop_after), stop_after
        self._check_usable()
        while True:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            told = await self._native_notifications(timeout=wait)
            for notify in map(Notify._make, told):
                self._tell("notify", self._notify_handlers, notify)
                yield notify
            if left is not None:
                left -= len(told)
                if left <= 0:
                    return
            if deadline is not None and time.monotonic() >= deadline:
                return

    async def set_autocommit(self, value: bool) -> None:
        """True: each statement is its own transaction. False: the first statement begins one."""
        self._change("autocommit", value)

    async def set_isolation_level(self, value: IsolationLevel | None) -> None:
        """What transactions begin with; `None`: the server's default."""
        self._change("isolation_level", value)

    async def set_read_only(self, value: bool | None) -> None:
        """What transactions begin with; `None`: the server's default."""
        self._change("read_only", value)

    async def set_deferrable(self, value: bool | None) -> None:
        """What transactions begin with; `None`: the server's default."""
        self._change("deferrable", value)

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: object) -> None:
            if name in ("autocommit", "isolation_level", "read_only", "deferrable"):
                _read_only_setting(name)
            super().__setattr__(name, value)

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:
        """As `Connection.cancel_safe`."""
        self.cancel()
        await self._cancel_arrives(timeout)

    async def close(self) -> None:
        """Ends the session, and the checkout with it. A second time does nothing."""
        pool = self._end()
        if pool is not None:
            await pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._exit(kind)
        if self._own_pool is not None:
            await self.close()


def _read_only_setting(name: str) -> NoReturn:
    raise AttributeError(
        f"{name!r} is read-only on async connections: please use 'await connection.set_{name}()' instead"
    )
