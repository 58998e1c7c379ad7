"""Wrong arguments for pools: a clear error that names the argument, the value and the rule; nothing hangs, nothing leaks."""

from __future__ import annotations

import asyncio
import datetime
import gc
import sys
import threading
from collections.abc import Callable
from typing import Any

import leakpool
import psycopg
import pytest
from conftest import eventually
from leakpool import _leakpool
from leakpool.errors import ConnectionReleased, Error, InvalidDsn, InvalidOption, ProgrammingError

Make = Callable[..., leakpool.Pool[Any]]

WRONG_VALUES: list[tuple[dict[str, Any], str]] = [
    ({"max_size": 0}, r"max_size \(0\) must be 1 or more"),
    ({"max_size": -3}, r"max_size \(-3\)"),
    ({"max_size": 70_000}, r"max_size \(70000\)"),
    ({"max_size": 2**80}, r"max_size"),
    ({"min_size": 5, "max_size": 2}, r"max_size \(2\) must be min_size \(5\) or more"),
    ({"min_size": -1}, r"min_size \(-1\)"),
    ({"timeout": -1}, r"timeout \(-1\) must be a number of seconds"),
    ({"timeout": float("nan")}, r"timeout"),
    ({"timeout": 1e300}, r"timeout"),
    ({"timeout": "soon"}, r"timeout"),
    ({"max_idle": -0.5}, r"max_idle"),
    ({"max_waiting": -1}, r"max_waiting \(-1\)"),
    ({"num_workers": 0}, r"num_workers \(0\)"),
    ({"reconnect_timeout": -1}, r"reconnect_timeout \(-1\)"),
    (
        {"leak_threshold": 30, "force_release_after": 10},
        r"force_release_after \(10 s\) must be longer than leak_th",
    ),
    ({"leak_treshold": 3}, r"there is no option leak_treshold; did you mean leak_threshold\?"),
    ({"stack_capture": "loud"}, r"stack_capture"),
    ({"stack_depth": 0}, r"stack_depth"),
    ({"utilization_warning": 1.5}, r"utilization_warning"),
    ({"sql_text": ""}, r"sql_text"),
    ({"reset_session": "maybe"}, r"reset"),
    ({"name": ""}, r"name"),
    ({"name": "a\0b"}, r"name"),
]


@pytest.mark.parametrize(("options", "rule"), WRONG_VALUES, ids=lambda v: str(v)[:40])
def test_wrong_values(dsn: str, options: dict[str, Any], rule: str) -> None:
    for cls in (leakpool.Pool, leakpool.AsyncPool):
        with pytest.raises(InvalidOption, match=rule) as caught:
            cls(dsn, **options)
        assert isinstance(caught.value, ValueError) and isinstance(caught.value, leakpool.errors.Error)


WRONG_TYPES: list[tuple[dict[str, Any], str]] = [
    ({"max_size": "3"}, "max_size must be an int, not str"),
    ({"max_size": 3.0}, "max_size must be an int, not float"),
    ({"max_size": True}, "max_size must be an int, not bool"),
    ({"min_size": None}, "min_size must be an int, not NoneType"),
    ({"timeout": [1]}, "timeout must be a number of seconds, or a text such as '30 s', not list"),
    ({"timeout": True}, "timeout must be a number of seconds"),
    ({"name": 3}, "name must be a str, not int"),
    ({"force_release_busy": "yes"}, "force_release_busy must be True or False, not str"),
    ({"force_release_busy": 1}, "force_release_busy must be True or False, not int"),
    ({"stack_capture": 1}, "stack_capture must be one of full, site, off, not int"),
    ({"leak_threshold": b"3"}, "leak_threshold must be a number of seconds"),
    ({"max_leaks_before_alert": 1.5}, "max_leaks_before_alert must be an int, not float"),
    ({"max_waiting": None}, "max_waiting must be an int, not NoneType"),
    ({"configure": 3}, "configure must be callable or None, not int"),
    ({"check": "x"}, "check must be callable or None, not str"),
    ({"reset": True}, "reset must be callable or None, not bool"),
    ({"reconnect_failed": 1}, "reconnect_failed must be callable or None, not int"),
    ({"kwargs": [1]}, "kwargs must be a mapping, not list"),
    ({"kwargs": {3: 4}}, "parameter names are str"),
    ({"kwargs": {"row_factory": 3}}, "row_factory must be callable, not int"),
    ({"kwargs": {"prepare_threshold": "x"}}, "prepare_threshold must be an int or None, not str"),
    ({"connection_class": 3}, "connection_class must be a class, not 3"),
    ({"connection_class": int}, "connection_class must be a subclass of leakpool's Connection"),
    ({"connection_class": psycopg.Connection}, "connection_class must be a subclass"),
    ({"clock": 3}, "clock"),
]


