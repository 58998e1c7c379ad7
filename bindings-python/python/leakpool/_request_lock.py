"""Whose turn it is on a connection, and how the logic that sync and async classes share is run.

The shared logic is written once, as `async def`. The sync classes run it with `finish`: their I/O never suspends, so a
coroutine is over after its first step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from threading import Lock, get_ident
from typing import Any, TypeVar

from .errors import OperationalError

_T = TypeVar("_T")

#: How often a loop goes round until it has begun to close a generator that nobody refers to any more.
_ROUNDS = 4


def finish(work: Coroutine[Any, Any, _T]) -> _T:
    """Runs a coroutine that never suspends, and returns what it returns."""
    try:
        work.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    work.close()
    raise RuntimeError("a blocking call was about to suspend: this is a bug of leakpool")


class RequestLock:
    """One request at a time on a connection: other threads wait; the same thread, waiting for itself, gets an error."""

    __slots__ = ("_holder", "_lock", "_what")

    def __init__(self) -> None:
        self._lock = Lock()
        self._holder = 0
        self._what = ""

    def take(self, what: str = "") -> bool:
        """Takes the turn, or waits for it. `what` is named to those who cannot have it."""
        if not self._lock.acquire(blocking=False):
            if self._holder == get_ident():
                # Also a handler of notices, or of a signal, that asks while this thread is being answered.
                raise _busy(self._what or "a query")
            self._lock.acquire()
        self._holder = get_ident()
        self._what = what
        return True

    def take_if_free(self) -> bool:
        """Takes the turn for a request that ends before anything else can be asked; False if it is not free."""
        if self._lock.acquire(False):
            self._holder = get_ident()
            return True
        return False

    async def wait(self, what: str = "") -> None:
        """Never called: `take` waits."""

    def leaving(self) -> None:
        """What has the turn is about to give it back."""

    def done(self) -> None:
        """Gives the turn back; from any thread, since a generator may be closed in another one."""
        self._what = ""
        self._holder = 0
        self._lock.release()


class AsyncRequestLock:
    """The same for tasks."""

    __slots__ = ("_holder", "_lock", "_what")

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._holder: object = None
        self._what = ""

    def take(self, what: str = "") -> bool:
        """False if the turn has to be waited for."""
        return False

    def take_if_free(self) -> bool:
        """Takes the turn for a request that ends before its task asks for anything else; False if it is not free."""
        if self._lock.locked():
            return False
        taking = self._lock.acquire()
        try:
            taking.send(None)
        except StopIteration:
            return True
        # Another caller waits to be woken with it.
        taking.close()
        return False

    async def wait(self, what: str = "") -> None:
        """Waits for the turn."""
        task = asyncio.current_task()
        if self._what and self._holder is task and self._lock.locked():
            # A stream that was left by `break` is closed by the loop, as soon as it gets to it.
            for _ in range(_ROUNDS):
                await asyncio.sleep(0)
            if self._what and self._holder is task and self._lock.locked():
                raise _busy(self._what)
        await self._lock.acquire()
        self._holder = task
        self._what = what

    def leaving(self) -> None:
        """What has the turn is about to give it back: whoever wants it waits."""
        self._what = ""
        self._holder = None

    def done(self) -> None:
        """Gives the turn back."""
        self._what = ""
        self._holder = None
        self._lock.release()


def _busy(what: str) -> OperationalError:
    return OperationalError(
        f"another command is already in progress: {what}; read it to its end or close it before anything else is sent"
    )
