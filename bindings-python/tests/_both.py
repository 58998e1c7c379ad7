"""One test body for leakpool and for psycopg itself: connections of both on the same server, and outcomes of both in a
form that can be compared."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import leakpool
import leakpool.errors
import leakpool.rows
import psycopg
import psycopg.errors
import psycopg.rows
import pytest

DSN = os.environ["DATABASE_URL"]


class Library:
    """What tests use of a library, under the names that both have."""

    def __init__(self, module: Any) -> None:
        self.name: str = module.__name__
        self.module = module
        self.errors: Any = module.errors
        self.rows: Any = module.rows
        self.ours = module is leakpool

    def __repr__(self) -> str:
        return self.name

    @contextmanager
    def connect(self, autocommit: bool = False) -> Iterator[Any]:
        if not self.ours:
            with psycopg.connect(DSN, autocommit=autocommit) as connection:
                yield connection
            return
        with leakpool.Pool(DSN, min_size=0, max_size=1) as pool:
            connection = pool.getconn()
            try:
                if autocommit:
                    connection.autocommit = True
                yield connection
            finally:
                if not connection.released:
                    connection.close()

    @asynccontextmanager
    async def aconnect(self, autocommit: bool = False) -> AsyncIterator[Any]:
        if not self.ours:
            async with await psycopg.AsyncConnection.connect(DSN, autocommit=autocommit) as connection:
                yield connection
            return
        async with leakpool.AsyncPool(DSN, min_size=0, max_size=1) as pool:
            connection = await pool.getconn()
            try:
                if autocommit:
                    await connection.set_autocommit(True)
                yield connection
            finally:
                if not connection.released:
                    await connection.close()


OURS, THEIRS = Library(leakpool), Library(psycopg)


@pytest.fixture(params=[OURS, THEIRS], ids=str)
def lib(request: pytest.FixtureRequest) -> Library:
    library: Library = request.param
    return library


@pytest.fixture
def conn(lib: Library) -> Iterator[Any]:
    """A connection in autocommit mode."""
    with lib.connect(autocommit=True) as connection:
        yield connection


@pytest.fixture
def tx(lib: Library) -> Iterator[Any]:
    """A connection that begins transactions."""
    with lib.connect() as connection:
        yield connection


def run(body: Callable[[], Awaitable[Any]]) -> Any:
    """An async test body."""

    async def limited() -> Any:
        return await asyncio.wait_for(body(), 60)

    return asyncio.run(limited())


def outcome(make: Callable[[], Any]) -> Any:
    """A value in comparable form, or what is told of an exception."""
    try:
        return plain(make())
    except Exception as e:  # noqa: BLE001
        return raised(e)


def raised(e: BaseException) -> tuple[Any, ...]:
    """An exception without the name of the library that raised it."""
    tree = [c.__name__ for c in type(e).__mro__ if c.__name__ in TREE or getattr(c, "sqlstate", None)]
    return ("raised", tree or [type(e).__name__], getattr(e, "sqlstate", None), anonymous(str(e)))


TREE = {
    "Error",
    "InterfaceError",
    "DatabaseError",
    "DataError",
    "OperationalError",
    "IntegrityError",
    "InternalError",
    "ProgrammingError",
    "NotSupportedError",
}


def anonymous(text: str) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", text.replace("psycopg", "leakpool"))


def plain(value: Any) -> Any:
    if type(value).__name__ == "Column":
        return ("Column", value.name, *value, value.type_display, repr(value))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return (type(value).__name__, *value)
    if isinstance(value, list | tuple):
        return type(value)(plain(v) for v in value)
    if isinstance(value, memoryview):
        return bytes(value)
    return value