@pytest.mark.parametrize(("options", "rule"), WRONG_TYPES, ids=lambda v: str(v)[:40])
def test_wrong_types(dsn: str, options: dict[str, Any], rule: str) -> None:
    with pytest.raises(TypeError, match=rule):
        leakpool.Pool(dsn, **options)


def test_wrong_connection_strings() -> None:
    for wrong in (
        "postgres://h:port/db",
        "host=",
        "nonsense",
        "host=h prot=3",
        "port=0 host=h",
        "sslmode=maybe",
    ):
        with pytest.raises(InvalidDsn) as caught:
            leakpool.Pool(wrong + " password=hunter2" if "=" in wrong else wrong)
        assert "hunter2" not in str(caught.value)
    with pytest.raises(InvalidDsn, match="prot"):
        leakpool.Pool("", kwargs={"prot": 5432})
    for wrong in (None, 3, b"host=x"):
        with pytest.raises(TypeError, match="conninfo must be a str"):
            leakpool.Pool(wrong)  # type: ignore[arg-type]
    with pytest.raises((UnicodeEncodeError, InvalidDsn)):
        leakpool.Pool("host=\ud800")


def test_options_in_every_form(make_pool: Make) -> None:
    pool = make_pool(
        timeout=datetime.timedelta(seconds=7),
        max_idle="5 min",
        max_lifetime=None,
        leak_threshold=20,
        force_release_after=None,
        max_size=None,
        stack_capture=None,
    )
    options = dict(pool.options())
    assert (options["timeout"], options["max_idle"], options["leak_threshold"]) == ("7 s", "300 s", "20 s")
    assert (options["max_lifetime"], options["force_release_after"]) == ("0 s", "0 s")
    assert (options["max_size"], options["stack_capture"]) == ("10", "off")
    assert make_pool(min_size=3, max_size=None).max_size == 3


def test_wrong_arguments_of_calls(pool: leakpool.Pool[Any]) -> None:
    for call in (pool.getconn, lambda t: pool.connection(t).__enter__()):
        with pytest.raises(TypeError):
            call("1")
        with pytest.raises(ValueError, match="timeout"):
            call(float("nan"))
    with pytest.raises(ValueError, match=r"expected_duration \(-1\)"):
        pool.getconn(expected_duration=-1)
    with pytest.raises(TypeError):
        pool.getconn(label=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        pool.getconn(1, 2)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=r"timeout \(-1\)"):
        pool.close(timeout=-1)
    with pytest.raises(TypeError):
        pool.close(timeout="x")  # type: ignore[arg-type]
    for wrong in ((0, 0), (-1, 3), (4, 3)):
        with pytest.raises(InvalidOption):
            pool.resize(*wrong)
    with pytest.raises(TypeError):
        pool.resize("1")  # type: ignore[arg-type]
    assert pool.status().in_use == 0 and not pool.closed


def test_putconn_of_what_is_not_its_own(make_pool: Make, pool: leakpool.Pool[Any], dsn: str) -> None:
    other = make_pool(max_size=1, name="the-other")
    conn = pool.getconn()
    with pytest.raises(ValueError, match=rf'to pool "the-other", it comes from pool "{pool.name}"'):
        other.putconn(conn)
    assert pool.status().in_use == 1
    pool.putconn(conn)
    with pytest.raises(ValueError, match="it was given back before"):
        pool.putconn(conn)
    with pytest.raises(ValueError, match="doesn't come from any pool"):
        pool.putconn(leakpool.Connection())
    with psycopg.connect(dsn) as theirs:
        for wrong in (None, 3, theirs):
            with pytest.raises(TypeError, match="takes a connection of this pool, not"):
                pool.putconn(wrong)  # type: ignore[arg-type]
    metrics = pool.metrics()
    assert metrics.acquired == metrics.released == 1


def test_use_after_release(pool: leakpool.Pool[Any]) -> None:
    with pool.connection() as conn:
        cursor = conn.execute("SELECT 1")
    for use in (
        lambda: conn.execute("SELECT 1"),
        conn.cursor,
        conn.commit,
        conn.rollback,
        lambda: conn.query("SELECT 1"),
        conn.check_usable,
        lambda: cursor.execute("SELECT 1"),
        lambda: conn.transaction().__enter__(),
    ):
        with pytest.raises((ConnectionReleased, Error)):
            use()
    conn.close()
    conn.release()
    assert pool.metrics().released == 1
    assert conn.checkout_id is not None and conn.native_pool is None and conn.backend_pid == 0


