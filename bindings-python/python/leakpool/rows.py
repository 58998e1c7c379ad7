"""Row factories: what the rows of a cursor are.

A row factory is called with the cursor when a result arrives, and returns a function that makes a row of a tuple of
values: `conn.cursor(row_factory=dict_row)`, `Pool(..., kwargs={"row_factory": dict_row})`.
"""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol, TypeAlias

from .errors import DataError, InterfaceError, ProgrammingError

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    Row_co = TypeVar("Row_co", covariant=True, default="TupleRow")
    T = TypeVar("T")
else:
    from typing import TypeVar

    Row_co = TypeVar("Row_co", covariant=True)
    T = TypeVar("T")

__all__ = [
    "BaseRowFactory",
    "DictRow",
    "RowFactory",
    "RowMaker",
    "TupleRow",
    "args_row",
    "class_row",
    "dict_row",
    "kwargs_row",
    "namedtuple_row",
    "scalar_row",
    "tuple_row",
]

TupleRow: TypeAlias = tuple[Any, ...]
DictRow: TypeAlias = dict[str, Any]


class RowMaker(Protocol[Row_co]):
    """Makes a row of its values."""

    def __call__(self, values: Sequence[Any], /) -> Row_co: ...


class RowFactory(Protocol[Row_co]):
    """Makes the maker of a result's rows. It is called again for each result, and also when there is none."""

    def __call__(self, cursor: Any, /) -> RowMaker[Row_co]: ...


BaseRowFactory = RowFactory


def _no_result(values: Sequence[Any], /) -> NoReturn:
    """The maker where there is no result: there are no rows to make."""
    raise InterfaceError("the cursor doesn't have a result")


def _names(cursor: Any) -> tuple[str, ...] | None:
    """The names of the result's columns; None if there is no result."""
    columns = cursor.description
    return None if columns is None else tuple(column.name for column in columns)


def tuple_row(cursor: Any, /) -> RowMaker[TupleRow]:
    """Tuples, as they come. The default."""
    return tuple


def dict_row(cursor: Any, /) -> RowMaker[DictRow]:
    """Dictionaries by the names of the columns. Of two columns with one name, the last is kept."""
    names = _names(cursor)
    if names is None:
        return _no_result

    def make(values: Sequence[Any], /) -> DictRow:
        return dict(zip(names, values))

    return make


def namedtuple_row(cursor: Any, /) -> RowMaker[NamedTuple]:
    """Named tuples. What is no identifier in a name becomes an underscore; in front of a digit or an underscore comes an
    `f`."""
    names = _names(cursor)
    if names is None:
        return _no_result
    make: RowMaker[NamedTuple] = _namedtuple(names)._make
    return make


@functools.lru_cache(512)
def _namedtuple(names: tuple[str, ...]) -> type[Any]:
    try:
        return namedtuple("Row", [_identifier(name) for name in names])
    except ValueError as e:
        raise DataError(f"can't create a namedtuple row: {e}") from None


def _identifier(name: str) -> str:
    if not name.isidentifier():
        if name[:1].isdigit():
            name = f"f{name}"
        if not name.isidentifier():
            name = "".join(c if c == "_" or (c.isascii() and c.isalnum()) else "_" for c in name)
    return f"f{name}" if name.startswith("_") else name


def class_row(cls: type[T]) -> RowFactory[T]:
    """Objects of a class (a dataclass, say), called with the values by the names of their columns."""
    return kwargs_row(cls)


def args_row(func: Callable[..., T]) -> RowFactory[T]:
    """What a function returns, called with the values in order."""

    def factory(cursor: Any, /) -> RowMaker[T]:
        def make(values: Sequence[Any], /) -> T:
            return func(*values)

        return make

    return factory


def kwargs_row(func: Callable[..., T]) -> RowFactory[T]:
    """What a function returns, called with the values by the names of their columns."""

    def factory(cursor: Any, /) -> RowMaker[T]:
        names = _names(cursor)
        if names is None:
            return _no_result

        def make(values: Sequence[Any], /) -> T:
            return func(**dict(zip(names, values)))

        return make

    return factory


def scalar_row(cursor: Any, /) -> RowMaker[Any]:
    """The first value of each row."""
    names = _names(cursor)
    if names is None:
        return _no_result
    if not names:
        raise ProgrammingError("at least one column expected")

    def make(values: Sequence[Any], /) -> Any:
        return values[0]

    return make
