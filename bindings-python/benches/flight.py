"""asyncio: many tasks that each take a connection, run one query and give it back; and the checkout alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from . import peers
from .rounds import Contest, Samples, Work

#: One checkout with one query.
Once = Callable[[], Awaitable[object]]


def by_acquire(pool: Any) -> Once:
    """asyncpg's manner."""

    async def once() -> None:
        async with pool.acquire() as connection:
            await connection.fetchval("SELECT $1::int", 1)

    return once


def by_psqlpy(pool: Any) -> Once:
    async def once() -> None:
        async with pool.acquire() as connection:
            await connection.fetch_val("SELECT $1::int", [1])

    return once


def by_connection(pool: Any) -> Once:
    """psycopg's manner, and ours."""

    async def once() -> None:
        async with pool.connection() as connection:
            cursor = await connection.execute("SELECT %s::int", (1,))
            await cursor.fetchone()

    return once


def in_flight(loop: asyncio.AbstractEventLoop, tasks: int, once: Once) -> Work:
    async def worker(turns: Iterator[int]) -> None:
        for _ in turns:
            await once()

    async def all_of_them(count: int) -> None:
        turns = iter(range(count))
        await asyncio.gather(*(worker(turns) for _ in range(tasks)))

    return lambda count: loop.run_until_complete(all_of_them(count))


async def no_reset(_connection: Any) -> None:
    """asyncpg without the round trip of its reset."""


def flight(dsn: str, tasks: int, loop: asyncio.AbstractEventLoop) -> Samples:
    run = loop.run_until_complete
    auto = {"kwargs": {"autocommit": True}}
    pools = {
        "asyncpg": (run(peers.asyncpgs(dsn, 10)), by_acquire),
        "asyncpg without its reset": (run(peers.asyncpgs(dsn, 10, reset=no_reset)), by_acquire),
        "psycopg_pool, autocommit": (run(peers.psycopgs_async(dsn, 10, **auto)), by_connection),
        "leakpool, autocommit": (run(peers.ours_async(dsn, 10, **auto)), by_connection),
        "psycopg_pool, in a transaction": (run(peers.psycopgs_async(dsn, 10)), by_connection),
        "leakpool, in a transaction": (run(peers.ours_async(dsn, 10)), by_connection),
    }
    if peers.have("psqlpy"):
        pools["psqlpy"] = (run(peers.psqlpys(dsn, 10)), by_psqlpy)
    contest = Contest()
    for name, (pool, once) in pools.items():
        contest.case(name, in_flight(loop, tasks, once(pool)))
    samples = contest.run(9, 150)
    for pool, _ in pools.values():
        closed = pool.close()
        if closed is not None:
            run(closed)
    return samples


def async_checkout(dsn: str, loop: asyncio.AbstractEventLoop) -> Samples:
    run = loop.run_until_complete

    def repeat(once: Once) -> Work:
        async def many(count: int) -> None:
            for _ in range(count):
                await once()

        return lambda count: run(many(count))

    def get_put(pool: Any) -> Once:
        async def once() -> None:
            await pool.putconn(await pool.getconn())

        return once

    def acquire_release(pool: Any) -> Once:
        async def once() -> None:
            await pool.release(await pool.acquire())

        return once

    pools = {
        "asyncpg without its reset": (run(peers.asyncpgs(dsn, 1, reset=no_reset)), acquire_release),
        "psycopg_pool": (run(peers.psycopgs_async(dsn, 1)), get_put),
        "leakpool full": (run(peers.ours_async(dsn, 1)), get_put),
    }
    contest = Contest()
    for name, (pool, once) in pools.items():
        contest.case(f"{name}, async", repeat(once(pool)))
    samples = contest.run(9, 30)
    for pool, _ in pools.values():
        run(pool.close())
    return samples
