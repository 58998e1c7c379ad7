"""SQLAlchemy's dialect `postgresql+leakpool`, sync and async.

    engine = create_engine("postgresql+leakpool://app@db/shop", pool_size=10, leakpool={"leak_threshold": 30})
    engine = create_async_engine("postgresql+leakpool://app@db/shop")
    engine = create_engine("postgresql+leakpool://", leakpool=pool)  # a `Pool` that the program has already

The engine keeps no connections of its own: each `engine.connect()` is a checkout from a leakpool pool, each `close()` gives
it back, so that a leak is found where SQLAlchemy's caller connected. The pool is made with the first connection and closed
by `engine.dispose()`; `leakpool={...}` are its options, and `pool_size`, `max_overflow`, `pool_timeout`, `pool_recycle` mean
what they mean to SQLAlchemy. A pool that is passed in stays the program's.

With another `poolclass` (`QueuePool`, say), SQLAlchemy keeps the connections itself; each is then a session of its own.

Statements are not kept prepared on the server unless `connect_args={"prepare_threshold": 5}` says so: a kept one fails in the
middle of a transaction once its table has been changed.

Otherwise it is SQLAlchemy's dialect for psycopg 3, with the classes of leakpool. What there is not: two-phase commits, and
`json_deserializer` (use `leakpool.types.set_json_loads`).
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import exc
from sqlalchemy.dialects.postgresql import CIDR, INET
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg, PGDialectAsync_psycopg
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.pool import NullPool
from sqlalchemy.util import memoized_property, update_copy
from sqlalchemy.util.concurrency import await_only

import leakpool as _leakpool

from .types import Json, Jsonb, Multirange, Range

if TYPE_CHECKING:
    from .async_pool import AsyncPool
    from .pool import Pool

__all__ = ["AsyncDialect", "Dialect", "LeakPool"]


class LeakPool(NullPool):
    """The engine's side of a leakpool pool: keeps nothing, and closes the pool that the engine has made."""

    def __init__(
        self,
        creator: Any,
        pool_size: int | None = None,
        max_overflow: int | None = None,
        timeout: float | None = None,
        recycle: int = -1,
        **kw: Any,
    ) -> None:
        super().__init__(creator, recycle=recycle, **kw)
        #: SQLAlchemy's options, as leakpool's.
        self.options: dict[str, Any] = {}
        self._stated = {
            "pool_size": pool_size,
            "max_overflow": max_overflow,
            "timeout": timeout,
            "recycle": recycle,
        }
        if pool_size is not None or max_overflow is not None:
            size = (5 if pool_size is None else pool_size) + (0 if max_overflow is None else max_overflow)
            if size < 1:
                raise exc.ArgumentError(
                    f"pool_size + max_overflow ({size}) must be at least 1: leakpool has no endless pools"
                )
            self.options["max_size"] = size
        if timeout is not None:
            self.options["timeout"] = timeout
        if recycle > 0:
            self.options["max_lifetime"] = recycle

    def _do_get(self) -> Any:
        self._dialect._pool_options = self.options  # type: ignore[attr-defined]
        self._dialect._is_leak_pool = True  # type: ignore[attr-defined]
        return super()._do_get()

    def recreate(self) -> LeakPool:
        """One for the same engine, which makes a new pool when it is asked for a connection."""
        return type(self)(
            self._creator,
            **self._stated,  # type: ignore[arg-type]
            echo=self.echo,
            logging_name=self._orig_logging_name,
            reset_on_return=self._reset_on_return,
            pre_ping=self._pre_ping,
            _dispatch=self.dispatch,
            dialect=self._dialect,
        )

    def dispose(self) -> None:
        """Closes the pool, unless it was passed in."""
        self._dialect._close_pool()  # type: ignore[attr-defined]

    def status(self) -> str:
        """One line."""
        pool = self._dialect._pool  # type: ignore[attr-defined]
        return "LeakPool, no pool yet" if pool is None else f"LeakPool {pool.name}: {pool.get_stats()}"


class _Inet(INET):
    def result_processor(self, dialect: Any, coltype: object) -> Any:
        return _to_str if dialect._native_inet_types is False else None


class _Cidr(CIDR):
    def result_processor(self, dialect: Any, coltype: object) -> Any:
        return _to_str if dialect._native_inet_types is False else None


def _to_str(value: object) -> str | None:
    return None if value is None else str(value)


