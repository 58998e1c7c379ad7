"""Async connections and cursors: their twins' manners, turns of tasks, cancellation at every wait."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import leakpool
import pytest
from _both import DSN, OURS, Library, lib  # noqa: F401
from conftest import Run

# ruff: noqa: F811

Body = Callable[[Any], Awaitable[Any]]


def on(run: Run, body: Body, library: Library = OURS, autocommit: bool = True) -> Any:
    """Runs a body with an async connection."""

    async def main() -> Any:
        async with library.aconnect(autocommit=autocommit) as conn:
            return await body(conn)

    return run(main())


async def value(conn: Any, sql: str, *params: Any) -> Any:
    row = await (await conn.execute(sql, params or None)).fetchone()
    return row[0]


def test_queries(run: Run) -> None:
    async def body(conn: Any) -> None:
        cursor = await conn.execute("SELECT n, %s FROM generate_series(1, 5) n", ["x"])
        assert await cursor.fetchone() == (1, "x")
        assert await cursor.fetchmany(2) == [(2, "x"), (3, "x")]
        assert await cursor.fetchall() == [(4, "x"), (5, "x")]
        await cursor.scroll(0, "absolute")
        assert [n async for n, _ in cursor] == [1, 2, 3, 4, 5]
        await cursor.execute("SELECT 1; SELECT 2")
        assert [await r.fetchall() async for r in cursor.results()] == [[(1,)], [(2,)]]
        assert await (await cursor.set_result(0)).fetchone() == (1,)
        assert cursor.nextset() is True
        assert cursor.nextset() is None
        async with conn.cursor(row_factory=leakpool.rows.dict_row) as dicts:
            await dicts.execute("SELECT 1 a")
            assert await dicts.fetchone() == {"a": 1}
        assert dicts.closed
        with pytest.raises(leakpool.InterfaceError, match="cursor is closed"):
            await dicts.fetchone()

    on(run, body)


def test_many(run: Run) -> None:
    async def body(conn: Any) -> None:
        await conn.execute("CREATE TEMP TABLE m (a int PRIMARY KEY)")
        cursor = conn.cursor()
        await cursor.executemany("INSERT INTO m VALUES (%s)", [(n,) for n in range(300)])
        assert cursor.rowcount == 300
        await cursor.executemany(
            "INSERT INTO m VALUES (%s) RETURNING a", [(n,) for n in (-1, -2)], returning=True
        )
        assert [await r.fetchall() async for r in cursor.results()] == [[(-1,)], [(-2,)]]
        with pytest.raises(leakpool.errors.UniqueViolation):
            await cursor.executemany("INSERT INTO m VALUES (%s)", [(1000,), (1,)])
        assert await value(conn, "SELECT count(*) FROM m") == 302

    on(run, body)


def test_named_cursors(run: Run) -> None:
    async def body(conn: Any) -> None:
        async with conn.cursor("named", scrollable=True) as cursor:
            await cursor.execute("SELECT generate_series(1, %s) a", [250])
            assert [c.name for c in cursor.description] == ["a"]
            assert await cursor.fetchone() == (1,)
            assert await cursor.fetchmany(2) == [(2,), (3,)]
            await cursor.scroll(-1)
            assert [a async for (a,) in cursor] == list(range(3, 251))
            await cursor.scroll(249, "absolute")
            assert await cursor.fetchall() == [(250,)]
            with pytest.raises(leakpool.NotSupportedError):
                await cursor.executemany("SELECT %s", [])
        assert await value(conn, "SELECT count(*) FROM pg_cursors") == 0

    on(run, body, autocommit=False)


@pytest.mark.parametrize("rows", [3, 5000])
def test_streams(run: Run, lib: Library, rows: int) -> None:
    async def body(conn: Any) -> None:
        stream = conn.cursor().stream("SELECT generate_series(1, %s)", [rows])
        assert [n async for (n,) in stream] == list(range(1, rows + 1))

    on(run, body, lib) if lib.ours else None


def test_a_stream_that_is_left(run: Run) -> None:
    async def body(conn: Any) -> None:
        cursor = conn.cursor()
        async with contextlib.aclosing(cursor.stream("SELECT generate_series(1, 1000000)")) as stream:
            async for (n,) in stream:
                if n == 1500:
                    break
        assert conn.info.transaction_status == 0
        assert await value(conn, "SELECT 1") == 1
        stream = cursor.stream("SELECT generate_series(1, 10)")
        await anext(stream)
        with pytest.raises(leakpool.OperationalError, match=r"already in progress: stream\(\)"):
            await conn.execute("SELECT 1")
        await stream.aclose()
        assert await value(conn, "SELECT 1") == 1

    on(run, body)


def test_a_stream_that_is_left_by_break(run: Run) -> None:
    async def body(conn: Any) -> None:
        for rows in (3, 5000, 1_000_000):
            async for (n,) in conn.cursor().stream("SELECT generate_series(1, %s)", [rows]):
                if n == 2:
                    break
            assert await value(conn, "SELECT 1") == 1

    on(run, body)


def test_notifications(run: Run) -> None:
    async def body(conn: Any) -> None:
        await conn.execute("LISTEN channel")

        async def notify() -> None:
            async with OURS.aconnect(autocommit=True) as other:
                await other.execute("NOTIFY channel, 'x'")

        task = asyncio.ensure_future(notify())
        found = [n async for n in conn.notifies(timeout=20, stop_after=1)]
        assert [(n.channel, n.payload) for n in found] == [("channel", "x")]
        await task
        began = time.monotonic()
        assert [n async for n in conn.notifies(timeout=0.1)] == []
        assert time.monotonic() - began >= 0.09
        # Others use the connection while one task listens.
        waiting = asyncio.ensure_future(anext(conn.notifies(timeout=20)))
        await asyncio.sleep(0)
        await conn.execute("NOTIFY channel, 'y'")
        assert (await waiting).payload == "y"

    on(run, body)


def test_tasks_take_turns(run: Run) -> None:
    async def body(conn: Any) -> None:
        await conn.execute("CREATE TEMP TABLE t (a int)")

        async def work(n: int) -> int:
            await conn.execute("INSERT INTO t VALUES (%s)", [n])
            return int(await value(conn, "SELECT %s", n))

        assert await asyncio.gather(*(work(n) for n in range(50))) == list(range(50))
        # One BEGIN for all of them.
        assert conn.info.transaction_status == 2
        await conn.commit()
        assert await value(conn, "SELECT count(*) FROM t") == 50

    on(run, body, autocommit=False)


async def cancelled_while(conn: Any, waiting: Callable[[], Awaitable[Any]]) -> None:
    """Cancels a task as soon as the server sleeps for it."""
    pid = conn.info.backend_pid
    task = asyncio.ensure_future(waiting())
    async with OURS.aconnect(autocommit=True) as other:
        asleep = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"
        while not await value(other, asleep, pid):
            assert not task.done(), task
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await value(conn, "SELECT 7") == 7


async def drained(stream: Any) -> list[Any]:
    return [row async for row in stream]


SLEEPS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "execute": lambda c: c.execute("SELECT pg_sleep(60)"),
    "execute with parameters": lambda c: c.execute("SELECT pg_sleep(%s)", [60]),
    "executemany": lambda c: c.cursor().executemany("SELECT pg_sleep(%s)", [(60,), (60,)]),
    "stream": lambda c: drained(c.cursor().stream("SELECT pg_sleep(60)")),
    "stream on its way": lambda c: drained(
        c.cursor().stream("SELECT n, CASE WHEN n = 5 THEN pg_sleep(60) END FROM generate_series(1, 9) n")
    ),
    "copy": lambda c: copied(c),
}


async def copied(conn: Any) -> None:
    async with conn.cursor().copy("COPY (SELECT pg_sleep(60)) TO STDOUT") as copy:
        await copy.read()


@pytest.mark.parametrize("what", SLEEPS)
def test_a_cancelled_task_cancels_its_statement(run: Run, what: str) -> None:
    async def body(conn: Any) -> None:
        await cancelled_while(conn, lambda: SLEEPS[what](conn))
        assert conn.info.transaction_status == 0

    on(run, body)


def test_cancelled_in_a_transaction_it_has_failed(run: Run) -> None:
    async def body(conn: Any) -> None:
        with pytest.raises(ZeroDivisionError):
            async with conn.transaction():
                with pytest.raises(leakpool.errors.InFailedSqlTransaction):
                    await cancelled_while(conn, lambda: conn.execute("SELECT pg_sleep(60)"))
                raise ZeroDivisionError
        assert conn.info.transaction_status == 0
        assert await value(conn, "SELECT 1") == 1

    on(run, body)


def test_a_time_out_is_a_cancellation(run: Run) -> None:
    async def body(conn: Any) -> None:
        for _ in range(5):
            with pytest.raises((asyncio.TimeoutError, TimeoutError)):
                await asyncio.wait_for(conn.execute("SELECT pg_sleep(60)"), 0.02)
            assert await value(conn, "SELECT 1") == 1

    on(run, body)


def test_a_task_that_waits_for_its_turn_is_cancelled(run: Run) -> None:
    async def body(conn: Any) -> None:
        first = asyncio.ensure_future(value(conn, "SELECT pg_sleep(0.2) IS NOT NULL"))
        await asyncio.sleep(0.01)
        second = asyncio.ensure_future(value(conn, "SELECT 2"))
        await asyncio.sleep(0.01)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert await first is True
        assert await value(conn, "SELECT 3") == 3

    on(run, body)


def test_cancelled_before_it_began(run: Run) -> None:
    async def body(conn: Any) -> None:
        task = asyncio.ensure_future(conn.execute("CREATE TEMP TABLE never (a int)"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await value(conn, "SELECT to_regclass('never') IS NULL") is True

    on(run, body)


def test_many_cancellations_leave_it_usable(run: Run) -> None:
    async def body(conn: Any) -> None:
        for n in range(60):
            task = asyncio.ensure_future(value(conn, "SELECT count(*) FROM generate_series(1, 3000)"))
            for _ in range(n % 4):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            # Long enough for a cancel that is late to hit it.
            assert await value(conn, "SELECT %s FROM pg_sleep(0.003)", n) == n

    on(run, body)


def test_from_another_thread_is_an_error_or_works() -> None:
    """An async connection belongs to its loop: in another one it says so, and harms nothing."""

    async def body() -> None:
        async with OURS.aconnect(autocommit=True) as conn:
            told: list[Any] = []

            async def elsewhere() -> None:
                try:
                    told.append(await value(conn, "SELECT 1"))
                except (leakpool.Error, RuntimeError) as e:
                    told.append(e)

            thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
            thread.start()
            while thread.is_alive():
                await asyncio.sleep(0.005)
            assert told
            assert told[0] == 1 or str(told[0])
            assert await value(conn, "SELECT 2") == 2

    asyncio.run(asyncio.wait_for(body(), 60))


def test_without_a_loop() -> None:
    async def made() -> tuple[Any, Any]:
        pool = leakpool.AsyncPool(DSN, max_size=1, open=False)
        await pool.open()
        return pool, await pool.getconn()

    async def over(pool: Any, conn: Any) -> None:
        await pool.putconn(conn)
        await pool.close()

    pool, conn = asyncio.run(made())
    work = conn.execute("SELECT 1")
    with pytest.raises((RuntimeError, leakpool.Error)):
        work.send(None)
    work.close()
    asyncio.run(over(pool, conn))


def test_notices_and_handlers(run: Run) -> None:
    async def body(conn: Any) -> None:
        notices: list[Any] = []
        notifies: list[Any] = []
        conn.add_notice_handler(notices.append)
        conn.add_notify_handler(notifies.append)
        await conn.execute("DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
        await conn.execute("LISTEN c")
        await conn.execute("NOTIFY c, 'p'")
        await conn.execute("SELECT 1")
        assert [d.message_primary for d in notices] == ["hello"]
        assert [n.payload for n in notifies] == ["p"]

    on(run, body)


def test_cancel(run: Run) -> None:
    async def body(conn: Any) -> None:
        task = asyncio.ensure_future(conn.execute("SELECT pg_sleep(60)"))
        while conn.info.transaction_status != 1:
            await asyncio.sleep(0.001)
        while not task.done():
            # One that comes before the server has begun is lost.
            await conn.cancel_safe()
            await asyncio.sleep(0.01)
        with pytest.raises(leakpool.errors.QueryCanceled):
            await task
        assert await value(conn, "SELECT 1") == 1

    on(run, body)


def test_a_connection_without_a_pool(run: Run, lib: Library) -> None:
    async def body() -> None:
        async with await lib.module.AsyncConnection.connect(DSN, autocommit=True) as conn:
            assert conn.autocommit
            assert await value(conn, "SELECT 1") == 1
        assert conn.closed
        with pytest.raises(lib.errors.OperationalError, match="the connection is closed"):
            await conn.execute("SELECT 1")
        await conn.close()

    if lib.ours:
        run(body())


def test_the_end_of_a_connection(run: Run) -> None:
    async def body(conn: Any) -> None:
        cursor = await conn.execute("SELECT 1")
        await conn.close()
        await conn.close()
        # What has come is still there.
        assert await cursor.fetchone() == (1,)
        for ask in (
            conn.commit,
            conn.rollback,
            lambda: conn.execute("SELECT 1"),
            conn.transaction().__aenter__,
        ):
            with pytest.raises(leakpool.OperationalError, match="the connection is closed"):
                await ask()
        with pytest.raises(leakpool.OperationalError, match="the connection is closed"):
            conn.cursor()

    on(run, body)
