"""Named cursors: the result stays on the server and is fetched in pieces, within a transaction unless `withhold`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from . import errors as e
from ._cursor_base import BaseCursor, C, _is_absolute
from ._enums import TransactionStatus
from ._placeholders import Params
from ._request_lock import finish
from .cursor import AsyncCursor, Cursor
from .rows import Row_co as Row
from .transaction import quoted

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._leakpool import NativeResult
    from .connection import AsyncConnection, Connection
    from .rows import RowFactory

__all__ = ["AsyncServerCursor", "ServerCursor"]

#: How many rows iteration asks for at once if nothing is said.
_ITERSIZE = 100


class _Named(BaseCursor[C, Row]):
    """What named cursors share, beside what all cursors do."""

    __slots__ = ("_at", "_described", "_name", "_scrollable", "_withhold", "itersize")

    def _set_up(self, name: str, scrollable: bool | None, withhold: bool) -> None:
        self._name = name
        self._scrollable = scrollable
        self._withhold = withhold
        self._at = 0
        self._described = False
        #: How many rows iteration asks for at once.
        self.itersize = _ITERSIZE

    @property
    def name(self) -> str:
        """The cursor's name on the server."""
        return self._name

    @property
    def scrollable(self) -> bool | None:
        """Whether it can go back; None: the server decides."""
        return self._scrollable

    @property
    def withhold(self) -> bool:
        """Whether it outlives its transaction."""
        return self._withhold

    @property
    def rownumber(self) -> int | None:
        """Which row is fetched next, from 0; None before anything was run."""
        return self._at if self._described else None

    def __repr__(self) -> str:
        text = super().__repr__()
        cls = type(self).__qualname__
        return text.replace(f"leakpool.{cls}", f"leakpool.{cls} {self._name!r}", 1)

    async def _execute(
        self, query: object, params: Params | None, prepare: bool | None, binary: bool | None
    ) -> None:
        self._check_open()
        if prepare is not None:
            raise e.NotSupportedError("a named cursor is never prepared: leave `prepare` out")
        if self._described:
            await self._close_on_server()
        self._reset()
        self._described = False
        sql, values, how = self._query(query, params, None, binary)
        if binary is not None:
            self.format = type(self.format)(int(binary))
        words = ["DECLARE", quoted(self._name)]
        if self._scrollable is not None:
            words.append("SCROLL" if self._scrollable else "NO SCROLL")
        words += ["CURSOR", "WITH HOLD FOR" if self._withhold else "FOR", sql]
        how.pop("binary", None)
        conn = self._conn
        await conn._request(conn._native_query, " ".join(words), values, **{**how, "cached": False})
        self._at = 0
        # No row, but what rows are like.
        self._columns_of(await self._fetch_from_server("FORWARD 0"))

    def _columns_of(self, result: NativeResult) -> None:
        self._stream_columns = result.columns
        self._columns = None
        self._make = None
        self._described = True

    async def _fetch_from_server(self, what: str) -> NativeResult:
        conn = self._conn
        how = {"binary": True} if self._is_binary(None) else {}
        results: list[NativeResult] = await conn._request(
            conn._native_query, f"FETCH {what} FROM {quoted(self._name)}", None, **how, cached=False
        )
        return results[0]

    async def _fetch(self, what: str) -> list[Row]:
        self._check_open()
        result = await self._fetch_from_server(what)
        if not self._described:
            # A cursor of this name that something else has declared, a function perhaps.
            self._columns_of(result)
        rows = result.rows()
        make = self._maker()
        self._at += len(rows)
        return rows if make is None else [make(row) for row in rows]  # type: ignore[return-value]

    async def _fetch_one(self) -> Row | None:
        rows = await self._fetch("FORWARD 1")
        return rows[0] if rows else None

    async def _fetch_many(self, size: int) -> list[Row]:
        count = self._count(size)
        return await self._fetch(f"FORWARD {count}") if count else []

    async def _move(self, value: int, mode: str) -> None:
        self._check_open()
        if not isinstance(value, int):
            raise TypeError(f"scroll() needs a number of rows, got {type(value).__name__}")
        absolute = _is_absolute(mode)
        conn = self._conn
        where = f"ABSOLUTE {value}" if absolute else str(value)
        await conn._request(conn._native_query, f"MOVE {where} FROM {quoted(self._name)}", None)
        self._at = value if absolute else self._at + value

    async def _close_named(self) -> None:
        if not self._closed:
            await self._close_on_server()
            self._close()

    async def _close_on_server(self) -> None:
        """Closes it if it is still there: it may have ended with its transaction, and an error would end the next."""
        conn = self._conn
        if conn.closed or conn.transaction_status not in (TransactionStatus.IDLE, TransactionStatus.INTRANS):
            return
        name = quoted(self._name)
        literal = "'" + self._name.replace("'", "''") + "'"
        request_lock = await conn._take_request_lock()
        try:
            found = await conn._send(
                conn._native_query,
                "SELECT 1 FROM pg_catalog.pg_cursors WHERE name OPERATOR(pg_catalog.=) "
                + ("E" + literal.replace("\\", "\\\\") if "\\" in literal else literal),
            )
            if found[0].nrows:
                await conn._send(conn._native_query, f"CLOSE {name}")
        finally:
            request_lock.done()

    def _unsupported(self, what: str) -> NoReturn:
        raise e.NotSupportedError(f"{what} not supported on server-side cursors")


