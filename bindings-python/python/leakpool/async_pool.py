"""`AsyncPool`: the pool for asyncio, in the manners of `psycopg_pool.AsyncConnectionPool`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic

from ._enums import TransactionStatus
from ._leakpool import ManualClock, NativePool
from ._pool_base import PoolBase, Seconds
from .connection import AsyncConnection
from .errors import ForceReleased, PoolTimeout

if TYPE_CHECKING:
    from typing_extensions import Self, TypeVar, Unpack

    from ._leakpool import CheckoutInfo
    from ._pool_base import Options

    ACT = TypeVar("ACT", bound=AsyncConnection[Any], default=AsyncConnection[tuple[Any, ...]])
else:
    from typing import TypeVar

    ACT = TypeVar("ACT", bound=AsyncConnection[Any])

__all__ = ["AsyncPool"]

logger = logging.getLogger("leakpool")


class AsyncPool(PoolBase, Generic[ACT]):
    """Connections to a PostgreSQL server, checked out to tasks; it finds those that are not given back.

    As `Pool`, with callbacks that are coroutine functions. Its tasks may run on any event loop, also on several.
    """

    __module__ = "leakpool"

    def __init__(
        self,
        conninfo: str = "",
        *,
        connection_class: type[ACT] = AsyncConnection,  # type: ignore[assignment]
        kwargs: Mapping[str, Any] | None = None,
        min_size: int = 0,
        max_size: int | None = None,
        open: bool = True,
        configure: Callable[[ACT], Awaitable[None]] | None = None,
        check: Callable[[ACT], Awaitable[None]] | None = None,
        reset: Callable[[ACT], Awaitable[None]] | None = None,
        name: str | None = None,
        timeout: Seconds = 30.0,
        max_waiting: int = 0,
        max_lifetime: Seconds = 60 * 60.0,
        max_idle: Seconds = 10 * 60.0,
        reconnect_timeout: float = 5 * 60.0,
        reconnect_failed: Callable[[AsyncPool[ACT]], Any] | None = None,
        num_workers: int = 3,
        clock: ManualClock | None = None,
        **options: Unpack[Options],
    ) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._init(
            conninfo,
            connection_class,
            kwargs,
            min_size,
            max_size,
            name,
            timeout,
            max_waiting,
            max_lifetime,
            max_idle,
            reconnect_timeout,
            num_workers,
            (configure, check, reset, reconnect_failed),
            clock,
            options,
        )
        if open:
            self._begin()

    if TYPE_CHECKING:

        def connection(
            self,
            timeout: float | None = None,
            *,
            label: str | None = None,
            expected_duration: float | None = None,
        ) -> AbstractAsyncContextManager[ACT, None]:
            """A connection for an `async with` block. At its end the transaction is committed, or rolled back if an
            exception leaves it, and the connection goes back. The arguments are those of `Pool.connection`.
            """
    else:
        # Native from end to end: a call costs no frame.
        connection = NativePool._connection_async

    def getconn(
        self,
        timeout: float | None = None,
        *,
        label: str | None = None,
        expected_duration: float | None = None,
    ) -> Awaitable[ACT]:
        """A connection, to be given back with `putconn`; the same arguments as `connection`."""
        if self._configure is None and self._check is None:
            plain: Awaitable[ACT] = self._getconn_async(
                timeout, label=label, expected_duration=expected_duration
            )
            return plain
        return self._check_out(
            self._connection_async(timeout, label=label, expected_duration=expected_duration)
        )

    async def putconn(self, conn: ACT) -> None:
        """Gives back what `getconn` gave. A transaction that is open is rolled back."""
        self._check_own(conn)
        if self._reset is not None and not conn.closed:
            await self._run_reset(conn)
        else:
            conn.release()

    def _begin(self) -> None:
        if self._reconnect_failed is not None:
            # Where it is called, if it is a coroutine function.
            self._loop = asyncio.get_running_loop()
        if not self._opened:
            self._open()
            self._watch_reconnects()
        elif self.closed:
            self._open()

    async def open(self, wait: bool = False, timeout: float = 30.0) -> None:
        """Opens it, if it is not open; `wait`: until there are `min_size` connections."""
        self._begin()
        if wait:
            await self.wait(timeout)

    async def wait(self, timeout: float = 30.0) -> None:
        """Waits until there are `min_size` connections; if there are not, closes the pool and raises `PoolTimeout`."""
        if not await self._wait_async(self.min_size, timeout):
            await self.close()
            raise PoolTimeout(f"pool initialization incomplete after {timeout} sec")

    async def close(self, timeout: float | None = None) -> list[CheckoutInfo]:
        """Closes it: nobody new gets a connection; those who hold one have `timeout` seconds (if nothing is said, the option
        `close_timeout`, 5 seconds), and those that leak have none.

        Returns who still held one. Closing twice does nothing.
        """
        return await self._close_async(timeout)

    async def check(self) -> None:
        """Asks each idle connection whether it still works, and closes those that do not."""
        idle = []
        try:
            for _ in range(self.status().idle):
                conn = self._idle()
                if conn is None:
                    break
                idle.append(conn)
            for conn in idle:
                await self._try(conn)
        finally:
            for conn in idle:
                conn.release()

    async def _try(self, conn: Any) -> None:
        try:
            await self.check_connection(conn)
        except Exception:
            self._connections_lost += 1
            conn.release(broken=True)

    @staticmethod
    async def check_connection(conn: ACT) -> None:
        """For `check=`: raises if the connection does not work. It asks the server something that costs nothing."""
        await conn.query_async("")

    async def drain(self) -> None:
        """Closes what is idle now, and what is checked out when it comes back: every connection is made anew."""
        self._drain()

    # ---- what the native layer calls -------------------------------------------------------------------------

    async def _check_out(self, block: Any) -> ACT:
        """A connection on which the callbacks were called."""
        limit = block._timeout
        if limit is None:
            limit = self._timeout()
        deadline = time.monotonic() + limit
        while True:
            conn: ACT = await block._acquire(max(deadline - time.monotonic(), 0.0))
            try:
                if await self._prepare(conn):
                    return conn
            except BaseException:
                conn.release(broken=True)
                raise
            conn.release(broken=True)

    async def _enter(self, block: Any) -> ACT:
        """The beginning of a `connection()` block."""
        conn = await self._check_out(block)
        block._entered(conn)
        return conn

    async def _prepare(self, conn: ACT) -> bool:
        if self._configure is not None and not self._recall(conn):
            # What it raises goes to whoever asked for the connection.
            await self._configure(conn)
            self._check_status(conn, "configure")
            self._remember(conn)
        if self._check is not None:
            try:
                await self._check(conn)
                self._check_status(conn, "check")
            except Exception as e:
                self._connections_lost += 1
                logger.info("connection failed check: %r: %s", conn, e)
                return False
        return True

    async def _run_reset(self, conn: ACT) -> None:
        try:
            if conn.transaction_status != 0:
                logger.warning("rolling back returned connection: %s", conn)
                await conn.rollback()
            if self._reset is not None:
                await self._reset(conn)
            self._check_status(conn, "reset")
        except Exception as e:
            self._returns_bad += 1
            logger.warning("error resetting connection: %s", e)
            conn.release(broken=True)
        except BaseException:
            # Cancelled: nobody knows how far it came.
            conn.release(broken=True)
            raise
        finally:
            conn.release()

    async def _finish(self, conn: ACT, exc: BaseException | None) -> None:
        """The end of a `connection()` block with something to be done.

        Cancelled in the middle, the connection goes back as it is, and its own task rolls back what is open.
        """
        try:
            if conn.closed:
                pass
            elif exc is None:
                await conn.commit()
            elif conn.transaction_status != TransactionStatus.ACTIVE:
                try:
                    await conn.rollback()
                except Exception as e:
                    logger.warning("error ignored in rollback on %s: %s", conn, e)
                    self._returns_bad += 1
                    conn.release(broken=True)
            if self._reset is not None and not conn.closed:
                await self._run_reset(conn)
        finally:
            _release(conn, exc)

    def _tell_reconnect_failed(self) -> None:
        callback, loop = self._reconnect_failed, self._loop
        if callback is None:
            return
        if not asyncio.iscoroutinefunction(callback):
            callback(self)
        elif loop is not None and not loop.is_closed():
            asyncio.run_coroutine_threadsafe(callback(self), loop)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def _release(conn: Any, exc: BaseException | None) -> None:
    """Gives it back at the end of a block. That it had been taken away is told, unless the block has failed itself."""
    try:
        conn.release()
    except ForceReleased:
        if exc is None:
            raise
