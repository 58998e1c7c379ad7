"""The incident, told with a real pool and a real server (`python -m leakpool demo`): a service leaks its connections one
by one, stands still, learns which line did it, and is taken back into service. Every step is checked: the program ends
with an error if the story does not come true.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import leakpool

from ._server import server


class OrderNotFound(Exception):
    """What the service says to its client."""


class ErrorTracker:
    """Keeps the last errors, as such tools do: each with its traceback, and so with every local variable on the way."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []


# -- the service: one function is wrong ------------------------------------------------------------------------------


def reserve_stock(pool: leakpool.Pool, order: int) -> None:
    """Wrong: if the order does not exist, the connection is never put back."""
    conn = pool.getconn()
    row = conn.execute("SELECT id FROM demo_orders WHERE id = %s", (order,)).fetchone()
    if row is None:
        raise OrderNotFound(f"order {order} not found")
    pool.putconn(conn)


def count_orders(pool: leakpool.Pool, *, fail: bool = False) -> None:
    """Right: the connection goes back on every path, because the block ends."""
    with pool.connection() as conn:
        conn.execute("SELECT count(*) FROM demo_orders").fetchone()
        if fail:
            raise OrderNotFound("simulated error")


# -- how it is told --------------------------------------------------------------------------------------------------


class StoryError(Exception):
    """The story did not come true."""


def check(holds: object, claim: str) -> None:
    if not holds:
        raise StoryError(f"the story does not come true: {claim}")


def await_that(holds: Callable[[], object], claim: str, limit: float = 15.0) -> None:
    end = time.monotonic() + limit
    while not holds():
        check(time.monotonic() < end, claim)
        time.sleep(0.02)


def chapter(title: str) -> None:
    bold, plain = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}── {title} {'─' * max(0, 76 - len(title))}{plain}")


def say(text: object) -> None:
    for line in str(text).splitlines():
        print(f"   {line}")


def show(pool: leakpool.Pool | leakpool.AsyncPool) -> None:
    now = pool.status()
    say(
        f"pool: size {now.size}, in use {now.in_use}, idle {now.idle}, waiting {now.waiting}, "
        f"flagged as leaked {now.leaked_now}"
    )


