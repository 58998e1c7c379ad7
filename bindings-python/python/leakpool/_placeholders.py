"""From `%s` and `%(name)s` to the server's `$1`: texts of statements, converted once and kept.

`%b` and `%t` ask for the parameter in binary or in text, `%s` leaves that to its type; `%%` is a percent sign. A
statement that is run without parameters is not converted at all, and may hold as many `%` as it likes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

from ._leakpool import Formatted
from .errors import DataError, ProgrammingError

#: What the values of a statement may come in.
Params = Sequence[Any] | Mapping[str, Any]

#: A percent sign, a name in parentheses perhaps, and what should be the format.
_PLACEHOLDER = re.compile(r"%(?:%|(\([^)]*\)?)?(.)?)", re.DOTALL)

#: Texts longer than this are converted anew each time: they are hardly ever run twice.
_KEPT_LENGTH = 4096


class Converted(NamedTuple):
    """A statement with the server's placeholders."""

    sql: str
    #: The parameters' names, in the order of their numbers; `None` if they go by position.
    names: tuple[str, ...] | None
    #: One letter for each parameter, `s`, `b` or `t`.
    formats: str
    #: How many values in a row it takes as they are: no placeholder has a name or asks for a format. -1 otherwise.
    simply: int

    @property
    def plain(self) -> bool:
        """No placeholder asks for a format."""
        return "b" not in self.formats and "t" not in self.formats


def text_of(query: object) -> str:
    """The text of what a caller gives as a query: a `str`, UTF-8 `bytes`, or an object that composes one."""
    if isinstance(query, str):
        return query
    if isinstance(query, bytes | bytearray):
        try:
            return query.decode()
        except UnicodeDecodeError as e:
            raise DataError(
                f"the query is not valid UTF-8: byte {e.object[e.start]:#04x} at {e.start}"
            ) from None
    compose = getattr(query, "as_string", None)
    if callable(compose):
        composed = compose(None)
        if isinstance(composed, str):
            return composed
    raise TypeError(f"the query must be str, bytes or a composed statement, got {type(query).__name__}")


def convert(sql: str) -> Converted:
    """The statement with `$1`, `$2`, … for its placeholders."""
    return _kept(sql) if len(sql) <= _KEPT_LENGTH else _convert(sql)


def ordered(converted: Converted, params: object) -> Sequence[Any]:
    """The values in the order of the placeholders' numbers. Refuses those that do not fit the statement."""
    names = converted.names
    if isinstance(params, list | tuple):
        if names is not None:
            raise TypeError("named placeholders require a mapping of parameters")
        if len(params) != len(converted.formats):
            _miscounted(converted, len(params))
        return params if converted.plain else _formatted(converted, params)
    if isinstance(params, Mapping):
        if names is None:
            if converted.formats:
                raise TypeError("positional placeholders (%s) require a sequence of parameters")
            return ()
        try:
            values = [params[name] for name in names]
            return values if converted.plain else _formatted(converted, values)
        except KeyError:
            missing = ", ".join(sorted(name for name in names if name not in params))
            raise ProgrammingError(f"query parameter missing: {missing}") from None
    if isinstance(params, Sequence) and not isinstance(params, str | bytes | bytearray | memoryview):
        return ordered(converted, list(params))
    raise TypeError(f"query parameters should be a sequence or a mapping, got {type(params).__name__}")


def _formatted(converted: Converted, values: Sequence[Any]) -> list[Any]:
    return [
        value if letter == "s" else Formatted(value, letter)
        for value, letter in zip(values, converted.formats, strict=True)
    ]


def _miscounted(converted: Converted, given: int) -> NoReturn:
    raise ProgrammingError(
        f"the query has {len(converted.formats)} placeholders but {given} parameters were passed"
    )


def _convert(sql: str) -> Converted:
    if "%" not in sql:
        return Converted(sql, None, "", 0)
    pieces: list[str] = []
    formats: list[str] = []
    numbers: dict[str, int] = {}
    end = 0
    for match in _PLACEHOLDER.finditer(sql):
        pieces.append(sql[end : match.start()])
        end = match.end()
        if match[0] == "%%":
            pieces.append("%")
            continue
        name, letter = _checked(match)
        if name is None:
            if numbers:
                _mixed()
            formats.append(letter)
            pieces.append(f"${len(formats)}")
            continue
        if len(formats) > len(numbers):
            _mixed()
        number = numbers.get(name)
        if number is None:
            formats.append(letter)
            number = numbers[name] = len(formats)
        elif formats[number - 1] != letter:
            raise ProgrammingError(f"placeholder '{name}' cannot have different formats")
        pieces.append(f"${number}")
    pieces.append(sql[end:])
    simply = -1 if numbers or set(formats) != {"s"} else len(formats)
    return Converted("".join(pieces), tuple(numbers) if numbers else None, "".join(formats), simply)


_kept = lru_cache(maxsize=1024)(_convert)


def _checked(match: re.Match[str]) -> tuple[str | None, str]:
    name, letter = match[1], match[2]
    if name is not None and not name.endswith(")"):
        raise ProgrammingError(f"incomplete placeholder: '{match[0].split()[0]}'")
    if letter is None:
        raise ProgrammingError(f"incomplete placeholder: '{match[0].split()[0]}'")
    if letter.isspace() and name is None:
        raise ProgrammingError(
            "incomplete placeholder: '%'; if you want to use '%' as an operator you can double it up, i.e. use '%%'"
        )
    if letter not in "sbt":
        raise ProgrammingError(f"only '%s', '%b', '%t' are allowed as placeholders, got '{match[0]}'")
    return (None if name is None else name[1:-1]), letter


def _mixed() -> NoReturn:
    raise ProgrammingError("positional and named placeholders cannot be mixed")
