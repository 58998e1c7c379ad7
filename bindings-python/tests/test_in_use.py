"""A holder that is at work is never "unused", though no byte moves for it; what is asked for before a close is served;
and rows that are None are rows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import asyncpg
import leakpool
import pytest
import sqlalchemy
from _both import Library, lib  # noqa: F401
from conftest import Run, eventually
from leakpool import watch
from leakpool._leakpool import ManualClock
from leakpool.errors import PoolClosed

Make = Callable[..., leakpool.Pool[Any]]

#: Shorter than what takes a connection back, many times over longer.
STEP = 20.0
LIMITS: dict[str, Any] = {"leak_threshold": 30, "force_release_after": 300, "max_held": 0}


def _works(pool: Any, clock: ManualClock, steps: int, step: Callable[[], object]) -> None:
    """Each step comes a while after the last one; nobody is flagged, however long it takes in all."""
    for _ in range(steps):
        clock.advance(STEP)
        step()
        (info,) = pool.checkouts()
        assert info.verdict in ("healthy", "busy"), (info.verdict, info.idle_for)
        assert info.idle_for is None or info.idle_for < 1


def test_a_slow_holder_is_at_work(make_pool: Make, clock: ManualClock, dsn: str) -> None:
    pool = make_pool(max_size=1, clock=clock, **LIMITS)
    with pool.connection() as conn:
        rows = "SELECT generate_series(1, 1000)"
        cursor = conn.cursor()
        cursor.execute(rows)
        _works(pool, clock, 30, cursor.fetchone)
        _works(pool, clock, 30, lambda: cursor.fetchmany(2))
        iterator = iter(cursor)
        _works(pool, clock, 30, lambda: next(iterator))
        _works(pool, clock, 30, lambda: cursor.scroll(1) or cursor.fetchone())
        with conn.cursor("named") as named:
            named.execute(rows)
            named.itersize = 100
            iterator = iter(named)
            _works(pool, clock, 30, lambda: next(iterator))
        conn.execute("CREATE TEMP TABLE slow_copy (x int)")
        with conn.cursor().copy("COPY slow_copy FROM STDIN") as copy:
            _works(pool, clock, 30, lambda: copy.write_row([1]))
            _works(pool, clock, 30, lambda: copy.write("2\n"))
        with conn.cursor().copy("COPY (SELECT generate_series(1, 200)) TO STDOUT") as copy:
            out = copy.rows()
            _works(pool, clock, 30, lambda: next(out))
            _works(pool, clock, 30, copy.read_row)
            _works(pool, clock, 30, copy.read)
        stream = conn.cursor().stream(rows, size=100)
        _works(pool, clock, 30, lambda: next(stream))
        stream.close()


def test_a_slow_holder_is_at_work_on_a_loop(run: Run, dsn: str, clock: ManualClock) -> None:
    async def main() -> None:
        async with leakpool.AsyncPool(dsn, min_size=0, max_size=1, clock=clock, **LIMITS) as pool:

            async def works(step: Callable[[], Any]) -> None:
                for _ in range(20):
                    clock.advance(STEP)
                    await step()
                    (info,) = pool.checkouts()
                    assert info.verdict in ("healthy", "busy"), (info.verdict, info.idle_for)

            async with pool.connection() as conn:
                cursor = await conn.execute("SELECT generate_series(1, 1000)")
                await works(cursor.fetchone)
                await works(cursor.__anext__)
                async with aclosing(
                    conn.cursor().stream("SELECT generate_series(1, 1000)", size=100)
                ) as stream:
                    await works(stream.__anext__)
                await conn.execute("CREATE TEMP TABLE slow_copy (x int)")
                async with conn.cursor().copy("COPY slow_copy FROM STDIN") as copy:
                    await works(lambda: copy.write_row([1]))

    run(main())


def test_rows_that_are_none_are_rows(lib: Library) -> None:  # noqa: F811
    with lib.connect() as conn:
        sql = "SELECT NULL UNION ALL SELECT 1 UNION ALL SELECT NULL"
        make = lib.rows.scalar_row
        assert sorted(map(str, conn.cursor(row_factory=make).execute(sql))) == ["1", "None", "None"]
        assert list(conn.cursor(row_factory=lambda _: lambda row: None).execute("SELECT 1")) == [None]
        falsy = "SELECT * FROM (VALUES (0), (1)) v"
        assert list(conn.cursor(row_factory=make).execute(falsy)) == [0, 1]
        assert list(conn.cursor(row_factory=make).execute("SELECT '' UNION ALL SELECT 'x'")) == ["", "x"]
        assert list(conn.cursor(row_factory=make).stream(sql)).count(None) == 2
        named = conn.cursor("n", row_factory=make)
        named.execute(sql)
        assert list(named).count(None) == 2
        named.close()
        again = conn.cursor("m", row_factory=make)
        again.execute(sql)
        found = [next(again), next(again), next(again)] if lib.ours else list(again)
        assert found.count(None) == 2
        if lib.ours:
            with pytest.raises(StopIteration):
                next(again)
        again.close()


def test_rows_that_are_none_are_rows_on_a_loop(run: Run, dsn: str) -> None:
    async def main() -> None:
        async with leakpool.AsyncPool(dsn, min_size=0, max_size=1) as pool, pool.connection() as conn:
            sql = "SELECT NULL UNION ALL SELECT 1"
            make = leakpool.rows.scalar_row
            assert [row async for row in await conn.cursor(row_factory=make).execute(sql)] == [None, 1]
            named = conn.cursor("n", row_factory=make)
            await named.execute(sql)
            assert [row async for row in named] == [None, 1]
            await named.close()
            assert [row async for row in conn.cursor(row_factory=make).stream(sql)] == [None, 1]

    run(main())


def test_a_close_serves_those_who_had_come_before(make_pool: Make) -> None:
    pool = make_pool(max_size=1)
    held = pool.getconn()
    served: list[Any] = []

    def waits() -> None:
        with pool.connection(timeout=30) as conn:
            served.append(conn.execute("SELECT 7").fetchone())

    threads = [threading.Thread(target=waits) for _ in range(3)]
    for thread in threads:
        thread.start()
    eventually(lambda: pool.status().waiting == 3, "three wait")
    closing = threading.Thread(target=lambda: pool.close(timeout=30))
    closing.start()
    eventually(lambda: pool.closed, "it is closed")
    with pytest.raises(PoolClosed):
        pool.getconn(timeout=1)
    pool.putconn(held)
    for thread in [*threads, closing]:
        thread.join(60)
        assert not thread.is_alive()
    assert served == [(7,)] * 3


def test_a_close_serves_those_who_had_come_before_on_a_loop(run: Run, dsn: str) -> None:
    async def main() -> None:
        pool = leakpool.AsyncPool(dsn, min_size=0, max_size=1, open=False)
        await pool.open()

        async def asks(n: int) -> Any:
            async with pool.connection() as conn:
                return await (await conn.execute("SELECT %s::int", [n])).fetchone()

        asked = [asyncio.ensure_future(asks(n)) for n in range(4)]
        while pool.status().waiting + pool.status().connecting + pool.status().in_use < 4:
            await asyncio.sleep(0.001)
        await pool.close(timeout=30)
        assert [await one for one in asked] == [(n,) for n in range(4)]
        with pytest.raises(PoolClosed):
            await pool.getconn()

    run(main())


def test_asyncpg_is_followed_whatever_it_is_asked_by(dsn: str, clock: ManualClock) -> None:
    """Prepared statements and cursors go to the server past the connection's own methods."""

    async def main() -> None:
        async with asyncpg.create_pool(dsn, min_size=1, max_size=1) as pool:
            with watch(pool, clock=clock, leak_threshold=30, force_release_after=300) as detector:
                async with pool.acquire() as conn:

                    async def runs(asked: Any, text: str) -> Any:
                        running = asyncio.ensure_future(asked)
                        while detector.checkouts()[0].activity != "executing":
                            assert not running.done(), running
                            await asyncio.sleep(0.002)
                        (info,) = detector.checkouts()
                        assert text in str(info.last_sql), info.last_sql
                        clock.advance(1000)
                        assert detector.checkouts()[0].verdict == "busy"
                        result = await running
                        assert detector.checkouts()[0].activity != "executing"
                        return result

                    slow = "SELECT 7 FROM pg_sleep(0.1)"
                    prepared = await conn.prepare(slow)
                    assert await runs(prepared.fetchval(), slow) == 7
                    assert len(await runs(prepared.fetch(), slow)) == 1
                    await runs(prepared.executemany([()]), slow)
                    assert await runs(conn.fetchval(slow), slow) == 7
                    await runs(conn.execute(slow), slow)
                    async with conn.transaction():
                        cursor = await conn.cursor("SELECT pg_sleep(0.05) FROM generate_series(1, 3)")
                        await runs(cursor.fetch(2), "generate_series")
                        (info,) = detector.checkouts()
                        assert info.activity == "idle_in_transaction"
                        async for _ in prepared.cursor():
                            pass
                    await conn.execute("CREATE TEMP TABLE copied (x text)")
                    out: list[bytes] = []

                    async def sink(data: bytes) -> None:
                        out.append(data)

                    await runs(conn.copy_from_query(slow, output=sink), "pg_sleep")
                    await conn.copy_records_to_table("copied", records=[("a",)])
                    assert await conn.fetchval("SELECT count(*) FROM copied") == 1
                assert detector.metrics().leaks == 0
            assert await pool.fetchval("SELECT 5") == 5

    asyncio.run(main())


