"""Values over a connection: what is passed comes back as with psycopg, rows are decoded ahead without anybody noticing, and
no reference is leaked."""

from __future__ import annotations

import dataclasses
import gc
import sys
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import leakpool
import leakpool.types as ours
import psycopg
import pytest
from _values import Theirs, objects, plain
from leakpool import errors, rows
from leakpool._leakpool import Transformer
from psycopg import rows as their_rows

MANY = 3_000


@pytest.fixture
def conn(dsn: str) -> Iterator[Any]:
    with leakpool.Pool(dsn, max_size=1, kwargs={"autocommit": True}) as pool, pool.connection() as connection:
        yield connection


@pytest.fixture
def theirs(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def outcome(make: Any) -> Any:
    try:
        return plain(make())
    except (psycopg.Error, errors.Error, NotImplementedError) as e:
        return (type(e).__name__, getattr(e, "sqlstate", None), str(e).split("\n")[0])
    except (UnicodeError, TypeError, BufferError):
        return ("DataError", None)


def same(mine: Any, theirs: Any) -> bool:
    return bool(mine == theirs or (theirs == ("DataError", None) and mine[0] == "DataError"))


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT %s",
        "SELECT pg_typeof(%s)::text",
        "SELECT %s IS NULL",
        "SELECT coalesce(%s, NULL)",
        "SELECT ARRAY[%s]",
        "SELECT 1 WHERE %s IS NOT DISTINCT FROM NULL",
        "SELECT concat(%s::text, 'x')",
    ],
)
def test_what_is_passed_comes_back_as_with_psycopg(
    conn: Any, theirs: psycopg.Connection[Any], sql: str, binary: bool
) -> None:
    differences = []
    for mine, their in zip(objects(ours), objects(Theirs)):
        if isinstance(mine, list) and mine and isinstance(mine[0], timedelta):
            continue
        expected = outcome(lambda: theirs.execute(sql, [their], binary=binary).fetchall())
        got = outcome(lambda: conn.execute(sql, [mine], binary=binary).fetchall())
        if not same(got, expected):
            differences.append(f"{mine!r}: {got!r}, psycopg: {expected!r}")
    assert not differences, f"{len(differences)}:\n" + "\n".join(differences[:10])


@pytest.mark.parametrize(
    "sql, params",
    [
        ("SELECT 10 / %s", [4.0]),
        ("SELECT 10 / %s", [4]),
        ("SELECT 10 / %s", [Decimal(4)]),
        ("SELECT pg_typeof(10 / %s)::text", [2**40]),
        ("SELECT %s + 1", [1]),
        ("SELECT %s || %s", ["a", "b"]),
        ("SELECT %s = ANY(%s)", [3, [1, 2, 3]]),
        ("SELECT %s = ANY(%s)", ["a", ["a", None]]),
        ("SELECT %s::int[] || %s::int[]", [[1], []]),
        ("SELECT unnest(%s::text[])", [["a", 'b"', "\\", "NULL", None, ""]]),
        ("SELECT date '2024-01-01' + %s", [timedelta(days=1, seconds=2)]),
        ("SELECT date '2024-01-01' + %s", [5]),
        ("SELECT now() > %s", [datetime(2000, 1, 1)]),
        ("SELECT %s AT TIME ZONE 'UTC'", [datetime(2000, 1, 1, tzinfo=timezone.utc)]),
        ("SELECT (%s::record).*", [(1, 2)]),
        ("SELECT %s -> 'a'", [{"a": 1}]),
        ("SELECT 1 FROM pg_class WHERE oid = %s LIMIT 1", [1259]),
        ("SELECT generate_series(1, %s)", [3]),
        ("SELECT (%(a)s, %(b)s)", {"a": 1, "b": "x"}),
        ("SELECT %b, %t", [1, 1]),
        ("SELECT %b, %t", ["a", "a"]),
        ("SELECT pg_typeof(%b)::text, pg_typeof(%t)::text", ["a", "a"]),
        ("SELECT %s::int4range", [(1, 2)]),
        ("SELECT %s", [[[1, 2], [3]]]),
        ("SELECT %s::smallint", [70000]),
        ("SELECT %s, %s", [None, [None]]),
    ],
)
def test_statements_as_psycopg(conn: Any, theirs: psycopg.Connection[Any], sql: str, params: Any) -> None:
    their_params = params
    if params == [{"a": 1}]:
        their_params = [Theirs.Jsonb({"a": 1})]
    expected = outcome(lambda: theirs.execute(sql, their_params).fetchall())
    assert outcome(lambda: conn.execute(sql, params).fetchall()) == expected


