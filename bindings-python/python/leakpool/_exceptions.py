"""The base of all errors: PEP 249's tree, what the server said about one (`diag`), and how its message is laid out.

The condition classes made from PostgreSQL's list (`_sqlstates.py`) and the pool's own errors (`errors.py`) build on it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

#: The condition classes by SQLSTATE and by condition name in capitals, filled as the classes are made.
_by_code: dict[str, type[Error]] = {}

#: The letters of the protocol for what `Diagnostic` calls by name ("Error and Notice Message Fields").
_LETTERS = {
    "severity": "S",
    "severity_nonlocalized": "V",
    "sqlstate": "C",
    "message_primary": "M",
    "message_detail": "D",
    "message_hint": "H",
    "statement_position": "P",
    "internal_position": "p",
    "internal_query": "q",
    "context": "W",
    "schema_name": "s",
    "table_name": "t",
    "column_name": "c",
    "datatype_name": "d",
    "constraint_name": "n",
    "source_file": "F",
    "source_line": "L",
    "source_function": "R",
}


class Diagnostic:
    """What the server said about an error or a notice, field by field; a field that it did not send is `None`."""

    severity: str | None
    severity_nonlocalized: str | None
    sqlstate: str | None
    message_primary: str | None
    message_detail: str | None
    message_hint: str | None
    statement_position: str | None
    internal_position: str | None
    internal_query: str | None
    context: str | None
    schema_name: str | None
    table_name: str | None
    column_name: str | None
    datatype_name: str | None
    constraint_name: str | None
    source_file: str | None
    source_line: str | None
    source_function: str | None

    __module__ = "leakpool.errors"

    def __init__(self, fields: Mapping[str, str] | None = None) -> None:
        self._fields: dict[str, str] = dict(fields or {})

    def __getattr__(self, name: str) -> str | None:
        letter = _LETTERS.get(name)
        if letter is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self._fields.get(letter)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *_LETTERS]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._fields,)

    def __repr__(self) -> str:
        told = ", ".join(
            f"{name}={self._fields[letter]!r}" for name, letter in _LETTERS.items() if letter in self._fields
        )
        return f"{type(self).__name__}({told})"


class Warning(Exception):
    """Important warnings, as PEP 249 wants the class to exist; never raised here."""

    __module__ = "leakpool"


class Error(Exception):
    """The base of all errors of leakpool: catch it to catch them all. Can be pickled, with everything it says."""

    __module__ = "leakpool"

    #: The five characters of PostgreSQL's error code; `None` if the error did not come from the server.
    sqlstate: str | None = None
    #: What went wrong, by the name that it has in every language: `force_released`, `acquire_timeout`, …; `database`:
    #: the server said it. None: a mistake that is seen before anything is asked.
    code: str | None = None
    #: What the server said, by the letters of the protocol.
    _fields: dict[str, str] | None = None
    #: The message shows the place in the statement, or there is none to show.
    _located: bool = True

    def __init__(self, *args: object, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(*args)
        self._fields = dict(fields) if fields else None
        if fields and "C" in fields:
            self.sqlstate = fields["C"]

    def __init_subclass__(cls, code: str | None = None, condition: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if code:
            cls.sqlstate = code
            cls.__module__ = "leakpool.errors"
            cls.__doc__ = f"The condition `{condition}` (SQLSTATE {code})."
            _by_code[code] = cls
            if condition:
                _by_code[condition.upper()] = cls

    @property
    def diag(self) -> Diagnostic:
        """What the server said, field by field. All fields are `None` for an error of ours."""
        return Diagnostic(self._fields)

    def __reduce__(self) -> tuple[Any, ...]:
        # What belongs to a living pool stays behind.
        state = {k: v for k, v in self.__dict__.items() if k not in ("revocation", "exhausted")}
        return _rebuilt, (type(self), self.args), state


def _rebuilt(cls: type[Error], args: tuple[Any, ...]) -> Error:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


class InterfaceError(Error):
    """The way the library is used is wrong: a closed cursor, say."""

    __module__ = "leakpool"


class DatabaseError(Error):
    """The base of all errors that concern the database."""

    __module__ = "leakpool"


class DataError(DatabaseError):
    """The data are the problem: division by zero, a number out of range, a value that cannot be decoded."""

    __module__ = "leakpool"


class OperationalError(DatabaseError):
    """The database's operation is the problem, which need not be the caller's fault: a lost connection, a time-out."""

    __module__ = "leakpool"


class IntegrityError(DatabaseError):
    """The relational integrity would suffer: a duplicate key, a missing referenced row."""

    __module__ = "leakpool"


class InternalError(DatabaseError):
    """Something inside is out of order: a failed transaction, a violated protocol."""

    __module__ = "leakpool"


class ProgrammingError(DatabaseError):
    """The program is wrong: a missing table, a syntax error, a wrong number of parameters."""

    __module__ = "leakpool"


class NotSupportedError(DatabaseError):
    """Asked for something that the database, or leakpool, does not do."""

    __module__ = "leakpool"


#: The class for an SQLSTATE whose condition is not in the list (a later server, an extension, `RAISE … ERRCODE`).
_BY_CLASS: dict[str, type[DatabaseError]] = {
    "0A": NotSupportedError,
    "22": DataError,
    "23": IntegrityError,
    **dict.fromkeys(("24", "25", "2B", "2D", "XX"), InternalError),
    **dict.fromkeys(("10", "20", "21", "26", "34", "3D", "3F", "42", "44", "P0"), ProgrammingError),
    **dict.fromkeys(
        ("08", "27", "28", "2F", "38", "39", "3B", "40", "53", "54", "55", "57", "58", "F0", "HV"),
        OperationalError,
    ),
}


def lookup(sqlstate: str) -> type[Error]:
    """The class for an SQLSTATE (`23505`) or a condition's name (`UNIQUE_VIOLATION`).

    Raises `KeyError` if there is none.
    """
    return _by_code[sqlstate.upper()]


def class_for(sqlstate: str) -> type[Error]:
    """The class that an error with this SQLSTATE is raised as, also when its condition is not in the list."""
    return _by_code.get(sqlstate) or _BY_CLASS.get(sqlstate[:2], DatabaseError)


def message_of(fields: Mapping[str, str], sql: str | None) -> str:
    """The message as libpq words it, without the severity: what happened, where, details, hint, context."""
    lines = [fields.get("M", "the server told no message")]
    internal = fields.get("q")
    if "P" in fields and sql is not None:
        lines += _pointed(sql, fields["P"])
    elif "P" in fields:
        lines[0] += f" at character {fields['P']}"
    elif "p" in fields and internal is not None:
        lines += _pointed(internal, fields["p"])
    for letter, label in (("D", "DETAIL"), ("H", "HINT")):
        if letter in fields:
            lines.append(f"{label}:  {fields[letter]}")
    if internal is not None:
        lines.append(f"QUERY:  {internal}")
    if "W" in fields:
        lines.append(f"CONTEXT:  {fields['W']}")
    return "\n".join(lines)


#: How wide the part of a line is that an error shows, and how much of it stands at least behind the error's place.
_WIDTH, _BEHIND = 60, 10


def _pointed(sql: str, position: str) -> list[str]:
    """The line of the statement in which the error is, cut to its surroundings, and below it a mark at its place."""
    if not position.isdecimal() or not 0 < int(position) <= len(sql) + 1:
        return []
    at = int(position) - 1
    # A line ends with \n, \r or both.
    before = sql[:at].replace("\r\n", "\n").replace("\r", "\n")
    number = before.count("\n") + 1
    begin = at - (len(before) - before.rfind("\n") - 1)
    rest = sql[at:].replace("\r", "\n").find("\n")
    end = len(sql) if rest < 0 else at + rest
    line = sql[begin:end].replace("\t", " ")
    at -= begin
    first, last = 0, len(line)
    if _wide(line) > _WIDTH:
        if _WIDTH >= _wide(line[:at]) + _BEHIND:
            while _wide(line[:last]) > _WIDTH:
                last -= 1
        else:
            while _wide(line[at:last]) > _BEHIND:
                last -= 1
            while _wide(line[first:last]) > _WIDTH:
                first += 1
    head = f"LINE {number}: " + ("..." if first else "")
    tail = "..." if last < len(line) else ""
    return [head + line[first:last] + tail, " " * (len(head) + _wide(line[first:at])) + "^"]


def _wide(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )
