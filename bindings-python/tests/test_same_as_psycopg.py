"""The same calls on leakpool and on psycopg give the same values, or the same errors in the same words."""

# ruff: noqa: PLC3002
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from _both import OURS, THEIRS, Library, outcome

Call = Callable[[Any, Library], Any]

#: Each is called with a connection in autocommit mode. What a string says is executed.
CALLS: dict[str, Call | str] = {
    # -- placeholders ----------------------------------------------------------------------------------------
    "too few parameters": lambda c, _: c.execute("SELECT %s, %s", [1]),
    "too many parameters": lambda c, _: c.execute("SELECT %s", [1, 2]),
    "parameters without placeholders": lambda c, _: c.execute("SELECT 1", [1]),
    "a placeholder without parameters": "SELECT %s",
    "mixed": lambda c, _: c.execute("SELECT %s, %(a)s", [1]),
    "mixed the other way": lambda c, _: c.execute("SELECT %(a)s, %s", {"a": 1}),
    "a name is missing": lambda c, _: c.execute("SELECT %(a)s, %(b)s, %(c)s", {"a": 1}),
    "names and a list": lambda c, _: c.execute("SELECT %(a)s", [1]),
    "positions and a dict": lambda c, _: c.execute("SELECT %s", {"a": 1}),
    "a str for parameters": lambda c, _: c.execute("SELECT %s", "a"),
    "a set for parameters": lambda c, _: c.execute("SELECT %s", {1}),
    "an unknown format": lambda c, _: c.execute("SELECT %d", [1]),
    "an unknown format with a name": lambda c, _: c.execute("SELECT %(a)d", {"a": 1}),
    "a bare percent sign": lambda c, _: c.execute("SELECT 5 % 3", ()),
    "an open name": lambda c, _: c.execute("SELECT %(a", {"a": 1}),
    "a name without format": lambda c, _: c.execute("SELECT %(a)", {"a": 1}),
    "two formats for one name": lambda c, _: c.execute("SELECT %(a)s, %(a)b", {"a": 1}),
    "doubled percent signs": lambda c, _: c.execute("SELECT 5 %% 3, '%%', %s", [1]).fetchall(),
    "doubled percent signs, empty parameters": lambda c, _: c.execute("SELECT 5 %% 3", ()).fetchall(),
    "percent signs without parameters": lambda c, _: c.execute("SELECT 5 % 3, '%s', '%(a)s'").fetchall(),
    "doubled without parameters": "SELECT 5 %% 3",
    "one name twice": lambda c, _: c.execute("SELECT %(a)s, %(b)s, %(a)s", {"a": 1, "b": 2, "c": 3}).fetchall(),
    "a dict that is not needed": lambda c, _: c.execute("SELECT 1", {"a": 1}).fetchall(),
    "a range": lambda c, _: c.execute("SELECT %s, %s", range(2)).fetchall(),
    "formats": lambda c, _: c.execute("SELECT pg_typeof(%s)::text, pg_typeof(%b)::text, %t", ["a", "b", 1]).fetchall(),
    "a binary format that a type has not": lambda c, _: c.execute("SELECT %b", [object()]),
    "what cannot be adapted": lambda c, _: c.execute("SELECT %s", [object()]),
    # -- what a query may be ---------------------------------------------------------------------------------
    "bytes": lambda c, _: c.execute(b"SELECT 1").fetchall(),
    "an empty query": lambda c, _: attributes(c.execute("")),
    "fetching from an empty query": lambda c, _: c.execute("").fetchone(),
    "several statements": lambda c, _: [r.fetchall() for r in c.execute("SELECT 1; SELECT 2, 3").results()],
    "several statements, empty parameters": lambda c, _: c.execute("SELECT 1; SELECT 2", ()).fetchall(),
    "several statements with parameters": lambda c, _: c.execute("SELECT %s; SELECT 2", [1]),
    # -- what the server refuses -----------------------------------------------------------------------------
    "a syntax error": "SELEC 1",
    "a place in the first line": "SELECT x FROM y WHERE z",
    "a place in the second line": "SELECT 1,\n  foo,\n  3",
    "a place with tabs": "SELECT\t1,\tfoo",
    "a place in a long line": "SELECT " + "1, " * 40 + "foo" + ", 2" * 40,
    "a place near the beginning of a long line": "SELECT foo, " + "1, " * 40 + "2",
    "a place near the end of a long line": "SELECT " + "1, " * 40 + "foo",
    "a place behind wide characters": "SELECT '日本語', foo",
    "a place behind \\r\\n": "SELECT 1,\r\nfoo",
    "a place in a statement with parameters": lambda c, _: c.execute("SELECT %s, foo", [1]),
    "a place in a function": "DO $$ BEGIN PERFORM foo; END $$",
    "details": "CREATE TEMP TABLE u (a int PRIMARY KEY); INSERT INTO u VALUES (1), (1)",
    "a hint": "SELECT lenght('x')",
    "a context": "DO $$ BEGIN RAISE EXCEPTION 'oh' USING DETAIL = 'd', HINT = 'h', ERRCODE = 'P0042'; END $$",
    "every field": lambda c, lib: diagnosed(c, lib),
    # -- results ---------------------------------------------------------------------------------------------
    "one by one": lambda c, _: (lambda k: [k.fetchone(), k.fetchone(), k.fetchone(), k.rownumber])(
        c.execute("SELECT generate_series(1, 2)")
    ),
    "some and the rest": lambda c, _: (
        lambda k: [k.fetchmany(2), k.fetchmany(), k.rownumber, k.fetchall(), k.fetchall(), k.fetchmany(3)]
    )(c.execute("SELECT generate_series(1, 6)")),
    "iterated": lambda c, _: [*c.execute("SELECT generate_series(1, 3)")],
    "attributes of a SELECT": lambda c, _: attributes(c.execute("SELECT generate_series(1, 3) AS n")),
    "attributes of a command": lambda c, _: attributes(c.execute("CREATE TEMP TABLE a (b int)")),
    "attributes of an INSERT": lambda c, _: attributes(c.execute("CREATE TEMP TABLE a (b int); INSERT INTO a VALUES (1), (2)").set_result(1)),
    "attributes of a new cursor": lambda c, _: attributes(c.cursor()),
    "attributes of a closed cursor": lambda c, _: (lambda k: (k.close(), attributes(k), k.closed))(c.execute("SELECT 1")),
    "columns": lambda c, _: c.execute(
        "SELECT 1::int4 AS a, 'x'::varchar(10) AS b, 1.5::numeric(10,2) c, now()::timestamp(3) d, '{}'::varchar(10)[] e,"
        " 'x'::char(3) f, '1'::bit(3) g, '1'::varbit(5) h, '1 s'::interval(2) i, now()::time j, 1::numeric k, null l,"
        " 'a'::text m, 1::float8 n, '{1}'::numeric(5,1)[] o, 1.5::numeric(4,-2) p, now() q, '1 y'::interval year r"
    ).description,
    "a column of a table": lambda c, _: c.execute("SELECT relname FROM pg_class LIMIT 1").description,
    "a slice of a column": lambda c, _: (lambda d: (d[0], d[:2], len(d), list(d)))(c.execute("SELECT 1 x").description[0]),
    "fetching without a query": lambda c, _: c.cursor().fetchone(),
    "fetching after a command": lambda c, _: c.execute("CREATE TEMP TABLE a (b int)").fetchall(),
    "iterating without a query": lambda c, _: [*c.cursor()],
    "fetching after an error": lambda c, lib: failed_then(c, lambda k: k.fetchone()),
    "attributes after an error": lambda c, lib: failed_then(c, attributes),
    "a closed cursor runs": lambda c, _: closed(c).execute("SELECT 1"),
    "a closed cursor fetches": lambda c, _: closed(c).fetchone(),
    "a closed cursor is iterated": lambda c, _: [*closed(c)],
    "scrolled": lambda c, _: scrolled(c, [(2, "relative"), (-1, "relative"), (0, "absolute"), (4, "absolute")]),
    "scrolled too far": lambda c, _: scrolled(c, [(9, "relative")]),
    "scrolled back too far": lambda c, _: scrolled(c, [(-1, "relative")]),
    "scrolled in another mode": lambda c, _: scrolled(c, [(1, "x")]),
    "next result": lambda c, _: (lambda k: [k.fetchall(), k.nextset(), k.fetchall(), k.nextset()])(
        c.execute("SELECT 1; SELECT 2")
    ),
    "results of commands": lambda c, _: [
        attributes(r) for r in c.execute("CREATE TEMP TABLE a (b int); INSERT INTO a VALUES (1); TABLE a").results()
    ],
    "a result by number": lambda c, _: (lambda k: [k.set_result(n).fetchone() for n in (-1, 0, 1)])(
        c.execute("SELECT 1; SELECT 2; SELECT 3")
    ),
    "a result that is not there": lambda c, _: c.execute("SELECT 1; SELECT 2").set_result(2),
    "no columns": lambda c, _: (lambda k: (k.fetchall(), k.description, k.rowcount))(c.execute("SELECT FROM generate_series(1, 2)")),
    "in binary": lambda c, _: c.execute("SELECT 1, 'a', now() > 'epoch', 1.5, NULL", binary=True).fetchall(),
    "binary cursor": lambda c, _: c.cursor(binary=True).execute("SELECT 1, %s::text", ["x"]).fetchall(),
    "binary with several statements": lambda c, _: c.execute("SELECT 1; SELECT 2", binary=True),
    "prepared or not": lambda c, _: [
        c.execute("SELECT %s + 1", [n], prepare=p).fetchone() for n, p in enumerate([None, True, False])
    ],
    "prepared without parameters": lambda c, _: c.execute("SELECT 1", prepare=True).fetchall(),
    # -- row factories ---------------------------------------------------------------------------------------
    "dicts": lambda c, lib: c.cursor(row_factory=lib.rows.dict_row).execute("SELECT 1 a, 2 b").fetchall(),
    "named tuples": lambda c, lib: c.cursor(row_factory=lib.rows.namedtuple_row).execute("SELECT 1 a, 2 b").fetchall(),
    "objects": lambda c, lib: c.cursor(row_factory=lib.rows.class_row(dict)).execute("SELECT 1 a, 2 b").fetchmany(2),
    "scalars": lambda c, lib: [*c.cursor(row_factory=lib.rows.scalar_row).execute("SELECT generate_series(1, 3)")],
    "args": lambda c, lib: c.cursor(row_factory=lib.rows.args_row(max)).execute("SELECT 1, 7, 3").fetchone(),
    "another factory for the same result": lambda c, lib: refactored(c, lib),
    "a factory that cannot be called": lambda c, _: c.cursor(row_factory=1).execute("SELECT 1").fetchone(),
    "of the connection": lambda c, lib: (setattr(c, "row_factory", lib.rows.dict_row), c.execute("SELECT 1 a").fetchone())[1],
    # -- executemany -----------------------------------------------------------------------------------------
    "many": lambda c, _: many(c, "INSERT INTO m VALUES (%s)", [(1,), (2,), (3,)]),
    "many from a generator": lambda c, _: many(c, "INSERT INTO m VALUES (%s)", ((n,) for n in range(5))),
    "many by name": lambda c, _: many(c, "INSERT INTO m VALUES (%(a)s)", [{"a": 1}, {"a": 2}]),
    "none of many": lambda c, _: many(c, "INSERT INTO m VALUES (%s)", []),
    "many, one of them wrong": lambda c, _: many(c, "INSERT INTO m VALUES (%s)", [(1,), (2,), (1,)]),
    "many that are no parameters": lambda c, _: many(c, "INSERT INTO m VALUES (%s)", ["a"]),
    "what many have returned": lambda c, _: many(c, "INSERT INTO m VALUES (%s) RETURNING a", [(1,), (2,)], True),
    "what none of many have returned": lambda c, _: many(c, "INSERT INTO m VALUES (%s) RETURNING a", [], True),
    "many SELECTs": lambda c, _: many(c, "SELECT %s", [(1,), (2,)], True),
    "many are not fetched": lambda c, _: (lambda k: (k.executemany("SELECT %s", [(1,)]), k.fetchall()))(c.cursor()),
    # -- streams ---------------------------------------------------------------------------------------------
    "streamed": lambda c, _: [*c.cursor().stream("SELECT generate_series(1, %s)", [3])],
    "streamed without parameters": lambda c, _: [*c.cursor().stream("SELECT generate_series(1, 3)")],
    "streamed in binary": lambda c, _: [*c.cursor().stream("SELECT 1, 'x'", binary=True)],
    "streamed, a command": lambda c, _: [*c.cursor().stream("CREATE TEMP TABLE a (b int)")],
    "streamed, an error": lambda c, _: [*c.cursor().stream("SELECT 1/0")],
    "streamed, an error on the way": lambda c, _: [*c.cursor().stream("SELECT 1/(5-n) FROM generate_series(1, 9) n")],
    "streamed, several statements": lambda c, _: [*c.cursor().stream("SELECT 1; SELECT 2")],
    "streamed as dicts": lambda c, lib: [*c.cursor(row_factory=lib.rows.dict_row).stream("SELECT 1 a")],
    "attributes while it streams": lambda c, _: (lambda k: [attributes(k) for _ in k.stream("SELECT 1 a")])(c.cursor()),
    # -- settings --------------------------------------------------------------------------------------------
    "a wrong isolation level": lambda c, _: setattr(c, "isolation_level", 9),
    "an isolation level of another type": lambda c, _: setattr(c, "isolation_level", "x"),
    "an isolation level": lambda c, _: (setattr(c, "isolation_level", 4), c.isolation_level, shown(c, "transaction_isolation")),
    "read only": lambda c, _: (setattr(c, "read_only", True), c.read_only, shown(c, "transaction_read_only")),
    "deferrable": lambda c, _: (setattr(c, "deferrable", True), c.deferrable, shown(c, "transaction_deferrable")),
    "all together": lambda c, _: (
        [setattr(c, k, v) for k, v in (("isolation_level", 3), ("read_only", False), ("deferrable", False))],
        [shown(c, f"transaction_{k}") for k in ("isolation", "read_only", "deferrable")],
    ),
    "autocommit from anything": lambda c, _: (setattr(c, "autocommit", "x"), c.autocommit, setattr(c, "autocommit", 0), c.autocommit),
    "autocommit in a transaction": lambda c, _: (
        setattr(c, "autocommit", False),
        c.execute("SELECT 1"),
        setattr(c, "autocommit", True),
    ),
    "an isolation level in a transaction": lambda c, _: (c.execute("BEGIN"), setattr(c, "isolation_level", 1)),
    "read only in a failed transaction": lambda c, _: (failed_then(c, str, "BEGIN; SELECT 1/0") and setattr(c, "read_only", True)),
    # -- the rest --------------------------------------------------------------------------------------------
    "sizes": lambda c, _: (c.cursor().setinputsizes([1]), c.cursor().setoutputsize(1), c.cursor().setoutputsize(1, 2)),
    "info": lambda c, _: (
        c.info.vendor,
        int(c.info.transaction_status),
        int(c.info.status),
        c.info.server_version,
        c.info.encoding,
        c.info.dbname,
        c.info.user,
        c.info.host,
        c.info.port,
        str(c.info.timezone),
        c.info.parameter_status("DateStyle"),
        c.info.parameter_status("no_such"),
        c.info.backend_pid == c.execute("SELECT pg_backend_pid()").fetchone()[0],
        c.info.full_protocol_version,
    ),
}  # fmt: skip


