"""Wrong arguments and wrong moments: each a clear error of the class that psycopg users expect, which names what is wrong,
harms nothing and keeps nothing alive."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import leakpool
import pytest
from _both import DSN, OURS
from leakpool.errors import (
    ConnectionLost,
    ConnectionReleased,
    DataError,
    ForceReleased,
    InterfaceError,
    InvalidText,
    OperationalError,
    ProgrammingError,
)

Call = Callable[[Any], Any]


class Odd:
    """Something that nothing adapts."""


class Unlucky(Exception):
    """What callbacks raise here."""


def unlucky(*_: Any) -> Any:
    raise Unlucky("on purpose")


@pytest.fixture
def conn() -> Iterator[Any]:
    with OURS.connect(autocommit=True) as connection:
        connection.execute("CREATE TEMP TABLE t (a int, b text)")
        yield connection


#: What is called, what it raises, and what the message says.
WRONG: dict[str, tuple[Call, type[Exception], str]] = {
    # -- queries ---------------------------------------------------------------------------------------------
    "a query that is no text": (lambda c: c.execute(1), TypeError, "query must be str, bytes .* got int"),
    "no query": (lambda c: c.execute(None), TypeError, "got NoneType"),
    "a query that composes no text": (
        lambda c: c.execute(type("Q", (), {"as_string": lambda *_: 1})()),
        TypeError,
        "got Q",
    ),
    "a query that cannot be composed": (
        lambda c: c.execute(type("Q", (), {"as_string": unlucky})()),
        Unlucky,
        "purpose",
    ),
    "bytes that are no UTF-8": (
        lambda c: c.execute(b"SELECT '\xff'"),
        DataError,
        "not valid UTF-8: byte 0xff at 8",
    ),
    "NUL in a query": (lambda c: c.execute("SELECT 1\0"), ProgrammingError, "NUL byte at offset 8"),
    "NUL in a query with parameters": (lambda c: c.execute("SELECT %s\0", [1]), ProgrammingError, "NUL byte"),
    "a surrogate in a query": (
        lambda c: c.execute("SELECT '\ud800'"),
        InvalidText,
        "surrogates not allowed",
    ),
    "a surrogate with parameters": (
        lambda c: c.execute("SELECT '\ud800', %s", [1]),
        InvalidText,
        "surrogates",
    ),
    "too many parameters for the protocol": (
        lambda c: c.execute("SELECT 1 WHERE 1 IN (" + "%s," * 65_535 + "%s)", [1] * 65_536),
        ProgrammingError,
        "65536|65,536|65535|65,535",
    ),
    "no such placeholder": (
        lambda c: c.execute("SELECT %(a)s", {"b": 1}),
        ProgrammingError,
        "parameter missing: a",
    ),
    "parameters that are no sequence": (
        lambda c: c.execute("SELECT %s", 1),
        TypeError,
        "sequence or a mapping, got int",
    ),
    "a generator of parameters": (
        lambda c: c.execute("SELECT %s", iter([1])),
        TypeError,
        "got list_iterator",
    ),
    "a mapping that raises": (
        lambda c: c.execute("SELECT %(a)s", type("M", (dict,), {"__missing__": unlucky})()),
        Unlucky,
        "purpose",
    ),
    # -- parameters ------------------------------------------------------------------------------------------
    "what cannot be adapted": (
        lambda c: c.execute("SELECT %s", [Odd()]),
        ProgrammingError,
        "cannot adapt type 'Odd'",
    ),
    "NUL in a parameter": (lambda c: c.execute("SELECT %s", ["a\0b"]), DataError, "NUL"),
    "a surrogate in a parameter": (
        lambda c: c.execute("SELECT %s", ["\ud800"]),
        DataError,
        "surrogates not allowed",
    ),
    "a list of different things": (lambda c: c.execute("SELECT %s", [[1, "a"]]), DataError, "list"),
    # -- many ------------------------------------------------------------------------------------------------
    "many that are nothing": (lambda c: c.cursor().executemany("SELECT %s", None), TypeError, "NoneType"),
    "many that are ints": (lambda c: c.cursor().executemany("SELECT %s", [1]), TypeError, "got int"),
    "many that raise": (
        lambda c: c.cursor().executemany("SELECT %s", (unlucky() for _ in "a")),
        Unlucky,
        "purpose",
    ),
    # -- fetching --------------------------------------------------------------------------------------------
    "fewer than no rows": (lambda c: c.execute("SELECT 1").fetchmany(-1), ValueError, "not negative, got -1"),
    "some rows": (lambda c: c.execute("SELECT 1").fetchmany("a"), TypeError, "number of rows, got str"),
    "arraysize of another type": (
        lambda c: (lambda k: (setattr(k, "arraysize", "x"), k.fetchmany()))(c.execute("SELECT 1")),
        TypeError,
        "number of rows, got str",
    ),
    "scrolling by a text": (lambda c: c.execute("SELECT 1").scroll("x"), TypeError, "str"),
    "scrolling otherwise": (
        lambda c: c.execute("SELECT 1").scroll(1, mode="sideways"),
        ValueError,
        "bad mode: sideways",
    ),
    "scrolling outside": (lambda c: c.execute("SELECT 1").scroll(2), IndexError, "out of bound"),
    "a result by a text": (lambda c: c.execute("SELECT 1").set_result("x"), TypeError, "str"),
    "a result that is not there": (
        lambda c: c.execute("SELECT 1").set_result(-2),
        IndexError,
        "index -2 out of range",
    ),
    "a row factory that cannot be called": (
        lambda c: c.cursor(row_factory=1).execute("SELECT 1").fetchone(),
        TypeError,
        "not callable",
    ),
    "a row factory that raises": (
        lambda c: c.cursor(row_factory=unlucky).execute("SELECT 1").fetchone(),
        Unlucky,
        "purpose",
    ),
    "a row maker that raises": (
        lambda c: c.cursor(row_factory=lambda _: unlucky).execute("SELECT 1").fetchall(),
        Unlucky,
        "purpose",
    ),
    "a class that does not take it": (
        lambda c: c.cursor(row_factory=leakpool.rows.class_row(Odd)).execute("SELECT 1 a").fetchone(),
        TypeError,
        "Odd|argument",
    ),
    # -- cursors and streams ---------------------------------------------------------------------------------
    "a cursor's name that is no text": (
        lambda c: c.cursor(1),
        TypeError,
        "cursor's name must be str, got int",
    ),
    "NUL in a cursor's name": (lambda c: c.cursor("a\0"), ValueError, "NUL"),
    "a surrogate in a cursor's name": (
        lambda c: c.transaction().__enter__() and c.cursor("\ud800").execute("SELECT 1"),
        InvalidText,
        "surrogates",
    ),
    "a stream in pieces of none": (
        lambda c: next(c.cursor().stream("SELECT 1", size=0)),
        ValueError,
        "size must be >= 1",
    ),
    "a stream in pieces of text": (
        lambda c: next(c.cursor().stream("SELECT 1", size="x")),
        ValueError,
        "got 'x'",
    ),
    "a stream of nothing": (
        lambda c: next(c.cursor().stream("")),
        ProgrammingError,
        "didn't produce a result",
    ),
    "a stream of two": (
        lambda c: list(c.cursor().stream("SELECT 1; SELECT 2")),
        ProgrammingError,
        "multiple commands",
    ),
    "a stream whose rows raise": (
        lambda c: list(c.cursor(row_factory=lambda _: unlucky).stream("SELECT 1")),
        Unlucky,
        "purpose",
    ),
    # -- COPY ------------------------------------------------------------------------------------------------
    "a COPY that is none": (
        lambda c: c.cursor().copy("SELECT 1").__enter__(),
        ProgrammingError,
        "only with COPY",
    ),
    "a COPY that is no text": (lambda c: c.cursor().copy(1).__enter__(), TypeError, "got int"),
    "NUL in a COPY": (lambda c: c.cursor().copy("COPY t TO STDOUT\0").__enter__(), ProgrammingError, "NUL"),
    "types that are no sequence": (
        lambda c: c.cursor().copy("COPY t TO STDOUT").set_types(1),
        TypeError,
        "got int",
    ),
    "types that are a text": (
        lambda c: c.cursor().copy("COPY t TO STDOUT").set_types("int4"),
        TypeError,
        "got str",
    ),
    # -- the connection --------------------------------------------------------------------------------------
    "a notice handler that cannot be called": (
        lambda c: c.add_notice_handler(1),
        TypeError,
        "needs a callable, got int",
    ),
    "a notify handler that cannot be called": (
        lambda c: c.add_notify_handler(None),
        TypeError,
        "got NoneType",
    ),
    "a handler that was not added": (lambda c: c.remove_notice_handler(print), ValueError, "is no handler"),
    "another handler that was not added": (
        lambda c: c.remove_notify_handler(print),
        ValueError,
        "is no handler",
    ),
    "waiting for a text": (
        lambda c: list(c.notifies(timeout="x")),
        TypeError,
        "number or None for timeout, got str",
    ),
    "stopping after a text": (
        lambda c: list(c.notifies(timeout=0, stop_after="x")),
        TypeError,
        "for stop_after, got str",
    ),
    "an isolation level that is none": (
        lambda c: setattr(c, "isolation_level", 5),
        ValueError,
        "5 is not a valid",
    ),
    "a savepoint's name that is no text": (
        lambda c: c.transaction(1),
        TypeError,
        "savepoint's name must be str, got int",
    ),
    "NUL in a savepoint's name": (lambda c: c.transaction("a\0b"), ValueError, "NUL"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_arguments(conn: Any, what: str) -> None:
    call, error, words = WRONG[what]
    with pytest.raises(error, match=words):
        call(conn)
    # Nothing happened to the connection: what it was in, it still is, and works on.
    if conn._transactions:
        conn._transactions[-1].__exit__(None, None, None)
    assert conn.info.transaction_status == 0
    assert conn.execute("SELECT %s", [7]).fetchone() == (7,)


@pytest.mark.parametrize("what", WRONG)
def test_wrong_arguments_keep_nothing_alive(what: str) -> None:
    call, error, _ = WRONG[what]
    pool = leakpool.Pool(DSN, max_size=1)
    connection = pool.getconn()
    connection.autocommit = True
    connection.execute("CREATE TEMP TABLE t (a int, b text)")
    with pytest.raises(error):
        call(connection)
    pool.putconn(connection)
    seen = weakref.ref(connection)
    sys.last_value = None  # type: ignore[assignment]
    del connection
    gc.collect()
    assert seen() is None
    pool.close()


def test_a_surrogate_is_also_an_encoding_error(conn: Any) -> None:
    with pytest.raises(UnicodeEncodeError) as caught, conn.cursor().copy("COPY t FROM STDIN") as copy:
        copy.write("x\ud800")
    assert isinstance(caught.value, InvalidText)
    assert (caught.value.start, caught.value.reason) == (1, "surrogates not allowed")


def test_parameters_are_not_kept(conn: Any) -> None:
    class Kept(str):
        __slots__ = ("__weakref__",)

    value = Kept("x")
    seen = weakref.ref(value)
    conn.execute("SELECT %s::text", [value])
    conn.cursor().executemany("SELECT %s::text", [(value,)])
    list(conn.cursor().stream("SELECT %s::text", [value]))
    before = sys.getrefcount(value)
    for _ in range(100):
        conn.execute("SELECT %s::text", [value])
    assert sys.getrefcount(value) == before
    del value
    gc.collect()
    assert seen() is None


# ---- after the end -----------------------------------------------------------------------------------------------

USES: dict[str, Call] = {
    "execute": lambda c: c.execute("SELECT 1"),
    "execute with parameters": lambda c: c.execute("SELECT %s", [1]),
    "cursor": lambda c: c.cursor(),
    "named cursor": lambda c: c.cursor("x"),
    "commit": lambda c: c.commit(),
    "rollback": lambda c: c.rollback(),
    "transaction": lambda c: c.transaction().__enter__(),
    "notifies": lambda c: list(c.notifies(timeout=0)),
    "cancel": lambda c: c.cancel(),
    "cancel_safe": lambda c: c.cancel_safe(),
    "autocommit": lambda c: setattr(c, "autocommit", True),
    "isolation_level": lambda c: setattr(c, "isolation_level", 1),
    "dbname": lambda c: c.info.dbname,
    "parameters": lambda c: c.info.get_parameters(),
}

CURSOR_USES: dict[str, Call] = {
    "execute": lambda k: k.execute("SELECT 1"),
    "execute with parameters": lambda k: k.execute("SELECT %s", [1]),
    "executemany": lambda k: k.executemany("SELECT %s", [(1,)]),
    "stream": lambda k: next(k.stream("SELECT 1")),
    "copy": lambda k: k.copy("COPY (SELECT 1) TO STDOUT").__enter__(),
}

#: How a connection ends, and what its uses raise from then on.
ENDS: dict[str, tuple[Callable[[Any, Any], Any], type[Exception], str]] = {
    "given back": (
        lambda p, c: p.putconn(c),
        ConnectionReleased,
        "the connection is closed: .* given back to pool",
    ),
    "closed": (lambda p, c: c.close(), ConnectionReleased, "the connection is closed"),
    "taken away": (
        lambda p, c: p.force_release(c),
        ForceReleased,
        r"taken back .* on request; .*test_bad_input",
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_uses_after_the_end(end: str) -> None:
    finish, error, words = ENDS[end]
    with leakpool.Pool(DSN, max_size=1) as pool:
        connection = pool.getconn()
        cursor = connection.cursor()
        read_later = connection.execute("SELECT 1")
        connection.commit()
        finish(pool, connection)
        for use in USES.values():
            with pytest.raises(error, match=words) as caught:
                use(connection)
            assert isinstance(caught.value, OperationalError)
        for use in CURSOR_USES.values():
            with pytest.raises(error, match=words):
                use(cursor)
        assert connection.closed
        assert "[BAD]" in repr(connection)
        assert connection.info.transaction_status == leakpool.TransactionStatus.UNKNOWN
        assert connection.info.status == leakpool.ConnStatus.BAD
        # What had come is still there.
        assert read_later.fetchone() == (1,)
        connection.close()
        with pool.connection(timeout=10) as other:
            assert other.execute("SELECT 1").fetchone() == (1,)


def test_uses_after_the_session_was_killed() -> None:
    with leakpool.Pool(DSN, max_size=1) as pool, OURS.connect(autocommit=True) as other:
        connection = pool.getconn()
        other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
        with pytest.raises(OperationalError) as caught:
            connection.execute("SELECT 1")
        assert isinstance(caught.value, ConnectionLost | leakpool.errors.AdminShutdown)
        for use in (USES["execute"], USES["cursor"], USES["commit"], USES["notifies"]):
            with pytest.raises(OperationalError):
                use(connection)
        assert connection.broken
        pool.putconn(connection)
        with pool.connection(timeout=10) as another:
            assert another.execute("SELECT 1").fetchone() == (1,)


def test_uses_of_a_closed_cursor(conn: Any) -> None:
    cursor = conn.execute("SELECT 1")
    cursor.close()
    cursor.close()
    uses = [
        *CURSOR_USES.values(),
        lambda k: k.fetchone(),
        lambda k: k.fetchmany(2),
        lambda k: k.fetchall(),
        list,
        lambda k: k.nextset(),
        lambda k: k.scroll(1),
        lambda k: k.set_result(0),
    ]
    for use in uses:
        with pytest.raises(InterfaceError, match="the cursor is closed"):
            use(cursor)
    assert (cursor.closed, cursor.description, cursor.rowcount) == (True, None, -1)


def test_a_use_in_another_loop() -> None:
    async def made() -> tuple[Any, Any]:
        pool = leakpool.AsyncPool(DSN, max_size=1, open=False)
        await pool.open()
        return pool, await pool.getconn()

    async def used(conn: Any) -> Any:
        cursor = await conn.execute("SELECT 1")
        return await cursor.fetchone()

    async def over(pool: Any, conn: Any) -> None:
        await pool.putconn(conn)
        await pool.close()

    pool, conn = asyncio.run(made())
    try:
        # Each loop waits by itself: another one may go on where the first has ended.
        assert asyncio.run(used(conn)) == (1,)
    finally:
        asyncio.run(over(pool, conn))


def test_sync_and_async_are_not_mixed() -> None:
    with OURS.connect() as conn:
        with pytest.raises((TypeError, AttributeError)):

            async def wrong() -> None:
                async with conn:
                    pass

            asyncio.run(wrong())
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_a_handler_that_ends_the_connection_in_mid_answer() -> None:
    with leakpool.Pool(DSN, max_size=1) as pool:
        connection = pool.getconn()
        connection.add_notice_handler(lambda _: connection.close())
        cursor = connection.execute("DO $$ BEGIN RAISE NOTICE 'now'; RAISE NOTICE 'and again'; END $$")
        assert cursor.statusmessage == "DO"
        assert connection.closed
        with pool.connection(timeout=10) as other:
            assert other.execute("SELECT 1").fetchone() == (1,)


def test_a_handler_that_asks_in_mid_answer() -> None:
    """The turn is the asker's: a handler that waits for it would wait for ever."""
    with OURS.connect(autocommit=True) as conn:
        told: list[Any] = []

        def ask(_: Any) -> None:
            try:
                told.append(conn.execute("SELECT 1").fetchone())
            except leakpool.Error as e:
                told.append(e)

        conn.add_notice_handler(ask)
        conn.execute("DO $$ BEGIN RAISE NOTICE 'now'; END $$")
        assert len(told) == 1
        assert isinstance(told[0], OperationalError)
        assert "already in progress: a query" in str(told[0])
        conn.remove_notice_handler(ask)
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_a_signal_handler_that_asks_in_mid_answer() -> None:
    with OURS.connect(autocommit=True) as conn:
        told: list[Any] = []

        def ask(*_: Any) -> None:
            try:
                told.append(conn.execute("SELECT 1").fetchone())
            except leakpool.Error as e:
                told.append(e)

        before = signal.signal(signal.SIGALRM, ask)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            assert conn.execute("SELECT pg_sleep(0.5), 1").fetchone()[1] == 1
        finally:
            signal.signal(signal.SIGALRM, before)
        assert isinstance(told[0], OperationalError)
