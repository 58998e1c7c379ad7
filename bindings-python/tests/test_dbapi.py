"""PEP 249, point by point; leakpool and psycopg pass the same tests."""

from __future__ import annotations

import datetime as dt
import pickle
import threading
import time
from typing import Any

import leakpool
import leakpool.errors
import psycopg.errors
import pytest
from _both import DSN, Library, conn, lib, tx  # noqa: F401


def test_globals(lib: Library) -> None:  # noqa: F811
    m = lib.module
    assert (m.apilevel, m.threadsafety, m.paramstyle) == ("2.0", 2, "pyformat")
    assert callable(m.connect)


def test_exceptions(lib: Library) -> None:  # noqa: F811
    m = lib.module
    assert issubclass(m.Warning, Exception)
    assert issubclass(m.Error, Exception)
    assert issubclass(m.InterfaceError, m.Error)
    assert issubclass(m.DatabaseError, m.Error)
    for name in (
        "DataError",
        "OperationalError",
        "IntegrityError",
        "InternalError",
        "ProgrammingError",
        "NotSupportedError",
    ):
        assert issubclass(getattr(m, name), m.DatabaseError)


def test_exceptions_of_the_connection(lib: Library, conn: Any) -> None:  # noqa: F811
    for name in (
        "Warning",
        "Error",
        "InterfaceError",
        "DatabaseError",
        "DataError",
        "OperationalError",
        "IntegrityError",
    ):
        assert getattr(conn, name) is getattr(lib.module, name)
    for name in ("InternalError", "ProgrammingError", "NotSupportedError"):
        assert getattr(conn, name) is getattr(lib.module, name)


def test_constructors(lib: Library, conn: Any) -> None:  # noqa: F811
    m = lib.module
    assert m.Date(2020, 2, 29) == dt.date(2020, 2, 29)
    assert m.Time(1, 2, 3) == dt.time(1, 2, 3)
    assert m.Timestamp(2020, 2, 29, 1, 2, 3) == dt.datetime(2020, 2, 29, 1, 2, 3)
    ticks = time.mktime((2020, 2, 29, 1, 2, 3, 0, 0, -1))
    assert m.DateFromTicks(ticks) == dt.date(2020, 2, 29)
    assert (m.TimeFromTicks(ticks).minute, m.TimeFromTicks(ticks).second) == (2, 3)
    assert m.TimestampFromTicks(ticks).timestamp() == ticks
    assert conn.execute("SELECT %s", [m.Binary(b"a\0b")]).fetchone() == (b"a\0b",)


def test_type_objects(lib: Library, conn: Any) -> None:  # noqa: F811
    m = lib.module
    row = conn.execute("SELECT 'a'::text, 1, 1.5, now(), '\\x00'::bytea, 1::oid").description
    for column, kind in zip(row, ("STRING", "NUMBER", "NUMBER", "DATETIME", "BINARY", "ROWID"), strict=True):
        assert column.type_code == getattr(m, kind)
        assert {
            k for k in ("STRING", "NUMBER", "DATETIME", "BINARY") if column.type_code == getattr(m, k)
        } <= {kind}


def test_a_cursor_has_what_the_standard_names(lib: Library, conn: Any) -> None:  # noqa: F811
    cursor = conn.cursor()
    for name in (
        "close",
        "execute",
        "executemany",
        "fetchone",
        "fetchmany",
        "fetchall",
        "nextset",
        "setinputsizes",
    ):
        assert callable(getattr(cursor, name))
    assert callable(cursor.setoutputsize)
    assert (cursor.description, cursor.rowcount, cursor.arraysize, cursor.connection) == (None, -1, 1, conn)
    cursor.arraysize = 2
    assert cursor.execute("SELECT generate_series(1, 3)").fetchmany() == [(1,), (2,)]


def test_rollback_and_commit(lib: Library, tx: Any) -> None:  # noqa: F811
    cursor = tx.cursor()
    cursor.execute("CREATE TEMP TABLE t (a int)")
    tx.commit()
    cursor.execute("INSERT INTO t VALUES (1)")
    tx.rollback()
    assert cursor.execute("SELECT * FROM t").fetchall() == []
    cursor.execute("INSERT INTO t VALUES (2)")
    tx.commit()
    tx.rollback()
    assert cursor.execute("SELECT * FROM t").fetchall() == [(2,)]


def test_nothing_to_end(lib: Library, tx: Any) -> None:  # noqa: F811
    tx.commit()
    tx.rollback()
    assert tx.info.transaction_status == 0


def test_the_first_statement_begins(lib: Library, tx: Any) -> None:  # noqa: F811
    assert tx.info.transaction_status == 0
    tx.execute("SELECT 1")
    assert tx.info.transaction_status == 2
    # A transaction it is: the time stands still.
    assert tx.execute("SELECT pg_sleep(0.001), now() < statement_timestamp()").fetchone()[1] is True
    tx.rollback()