class Log(logging.Handler):
    """Keeps the first line of what the logger `leakpool` is told."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage().splitlines()[0]}")


@contextmanager
def log_of_leakpool() -> Iterator[Log]:
    logger, handler = logging.getLogger("leakpool"), Log()
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


# -- the story -------------------------------------------------------------------------------------------------------


def threads_story(dsn: str, log: Log) -> None:
    pool = leakpool.Pool(
        dsn,
        name="orders",
        max_size=5,
        timeout=1.5,
        leak_threshold=1.0,
        force_release_after=3.0,
    )
    events: list[leakpool.Event] = []
    with pool:
        with pool.connection() as conn:
            conn.execute("DROP TABLE IF EXISTS demo_orders; CREATE TABLE demo_orders (id int PRIMARY KEY)")
        pool.subscribe(events.append, ["leak", "leaks_detected", "force_release"])

        chapter("Monday: normal operations, and errors that are handled safely")
        for _ in range(3):
            count_orders(pool)
        for _ in range(3):
            try:
                count_orders(pool, fail=True)
            except OrderNotFound as error:
                say(f"caught: {error}; the connection went back")
        show(pool)
        check(pool.metrics().active == 0, "an error leaks nothing")

        chapter("Tuesday: the new feature forgets the connection on its error path")
        try:
            reserve_stock(pool, 1)
        except OrderNotFound as error:
            say(f"caught: {error}; the connection cannot be reached any more")
        await_that(lambda: events, "the collector proves the leak")
        say(events[0].text)
        check(events[0].reason == "proven", "it is proven")
        check("reserve_stock" in str(events[0].site), "the function that leaks is named")
        await_that(lambda: pool.status().in_use == 0, "and the connection is taken back at once")
        show(pool)

        chapter("Wednesday: an error tracker keeps the last errors, and with them the connections")
        tracker = ErrorTracker()
        for order in range(1, 6):
            try:
                reserve_stock(pool, order)
            except OrderNotFound as error:
                tracker.errors.append(error)
                say(f"request {order}: {error}. Nobody notices what else happened")
        show(pool)
        running = sum(checkout.activity == "executing" for checkout in pool.checkouts())
        say(f"queries running: {running}   <- wait, what?")
        check(pool.status().in_use == 5 and running == 0, "all 5 are taken and none works")

        chapter("The next request waits, and times out. But now it says why")
        try:
            pool.getconn()
        except leakpool.PoolTimeout as error:
            say(error)
            check(error.diagnosis == "leak", "the diagnosis is a leak")
            check(error.exhausted and len(error.exhausted.holders) == 5, "it names all five holders")
            check("demo.py" in str(error), "it names the line")
        else:
            raise StoryError("the pool should be exhausted")

        chapter("The leak report")
        await_that(lambda: len(pool.leaks()) == 5, "all five are reported")
        report = pool.report()
        say(report)
        check("reserve_stock" in report, "it names the function that leaks")

        chapter("The sweeper takes the connections back")
        await_that(lambda: pool.status().in_use == 0, "all five are taken back")
        pool.flush_events()
        told = Counter(event.kind for event in events)
        say(f"events: {dict(told)}")
        show(pool)
        # Tuesday's one was proven and taken back, too.
        check(told["leak"] == 6 and told["force_release"] == 6, "each was told once")
        await_that(lambda: any("taken back" in line for line in log.lines), "the log was told")
        say("the logger `leakpool` was told, too; its last line:")
        say(f"  {log.lines[-1]}")

        chapter("The leaking code wakes up: it gets an error, not another caller's session")
        frame: Any = tracker.errors[0].__traceback__
        while frame.tb_next is not None:
            frame = frame.tb_next
        late = frame.tb_frame.f_locals["conn"]
        try:
            late.execute("SELECT 1")
        except leakpool.ForceReleased as error:
            say(error)
        else:
            raise StoryError("a connection that was taken back should be fenced")
        del frame, late
        tracker.errors.clear()

        chapter("The service is healthy again")
        for _ in range(10):
            count_orders(pool)
        show(pool)
        counted = pool.metrics()
        say(
            f"the books: acquired {counted.acquired} = released {counted.released} + force-released "
            f"{counted.force_released} + lost {counted.lost} + active {counted.active}"
        )
        say(f"leaks {counted.leaks}, time-outs {counted.timeouts}, late uses {counted.late_uses}")
        check(
            counted.active == 0
            and counted.acquired == counted.released + counted.force_released + counted.lost
            and (counted.leaks, counted.timeouts, counted.late_uses) == (6, 1, 1),
            "the books balance",
        )
        with pool.connection() as conn:
            conn.execute("DROP TABLE demo_orders")


async def asyncio_story(dsn: str) -> None:
    chapter("The same on asyncio, and the leaking task blocks the event loop")
    pool = leakpool.AsyncPool(
        dsn,
        name="api",
        max_size=1,
        timeout=5.0,
        leak_threshold=0.4,
        force_release_after=1.2,
        open=False,
    )
    kept: list[leakpool.AsyncConnection] = []
    told = threading.Event()

    async def nightly_report() -> None:
        conn = await pool.getconn()
        await conn.execute("SELECT now()")
        kept.append(conn)  # wrong: nobody puts it back
        # Wrong, too: the whole loop stands still. The detector does not need it.
        check(told.wait(10.0), "the leak is told while the loop is blocked")

    async with pool:
        # The pool has one connection, so whoever comes next waits for this one.
        pool.subscribe(lambda _event: told.set(), ["leak"])
        await asyncio.create_task(nightly_report(), name="nightly-report")
        say("the leak was told while the event loop stood still:")
        (leak,) = pool.leaks()
        say(f"  {leak}")
        check("nightly-report" in (leak.owner or ""), "the task is named")
        check("nightly_report" in leak.site.culprit, "and the line")
        began = time.monotonic()

        async with pool.connection() as conn:
            await conn.execute("SELECT 1")
        say(
            f"who waited was served {time.monotonic() - began:.1f} s later: the leaked connection was taken back"
        )
        check(pool.metrics().force_released == 1, "it was taken back")
        show(pool)
        try:
            await kept[0].execute("SELECT 1")
        except leakpool.ForceReleased:
            say("and the task that leaked it gets ForceReleased")
        else:
            raise StoryError("a connection that was taken back should be fenced")


def main() -> None:
    """Tells the story. Raises `NoServer` if there is no server to tell it with, `StoryError` if it does not come true."""
    began = time.monotonic()
    with server() as found:
        print("leakpool: the story of a service that froze at night")
        print(
            f"(on {found.about}; a pool of 5; a leak is suspected after 1 s and taken back after 3 s, for the demo)"
        )
        with log_of_leakpool() as log:
            threads_story(found.dsn, log)
            asyncio.run(asyncio_story(found.dsn))
    print(f"\nThe story came true, in {time.monotonic() - began:.0f} seconds.")
