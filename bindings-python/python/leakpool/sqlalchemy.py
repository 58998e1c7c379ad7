"""SQLAlchemy's dialect `postgresql+leakpool`, sync and async.

    engine = create_engine("postgresql+leakpool://app@db/shop", pool_size=10, leakpool={"leak_threshold": 30})
    engine = create_async_engine("postgresql+leakpool://app@db/shop")
    engine = create_engine("postgresql+leakpool://", leakpool=pool)  # a `Pool` that the program has already

The engine keeps no connections of its own: each `engine.connect()` is a checkout from a leakpool pool, each `close()` gives
it back, so that a leak is found where SQLAlchemy's caller connected. The pool is made with the first connection and closed
by `engine.dispose()`; `leakpool={...}` are its options, and `pool_size`, `max_overflow`, `pool_timeout`, `pool_recycle` mean
what they mean to SQLAlchemy. A pool that is passed in stays the program's.

With another `poolclass` (`QueuePool`, say), SQLAlchemy keeps the connections itself; each is then a session of its own.

Otherwise it is SQLAlchemy's dialect for psycopg 3, with the classes of leakpool. What there is not: two-phase commits, and
`json_deserializer` (use `leakpool.types.set_json_loads`).
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import leakpool as _leakpool
from sqlalchemy import exc
from sqlalchemy.dialects.postgresql import CIDR, INET
from sqlalchemy.dialects.postgresql.psycopg import (
    AsyncAdapt_psycopg_connection,
    AsyncAdapt_psycopg_cursor,
    AsyncAdapt_psycopg_ss_cursor,
    PGDialect_psycopg,
    PGDialectAsync_psycopg,
    PsycopgAdaptDBAPI,
)
from sqlalchemy.pool import NullPool
from sqlalchemy.util import memoized_property, update_copy
from sqlalchemy.util.concurrency import await_only

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
        self._stated = {"pool_size": pool_size, "max_overflow": max_overflow, "timeout": timeout, "recycle": recycle}
        if pool_size is not None or max_overflow is not None:
            size = (5 if pool_size is None else pool_size) + (0 if max_overflow is None else max_overflow)
            if size < 1:
                raise exc.ArgumentError(f"pool_size + max_overflow ({size}) must be at least 1: leakpool has no endless pools")
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

    def __init__(self, leakpool: Pool[Any] | AsyncPool[Any] | Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        if kwargs.get("json_deserializer") is not None:
            raise exc.ArgumentError("json_deserializer is not supported by postgresql+leakpool: use leakpool.types.set_json_loads")
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


class _AsyncCursor(AsyncAdapt_psycopg_cursor):
    __slots__ = ()

    async def _execute_async(self, operation: Any, parameters: Any) -> Any:
        if parameters is None:
            result = await self._cursor.execute(operation)
        else:
            result = await self._cursor.execute(operation, parameters)
        if not self.server_side and self._cursor.description is not None:
            self._rows = collections.deque(await self._cursor.fetchall())
        return result


class _AsyncServerCursor(AsyncAdapt_psycopg_ss_cursor, _AsyncCursor):
    __slots__ = ()


class _AsyncConnection(AsyncAdapt_psycopg_connection):
    __slots__ = ()

    _cursor_cls = _AsyncCursor
    _ss_cursor_cls = _AsyncServerCursor

    def cursor(self, name: str | None = None, /) -> Any:
        return _AsyncServerCursor(self, name) if name else _AsyncCursor(self)

    @property
    def isolation_level(self) -> Any:
        return self._connection.isolation_level

    @property
    def _own_pool(self) -> Any:
        return self._connection._own_pool

    def release(self) -> None:
        self._connection.release()


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
        return PsycopgAdaptDBAPI(_leakpool, None)

    def connect(self, *args: Any, **parameters: Any) -> Any:
        """A checkout of the pool; with a pool of SQLAlchemy's, a connection of its own."""
        creator = parameters.pop("async_creator_fn", None)
        if creator is not None:
            connection = creator(*args, **parameters)
        elif self._is_leak_pool:
            connection = self._checkout(parameters)
        else:
            connection = _leakpool.AsyncConnection.connect(**parameters)
        return await_only(_AsyncConnection.create(self.loaded_dbapi, connection))

    async def _checkout(self, parameters: Mapping[str, Any]) -> Any:
        if self._pool is None:
            pool: Any = _leakpool.AsyncPool(kwargs=parameters, open=False, **{**self._pool_options, **self._given})
            self._pool = pool
            await pool.open()
        return await self._pool.getconn()

    def do_terminate(self, dbapi_connection: Any) -> None:
        """Ends the session, without waiting."""
        dbapi_connection._connection.release(True)

    def _close_pool(self) -> None:
        pool, self._pool = (self._pool, None) if self._owns_pool else (None, self._pool)
        if pool is not None:
            await_only(pool.close())
