"""The class of a pool's connections: the one that was asked for, with what `kwargs` says of it as class attributes.

So making a connection object costs one allocation: nothing is set on it, and no `__init__` is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .connection import AsyncConnection, Connection
from .rows import tuple_row

#: What of a pool's `kwargs` is for the connection objects rather than for the server.
OF_CONNECTIONS: Final = frozenset(("autocommit", "row_factory", "cursor_factory", "prepare_threshold"))

_PLAIN: Final = (Connection.__init__, AsyncConnection.__init__)


def class_for(cls: type[Any], kwargs: Mapping[str, Any]) -> tuple[type[Any], bool]:
    """The class, and whether its objects are whole without a call of `__init__`."""
    if not issubclass(cls, (Connection, AsyncConnection)):
        raise TypeError(
            f"connection_class must be a subclass of leakpool's Connection or AsyncConnection, not {cls.__qualname__}"
        )
    attributes: dict[str, Any] = {}
    if "autocommit" in kwargs:
        attributes["_autocommit"] = bool(kwargs["autocommit"])
    if "prepare_threshold" in kwargs:
        threshold = kwargs["prepare_threshold"]
        if threshold is not None and (not isinstance(threshold, int) or isinstance(threshold, bool)):
            raise TypeError(f"prepare_threshold must be an int or None, not {type(threshold).__qualname__}")
        attributes["prepare_threshold"] = threshold
    if "cursor_factory" in kwargs:
        attributes["cursor_factory"] = kwargs["cursor_factory"]
    row_factory = kwargs.get("row_factory", tuple_row)
    if not callable(row_factory):
        raise TypeError(f"row_factory must be callable, not {type(row_factory).__qualname__}")
    plain = cls.__init__ in _PLAIN
    namespace: dict[str, Any] = {
        "__slots__": (),
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
    }
    if plain:
        namespace |= attributes | {"row_factory": staticmethod(row_factory)}
    elif attributes or "row_factory" in kwargs:

        def __init__(self: Any) -> None:
            cls.__init__(self)
            for name, value in attributes.items():
                setattr(self, name, value)
            if "row_factory" in kwargs:
                self.row_factory = row_factory

        namespace["__init__"] = __init__
    return type(cls.__name__, (cls,), namespace), plain
