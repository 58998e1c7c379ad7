"""Values, compared with what psycopg itself makes of them on the same server: every type in `pg_type` in text and binary,
every kind of object as a parameter, under several settings of the session."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import leakpool.types as ours
import psycopg
import pytest
from _values import EXPRESSIONS, NOT_MADE, SAMPLES, SCHEMA, SCHEMA_SAMPLES, Theirs, objects, plain
from leakpool._leakpool import Formatted, Transformer
from leakpool.errors import DataError, ProgrammingError
from psycopg.adapt import PyFormat
from psycopg.adapt import Transformer as TheirTransformer

PARAMETERS = ("client_encoding", "TimeZone", "DateStyle", "IntervalStyle")


@pytest.fixture(scope="module")
def server() -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("CREATE SCHEMA values_test; SET search_path = values_test, public, pg_catalog")
        connection.execute(SCHEMA)
        yield connection
        connection.execute("DROP SCHEMA values_test CASCADE")


def transformer(connection: psycopg.Connection[Any]) -> Transformer:
    known = {}
    for name in PARAMETERS:
        value = connection.pgconn.parameter_status(name.encode())
        if value is not None:
            known[name] = value.decode()
    return Transformer(known)


def outcome(make: Any) -> Any:
    """A value in comparable form, or the class and text of an error."""
    try:
        return plain(make())
    except (psycopg.Error, NotImplementedError) as e:
        return (type(e).__name__, str(e))
    except Exception as e:
        module = type(e).__module__
        if module.startswith("leakpool"):
            return (type(e).__name__, str(e))
        # psycopg lets errors of Python through where ours are PEP 249's.
        return ("DataError", None)


#: Where psycopg fails without need, and ours work.
BETTER = {
    ("b", "IntNumeric(1000000000000000000000000000000)"),
    ("b", "[IPv6Address('::1'), IPv4Interface('10.0.0.1/8')]"),
}


def same(mine: Any, theirs: Any, array: bool = False) -> bool:
    if isinstance(theirs, tuple) and len(theirs) == 2 and theirs[1] is None and isinstance(mine, tuple):
        return bool(mine[0] == theirs[0])
    if array and is_error(mine) and is_error(theirs):
        # psycopg takes what follows an element in the array for a part of it, and so sees another problem.
        return bool(mine[0] == theirs[0])
    return bool(mine == theirs)


def is_error(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and isinstance(value[0], str)
        and value[0].endswith("Error")
        and isinstance(value[1], str)
    )


def compare(connection: psycopg.Connection[Any], expression: str) -> list[str]:
    """Differences between our values and psycopg's for one expression, in text and binary."""
    differences = []
    convert = transformer(connection)
    for binary in (False, True):
        cursor = connection.cursor(binary=binary)
        try:
            cursor.execute(f"SELECT {expression}")
        except psycopg.errors.UndefinedFunction as e:
            assert binary and "no binary output function" in str(e), (expression, e)
            continue
        assert cursor.pgresult is not None
        oid, raw = cursor.pgresult.ftype(0), cursor.pgresult.get_value(0, 0)
        theirs = outcome(lambda: cursor.fetchone()[0])  # type: ignore[index]
        mine = outcome(lambda: convert.load(oid, int(binary), raw))
        if not same(mine, theirs, expression.startswith("ARRAY")):
            differences.append(
                f"{expression} (oid {oid}, {'binary' if binary else 'text'}, {raw!r}): {mine!r}, psycopg: {theirs!r}"
            )
    return differences


