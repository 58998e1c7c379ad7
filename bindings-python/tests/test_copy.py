"""COPY in and out, in text, CSV and binary; the same body for leakpool and psycopg."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import leakpool
import pytest
from _both import DSN, OURS, Library, conn, lib, run  # noqa: F401

# ruff: noqa: F811

TYPES = ["int4", "text", "date"]
ROWS = [
    (1, "a", dt.date(2020, 1, 1)),
    (2, "tab\tnew\nback\\slash\r", None),
    (3, "", dt.date(1999, 12, 31)),
    (4, None, None),
]


@pytest.fixture(autouse=True)
def _table(request: pytest.FixtureRequest) -> None:
    if "conn" in request.fixturenames:
        request.getfixturevalue("conn").execute("CREATE TEMP TABLE t (a int, b text, c date)")


def filled(conn: Any) -> Any:
    cursor = conn.cursor()
    with cursor.copy("COPY t FROM STDIN") as copy:
        for row in ROWS:
            copy.write_row(row)
    return cursor


def table(conn: Any) -> Any:
    return conn.execute("TABLE t ORDER BY a").fetchall()


@pytest.mark.parametrize("options", ["", " (FORMAT binary)"])
def test_rows_in(lib: Library, conn: Any, options: str) -> None:
    cursor = conn.cursor()
    with cursor.copy("COPY t FROM STDIN" + options) as copy:
        copy.set_types(TYPES)
        for row in ROWS:
            copy.write_row(row)
    assert (cursor.rowcount, cursor.statusmessage) == (4, "COPY 4")
    assert table(conn) == ROWS


@pytest.mark.parametrize("options", ["", " (FORMAT binary)"])
def test_rows_out(lib: Library, conn: Any, options: str) -> None:
    filled(conn)
    cursor = conn.cursor()
    with cursor.copy("COPY t TO STDOUT" + options) as copy:
        copy.set_types(TYPES)
        assert list(copy.rows()) == ROWS
    assert cursor.rowcount == 4
    with cursor.copy("COPY t TO STDOUT" + options) as copy:
        copy.set_types(["int4", "text", "date"])
        found = []
        while (row := copy.read_row()) is not None:
            found.append(row)
    assert found == ROWS


def test_rows_out_without_types(lib: Library, conn: Any) -> None:
    filled(conn)
    with conn.cursor().copy("COPY t TO STDOUT") as copy:
        assert next(iter(copy.rows())) == ("1", "a", "2020-01-01")
        list(copy.rows())
    with conn.cursor().copy("COPY t TO STDOUT (FORMAT binary)") as copy:
        assert copy.read_row() == (b"\0\0\0\1", b"a", b"\0\0\x1c\x89")
        list(copy.rows())


def test_blocks_pass_as_they_are(lib: Library, conn: Any) -> None:
    filled(conn)
    for options in ("", " (FORMAT csv, HEADER)", " (FORMAT binary)"):
        with conn.cursor().copy("COPY t TO STDOUT" + options) as copy:
            data = [bytes(piece) for piece in copy]
        whole = b"".join(data)
        conn.execute("CREATE TEMP TABLE again (LIKE t)")
        with conn.cursor().copy("COPY again FROM STDIN" + options) as copy:
            # Cut anywhere.
            for at in range(0, len(whole), 7):
                copy.write(whole[at : at + 7])
        assert conn.execute("TABLE again ORDER BY a").fetchall() == ROWS
        conn.execute("DROP TABLE again")


def test_read_gives_blocks_and_then_nothing(lib: Library, conn: Any) -> None:
    filled(conn)
    with conn.cursor().copy("COPY t TO STDOUT (FORMAT csv)") as copy:
        found = b""
        while data := copy.read():
            found += data
        assert bytes(copy.read()) == b""
    assert found.startswith(b"1,a,2020-01-01\n2,")


def test_texts_and_bytes(lib: Library, conn: Any) -> None:
    with conn.cursor().copy("COPY t FROM STDIN") as copy:
        copy.write("1\tä\t\\N\n")
        copy.write("2\tö\t\\N\n".encode())
        copy.write(bytearray(b"3\tx\t\\N\n"))
        copy.write(memoryview(b"4\ty\t\\N\n"))
        copy.write("")
        copy.write(b"")
    assert [b for _, b, _ in table(conn)] == ["ä", "ö", "x", "y"]


def test_many_rows(lib: Library, conn: Any) -> None:
    with conn.cursor().copy("COPY t (a, b) FROM STDIN") as copy:
        for n in range(20_000):
            copy.write_row((n, "x" * 50))
    assert conn.execute("SELECT count(*), sum(a) FROM t").fetchone() == (20_000, sum(range(20_000)))
    with conn.cursor().copy("COPY t (a) TO STDOUT") as copy:
        assert sum(int(a) for (a,) in copy.rows()) == sum(range(20_000))


def test_values_of_all_kinds(lib: Library, conn: Any) -> None:
    conn.execute(
        "CREATE TEMP TABLE v (a bool, b numeric, c bytea, d int[], e timestamptz, f jsonb, g float8)"
    )
    row = (
        True,
        Decimal("1.50"),
        b"\0\\x",
        [1, None, 3],
        dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc),
        None,
        0.5,
    )
    with conn.cursor().copy("COPY v FROM STDIN") as copy:
        copy.write_row(row)
    assert conn.execute("TABLE v").fetchone() == row


def test_nothing_written(lib: Library, conn: Any) -> None:
    for options in ("", " (FORMAT csv)"):
        cursor = conn.cursor()
        with cursor.copy("COPY t FROM STDIN" + options):
            pass
        assert cursor.rowcount == 0


def test_parameters(lib: Library, conn: Any) -> None:
    sql = "COPY (SELECT %s, %s::text, %s, %s::date + 1, %s || 'x') TO STDOUT"
    values = [1, "a'b\\c", None, dt.date(2020, 1, 1), "%s $1"]
    with conn.cursor().copy(sql, values) as copy:
        assert list(copy.rows()) == [("1", "a'b\\c", None, "2020-01-02", "%s $1x")]
    with conn.cursor().copy("COPY (SELECT %(b)s, %(a)s, '100%%') TO STDOUT", {"a": 1.5, "b": [1, 2]}) as copy:
        assert list(copy.rows()) == [("{1,2}", "1.5", "100%")]
    with pytest.raises(lib.errors.ProgrammingError, match="0 placeholders but 1 parameters"):
        conn.cursor().copy("COPY (SELECT 1) TO STDOUT", [1]).__enter__()


def test_what_the_server_refuses(lib: Library, conn: Any) -> None:
    with (
        pytest.raises(lib.errors.InvalidTextRepresentation, match="CONTEXT:  COPY t, line 1, column a"),
        conn.cursor().copy("COPY t FROM STDIN") as copy,
    ):
        copy.write("x\ty\t\\N\n")
    assert conn.info.transaction_status == 0
    with pytest.raises(lib.errors.UndefinedTable), conn.cursor().copy("COPY nothing FROM STDIN"):
        pass
    with pytest.raises(lib.errors.DivisionByZero), conn.cursor().copy("COPY (SELECT 1/0) TO STDOUT") as copy:
        list(copy)
    assert table(conn) == []


def test_rows_before_an_error(lib: Library, conn: Any) -> None:
    found = []
    with pytest.raises(lib.errors.DivisionByZero):  # noqa: SIM117
        with conn.cursor().copy("COPY (SELECT 100 / (5 - n) FROM generate_series(1, 9) n) TO STDOUT") as copy:
            for row in copy.rows():
                found.append(row)  # noqa: PERF402
    assert found == [("25",), ("33",), ("50",), ("100",)]
    assert conn.info.transaction_status == 0


def test_an_exception_gives_the_copy_up(lib: Library, conn: Any) -> None:
    with pytest.raises(ZeroDivisionError), conn.cursor().copy("COPY t FROM STDIN") as copy:
        copy.write_row(ROWS[0])
        raise ZeroDivisionError("because")
    assert conn.info.transaction_status == 0
    assert table(conn) == []
    with pytest.raises(ZeroDivisionError), conn.transaction():
        filled(conn)
        with conn.cursor().copy("COPY t FROM STDIN"):
            raise ZeroDivisionError
    assert table(conn) == []


def test_a_row_that_does_not_fit(lib: Library, conn: Any) -> None:
    with pytest.raises(lib.errors.DataError, match="expected 1 values in row, got 2"):  # noqa: SIM117
        with conn.cursor().copy("COPY t FROM STDIN") as copy:
            copy.set_types(["int4"])
            copy.write_row((1, 2))
    with (
        pytest.raises(KeyError, match="couldn't find the type 'foo'"),
        conn.cursor().copy("COPY t FROM STDIN") as copy,
    ):
        copy.set_types(["foo"])
        copy.write_row((1,))
    with pytest.raises(TypeError), conn.cursor().copy("COPY t FROM STDIN") as copy:
        copy.write_row(1)
    with pytest.raises(TypeError), conn.cursor().copy("COPY t FROM STDIN") as copy:
        copy.write(1)
    with pytest.raises(TypeError, match="cannot copy str data in binary mode"):  # noqa: SIM117
        with conn.cursor().copy("COPY t FROM STDIN (FORMAT binary)") as copy:
            copy.write("x")
    assert table(conn) == []


@pytest.mark.parametrize("sql", ["SELECT 1", "INSERT INTO t VALUES (1)", "", "COPY t TO '/tmp/never'"])
def test_what_is_no_copy(lib: Library, conn: Any, sql: str) -> None:
    if sql.startswith("COPY") and not lib.ours:
        pytest.skip("psycopg runs it")
    with pytest.raises(lib.errors.ProgrammingError, match=r"copy\(\) should be used only with COPY"):
        conn.cursor().copy(sql).__enter__()


def test_the_wrong_way(lib: Library, conn: Any) -> None:
    with pytest.raises(lib.errors.OperationalError, match="no COPY in progress"):  # noqa: SIM117
        with conn.cursor().copy("COPY t FROM STDIN") as copy:
            copy.read()
    with pytest.raises(lib.errors.OperationalError, match="no COPY in progress"):  # noqa: SIM117
        with conn.cursor().copy("COPY t TO STDOUT") as copy:
            copy.write(b"x")


# ---- what psycopg does otherwise -------------------------------------------------------------------------------


@pytest.fixture
def ours() -> Any:
    with OURS.connect(autocommit=True) as connection:
        connection.execute("CREATE TEMP TABLE t (a int, b text, c date)")
        yield connection


@pytest.mark.parametrize("rows", [1, 3000, 1_000_000])
def test_left_early_it_is_cancelled(ours: Any, rows: int) -> None:
    with ours.cursor().copy(
        f"COPY (SELECT n, repeat('x', 100) FROM generate_series(1, {rows}) n) TO STDOUT"
    ) as copy:
        assert copy.read().startswith(b"1\t")
    assert ours.info.transaction_status == 0
    assert ours.execute("SELECT pg_sleep(0.001), 1").fetchone()[1] == 1


def test_nothing_else_while_it_copies(ours: Any) -> None:
    with ours.cursor().copy("COPY t FROM STDIN") as copy:
        with pytest.raises(leakpool.OperationalError, match=r"already in progress: copy\(\)"):
            ours.execute("SELECT 1")
        copy.write_row(ROWS[0])
    assert table(ours) == ROWS[:1]


@pytest.mark.parametrize("sql", ["COPY t TO STDOUT; SELECT 1", "COPY t FROM STDIN; COPY t FROM STDIN"])
def test_nothing_besides_a_copy(ours: Any, sql: str) -> None:
    with pytest.raises(leakpool.ProgrammingError, match="you cannot mix COPY with other operations"):
        ours.cursor().copy(sql).__enter__()


def test_which_way_it_goes_is_seen_in_the_statement(ours: Any) -> None:
    filled(ours)
    for sql in (
        "copy (select 'from stdin' as \"from stdin\" /* from stdin */ from t limit 1) to stdout",
        "COPY -- from stdin\n t TO  STDOUT;",
        "COPY t TO STDOUT WITH (DELIMITER ';', NULL 'from stdin')",
        "COPY t TO STDOUT WITH (FORMAT csv, DELIMITER $$;$$)",
    ):
        with ours.cursor().copy(sql) as copy:
            assert copy.read()


def test_a_copy_is_used_once_and_in_its_block(ours: Any) -> None:
    copy = ours.cursor().copy("COPY t FROM STDIN")
    with pytest.raises(leakpool.InterfaceError, match="was not begun"):
        copy.write(b"x")
    with copy, pytest.raises(TypeError, match="only once"):
        copy.__enter__()
    with pytest.raises(leakpool.InterfaceError, match="is over"):
        copy.write(b"x")
    with pytest.raises(TypeError, match="only once"):
        copy.__enter__()


def test_a_copy_after_the_end_of_its_checkout() -> None:
    with leakpool.Pool(DSN, max_size=1) as pool:
        connection = pool.getconn()
        connection.execute("CREATE TABLE left_open (a int)")
        connection.commit()
        copy = connection.cursor().copy("COPY left_open FROM STDIN")
        copy.__enter__()
        copy.write("1\n" * 100_000)
        pool.putconn(connection)
        with pool.connection(timeout=10) as other:
            with pytest.raises(leakpool.errors.ConnectionReleased):
                copy.write("1\n" * 100_000)
            with pytest.raises(leakpool.errors.ConnectionReleased):
                copy.__exit__(None, None, None)
            assert other.execute("SELECT count(*) FROM left_open").fetchone() == (0,)
            other.execute("DROP TABLE left_open")


def test_a_copy_whose_connection_is_taken_away() -> None:
    with leakpool.Pool(DSN, max_size=1) as pool:
        connection = pool.getconn()
        connection.execute("CREATE TEMP TABLE t (a int)")
        with pytest.raises(leakpool.errors.ForceReleased) as caught:  # noqa: SIM117
            with connection.cursor().copy("COPY t FROM STDIN") as copy:
                pool.force_release(connection.checkout_id)
                copy.write("1\n" * 100_000)
        assert "test_copy.py" in str(caught.value)
        pool.putconn(pool.getconn())


def test_surrogates_are_refused(ours: Any) -> None:
    for write in (lambda copy: copy.write("\ud800"), lambda copy: copy.write_row((1, "\ud800", None))):
        with pytest.raises(leakpool.DataError), ours.cursor().copy("COPY t FROM STDIN") as copy:
            write(copy)
    assert table(ours) == []


def test_rows_and_blocks_keep_their_order(ours: Any) -> None:
    with ours.cursor().copy("COPY t FROM STDIN") as copy:
        copy.write_row(ROWS[0])
        copy.write("7\tx\t\\N\n")
        copy.write_row(ROWS[2])
    assert [a for (a,) in ours.execute("SELECT a FROM t ORDER BY ctid")] == [1, 7, 3]


def test_async(lib: Library) -> None:
    async def body() -> None:
        async with lib.aconnect(autocommit=True) as conn:
            await conn.execute("CREATE TEMP TABLE t (a int, b text, c date)")
            cursor = conn.cursor()
            async with cursor.copy("COPY t FROM STDIN") as copy:
                for row in ROWS:
                    await copy.write_row(row)
            async with cursor.copy("COPY t FROM STDIN") as copy:
                await copy.write("5\tx\t\\N\n")
            assert cursor.rowcount == 1
            async with cursor.copy("COPY t TO STDOUT (FORMAT binary)") as copy:
                copy.set_types(TYPES)
                assert [row async for row in copy.rows()] == [*ROWS, (5, "x", None)]
            async with cursor.copy("COPY t TO STDOUT") as copy:
                assert await copy.read_row() == ("1", "a", "2020-01-01")
                assert len([data async for data in copy]) == 4
            with pytest.raises(ZeroDivisionError):
                async with cursor.copy("COPY t FROM STDIN") as copy:
                    raise ZeroDivisionError
            assert conn.info.transaction_status == 0

    run(body)