def test_sqlalchemy_is_not_accused_of_what_nobody_follows(dsn: str, clock: ManualClock) -> None:
    """The driver's own connection, and rows that are fetched from the server past SQLAlchemy's events."""
    url = "postgresql+psycopg" + dsn[dsn.index("://") :]
    engine = sqlalchemy.create_engine(url, pool_size=2)
    with watch(engine, clock=clock, leak_threshold=30, force_release_after=300) as detector:
        raw = engine.raw_connection()
        clock.advance(10_000)
        (info,) = detector.checkouts()
        assert (info.activity, info.verdict, info.idle_for, info.executing_for) == (
            "unknown",
            "busy",
            None,
            None,
        )
        cursor = raw.cursor()
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
        raw.close()
        with engine.connect() as conn:
            (info,) = detector.checkouts()
            assert info.activity == "idle"
            rows = conn.execute(
                sqlalchemy.text("SELECT generate_series(1, 5)"),
                execution_options={"stream_results": True, "max_row_buffer": 1},
            )
            for _ in rows:
                clock.advance(1000)
                assert detector.checkouts()[0].activity == "unknown"
            conn.execute(sqlalchemy.text("SELECT 2"))
            assert detector.checkouts()[0].activity == "idle_in_transaction"
        # One that is unused is found as before.
        forgotten = engine.connect()
        clock.advance(31)
        assert [c.reported or c.verdict == "suspected" for c in detector.checkouts()] == [True]
        forgotten.close()
    with watch(engine.pool, clock=clock, leak_threshold=30, force_release_after=300) as detector:
        held = engine.connect()
        clock.advance(10_000)
        assert detector.checkouts()[0].activity == "unknown" and detector.leaks() == []
        held.close()
    engine.dispose()