def test_a_block_that_is_entered_twice(pool: leakpool.Pool[Any]) -> None:
    block = pool.connection()
    with block:
        with pytest.raises(RuntimeError, match="being used already"):
            block.__enter__()
    with block as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    block.__exit__(None, None, None)
    assert pool.status().in_use == 0


def test_a_pool_whose_constructor_was_not_called(dsn: str) -> None:
    for cls in (leakpool.Pool, leakpool.AsyncPool):
        pool = cls.__new__(cls)
        for use in (lambda: pool._getconn(), pool.status, lambda: pool.subscribe(print)):
            with pytest.raises(RuntimeError, match="__init__"):
                use()
    pool = leakpool.Pool(dsn)
    with pytest.raises(RuntimeError, match="called before"):
        pool.__init__(dsn)  # type: ignore[misc]
    pool.close()


def test_two_pools_of_one_name(make_pool: Make) -> None:
    make_pool(name="unique")
    with pytest.raises(InvalidOption, match='name \\("unique"\\) is the name of another pool'):
        make_pool(name="unique")


def test_another_thread_may_give_back(pool: leakpool.Pool[Any]) -> None:
    conn = pool.getconn()
    thread = threading.Thread(target=pool.putconn, args=(conn,))
    thread.start()
    thread.join(30)
    eventually(lambda: pool.status().idle == 1)


def test_released_while_another_thread_runs_a_query(pool: leakpool.Pool[Any]) -> None:
    conn = pool.getconn()
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.append(conn.query("SELECT 1 FROM pg_sleep(0.2)"))
        except Error as e:
            outcome.append(e)

    thread = threading.Thread(target=work)
    thread.start()
    eventually(lambda: pool.checkouts() and pool.checkouts()[0].activity == "executing")
    conn.release()
    with pytest.raises(ConnectionReleased):
        conn.query("SELECT 1")
    thread.join(30)
    assert len(outcome) == 1
    eventually(lambda: pool.status().in_use == 0)


def test_async_misuse(dsn: str) -> None:
    async def main() -> None:
        async with leakpool.AsyncPool[Any](dsn, max_size=1) as pool:
            block = pool.connection()
            async with block:
                with pytest.raises(RuntimeError, match="being used already"):
                    await block.__aenter__()
            conn = await pool.getconn()
            with pytest.raises(TypeError):
                await pool.putconn(None)  # type: ignore[arg-type]
            await pool.putconn(conn)
            with pytest.raises((ConnectionReleased, Error)):
                await conn.execute("SELECT 1")
            with pytest.raises((ConnectionReleased, Error)):
                conn.query_async("SELECT 1")
            operation = pool.getconn()
            with pytest.raises(ZeroDivisionError):
                operation.throw(ZeroDivisionError)  # type: ignore[attr-defined]
            operation = pool.getconn()
            operation.close()  # type: ignore[attr-defined]
            with pytest.raises(RuntimeError, match="awaited before"):
                await operation
            assert pool.status().in_use == 0

    asyncio.run(main())


def test_native_classes_are_not_made_by_hand() -> None:
    for name in ("Operation", "NativeResult", "NativeStream", "CheckoutInfo", "Site", "Event", "Checkout"):
        with pytest.raises(TypeError, match="cannot create|No constructor"):
            getattr(_leakpool, name)()
    for by in (-1, float("nan"), "1"):
        with pytest.raises((ValueError, TypeError)):
            _leakpool.ManualClock().advance(by)  # type: ignore[arg-type]


def test_nothing_is_kept_after_mistakes(pool: leakpool.Pool[Any]) -> None:
    with pool.connection():
        pass

    def mistakes() -> None:
        for wrong in ("x", None, float("nan")):
            try:
                pool.getconn(timeout=wrong or [])  # type: ignore[arg-type]
            except (TypeError, ValueError):
                pass
            try:
                pool.putconn(wrong)  # type: ignore[arg-type]
            except TypeError:
                pass
            try:
                pool.reconfigure(nonsense=wrong)
            except ProgrammingError:
                pass

    mistakes()
    gc.collect()
    before = sys.gettotalrefcount() if hasattr(sys, "gettotalrefcount") else len(gc.get_objects())
    for _ in range(50):
        mistakes()
    gc.collect()
    after = sys.gettotalrefcount() if hasattr(sys, "gettotalrefcount") else len(gc.get_objects())
    assert after - before < 50
