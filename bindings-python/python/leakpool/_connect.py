"""`connect`: a connection of its own, without a pool that anybody sees.

There is one all the same, of one connection, which ends with it. Nothing is a leak there: who connects so keeps the
connection for as long as the program likes.
"""

from __future__ import annotations

from typing import Any

#: What is for the connection object rather than for the server.
_OF_CONNECTION = ("autocommit", "row_factory", "cursor_factory", "prepare_threshold")

_OPTIONS: dict[str, Any] = {
    "min_size": 0,
    "max_size": 1,
    "leak_threshold": 0,
    "force_release_after": 0,
    "utilization_warning": 0,
    "max_lifetime": 0,
}


def arguments(cls: type[Any], conninfo: str, kwargs: dict[str, Any]) -> tuple[tuple[str], dict[str, Any]]:
    """The arguments of the pool for one connection of this class."""
    timeout = kwargs.get("connect_timeout")
    options: dict[str, Any] = {**_OPTIONS, "connection_class": cls}
    for name in _OF_CONNECTION:
        # psycopg's way to say "the default", except where None means something.
        if kwargs.get(name, ...) is None and name != "prepare_threshold":
            del kwargs[name]
    options["kwargs"] = kwargs
    if timeout is not None:
        options["timeout"] = float(timeout)
    return (conninfo,), options
