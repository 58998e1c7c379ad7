"""The places where the application acquires, each on a line of its own: what reports have to name."""

from __future__ import annotations

import os
from typing import Any


async def elsewhere(pool: Any, wanted: dict[str, Any]) -> Any:
    return await pool.getconn(**wanted)


async def get_user_data(pool: Any, wanted: dict[str, Any]) -> Any:
    return await pool.getconn(**wanted)


async def process_order(pool: Any, wanted: dict[str, Any]) -> Any:
    return await pool.getconn(**wanted)


async def complex_operation(pool: Any, wanted: dict[str, Any]) -> Any:
    return await pool.getconn(**wanted)


_LINES = {
    place.__code__.co_firstlineno + 1: place.__name__
    for place in (elsewhere, get_user_data, process_order, complex_operation)
}


def at(line: int | None) -> str:
    """The place on a line."""
    return _LINES.get(line or 0, f"line {line}")


def line_of(place: str) -> str:
    """`file:line` of a place."""
    line = next(line for line, name in _LINES.items() if name == place)
    return f"{os.path.basename(__file__)}:{line}"
