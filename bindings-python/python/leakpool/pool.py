"""`Pool`: the pool for threads, in the manners of `psycopg_pool.ConnectionPool`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic

from ._leakpool import ManualClock, NativePool
from ._pool_base import PoolBase, Seconds
from .connection import Connection
from .errors import ForceReleased, PoolTimeout

if TYPE_CHECKING:
    from typing_extensions import Self, TypeVar, Unpack

    from ._leakpool import CheckoutInfo
    from ._pool_base import Options

    CT = TypeVar("CT", bound=Connection[Any], default=Connection[tuple[Any, ...]])
else:
    from typing import TypeVar

    CT = TypeVar("CT", bound=Connection[Any])

__all__ = ["Pool"]

logger = logging.getLogger("leakpool")


class Pool(PoolBase, Generic[CT]):
    """Connections to a PostgreSQL server, checked out to threads; it finds those that are not given back.

    The arguments are psycopg_pool's, and every option of leakpool by its name (`leak_threshold=30.0`, ...). Connections
    are made as they are needed, `min_size` of them ahead.
    """

    __module__ = "leakpool"

    def __init__(
        self,
        conninfo: str = "",
        *,
        connection_class: type[CT] = Connection,  # type: ignore[assignment]
        kwargs: Mapping[str, Any] | None = None,
        min_size: int = 0,
        max_size: int | None = None,
        open: bool = True,
        configure: Callable[[CT], None] | None = None,
        check: Callable[[CT], None] | None = None,
        reset: Callable[[CT], None] | None = None,
        name: str | None = None,
        timeout: Seconds = 30.0,
        max_waiting: int = 0,
        max_lifetime: Seconds = 60 * 60.0,
        max_idle: Seconds = 10 * 60.0,
        reconnect_timeout: float = 5 * 60.0,
        reconnect_failed: Callable[[Pool[CT]], None] | None = None,
        num_workers: int = 3,
        clock: ManualClock | None = None,
        **options: Unpack[Options],
    ) -> None:
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
            self.open()

    if TYPE_CHECKING:

        def connection(
            self,
            timeout: float | None = None,
            *,
            label: str | None = None,
            expected_duration: float | None = None,
        ) -> AbstractContextManager[CT, None]:
            """A connection for a `with` block. At its end the transaction is committed, or rolled back if an exception
            leaves it, and the connection goes back.

            `timeout`: another one than the pool's. `label`: what it is for, as reports show it. `expected_duration`: how
            long it may honestly be held, in seconds: it is not suspected before.
            """

        def getconn(
            self,
            timeout: float | None = None,
            *,
            label: str | None = None,
            expected_duration: float | None = None,
        ) -> CT:
            """A connection, to be given back with `putconn`; the same arguments as `connection`."""

        def putconn(self, conn: CT) -> None:
            """Gives back what `getconn` gave. A transaction that is open is rolled back."""
    else:
        # Native from end to end: a call costs no frame.
        connection = NativePool._connection
        getconn = NativePool._getconn
        putconn = NativePool._putconn

    def _give_back(self, conn: CT) -> None:
        """What `putconn` does where there is a callback for what comes back."""
        if conn.closed:
            conn.release()
        else:
            self._run_reset(conn)

    def open(self, wait: bool = False, timeout: float = 30.0) -> None:
        """Opens it, if it is not open; `wait`: until there are `min_size` connections."""
        if not self._opened:
            self._open()
            self._watch_reconnects()
        elif self.closed:
            self._open()
        if wait:
            self.wait(timeout)

    def wait(self, timeout: float = 30.0) -> None:
        """Waits until there are `min_size` connections; if there are not, closes the pool and raises `PoolTimeout`."""
        if not self._wait(self.min_size, timeout):
            self.close()
            raise PoolTimeout(f"pool initialization incomplete after {timeout} sec")

    def close(self, timeout: float | None = None) -> list[CheckoutInfo]:
        """Closes it: nobody new gets a connection; those who hold one have `timeout` seconds (if nothing is said, the option
        `close_timeout`, 5 seconds), and those that leak have none.

        Returns who still held one. Closing twice does nothing.
        """
        return self._close(timeout)

    def check(self) -> None:
        """Asks each idle connection whether it still works, and closes those that do not."""
        idle = []
        try:
            for _ in range(self.status().idle):
                conn = self._idle()
                if conn is None:
                    break
                idle.append(conn)
            for conn in idle:
                self._try(conn)
        finally:
            for conn in idle:
                conn.release()

    def _try(self, conn: Any) -> None:
        try:
            self.check_connection(conn)
        except Exception:
            self._connections_lost += 1
            conn.release(broken=True)

    @staticmethod
    def check_connection(conn: CT) -> None:
        """For `check=`: raises if the connection does not work. It asks the server something that costs nothing."""
        conn.query("")

    def drain(self) -> None:
        """Closes what is idle now, and what is checked out when it comes back: every connection is made anew."""
        self._drain()

    # ---- what the native layer calls -------------------------------------------------------------------------

    def _prepare(self, conn: CT) -> bool:
        """The callbacks for a connection that is about to be checked out. False: it is to be closed, and another one tried."""
        if self._configure is not None and not self._recall(conn):
            # What it raises goes to whoever asked for the connection.
            self._configure(conn)
            self._check_status(conn, "configure")
            self._remember(conn)
        if self._check is not None:
            try:
                self._check(conn)
                self._check_status(conn, "check")
            except Exception as e:
                self._connections_lost += 1
                logger.info("connection failed check: %r: %s", conn, e)
                return False
        return True

    def _run_reset(self, conn: CT) -> None:
        try:
            if conn.transaction_status != 0:
                logger.warning("rolling back returned connection: %s", conn)
                conn.rollback()
            if self._reset is not None:
                self._reset(conn)
            self._check_status(conn, "reset")
        except Exception as e:
            self._returns_bad += 1
            logger.warning("error resetting connection: %s", e)
            conn.release(broken=True)
        finally:
            conn.release()

    def _finish(self, conn: CT, exc: BaseException | None) -> None:
        """The end of a `connection()` block with something to be done."""
        try:
            if conn.closed:
                pass
            elif exc is None:
                conn.commit()
            else:
                try:
                    conn.rollback()
                except Exception as e:
                    logger.warning("error ignored in rollback on %s: %s", conn, e)
                    self._returns_bad += 1
                    conn.release(broken=True)
        finally:
            if self._reset is not None and not conn.closed:
                self._run_reset(conn)
            else:
                _release(conn, exc)

    def _tell_reconnect_failed(self) -> None:
        callback = self._reconnect_failed
        if callback is not None:
            # In a thread of its own: it may take its time, and this one tells the events of all pools.
            threading.Thread(
                target=callback, args=(self,), name=f"{self.name}-reconnect-failed", daemon=True
            ).start()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _release(conn: Any, exc: BaseException | None) -> None:
    """Gives it back at the end of a block. That it had been taken away is told, unless the block has failed itself."""
    try:
        conn.release()
    except ForceReleased:
        if exc is None:
            raise
