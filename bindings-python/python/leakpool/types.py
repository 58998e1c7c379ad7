"""Python's side of PostgreSQL's types: ranges, JSON, numbers of a stated type, and PEP 249's type objects and constructors.

Everything else needs no class of ours: `int`, `float`, `str`, `bytes`, `Decimal`, `datetime`'s family, `UUID`, `ipaddress`'s
family, `Enum`, `list` (arrays) and `tuple` (composite values) are passed and returned as they are. A `dict` is passed as
`jsonb`; for `json`, wrap it: `Json(d)`.
"""

from __future__ import annotations

import datetime as _dt
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from decimal import Decimal
from typing import Any, Generic, TypeVar, overload

from ._leakpool import set_json_dumps as _set_json_dumps
from ._leakpool import set_json_loads as _set_json_loads

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "Binary",
    "Date",
    "DateFromTicks",
    "DateMultirange",
    "DateRange",
    "Float4",
    "Float8",
    "Int2",
    "Int4",
    "Int4Multirange",
    "Int4Range",
    "Int8",
    "Int8Multirange",
    "Int8Range",
    "IntNumeric",
    "Json",
    "Jsonb",
    "Multirange",
    "NumericMultirange",
    "NumericRange",
    "Oid",
    "Range",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "TimestampMultirange",
    "TimestampRange",
    "TimestamptzMultirange",
    "TimestamptzRange",
    "TypeObject",
    "set_json_dumps",
    "set_json_loads",
]

T = TypeVar("T")


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:35]} ... ({len(text)} chars)"


# -- ranges -----------------------------------------------------------------------------------------------------------


class Range(Generic[T]):
    """A PostgreSQL range.

    `bounds` is one of `[)`, `(]`, `()`, `[]`: a square bracket includes its bound. A bound that is None is infinite, and
    never included. Its type on the server follows from its bounds; the subclasses say it themselves, which is needed where
    the server casts nothing (binary COPY).
    """

    __slots__ = ("_bounds", "_lower", "_upper")

    def __init__(
        self, lower: T | None = None, upper: T | None = None, bounds: str = "[)", empty: bool = False
    ) -> None:
        self._lower: T | None = None
        self._upper: T | None = None
        # Nothing for the empty range, which has no bounds at all.
        self._bounds = ""
        if empty:
            return
        if bounds not in ("[)", "(]", "()", "[]"):
            raise ValueError(f"bound flags not valid: {bounds!r}")
        self._lower = lower
        self._upper = upper
        self._bounds = ("(" if lower is None else bounds[0]) + (")" if upper is None else bounds[1])

    @property
    def lower(self) -> T | None:
        """The lower bound; None if it is infinite, or the range empty."""
        return self._lower

    @property
    def upper(self) -> T | None:
        """The upper bound; None if it is infinite, or the range empty."""
        return self._upper

    @property
    def bounds(self) -> str:
        """The two brackets; nothing if the range is empty."""
        return self._bounds

    @property
    def isempty(self) -> bool:
        """True if nothing is in it."""
        return self._bounds == ""

    @property
    def lower_inf(self) -> bool:
        """True if it has no lower bound."""
        return self._lower is None and not self.isempty

    @property
    def upper_inf(self) -> bool:
        """True if it has no upper bound."""
        return self._upper is None and not self.isempty

    @property
    def lower_inc(self) -> bool:
        """True if its lower bound is in it."""
        return self._bounds.startswith("[")

    @property
    def upper_inc(self) -> bool:
        """True if its upper bound is in it."""
        return self._bounds.endswith("]")

    def __contains__(self, item: T) -> bool:
        if self.isempty:
            return False
        lower: Any = self._lower
        upper: Any = self._upper
        above = lower is None or (lower <= item if self.lower_inc else lower < item)
        return above and (upper is None or (item <= upper if self.upper_inc else item < upper))

    def __bool__(self) -> bool:
        return not self.isempty

    def _key(self) -> tuple[T | None, T | None, str]:
        return (self._lower, self._upper, self._bounds)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Range) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    # An order that means nothing, but is always the same: None comes first.

    def __lt__(self, other: Any) -> bool:
        if not isinstance(other, Range):
            return NotImplemented
        for mine, theirs in zip(self._key(), other._key()):
            if mine != theirs:
                smaller: Any = mine
                return mine is None or (theirs is not None and bool(smaller < theirs))
        return False

    def __le__(self, other: Any) -> bool:
        return self == other or bool(self < other)

    def __gt__(self, other: Any) -> bool:
        if not isinstance(other, Range):
            return NotImplemented
        return bool(other < self)

    def __ge__(self, other: Any) -> bool:
        return self == other or bool(self > other)

    def __repr__(self) -> str:
        name = type(self).__name__
        if self.isempty:
            return f"{name}(empty=True)"
        return f"{name}({self._lower!r}, {self._upper!r}, {self._bounds!r})"

    def __str__(self) -> str:
        if self.isempty:
            return "empty"
        return f"{self._bounds[0]}{self._lower}, {self._upper}{self._bounds[1]}"

    def __getstate__(self) -> tuple[T | None, T | None, str]:
        return self._key()

    def __setstate__(self, state: tuple[T | None, T | None, str]) -> None:
        self._lower, self._upper, self._bounds = state