def test_an_error_fails_the_transaction(lib: Library, tx: Any) -> None:  # noqa: F811
    with pytest.raises(lib.errors.DivisionByZero):
        tx.execute("SELECT 1/0")
    assert tx.info.transaction_status == 3
    with pytest.raises(lib.errors.InFailedSqlTransaction):
        tx.execute("SELECT 1")
    tx.rollback()
    assert tx.execute("SELECT 1").fetchone() == (1,)


def test_committing_what_has_failed_rolls_back(lib: Library, tx: Any) -> None:  # noqa: F811
    tx.execute("CREATE TEMP TABLE gone (a int)")
    with pytest.raises(lib.errors.DivisionByZero):
        tx.execute("SELECT 1/0")
    tx.commit()
    assert tx.execute("SELECT to_regclass('gone')").fetchone() == (None,)


def test_with_commits_and_rolls_back(lib: Library) -> None:  # noqa: F811
    with lib.connect() as connection:
        with pytest.raises(ZeroDivisionError), lib.module.connect(DSN) as inner:
            inner.execute("CREATE TABLE never (a int)")
            raise ZeroDivisionError
        assert inner.closed
        with lib.module.connect(DSN) as inner:
            inner.execute("CREATE TABLE once (a int)")
        assert inner.closed
        found = connection.execute("SELECT to_regclass('never'), to_regclass('once') IS NOT NULL").fetchone()
        assert found == (None, True)
        connection.execute("DROP TABLE once")
        connection.commit()


def test_connect_takes_what_a_connection_string_has(lib: Library) -> None:  # noqa: F811
    with lib.module.connect(
        DSN, application_name="of its own", autocommit=True, row_factory=lib.rows.dict_row
    ) as c:
        assert c.autocommit
        assert c.execute("SHOW application_name").fetchone()["application_name"].startswith("of its own")


@pytest.mark.parametrize("dsn", ["nonsense", "host=127.0.0.1 port=1", "postgresql://[::1", "no_such=1"])
def test_connect_refused(lib: Library, dsn: str) -> None:  # noqa: F811
    with pytest.raises((lib.errors.OperationalError, lib.errors.ProgrammingError)) as caught:
        lib.module.connect(dsn, connect_timeout=2)
    assert str(caught.value)


def test_threads_share_a_connection(lib: Library, conn: Any) -> None:  # noqa: F811
    found: list[Any] = []

    def ask(n: int) -> None:
        for i in range(20):
            found.append(conn.execute("SELECT %s", [n * 100 + i]).fetchone()[0])

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(n * 100 + i for n in range(4) for i in range(20))


# ---- errors of our own ---------------------------------------------------------------------------------------


def test_every_condition_of_psycopg_is_there() -> None:
    theirs = {
        n: c
        for n, c in vars(psycopg.errors).items()
        if isinstance(c, type) and isinstance(getattr(c, "sqlstate", None), str)
    }
    assert len(theirs) > 250
    for name, their in theirs.items():
        our = getattr(leakpool.errors, name)
        assert our.sqlstate == their.sqlstate
        assert [c.__name__ for c in our.__mro__ if c is not our] == [
            c.__name__ for c in their.__mro__ if c is not their
        ]
        assert leakpool.errors.lookup(their.sqlstate) is our
        assert our.__module__ == "leakpool.errors"
        assert name in leakpool.errors.__all__
    assert leakpool.errors.lookup("unique_violation") is leakpool.errors.UniqueViolation
    with pytest.raises(KeyError):
        leakpool.errors.lookup("99999")


@pytest.mark.parametrize(
    ("code", "base"),
    [
        ("23P99", "IntegrityError"),
        ("P0042", "ProgrammingError"),
        ("ZZ999", "DatabaseError"),
        ("57X00", "OperationalError"),
    ],
)
def test_a_condition_that_nobody_knows(lib: Library, conn: Any, code: str, base: str) -> None:  # noqa: F811
    with pytest.raises(lib.errors.DatabaseError) as caught:
        conn.execute(f"DO $$ BEGIN RAISE EXCEPTION 'oh' USING ERRCODE = '{code}'; END $$")
    assert caught.value.sqlstate == code
    assert type(caught.value).__name__ == base


def test_errors_can_be_pickled(lib: Library, conn: Any) -> None:  # noqa: F811
    with pytest.raises(lib.errors.UniqueViolation) as caught:
        conn.execute("CREATE TEMP TABLE p (a int PRIMARY KEY); INSERT INTO p VALUES (1), (1)")
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is type(caught.value)
    assert str(again) == str(caught.value)
    assert again.sqlstate == "23505"
    assert again.diag.constraint_name == "p_pkey"
    assert again.diag.message_detail == "Key (a)=(1) already exists."


def test_diag_of_an_error_of_ours_is_empty(lib: Library, conn: Any) -> None:  # noqa: F811
    with pytest.raises(lib.errors.ProgrammingError) as caught:
        conn.cursor().fetchone()
    assert caught.value.sqlstate is None
    assert caught.value.diag.message_primary is None
    with pytest.raises(AttributeError):
        caught.value.diag.no_such_field  # noqa: B018
