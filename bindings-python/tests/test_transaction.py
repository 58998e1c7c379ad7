"""`connection.transaction()`: blocks, savepoints, settings; the same body for leakpool and psycopg."""

from __future__ import annotations

import threading
from typing import Any

import leakpool
import pytest
from _both import DSN, OURS, Library, conn, lib, run, tx  # noqa: F401

# ruff: noqa: F811


@pytest.fixture(autouse=True)
def _table(request: pytest.FixtureRequest) -> None:
    for name in ("conn", "tx"):
        if name in request.fixturenames:
            connection = request.getfixturevalue(name)
            connection.execute("CREATE TEMP TABLE t (a int)")
            connection.commit()


def rows(connection: Any) -> list[int]:
    return [a for (a,) in connection.execute("SELECT a FROM t ORDER BY a")]


def add(connection: Any, *values: int) -> None:
    for value in values:
        connection.execute("INSERT INTO t VALUES (%s)", [value])


def status(connection: Any) -> int:
    return int(connection.info.transaction_status)


def test_a_block_commits(lib: Library, conn: Any) -> None:
    with conn.transaction() as block:
        assert status(conn) == 2
        add(conn, 1)
        assert block.connection is conn
        assert block.savepoint_name == ""
        assert repr(block).startswith(f"<{lib.name}.Transaction (active) [INTRANS]")
    assert status(conn) == 0
    assert repr(block).startswith(f"<{lib.name}.Transaction (committed) [IDLE]")
    assert rows(conn) == [1]


def test_an_exception_rolls_back(lib: Library, conn: Any) -> None:
    with pytest.raises(ZeroDivisionError), conn.transaction() as block:
        add(conn, 1)
        raise ZeroDivisionError
    assert status(conn) == 0
    assert "(rolled_back_with_error)" in repr(block)
    assert rows(conn) == []


def test_an_error_of_the_server_rolls_back(lib: Library, conn: Any) -> None:
    with pytest.raises(lib.errors.DivisionByZero), conn.transaction():
        add(conn, 1)
        conn.execute("SELECT 1/0")
    assert (status(conn), rows(conn)) == (0, [])


def test_blocks_in_blocks_are_savepoints(lib: Library, conn: Any) -> None:
    with conn.transaction():
        add(conn, 1)
        with pytest.raises(ZeroDivisionError), conn.transaction() as inner:
            assert inner.savepoint_name
            add(conn, 2)
            raise ZeroDivisionError
        with conn.transaction("named"):
            add(conn, 3)
        with pytest.raises(lib.errors.DivisionByZero), conn.transaction():
            conn.execute("SELECT 1/0")
        add(conn, 4)
    assert rows(conn) == [1, 3, 4]


def test_deep_blocks(lib: Library, conn: Any) -> None:
    with conn.transaction(), conn.transaction(), conn.transaction():
        add(conn, 1)
        with pytest.raises(lib.errors.DivisionByZero), conn.transaction(), conn.transaction():
            conn.execute("SELECT 1/0")
    assert rows(conn) == [1]


def test_in_a_transaction_that_is_open_a_block_is_a_savepoint(lib: Library, tx: Any) -> None:
    add(tx, 1)
    with tx.transaction() as block:
        assert block.savepoint_name
        add(tx, 2)
    assert status(tx) == 2
    tx.rollback()
    assert rows(tx) == []


def test_without_autocommit_an_outermost_block_commits(lib: Library, tx: Any) -> None:
    with tx.transaction():
        add(tx, 1)
    assert status(tx) == 0
    assert rows(tx) == [1]


@pytest.mark.parametrize("name", ['a"b', "a b", "ä", "select"])
def test_names_of_savepoints_are_quoted(lib: Library, conn: Any, name: str) -> None:
    with conn.transaction(name) as outer:
        assert outer.savepoint_name == name
        with conn.transaction(name):
            add(conn, 1)
        conn.execute("ROLLBACK TO " + '"' + name.replace('"', '""') + '"')
    assert rows(conn) == []


def test_rollback_leaves_the_block_quietly(lib: Library, conn: Any) -> None:
    with conn.transaction() as block:
        add(conn, 1)
        raise lib.module.Rollback
    assert "(rolled_back_explicitly)" in repr(block)
    with conn.transaction() as block:
        add(conn, 2)
        raise lib.module.Rollback(block)
    assert (status(conn), rows(conn)) == (0, [])


def test_rollback_of_an_outer_block_leaves_all_up_to_it(lib: Library, conn: Any) -> None:
    reached = []
    with conn.transaction() as outer:
        with conn.transaction() as middle:
            with conn.transaction():
                add(conn, 1)
                raise lib.module.Rollback(middle)
            reached.append("never")
        reached.append("after middle")
        add(conn, 2)
        with conn.transaction():
            raise lib.module.Rollback(outer)
        reached.append("never")
    assert reached == ["after middle"]
    assert rows(conn) == []


def test_rollback_of_another_block_is_an_exception(lib: Library, conn: Any) -> None:
    with conn.transaction() as other:
        pass
    with pytest.raises(lib.module.Rollback), conn.transaction():
        raise lib.module.Rollback(other)


def test_force_rollback(lib: Library, conn: Any) -> None:
    with conn.transaction(force_rollback=True) as block:
        add(conn, 1)
    assert "(rolled_back_explicitly)" in repr(block)
    with conn.transaction():
        add(conn, 2)
        with conn.transaction(force_rollback=True):
            add(conn, 3)
    assert rows(conn) == [2]


def test_a_block_is_used_once(lib: Library, conn: Any) -> None:
    with conn.transaction() as block, pytest.raises(TypeError, match="only once"):
        block.__enter__()
    with pytest.raises(TypeError, match="only once"):
        block.__enter__()


