"""Sync: checkout and return of an idle connection, no query; then checkout, one query, return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import peers
from .rounds import Contest, Samples, Work

DEEP = 16


def at_depth(frames: int, work: Work, count: int) -> object:
    """`work` below that many calls, as in a web application."""
    return work(count) if frames == 0 else at_depth(frames - 1, work, count)


def get_put(pool: Any) -> Work:
    def work(count: int) -> None:
        get, put = pool.getconn, pool.putconn
        for _ in range(count):
            put(get())

    return work


def with_block(pool: Any) -> Work:
    def work(count: int) -> None:
        for _ in range(count):
            with pool.connection():
                pass

    return work


def checkout(dsn: str) -> Samples:
    contest = Contest()
    pools = {
        "psycopg_pool": peers.psycopgs(dsn, 1),
        "leakpool full": peers.ours(dsn, 1),
        "leakpool site": peers.ours(dsn, 1, stack_capture="site"),
    }
    forms: dict[str, Callable[[Any], Work]] = {"getconn/putconn": get_put, "with connection()": with_block}
    for form, make in forms.items():
        for depth, frames in (("shallow", 0), (f"{DEEP} frames", DEEP)):
            for name, pool in pools.items():
                work = make(pool)
                contest.case(
                    f"{name}, {form}, {depth}",
                    lambda count, work=work, frames=frames: at_depth(frames, work, count),  # type: ignore[misc]
                )
    samples = contest.run(9, 30)
    for pool in pools.values():
        pool.close()
    return samples


SQL = "SELECT %s"


def one_query(pool: Any) -> Work:
    def work(count: int) -> None:
        for _ in range(count):
            with pool.connection() as connection:
                connection.execute(SQL, (1,)).fetchone()

    return work


def held_query(pool: Any) -> Work:
    """The same without the checkout: the query alone, in autocommit."""

    def work(count: int) -> None:
        with pool.connection() as connection:
            for _ in range(count):
                connection.execute(SQL, (1,)).fetchone()

    return work


def query(dsn: str) -> Samples:
    contest = Contest()
    pools = []
    for mode, options in (("in a transaction", {}), ("autocommit", {"kwargs": {"autocommit": True}})):
        for name, make in (("psycopg_pool", peers.psycopgs), ("leakpool", peers.ours)):
            pool = make(dsn, 1, **options)
            pools.append(pool)
            contest.case(f"{name}, {mode}", one_query(pool))
            if options:
                contest.case(f"{name}, held connection", held_query(pool))
    samples = contest.run(9, 60)
    for pool in pools:
        pool.close()
    return samples