def test_a_dict_needs_no_wrapper(conn: Any) -> None:
    value = {"a": [1, 2.5, None, {"b": "ä"}]}
    assert conn.execute(
        "SELECT %s, pg_typeof(%s)::text, %s @> %s", [value, value, value, {"a": [1]}]
    ).fetchone() == (value, "jsonb", True)
    conn.execute("CREATE TEMP TABLE t (j json, b jsonb)")
    conn.execute("INSERT INTO t VALUES (%s, %s)", [value, value])
    assert conn.execute("SELECT * FROM t").fetchone() == (value, value)


def test_refusals_name_the_parameter(conn: Any) -> None:
    with pytest.raises(
        errors.ProgrammingError, match="cannot adapt type 'object' using placeholder '%s'"
    ) as caught:
        conn.execute("SELECT %s, %s", [1, object()])
    if sys.version_info >= (3, 11):
        assert caught.value.__notes__ == ["parameter $2"]
    for value, text in [
        ("a\0b", "cannot contain NUL"),
        ("\ud800", "surrogates not allowed"),
        ([1, "a"], "lists of mixed types; got: int, str"),
    ]:
        with pytest.raises(errors.DataError, match=text):
            conn.execute("SELECT %s", [value])
    with pytest.raises(errors.DataError, match="out of range for type int2: 70000"):
        conn.execute("SELECT %s", [ours.Int2(70000)])
    assert conn.execute("SELECT %s", [1]).fetchone() == (1,)


def test_other_encodings(conn: Any) -> None:
    """Values are converted; the SQL text itself is always sent in UTF-8, which must not be taken for something else."""
    conn.execute("CREATE TEMP TABLE texts (t text)")
    conn.execute("SET client_encoding = 'LATIN1'")
    conn.execute("INSERT INTO texts VALUES (%s)", ["äö"])
    assert conn.execute("SELECT t, length(t), ARRAY[t] FROM texts").fetchone() == ("äö", 2, ["äö"])
    with pytest.raises(errors.DataError, match="can't encode character"):
        conn.execute("SELECT %s", ["€"])
    for params in (None, [], [1]):
        with pytest.raises(
            errors.NotSupportedError, match="with client_encoding LATIN1, the SQL text must be ASCII"
        ):
            conn.execute("SELECT 'ä'" + (", %s" if params else ""), params)
    with pytest.raises(errors.NotSupportedError, match="the SQL text must be ASCII"):
        conn.cursor().executemany("INSERT INTO texts VALUES ('ä' || %s)", [["a"], ["b"]])
    with pytest.raises(errors.NotSupportedError, match="the SQL text must be ASCII"):
        next(iter(conn.cursor().stream("SELECT 'ä'")))
    for direction in ("TO STDOUT", "FROM STDIN"):
        with (
            pytest.raises(errors.NotSupportedError, match="the SQL text must be ASCII"),
            conn.cursor().copy(f'COPY "ä" {direction}'),
        ):
            pass
    with conn.cursor().copy("COPY texts FROM STDIN") as copy:
        copy.write_row(["ü"])
    with conn.cursor().copy("COPY texts TO STDOUT") as copy:
        assert list(copy.rows()) == [("äö",), ("ü",)]
    conn.execute("DELETE FROM texts WHERE t = %s", ["ü"])
    conn.execute("SET client_encoding = 'UTF8'")
    assert conn.execute("SELECT t || 'ä' FROM texts").fetchone() == ("äöä",)


