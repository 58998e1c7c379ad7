"""What the tests of values share: texts of every type to load, objects of every kind to dump, and how two values are
compared with what psycopg makes of them."""

from __future__ import annotations

import datetime as dt
import enum
import ipaddress
import uuid
from decimal import Decimal
from typing import Any

import leakpool.types as ours
import psycopg.dbapi20 as their_dbapi
import psycopg.types.json as their_json
import psycopg.types.multirange as their_multirange
import psycopg.types.numeric as their_numeric
import psycopg.types.range as their_range

#: Texts of each type; each is loaded alone, in arrays, and in a composite.
SAMPLES: dict[str, list[str]] = {
    "bool": ["t", "f"],
    "bytea": ["", "\\x00ff10", "abc", "\\x5c", "\\x7f80"],
    '"char"': ["a", "", "\\"],
    "name": ["abc", "", "with space", "ä"],
    "int2": ["0", "-1", "32767", "-32768"],
    "int4": ["0", "1", "-1", "2147483647", "-2147483648"],
    "int8": [
        "0",
        "-1",
        "9223372036854775807",
        "-9223372036854775808",
        "999999999999999999",
        "1000000000000000000",
    ],
    "oid": ["0", "1", "4294967295"],
    "xid": ["0", "4294967295"],
    "cid": ["0", "4294967295"],
    "xid8": ["0", "18446744073709551615"],
    "tid": ["(0,1)", "(4294967295,65535)"],
    "int2vector": ["1 2 3", ""],
    "oidvector": ["1 2 4294967295", ""],
    "regproc": ["now", "-"],
    "regprocedure": ["now()", "-"],
    "regoper": ["pg_catalog.||/", "0"],
    "regoperator": ["+(integer,integer)", "0"],
    "regclass": ["pg_class", "-"],
    "regtype": ["int4", "timestamp with time zone"],
    "regrole": ["pg_monitor"],
    "regnamespace": ["pg_catalog"],
    "regconfig": ["english"],
    "regdictionary": ["simple"],
    "regcollation": ['"C"'],
    "text": [
        "",
        "abc",
        "ä€😀",
        "a\tb\nc",
        'quote" back\\slash',
        "NULL",
        "null",
        "{a,b}",
        "(1,2)",
        " ",
        "a,b",
        "a;b",
        "'",
    ],
    "varchar": ["", "abc", "€"],
    "bpchar": ["abc", "  x "],
    "json": [
        "null",
        "true",
        "1",
        "1.5",
        '"a"',
        "[1, 2, [3]]",
        '{"a": {"b": [null, "ä"]}}',
        "1e400",
        '"\\u00e4\\"\\\\"',
        "12345678901234567890",
    ],
    "jsonb": [
        "null",
        "true",
        "1",
        "1.50",
        '"a"',
        "[1, 2, [3]]",
        '{"a": {"b": [null, "ä"]}}',
        '"\\u00e4\\"\\\\"',
        "12345678901234567890",
    ],
    "jsonpath": ["$.a[*]", 'strict $."x"'],
    "xml": ["<a>ä</a>", ""],
    "float4": ["0", "-0", "1.1", "1e-45", "3.4028235e38", "NaN", "Infinity", "-Infinity"],
    "float8": [
        "0",
        "-0",
        "0.1",
        "1e-323",
        "1.7976931348623157e308",
        "NaN",
        "Infinity",
        "-Infinity",
        "123456789.123456789",
        "1e15",
        "1e16",
    ],
    "numeric": [
        "0",
        "0.00",
        "1",
        "-1",
        "1.50",
        "-0.0001",
        "10000",
        "100000000",
        "0.00000001",
        "12345.67890",
        "NaN",
        "Infinity",
        "-Infinity",
        "9999999999999999999999999999999999999999.99999999999999999999",
        "1e-20",
        "1e50",
        "-1e-1000",
        "0.1000",
        "1000000.0000001",
        "1" + "0" * 200,
        "9999",
        "99990000",
        "0.0001",
        "0.00010",
        "-12345678.0",
    ],
    "money": ["0", "-12.34", "1234567.89"],
    "date": [
        "2000-01-01",
        "0001-01-01",
        "9999-12-31",
        "1999-12-31",
        "2024-02-29",
        "10000-01-01",
        "0044-03-15 BC",
        "infinity",
        "-infinity",
        "5874897-12-31",
        "4713-01-01 BC",
    ],
    "time": ["00:00:00", "23:59:59.999999", "12:34:56", "12:34:56.1", "12:34:56.000001", "24:00:00"],
    "timetz": [
        "00:00:00+00",
        "23:59:59.999999-12",
        "12:34:56.12+05:30",
        "12:34:56+15:59:59",
        "01:00:00-00:00:01",
        "24:00:00+00",
        "12:00-15:59",
    ],
    "timestamp": [
        "2000-01-01 00:00:00",
        "0001-01-01 00:00:00",
        "9999-12-31 23:59:59.999999",
        "2024-02-29 12:34:56.7",
        "1999-12-31 23:59:59.000001",
        "10000-01-01 00:00:00",
        "0044-03-15 12:00:00 BC",
        "infinity",
        "-infinity",
        "294276-12-31 23:59:59.999999",
        "4713-01-01 00:00:00 BC",
    ],
    "timestamptz": [
        "2000-01-01 00:00:00+00",
        "0001-01-01 00:00:00+00",
        "0001-01-01 12:00:00+14",
        "9999-12-31 23:59:59.999999+00",
        "9999-12-31 23:59:59-10",
        "2024-02-29 12:34:56.7+05:30",
        "1883-11-18 12:00:00+00",
        "1900-01-01 00:00:00+00",
        "10000-01-01 00:00:00+00",
        "0044-03-15 12:00:00+00 BC",
        "infinity",
        "-infinity",
        "294276-12-31 23:59:59.999999+00",
        "2024-03-31 00:59:59+00",
        "2024-03-31 01:00:00+00",
        "2024-10-27 00:30:00+00",
        "2024-10-27 01:30:00+00",
        "2024-07-01 00:00:00+00",
        "2024-11-03 05:30:00+00",
        "2024-11-03 06:30:00+00",
        "2037-12-31 23:59:59+00",
        "2500-07-01 00:00:00+00",
        "1999-12-31 23:59:59.999999+00",
    ],
    "interval": [
        "0",
        "1 day",
        "-1 day",
        "1 year 2 mons 3 days 04:05:06.789",
        "-1 year -2 mons +3 days -04:05:06.789",
        "1 sec",
        "-0.000001 sec",
        "1 mon -1 day",
        "13 mons",
        "-13 mons",
        "100000 hours",
        "2000000 years",
        "-2000000 years",
        "999999999 days",
        "1 day -1 sec",
        "-1 day 1 sec",
        "00:00:00.1",
        "2147483647 days",
        "59.999999 sec",
        "-23:59:59.999999",
    ],
    "inet": [
        "127.0.0.1",
        "10.0.0.1/8",
        "192.168.1.0/24",
        "::1",
        "2001:db8::1/64",
        "::/0",
        "0.0.0.0/0",
        "255.255.255.255/32",
        "fe80::1/128",
    ],
    "cidr": ["127.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32", "0.0.0.0/0"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "uuid": [
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "12345678-1234-5678-9abc-def012345678",
    ],
    "bit": ["1", "0"],
    "varbit": ["101", ""],
    "point": ["(1.5,-2)"],
    "line": ["{1,2,3}"],
    "lseg": ["[(0,0),(1,1)]"],
    "box": ["(1,1),(0,0)"],
    "path": ["((0,0),(1,1))", "[(0,0)]"],
    "polygon": ["((0,0),(1,1),(2,0))"],
    "circle": ["<(0,0),5>"],
    "tsvector": ["'a':1 'b':2A", ""],
    "tsquery": ["'a' & !'b'"],
    "pg_lsn": ["16/B374D848"],
    "txid_snapshot": ["10:20:10,14,15"],
    "pg_snapshot": ["10:20:10,14,15"],
    "refcursor": ["cur"],
    "aclitem": ["=r/pg_monitor"],
    "int4range": ["empty", "[1,5)", "(,5)", "[1,)", "(,)", "[-2147483648,2147483647)"],
    "int8range": ["empty", "[1,5)", "(,)", "[9223372036854775806,9223372036854775807)"],
    "numrange": ["empty", "[1.5,2.50]", "(1,2)", "(,NaN)", "(-Infinity,Infinity)"],
    "daterange": ["empty", "[2000-01-01,2000-02-01)", "(,2000-01-01)", "[2000-01-01,infinity)"],
    "tsrange": ["empty", "[2000-01-01 00:00,2000-01-01 12:34:56.5]", "(,)"],
    "tstzrange": ["empty", "[2000-01-01 00:00+00,2000-07-01 12:34:56.5+02]", "(,2000-01-01 00:00+00)"],
    "int4multirange": ["{}", "{[1,5)}", "{[1,5),[7,9)}", "{(,)}"],
    "int8multirange": ["{}", "{[1,5),[7,)}"],
    "nummultirange": ["{}", "{[1.5,2.50],(3,4)}"],
    "datemultirange": ["{}", "{[2000-01-01,2000-02-01),[2001-01-01,)}"],
    "tsmultirange": ["{}", '{["2000-01-01 00:00:00","2000-01-01 12:34:56.5"]}'],
    "tstzmultirange": ["{}", '{["2000-01-01 00:00:00+00","2000-07-01 12:34:56.5+02"]}'],
}

#: Built-in types that nobody can make a value of, or that are made otherwise.
NOT_MADE = {
    "gtsvector", "pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary", "pg_ddl_command", "cstring", "unknown",
}  # fmt: skip

#: What the tests create, in a schema of their own.
SCHEMA = """
CREATE EXTENSION IF NOT EXISTS hstore; CREATE EXTENSION IF NOT EXISTS citext; CREATE EXTENSION IF NOT EXISTS ltree;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'very happy', 'ä"\\');
CREATE TYPE pair AS (a int4, b text);
CREATE TYPE nested AS (p pair, l int4[], t timestamptz);
CREATE TYPE textrange AS RANGE (subtype = text);
CREATE TYPE floatrange AS RANGE (subtype = float8);
CREATE DOMAIN positive AS int4 CHECK (value > 0);
CREATE DOMAIN word AS text;
CREATE DOMAIN moodful AS mood;
"""

SCHEMA_SAMPLES: dict[str, list[str]] = {
    "hstore": ["", '"a"=>"1", "b"=>NULL', '"ä"=>"q\\"uote"'],
    "citext": ["Abc", "", "ä,b"],
    "ltree": ["a.b.c"],
    "mood": ["sad", "very happy", 'ä"\\'],
    "pair": ["(1,abc)", '(,"a,b""\\\\")', "(,)", '(1,"")'],
    "nested": ['("(1,x)","{1,2}","2024-01-01 00:00:00+00")', "(,,)"],
    "textrange": ["[a,b)", "empty", '["a,b","c""d\\\\"]', "(,z]"],
    "floatrange": ["[1.5,2]", "(,)"],
    "positive": ["1"],
    "word": ["a", "", "x y"],
    "moodful": ["ok"],
    "textmultirange": ["{}", "{[a,b),[c,d)}"],
}

#: Other shapes of records and arrays, as SQL.
EXPRESSIONS = [
    "row(1, 'a', null)",
    "row()",
    "row(null)",
    "row(null, null)",
    "row('', ' ', 'a\"b', 'a\\b', 'a,b', '(a)')",
    "row(1, row(2, row('x', null)))",
    "row(array[1,2], '{}'::text[], null::int4[])",
    "row('2024-01-01 12:00+00'::timestamptz, 1.50::numeric, 'x'::bytea, '{\"a\": 1}'::jsonb, '1 day'::interval)",
    "array[row(1,'a'), row(2,null)]",
    "'{}'::int4[]",
    "'{{1,2},{3,4}}'::int4[]",
    "'{{{1,NULL},{3,4}},{{5,6},{7,8}}}'::int4[]",
    "'[2:3]={1,2}'::int4[]",
    "'[-1:0][3:4]={{1,2},{3,NULL}}'::int4[]",
    "'[2:3]={a,\"b,c\"}'::text[]",
    '\'{"",NULL,"NULL","null",null}\'::text[]',
    "'{\"(1,1),(0,0)\"}'::box[]",
    "array['(1,1),(0,0)','(2,2),(1,1)']::box[]",
    '\'{{a,b},{"c\\"","d\\\\"}}\'::text[]',
    "array['[1,2)','empty']::int4range[]",
    "array['{[1,2),[3,4)}','{}']::int4multirange[]",
    "null",
    "'unknown literal'",
    "1",
    "now() - now()",
]


# -- comparing --------------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """A value in a form that is equal exactly if two values are the same, class by class."""
    if isinstance(value, (ours.Range, their_range.Range)):
        return ("Range", plain(value.lower), plain(value.upper), value.bounds)
    if isinstance(value, (ours.Multirange, their_multirange.Multirange)):
        return ("Multirange", [plain(one) for one in value])
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, [plain(one) for one in value])
    if isinstance(value, dict):
        return ("dict", [(plain(key), plain(one)) for key, one in value.items()])
    if isinstance(value, dt.datetime):
        return (
            "datetime",
            repr(value),
            value.fold,
            value.utcoffset(),
            None if value.tzinfo is None else type(value.tzinfo),
            str(value.tzinfo),
        )
    if isinstance(value, (bool, int, str, bytes, type(None), dt.date, dt.timedelta, uuid.UUID, enum.Enum)):
        return (type(value), value)
    if isinstance(value, (float, Decimal, dt.time)):
        return (type(value), repr(value))
    return (type(value), repr(value))


