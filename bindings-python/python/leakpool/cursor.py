"""Cursors: `Cursor` blocks, `AsyncCursor` is awaited. What they do is in `_cursor_base.py`, once for both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import errors as e
from ._cursor_base import BaseCursor
from ._placeholders import Params
from ._request_lock import finish
from .copy import AsyncCopy, Copy
from .rows import Row_co as Row
from .rows import tuple_row

if TYPE_CHECKING:
    from typing_extensions import Self

    from .connection import AsyncConnection, Connection
    from .rows import RowFactory

__all__ = ["AsyncCursor", "Cursor"]


class Cursor(BaseCursor["Connection[Any]", Row]):
    """Runs queries on a connection, and keeps their results until the next one."""

    __module__ = "leakpool"
    __slots__ = ()

    def __init__(self, connection: Connection[Any], *, row_factory: RowFactory[Row] | None = None) -> None:
        super().__init__(connection, row_factory)

    @property
    def row_factory(self) -> RowFactory[Row]:
        """What makes rows: `tuple_row`, `dict_row`, …"""
        return self._row_factory  # type: ignore[no-any-return]

    @row_factory.setter
    def row_factory(self, row_factory: RowFactory[Row]) -> None:
        self._row_factory = row_factory
        self._make = None

    def execute(
        self,
        query: object,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        """Runs a query, with `%s` or `%(name)s` for its parameters.

        Without parameters, the text may hold several statements. `prepare=False` does not keep the statement prepared
        on the server; `binary=True` asks for results in binary.
        """
        if self._is_ordinary(query, prepare, binary):
            conn = self._conn
            try:
                sql, results = self._shortly(conn.query, query, params)
            finally:
                conn._request_lock.done()  # type: ignore[union-attr]
            self._take(results)
            self._refuse_copy(sql)
            return self
        finish(self._execute(query, params, prepare, binary))
        return self

    def executemany(self, query: object, params_seq: Iterable[Params], *, returning: bool = False) -> None:
        """Runs a query once for each set of parameters, without waiting for each answer: all of them, or none if one
        fails.

        With `returning=True`, there is one result for each: see `nextset` and `results`.
        """
        finish(self._executemany(query, params_seq, returning))

    def stream(
        self, query: object, params: Params | None = None, *, binary: bool | None = None, size: int = 1
    ) -> Iterator[Row]:
        """Runs a query and yields its rows while they come, so that a large result takes little memory.

        The connection can do nothing else until the last row, or until the iterator is closed.
        """
        stream = finish(self._stream_begin(query, params, binary, size))
        try:
            while rows := finish(self._stream_more(stream)):
                for row in rows:
                    self._conn._touch()
                    yield row
        finally:
            finish(self._stream_end(stream))

    def fetchone(self) -> Row | None:
        """The next row; None after the last one."""
        if not self._has_rows or self._row_factory is not tuple_row:
            return self._fetchone()
        self._conn._touch()
        row: Any = self._result.row(self._pos)  # type: ignore[union-attr]
        if row is not None:
            self._pos += 1
        return row  # type: ignore[no-any-return]

    def fetchmany(self, size: int = 0) -> list[Row]:
        """The next rows, at most `size` (`arraysize` if nothing is said)."""
        return self._fetchmany(size)

    def fetchall(self) -> list[Row]:
        """All rows that were not fetched yet."""
        return self._fetchall()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Row:
        at = self._pos
        row = self._fetchone()
        # A row may be made into None: the end is where nothing was read.
        if row is None and self._pos == at:
            raise StopIteration
        return row  # type: ignore[return-value]

    def nextset(self) -> bool | None:
        """Goes to the next result of several; None if there is none."""
        return self._nextset()

    def results(self) -> Iterator[Self]:
        """Yields itself once for each result."""
        if self._result is not None:
            yield self
            while self._nextset():
                yield self

    def set_result(self, index: int) -> Self:
        """Goes to a result of several by its number, from the end if negative. Raises IndexError if there is none."""
        self._set_result(index)
        return self

    def scroll(self, value: int, mode: str = "relative") -> None:
        """Goes on by `value` rows, or to row `value` (`absolute`). Raises IndexError outside the result."""
        self._scroll(value, mode)

    def copy(self, statement: object, params: Params | None = None) -> Copy:
        """A COPY: `with cursor.copy("COPY t FROM STDIN") as copy: copy.write_row(row)`."""
        self._check_open()
        return Copy(self, statement, params)

    def close(self) -> None:
        """Lets go of the result. The cursor cannot be used any more."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncCursor(BaseCursor["AsyncConnection[Any]", Row]):
    """Runs queries on a connection, and keeps their results until the next one."""

    __module__ = "leakpool"
    __slots__ = ()

    def __init__(
        self, connection: AsyncConnection[Any], *, row_factory: RowFactory[Row] | None = None
    ) -> None:
        super().__init__(connection, row_factory)

    @property
    def row_factory(self) -> RowFactory[Row]:
        """What makes rows: `tuple_row`, `dict_row`, …"""
        return self._row_factory  # type: ignore[no-any-return]

    @row_factory.setter
    def row_factory(self, row_factory: RowFactory[Row]) -> None:
        self._row_factory = row_factory
        self._make = None

    async def execute(
        self,
        query: object,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        """As `Cursor.execute`."""
        if self._is_ordinary(query, prepare, binary):
            conn = self._conn
            try:
                sql, answer = self._shortly(conn.query_async, query, params)
                try:
                    results = await answer
                except (e.DatabaseError, UnicodeEncodeError) as error:
                    raise self._explained(error, sql) from None
            finally:
                conn._request_lock.done()  # type: ignore[union-attr]
            self._take(results)
            self._refuse_copy(sql)
            return self
        await self._execute(query, params, prepare, binary)
        return self

    async def executemany(
        self, query: object, params_seq: Iterable[Params], *, returning: bool = False
    ) -> None:
        """As `Cursor.executemany`."""
        await self._executemany(query, params_seq, returning)

    async def stream(
        self, query: object, params: Params | None = None, *, binary: bool | None = None, size: int = 1
    ) -> AsyncIterator[Row]:
        """As `Cursor.stream`. Left by `break`, close it (`contextlib.aclosing`): nobody else does, before it is
        collected."""
        stream = await self._stream_begin(query, params, binary, size)
        try:
            while rows := await self._stream_more(stream):
                for row in rows:
                    self._conn._touch()
                    yield row
        finally:
            await self._stream_end(stream)

    async def fetchone(self) -> Row | None:
        """The next row; None after the last one."""
        if not self._has_rows or self._row_factory is not tuple_row:
            return self._fetchone()
        self._conn._touch()
        row: Any = self._result.row(self._pos)  # type: ignore[union-attr]
        if row is not None:
            self._pos += 1
        return row  # type: ignore[no-any-return]

    async def fetchmany(self, size: int = 0) -> list[Row]:
        """The next rows, at most `size` (`arraysize` if nothing is said)."""
        return self._fetchmany(size)

    async def fetchall(self) -> list[Row]:
        """All rows that were not fetched yet."""
        return self._fetchall()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Row:
        at = self._pos
        row = self._fetchone()
        # A row may be made into None: the end is where nothing was read.
        if row is None and self._pos == at:
            raise StopAsyncIteration
        return row  # type: ignore[return-value]

    def nextset(self) -> bool | None:
        """Goes to the next result of several; None if there is none."""
        return self._nextset()

    async def results(self) -> AsyncIterator[Self]:
        """Yields itself once for each result."""
        if self._result is not None:
            yield self
            while self._nextset():
                yield self

    async def set_result(self, index: int) -> Self:
        """Goes to a result of several by its number, from the end if negative. Raises IndexError if there is none."""
        self._set_result(index)
        return self

    async def scroll(self, value: int, mode: str = "relative") -> None:
        """Goes on by `value` rows, or to row `value` (`absolute`). Raises IndexError outside the result."""
        self._scroll(value, mode)

    def copy(self, statement: object, params: Params | None = None) -> AsyncCopy:
        """A COPY: `async with cursor.copy("COPY t FROM STDIN") as copy: await copy.write_row(row)`."""
        self._check_open()
        return AsyncCopy(self, statement, params)

    async def close(self) -> None:
        """Lets go of the result. The cursor cannot be used any more."""
        self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