def attributes(cursor: Any) -> Any:
    return cursor.description, cursor.rowcount, cursor.rownumber, cursor.statusmessage, cursor.arraysize


def closed(conn: Any) -> Any:
    cursor = conn.execute("SELECT 1")
    cursor.close()
    return cursor


def failed_then(conn: Any, then: Callable[[Any], Any], sql: str = "SELECT 1/0") -> Any:
    cursor = conn.cursor()
    with pytest.raises(Exception, match="division"):
        cursor.execute(sql)
    return then(cursor)


def scrolled(conn: Any, moves: list[tuple[int, str]]) -> Any:
    cursor = conn.execute("SELECT generate_series(1, 5)")
    return [(cursor.scroll(by, mode=mode), cursor.rownumber, cursor.fetchone()) for by, mode in moves]


def refactored(conn: Any, lib: Library) -> Any:
    cursor = conn.execute("SELECT n a, n b FROM generate_series(1, 3) n")
    found = [cursor.fetchone()]
    for factory in (lib.rows.dict_row, lib.rows.scalar_row):
        cursor.row_factory = factory
        found.append(cursor.fetchone())
    return found


def many(conn: Any, sql: str, params: Any, returning: bool = False) -> Any:
    conn.execute("CREATE TEMP TABLE m (a int PRIMARY KEY)")
    cursor = conn.cursor()
    told = outcome(lambda: cursor.executemany(sql, params, returning=returning))
    if told is not None:
        seen = None
    elif returning:
        seen = [(r.fetchall(), r.rowcount, r.statusmessage) for r in cursor.results()]
    else:
        seen = attributes(cursor)
    return told, seen, conn.execute("SELECT array_agg(a ORDER BY a) FROM m").fetchone()


def shown(conn: Any, name: str) -> Any:
    with conn.transaction():
        return conn.execute(f"SHOW {name}").fetchone()


def diagnosed(conn: Any, lib: Library) -> Any:
    conn.execute("CREATE TEMP TABLE d (a int, CONSTRAINT positive CHECK (a > 0))")
    with pytest.raises(lib.errors.CheckViolation) as caught:
        conn.execute("INSERT INTO d VALUES (-1)")
    names = sorted(set(dir(caught.value.diag)) - {"_info_to_dict"})
    return [(name, getattr(caught.value.diag, name)) for name in names if not name.startswith("_")]


@pytest.mark.parametrize("name", CALLS)
def test_the_same(name: str) -> None:
    call = CALLS[name]
    told = []
    for library in (OURS, THEIRS):
        with library.connect(autocommit=True) as connection:
            if isinstance(call, str):
                told.append(outcome(lambda sql=call, c=connection: c.execute(sql).fetchall()))  # type: ignore[misc]
            else:
                told.append(outcome(lambda c=connection, lib=library: call(c, lib)))  # type: ignore[misc]
    assert told[0] == told[1]
