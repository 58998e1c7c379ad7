"""Leaks: found, named by their line, proven by the collector, taken back; and what is told of them."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import leakpool
import psycopg
import pytest
from conftest import Run, eventually
from leakpool import _leakpool
from leakpool._leakpool import ManualClock
from leakpool.errors import ForceReleased, InvalidOption, UnknownCheckout

Make = Callable[..., leakpool.Pool[Any]]


class Told:
    """The events of a pool."""

    def __init__(self, pool: Any, *kinds: str) -> None:
        self.pool = pool
        self.events: list[_leakpool.Event] = []
        self.subscription = pool.subscribe(self.events.append, list(kinds) or None)

    def of(self, kind: str) -> list[_leakpool.Event]:
        assert self.pool.flush_events()
        return [event for event in self.events if event.kind == kind]

    def wait(self, kind: str) -> _leakpool.Event:
        found: list[_leakpool.Event] = eventually(lambda: self.of(kind), f"the event {kind}")
        return found[0]


@pytest.fixture
def watched(make_pool: Make, clock: ManualClock) -> Iterator[leakpool.Pool[Any]]:
    pool = make_pool(max_size=3, clock=clock, leak_threshold=30, force_release_after=300)
    yield pool
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def leaky(pool: Any) -> Any:
    return pool.getconn()  # the line that leaks


LEAK_LINE = leaky.__code__.co_firstlineno + 1


# ---- suspicion and force release -----------------------------------------------------------------------------------


def test_a_leak_is_told_once_with_its_line(watched: leakpool.Pool[Any], clock: ManualClock) -> None:
    told = Told(watched)
    conn = leaky(watched)
    conn.execute("SELECT 'secret'")
    clock.advance(31)
    event = told.wait("leak")
    assert event.reason == "unused" and event.pool == watched.name
    site = event.site
    assert site is not None
    assert (site.file, site.line, site.function) == (__file__, LEAK_LINE, "leaky")
    assert f"leaky ({__file__}:{LEAK_LINE})" == site.culprit == str(site)
    assert "test_a_leak_is_told_once_with_its_line" in [frame.function for frame in site.stack]
    assert "leaky" in event.text and "SELECT 'secret'" in event.text
    checkout = event.checkout
    assert checkout is not None
    assert checkout.verdict == "suspected" and checkout.activity == "idle_in_transaction"
    assert checkout.held >= 31 and checkout.owner == "MainThread"
    clock.advance(5)
    assert len(told.of("leak")) == 1
    (info,) = watched.leaks()
    assert info.id == conn.checkout_id and info.reported
    assert "leaky" in watched.report()
    watched.putconn(conn)
    assert told.wait("leak_recovered").checkout_id == checkout.id
    assert watched.leaks() == [] and watched.metrics().leaks == 1
    (record,) = [s for s in watched.sites() if s.line == LEAK_LINE]
    assert (record.acquired, record.leaked, record.recovered) == (1, 1, 1)


def test_a_leaked_connection_is_taken_back(
    watched: leakpool.Pool[Any], clock: ManualClock, server: psycopg.Connection[Any]
) -> None:
    told = Told(watched)
    conn = leaky(watched)
    pid = conn.info.backend_pid
    conn.execute("SELECT 1")
    clock.advance(301)
    event = told.wait("force_release")
    assert event.reason == "unused"
    assert watched.status().in_use == 0
    with pytest.raises(ForceReleased, match=str(LEAK_LINE)) as caught:
        conn.execute("SELECT 1")
    assert caught.value.sqlstate == "LP001"
    revocation = caught.value.revocation
    assert revocation is not None
    assert (revocation.reason, revocation.pool) == ("unused", watched.name)
    assert revocation.site.line == LEAK_LINE and revocation.at.tzinfo is not None
    assert told.wait("late_use").revocation is not None
    assert conn.closed and conn.broken
    with pytest.raises(ForceReleased):
        watched.putconn(conn)
    assert told.wait("late_release")
    eventually(lambda: not server.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchall())
    with watched.connection() as other:
        assert other.info.backend_pid != pid


def test_the_end_of_a_block_whose_connection_was_taken_back(watched: leakpool.Pool[Any]) -> None:
    with pytest.raises(ForceReleased), watched.connection() as conn:
        watched.force_release(conn)
    with pytest.raises(ZeroDivisionError), watched.connection() as conn:
        watched.force_release(conn.checkout_id)
        raise ZeroDivisionError
    assert watched.status().in_use == 0


def test_force_release_in_the_middle_of_a_statement(watched: leakpool.Pool[Any]) -> None:
    conn = watched.getconn()
    errors: list[BaseException] = []

    def sleep() -> None:
        try:
            conn.execute("SELECT pg_sleep(60)")
        except BaseException as e:
            errors.append(e)

    thread = threading.Thread(target=sleep)
    thread.start()
    eventually(lambda: watched.checkouts()[0].activity == "executing")
    info = watched.force_release(watched.checkouts()[0])
    assert info.id == conn.checkout_id
    thread.join(30)
    assert [type(e) for e in errors] == [ForceReleased]


def test_a_running_query_and_an_announced_duration_are_no_leaks(
    watched: leakpool.Pool[Any], clock: ManualClock
) -> None:
    told = Told(watched)
    announced = watched.getconn(expected_duration=1000, label="nightly")
    busy = watched.getconn()
    thread = threading.Thread(target=lambda: busy.execute("SELECT pg_sleep(0.3)"))
    thread.start()
    eventually(lambda: any(c.activity == "executing" for c in watched.checkouts()))
    clock.advance(40)
    told.wait("long_running")
    assert [c.verdict for c in watched.checkouts()] == ["expected", "busy"]
    assert told.of("leak") == []
    thread.join(30)
    watched.putconn(announced)
    watched.putconn(busy)


def test_reconfigure(watched: leakpool.Pool[Any], clock: ManualClock) -> None:
    told = Told(watched)
    conn = leaky(watched)
    clock.advance(6)
    assert watched.leaks() == []
    watched.reconfigure(leak_threshold=5, stack_capture="off")
    assert told.wait("leak").checkout_id == conn.checkout_id
    unknown = leaky(watched)
    assert watched.checkouts()[-1].site.file is None
    watched.reconfigure(stack_capture="site")
    short = leaky(watched)
    assert [f.function for f in watched.checkouts()[-1].site.stack] == ["leaky"]
    for wrong in ({"leak_threshold": -1}, {"max_size": 4}, {"leak_treshold": 3}, {"stack_capture": "loud"}):
        with pytest.raises(InvalidOption, match=next(iter(wrong))):
            watched.reconfigure(**wrong)
    with pytest.raises(TypeError, match="leak_threshold must be a number of seconds"):
        watched.reconfigure(leak_threshold=[])
    for one in (conn, unknown, short):
        watched.putconn(one)


def test_stack_depth(make_pool: Make) -> None:
    pool = make_pool(stack_depth=2)

    def deep(n: int) -> Any:
        return deep(n - 1) if n else pool.getconn()

    conn = deep(10)
    assert len(pool.checkouts()[0].site.stack) == 2
    pool.putconn(conn)


def test_force_release_of_what_is_not_held(watched: leakpool.Pool[Any]) -> None:
    conn = watched.getconn()
    watched.putconn(conn)
    for wrong in (conn, 0, 12345, 2**64, -1):
        with pytest.raises(UnknownCheckout):
            watched.force_release(wrong)
    for wrong in ("1", None, 1.5, True):
        with pytest.raises(TypeError, match="a checkout is named by"):
            watched.force_release(wrong)  # type: ignore[arg-type]
    with pytest.raises(leakpool.errors.InterfaceError):
        watched.force_release(leakpool.Connection())


# ---- proof by collection -------------------------------------------------------------------------------------------


def test_a_connection_that_is_dropped_is_a_proven_leak(
    watched: leakpool.Pool[Any], server: psycopg.Connection[Any]
) -> None:
    told = Told(watched)
    conn = leaky(watched)
    pid, id = conn.info.backend_pid, conn.checkout_id
    with pytest.warns(ResourceWarning, match=rf"without having been released.*{__file__}:{LEAK_LINE}"):
        del conn
    leak, taken = told.wait("leak"), told.wait("force_release")
    assert (leak.reason, leak.checkout_id) == ("proven", id)
    assert leak.checkout is not None and leak.checkout.verdict == "proven"
    assert taken.reason == "proven"
    assert watched.status().in_use == 0
    assert told.of("late_release") == [] and watched.metrics().late_releases == 0
    eventually(lambda: not server.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchall())


def test_one_that_is_dropped_after_it_was_taken_back_is_not_released_late(
    watched: leakpool.Pool[Any],
) -> None:
    told = Told(watched)
    conn = leaky(watched)
    watched.force_release(conn)
    told.wait("force_release")
    del conn
    gc.collect()
    watched.flush_events()
    assert told.of("late_release") == [] and watched.metrics().late_releases == 0
    assert told.of("leak") == []


def test_cycles_are_collected(watched: leakpool.Pool[Any]) -> None:
    gc.collect()

    class Holder:
        pass

    holder = Holder()
    holder.conn = leaky(watched)  # type: ignore[attr-defined]
    holder.conn.holder = holder  # type: ignore[attr-defined]
    holder.cursor = holder.conn.cursor()  # type: ignore[attr-defined]
    gone = weakref.ref(holder)
    del holder
    assert watched.status().in_use == 1
    with pytest.warns(ResourceWarning):
        gc.collect()
    assert gone() is None and watched.status().in_use == 0


def test_a_pool_and_its_callbacks_are_collected(dsn: str) -> None:
    class Owner:
        def __init__(self) -> None:
            self.pool: leakpool.Pool[Any] = leakpool.Pool(dsn, configure=self.configure)
            self.pool.subscribe(self.told)
            self.block = self.pool.connection()

        def configure(self, conn: Any) -> None: ...
        def told(self, event: object) -> None: ...

    owner = Owner()
    with owner.pool.connection():
        pass
    gone, pool = weakref.ref(owner), weakref.ref(owner.pool)
    del owner
    gc.collect()
    assert gone() is None and pool() is None


def test_a_task_that_waits_for_ever_on_what_it_leaked_is_collected(dsn: str) -> None:
    async def main() -> None:
        pool: leakpool.AsyncPool[Any] = leakpool.AsyncPool(dsn, max_size=1)

        async def wait_for_ever() -> None:
            conn = await pool.getconn()
            await asyncio.get_running_loop().create_future()
            del conn

        task = asyncio.ensure_future(wait_for_ever())
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        while not pool.status().in_use:
            await asyncio.sleep(0.001)
        del task
        with pytest.warns(ResourceWarning):
            gc.collect()
        assert pool.status().in_use == 0
        await pool.close()

    asyncio.run(main())


def test_warnings_as_errors_do_not_reach_who_drops(watched: leakpool.Pool[Any]) -> None:
    unraisable: list[Any] = []
    before, sys.unraisablehook = sys.unraisablehook, unraisable.append
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            conn = leaky(watched)
            del conn
    finally:
        sys.unraisablehook = before
    assert [type(u.exc_value) for u in unraisable] == [ResourceWarning]
    assert watched.status().in_use == 0


def test_a_site_keeps_no_frames(watched: leakpool.Pool[Any]) -> None:
    class Witness:
        pass

    def acquire() -> weakref.ref[Witness]:
        witness = Witness()
        watched.putconn(watched.getconn())
        return weakref.ref(witness)

    assert acquire()() is None


# ---- owners --------------------------------------------------------------------------------------------------------


def test_a_task_that_has_ended_adds_a_reason(dsn: str, run: Run) -> None:
    async def main() -> None:
        async with leakpool.AsyncPool[Any](dsn, max_size=2) as pool:
            kept = []

            async def leak() -> None:
                kept.append(await pool.getconn())

            await asyncio.create_task(leak(), name="the-leaker")
            await asyncio.sleep(0)
            (info,) = pool.checkouts()
            assert info.owner == "the-leaker" and info.owner_ended
            assert info.verdict == "healthy", "it is no proof"
            async with pool.connection():
                task = asyncio.current_task()
                assert task is not None
                assert not pool.checkouts()[-1].owner_ended
            await pool.putconn(kept[0])

    run(main())


def test_a_long_lived_task_piles_nothing_up(dsn: str, run: Run) -> None:
    async def main() -> None:
        async with leakpool.AsyncPool[Any](dsn, max_size=2) as pool:
            async with pool.connection():
                pass
            task = asyncio.current_task()
            assert task is not None
            before = sys.getrefcount(task)
            for _ in range(100):
                async with pool.connection():
                    pass
            assert sys.getrefcount(task) <= before + 1
            assert repr(task).count("TaskWatch") == 0

    run(main())


def test_a_thread_that_has_ended_adds_a_reason(pool: leakpool.Pool[Any]) -> None:
    kept = []

    def leak() -> None:
        with pool.connection():
            pass
        kept.append(pool.getconn())

    thread = threading.Thread(target=leak, name="the-leaker")
    thread.start()
    thread.join(30)
    info = eventually(lambda: [c for c in pool.checkouts() if c.owner_ended])[0]
    assert info.owner == "the-leaker" and info.verdict == "healthy"
    pool.putconn(kept[0])


# ---- being told ----------------------------------------------------------------------------------------------------


def test_subscriptions(pool: leakpool.Pool[Any]) -> None:
    told = Told(pool, "acquire", "release")
    with pool.connection() as conn:
        id = conn.checkout_id
    assert [e.checkout_id for e in told.of("acquire")] == [id]
    assert [e.held is not None for e in told.of("release")] == [True]
    assert told.of("connect") == []
    told.subscription.cancel()
    told.subscription.cancel()
    with pool.connection():
        pass
    assert len(told.of("acquire")) == 1


def test_a_callback_that_raises_is_told_to_nobody_in_particular(pool: leakpool.Pool[Any]) -> None:
    unraisable: list[Any] = []
    before, sys.unraisablehook = sys.unraisablehook, unraisable.append

    def fail(event: object) -> None:
        raise ZeroDivisionError

    try:
        pool.subscribe(fail, ["release"])
        for _ in range(2):
            with pool.connection():
                pass
        assert pool.flush_events()
    finally:
        sys.unraisablehook = before
    assert [u.object for u in unraisable] == [fail, fail]


def test_a_callback_may_use_the_pool_and_cancel_itself(pool: leakpool.Pool[Any]) -> None:
    seen: list[int] = []

    def told(event: _leakpool.Event) -> None:
        seen.append(pool.status().max_size)
        subscription.cancel()

    subscription = pool.subscribe(told, ["release"])
    for _ in range(3):
        with pool.connection():
            pass
    assert pool.flush_events()
    assert seen == [3]


def test_bad_subscriptions(pool: leakpool.Pool[Any]) -> None:
    with pytest.raises(TypeError, match="callback must be callable, not int"):
        pool.subscribe(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='no event "leek"; there are connect,'):
        pool.subscribe(print, ["leek"])


def test_the_logger(
    watched: leakpool.Pool[Any], clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "leakpool")
    told = Told(watched)
    conn = leaky(watched)
    clock.advance(31)
    told.wait("leak")
    clock.advance(300)
    told.wait("force_release")
    assert _leakpool.flush_log()
    records = {record.event: record for record in caplog.records if hasattr(record, "event")}
    leak = records["leak"]
    assert (leak.levelname, leak.name) == ("ERROR", "leakpool")
    assert (leak.pathname, leak.lineno, leak.funcName) == (__file__, LEAK_LINE, "leaky")
    assert leak.pool == watched.name and "leaky" in leak.getMessage()
    assert records["force_release"].levelname == "WARNING"
    assert records["connect"].levelname == "DEBUG"
    assert "acquire" not in records
    del conn


def test_nothing_is_logged_below_the_loggers_level(pool: leakpool.Pool[Any]) -> None:
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger = logging.getLogger("leakpool")
    handler = Keep()
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with pool.connection():
            pass
        assert pool.flush_events() and _leakpool.flush_log()
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
    assert records == []


def test_assert_no_leaks(pool: leakpool.Pool[Any]) -> None:
    pool.assert_no_leaks()
    conn = leaky(pool)
    with pytest.raises(AssertionError, match=f"{__file__}:{LEAK_LINE}"):
        pool.assert_no_leaks()
    pool.putconn(conn)


def test_the_batch_alert_and_utilization(make_pool: Make, clock: ManualClock) -> None:
    pool = make_pool(max_size=2, clock=clock, max_leaks_before_alert=2, utilization_warning=0.5)
    told = Told(pool)
    conns = [leaky(pool), leaky(pool)]
    clock.advance(31)
    event = told.wait("leaks_detected")
    assert event.leaks is not None and len(event.leaks) == 2
    assert told.wait("utilization").utilization in ((1, 2), (2, 2))
    for conn in conns:
        pool.putconn(conn)