class Dialect(PGDialect_psycopg):
    """`postgresql+leakpool`."""

    driver = "leakpool"
    supports_statement_cache = True
    minimum_dbapi_version = None
    # Nobody registers the type: SQLAlchemy reads and writes its text.
    _has_native_hstore = False
    colspecs = update_copy(PGDialect_psycopg.colspecs, {INET: _Inet, CIDR: _Cidr})

    def __init__(
        self, leakpool: Pool[Any] | AsyncPool[Any] | Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        if kwargs.get("json_deserializer") is not None:
            raise exc.ArgumentError(
                "json_deserializer is not supported by postgresql+leakpool: use leakpool.types.set_json_loads"
            )
        kwargs.setdefault("use_native_hstore", False)
        # Past psycopg's own set-up, which registers things with psycopg.
        super(PGDialect_psycopg, self).__init__(**kwargs)
        self._lock = threading.Lock()
        self._pool_options: Mapping[str, Any] = {}
        self._given: Mapping[str, Any] = {}
        self._pool: Any = None
        self._owns_pool = True
        if leakpool is None or isinstance(leakpool, Mapping):
            self._given = dict(leakpool or {})
        elif isinstance(leakpool, self._pool_class()):
            self._pool, self._owns_pool = leakpool, False
        else:
            raise exc.ArgumentError(
                f"leakpool must be a {self._pool_class().__name__} or a mapping of its options, not {type(leakpool).__name__}"
            )

    @staticmethod
    def _pool_class() -> type[Any]:
        return _leakpool.Pool

    @classmethod
    def import_dbapi(cls) -> Any:
        """PEP 249's module: `leakpool` itself."""
        return _leakpool

    @classmethod
    def load_provisioning(cls) -> None:
        """For SQLAlchemy's own tests of dialects."""
        PGDialect_psycopg.load_provisioning()

    @classmethod
    def get_async_dialect_cls(cls, url: Any) -> type[AsyncDialect]:
        """The same for asyncio."""
        return AsyncDialect

    @classmethod
    def get_pool_class(cls, url: Any) -> type[LeakPool]:
        """The pool is leakpool's."""
        return LeakPool

    # -- connections ------------------------------------------------------------------------------------------

    def create_connect_args(self, url: Any) -> Any:
        """The URL as parameters of the connection."""
        _, parameters = super(PGDialect_psycopg, self).create_connect_args(url)
        if self.client_encoding is not None:
            parameters["client_encoding"] = self.client_encoding
        # SQLAlchemy's transactions are long, and a statement that was kept prepared is an error in the middle of one once
        # its table was changed.
        parameters.setdefault("prepare_threshold", None)
        return [], parameters

    def connect(self, *args: Any, **parameters: Any) -> Any:
        """A checkout of the pool; with a pool of SQLAlchemy's, a connection of its own."""
        if not self._is_leak_pool:
            return _leakpool.Connection.connect(**parameters)
        with self._lock:
            if self._pool is None:
                self._pool = _leakpool.Pool(kwargs=parameters, **{**self._pool_options, **self._given})
            pool = self._pool
        return pool.getconn()

    #: Set by the engine's pool if that is ours.
    _is_leak_pool = False

    def do_close(self, dbapi_connection: Any) -> None:
        """Gives it back."""
        if dbapi_connection._own_pool is not None:
            dbapi_connection.close()
        else:
            dbapi_connection.release()

    def do_terminate(self, dbapi_connection: Any) -> None:
        """Ends the session."""
        dbapi_connection.close()

    def _close_pool(self) -> None:
        with self._lock:
            pool = self._pool if self._owns_pool else None
            if pool is not None:
                self._pool = None
        if pool is not None:
            pool.close()

    def initialize(self, connection: Any) -> None:
        """What SQLAlchemy asks of a server once."""
        super(PGDialect_psycopg, self).initialize(connection)
        if not self.insert_returning:
            self.insert_executemany_returning = False

    # -- leakpool's classes in place of psycopg's -------------------------------------------------------------

    @memoized_property
    def _psycopg_Json(self) -> Any:
        dumps = self._json_serializer
        return (lambda value: Json(value, dumps)) if dumps else Json

    @memoized_property
    def _psycopg_Jsonb(self) -> Any:
        dumps = self._json_serializer
        return (lambda value: Jsonb(value, dumps)) if dumps else Jsonb

    @memoized_property
    def _psycopg_TransactionStatus(self) -> Any:
        return _leakpool.TransactionStatus

    @memoized_property
    def _psycopg_Range(self) -> Any:
        return Range

    @memoized_property
    def _psycopg_Multirange(self) -> Any:
        return Multirange

    def do_begin_twophase(self, connection: Any, xid: Any) -> None:
        """Not supported."""
        raise exc.InvalidRequestError("postgresql+leakpool does not support two-phase commits")


class _AsyncCursor:
    """An async cursor as SQLAlchemy's greenlets want it: its methods wait. All rows are there after `execute`."""

    server_side = False

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self._rows: collections.deque[Any] = collections.deque()

    @property
    def description(self) -> Any:
        return self._cursor.description

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount  # type: ignore[no-any-return]

    @property
    def arraysize(self) -> int:
        return self._cursor.arraysize  # type: ignore[no-any-return]

    @arraysize.setter
    def arraysize(self, size: int) -> None:
        self._cursor.arraysize = size

    def execute(self, operation: Any, parameters: Any = None) -> Any:
        return await_only(self._execute(operation, parameters))

    async def _execute(self, operation: Any, parameters: Any) -> Any:
        await self._cursor.execute(operation, parameters)
        if self._cursor.description is not None:
            self._rows = collections.deque(await self._cursor.fetchall())
        return self

    def executemany(self, operation: Any, parameters: Any) -> Any:
        return await_only(self._cursor.executemany(operation, parameters))

    def nextset(self) -> bool | None:
        more = self._cursor.nextset()
        if more and self._cursor.description is not None:
            self._rows = collections.deque(await_only(self._cursor.fetchall()))
        return more  # type: ignore[no-any-return]

    def setinputsizes(self, *sizes: Any) -> None:
        """Means nothing here."""

    def fetchone(self) -> Any:
        return self._rows.popleft() if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        wanted = self.arraysize if size is None else size
        return [self._rows.popleft() for _ in range(min(wanted, len(self._rows)))]

    def fetchall(self) -> list[Any]:
        rows = list(self._rows)
        self._rows.clear()
        return rows

    def __iter__(self) -> Iterator[Any]:
        while self._rows:
            yield self._rows.popleft()

    def close(self) -> None:
        self._rows.clear()
        # The rest of closing never waits.
        self._cursor._close()

    async def _async_soft_close(self) -> None:
        """Nothing is kept open."""


class _AsyncServerCursor(_AsyncCursor):
    """One whose rows stay on the server until they are fetched."""

    server_side = True

    async def _execute(self, operation: Any, parameters: Any) -> Any:
        await self._cursor.execute(operation, parameters)
        return self

    def fetchone(self) -> Any:
        return await_only(self._cursor.fetchone())

    def fetchmany(self, size: int | None = None) -> Any:
        return await_only(self._cursor.fetchmany(self.arraysize if size is None else size))

    def fetchall(self) -> Any:
        return await_only(self._cursor.fetchall())

    def __iter__(self) -> Iterator[Any]:
        while (row := self.fetchone()) is not None:
            yield row

    def close(self) -> None:
        await_only(self._cursor.close())


class _AsyncConnection(AdaptedConnection):
    """An async connection as SQLAlchemy's greenlets want it: its methods wait."""

    __slots__ = ()

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def cursor(self, name: str | None = None, /) -> Any:
        if name:
            return _AsyncServerCursor(self._connection.cursor(name))
        return _AsyncCursor(self._connection.cursor())

    def execute(self, operation: Any, parameters: Any = None) -> Any:
        cursor = self.cursor()
        cursor.execute(operation, parameters)
        return cursor

    def commit(self) -> None:
        await_only(self._connection.commit())

    def rollback(self) -> None:
        await_only(self._connection.rollback())

    def close(self) -> None:
        await_only(self._connection.close())

    @property
    def autocommit(self) -> bool:
        return self._connection.autocommit  # type: ignore[no-any-return]

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self.set_autocommit(value)

    def set_autocommit(self, value: bool) -> None:
        await_only(self._connection.set_autocommit(value))

    def set_isolation_level(self, value: Any) -> None:
        await_only(self._connection.set_isolation_level(value))

    def set_read_only(self, value: bool | None) -> None:
        await_only(self._connection.set_read_only(value))

    def set_deferrable(self, value: bool | None) -> None:
        await_only(self._connection.set_deferrable(value))


class _AsyncModule:
    """PEP 249's module with connections that are adapted so."""

    def __init__(self) -> None:
        self.__dict__.update(_leakpool.__dict__)

    def connect(self, **parameters: Any) -> _AsyncConnection:
        creator = parameters.pop("async_creator_fn", _leakpool.AsyncConnection.connect)
        return _AsyncConnection(await_only(creator(**parameters)))


class AsyncDialect(Dialect, PGDialectAsync_psycopg):
    """`postgresql+leakpool` for asyncio."""

    is_async = True
    supports_statement_cache = True

    @staticmethod
    def _pool_class() -> type[Any]:
        return _leakpool.AsyncPool

    @classmethod
    def import_dbapi(cls) -> Any:
        """PEP 249's module, with connections that wait for the event loop."""
        return _AsyncModule()

    def connect(self, *args: Any, **parameters: Any) -> Any:
        """A checkout of the pool; with a pool of SQLAlchemy's, a connection of its own."""
        if self._is_leak_pool and "async_creator_fn" not in parameters:
            return _AsyncConnection(await_only(self._checkout(parameters)))
        return self.loaded_dbapi.connect(**parameters)

    async def _checkout(self, parameters: Mapping[str, Any]) -> Any:
        if self._pool is None:
            pool: Any = _leakpool.AsyncPool(
                kwargs=parameters, open=False, **{**self._pool_options, **self._given}
            )
            self._pool = pool
            await pool.open()
        return await self._pool.getconn()

    def do_terminate(self, dbapi_connection: Any) -> None:
        """Ends the session, without waiting."""
        dbapi_connection.release(True)

    def _close_pool(self) -> None:
        pool, self._pool = (self._pool, None) if self._owns_pool else (None, self._pool)
        if pool is not None:
            await_only(pool.close())
