"""What sync and async cursors share: how a query is made from what the caller gives, and what is read from results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import errors as e
from ._column import Column
from ._copy_sql import is_copy
from ._enums import Format, TransactionStatus
from ._placeholders import Converted, Params, convert, ordered, text_of
from .rows import Row_co as Row
from .rows import RowMaker, tuple_row

if TYPE_CHECKING:
    from ._connection_base import BaseConnection
    from ._leakpool import NativeResult, NativeStream

C = TypeVar("C", bound="BaseConnection[Any]")

_COPY = "COPY cannot be used with this method; use copy() instead"

#: What of a cursor's or connection's state is compared on the way of every query, as plain numbers.
_BINARY, _IDLE = int(Format.BINARY), int(TransactionStatus.IDLE)
_PLAIN_PARAMS = (tuple, list)

#: How many rows a stream asks for at once: as many as have come, up to this.
_STREAM_BLOCK = 1000


class BaseCursor(Generic[C, Row]):
    """What sync and async cursors share."""

    __slots__ = (
        "__weakref__",
        "_closed",
        "_columns",
        "_conn",
        "_has_rows",
        "_index",
        "_make",
        "_pos",
        "_result",
        "_results",
        "_row_factory",
        "_rowcount",
        "_stream_columns",
        "_streaming",
        "_tag",
        "arraysize",
        "format",
    )

    def __init__(self, connection: C, row_factory: Any = None) -> None:
        self._conn = connection
        self._row_factory = connection.row_factory if row_factory is None else row_factory
        self._closed = False
        #: How many rows `fetchmany` returns if nothing is said.
        self.arraysize = 1
        #: Whether results are asked for in text or in binary.
        self.format = Format.TEXT
        self._reset()

    def _reset(self) -> None:
        self._results: list[NativeResult] = []
        self._result: NativeResult | None = None
        self._index = 0
        self._pos = 0
        self._rowcount = -1
        self._tag: str | None = None
        self._make: RowMaker[Row] | None = None
        self._columns: list[Column] | None = None
        #: The current result has columns, and so perhaps rows.
        self._has_rows = False
        self._stream_columns: Any = None
        #: More rows may come.
        self._streaming = False

    # ---- attributes ----------------------------------------------------------------------------------------

    @property
    def connection(self) -> C:
        """The connection that it is on."""
        return self._conn

    @property
    def closed(self) -> bool:
        """True once it was closed."""
        return self._closed

    @property
    def description(self) -> list[Column] | None:
        """The columns of the current result; None if it has none."""
        if self._columns is None:
            native = self._native_columns()
            if native is None:
                return None
            self._columns = [Column(column) for column in native]
        return self._columns

    def _native_columns(self) -> Any:
        return self._stream_columns if self._result is None else self._result.columns

    @property
    def rowcount(self) -> int:
        """How many rows the current result has, or its statement touched; -1 if that is not known."""
        return self._rowcount

    @property
    def rownumber(self) -> int | None:
        """Which row is fetched next, from 0; None if there are no rows to fetch."""
        return None if self._result is None or self._result.columns is None else self._pos

    @property
    def statusmessage(self) -> str | None:
        """The command tag of the current result, `INSERT 0 1`."""
        return self._tag

    def setinputsizes(self, sizes: object) -> None:
        """Does nothing, as PEP 249 allows."""

    def setoutputsize(self, size: object, column: object = None) -> None:
        """Does nothing, as PEP 249 allows."""

    def __repr__(self) -> str:
        cls = type(self).__qualname__
        if self._closed:
            state = "closed"
        elif self._result is None:
            state = "no result"
        elif self._result.tag is None:
            state = "EMPTY_QUERY"
        else:
            state = "COMMAND_OK" if self._result.columns is None else "TUPLES_OK"
        return f"<leakpool.{cls} [{state}] [{self._conn._state()}] at {id(self):#x}>"

    # ---- what is asked -------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise e.InterfaceError("the cursor is closed")

    def _is_binary(self, binary: bool | None) -> bool:
        return self.format == Format.BINARY if binary is None else binary

    def _how(self, prepare: bool | None, binary: bool | None) -> dict[str, Any]:
        how: dict[str, Any] = {}
        if prepare is False or (prepare is None and self._conn.prepare_threshold is None):
            how["cached"] = False
        if self._is_binary(binary):
            how["binary"] = True
        return how

    def _query(
        self, query: object, params: Params | None, prepare: bool | None, binary: bool | None
    ) -> tuple[str, Any, dict[str, Any]]:
        """The text, the values and how it is to be run. No values: the simple protocol, several statements allowed."""
        sql = query if type(query) is str else text_of(query)
        if params is None:
            values = None
        else:
            converted = convert(sql)
            values, sql = ordered(converted, params) or None, converted.sql
        if values is None and prepare:
            values = ()
        return sql, values, self._how(prepare, binary)

    async def _execute(
        self, query: object, params: Params | None, prepare: bool | None, binary: bool | None
    ) -> None:
        self._check_open()
        self._reset()
        sql, values, how = self._query(query, params, prepare, binary)
        conn = self._conn
        try:
            results = await conn._request(conn._native_query, sql, values, **how)
        except e.NotSupportedError as error:
            raise _copy_refused(error, sql) from None
        self._take(results)
        self._refuse_copy(sql)

    def _is_ordinary(self, query: object, prepare: bool | None, binary: bool | None) -> bool:
        """True if it can be asked by `_shortly`: as short as can be, since a short query takes as long as the Python
        around it."""
        conn = self._conn
        return (
            query.__class__ is str
            and prepare is None
            and binary is None
            and not (self._closed or conn._notice_handlers or conn._notify_handlers or conn.being_cleared)
            and (conn._request_lock or conn._first_request_lock()).take_if_free()
        )

    def _shortly(self, ask: Callable[..., Any], query: Any, params: Params | None) -> tuple[str, Any]:
        """What `_execute` does in the ordinary case, with the turn taken: the text as it is sent, and what `ask` (the
        native query, blocking or to be awaited) returned."""
        self._reset()
        conn, sql = self._conn, query
        values: Sequence[Any] | None = None
        if params is not None:
            converted = convert(query)
            sql = converted.sql
            if params.__class__ in _PLAIN_PARAMS and len(params) == converted.simply:
                values = params or None
            else:
                values = ordered(converted, params) or None
        first = None if conn._autocommit or conn.transaction_status != _IDLE else conn._begin
        try:
            cached = conn.prepare_threshold is not None
            return sql, ask(sql, values, first=first, cached=cached, binary=self.format == _BINARY)
        except (e.DatabaseError, UnicodeEncodeError) as error:
            raise self._explained(error, sql) from None

    def _explained(self, error: Exception, sql: str) -> Exception:
        """What is raised for what the native layer has raised about a statement."""
        if isinstance(error, e.DatabaseError):
            e.show_place(error, sql)
            return _copy_refused(error, sql) if isinstance(error, e.NotSupportedError) else error
        return error if isinstance(error, e.Error) else e.InvalidText(*error.args)

    def _refuse_copy(self, sql: str) -> None:
        """Refuses a COPY TO STDOUT whose data nobody gets; one into a file of the server's is nobody's business."""
        for result in self._results:
            # Only what has no columns can be one: most statements are not asked for their tag.
            if result.nfields == 0 and (result.tag or "").startswith("COPY ") and is_copy(sql):
                self._reset()
                raise e.ProgrammingError(_COPY)

    async def _executemany(self, query: object, params_seq: Iterable[Params], returning: bool) -> None:
        self._check_open()
        self._reset()
        sql = text_of(query)
        converted: Converted | None = None
        sets = []
        for params in params_seq:
            converted = converted or convert(sql)
            sets.append(ordered(converted, params))
        if converted is None:
            self._rowcount = 0
            return
        conn = self._conn
        how = self._how(None, None)
        try:
            results, rows = await conn._request(
                conn._native_query_many, converted.sql, sets, returning=returning, **how
            )
        except e.NotSupportedError as error:
            raise _copy_refused(error, converted.sql) from None
        if returning:
            self._take(results)
        else:
            self._rowcount = rows
            self._tag = results[-1].tag if results else None

    async def _stream_begin(
        self, query: object, params: Params | None, binary: bool | None, size: int
    ) -> NativeStream:
        """Begins to stream with the turn taken, which `_stream_end` gives back."""
        self._check_open()
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"size must be >= 1, got {size!r}")
        self._reset()
        sql, values, how = self._query(query, params, None, binary)
        conn = self._conn
        request_lock = await conn._take_request_lock("stream()")
        try:
            stream: NativeStream = await conn._ask(
                conn._native_stream, sql, () if values is None else values, **how
            )
            self._streaming = True
            if stream.columns is None:
                await self._throw_away(stream)
                raise e.ProgrammingError("the operation in stream() didn't produce a result")
            self._stream_columns = stream.columns
            return stream
        except BaseException:
            self._streaming = False
            request_lock.done()
            raise

    async def _stream_more(self, stream: NativeStream) -> list[Row]:
        """The rows that have come; none at the end."""
        fetch = stream.fetch_async if self._conn._waits else stream.fetch
        try:
            rows: Any = await self._conn._send(lambda _: fetch(_STREAM_BLOCK), "")
        except Exception:
            self._streaming = False
            raise
        if not rows:
            self._streaming = False
        make = self._maker()
        found: list[Row] = rows if make is None else [make(row) for row in rows]
        return found

    async def _throw_away(self, stream: NativeStream) -> None:
        """Cancels the statement, and reads what was under way: only then is the session's status known again."""
        try:
            self._conn.cancel()
            while self._streaming:
                await self._stream_more(stream)
        except e.Error:
            # Cancelled, as it should be. If the connection is of no use any more, its next use tells.
            self._streaming = False
        await self._conn._cancel_arrives()

    async def _stream_end(self, stream: NativeStream) -> None:
        request_lock = self._conn._request_lock
        if request_lock is not None:
            request_lock.leaving()
        try:
            if self._streaming:
                await self._throw_away(stream)
            stream.close()
        finally:
            if request_lock is not None:
                request_lock.done()

    # ---- what came of it -----------------------------------------------------------------------------------

    def _take(self, results: list[NativeResult]) -> None:
        self._results = results
        if results:
            self._select(0)

    def _select(self, index: int) -> None:
        result = self._results[index]
        self._index = index
        self._result = result
        self._pos = 0
        self._has_rows = result.nfields > 0
        self._rowcount = result.rowcount
        self._tag = result.tag
        self._make = None
        self._columns = None

    def _maker(self) -> RowMaker[Row] | None:
        """What makes a row from the tuple of its values; None if nothing is to be made of it."""
        if self._row_factory is tuple_row:
            return None
        if self._make is None:
            self._make = self._row_factory(self)
        return self._make

    def _fetchable(self) -> NativeResult:
        """The current result, if it has rows."""
        result = self._result
        if self._closed or result is None or result.columns is None:
            self._check_open()
            raise self._not_fetchable()
        # Who fetches is at work, though no byte moves for it.
        self._conn._touch()
        return result

    def _not_fetchable(self) -> e.Error:
        result = self._result
        if result is None:
            if self._stream_columns is not None:
                return e.ProgrammingError("the rows of stream() cannot be fetched in another way: iterate it")
            return e.ProgrammingError("no result available")
        what = "result status: EMPTY_QUERY" if result.tag is None else f"command status: {result.tag}"
        return e.ProgrammingError(f"the last operation didn't produce records ({what})")

    def _fetchone(self) -> Row | None:
        result = self._fetchable()
        row: Any = result.row(self._pos)
        if row is None:
            return None
        make = self._maker()
        if make is not None:
            row = make(row)
        self._pos += 1
        found: Row = row
        return found

    def _fetchmany(self, size: int | None) -> list[Row]:
        result = self._fetchable()
        count = self._count(size)
        return self._made(result.rows(self._pos, self._pos + count))

    def _fetchall(self) -> list[Row]:
        result = self._fetchable()
        return self._made(result.rows(self._pos))

    def _count(self, size: int | None) -> int:
        """How many rows `fetchmany` is to return."""
        count = self.arraysize if not size else size
        if not isinstance(count, int):
            raise TypeError(f"fetchmany() needs a number of rows, got {type(count).__name__}")
        if count < 0:
            raise ValueError(f"fetchmany() needs a number of rows that is not negative, got {count}")
        return count

    def _made(self, rows: list[tuple[Any, ...]]) -> list[Row]:
        make = self._maker()
        found: Any = rows if make is None else [make(row) for row in rows]
        self._pos += len(rows)
        made: list[Row] = found
        return made

    def _nextset(self) -> bool | None:
        self._check_open()
        if self._index + 1 >= len(self._results):
            return None
        self._select(self._index + 1)
        return True

    def _set_result(self, index: int) -> None:
        self._check_open()
        count = len(self._results)
        if not -count <= index < count:
            raise IndexError(f"index {index} out of range: {count} result(s) available")
        self._select(index % count)

    def _scroll(self, value: int, mode: str) -> None:
        result = self._fetchable()
        position = value if _is_absolute(mode) else self._pos + value
        if not 0 <= position < result.nrows:
            raise IndexError("position out of bound")
        self._pos = position

    def _close(self) -> None:
        self._closed = True
        self._reset()

    def _in_error(self) -> bool:
        return self._conn.transaction_status not in (TransactionStatus.IDLE, TransactionStatus.INTRANS)


def _copy_refused(error: e.NotSupportedError, sql: str) -> e.Error:
    """What is raised when a COPY FROM STDIN was refused, for want of data."""
    return error if error.sqlstate is not None or not is_copy(sql) else e.ProgrammingError(_COPY)


def _is_absolute(mode: str) -> bool:
    if mode == "absolute":
        return True
    if mode == "relative":
        return False
    raise ValueError(f"bad mode: {mode}. It should be 'relative' or 'absolute'")