class Int4Range(Range[int]):
    """An `int4range`."""

    __slots__ = ()


class Int8Range(Range[int]):
    """An `int8range`."""

    __slots__ = ()


class NumericRange(Range[Decimal]):
    """A `numrange`."""

    __slots__ = ()


class DateRange(Range[_dt.date]):
    """A `daterange`."""

    __slots__ = ()


class TimestampRange(Range[_dt.datetime]):
    """A `tsrange`."""

    __slots__ = ()


class TimestamptzRange(Range[_dt.datetime]):
    """A `tstzrange`."""

    __slots__ = ()


class Multirange(MutableSequence[Range[T]]):
    """A PostgreSQL multirange: a list of ranges, and of nothing else."""

    def __init__(self, items: Iterable[Range[T]] = ()) -> None:
        self._ranges: list[Range[T]] = [self._checked(item) for item in items]

    @staticmethod
    def _checked(item: Any) -> Range[T]:
        if not isinstance(item, Range):
            raise TypeError(f"Multirange is a sequence of Range, got {type(item).__name__}")
        return item

    @overload
    def __getitem__(self, index: int) -> Range[T]: ...
    @overload
    def __getitem__(self, index: slice) -> Multirange[T]: ...
    def __getitem__(self, index: int | slice) -> Range[T] | Multirange[T]:
        if isinstance(index, slice):
            return Multirange(self._ranges[index])
        return self._ranges[index]

    @overload
    def __setitem__(self, index: int, value: Range[T]) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[Range[T]]) -> None: ...
    def __setitem__(self, index: int | slice, value: Range[T] | Iterable[Range[T]]) -> None:
        if not isinstance(index, slice):
            self._ranges[index] = self._checked(value)
        elif isinstance(value, Iterable):
            self._ranges[index] = [self._checked(item) for item in value]
        else:
            raise TypeError("can only assign an iterable")

    def __delitem__(self, index: int | slice) -> None:
        del self._ranges[index]

    def __len__(self) -> int:
        return len(self._ranges)

    def __iter__(self) -> Iterator[Range[T]]:
        return iter(self._ranges)

    def insert(self, index: int, value: Range[T]) -> None:
        """Inserts a range in front of this place."""
        self._ranges.insert(index, self._checked(value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Multirange) and self._ranges == other._ranges

    # It can change.
    __hash__ = None  # type: ignore[assignment]

    def __lt__(self, other: Any) -> bool:
        return self._ranges < other._ranges if isinstance(other, Multirange) else NotImplemented

    def __le__(self, other: Any) -> bool:
        return self == other or bool(self < other)

    def __gt__(self, other: Any) -> bool:
        return self._ranges > other._ranges if isinstance(other, Multirange) else NotImplemented

    def __ge__(self, other: Any) -> bool:
        return self == other or bool(self > other)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._ranges!r})"

    def __str__(self) -> str:
        return f"{{{', '.join(map(str, self._ranges))}}}"


class Int4Multirange(Multirange[int]):
    """An `int4multirange`."""


class Int8Multirange(Multirange[int]):
    """An `int8multirange`."""


class NumericMultirange(Multirange[Decimal]):
    """A `nummultirange`."""


class DateMultirange(Multirange[_dt.date]):
    """A `datemultirange`."""


class TimestampMultirange(Multirange[_dt.datetime]):
    """A `tsmultirange`."""


class TimestamptzMultirange(Multirange[_dt.datetime]):
    """A `tstzmultirange`."""


# -- JSON -------------------------------------------------------------------------------------------------------------


class Json:
    """Anything that JSON can say, passed as `json`. `dumps` writes it, if another function than usual shall."""

    __slots__ = ("dumps", "obj")

    def __init__(self, obj: Any, dumps: Callable[[Any], str | bytes] | None = None) -> None:
        self.obj = obj
        self.dumps = dumps

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_shortened(self.obj)})"


