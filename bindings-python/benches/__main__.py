"""`python -m benches [NAME…]`: measures leakpool against its peers and leaves rows for target/bench/report.md.

`make bench-python` runs it with a release build, against a server that is pinned to one CPU. Informs; never fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform

from . import checkout, flight, many_rows, peers, watching
from .report import Section
from .rounds import Samples
from .starts import ACROSS, ANYWHERE, SAME, in_starts, server_cpu

PLACES = (SAME, ACROSS, ANYWHERE)


def child(benchmark: str, dsn: str, kind: str) -> Samples:
    if kind == "uvloop":
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    if benchmark == "checkout":
        return checkout.checkout(dsn)
    if benchmark == "query":
        return checkout.query(dsn)
    if benchmark == "flight":
        return flight.flight(dsn, 10, loop)
    if benchmark == "async-checkout":
        return flight.async_checkout(dsn, loop)
    if benchmark == "rows":
        return many_rows.many_rows(dsn)
    if benchmark == "watch":
        return watching.watching(dsn, loop)
    raise SystemExit(f"there is no benchmark {benchmark}")


def checkouts(dsn: str, pinned: int | None) -> None:
    section = Section(
        "Python, sync: checkout",
        "Checkout and return of an idle connection, no query, against `psycopg_pool` (which captures no stack). The "
        "client runs on one CPU." + MADE_WITH,
    )
    samples = in_starts("checkout", 2, ACROSS if pinned is not None else ANYWHERE, pinned)
    for form in ("getconn/putconn", "with connection()"):
        for depth in ("shallow", f"{checkout.DEEP} frames"):
            for case, goal in (("leakpool full", 0.25), ("leakpool site", None)):
                section.ratio(samples, f"{case}, {form}, {depth}", f"psycopg_pool, {form}, {depth}", goal)
    section.finish("python-1-checkout")


def queries(dsn: str, pinned: int | None) -> None:
    section = Section(
        "Python, sync: checkout and one query",
        "`with pool.connection() as c: c.execute('SELECT %s', (1,)).fetchone()`, with its BEGIN and COMMIT, and in "
        "autocommit; and the query alone on a connection that is held.",
    )
    for place in PLACES:
        samples = in_starts("query", 2, place, pinned)
        for mode, goal in (("in a transaction", 0.75), ("autocommit", 0.75), ("held connection", None)):
            section.ratio(samples, f"leakpool, {mode}", f"psycopg_pool, {mode}", goal, place)
    section.finish("python-2-query")


def flights(dsn: str, pinned: int | None) -> None:
    section = Section(
        "Python, asyncio: 10 in flight",
        "10 tasks, a pool of 10: acquire, `SELECT $1::int`, release. Time for one, so 0.25 x is four times the "
        "throughput. asyncpg resets a connection at its return, which costs a round trip; so it is measured without, "
        "too.",
    )
    for kind in ("asyncio", "uvloop"):
        if kind == "uvloop" and not peers.have("uvloop"):
            continue
        places = PLACES if kind == "asyncio" else (ANYWHERE,)
        for place in places:
            samples = in_starts("flight", 2, place, pinned, "--loop", kind)
            for base, goal in (("asyncpg", 0.25), ("asyncpg without its reset", 0.5), ("psqlpy", None)):
                wanted = goal if kind == "asyncio" else None
                section.ratio(samples, "leakpool, autocommit", base, wanted, f"{kind}; {place}")
            for mode in ("autocommit", "in a transaction"):
                section.ratio(samples, f"leakpool, {mode}", f"psycopg_pool, {mode}", None, f"{kind}; {place}")
    samples = in_starts("async-checkout", 2, ACROSS if pinned is not None else ANYWHERE, pinned)
    for base in ("asyncpg without its reset, async", "psycopg_pool, async"):
        section.ratio(samples, "leakpool full, async", base, None, "checkout and return alone")
    section.finish("python-3-async")


def rows(dsn: str, pinned: int | None) -> None:
    section = Section(
        "Python: 10,000 rows x 5 columns",
        "int, float, text, timestamptz, bool; fetched and decoded. The goal is against the fastest of the peers of "
        "that place; asyncpg's rows are its own lazy records, the others' are tuples or dicts.",
    )
    for place in PLACES:
        samples = in_starts("rows", 2, place, pinned)
        bases = [n for n in ("asyncpg", "psycopg, text", "psycopg, binary", "psqlpy") if n in samples]
        if not bases:
            continue
        best = min(bases, key=lambda name: sorted(samples[name])[len(samples[name]) // 2])
        for base in bases:
            goal = 0.6 if base == best else None
            section.ratio(samples, "leakpool, binary", base, goal, place)
        section.ratio(samples, "leakpool async, binary", best, None, place)
        section.ratio(samples, "leakpool, text", "psycopg, text", None, place)
    section.finish("python-4-rows")


def watches(dsn: str, pinned: int | None) -> None:
    section = Section(
        "Python: watch() on top of another pool",
        "The peer's checkout and return with `leakpool.watch(pool)` against the same alone, stack included.",
    )
    samples = in_starts("watch", 2, ACROSS if pinned is not None else ANYWHERE, pinned)
    for base, watched in (
        ("psycopg_pool, getconn/putconn", "psycopg_pool watched, getconn/putconn"),
        ("psycopg_pool, with connection()", "psycopg_pool watched, with connection()"),
        ("asyncpg", "asyncpg watched"),
        ("SQLAlchemy", "SQLAlchemy watched"),
    ):
        section.ratio(samples, watched, base, 1.5)
    section.finish("python-5-watch")


MADE_WITH = ""
BENCHMARKS = {"checkout": checkouts, "query": queries, "flight": flights, "rows": rows, "watch": watches}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    parser.add_argument("benchmarks", nargs="*", help=f"which of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--cpus", help=argparse.SUPPRESS)
    parser.add_argument("--loop", default="asyncio", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    dsn = os.environ.get("DATABASE_URL")
    if not dsn:
        raise SystemExit(
            "DATABASE_URL is not set: run this through tests/with-postgres, or make bench-python"
        )
    if asked.child:
        if asked.cpus and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {int(cpu) for cpu in asked.cpus.split(",")})
        print(json.dumps(child(asked.child, dsn, asked.loop)))
        return
    unknown = set(asked.benchmarks) - set(BENCHMARKS)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    import leakpool

    pinned = server_cpu(dsn)
    about = f"Python {platform.python_version()}, leakpool {leakpool.__version__}, {peers.versions()}"
    place = "on any CPU" if pinned is None else f"on CPU {pinned}"
    global MADE_WITH
    MADE_WITH = f" All Python figures: {about}; the server {place}."
    print(f"{about}; server {place}; load {os.getloadavg()[0]:.2f}", flush=True)
    for name in asked.benchmarks or BENCHMARKS:
        print(name, flush=True)
        BENCHMARKS[name](dsn, pinned)


main()
