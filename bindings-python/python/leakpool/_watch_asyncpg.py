"""Follows an asyncpg pool. Pools and connections have slots and no attributes to wrap: both get a subclass of their class.

asyncpg's pool keeps what it has checked out, so nothing is ever proven by the collector; suspicion and force release are as for
every other pool.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ._watched import Make, Tracked, shut_down

#: Their connections, by `id`: they are forgotten when they end.
_tracked: dict[int, Tracked] = {}


def follow(pool: Any, name: str | None, make: Make) -> Any:
    """Watches the pool."""
    from asyncpg.pool import Pool

    if not isinstance(pool, Pool):
        raise TypeError(f"{type(pool).__qualname__} hands out no connections: watch an asyncpg.Pool")
    cls = type(pool)
    if "_leakpool_detector" in vars(cls):
        raise ValueError("this pool is being watched already")
    detector = make(name or f"asyncpg-{id(pool):x}")
    detector.set_max_size(pool.get_max_size())
    pool.__class__ = _watched_pool(cls, detector)

    def undo() -> None:
        pool.__class__ = cls

    detector.on_close(undo)
    return detector


def _watched_pool(cls: type[Any], detector: Any) -> type[Any]:
    async def _acquire(self: Any, timeout: float | None) -> Any:
        proxy = await cls._acquire(self, timeout)
        try:
            _track(detector, proxy._con).check_out()
        except BaseException:
            await cls.release(self, proxy)
            raise
        return proxy

    def release(self: Any, connection: Any, *, timeout: float | None = None) -> Any:
        con = getattr(connection, "_con", None)
        if con is not None:
            tracked = _tracked.get(id(con))
            if tracked is not None and not tracked.check_in():
                # Its session is over: the pool is to know, instead of resetting it.
                con.terminate()
        return cls.release(self, connection, timeout=timeout)

    namespace = {
        "__slots__": (),
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "_leakpool_detector": detector,
        "_acquire": _acquire,
        "release": release,
    }
    return type(cls.__name__, (cls,), namespace)


def _track(detector: Any, con: Any) -> Tracked:
    tracked = _tracked.get(id(con))
    if tracked is None or tracked.detector is not detector:
        tracked = _tracked[id(con)] = Tracked(detector, con, _end)
        con.__class__ = _watched_connection(type(con))
        plain = con._protocol
        con._protocol = _Told(plain._plain if isinstance(plain, _Told) else plain, tracked)
    return tracked


_classes: dict[type[Any], type[Any]] = {}


def _watched_connection(cls: type[Any]) -> type[Any]:
    if "_leakpool_watched" in vars(cls):
        return cls
    known = _classes.get(cls)
    if known is None:
        known = _classes[cls] = _make(cls)
    return known


def _make(cls: type[Any]) -> type[Any]:
    def _cleanup(self: Any) -> Any:
        tracked = _tracked.pop(id(self), None)
        if tracked is not None:
            tracked.check_in()
        return cls._cleanup(self)

    namespace: dict[str, Any] = {
        "__slots__": (),
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "_leakpool_watched": True,
        "_cleanup": _cleanup,
    }
    return type(cls.__name__, (cls,), namespace)


class _Told:
    """A connection's protocol that tells what it is asked. Whatever the driver does (its own methods, prepared
    statements, cursors, COPY) comes down to these."""

    __slots__ = ("_plain", "_tracked")

    def __init__(self, plain: Any, tracked: Tracked) -> None:
        self._plain = plain
        self._tracked = tracked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)


def _told(name: str, at: int) -> Callable[..., Any]:
    """The request of this name, whose text, or statement, is its argument number `at`; negative if it has none."""

    async def call(self: _Told, *args: Any, **kwargs: Any) -> Any:
        method = getattr(self._plain, name)
        tracked = self._tracked
        if tracked.checkout is None:
            return await method(*args, **kwargs)
        asked = args[at] if 0 <= at < len(args) else None
        tracked.executing(asked if isinstance(asked, str) else getattr(asked, "query", None))
        try:
            return await method(*args, **kwargs)
        finally:
            tracked.idle(_status(self._plain))

    call.__name__ = name
    return call


#: What a protocol can be asked (asyncpg, protocol/protocol.pyx), and where the text stands.
_ASKED = {
    "prepare": 1,
    "bind_execute": 0,
    "bind_execute_many": 0,
    "bind": 0,
    "execute": 0,
    "query": 0,
    "copy_out": 0,
    "copy_in": 0,
    "close_portal": -1,
    "close_statement": -1,
}
for _name, _at in _ASKED.items():
    setattr(_Told, _name, _told(_name, _at))


def _status(protocol: Any) -> int:
    with suppress(Exception):
        return 2 if protocol.is_in_transaction() else 0
    return 0


def _end(con: Any) -> None:
    """Ends a session from another thread. The loop finds its socket closed; a statement that runs ends with it, as soon
    as the server tries to answer."""
    with suppress(Exception):
        transport = con._transport
        sock = transport.get_extra_info("socket")
        if sock is not None:
            shut_down(sock.fileno())
