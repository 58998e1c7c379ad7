"""Follows psycopg_pool's pools: `getconn` and `putconn` are wrapped, `connection()` calls them.

Every request of a psycopg connection goes through its `wait`. So connections get a subclass of their class whose `wait`
tells when a statement begins and ends: a running query is no leak here either.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ._watched import Make, Tracked, shut_down

_IDLE, _ACTIVE = 0, 1

#: The generators of psycopg's that end a transaction, if there is one.
_ENDS = frozenset(("_commit_gen", "_rollback_gen"))


def follow(pool: Any, name: str | None, make: Make) -> Any:
    """Watches the pool."""
    if not hasattr(pool, "getconn"):
        raise TypeError(
            f"{type(pool).__qualname__} hands out no connections: watch a ConnectionPool or AsyncConnectionPool"
        )
    if "getconn" in vars(pool):
        raise ValueError(f"pool {pool.name!r} is being watched already")
    detector = make(name or pool.name)
    detector.set_max_size(pool.max_size)
    asynchronous = type(pool).__name__.startswith("Async") or hasattr(pool, "__aenter__")
    (_follow_async if asynchronous else _follow)(pool, detector)

    def undo() -> None:
        del pool.getconn, pool.putconn

    detector.on_close(undo)
    return detector


def _follow(pool: Any, detector: Any) -> None:
    check_out, take_back = pool.getconn, pool.putconn

    def getconn(timeout: float | None = None) -> Any:
        conn = check_out(timeout)
        try:
            _track(detector, conn).check_out()
        except BaseException:
            take_back(conn)
            raise
        return conn

    def putconn(conn: Any) -> None:
        if not _returned(conn):
            conn.close()
        take_back(conn)

    pool.getconn, pool.putconn = getconn, putconn


def _follow_async(pool: Any, detector: Any) -> None:
    check_out, take_back = pool.getconn, pool.putconn

    async def getconn(timeout: float | None = None) -> Any:
        conn = await check_out(timeout)
        try:
            _track(detector, conn).check_out()
        except BaseException:
            await take_back(conn)
            raise
        return conn

    async def putconn(conn: Any) -> None:
        if not _returned(conn):
            await conn.close()
        await take_back(conn)

    pool.getconn, pool.putconn = getconn, putconn


def _track(detector: Any, conn: Any) -> Tracked:
    tracked: Tracked | None = vars(conn).get("_leakpool")
    if tracked is None or tracked.detector is not detector:
        tracked = conn._leakpool = Tracked(detector, conn, _end)
        conn.__class__ = _watched(type(conn))
    return tracked


def _returned(conn: Any) -> bool:
    tracked: Tracked | None = getattr(conn, "_leakpool", None)
    return tracked is None or tracked.check_in()


_classes: dict[type[Any], type[Any]] = {}


def _watched(cls: type[Any]) -> type[Any]:
    """The class with a `wait` that tells; its name and everything else as they were."""
    if "_leakpool_watched" in vars(cls):
        return cls
    known = _classes.get(cls)
    if known is None:
        known = _classes[cls] = _make(cls)
    return known


def _make(cls: type[Any]) -> type[Any]:
    plain = cls.wait

    def wait(self: Any, gen: Any, *args: Any, **kwargs: Any) -> Any:
        if _does_nothing(self, gen):
            return plain(self, gen, *args, **kwargs)
        tracked: Tracked = self._leakpool
        tracked.executing(_sql(gen))
        try:
            return plain(self, gen, *args, **kwargs)
        finally:
            tracked.idle(_status(self))

    async def wait_async(self: Any, gen: Any, *args: Any, **kwargs: Any) -> Any:
        if _does_nothing(self, gen):
            return await plain(self, gen, *args, **kwargs)
        tracked: Tracked = self._leakpool
        tracked.executing(_sql(gen))
        try:
            return await plain(self, gen, *args, **kwargs)
        finally:
            tracked.idle(_status(self))

    asynchronous = plain.__code__.co_flags & 0x80
    namespace = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        "_leakpool_watched": True,
        "wait": wait_async if asynchronous else wait,
    }
    return type(cls.__name__, (cls,), namespace)


def _does_nothing(conn: Any, gen: Any) -> bool:
    """The end of a `connection()` block without a transaction: psycopg sends nothing, and nobody needs to know."""
    return getattr(gen, "__name__", "") in _ENDS and conn.pgconn.transaction_status == _IDLE


def _status(conn: Any) -> int:
    status = int(conn.pgconn.transaction_status)
    return status if status in (0, 2, 3) else 0


def _sql(gen: Any) -> str | None:
    """The text that a generator of psycopg's is about to send, from its arguments."""
    frame = getattr(gen, "gi_frame", None)
    if frame is None:
        return None
    local = frame.f_locals
    text = local.get("query", local.get("statement", local.get("command")))
    if isinstance(text, bytes):
        return text.decode(errors="replace")
    return text if isinstance(text, str) else None


def _end(conn: Any) -> None:
    """Ends a session from another thread: cancels what runs, then shuts the socket down. The connection stays its
    holder's, who alone may close it."""
    pgconn = conn.pgconn
    with suppress(Exception):
        if int(pgconn.transaction_status) == _ACTIVE:
            pgconn.get_cancel().cancel()
    with suppress(Exception):
        shut_down(pgconn.socket)
