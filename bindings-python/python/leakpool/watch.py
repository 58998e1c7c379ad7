"""Leak detection over a pool that the application has already: `detector = leakpool.watch(pool)`.

psycopg_pool, asyncpg and SQLAlchemy are known; for any other pool, `LeakDetector` is told by hand: `check_out()` where a
connection is checked out, `check_in(id)` where it comes back. How each pool is followed stands in a module of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._leakpool import ManualClock, NativeDetector

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._leakpool import CheckoutInfo

__all__ = ["LeakDetector", "watch"]


class LeakDetector(NativeDetector):
    """Finds leaks in a pool that is not leakpool's. The options are those of the leak policy, by their names."""

    __module__ = "leakpool"

    def __init__(self, name: str, *, clock: ManualClock | None = None, **options: Any) -> None:
        #: What undoes the hooks in the pool that is watched.
        self._undo: list[Callable[[], None]] = []

    def on_close(self, undo: Callable[[], None]) -> None:
        """Calls `undo()` when the detector is closed."""
        self._undo.append(undo)

    def close(self, timeout: float = 0.0) -> list[CheckoutInfo]:
        """Stops watching: the pool is as it was. Returns what was still held."""
        undo, self._undo = self._undo, []
        for one in reversed(undo):
            one()
        return self._close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<leakpool.{type(self).__qualname__} {self.name!r} at 0x{id(self):x}>"


def watch(
    pool: object, *, name: str | None = None, clock: ManualClock | None = None, **options: Any
) -> LeakDetector:
    """Watches a pool: a `psycopg_pool.ConnectionPool` or `AsyncConnectionPool`, an `asyncpg.Pool`, or SQLAlchemy's
    `Engine`, `AsyncEngine` or `Pool`.

    What is checked out already when it begins is not seen. A connection that is taken away has its socket shut down; its
    holder's next use raises `ForceReleased`, or the driver's own error.
    """
    from . import _watch_asyncpg, _watch_psycopg, _watch_sqlalchemy

    packages = {cls.__module__.partition(".")[0] for cls in type(pool).__mro__}
    for package, follow in (
        ("psycopg_pool", _watch_psycopg.follow),
        ("asyncpg", _watch_asyncpg.follow),
        ("sqlalchemy", _watch_sqlalchemy.follow),
    ):
        if package in packages:
            detector: LeakDetector = follow(
                pool, name, lambda name: LeakDetector(name, clock=clock, **options)
            )
            return detector
    if "leakpool" in packages:
        raise TypeError("a pool of leakpool watches itself: ask it for its report()")
    raise TypeError(
        f"{type(pool).__module__}.{type(pool).__qualname__} is no pool that is known here (psycopg_pool's, asyncpg's, "
        "SQLAlchemy's): make a LeakDetector and tell it check_out() and check_in()"
    )
