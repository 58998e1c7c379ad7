"""What the tests of pools share: pools on the test server, a clock that stands still, both event loops."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import leakpool
import psycopg
import pytest
from leakpool._leakpool import ManualClock


@pytest.fixture(scope="session")
def dsn() -> str:
    return os.environ["DATABASE_URL"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def make_pool(dsn: str) -> Iterator[Callable[..., leakpool.Pool[Any]]]:
    """Makes pools that are closed at the end of the test."""
    made: list[leakpool.Pool[Any]] = []

    def make(**options: Any) -> leakpool.Pool[Any]:
        options.setdefault("timeout", 10)
        pool: leakpool.Pool[Any] = leakpool.Pool(options.pop("conninfo", dsn), **options)
        made.append(pool)
        return pool

    yield make
    for pool in made:
        pool.close(timeout=0)


@pytest.fixture
def pool(make_pool: Callable[..., leakpool.Pool[Any]]) -> leakpool.Pool[Any]:
    return make_pool(max_size=3)


def _uvloop() -> asyncio.AbstractEventLoop:
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class WithoutReaders(asyncio.SelectorEventLoop):
    """A loop that watches no descriptors, as the proactor's."""

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> Any:
        raise NotImplementedError


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": _uvloop,
    "no-reader": WithoutReaders,
}

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a coroutine on each kind of loop."""
    loop = LOOPS[request.param]()

    def complete(main: Coroutine[Any, Any, Any]) -> Any:
        return loop.run_until_complete(asyncio.wait_for(main, 60))

    yield complete
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    gc.collect()


def eventually(condition: Callable[[], Any], what: str = "") -> Any:
    """Waits until it is true, with a generous limit."""
    deadline = time.monotonic() + 30
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"it never came true: {what or condition}"
        time.sleep(0.002)


@pytest.fixture
def server(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of another caller's, to look at the server and to kill sessions."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def kill(server: psycopg.Connection[Any], pid: int) -> None:
    server.execute("SELECT pg_terminate_backend(%s)", (pid,))
    eventually(
        lambda: not server.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchall(),
        "the session ended",
    )


#: Reasons for a skip that say that something is missing which `make test` brings along.
_MISSING = ("PGBOUNCER_URL is not set", "could not import")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Where everything has to be (`make test`), a test that is skipped because something is missing has failed."""
    report = yield
    why = str(report.longrepr[2]) if report.skipped and isinstance(report.longrepr, tuple) else ""
    if os.environ.get("LEAKPOOL_TEST_ALL") and any(missing in why for missing in _MISSING):
        report.outcome = "failed"
        report.longrepr = f"a test may not be skipped here: {why}"
    return report