class ServerCursor(_Named["Connection[Any]", Row], Cursor[Row]):
    """A cursor on the server: `connection.cursor("name")`."""

    __module__ = "leakpool"
    __slots__ = ()

    def __init__(
        self,
        connection: Connection[Any],
        name: str,
        *,
        row_factory: RowFactory[Row] | None = None,
        scrollable: bool | None = None,
        withhold: bool = False,
    ) -> None:
        self._set_up(name, scrollable, withhold)
        Cursor.__init__(self, connection, row_factory=row_factory)

    def execute(
        self,
        query: object,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        """Declares the cursor for a query. `prepare` is not supported."""
        finish(self._execute(query, params, prepare, binary))
        return self

    def executemany(self, query: object, params_seq: Iterable[Params], *, returning: bool = False) -> None:
        """Not supported."""
        self._unsupported("executemany")

    def fetchone(self) -> Row | None:
        """The next row; None after the last one."""
        return finish(self._fetch_one())

    def fetchmany(self, size: int = 0) -> list[Row]:
        """The next rows, at most `size` (`arraysize` if nothing is said)."""
        return finish(self._fetch_many(size))

    def fetchall(self) -> list[Row]:
        """All rows that were not fetched yet."""
        return finish(self._fetch("ALL"))

    def __iter__(self) -> Iterator[Row]:  # type: ignore[override]
        while rows := finish(self._fetch(f"FORWARD {self.itersize}")):
            for row in rows:
                self._conn._touch()
                yield row
            if len(rows) < self.itersize:
                return

    def __next__(self) -> Row:
        rows = finish(self._fetch("FORWARD 1"))
        if not rows:
            raise StopIteration
        return rows[0]

    def scroll(self, value: int, mode: str = "relative") -> None:
        """Goes on by `value` rows, or to row `value` (`absolute`)."""
        finish(self._move(value, mode))

    def close(self) -> None:
        """Closes it, also on the server."""
        finish(self._close_named())


class AsyncServerCursor(_Named["AsyncConnection[Any]", Row], AsyncCursor[Row]):
    """A cursor on the server: `connection.cursor("name")`."""

    __module__ = "leakpool"
    __slots__ = ()

    def __init__(
        self,
        connection: AsyncConnection[Any],
        name: str,
        *,
        row_factory: RowFactory[Row] | None = None,
        scrollable: bool | None = None,
        withhold: bool = False,
    ) -> None:
        self._set_up(name, scrollable, withhold)
        AsyncCursor.__init__(self, connection, row_factory=row_factory)

    async def execute(
        self,
        query: object,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        """As `ServerCursor.execute`."""
        await self._execute(query, params, prepare, binary)
        return self

    async def executemany(
        self, query: object, params_seq: Iterable[Params], *, returning: bool = False
    ) -> None:
        """Not supported."""
        self._unsupported("executemany")

    async def fetchone(self) -> Row | None:
        """The next row; None after the last one."""
        return await self._fetch_one()

    async def fetchmany(self, size: int = 0) -> list[Row]:
        """The next rows, at most `size` (`arraysize` if nothing is said)."""
        return await self._fetch_many(size)

    async def fetchall(self) -> list[Row]:
        """All rows that were not fetched yet."""
        return await self._fetch("ALL")

    async def __aiter__(self) -> AsyncIterator[Row]:  # type: ignore[override]
        while rows := await self._fetch(f"FORWARD {self.itersize}"):
            for row in rows:
                self._conn._touch()
                yield row
            if len(rows) < self.itersize:
                return

    async def __anext__(self) -> Row:
        rows = await self._fetch("FORWARD 1")
        if not rows:
            raise StopAsyncIteration
        return rows[0]

    async def scroll(self, value: int, mode: str = "relative") -> None:
        """Goes on by `value` rows, or to row `value` (`absolute`)."""
        await self._move(value, mode)

    async def close(self) -> None:
        """Closes it, also on the server."""
        await self._close_named()

    async def __aenter__(self) -> Self:
        return self