class Jsonb:
    """Anything that JSON can say, passed as `jsonb`. `dumps` writes it, if another function than usual shall."""

    __slots__ = ("dumps", "obj")

    def __init__(self, obj: Any, dumps: Callable[[Any], str | bytes] | None = None) -> None:
        self.obj = obj
        self.dumps = dumps

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_shortened(self.obj)})"


def _callable_or_none(function: object, name: str) -> None:
    if function is not None and not callable(function):
        raise TypeError(f"{name} must be a callable or None, not {type(function).__name__}")


def set_json_dumps(dumps: Callable[[Any], str | bytes] | None) -> None:
    """Sets the function that writes JSON, for all connections; None = `json.dumps`."""
    _callable_or_none(dumps, "dumps")
    _set_json_dumps(dumps)


def set_json_loads(loads: Callable[[Any], Any] | None) -> None:
    """Sets the function that reads JSON, for all connections; None = `json.loads`. It is given a `str`."""
    _callable_or_none(loads, "loads")
    _set_json_loads(loads)


# -- numbers of a stated type -----------------------------------------------------------------------------------------


class _StatedInt(int):
    __slots__ = ()

    def __str__(self) -> str:
        return int.__repr__(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int.__repr__(self)})"


class Int2(_StatedInt):
    """An `int` that is passed as `int2`."""

    __slots__ = ()


class Int4(_StatedInt):
    """An `int` that is passed as `int4`."""

    __slots__ = ()


class Int8(_StatedInt):
    """An `int` that is passed as `int8`."""

    __slots__ = ()


class IntNumeric(_StatedInt):
    """An `int` that is passed as `numeric`."""

    __slots__ = ()


class Oid(_StatedInt):
    """An `int` that is passed as `oid`."""

    __slots__ = ()


class _StatedFloat(float):
    __slots__ = ()

    def __str__(self) -> str:
        return float.__repr__(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({float.__repr__(self)})"


class Float4(_StatedFloat):
    """A `float` that is passed as `float4`."""

    __slots__ = ()


class Float8(_StatedFloat):
    """A `float` that is passed as `float8`."""

    __slots__ = ()


# -- PEP 249 ----------------------------------------------------------------------------------------------------------


class TypeObject:
    """Equal to the OIDs of its types: `description[0].type_code == NUMBER`."""

    __slots__ = ("name", "values")

    def __init__(self, name: str, oids: Iterable[int]) -> None:
        self.name = name
        self.values = tuple(oids)

    def __eq__(self, other: object) -> bool:
        return other in self.values if isinstance(other, int) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return other not in self.values if isinstance(other, int) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.name, self.values))

    def __repr__(self) -> str:
        return f"leakpool.{self.name}"


STRING = TypeObject("STRING", (25, 1043, 1042))
BINARY = TypeObject("BINARY", (17,))
NUMBER = TypeObject("NUMBER", (21, 23, 20, 700, 701, 1700))
DATETIME = TypeObject("DATETIME", (1114, 1184, 1082, 1083, 1266, 1186))
ROWID = TypeObject("ROWID", (26,))


class Binary:
    """A buffer, passed as `bytea`."""

    __slots__ = ("obj",)

    def __init__(self, obj: bytes | bytearray | memoryview) -> None:
        self.obj = obj

    def __repr__(self) -> str:
        return f"Binary({_shortened(self.obj)})"


_EPOCH = _dt.datetime(1970, 1, 1, tzinfo=_dt.timezone.utc)


def Date(year: int, month: int, day: int) -> _dt.date:
    """A date."""
    return _dt.date(year, month, day)


def Time(hour: int, minute: int, second: int) -> _dt.time:
    """A time of day."""
    return _dt.time(hour, minute, second)


def Timestamp(year: int, month: int, day: int, hour: int, minute: int, second: int) -> _dt.datetime:
    """A point in time, without a zone."""
    return _dt.datetime(year, month, day, hour, minute, second)


def DateFromTicks(ticks: float) -> _dt.date:
    """The date so many seconds after the epoch, in UTC."""
    return TimestampFromTicks(ticks).date()


def TimeFromTicks(ticks: float) -> _dt.time:
    """The time of day so many seconds after the epoch, in UTC."""
    return TimestampFromTicks(ticks).time()


def TimestampFromTicks(ticks: float) -> _dt.datetime:
    """The point in time so many seconds after the epoch, in UTC."""
    return _EPOCH + _dt.timedelta(seconds=ticks)