def literal(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


TIME_TYPES = [
    "date",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "interval",
    "tsrange",
    "tstzrange",
    "daterange",
    "tstzmultirange",
]

#: What Python's calendar, clock or intervals do not have.
ANNO_OUTSIDE = re.compile("infinity|BC|^10000-|294276|5874897|^24:00|[+]14$|-10$|^2147483647 days")


def expressions(name: str, texts: list[str]) -> Iterator[str]:
    """A type's values alone, in an array, in an array of arrays, and in records."""
    for text in texts:
        yield f"{literal(text)}::{name}"
    yield f"NULL::{name}"
    if name in ("refcursor",):
        return
    # One that cannot be loaded would hide the others.
    loadable = [text for text in texts if not ANNO_OUTSIDE.search(text)] if name in TIME_TYPES else texts
    array = ", ".join(f"{literal(text)}::{name}" for text in loadable)
    yield f"ARRAY[{array}, NULL]::{name}[]"
    yield f"ARRAY[ARRAY[{array}], ARRAY[{array}]]::{name}[]"
    yield f"ROW({array}, NULL::{name})"
    for text in texts:
        yield f"ARRAY[{literal(text)}::{name}]"


def type_names(connection: psycopg.Connection[Any]) -> set[str]:
    """Every base, enum, range, multirange, domain and composite type, but arrays and the catalog's own tables."""
    rows = connection.execute(
        """
        SELECT t.oid::regtype::text, t.typname FROM pg_type t
        LEFT JOIN pg_class c ON c.oid = t.typrelid
        WHERE t.typtype <> 'p' AND NOT (t.typelem <> 0 AND t.typsubscript = 'array_subscript_handler'::regproc)
        AND (c.oid IS NULL OR c.relkind = 'c') AND t.typnamespace <> 'information_schema'::regnamespace
        """
    )
    return {name for _, name in rows}


def test_every_type_has_samples(server: psycopg.Connection[Any]) -> None:
    known = {name.strip('"') for name in SAMPLES} | set(SCHEMA_SAMPLES) | NOT_MADE
    unknown = {name for name in type_names(server) if name not in known}
    # What else the extensions bring.
    unknown -= {"lquery", "ltxtquery", "ltree_gist", "ghstore", "floatmultirange"}
    assert not unknown


@pytest.mark.parametrize("name", [*SAMPLES, *SCHEMA_SAMPLES])
def test_loads_as_psycopg(server: psycopg.Connection[Any], name: str) -> None:
    if server.execute("SELECT to_regtype(%s)", [name]).fetchone() == (None,):
        pytest.skip(f"this server has no type {name}")
    texts = SAMPLES.get(name) or SCHEMA_SAMPLES[name]
    differences = [one for expression in expressions(name, texts) for one in compare(server, expression)]
    assert not differences, f"{len(differences)}:\n" + "\n".join(differences[:10])


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_loads_shapes_as_psycopg(server: psycopg.Connection[Any], expression: str) -> None:
    assert not compare(server, expression)


@pytest.mark.parametrize(
    "setting",
    [
        *[f"TimeZone = '{zone}'" for zone in (
            "UTC", "Etc/UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca",
            "America/Chicago", "Pacific/Kiritimati", "Etc/GMT+12", "+03:30", "<X>-2", "Europe/Dublin", "Antarctica/Troll", "Asia/Tokyo",
        )],
        *[f"DateStyle = '{style}'" for style in (
            "ISO, MDY", "ISO, DMY", "ISO, YMD", "SQL, MDY", "SQL, DMY", "German, DMY", "German, MDY", "Postgres, MDY", "Postgres, DMY", "Postgres, YMD", "SQL, YMD",
        )],
        *[f"IntervalStyle = '{style}'" for style in ("postgres", "postgres_verbose", "sql_standard", "iso_8601")],
    ],
)  # fmt: skip
def test_times_under_other_settings(server: psycopg.Connection[Any], setting: str) -> None:
    server.execute(f"SET {setting}")
    try:
        differences = []
        for name in TIME_TYPES:
            for expression in expressions(name, SAMPLES[name]):
                differences += compare(server, expression)
        assert not differences, f"{len(differences)}:\n" + "\n".join(differences[:10])
    finally:
        server.execute("RESET ALL; SET search_path = values_test, public, pg_catalog")


@pytest.mark.parametrize(
    "encoding", ["LATIN1", "LATIN9", "WIN1252", "UTF8", "EUC_JP", "SJIS", "WIN1251", "SQL_ASCII", "GB18030"]
)
def test_texts_in_other_encodings(server: psycopg.Connection[Any], encoding: str) -> None:
    samples = {
        "LATIN1": "äöü",
        "LATIN9": "ä€",
        "WIN1252": "ä€",
        "EUC_JP": "日本",
        "SJIS": "日本",
        "WIN1251": "мир",
        "SQL_ASCII": "ä",
        "GB18030": "日",
    }
    text = samples.get(encoding, "ä€😀日")
    server.execute("CREATE TEMP TABLE texts (t text, n name, v varchar, e mood, h hstore)")
    try:
        server.execute("INSERT INTO texts VALUES (%s, %s, %s, 'very happy', hstore('a', %s))", [text] * 4)
        server.execute(f"SET client_encoding = '{encoding}'")
        differences = []
        for column in (
            "t",
            "n",
            "v",
            "e",
            "h",
            "array[t, NULL]",
            "row(t, 1)",
            "array[v]",
            "t::citext",
            "textrange(t, NULL)",
        ):
            differences += compare(server, f"{column} FROM texts")
        assert not differences, f"{len(differences)}:\n" + "\n".join(differences[:10])
        if encoding != "SQL_ASCII":
            convert = transformer(server)
            their = TheirTransformer(server)
            assert convert.dump(text)[2] == bytes(their.get_dumper(text, PyFormat.AUTO).dump(text))
            assert convert.dump([text])[2] == bytes(their.get_dumper([text], PyFormat.AUTO).dump([text]))
            # psycopg reads JSON as UTF-8 whatever the encoding is; ours is right.
            raw = server.execute("SELECT to_json(t) FROM texts").pgresult.get_value(0, 0)  # type: ignore[union-attr]
            assert convert.load(114, 0, raw) == text
    finally:
        server.execute("RESET ALL; SET search_path = values_test, public, pg_catalog; DROP TABLE texts")


@pytest.mark.parametrize(
    "setting", ["bytea_output = 'escape'", "extra_float_digits = 0", "lc_monetary = 'C'"]
)
def test_other_output_settings(server: psycopg.Connection[Any], setting: str) -> None:
    server.execute(f"SET {setting}")
    try:
        for name in ("bytea", "float4", "float8", "money"):
            for expression in expressions(name, SAMPLES[name]):
                # psycopg refuses what `float()` rounds to infinity, and does not read an array of escaped bytea.
                if "308" not in expression and not ("escape" in setting and "ARRAY" in expression):
                    assert not compare(server, expression)
        if "bytea" in setting:
            assert not compare(
                server, "(SELECT string_agg(set_byte('\\x00', 0, i), '') FROM generate_series(0, 255) i)"
            )
    finally:
        server.execute("RESET ALL; SET search_path = values_test, public, pg_catalog")


def test_intervals_that_python_does_not_have() -> None:
    """psycopg's compiled half wraps these around."""
    convert = Transformer({"IntervalStyle": "postgres"})
    for value in (b"178000000 years", b"-178000000 years"):
        with pytest.raises(DataError, match="can't parse interval '-?178000000 years'"):
            convert.load(1186, 0, value)
    with pytest.raises(DataError, match="can't parse interval"):
        convert.load(1186, 1, bytes(12) + (178000000 * 12).to_bytes(4, "big"))


def test_every_day_of_the_calendar() -> None:
    from datetime import date

    convert = Transformer({"DateStyle": "ISO, DMY"})
    epoch = date(2000, 1, 1).toordinal()
    for ordinal in [
        *range(1, date.max.toordinal(), 13),
        *range(epoch - 1500, epoch + 1500),
        date.max.toordinal(),
    ]:
        expected = date.fromordinal(ordinal)
        assert convert.load(1082, 1, (ordinal - epoch).to_bytes(4, "big", signed=True)) == expected
        assert convert.load(1082, 0, expected.isoformat().encode()) == expected


# -- dumping ----------------------------------------------------------------------------------------------------------

#: The same objects, once with our classes and once with psycopg's.
PAIRS = list(zip(objects(ours), objects(Theirs)))

#: Where ours differ from psycopg's by design, by placeholder.
WANTS = {"s": PyFormat.AUTO, "t": PyFormat.TEXT, "b": PyFormat.BINARY}


def their_dump(connection: psycopg.Connection[Any], value: Any, want: str) -> Any:
    transformer = TheirTransformer(connection)
    (dumped,) = transformer.dump_sequence([value], [WANTS[want]])
    assert transformer.types is not None and transformer.formats is not None
    return (transformer.types[0], int(transformer.formats[0]), None if dumped is None else bytes(dumped))


@pytest.mark.parametrize("want", WANTS)
@pytest.mark.parametrize("style", ["postgres", "sql_standard"])
def test_dumps_as_psycopg(server: psycopg.Connection[Any], want: str, style: str) -> None:
    server.execute(f"SET IntervalStyle = '{style}'")
    try:
        convert = transformer(server)
        differences = []
        for mine, theirs in PAIRS:
            expected = outcome(lambda: their_dump(server, theirs, want))
            got = outcome(lambda: convert.dump(mine, want))
            if (want, repr(mine)) in BETTER:
                assert not is_error(got)
            elif not same(got, expected):
                differences.append(f"%{want} {mine!r}: {got!r}, psycopg: {expected!r}")
        assert not differences, f"{len(differences)}:\n" + "\n".join(differences[:10])
    finally:
        server.execute("RESET IntervalStyle")


def test_numpy_as_psycopg(server: psycopg.Connection[Any]) -> None:
    numpy = pytest.importorskip("numpy")
    convert = transformer(server)
    values = [
        numpy.int8(1), numpy.int16(-300), numpy.int32(70000), numpy.int64(2**40), numpy.longlong(5), numpy.uint8(255), numpy.uint16(65535), numpy.uint32(2**32 - 1),
        numpy.uint64(2**64 - 1), numpy.ulonglong(7), numpy.bool_(True), numpy.bool_(False), numpy.float16(1.5), numpy.float32(1.1), numpy.float64(1.1),
        numpy.float64("nan"), [numpy.int32(1), numpy.int32(2)], [numpy.float64(1.5)], (numpy.int64(1), numpy.float32(0.1)),
    ]  # fmt: skip
    for want in WANTS:
        for value in values:
            expected = outcome(lambda: their_dump(server, value, want))
            got = outcome(lambda: convert.dump(value, want))
            assert same(got, expected), (want, value, got, expected)


def test_a_dict_is_jsonb() -> None:
    convert = Transformer()
    assert convert.dump({"a": [1, None]}) == (3802, 0, b'{"a": [1, null]}')
    assert convert.dump({}, "b") == (3802, 1, b"\x01{}")
    assert convert.dump([{"a": 1}]) == (3807, 0, rb'{"{\"a\": 1}"}')


def test_json_functions_can_be_set(server: psycopg.Connection[Any]) -> None:
    convert = Transformer()
    ours.set_json_dumps(lambda value: f"[{value}]")
    ours.set_json_loads(lambda text: ("loaded", text))
    try:
        assert convert.dump(ours.Json(1)) == (114, 0, b"[1]")
        assert convert.load(3802, 0, b"[1]") == ("loaded", "[1]")
        assert convert.load(3802, 1, b"\x01[1]") == ("loaded", "[1]")
    finally:
        ours.set_json_dumps(None)
        ours.set_json_loads(None)
    assert convert.dump(ours.Json([1])) == (114, 0, b"[1]")
    assert convert.load(114, 0, b"[1]") == [1]
    with pytest.raises(TypeError, match="loads must be a callable"):
        ours.set_json_loads(1)  # type: ignore[arg-type]


@pytest.mark.parametrize("depth", [5, 10, 99, 200, 100_000])
@pytest.mark.parametrize("kind", ["list", "tuple", "list of tuple", "range"])
def test_what_lies_too_deep_is_an_error(depth: int, kind: str) -> None:
    wraps: dict[str, Any] = {
        "list": lambda inner: [inner], "tuple": lambda inner: (inner,), "list of tuple": lambda inner: [(inner,)],
        "range": lambda inner: ours.Range(inner, None),
    }  # fmt: skip
    value: Any = 1
    for _ in range(depth):
        value = wraps[kind](value)
    deepest = {"list": 100, "tuple": 10, "list of tuple": 9, "range": 10}[kind]
    if depth <= deepest:
        assert Transformer().dump(value)[2]
    else:
        with pytest.raises(DataError, match="recursive|nested more than 10 deep"):
            Transformer().dump(value)
    while isinstance(value, (list, tuple, ours.Range)):
        value = value.lower if isinstance(value, ours.Range) else value[0]


def test_lists_that_contain_themselves() -> None:
    convert = Transformer()
    loop: list[Any] = []
    loop.append(loop)
    around: list[Any] = []
    around.append((around,))
    for value in (loop, around, ours.Range(loop, None)):
        for want in "stb":
            with pytest.raises(
                (DataError, ProgrammingError),
                match="recursive|nested|adapt type 'tuple' using placeholder '%b'",
            ):
                convert.dump(value, want)


def test_a_buffer_with_gaps() -> None:
    assert Transformer().dump(memoryview(b"abcdef")[::2]) == (17, 1, b"ace")


def test_formatted_refuses_other_letters() -> None:
    with pytest.raises(ValueError, match="format must be 's', 't' or 'b', not 'x'"):
        Formatted(1, "x")


# -- what no server sends ---------------------------------------------------------------------------------------------


def test_damaged_values_are_errors() -> None:
    """Whatever the bytes: an error or a value, never a crash."""
    import random

    from leakpool.errors import Error

    generator = random.Random(72)
    convert = Transformer({"DateStyle": "ISO, DMY", "IntervalStyle": "postgres", "TimeZone": "Europe/Berlin"})
    types = [16, 17, 18, 19, 20, 21, 23, 25, 26, 114, 650, 700, 701, 869, 1000, 1005, 1007, 1009, 1020, 1082, 1083, 1114, 1115, 1184, 1185, 1186, 1231, 1266,
             1700, 2249, 2287, 2950, 2951, 3802, 3904, 3905, 3906, 3908, 3910, 3912, 4451, 4532, 4534, 6150, 99999]  # fmt: skip
    alphabet = b'{}()[],"\\0123456789-+:. eNULtrmpty\x00\xff'
    seeds = [
        b"",
        b"{1,2}",
        b"(1,2)",
        b"[1,2)",
        b"{[1,2),[3,4)}",
        b"2024-01-01 00:00:00+00",
        b"12:00:00",
        b"1 day 00:00:01",
        b"\0\0\0\1\0\0\0\0\0\0\0\x17\0\0\0\1\0\0\0\1\0\0\0\4\0\0\0\1",
    ]
    outcomes = set()
    for _ in range(40_000):
        data = bytearray(generator.choice(seeds))
        for _ in range(generator.randrange(4)):
            at = generator.randrange(len(data) + 1)
            data[at : at + generator.randrange(3)] = bytes(
                generator.choices(alphabet, k=generator.randrange(4))
            )
        oid, binary = generator.choice(types), generator.randrange(2)
        try:
            convert.load(oid, binary, bytes(data))
            outcomes.add("value")
        except (Error, ValueError, ArithmeticError) as e:
            # Classes of the standard library refuse in their own words.
            outcomes.add(type(e).__name__)
    assert {"value", "DataError"} <= outcomes
