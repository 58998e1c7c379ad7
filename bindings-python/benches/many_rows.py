"""10,000 rows of 5 columns (int, float, text, timestamptz, bool), all fetched and decoded, as tuples or the like."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from . import peers
from .rounds import Contest, Samples, Work

ROWS = 10_000
SQL = (
    "SELECT g AS a, g * 1.5::float8 AS b, 'row number ' || g AS c, "
    "timestamptz '2026-01-01' + g * interval '1 minute' AS d, g % 2 = 0 AS e "
    f"FROM generate_series(1, {ROWS}) AS g"
)


def many_rows(dsn: str) -> Samples:
    import psycopg

    loop = asyncio.new_event_loop()
    run = loop.run_until_complete
    contest = Contest()

    mine = psycopg.connect(peers.plain(dsn), autocommit=True)
    pool = peers.ours(dsn, 1, kwargs={"autocommit": True})
    theirs = run(peers.asyncpgs(dsn, 1))
    apool = run(peers.ours_async(dsn, 1, kwargs={"autocommit": True}))
    held = pool.getconn()
    asynced = run(theirs.acquire())

    async def check_out() -> Any:
        return await apool.getconn()

    aheld = run(check_out())

    def checked(rows: Sequence[object]) -> None:
        if len(rows) != ROWS:
            raise AssertionError(f"{len(rows)} rows")

    def by_psycopg(binary: bool) -> None:
        checked(mine.cursor(binary=binary).execute(SQL).fetchall())

    def by_leakpool(binary: bool) -> None:
        checked(held.cursor(binary=binary).execute(SQL).fetchall())

    async def by_async_leakpool() -> None:
        cursor = aheld.cursor(binary=True)
        await cursor.execute(SQL)
        checked(await cursor.fetchall())

    def repeat(once: Callable[[], None]) -> Work:
        def work(count: int) -> None:
            for _ in range(count):
                once()

        return work

    async def by_asyncpg() -> None:
        checked(await asynced.fetch(SQL))

    contest.case("asyncpg", repeat(lambda: run(by_asyncpg())))
    contest.case("psycopg, text", repeat(lambda: by_psycopg(False)))
    contest.case("psycopg, binary", repeat(lambda: by_psycopg(True)))
    contest.case("leakpool, text", repeat(lambda: by_leakpool(False)))
    contest.case("leakpool, binary", repeat(lambda: by_leakpool(True)))
    contest.case("leakpool async, binary", repeat(lambda: run(by_async_leakpool())))
    if peers.have("psqlpy"):
        third = run(peers.psqlpys(dsn, 1))
        checked_out = run(third.connection())

        async def by_psqlpy() -> None:
            checked((await checked_out.fetch(SQL)).result())

        contest.case("psqlpy", repeat(lambda: run(by_psqlpy())))
    samples = contest.run(9, 150)
    pool.putconn(held)
    pool.close()
    mine.close()
    run(theirs.release(asynced))
    run(theirs.close())
    run(apool.putconn(aheld))
    run(apool.close())
    loop.close()
    return samples
