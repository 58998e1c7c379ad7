"""`AsyncPool`: as `Pool`, for tasks, on every kind of loop; and nothing is lost wherever a task is cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import leakpool
import psycopg
import pytest
from conftest import Run, eventually
from leakpool.errors import ForceReleased, PoolClosed, PoolTimeout, TooManyRequests


async def value(conn: Any, sql: str) -> Any:
    return (await (await conn.execute(sql)).fetchone())[0]


def make(dsn: str, **options: Any) -> leakpool.AsyncPool[Any]:
    options.setdefault("timeout", 10)
    options.setdefault("max_size", 3)
    return leakpool.AsyncPool(dsn, **options)


async def eventually_async(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


def test_a_block_commits_rolls_back_and_returns(dsn: str, run: Run, server: psycopg.Connection[Any]) -> None:
    server.execute("DROP TABLE IF EXISTS committed; CREATE TABLE committed (x int)")

    async def main() -> None:
        async with make(dsn) as pool:
            async with pool.connection() as conn:
                await conn.execute("INSERT INTO committed VALUES (1)")
            with pytest.raises(ZeroDivisionError):
                async with pool.connection() as conn:
                    await conn.execute("INSERT INTO committed VALUES (2)")
                    raise ZeroDivisionError
            assert pool.status().in_use == 0
            assert pool.metrics().dirty_releases == 0
            assert pool.metrics().created == 1
        assert pool.closed

    run(main())
    assert server.execute("SELECT x FROM committed").fetchall() == [(1,)]


def test_many_tasks_share_few_connections(dsn: str, run: Run) -> None:
    async def main() -> None:
        async with make(dsn, max_size=4) as pool:

            async def work(n: int) -> int:
                async with pool.connection() as conn:
                    return int(await value(conn, f"SELECT {n}"))

            assert sum(await asyncio.gather(*map(work, range(200)))) == sum(range(200))
            metrics = pool.metrics()
            assert metrics.acquired == metrics.released == 200 and metrics.created <= 4

    run(main())


def test_getconn_putconn_and_a_timeout(dsn: str, run: Run) -> None:
    async def main() -> None:
        async with make(dsn, max_size=1) as pool:
            conn = await pool.getconn()
            with pytest.raises(PoolTimeout, match=r"couldn't get a connection after 0\.05 sec"):
                await pool.getconn(timeout=0.05)
            with pytest.raises(PoolTimeout):
                async with pool.connection(timeout=0.05):
                    pass
            await pool.putconn(conn)
            with pytest.raises(ValueError, match="it was given back before"):
                await pool.putconn(conn)
            assert pool.status().in_use == 0

    run(main())


def test_too_many_requests(dsn: str, run: Run) -> None:
    async def main() -> None:
        async with make(dsn, max_size=1, max_waiting=1) as pool:
            async with pool.connection():
                waiter = asyncio.ensure_future(pool.getconn())
                await eventually_async(lambda: pool.status().waiting == 1)
                with pytest.raises(TooManyRequests):
                    await pool.getconn()
            await pool.putconn(await waiter)

    run(main())


def test_an_operation_is_awaited_once(dsn: str, run: Run) -> None:
    async def main() -> None:
        async with make(dsn) as pool:
            operation = pool.getconn()
            conn = await operation
            with pytest.raises(RuntimeError, match="awaited before"):
                await operation
            await pool.putconn(conn)
            # One that nobody awaits asks for nothing.
            pool._getconn_async()
            async with pool.connection() as first, pool.connection() as second, pool.connection() as third:
                query = third.query_async("SELECT 1/0")
                assert [await value(c, "SELECT 1") for c in (first, second, third)] == [1, 1, 1]
                del query
            assert pool.status().in_use == 0

    run(main())


# ---- cancellation ------------------------------------------------------------------------------------------------


def test_a_cancelled_waiter_leaves_nothing(dsn: str, run: Run) -> None:
    async def main() -> None:
        async with make(dsn, max_size=1) as pool:
            async with pool.connection():
                tasks = [asyncio.ensure_future(pool.getconn()) for _ in range(5)]
                await eventually_async(lambda: pool.status().waiting == 5)
                for task in tasks:
                    task.cancel()
                assert all(
                    isinstance(e, asyncio.CancelledError)
                    for e in await asyncio.gather(*tasks, return_exceptions=True)
                )
                await eventually_async(lambda: pool.status().waiting == 0)
            async with pool.connection() as conn:
                assert await value(conn, "SELECT 1") == 1
            metrics = pool.metrics()
            assert metrics.acquired == metrics.released and metrics.active == 0

    run(main())


def test_a_connection_that_comes_with_the_cancellation_is_not_lost(dsn: str, run: Run) -> None:
    async def main() -> None:
        async with make(dsn, max_size=1) as pool:
            for _ in range(50):
                conn = await pool.getconn()
                waiter = asyncio.ensure_future(pool.getconn())
                await eventually_async(lambda: pool.status().waiting == 1)
                # The connection goes to the waiter on the I/O thread; the loop has not heard of it yet.
                conn.release()
                waiter.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiter
            await eventually_async(lambda: pool.status().in_use == 0)
            metrics = pool.metrics()
            assert metrics.acquired == metrics.released and metrics.leaks == 0

    run(main())


def test_a_task_cancelled_at_every_step_returns_its_connection(dsn: str, run: Run) -> None:
    async def main() -> None:
        async with make(dsn, max_size=2) as pool:

            async def work() -> None:
                async with pool.connection() as conn:
                    await conn.execute("SELECT 1")
                    async with conn.transaction():
                        await conn.execute("SELECT pg_sleep(0.001)")
                    await asyncio.sleep(0)

            for steps in range(40):
                task = asyncio.ensure_future(work())
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await eventually_async(lambda: pool.status().in_use == 0 and pool.status().returning == 0)
            async with pool.connection() as conn:
                assert conn.info.transaction_status == 0
                assert await value(conn, "SELECT 1") == 1
            metrics = pool.metrics()
            assert metrics.acquired == metrics.released and metrics.leaks == 0

    run(main())


def test_a_cancelled_statement_is_cancelled_on_the_server(dsn: str, run: Run) -> None:
    async def main() -> None:
        async with make(dsn) as pool, pool.connection() as conn:
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.03):
                        await conn.execute("SELECT pg_sleep(60)")
                # As psycopg: it was waited for, and the connection is as it seems.
                assert conn.info.transaction_status == 3
                await conn.rollback()
                assert await value(conn, "SELECT 2") == 2
                await conn.rollback()

    run(main())


def test_a_second_cancellation_does_not_wait(dsn: str, run: Run, server: psycopg.Connection[Any]) -> None:
    async def main() -> None:
        async with make(dsn, max_size=1) as pool:
            conn = await pool.getconn()
            task = asyncio.ensure_future(conn.execute("SELECT pg_sleep(60)"))
            await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await pool.putconn(conn)
            async with pool.connection() as conn:
                assert await value(conn, "SELECT 1") == 1
            assert pool.metrics().created == 1, "what ran was cancelled, and the session came back"

    run(main())


# ---- callbacks ---------------------------------------------------------------------------------------------------


def test_callbacks_are_coroutine_functions(dsn: str, run: Run) -> None:
    seen: list[str] = []

    async def configure(conn: Any) -> None:
        seen.append("configure")
        await conn.set_autocommit(True)

    async def check(conn: Any) -> None:
        seen.append("check")
        await leakpool.AsyncPool.check_connection(conn)

    async def reset(conn: Any) -> None:
        seen.append("reset")
        assert await value(conn, "SELECT 1") == 1

    async def main() -> None:
        async with make(dsn, max_size=1, configure=configure, check=check, reset=reset) as pool:
            for _ in range(2):
                async with pool.connection() as conn:
                    assert conn.autocommit
            conn = await pool.getconn()
            await pool.putconn(conn)
            assert pool.metrics().created == 1

    run(main())
    assert seen == ["configure", "check", "reset", "check", "reset", "check", "reset"]


def test_callbacks_that_raise(dsn: str, run: Run) -> None:
    async def fail(conn: Any) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        async with make(dsn, max_size=1, configure=fail) as pool:
            with pytest.raises(ZeroDivisionError):
                async with pool.connection():
                    pass
            assert pool.status().in_use == 0
        async with make(dsn, max_size=1, check=fail) as pool:
            with pytest.raises(PoolTimeout):
                await pool.getconn(timeout=0.2)
            assert pool.status().in_use == 0
        async with make(dsn, max_size=1, reset=fail) as pool:
            async with pool.connection():
                pass
            assert pool.get_stats()["returns_bad"] == 1

    run(main())


def test_a_callback_cancelled_in_the_middle(dsn: str, run: Run) -> None:
    async def slow(conn: Any) -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        async with make(dsn, max_size=1, configure=slow) as pool:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05), pool.connection():
                    pass
            await eventually_async(lambda: pool.status().in_use == 0)
        async with make(dsn, max_size=1, reset=slow) as pool:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05), pool.connection():
                    pass
            await eventually_async(lambda: pool.status().in_use == 0)

    run(main())


# ---- closing, loops ----------------------------------------------------------------------------------------------


def test_close_takes_back(dsn: str, run: Run) -> None:
    async def main() -> None:
        pool = make(dsn, max_size=1)
        conn = await pool.getconn()
        waiter = asyncio.ensure_future(pool.getconn(timeout=60))
        await eventually_async(lambda: pool.status().waiting == 1)
        (held,) = await pool.close(timeout=0)
        assert held.site.file == __file__
        with pytest.raises(PoolClosed):
            await waiter
        with pytest.raises(ForceReleased):
            await conn.execute("SELECT 1")
        assert await pool.close() == []
        with pytest.raises(PoolClosed):
            await pool.getconn()

    run(main())


def test_wait_resize_check_and_drain(dsn: str, run: Run) -> None:
    async def main() -> None:
        async with make(dsn, min_size=2, max_size=2) as pool:
            await pool.wait()
            assert pool.status().size == 2
            await pool.check()
            await eventually_async(lambda: pool.status().idle == 2)
            assert pool.metrics().created == 2
            await pool.drain()
            await pool.wait()
            assert pool.metrics().created >= 4
            pool.resize(0, 1)
            await eventually_async(lambda: pool.status().size <= 1)
        pool = leakpool.AsyncPool("host=127.0.0.1 port=1 dbname=x user=x", min_size=1, max_size=1)
        with pytest.raises(PoolTimeout, match="initialization incomplete"):
            await pool.wait(timeout=0.2)
        assert pool.closed

    run(main())


def test_one_pool_on_several_loops(dsn: str) -> None:
    pool = make(dsn, max_size=2)

    async def work() -> int:
        async with pool.connection() as conn:
            return int(await value(conn, "SELECT 7"))

    assert [asyncio.run(work()) for _ in range(3)] == [7, 7, 7]
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(asyncio.run(work()))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert got == [7] * 6
    asyncio.run(pool.close())


def test_two_loops_taken_in_turns(dsn: str) -> None:
    pool = make(dsn, max_size=2)

    async def work() -> int:
        async with pool.connection() as conn:
            return int(await value(conn, "SELECT 7"))

    loops = [asyncio.new_event_loop() for _ in range(2)]
    for _ in range(3):
        for loop in loops:
            assert loop.run_until_complete(work()) == 7
    for loop in loops:
        loop.close()
    asyncio.run(pool.close())


def test_a_loop_that_is_closed_in_the_middle(dsn: str) -> None:
    pool = make(dsn, max_size=1)
    loop = asyncio.new_event_loop()

    async def forget() -> None:
        conn = await pool.getconn()
        conn.task = asyncio.ensure_future(conn.execute("SELECT pg_sleep(60)"))
        conn.task._log_destroy_pending = False
        await asyncio.sleep(0.01)

    async def another() -> None:
        await pool._wait_async(0, 1.0)

    loop.run_until_complete(forget())
    loop.close()
    # What it ran is nobody's any more. Found out when this thread uses another loop.
    import gc
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(another())
        eventually(lambda: (gc.collect(), pool.status().in_use == 0)[1])
    asyncio.run(pool.close())


def test_outside_a_loop(dsn: str) -> None:
    pool = make(dsn, max_size=1)
    with pytest.raises(RuntimeError, match="no running event loop"):
        pool.getconn().__await__().__next__()  # type: ignore[attr-defined]
    assert pool.status().in_use == 0
    asyncio.run(pool.close())


def test_an_idle_connection_is_handed_out_without_a_step_of_the_loop(dsn: str, run: Run) -> None:
    async def main() -> None:
        async with make(dsn) as pool:
            async with pool.connection():
                pass
            await eventually_async(lambda: pool.status().idle == 1)
            turns = 0

            async def count() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            task = asyncio.ensure_future(count())
            async with pool.connection():
                pass
            assert turns == 0
            task.cancel()

    run(main())
