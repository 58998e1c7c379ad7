"""COPY: `with cursor.copy(...) as copy`. What sync and async share is `BaseCopy`; rows are made and read natively.

Data that are written are collected up to `_BLOCK` before they are sent. A block that is left by an exception gives a
COPY in up, with the exception as the reason; one that is left before the end of a COPY out cancels it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import errors as e
from ._copy_sql import direction
from ._enums import Format
from ._leakpool import Transformer
from ._placeholders import Params, convert, ordered, text_of
from ._request_lock import finish

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._connection_base import BaseConnection
    from ._cursor_base import BaseCursor
    from ._leakpool import NativeCopyIn, NativeCopyOut
    from .cursor import AsyncCursor, Cursor  # noqa: F401

__all__ = ["AsyncCopy", "Copy"]

#: How many bytes are collected before they are sent.
_BLOCK = 64 * 1024

#: How many pieces are asked for at once: as many as have come, up to this.
_PIECES = 500

#: What binary data begin with (signature, flags, no extension), and end with.
_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_HEADER = _SIGNATURE + bytes(8)
_TRAILER = b"\xff\xff"

#: The session's settings that texts depend on.
_SETTINGS = ("client_encoding", "TimeZone", "DateStyle", "IntervalStyle")

Cur = TypeVar("Cur", bound="BaseCursor[Any, Any]")


class BaseCopy(Generic[Cur]):
    """What sync and async copies share."""

    def __init__(self, cursor: Cur, statement: object, params: Params | None) -> None:
        self._cursor = cursor
        self._statement = statement
        self._params = params
        self._in: NativeCopyIn | None = None
        self._out: NativeCopyOut | None = None
        self._began = False
        self._over = False
        self._format = Format.TEXT
        self._transformer: Transformer | None = None
        self._types: Sequence[int | str] | None = None
        self._buffer = bytearray()
        #: What has come and was not read yet, the next one last.
        self._pieces: list[bytes] = []
        #: A binary COPY: what stands at its beginning is sent, or was read.
        self._headed = False
        #: The trailer is ours to send: rows were written, not blocks.
        self._by_rows = False

    @property
    def cursor(self) -> Cur:
        """The cursor that it was begun with: its `rowcount` and `statusmessage` tell what was copied."""
        return self._cursor

    @property
    def connection(self) -> BaseConnection[Any]:
        """The connection that it is on."""
        conn: BaseConnection[Any] = self._cursor.connection
        return conn

    @property
    def format(self) -> Format:
        """Text (which is also CSV) or binary."""
        return self._format

    def set_types(self, types: Sequence[int | str]) -> None:
        """What the columns are, as OIDs or names of types: how rows are read, and how binary ones are written."""
        if isinstance(types, str | bytes) or not isinstance(types, Sequence):
            raise TypeError(f"set_types() needs a sequence of types, got {type(types).__name__}")
        self._types = list(types)
        if self._transformer is not None:
            self._transformer.set_types(self._types)

    def __repr__(self) -> str:
        state = "closed" if self._over else "active" if self._began else "not begun"
        return f"<leakpool.{type(self).__qualname__} ({state}) [{self.connection._state()}] at {id(self):#x}>"

    # ---- the block -----------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        if self._began:
            raise TypeError("a COPY can be used only once: call cursor.copy() again")
        cursor, conn = self._cursor, self.connection
        cursor._check_open()
        cursor._reset()
        sql = text_of(self._statement)
        where = direction(sql)
        if self._params is not None:
            sql = await self._merged(sql, self._params)
        self._began = True
        request_lock = await conn._take_request_lock("copy()")
        try:
            if where == "in":
                self._in = await conn._ask(conn._native_copy_in, sql)
                self._format = Format(self._in.format)
            else:
                self._out = await conn._ask(conn._native_copy_out, sql)
                self._format = Format(self._out.format)
        except BaseException:
            self._over = True
            request_lock.done()
            raise

    async def _merged(self, sql: str, params: Params) -> str:
        """COPY takes no parameters: they are written into the statement, as the server itself quotes them."""
        converted = convert(sql)
        literals = await self.connection._literals(ordered(converted, params))
        return re.sub(r"\$(\d+)", lambda match: literals[int(match[1]) - 1], converted.sql)

    async def _end(self, error: BaseException | None) -> None:
        conn = self.connection
        request_lock = conn._request_lock
        try:
            if self._over:
                return
            if self._in is not None:
                if error is None:
                    await self._finish_in(self._in)
                else:
                    await self._fail_in(self._in, f"error from Python: {type(error).__name__} - {error}")
            elif self._out is not None:
                await self._finish_out(self._out)
        finally:
            self._over = True
            self._buffer = bytearray()
            if request_lock is not None:
                request_lock.done()

    async def _finish_in(self, copy: NativeCopyIn) -> None:
        if self._format == Format.BINARY and self._by_rows:
            self._buffer += _TRAILER
        await self._flush()
        tag: str = await self._call(copy.finish_async if self.connection._waits else copy.finish)
        self._copied(tag)

    async def _fail_in(self, copy: NativeCopyIn, reason: str) -> None:
        fail = copy.fail_async if self.connection._waits else copy.fail
        try:
            await self._call(fail, reason.replace("\0", " "))
        except e.Error:
            # What made us give up matters more; if the connection is of no use any more, its next use tells.
            return

    async def _finish_out(self, copy: NativeCopyOut) -> None:
        """Left before the end: cancelled, and what was under way is read."""
        self._pieces = []
        try:
            self.connection.cancel()
            while await self._piece() is not None:
                pass
        except e.Error:
            # Cancelled, as it should be. If the connection is of no use any more, its next use tells.
            pass
        await self.connection._cancel_arrives()
        copy.close()

    def _copied(self, tag: str) -> None:
        cursor = self._cursor
        cursor._tag = tag
        count = tag.rpartition(" ")[2]
        cursor._rowcount = int(count) if count.isdecimal() else -1

    async def _call(self, native: Any, *args: Any) -> Any:
        return await self.connection._send(lambda _, *rest: native(*rest), "", *args)

    # ---- in ------------------------------------------------------------------------------------------------

    def _writable(self) -> NativeCopyIn:
        if self._in is None or self._over:
            raise self._misused("written to", "COPY ... FROM STDIN")
        # What is only collected is work, too.
        self.connection._touch()
        return self._in

    def _misused(self, doing: str, kind: str) -> e.Error:
        if not self._began:
            return e.InterfaceError("the COPY was not begun: use it in a with block")
        if self._over:
            return e.InterfaceError("the COPY is over")
        return e.OperationalError(f"no COPY in progress that can be {doing}: this is not a {kind}")

    def _collect(self, buffer: object) -> bool:
        """Takes data; True if it is time to send what was collected."""
        self._writable()
        if isinstance(buffer, str):
            if self._format == Format.BINARY:
                raise TypeError("cannot copy str data in binary mode: use bytes instead")
            try:
                self._buffer += buffer.encode()
            except UnicodeEncodeError as error:
                raise e.InvalidText(*error.args) from None
        elif isinstance(buffer, bytes | bytearray | memoryview):
            self._buffer += buffer
        else:
            raise TypeError(f"can't write {type(buffer).__name__}: COPY takes str or bytes")
        return len(self._buffer) >= _BLOCK

    def _collect_row(self, row: Sequence[Any]) -> bool:
        """The same for a row."""
        self._writable()
        transformer = self._transformer or self._transforming()
        line = transformer.format_row(row, self._format)
        if self._format == Format.BINARY and not self._headed:
            self._buffer += _HEADER
            self._headed = self._by_rows = True
        self._buffer += line
        return len(self._buffer) >= _BLOCK

    async def _flush(self) -> None:
        copy = self._in
        if copy is None or not self._buffer:
            return
        data, self._buffer = bytes(self._buffer), bytearray()
        await self._call(copy.send_async if self.connection._waits else copy.send, data)

    def _transforming(self) -> Transformer:
        made = self._transformer
        if made is None:
            told = ((name, self.connection.parameter(name)) for name in _SETTINGS)
            made = Transformer({name: value for name, value in told if value is not None})
            if self._types is not None:
                made.set_types(self._types)
            self._transformer = made
        return made

    # ---- out -----------------------------------------------------------------------------------------------

    async def _piece(self) -> bytes | None:
        """The next piece as the server sends it; None at the end."""
        self.connection._touch()
        return self._pieces.pop() if self._pieces else await self._next_piece()

    async def _next_piece(self) -> bytes | None:
        copy = self._out
        if copy is None or (self._over and copy.tag is None):
            raise self._misused("read", "COPY ... TO STDOUT")
        if self._over:
            return None
        fetch = copy.fetch_async if self.connection._waits else copy.fetch
        try:
            pieces: list[bytes] = await self._call(fetch, _PIECES)
        except e.Error:
            self._over = True
            raise
        if not pieces:
            self._copied(copy.tag or "")
            self._over = True
            return None
        # The next one last, where it is taken from.
        pieces.reverse()
        piece = pieces.pop()
        self._pieces = pieces
        return piece

    async def _read(self) -> bytes:
        return await self._piece() or b""

    async def _read_row(self) -> tuple[Any, ...] | None:
        piece = await self._piece()
        if piece is None:
            return None
        if self._format == Format.BINARY:
            if piece.startswith(_SIGNATURE) and not self._headed:
                self._headed = True
                extension = int.from_bytes(piece[15:19], "big")
                piece = piece[19 + extension :]
                if not piece:
                    return await self._read_row()
            if piece == _TRAILER:
                while await self._piece() is not None:
                    pass
                return None
        return (self._transformer or self._transforming()).parse_row(piece, self._format)


class Copy(BaseCopy["Cursor[Any]"]):
    """A COPY: `with cursor.copy("COPY t FROM STDIN") as copy:`."""

    __module__ = "leakpool"

    def __enter__(self) -> Self:
        finish(self._begin())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        finish(self._end(error))

    def write(self, buffer: str | bytes | bytearray | memoryview) -> None:
        """Sends data as they are: in the format that the statement says, cut wherever you like."""
        if self._collect(buffer):
            finish(self._flush())

    def write_row(self, row: Sequence[Any]) -> None:
        """Sends a row of Python values. Not for CSV, which is written with `write`."""
        if self._collect_row(row):
            finish(self._flush())

    def read(self) -> bytes:
        """The next data as they come; empty at the end."""
        return finish(self._read())

    def __iter__(self) -> Iterator[bytes]:
        while (data := finish(self._piece())) is not None:
            yield data

    def read_row(self) -> tuple[Any, ...] | None:
        """The next row; None at the end. Without `set_types`, texts (bytes, in binary). Not for CSV."""
        return finish(self._read_row())

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows, as of `read_row`."""
        while (row := finish(self._read_row())) is not None:
            yield row
            if self._format == Format.TEXT:
                parse = self._transforming().parse_row
                while self._pieces:
                    # Nothing to wait for.
                    self.connection._touch()
                    yield parse(self._pieces.pop(), Format.TEXT)


class AsyncCopy(BaseCopy["AsyncCursor[Any]"]):
    """A COPY: `async with cursor.copy("COPY t FROM STDIN") as copy:`."""

    __module__ = "leakpool"

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end(error)

    async def write(self, buffer: str | bytes | bytearray | memoryview) -> None:
        """As `Copy.write`."""
        if self._collect(buffer):
            await self._flush()

    async def write_row(self, row: Sequence[Any]) -> None:
        """As `Copy.write_row`."""
        if self._collect_row(row):
            await self._flush()

    async def read(self) -> bytes:
        """As `Copy.read`."""
        return await self._read()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (data := await self._piece()) is not None:
            yield data

    async def read_row(self) -> tuple[Any, ...] | None:
        """As `Copy.read_row`."""
        return await self._read_row()

    async def rows(self) -> AsyncIterator[tuple[Any, ...]]:
        """The rows, as of `read_row`."""
        while (row := await self._read_row()) is not None:
            yield row