# -- rows that are decoded ahead --------------------------------------------------------------------------------------

WIDE = (
    "SELECT g, g * 1.5::float8, 'row ' || g, timestamptz '2024-01-01 00:00+00' + g * interval '7 hours', g % 2 = 0, NULL::int, ARRAY[g, NULL] "
    f"FROM generate_series(1, {MANY}) g"
)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def test_many_rows(conn: Any, theirs: psycopg.Connection[Any], zone: str, binary: bool) -> None:
    for connection in (conn, theirs):
        connection.execute(f"SET TimeZone = '{zone}'")
    expected = theirs.execute(WIDE, binary=binary).fetchall()
    for _ in range(2):
        cursor = conn.execute(WIDE, binary=binary)
        assert [plain(row) for row in cursor.fetchall()] == [plain(row) for row in expected]
        assert cursor.fetchall() == []
        cursor.scroll(10, mode="absolute")
        assert cursor.fetchone() == expected[10]
        cursor.scroll(0, mode="absolute")
        assert cursor.fetchall() == expected


def test_pieces_and_single_rows(conn: Any, theirs: psycopg.Connection[Any]) -> None:
    expected = theirs.execute(WIDE).fetchall()
    cursor = conn.execute(WIDE)
    assert cursor.fetchone() == expected[0]
    assert cursor.fetchmany(1000) == expected[1:1001]
    assert [cursor.fetchone() for _ in range(1000)] == expected[1001:2001]
    assert cursor.fetchall() == expected[2001:]
    assert cursor.fetchone() is None
    assert list(conn.execute(WIDE)) == expected
    first = conn.execute(WIDE)
    whole = first.fetchall()
    whole.clear()
    first.scroll(0, mode="absolute")
    assert first.fetchall() == expected


def test_a_value_that_cannot_be_loaded_is_an_error_when_it_is_fetched(conn: Any) -> None:
    cursor = conn.execute(
        f"SELECT g, CASE WHEN g = 2500 THEN date 'infinity' ELSE date '2024-01-01' + g END FROM generate_series(1, {MANY}) g"
    )
    assert len(cursor.fetchmany(2499)) == 2499
    with pytest.raises(errors.DataError, match="date too large"):
        cursor.fetchone()
    with pytest.raises(errors.DataError, match="date too large"):
        cursor.fetchall()
    cursor.scroll(2500, mode="absolute")
    assert cursor.fetchone() == (2501, date(2024, 1, 1) + timedelta(2501))
    assert conn.execute("SELECT 1").fetchone() == (1,)


def test_several_results(conn: Any) -> None:
    cursor = conn.execute(
        f"SELECT generate_series(1, {MANY}); SET TimeZone = 'Asia/Tokyo'; SELECT now(), generate_series(1, {MANY}); SELECT 'x'"
    )
    assert [row for (row,) in cursor.fetchall()] == list(range(1, MANY + 1))
    assert cursor.nextset() and cursor.nextset()
    assert {row[0].tzinfo for row in cursor.fetchall()} == {ZoneInfo("Asia/Tokyo")}
    assert cursor.nextset() and cursor.fetchall() == [("x",)] and not cursor.nextset()


def test_an_error_after_many_rows(conn: Any) -> None:
    with pytest.raises(errors.DivisionByZero):
        conn.execute(f"SELECT 1 / (g - {MANY}) FROM generate_series(1, {MANY}) g")
    assert conn.execute("SELECT 1").fetchone() == (1,)


