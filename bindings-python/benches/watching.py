"""`leakpool.watch()` on top of a peer's pool against that pool alone."""

from __future__ import annotations

import asyncio
from typing import Any

from . import peers
from .checkout import get_put, with_block
from .rounds import Contest, Samples, Work


def connect_close(engine: Any) -> Work:
    def work(count: int) -> None:
        for _ in range(count):
            engine.raw_connection().close()

    return work


def watching(dsn: str, loop: asyncio.AbstractEventLoop) -> Samples:
    import leakpool

    run = loop.run_until_complete
    contest = Contest()
    closers = []

    alone, watched = (peers.psycopgs(dsn, 1) for _ in range(2))
    closers.append(leakpool.watch(watched))
    for form, make in (("getconn/putconn", get_put), ("with connection()", with_block)):
        contest.case(f"psycopg_pool, {form}", make(alone))
        contest.case(f"psycopg_pool watched, {form}", make(watched))

    def acquire_release(pool: Any) -> Work:
        async def many(count: int) -> None:
            for _ in range(count):
                async with pool.acquire():
                    pass

        return lambda count: run(many(count))

    alone_async, watched_async = (run(peers.asyncpgs(dsn, 1)) for _ in range(2))
    closers.append(leakpool.watch(watched_async))
    contest.case("asyncpg", acquire_release(alone_async))
    contest.case("asyncpg watched", acquire_release(watched_async))

    if peers.have("sqlalchemy"):
        import sqlalchemy

        url = peers.plain(dsn).replace("postgres://", "postgresql+psycopg://")
        alone_engine, watched_engine = (sqlalchemy.create_engine(url) for _ in range(2))
        closers.append(leakpool.watch(watched_engine))
        contest.case("SQLAlchemy", connect_close(alone_engine))
        contest.case("SQLAlchemy watched", connect_close(watched_engine))

    samples = contest.run(9, 30)
    for closer in closers:
        closer.close()
    alone.close()
    watched.close()
    run(alone_async.close())
    run(watched_async.close())
    return samples
