"""`Pool`: handing out, returning, sizes, callbacks, statistics, closing, as users of psycopg_pool know them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import leakpool
import psycopg
import pytest
from conftest import eventually, kill
from leakpool.errors import OperationalError, PoolClosed, PoolTimeout, TooManyRequests

Make = Callable[..., leakpool.Pool[Any]]


def value(conn: Any, sql: str) -> Any:
    return conn.execute(sql).fetchone()[0]


def test_a_block_commits_and_returns(pool: leakpool.Pool[Any], server: psycopg.Connection[Any]) -> None:
    server.execute("DROP TABLE IF EXISTS committed; CREATE TABLE committed (x int)")
    with pool.connection() as conn:
        conn.execute("INSERT INTO committed VALUES (1)")
        assert conn.info.transaction_status == 2
    assert server.execute("SELECT x FROM committed").fetchall() == [(1,)]
    assert (pool.status().in_use, pool.status().idle) == (0, 1)
    assert conn.closed


def test_a_block_that_fails_rolls_back_and_returns(
    pool: leakpool.Pool[Any], server: psycopg.Connection[Any]
) -> None:
    server.execute("DROP TABLE IF EXISTS committed; CREATE TABLE committed (x int)")
    with pytest.raises(ZeroDivisionError), pool.connection() as conn:
        conn.execute("INSERT INTO committed VALUES (1)")
        raise ZeroDivisionError
    assert server.execute("SELECT x FROM committed").fetchall() == []
    assert (pool.status().in_use, pool.status().idle) == (0, 1)
    assert pool.metrics().dirty_releases == 0


def test_a_returned_connection_is_handed_out_again(pool: leakpool.Pool[Any]) -> None:
    with pool.connection() as conn:
        pid = conn.info.backend_pid
    with pool.connection() as conn:
        assert conn.info.backend_pid == pid
    assert pool.metrics().created == 1


def test_getconn_and_putconn(pool: leakpool.Pool[Any]) -> None:
    conn = pool.getconn()
    assert value(conn, "SELECT 1") == 1
    pool.putconn(conn)
    assert conn.closed
    eventually(lambda: pool.status().idle == 1)
    assert pool.metrics().dirty_releases == 1, "a transaction was open"


def test_a_timeout_says_what_psycopg_says_and_who_holds(make_pool: Make) -> None:
    pool = make_pool(max_size=1, name="small")
    with pool.connection(label="import"):
        with pytest.raises(PoolTimeout, match=r"couldn't get a connection after 0\.05 sec") as caught:
            pool.getconn(timeout=0.05)
        with pytest.raises(PoolTimeout):
            pool.getconn(timeout=0)
    exhausted = caught.value.exhausted
    assert exhausted is not None
    assert exhausted.diagnosis == "pool_too_small"
    (holder,) = exhausted.holders
    assert holder.label == "import"
    assert holder.site.file == __file__
    assert isinstance(caught.value, OperationalError)
    assert pool.get_stats()["requests_errors"] == 2


def test_a_waiter_is_served_when_somebody_returns(make_pool: Make) -> None:
    pool = make_pool(max_size=1)
    conn = pool.getconn()
    got: list[int] = []

    def wait() -> None:
        with pool.connection() as mine:
            got.append(mine.info.backend_pid)

    pid = conn.info.backend_pid
    thread = threading.Thread(target=wait)
    thread.start()
    eventually(lambda: pool.status().waiting == 1)
    assert pool.get_stats()["requests_waiting"] == 1
    pool.putconn(conn)
    thread.join(30)
    assert got == [pid]


def test_too_many_requests(make_pool: Make) -> None:
    pool = make_pool(max_size=1, max_waiting=1, name="crowded")
    conn = pool.getconn()
    thread = threading.Thread(target=lambda: pool.putconn(pool.getconn()))
    thread.start()
    eventually(lambda: pool.status().waiting == 1)
    with pytest.raises(
        TooManyRequests,
        match=r'"crowded": 1 acquire waits for a connection already, as many as max_waiting \(1\) allows',
    ):
        pool.getconn()
    pool.putconn(conn)
    thread.join(30)


def test_many_threads_share_few_connections(make_pool: Make) -> None:
    pool = make_pool(max_size=4)
    sums: list[int] = []
    lock = threading.Lock()
    busy: set[int] = set()

    def work() -> None:
        for n in range(50):
            with pool.connection() as conn:
                pid = conn.info.backend_pid
                with lock:
                    assert pid not in busy, "two threads have the same session"
                    busy.add(pid)
                got = value(conn, f"SELECT {n}")
                with lock:
                    busy.remove(pid)
                    sums.append(got)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(sums) == 12 * sum(range(50))
    metrics = pool.metrics()
    assert metrics.acquired == metrics.released == 600
    assert metrics.created <= 4


# ---- opening, waiting, closing -----------------------------------------------------------------------------------


def test_a_pool_that_is_not_open(make_pool: Make) -> None:
    pool = make_pool(open=False, name="later", min_size=1, max_size=2)
    assert pool.closed and pool.name == "later"
    assert (pool.min_size, pool.max_size) == (1, 2)
    with pytest.raises(PoolClosed, match="not open yet"):
        pool.getconn()
    with pytest.raises(PoolClosed, match="not open yet"), pool.connection():
        pass
    assert pool.get_stats()["pool_size"] == 0
    pool.open(wait=True)
    pool.open()
    assert not pool.closed
    assert pool.status().idle == 1
    assert pool.close() == []
    assert pool.closed
    assert pool.close() == []
    with pytest.raises(PoolClosed, match="cannot be reused"):
        pool.open()
    with pytest.raises(PoolClosed):
        pool.getconn()


def test_a_pool_that_was_never_opened_closes(make_pool: Make) -> None:
    pool = make_pool(open=False)
    pool.close()
    with pytest.raises(PoolClosed, match="already closed"):
        pool.getconn()


def test_a_pool_as_a_block(dsn: str) -> None:
    with leakpool.Pool(dsn, open=False, max_size=1) as pool, pool.connection() as conn:
        assert value(conn, "SELECT 1") == 1
    assert pool.closed


def test_wait_gives_up_on_a_server_that_is_not_there(make_pool: Make) -> None:
    pool = make_pool(conninfo="host=127.0.0.1 port=1 dbname=x user=x", min_size=1, max_size=2)
    with pytest.raises(PoolTimeout, match=r"pool initialization incomplete after 0\.2 sec"):
        pool.wait(timeout=0.2)
    assert pool.closed


def test_an_unreachable_server_is_an_operational_error(make_pool: Make) -> None:
    pool = make_pool(conninfo="host=127.0.0.1 port=1 dbname=x user=x")
    with pytest.raises(OperationalError) as caught:
        pool.getconn()
    assert "127.0.0.1" in str(caught.value)


def test_close_takes_back_and_names_holders(make_pool: Make, server: psycopg.Connection[Any]) -> None:
    pool = make_pool(max_size=2)
    conn = pool.getconn(label="held")
    pid = conn.info.backend_pid
    (held,) = pool.close(timeout=0)
    assert held.label == "held"
    assert held.site.file == __file__
    with pytest.raises(leakpool.errors.ForceReleased) as caught:
        conn.execute("SELECT 1")
    assert caught.value.revocation is not None and caught.value.revocation.reason == "pool_closed"
    eventually(lambda: not server.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchall())


def test_close_waits_for_honest_holders(make_pool: Make) -> None:
    pool = make_pool(max_size=1)
    conn = pool.getconn()
    closed: list[Any] = []
    thread = threading.Thread(target=lambda: closed.append(pool.close(timeout=30)))
    thread.start()
    eventually(lambda: pool.closed)
    pool.putconn(conn)
    thread.join(30)
    assert closed == [[]]


def test_waiters_are_turned_away_by_close(make_pool: Make) -> None:
    pool = make_pool(max_size=1)
    conn = pool.getconn()
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            pool.getconn(timeout=60)
        except BaseException as e:
            errors.append(e)

    thread = threading.Thread(target=wait)
    thread.start()
    eventually(lambda: pool.status().waiting == 1)
    pool.close(timeout=0)
    thread.join(30)
    assert [type(e) for e in errors] == [PoolClosed]
    del conn


# ---- sizes -------------------------------------------------------------------------------------------------------


def test_resize(make_pool: Make) -> None:
    pool = make_pool(min_size=0, max_size=1)
    conn = pool.getconn()
    with pytest.raises(PoolTimeout):
        pool.getconn(timeout=0.01)
    pool.resize(2, 3)
    assert (pool.min_size, pool.max_size) == (2, 3)
    others = [pool.getconn(), pool.getconn()]
    for one in [conn, *others]:
        pool.putconn(one)
    pool.wait()
    pool.resize(1)
    assert (pool.min_size, pool.max_size) == (1, 1)
    eventually(lambda: pool.status().size == 1)


def test_drain_renews_every_connection(make_pool: Make) -> None:
    pool = make_pool(max_size=2)
    held, idle = pool.getconn(), pool.getconn()
    pids = {held.info.backend_pid, idle.info.backend_pid}
    pool.putconn(idle)
    pool.drain()
    assert pool.status().idle == 0
    assert value(held, "SELECT 1") == 1, "who holds one may go on"
    held.rollback()
    pool.putconn(held)
    eventually(lambda: pool.status().size == 0)
    with pool.connection() as conn:
        assert conn.info.backend_pid not in pids


def test_check_closes_what_is_broken(make_pool: Make, server: psycopg.Connection[Any]) -> None:
    pool = make_pool(max_size=2)
    conns = [pool.getconn(), pool.getconn()]
    dead, alive = (conn.info.backend_pid for conn in conns)
    for conn in conns:
        pool.putconn(conn)
    pool.check()
    assert pool.status().idle == 2
    kill(server, dead)
    pool.check()
    eventually(lambda: pool.status().size == 1)
    with pool.connection() as conn:
        assert conn.info.backend_pid == alive


def test_a_session_that_died_idle_is_not_handed_out(
    pool: leakpool.Pool[Any], server: psycopg.Connection[Any]
) -> None:
    with pool.connection() as conn:
        pid = conn.info.backend_pid
    kill(server, pid)
    eventually(lambda: pool.status().size == 0)
    with pool.connection() as conn:
        assert conn.info.backend_pid != pid


# ---- callbacks ---------------------------------------------------------------------------------------------------


def test_configure_is_called_once_for_each_session(make_pool: Make) -> None:
    seen: list[int] = []

    def configure(conn: Any) -> None:
        seen.append(conn.info.backend_pid)
        conn.autocommit = True
        conn.execute("SET application_name = 'configured'")

    pool = make_pool(max_size=2, configure=configure)
    for _ in range(3):
        with pool.connection() as conn:
            assert conn.autocommit, "what configure sets on the connection lasts"
            assert value(conn, "SHOW application_name") == "configured"
    assert len(seen) == 1
    with pool.connection(), pool.connection():
        pass
    assert len(seen) == 2


def test_configure_that_raises_is_told_to_the_caller(make_pool: Make) -> None:
    def configure(conn: Any) -> None:
        raise ZeroDivisionError("no")

    pool = make_pool(max_size=1, configure=configure)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            pool.getconn()
    assert pool.status().in_use == 0


def test_configure_that_leaves_a_transaction_open(make_pool: Make) -> None:
    pool = make_pool(max_size=1, configure=lambda conn: conn.execute("SELECT 1"))
    with pytest.raises(leakpool.errors.ProgrammingError, match="left in status INTRANS by configure"):
        pool.getconn()
    assert pool.status().in_use == 0


def test_check_callback_discards_and_tries_another(make_pool: Make, server: psycopg.Connection[Any]) -> None:
    checked: list[int] = []

    def check(conn: Any) -> None:
        checked.append(conn.info.backend_pid)
        leakpool.Pool.check_connection(conn)
        if len(checked) == 1:
            raise RuntimeError("not this one")

    pool = make_pool(max_size=1, check=check)
    with pool.connection() as conn:
        assert conn.info.backend_pid == checked[1] != checked[0]


def test_check_callback_that_never_passes_times_out(make_pool: Make) -> None:
    def check(conn: Any) -> None:
        raise RuntimeError("never")

    pool = make_pool(max_size=1, check=check)
    begun = time.monotonic()
    with pytest.raises(PoolTimeout):
        pool.getconn(timeout=0.3)
    assert time.monotonic() - begun < 10
    eventually(lambda: pool.status().in_use == 0)


def test_reset_callback(make_pool: Make) -> None:
    seen: list[str] = []

    def reset(conn: Any) -> None:
        assert conn.info.transaction_status == 0
        seen.append("reset")
        with conn.transaction():
            conn.execute("SELECT 1")

    pool = make_pool(max_size=1, reset=reset)
    with pool.connection() as conn:
        conn.execute("SELECT 1")
        pid = conn.info.backend_pid
    conn = pool.getconn()
    assert conn.info.backend_pid == pid
    conn.execute("SELECT 1")
    pool.putconn(conn)
    assert seen == ["reset", "reset"]
    assert pool.metrics().created == 1


def test_reset_callback_that_raises_costs_the_connection(make_pool: Make) -> None:
    def reset(conn: Any) -> None:
        raise ZeroDivisionError

    pool = make_pool(max_size=1, reset=reset)
    with pool.connection() as conn:
        pid = conn.info.backend_pid
    eventually(lambda: pool.status().size == 0)
    with pool.connection() as conn:
        assert conn.info.backend_pid != pid
    assert pool.get_stats()["returns_bad"] == 2


def test_reconnect_failed(make_pool: Make) -> None:
    told = threading.Event()
    make_pool(
        conninfo="host=127.0.0.1 port=1 dbname=x user=x",
        min_size=1,
        max_size=1,
        reconnect_timeout=0.5,
        reconnect_failed=lambda pool: told.set(),
    )
    assert told.wait(30)


# ---- what a pool's connections are -------------------------------------------------------------------------------


def test_kwargs_are_for_the_server_and_for_connections(make_pool: Make) -> None:
    pool = make_pool(
        kwargs={
            "autocommit": True,
            "row_factory": leakpool.rows.dict_row,
            "prepare_threshold": None,
            "options": "-c statement_timeout=54321",
        },
    )
    with pool.connection() as conn:
        assert conn.autocommit and conn.prepare_threshold is None
        assert conn.execute("SHOW statement_timeout").fetchone() == {"statement_timeout": "54321ms"}
        assert conn.info.transaction_status == 0


def test_a_connection_class_of_ones_own(make_pool: Make) -> None:
    class Mine(leakpool.Connection[Any]):
        def __init__(self) -> None:
            super().__init__()
            self.extra = []  # type: ignore[var-annotated]

    pool = make_pool(connection_class=Mine, kwargs={"autocommit": True})
    with pool.connection() as conn:
        assert isinstance(conn, Mine) and conn.extra == [] and conn.autocommit
        assert type(conn).__name__ == "Mine"


def test_the_names_of_pools(make_pool: Make) -> None:
    assert make_pool(name="orders").name == "orders"
    with make_pool(name="orders-2").connection() as conn:
        assert "orders-2" in value(conn, "SHOW application_name")
    assert "orders-2" in repr(conn) or conn.closed


# ---- statistics --------------------------------------------------------------------------------------------------


def test_statistics_have_psycopg_pools_keys(pool: leakpool.Pool[Any], dsn: str) -> None:
    import psycopg_pool

    with psycopg_pool.ConnectionPool(dsn, min_size=1, max_size=3) as other:
        with other.connection():
            pass
        keys = set(other.get_stats())
    with pool.connection() as conn:
        value(conn, "SELECT pg_sleep(0.02)")
    stats = pool.get_stats()
    # psycopg_pool leaves out counters that are zero.
    assert keys <= set(stats)
    assert stats["pool_max"] == 3 and stats["pool_size"] == 1 and stats["pool_available"] == 1
    assert stats["requests_num"] == 1 and stats["requests_queued"] == 1
    assert stats["usage_ms"] >= 20 and stats["connections_num"] == 1
    assert pool.pop_stats() == stats
    after = pool.get_stats()
    assert after["requests_num"] == after["usage_ms"] == 0
    assert after["pool_size"] == 1


def test_status_and_metrics_are_plain(pool: leakpool.Pool[Any]) -> None:
    with pool.connection():
        status, metrics = pool.status(), pool.metrics()
        assert status.in_use == metrics.active == 1
        assert status.as_dict()["max_size"] == 3
        assert "1 of 3 in use" in str(status)
        assert "leakpool" in pool.openmetrics()
        assert metrics.create_time.count == 1 and metrics.create_time.sum > 0
        assert metrics.create_time.buckets[-1][0] == float("inf")
    assert ("max_size", "3") in pool.options()


def test_close_waits_as_long_as_its_option_says(make_pool: Callable[..., leakpool.Pool[Any]]) -> None:
    pool = make_pool(close_timeout=0.05)
    conn = pool.getconn()
    began = time.monotonic()
    # Five seconds if the option were not looked at.
    assert [held.id for held in pool.close()] == [conn.checkout_id]
    assert 0.05 <= time.monotonic() - began < 4