def test_beside_threads_that_compute(conn: Any) -> None:
    """Whoever has to wait for the GIL decodes later."""
    import threading

    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            sum(range(1000))

    threads = [threading.Thread(target=compute) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            assert [row[0] for row in conn.execute(WIDE).fetchall()] == list(range(1, MANY + 1))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# -- zones ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "zone",
    ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "Africa/Cairo", "Asia/Gaza", "Europe/Dublin",
     "America/Sao_Paulo", "Antarctica/Troll", "Asia/Kathmandu", "Etc/UTC", "America/St_Johns", "Pacific/Kwajalein", "Africa/Monrovia"],
)  # fmt: skip
def test_offsets_that_are_remembered(zone: str) -> None:
    """Every half hour around each change of an offset, again and again, as the zone itself says."""
    convert = Transformer({"TimeZone": zone, "DateStyle": "ISO, DMY"})
    info = ZoneInfo(zone)
    epoch = datetime(2000, 1, 1, tzinfo=timezone.utc)
    instants = []
    step = timedelta(hours=12)
    now = datetime(1880, 1, 1, tzinfo=timezone.utc)
    before = now.astimezone(info).utcoffset()
    while now.year < 2040:
        now += step
        offset = now.astimezone(info).utcoffset()
        if offset != before:
            instants += [
                now + timedelta(minutes=minute, microseconds=minute)
                for minute in range(-5 * 1440, 5 * 1440, 30)
            ]
        before = offset
    for _ in range(3):
        for instant in instants[:40_000]:
            expected = instant.astimezone(info)
            micros = (instant - epoch) // timedelta(microseconds=1)
            got = convert.load(1184, 1, micros.to_bytes(8, "big", signed=True))
            assert (got.replace(tzinfo=None), got.fold, got.tzinfo) == (
                expected.replace(tzinfo=None),
                expected.fold,
                info,
            )
    assert instants or zone == "Etc/UTC"


# -- row factories ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Item:
    a: int
    b: str


@pytest.mark.parametrize(
    "name, argument",
    [
        ("tuple_row", None),
        ("dict_row", None),
        ("namedtuple_row", None),
        ("scalar_row", None),
        ("class_row", Item),
        ("args_row", Item),
        ("kwargs_row", Item),
    ],
)
def test_row_factories_as_psycopg(
    conn: Any, theirs: psycopg.Connection[Any], name: str, argument: Any
) -> None:
    mine, their = getattr(rows, name), getattr(their_rows, name)
    if argument is not None:
        mine, their = mine(argument), their(argument)
    sql = "SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2, NULL ORDER BY 1"
    got, expected = conn.cursor(row_factory=mine), theirs.cursor(row_factory=their)
    assert repr(got.execute(sql).fetchall()) == repr(expected.execute(sql).fetchall())
    assert repr(got.execute(sql).fetchone()) == repr(expected.execute(sql).fetchone())
    for cursor, error in ((got, errors.ProgrammingError), (expected, psycopg.ProgrammingError)):
        cursor.execute("SET work_mem = '4MB'")
        with pytest.raises(error):
            cursor.fetchone()


def test_names_of_namedtuples_as_psycopg(conn: Any, theirs: psycopg.Connection[Any]) -> None:
    sql = 'SELECT 1 AS "a b", 2 AS "1x", 3 AS "_y", 4 AS "ä", 5 AS "?column?", 6 AS "€"'
    mine = conn.cursor(row_factory=rows.namedtuple_row).execute(sql).fetchone()
    their = theirs.cursor(row_factory=their_rows.namedtuple_row).execute(sql).fetchone()
    assert mine._fields == their._fields and tuple(mine) == tuple(their)
    for connection, factory, error in (
        (conn, rows.namedtuple_row, errors.DataError),
        (theirs, their_rows.namedtuple_row, psycopg.DataError),
    ):
        with pytest.raises(error, match="can't create a namedtuple row"):
            connection.cursor(row_factory=factory).execute("SELECT 1 AS a, 2 AS a").fetchone()


