"""`watch()`: the same detection over pools of others, and `LeakDetector` told by hand."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import asyncpg
import leakpool
import psycopg
import psycopg_pool
import pytest
import sqlalchemy
from conftest import eventually
from leakpool import LeakDetector, watch
from leakpool._leakpool import ManualClock
from leakpool.errors import ConnectionReleased, ForceReleased, InvalidOption, UnknownCheckout

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning:psycopg")


class Told:
    def __init__(self, detector: LeakDetector) -> None:
        self.detector = detector
        self.events: list[Any] = []
        detector.subscribe(self.events.append)

    def of(self, kind: str) -> list[Any]:
        assert self.detector.flush_events()
        return [event for event in self.events if event.kind == kind]

    def wait(self, kind: str) -> Any:
        return eventually(lambda: self.of(kind), f"the event {kind}")[0]


# ---- by hand -------------------------------------------------------------------------------------------------------


def test_a_detector_told_by_hand(clock: ManualClock) -> None:
    with LeakDetector("by-hand", clock=clock, leak_threshold=30, force_release_after=300) as detector:
        told = Told(detector)
        taken: list[Any] = []
        first = detector.check_out(label="a", reclaim=taken.append)
        line = test_a_detector_told_by_hand.__code__.co_firstlineno + 4
        second = detector.check_out(owner="somebody", expected_duration=1000)
        detector.executing(second, "SELECT 1")
        detector.idle(second, 2)
        infos = {info.id: info for info in detector.checkouts()}
        assert infos[first].site.line == line and infos[first].owner == "MainThread"
        assert infos[second].owner == "somebody" and infos[second].activity == "idle_in_transaction"
        assert infos[second].last_sql == "SELECT 1"
        clock.advance(31)
        assert told.wait("leak").checkout_id == first
        clock.advance(300)
        assert told.wait("force_release").checkout_id == first
        eventually(lambda: taken)
        assert (taken[0].reason, taken[0].checkout) == ("unused", first)
        with pytest.raises(ForceReleased):
            detector.executing(first)
        with pytest.raises(ForceReleased):
            detector.check_in(first)
        detector.check_in(second)
        for wrong, error in ((second, ConnectionReleased), (2**40, UnknownCheckout)):
            with pytest.raises(error):
                detector.check_in(wrong)
        metrics = detector.metrics()
        assert (metrics.acquired, metrics.released, metrics.force_released) == (2, 1, 1)
        detector.set_max_size(5)
        assert detector.status().max_size == 5
        assert "by-hand" in detector.report() and "leakpool" in detector.openmetrics()
        detector.assert_no_leaks()
        proven = detector.check_out()
        with pytest.raises(AssertionError):
            detector.assert_no_leaks()
        detector.owner_ended(proven)
        assert detector.prove(proven).verdict == "proven"
    assert detector.closed and detector.close() == []


def test_bad_input_for_a_detector() -> None:
    with pytest.raises(InvalidOption, match="leak_threshold"):
        LeakDetector("x", leak_threshold=-1)
    for most in (3, 10):
        with pytest.raises(
            InvalidOption, match=rf"max_size \({most}\) is an option of a pool: a detector takes leak_thr"
        ):
            LeakDetector("x", max_size=most)
    for name in ("", "x" * 64):
        with pytest.raises(InvalidOption, match="must have 1 to 63 bytes"):
            LeakDetector(name)
    with pytest.raises(InvalidOption, match="did you mean leak_threshold"):
        LeakDetector("x", leak_treshold=3)
    with LeakDetector("x") as detector:
        with pytest.raises(ValueError, match=r"transaction_status \(9\)"):
            detector.idle(detector.check_out(), 9)
        with pytest.raises(ValueError, match="expected_duration"):
            detector.check_out(expected_duration=-1)
        with pytest.raises(TypeError):
            detector.check_in("1")  # type: ignore[arg-type]
        with pytest.raises(OverflowError):
            detector.check_in(-1)


def test_what_cannot_be_watched(dsn: str) -> None:
    with pytest.raises(TypeError, match="no pool that is known here"):
        watch(object())
    with leakpool.Pool(dsn) as pool, pytest.raises(TypeError, match="watches itself"):
        watch(pool)
    with psycopg.connect(dsn) as conn, pytest.raises(TypeError):
        watch(conn)


# ---- psycopg_pool --------------------------------------------------------------------------------------------------


@pytest.fixture
def theirs(dsn: str) -> Iterator[psycopg_pool.ConnectionPool[Any]]:
    with psycopg_pool.ConnectionPool(dsn, min_size=1, max_size=3) as pool:
        yield pool


def lose(pool: Any) -> Any:
    return pool.getconn()


LINE = lose.__code__.co_firstlineno + 1


def test_psycopg_pool(theirs: Any, clock: ManualClock, server: psycopg.Connection[Any]) -> None:
    with watch(theirs, clock=clock, leak_threshold=30, force_release_after=300) as detector:
        told = Told(detector)
        assert detector.name == theirs.name
        with theirs.connection() as conn:
            assert conn.execute("SELECT 1").fetchone() == (1,)
            (info,) = detector.checkouts()
            assert info.activity == "idle_in_transaction" and info.last_sql == "SELECT 1"
            assert info.site.file == __file__
            assert type(conn).__name__ == "Connection" and isinstance(conn, psycopg.Connection)
        assert detector.checkouts() == []
        with pytest.raises(ValueError, match="watched already"):
            watch(theirs)
        conn = lose(theirs)
        pid = conn.info.backend_pid
        clock.advance(31)
        leak = told.wait("leak")
        assert (leak.site.file, leak.site.line) == (__file__, LINE)
        clock.advance(300)
        told.wait("force_release")
        eventually(
            lambda: not server.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchall()
        )
        with pytest.raises(ForceReleased):
            conn.execute("SELECT 1")
        theirs.putconn(conn)
        assert told.wait("late_release")
        with theirs.connection() as other:
            assert other.info.backend_pid != pid
    assert "getconn" not in vars(theirs)
    with theirs.connection() as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    assert detector.metrics().acquired == 3


def test_a_running_query_of_psycopg_is_no_leak(theirs: Any, clock: ManualClock) -> None:
    with watch(theirs, clock=clock, leak_threshold=30) as detector:
        told = Told(detector)
        with theirs.connection() as conn:
            thread = threading.Thread(target=lambda: conn.execute("SELECT pg_sleep(0.3)"))
            thread.start()
            eventually(lambda: detector.checkouts()[0].activity == "executing")
            clock.advance(40)
            told.wait("long_running")
            thread.join(30)
        assert told.of("leak") == []


def test_a_psycopg_connection_that_is_dropped_is_proven(theirs: Any) -> None:
    with watch(theirs) as detector:
        told = Told(detector)
        conn = lose(theirs)
        del conn
        gc.collect()
        assert told.wait("leak").reason == "proven"
        assert detector.checkouts() == []


def test_psycopg_async_pool(dsn: str, clock: ManualClock) -> None:
    async def main() -> None:
        async with psycopg_pool.AsyncConnectionPool(dsn, min_size=1, max_size=2, open=False) as pool:
            with watch(pool, clock=clock, leak_threshold=30, force_release_after=300) as detector:
                told = Told(detector)
                async with pool.connection() as conn:
                    await conn.execute("SELECT 1")
                    (info,) = detector.checkouts()
                    assert (info.owner or "").startswith("Task-") and info.site.file == __file__
                    assert info.last_sql == "SELECT 1"
                lost = await pool.getconn()
                clock.advance(301)
                told.wait("force_release")
                with pytest.raises((ForceReleased, psycopg.Error)):
                    await lost.execute("SELECT 1")
                await pool.putconn(lost)
                async with pool.connection() as conn:
                    assert await (await conn.execute("SELECT 2")).fetchone() == (2,)

    asyncio.run(main())


# ---- asyncpg -------------------------------------------------------------------------------------------------------


def test_asyncpg(dsn: str, clock: ManualClock) -> None:
    async def main() -> None:
        async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
            with watch(
                pool, clock=clock, name="a-pg", leak_threshold=30, force_release_after=300
            ) as detector:
                told = Told(detector)
                with pytest.raises(ValueError, match="watched already"):
                    watch(pool)
                async with pool.acquire() as conn:
                    assert await conn.fetchval("SELECT 1") == 1
                    (info,) = detector.checkouts()
                    assert info.activity == "idle" and info.last_sql == "SELECT 1"
                    assert info.site.file == __file__
                    async with conn.transaction():
                        assert detector.checkouts()[0].activity == "idle_in_transaction"
                assert detector.checkouts() == []
                assert await pool.fetchval("SELECT 3") == 3
                slow = asyncio.ensure_future(pool.execute("SELECT pg_sleep(0.2)"))
                while not any(c.activity == "executing" for c in detector.checkouts()):
                    await asyncio.sleep(0.005)
                lost = await pool.acquire()
                clock.advance(31)
                assert told.wait("leak").checkout.activity == "idle"
                await slow
                clock.advance(300)
                told.wait("force_release")
                with pytest.raises((ForceReleased, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                    await lost.fetchval("SELECT 1")
                await pool.release(lost)
                assert await pool.fetchval("SELECT 4") == 4
                assert detector.checkouts() == []
                # Closed by its holder instead of being released.
                closed = await pool.acquire()
                await closed.close()
                assert detector.checkouts() == []
            assert await pool.fetchval("SELECT 5") == 5
            assert detector.metrics().leaks == 1

    asyncio.run(main())


# ---- SQLAlchemy ----------------------------------------------------------------------------------------------------


def test_sqlalchemy(dsn: str, clock: ManualClock) -> None:
    url = "postgresql+psycopg" + dsn[dsn.index("://") :]
    engine = sqlalchemy.create_engine(url, pool_size=2)
    with watch(engine, clock=clock, leak_threshold=30, force_release_after=300) as detector:
        told = Told(detector)
        with engine.connect() as conn:
            assert conn.execute(sqlalchemy.text("SELECT 1")).scalar() == 1
            (info,) = detector.checkouts()
            assert info.activity == "idle_in_transaction" and info.last_sql == "SELECT 1"
            assert info.site.file == __file__
            conn.rollback()
            assert detector.checkouts()[0].activity == "idle"
            with pytest.raises(sqlalchemy.exc.DBAPIError):
                conn.execute(sqlalchemy.text("SELECT 1/0"))
        assert detector.checkouts() == []
        lost = engine.connect()
        lost.execute(sqlalchemy.text("SELECT 1"))
        clock.advance(301)
        told.wait("force_release")
        with pytest.raises((ForceReleased, sqlalchemy.exc.DBAPIError)):
            lost.execute(sqlalchemy.text("SELECT 2"))
        lost.close()
        with engine.connect() as conn:
            assert conn.execute(sqlalchemy.text("SELECT 3")).scalar() == 3
        assert detector.checkouts() == []
        dropped = engine.connect()
        dropped.invalidate()
        assert detector.checkouts() == []
        dropped.close()
    with engine.connect() as conn:
        assert conn.execute(sqlalchemy.text("SELECT 4")).scalar() == 4
    engine.dispose()


def test_sqlalchemy_async_engine_and_pool(dsn: str) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    async def main() -> None:
        engine = create_async_engine("postgresql+asyncpg" + dsn[dsn.index("://") :])
        with watch(engine) as detector:
            async with engine.connect() as conn:
                assert (await conn.execute(sqlalchemy.text("SELECT 1"))).scalar() == 1
                (info,) = detector.checkouts()
                assert info.last_sql is not None
            assert detector.checkouts() == []
        await engine.dispose()

    asyncio.run(main())
    pool = sqlalchemy.pool.QueuePool(lambda: psycopg.connect(dsn), pool_size=1)
    with watch(pool) as detector:
        conn = pool.connect()
        assert len(detector.checkouts()) == 1
        conn.close()
        assert detector.checkouts() == []
    pool.dispose()
