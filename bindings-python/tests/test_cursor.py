"""Cursors: what `test_same_as_psycopg` cannot compare by single calls: named cursors, streams, notices, notifications,
and what leakpool does otherwise."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import leakpool
import pytest
from _both import DSN, OURS, Library, conn, lib, tx  # noqa: F401

# ruff: noqa: F811


# ---- named cursors ---------------------------------------------------------------------------------------------


def test_a_named_cursor_fetches_in_pieces(lib: Library, tx: Any) -> None:
    with tx.cursor("pieces") as cursor:
        assert cursor.execute("SELECT n AS a FROM generate_series(1, %s) n", [1000]) is cursor
        assert (cursor.name, cursor.scrollable, cursor.withhold, cursor.itersize) == (
            "pieces",
            None,
            False,
            100,
        )
        assert [c.name for c in cursor.description] == ["a"]
        assert (cursor.rownumber, cursor.rowcount) == (0, -1)
        assert cursor.fetchone() == (1,)
        assert cursor.fetchmany(2) == [(2,), (3,)]
        assert cursor.fetchmany() == [(4,)]
        assert cursor.rownumber == 4
        assert len(cursor.fetchall()) == 996
        assert (cursor.fetchone(), cursor.fetchmany(3), cursor.fetchall()) == (None, [], [])
        assert cursor.rownumber == 1000
    assert cursor.closed
    with pytest.raises(lib.errors.InterfaceError, match="the cursor is closed"):
        cursor.fetchone()
    assert tx.execute("SELECT count(*) FROM pg_cursors").fetchone() == (0,)


def test_a_named_cursor_is_iterated_in_pieces(lib: Library, tx: Any) -> None:
    cursor = tx.cursor("iterated")
    cursor.itersize = 7
    cursor.execute("SELECT generate_series(1, 50)")
    assert [a for (a,) in cursor] == list(range(1, 51))
    cursor.execute("SELECT generate_series(1, 3)")
    assert next(iter(cursor)) == (1,)
    cursor.close()


def test_a_named_cursor_makes_rows(lib: Library, tx: Any) -> None:
    with tx.cursor("dicts", row_factory=lib.rows.dict_row) as cursor:
        cursor.execute("SELECT 1 a, 2 b")
        assert cursor.fetchall() == [{"a": 1, "b": 2}]
    with tx.cursor("binary", binary=True) as cursor:
        cursor.execute("SELECT %s::int, 'x', now() > 'epoch'", [5])
        assert cursor.fetchone() == (5, "x", True)


def test_a_named_cursor_scrolls(lib: Library, tx: Any) -> None:
    cursor = tx.cursor("scrolls", scrollable=True)
    cursor.execute("SELECT generate_series(1, 10)")
    cursor.scroll(5)
    assert cursor.fetchone() == (6,)
    cursor.scroll(0, mode="absolute")
    assert cursor.fetchone() == (1,)
    cursor.scroll(3, "absolute")
    assert cursor.rownumber == 3
    assert cursor.fetchone() == (4,)
    cursor.scroll(-2)
    assert cursor.fetchone() == (3,)
    with pytest.raises(ValueError, match="bad mode: x"):
        cursor.scroll(1, "x")
    cursor.close()


def test_a_named_cursor_that_cannot_go_back(lib: Library, tx: Any) -> None:
    cursor = tx.cursor("forward", scrollable=False)
    cursor.execute("SELECT generate_series(1, 10)")
    cursor.fetchall()
    with pytest.raises(lib.errors.ObjectNotInPrerequisiteState, match="can only scan forward"):
        cursor.scroll(-2)
    tx.rollback()
    cursor.close()


def test_a_cursor_with_hold_outlives_its_transaction(lib: Library, tx: Any) -> None:
    cursor = tx.cursor("held", withhold=True)
    cursor.execute("SELECT generate_series(1, 3)")
    assert cursor.fetchone() == (1,)
    tx.commit()
    assert cursor.fetchall() == [(2,), (3,)]
    cursor.close()
    tx.commit()
    assert tx.execute("SELECT count(*) FROM pg_cursors").fetchone() == (0,)


def test_a_named_cursor_needs_a_transaction(lib: Library, conn: Any) -> None:
    with pytest.raises(lib.errors.NoActiveSqlTransaction), conn.cursor("none") as cursor:
        cursor.execute("SELECT 1")
    with conn.transaction(), conn.cursor("some") as cursor:
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]


def test_a_named_cursor_runs_again(lib: Library, tx: Any) -> None:
    with tx.cursor("again") as cursor:
        cursor.execute("SELECT 1 AS a")
        cursor.execute("SELECT 'x' AS b, 2")
        assert [c.name for c in cursor.description] == ["b", "?column?"]
        assert cursor.fetchall() == [("x", 2)]


def test_a_cursor_that_somebody_else_declared(lib: Library, tx: Any) -> None:
    tx.execute("DECLARE theirs CURSOR FOR SELECT generate_series(1, 3) AS n")
    with tx.cursor("theirs") as cursor:
        assert cursor.fetchone() == (1,)
        assert cursor.fetchall() == [(2,), (3,)]
    assert tx.execute("SELECT count(*) FROM pg_cursors").fetchone() == (0,)


def test_what_a_named_cursor_does_not_do(lib: Library, tx: Any) -> None:
    cursor = tx.cursor("does not")
    with pytest.raises(lib.errors.NotSupportedError, match="executemany not supported"):
        cursor.executemany("SELECT %s", [(1,)])
    with pytest.raises(lib.errors.SyntaxError, match='at or near "INSERT"'):
        cursor.execute("INSERT INTO nothing VALUES (1)")
    tx.rollback()
    with pytest.raises(lib.errors.InvalidCursorName), tx.cursor("nowhere") as nowhere:
        nowhere.fetchone()
    tx.rollback()
    cursor.close()


def test_a_named_cursor_in_a_failed_transaction_closes_quietly(lib: Library, tx: Any) -> None:
    cursor = tx.cursor("failed")
    cursor.execute("SELECT 1")
    with pytest.raises(lib.errors.DivisionByZero):
        tx.execute("SELECT 1/0")
    cursor.close()
    assert tx.info.transaction_status == 3


@pytest.mark.parametrize("name", ["a b", 'q"uote', "it's", "back\\slash", "ä"])
def test_names_of_cursors_are_quoted(lib: Library, tx: Any, name: str) -> None:
    with tx.cursor(name) as cursor:
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]
    assert tx.execute("SELECT count(*) FROM pg_cursors").fetchone() == (0,)


# ---- streams ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [2, 30_000, 1_000_000])
def test_a_stream_that_is_left_early(lib: Library, conn: Any, rows: int) -> None:
    stream = conn.cursor().stream("SELECT n, repeat('x', 100) FROM generate_series(1, %s) n", [rows])
    assert next(stream)[0] == 1
    stream.close()
    assert conn.info.transaction_status == 0
    assert conn.execute("SELECT 2").fetchone() == (2,)


def test_a_cancel_of_a_stream_never_hits_the_next_statement() -> None:
    with OURS.connect(autocommit=True) as conn:
        for _ in range(50):
            stream = conn.cursor().stream("SELECT generate_series(1, 20000)")
            next(stream)
            stream.close()
            conn.execute("SELECT pg_sleep(0.001)")


def test_a_stream_takes_little_memory() -> None:
    with OURS.connect() as conn:
        count = 0
        for n, _ in conn.cursor().stream("SELECT n, repeat('x', 1000) FROM generate_series(1, 200000) n"):
            count += 1
            if n == 100_000:
                with open("/proc/self/statm", encoding="ascii") as statm:
                    resident = int(statm.read().split()[1]) * 4096
                assert resident < 2_000_000_000
        assert count == 200_000


def test_nothing_else_while_it_streams() -> None:
    with OURS.connect(autocommit=True) as conn:
        stream = conn.cursor().stream("SELECT generate_series(1, 10)")
        next(stream)
        for ask in (
            lambda: conn.execute("SELECT 1"),
            lambda: next(conn.cursor().stream("SELECT 1")),
            conn.commit,
            conn.transaction().__enter__,
        ):
            with pytest.raises(leakpool.OperationalError, match=r"already in progress: stream\(\)"):
                ask()
        assert [a for (a,) in stream] == list(range(2, 11))
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_another_thread_waits_for_the_stream() -> None:
    with OURS.connect(autocommit=True) as conn:
        stream = conn.cursor().stream("SELECT generate_series(1, 10)")
        next(stream)
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(conn.execute("SELECT 1").fetchone()))
        thread.start()
        assert len(list(stream)) == 9
        thread.join(30)
        assert found == [(1,)]


def test_a_stream_after_the_end_of_its_checkout() -> None:
    with leakpool.Pool(DSN, max_size=1) as pool:
        connection = pool.getconn()
        stream = connection.cursor().stream("SELECT generate_series(1, 100000)")
        next(stream)
        pool.putconn(connection)
        # The place is free although the stream is still there, and the next holder's session is clean.
        with pool.connection(timeout=10) as other:
            assert other.execute("SELECT 1").fetchone() == (1,)
            with pytest.raises(leakpool.errors.ConnectionReleased, match="was given back"):
                list(stream)
        stream.close()


def test_a_stream_while_the_connection_is_taken_away() -> None:
    with leakpool.Pool(DSN, max_size=1) as pool:
        connection = pool.getconn()
        stream = connection.cursor().stream("SELECT n, repeat('x', 1000) FROM generate_series(1, 1000000) n")
        next(stream)
        pool.force_release(connection.checkout_id)
        with pytest.raises(leakpool.OperationalError):
            list(stream)
        with pytest.raises(leakpool.errors.ForceReleased):
            connection.execute("SELECT 1")
        pool.putconn(pool.getconn())


# ---- notices and notifications ---------------------------------------------------------------------------------


def test_notices(lib: Library, conn: Any) -> None:
    told: list[Any] = []
    conn.execute("DO $$ BEGIN RAISE NOTICE 'before anybody listens'; END $$")

    def handler(diagnostic: Any) -> None:
        # psycopg's is empty later.
        told.append((diagnostic.severity, diagnostic.message_primary, diagnostic.message_hint))

    conn.add_notice_handler(handler)
    conn.execute("DO $$ BEGIN RAISE NOTICE 'hello' USING HINT = 'h'; RAISE WARNING 'careful'; END $$")
    assert told == [
        ("NOTICE", "hello", "h"),
        ("WARNING", "careful", None),
    ]
    with pytest.raises(lib.errors.DivisionByZero):
        conn.execute("DO $$ BEGIN RAISE NOTICE 'last words'; PERFORM 1/0; END $$")
    assert told[-1][1] == "last words"
    conn.remove_notice_handler(handler)
    conn.execute("DO $$ BEGIN RAISE NOTICE 'again'; END $$")
    assert len(told) == 3


def test_a_notice_handler_that_raises(lib: Library, conn: Any, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Any] = []

    def bad(diagnostic: Any) -> None:
        raise ZeroDivisionError

    conn.add_notice_handler(bad)
    conn.add_notice_handler(told.append)
    conn.execute("DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
    assert len(told) == 1
    assert "error processing notice callback" in caplog.text


def notify(lib: Library, *payloads: str) -> None:
    with lib.connect(autocommit=True) as other:
        for payload in payloads:
            other.execute("SELECT pg_notify('channel', %s)", [payload])


def test_notifications_from_elsewhere(lib: Library, conn: Any) -> None:
    conn.execute("LISTEN channel")
    notify(lib, "one", "two")
    found = list(conn.notifies(timeout=10, stop_after=2))
    assert [(n.channel, n.payload) for n in found] == [("channel", "one"), ("channel", "two")]
    assert all(type(n) is lib.module.Notify for n in found)
    assert found[0].pid not in (0, conn.info.backend_pid)


def test_notifications_while_it_waits(lib: Library, conn: Any) -> None:
    conn.execute("LISTEN channel")
    thread = threading.Thread(target=notify, args=(lib, "later"))
    thread.start()
    assert next(conn.notifies(timeout=20)).payload == "later"
    thread.join()


def test_none_within_the_time(lib: Library, conn: Any) -> None:
    conn.execute("LISTEN channel")
    began = time.monotonic()
    assert list(conn.notifies(timeout=0.2)) == []
    assert time.monotonic() - began >= 0.19
    assert list(conn.notifies(timeout=0)) == []
    assert list(conn.notifies(timeout=-1)) == []


def test_queries_between_notifications(lib: Library, conn: Any) -> None:
    conn.execute("LISTEN channel")
    notify(lib, "a")
    found = []
    with contextlib.closing(conn.notifies(timeout=10)) as generator:
        for n in generator:
            if lib.ours:
                # psycopg would wait for itself here.
                assert conn.execute("SELECT 1").fetchone() == (1,)
            found.append(n.payload)
            if len(found) == 1:
                notify(lib, "b")
            else:
                break
    assert found == ["a", "b"]


def test_a_notify_handler(lib: Library, conn: Any) -> None:
    told: list[Any] = []
    conn.add_notify_handler(told.append)
    conn.execute("LISTEN channel")
    conn.execute("NOTIFY channel, 'mine'")
    conn.execute("SELECT 1")
    assert [n.payload for n in told] == ["mine"]
    conn.remove_notify_handler(told.append)
    conn.execute("NOTIFY channel, 'mine'")
    conn.execute("SELECT 1")
    assert len(told) == 1


# ---- cancel ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["cancel", "cancel_safe"])
def test_cancel(lib: Library, conn: Any, method: str) -> None:
    pid = conn.info.backend_pid

    def cancel() -> None:
        with lib.connect(autocommit=True) as other:
            while not other.execute(
                "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'", [pid]
            ).fetchall():
                pass
        getattr(conn, method)()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(lib.errors.QueryCanceled):
        conn.execute("SELECT pg_sleep(30)")
    thread.join()
    assert conn.execute("SELECT 1").fetchone() == (1,)


def test_nothing_to_cancel(lib: Library, conn: Any) -> None:
    conn.cancel()
    conn.cancel_safe()
    assert conn.execute("SELECT pg_sleep(0.01), 1").fetchone()[1] == 1


# ---- what leakpool does otherwise, and why ----------------------------------------------------------------------


def test_many_of_which_one_does_not_fit_are_not_begun() -> None:
    with OURS.connect(autocommit=True) as conn:
        conn.execute("CREATE TEMP TABLE m (a int)")
        with pytest.raises(leakpool.ProgrammingError, match="1 placeholders but 2 parameters"):
            conn.cursor().executemany("INSERT INTO m VALUES (%s)", [(1,), (2, 3)])
        assert conn.execute("SELECT count(*) FROM m").fetchone() == (0,)


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO STDOUT",
        "COPY t FROM STDIN",
        "SELECT 1; copy t from  stdin",
        "/* x */ COPY t TO STDOUT",
    ],
)
def test_copy_as_a_query_is_refused_and_harms_nothing(sql: str) -> None:
    with OURS.connect(autocommit=True) as conn:
        conn.execute("CREATE TEMP TABLE t (a int)")
        with pytest.raises(leakpool.ProgrammingError, match=r"use copy\(\) instead"):
            conn.execute(sql)
        assert conn.info.transaction_status == 0
        assert conn.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_copy_into_a_file_of_the_server_is_a_query(tmp_path: Any) -> None:
    with OURS.connect(autocommit=True) as conn:
        cursor = conn.execute("COPY (SELECT 'TO STDOUT') TO PROGRAM 'cat > /dev/null'")
        assert cursor.statusmessage == "COPY 1"


def test_composed_queries() -> None:
    from psycopg import sql

    with OURS.connect(autocommit=True) as conn:
        query = sql.SQL("SELECT {} AS {}").format(sql.Placeholder(), sql.Identifier("a b"))
        cursor = conn.execute(query, ["x"])
        assert (cursor.description[0].name, cursor.fetchone()) == ("a b", ("x",))


def test_prepared_statements_are_kept_or_not() -> None:
    with OURS.connect(autocommit=True) as conn:
        count = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE %s"
        conn.execute("SELECT %s AS never", [1], prepare=False)
        assert conn.execute(count, ["%never"], prepare=False).fetchone() == (0,)
        conn.execute("SELECT %s AS kept", [1])
        assert conn.execute(count, ["%kept"], prepare=False).fetchone() == (1,)
        conn.prepare_threshold = None
        conn.execute("SELECT %s AS neither", [1])
        assert conn.execute(count, ["%neither"], prepare=False).fetchone() == (0,)


def test_a_cursor_factory() -> None:
    class Mine(leakpool.Cursor[Any]):
        pass

    class Named(leakpool.ServerCursor[Any]):
        pass

    with OURS.connect() as conn:
        conn.cursor_factory = Mine
        conn.server_cursor_factory = Named
        assert type(conn.execute("SELECT 1")) is Mine
        assert type(conn.cursor("x")) is Named


def test_columns_know_their_table() -> None:
    with OURS.connect() as conn:
        first, second = conn.execute("SELECT relname, 1 FROM pg_class LIMIT 1").description
        assert first.table_oid == conn.execute("SELECT 'pg_class'::regclass::oid").fetchone()[0]
        assert first.table_column == 2
        assert (second.table_oid, second.table_column) == (None, None)