# -- dumping ----------------------------------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = 1
    ÄRGER = "x"


class Number(enum.IntEnum):
    ONE = 1
    MANY = 1_000_000


class Word(str, enum.Enum):
    HELLO = "hello"


class Flag(enum.Flag):
    A = 1


class MyInt(int):
    def __str__(self) -> str:
        return "not a number"


class MyStr(str):
    pass


class MyList(list):  # type: ignore[type-arg]
    pass


class MyFloat(float):
    pass


class MyDate(dt.date):
    pass


class MyDatetime(dt.datetime):
    pass


class NoOffset(dt.tzinfo):
    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta | None:
        return None

    def tzname(self, when: dt.datetime | None) -> str:
        return "nowhere"

    def dst(self, when: dt.datetime | None) -> None:
        return None


NO_OFFSET = NoOffset()


def objects(library: Any) -> list[Any]:
    """Objects of every kind, with the classes of one library: a namespace that has psycopg's names."""
    from zoneinfo import ZoneInfo

    utc = dt.timezone.utc
    berlin = ZoneInfo("Europe/Berlin")
    x = library
    scalars: list[Any] = [
        0, 1, -1, 32767, 32768, -32768, -32769, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1,
        10**30, -(10**30), 10**40 + 1, 9999, 10000, 10**4 * 7, 2**200, -(2**64),
        True, False,
        0.0, -0.0, 1.5, 4.0, 1e300, 1e-300, float("nan"), float("inf"), float("-inf"), 1e16, 0.1,
        "", "abc", "ä€😀", "quote\" back\\slash '", "NULL", "null", "{a}", "a,b", " x ", "\u3000", "\x01", "\t\n\v\f\r", "%s",
        b"", b"\x00\xff", b"abc\\", bytearray(b"ab\x00"), memoryview(b"xyz"),
        Decimal("0"), Decimal("0.00"), Decimal("1.50"), Decimal("-1E+5"), Decimal("1E-10"), Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"),
        Decimal("-Infinity"), Decimal("12345.6789"), Decimal("-0"), Decimal("100000000.00001"), Decimal("9" * 60 + ".5"), Decimal("1E+100"),
        Decimal("-0.00012"), Decimal("10000"), Decimal("0.0001"),
        dt.date(2000, 1, 1), dt.date.min, dt.date.max, dt.date(1999, 12, 31),
        dt.time(0), dt.time(23, 59, 59, 999999), dt.time(12, 34, 56), dt.time(12, 0, tzinfo=utc),
        dt.time(1, 2, 3, 4, tzinfo=dt.timezone(dt.timedelta(hours=-5, minutes=-30))), dt.time(1, tzinfo=dt.timezone(dt.timedelta(seconds=1))),
        dt.datetime(2000, 1, 1), dt.datetime.min, dt.datetime.max, dt.datetime(2024, 2, 29, 12, 34, 56, 789),
        dt.datetime(2000, 1, 1, tzinfo=utc), dt.datetime(2024, 7, 1, 12, tzinfo=berlin), dt.datetime(2024, 10, 27, 2, 30, tzinfo=berlin),
        dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=berlin), dt.datetime(1900, 1, 1, tzinfo=berlin),
        dt.timedelta(0), dt.timedelta(1), dt.timedelta(-1), dt.timedelta(1, 2, 3), dt.timedelta(microseconds=-1), dt.timedelta(days=999999999),
        dt.timedelta(days=-999999999), dt.timedelta(hours=1, microseconds=5), dt.timedelta(days=-5, seconds=7),
        uuid.UUID(int=0), uuid.UUID("12345678-1234-5678-9abc-def012345678"),
        ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"), ipaddress.ip_interface("10.0.0.1/8"), ipaddress.ip_interface("2001:db8::1/64"),
        ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32"), ipaddress.ip_interface("10.0.0.1/32"),
        Color.RED, Color.ÄRGER, Number.ONE, Number.MANY, Word.HELLO, Flag.A,
        MyInt(5), MyStr("sub"), MyFloat(2.5), MyDate(2000, 1, 2), MyDatetime(2000, 1, 2, 3), MyDatetime(2000, 1, 2, 3, tzinfo=utc),
        x.Int2(1), x.Int4(2), x.Int8(3), x.IntNumeric(4), x.IntNumeric(10**30), x.Oid(5), x.Float4(1.1), x.Float8(1.1), x.Int4(-7), x.Oid(2**32 - 1),
        x.Json({"a": [1, "ä"]}), x.Jsonb({"a": None}), x.Json("x", dumps=lambda o: f'"{o}!"'), x.Jsonb(1, dumps=lambda o: b"[%d]" % o), x.Json(None),
        x.Binary(b"ab\xff"),
    ]  # fmt: skip
    ranges: list[Any] = [
        x.Range(1, 5), x.Range(None, None), x.Range(empty=True), x.Range(1, None, "(]"), x.Range(2**40, 2**41), x.Range(Decimal("1.5"), None),
        x.Range(dt.date(2000, 1, 1), dt.date(2001, 1, 1)), x.Range(dt.datetime(2000, 1, 1), None, "[]"),
        x.Range(dt.datetime(2000, 1, 1, tzinfo=utc), dt.datetime(2001, 1, 1, tzinfo=utc)), x.Range("a", 'b"c\\'), x.Range("", "x y"), x.Range(1.5, 2.5),
        x.Range(None, 5, "()"), x.Range(None, dt.date(2000, 1, 1)),
        x.Int4Range(1, 5), x.Int4Range(None, 7, "(]"), x.Int4Range(empty=True), x.Int8Range(1, 2), x.NumericRange(Decimal("1.5"), Decimal("2")),
        x.NumericRange(1, 2), x.DateRange(dt.date(2000, 1, 1), None), x.TimestampRange(dt.datetime(2000, 1, 1), dt.datetime(2001, 1, 1)),
        x.TimestamptzRange(dt.datetime(2000, 1, 1, tzinfo=utc), None),
        x.Multirange([]), x.Multirange([x.Range(1, 5), x.Range(7, None)]), x.Multirange([x.Range(dt.date(2000, 1, 1), None)]),
        x.Multirange([x.Range(empty=True)]), x.Multirange([x.Range(Decimal(1), Decimal(2))]), x.Multirange([x.Range(None, None), x.Range(1, 2)]),
        x.Int4Multirange([x.Range(1, 5)]), x.Int8Multirange([]), x.NumericMultirange([x.Range(Decimal(1), None)]),
        x.DateMultirange([x.Range(dt.date(2000, 1, 1), dt.date(2000, 1, 2))]), x.TimestampMultirange([x.Range(dt.datetime(2000, 1, 1), None)]),
        x.TimestamptzMultirange([x.Range(dt.datetime(2000, 1, 1, tzinfo=utc), None)]),
    ]  # fmt: skip
    # On servers where the range has no type of its own the text says it all; lists of them are lists of unknowns.
    nested: list[Any] = [
        [], [None], [None, None], [[]], [[], []], [1], [1, 2, 3], [1, 70000], [1, 2**40], [1, 2**70], [-32768, 32767], [-32769], [1, None], [[1, 2], [3, 4]],
        [[[1]], [[2]]], [True, False], [1.5, 2.5], ["a", "b"], ["", "NULL", "null", "a,b", '"', "\\", "{", "}", " ", "ä"], [Decimal("1.5")],
        [b"a", b"\x00"], [dt.date(2000, 1, 1)], [dt.datetime(2000, 1, 1)], [dt.datetime(2000, 1, 1, tzinfo=utc)],
        [dt.datetime(2000, 1, 1), dt.datetime(2000, 1, 1, tzinfo=utc)], [dt.datetime(2000, 1, 1, tzinfo=utc), dt.datetime(2000, 1, 1)],
        [dt.timedelta(1, 5)], [dt.time(1)], [uuid.UUID(int=5)], [ipaddress.ip_address("::1"), ipaddress.ip_interface("10.0.0.1/8")],
        [ipaddress.ip_network("10.0.0.0/8")], [Color.RED, None], [Number.ONE, Number.MANY], [x.Int4(1), x.Int4(2)], [x.Json({"a": 1}), x.Json([1])],
        [x.Jsonb({"a": 1})], [x.Range(1, 2)], [x.Range(dt.date(2000, 1, 1), None)], [x.Int4Range(1, 2)], [x.Multirange([x.Range(1, 2)])], [(1, "a"), (2, None)],
        [MyStr("a"), "b"], MyList([1, 2]), [x.Float4(1.5)], [x.Oid(5)], [x.IntNumeric(5)], [[None, None]], [[1, None], [None, 2]], [memoryview(b"ab")],
        [x.Int4Range(1, 2), x.Int4Range(3, 4)], [x.Binary(b"a")], [MyInt(5)], [MyInt(5), 70000],
        (), (1,), (None,), (None, None), (1, "a", None, 2.5, True), ("", " ", 'a"b', "a\\b", "a,b", "(a)"), ((1, 2), (3, (4, None))),
        ([1, 2], ["a,b"]), (dt.datetime(2000, 1, 1, tzinfo=utc), Decimal("1.50"), b"x", uuid.UUID(int=1)), (Color.RED, x.Jsonb({"a": "b c"})),
        (x.Range(1, 2), dt.timedelta(1, 2)),
    ]  # fmt: skip
    bad: list[Any] = [
        None, object(), {1, 2}, 1j, {"a": 1}.keys(), range(3), [object()], [1, "a"], [1, 1.5], [1, True], (object(),), [{1}], "a\x00b", ["a\x00"], ("\x00",),
        "\ud800", ["\ud800"], ("\ud800",), dt.time(1, tzinfo=NO_OFFSET), dt.time(1, tzinfo=berlin), [dt.date(2000, 1, 1), dt.datetime(2000, 1, 1)],
        x.Range(object(), None), [dt.time(1), dt.time(1, tzinfo=utc)], type, len, Ellipsis,
    ]  # fmt: skip
    return scalars + ranges + nested + bad


class Theirs:
    """psycopg's names in one place."""

    Range, Int4Range, Int8Range, NumericRange = (
        their_range.Range,
        their_range.Int4Range,
        their_range.Int8Range,
        their_range.NumericRange,
    )
    DateRange, TimestampRange, TimestamptzRange = (
        their_range.DateRange,
        their_range.TimestampRange,
        their_range.TimestamptzRange,
    )
    Multirange, Int4Multirange, Int8Multirange = (
        their_multirange.Multirange,
        their_multirange.Int4Multirange,
        their_multirange.Int8Multirange,
    )
    NumericMultirange, DateMultirange = their_multirange.NumericMultirange, their_multirange.DateMultirange
    TimestampMultirange, TimestamptzMultirange = (
        their_multirange.TimestampMultirange,
        their_multirange.TimestamptzMultirange,
    )
    Json, Jsonb = their_json.Json, their_json.Jsonb
    Int2, Int4, Int8, IntNumeric = (
        their_numeric.Int2,
        their_numeric.Int4,
        their_numeric.Int8,
        their_numeric.IntNumeric,
    )
    Oid, Float4, Float8 = their_numeric.Oid, their_numeric.Float4, their_numeric.Float8
    Binary = their_dbapi.Binary