@pytest.mark.parametrize("method", ["commit", "rollback"])
def test_no_commit_or_rollback_inside(lib: Library, conn: Any, method: str) -> None:
    with (
        conn.transaction(),
        pytest.raises(lib.errors.ProgrammingError, match=rf"Explicit {method}\(\) forbidden"),
    ):
        getattr(conn, method)()


@pytest.mark.parametrize("setting", ["autocommit", "isolation_level", "read_only", "deferrable"])
def test_no_settings_inside(lib: Library, conn: Any, setting: str) -> None:
    with (
        conn.transaction(),
        pytest.raises(lib.errors.ProgrammingError, match=f"can't change '{setting}' now"),
    ):
        setattr(conn, setting, 1)


def test_blocks_left_in_another_order(lib: Library, conn: Any) -> None:
    first, second = conn.transaction(), conn.transaction()
    first.__enter__()
    second.__enter__()
    with pytest.raises(lib.errors.ProgrammingError, match="transaction commit at the wrong nesting level"):
        first.__exit__(None, None, None)
    with pytest.raises(lib.errors.ProgrammingError, match="wrong nesting level"):
        second.__exit__(None, None, None)


def test_ended_by_a_statement(lib: Library, conn: Any) -> None:
    with conn.transaction():
        add(conn, 1)
        conn.execute("ROLLBACK")
    assert (status(conn), rows(conn)) == (0, [])


def test_an_error_that_was_swallowed(lib: Library, conn: Any) -> None:
    with conn.transaction():
        add(conn, 1)
        with pytest.raises(lib.errors.DivisionByZero):
            conn.execute("SELECT 1/0")
    assert (status(conn), rows(conn)) == (0, [])


def test_settings_reach_every_transaction(lib: Library, tx: Any) -> None:
    tx.isolation_level = lib.module.IsolationLevel.SERIALIZABLE
    tx.read_only = True
    tx.deferrable = True
    for _ in range(2):
        shown = [
            tx.execute(f"SHOW transaction_{name}").fetchone()[0]
            for name in ("isolation", "read_only", "deferrable")
        ]
        assert shown == ["serializable", "on", "on"]
        tx.rollback()
    with pytest.raises(lib.errors.ReadOnlySqlTransaction), tx.transaction():
        tx.execute("CREATE TABLE never (a int)")
    tx.isolation_level = tx.read_only = tx.deferrable = None
    assert tx.execute("SHOW transaction_isolation").fetchone() == ("read committed",)


def test_a_commit_that_fails(lib: Library, conn: Any) -> None:
    conn.execute("CREATE TEMP TABLE f (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(lib.errors.UniqueViolation), conn.transaction() as block:
        conn.execute("INSERT INTO f VALUES (1), (1)")
    assert lib.name == "psycopg" or "(failed)" in repr(block)
    assert status(conn) == 0


# ---- what only a pool can do -----------------------------------------------------------------------------------


def test_a_block_on_a_connection_that_was_taken_away_does_not_pass_for_committed() -> None:
    with leakpool.Pool(DSN, max_size=1) as pool:
        connection = pool.getconn()
        connection.autocommit = True
        with pytest.raises(leakpool.errors.ForceReleased) as caught, connection.transaction():
            connection.execute("SELECT 1")
            pool.force_release(connection.checkout_id)
        assert caught.value.revocation is not None
        assert "test_transaction.py" in str(caught.value)
        pool.putconn(pool.getconn())


def test_what_the_block_raised_matters_more_than_a_lost_connection() -> None:
    with leakpool.Pool(DSN, max_size=1) as pool:
        connection = pool.getconn()
        with pytest.raises(ZeroDivisionError), connection.transaction():
            connection.execute("SELECT 1")
            pool.force_release(connection.checkout_id)
            raise ZeroDivisionError


def test_threads_take_turns_in_one_transaction(tx: Any, lib: Library) -> None:
    def work(n: int) -> None:
        for i in range(10):
            add(tx, n * 10 + i)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tx.commit()
    assert rows(tx) == list(range(40))


def test_async_blocks(lib: Library) -> None:
    async def body() -> None:
        async with lib.aconnect(autocommit=True) as conn:
            await conn.execute("CREATE TEMP TABLE t (a int)")
            async with conn.transaction():
                await conn.execute("INSERT INTO t VALUES (1)")
                with pytest.raises(ZeroDivisionError):
                    async with conn.transaction():
                        await conn.execute("INSERT INTO t VALUES (2)")
                        raise ZeroDivisionError
                async with conn.transaction() as inner:
                    await conn.execute("INSERT INTO t VALUES (3)")
                    raise lib.module.Rollback(inner)
            async with conn.transaction("x", force_rollback=True):
                await conn.execute("INSERT INTO t VALUES (4)")
            found = await (await conn.execute("SELECT a FROM t")).fetchall()
            assert found == [(1,)]
            assert repr(inner).startswith(f"<{lib.name}.AsyncTransaction")

    run(body)


def test_async_settings() -> None:
    async def body() -> None:
        async with OURS.aconnect() as conn:
            await conn.set_isolation_level(4)
            await conn.set_read_only(True)
            await conn.set_deferrable(False)
            found = await (await conn.execute("SHOW transaction_isolation")).fetchone()
            assert found == ("serializable",)
            for name in ("autocommit", "isolation_level", "read_only", "deferrable"):
                with pytest.raises(AttributeError, match=f"set_{name}"):
                    setattr(conn, name, None)
            with pytest.raises(leakpool.ProgrammingError, match="INTRANS"):
                await conn.set_autocommit(True)

    run(body)