def test_scalar_row_needs_a_column(conn: Any) -> None:
    with pytest.raises(errors.ProgrammingError, match="at least one column expected"):
        conn.cursor(row_factory=rows.scalar_row).execute("SELECT").fetchone()


# -- references -------------------------------------------------------------------------------------------------------


@pytest.fixture
def frozen() -> Iterator[None]:
    """The collector looks only at what the test makes, which is many times faster."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def leaks(work: Any, rounds: int) -> bool:
    """True if each round leaves a block of memory, again and again: what the interpreter keeps for later comes to an end."""
    work()
    for _ in range(5):
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(rounds):
            work()
        gc.collect()
        if sys.getallocatedblocks() - before < rounds // 2:
            return False
    return True


def test_the_test_sees_leaks(frozen: None) -> None:
    kept: list[object] = []
    assert leaks(lambda: kept.append(object()), 300)


def test_nothing_is_leaked_by_values(frozen: None) -> None:
    convert = Transformer({"TimeZone": "Europe/Berlin", "DateStyle": "ISO, DMY", "IntervalStyle": "postgres"})
    for value in objects(ours):
        for want in "stb":

            def work() -> None:
                try:
                    convert.load(*convert.dump(value, want))
                except (errors.Error, NotImplementedError, ValueError):
                    pass

            assert not leaks(work, 100), (value, want)


def test_nothing_is_leaked_by_what_the_server_sends(frozen: None, theirs: psycopg.Connection[Any]) -> None:
    from _values import EXPRESSIONS, SAMPLES

    convert = Transformer({"TimeZone": "Europe/Berlin", "DateStyle": "ISO, DMY", "IntervalStyle": "postgres"})
    expressions = EXPRESSIONS + [
        f"E'{text}'::{name}[]"
        for name, text in (("text", "{a,NULL}"), ("timestamptz", '{"2024-01-01 00:00+00"}'))
    ]
    for name in (
        "date",
        "timestamptz",
        "time",
        "interval",
        "numeric",
        "uuid",
        "inet",
        "cidr",
        "jsonb",
        "int4range",
        "tstzrange",
        "tsmultirange",
        "bytea",
    ):
        expressions += ["E'" + text.replace("\\", "\\\\") + f"'::{name}" for text in SAMPLES[name]]
    for expression in expressions:
        for binary in (False, True):
            result = theirs.execute(f"SELECT {expression}", binary=binary).pgresult
            assert result is not None
            oid, raw = result.ftype(0), result.get_value(0, 0)

            def work() -> None:
                try:
                    convert.load(oid, int(binary), raw)
                except (errors.Error, NotImplementedError):
                    pass

            assert not leaks(work, 100), (expression, binary)


def test_nothing_is_leaked_by_results(frozen: None, conn: Any) -> None:
    zone = ZoneInfo("Europe/Berlin")
    conn.execute("SET TimeZone = 'Europe/Berlin'")

    def work() -> None:
        for sql in (WIDE, "SELECT date 'infinity' FROM generate_series(1, 500)"):
            for binary in (False, True):
                cursor = conn.execute(sql, binary=binary)
                try:
                    cursor.fetchmany(50)
                    cursor.fetchall()
                except errors.DataError:
                    pass

    assert not leaks(work, 20)
    counted = sys.getrefcount(zone)
    for _ in range(20):
        work()
    assert sys.getrefcount(zone) - counted < 20


def test_cycles_through_results_are_collected(conn: Any) -> None:
    import weakref

    class Loads:
        def __call__(self, text: Any) -> Any:
            return text

    loads = Loads()
    ours.set_json_loads(loads)
    try:
        cursor = conn.execute("SELECT '1'::json FROM generate_series(1, 500)")
    finally:
        ours.set_json_loads(None)
    loads.cursor = cursor  # type: ignore[attr-defined]
    seen = weakref.ref(loads)
    del loads, cursor
    gc.collect()
    assert seen() is None
