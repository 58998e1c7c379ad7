"""What `Pool` and `AsyncPool` have in common: the constructor's arguments, statistics, and what does not wait."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from . import _leakpool
from ._enums import TransactionStatus
from ._leakpool import NativePool
from ._pool_class import OF_CONNECTIONS, class_for
from .errors import InvalidOption, ProgrammingError

if TYPE_CHECKING:
    from typing_extensions import TypedDict

    class Options(TypedDict, total=False):
        """The options that psycopg_pool does not have. The README explains each."""

        max_uses: int
        leak_threshold: Seconds
        check_interval: Seconds
        max_leaks_before_alert: int
        max_held: Seconds
        force_release_after: Seconds
        force_release_busy: bool
        force_release_when: Literal["due", "exhausted"]
        close_timeout: Seconds
        statement_cache: bool
        reset_session: Literal["rollback", "none", "session"]
        reset_timeout: Seconds
        utilization_warning: float
        stack_capture: Literal["full", "site", "off"]
        stack_depth: int
        sql_text: Literal["full", "fingerprint", "off"]


#: A length of time: seconds, a `timedelta`, or a text such as `"5 min"`; None = off, where off makes sense.
Seconds = float | timedelta | str | None


class PoolBase(NativePool):
    """See `Pool` and `AsyncPool`."""

    _min_size: int
    _max_size: int
    _configure: Callable[..., Any] | None
    _check: Callable[..., Any] | None
    _reset: Callable[..., Any] | None
    _reconnect_failed: Callable[..., Any] | None
    _counted: dict[str, int]
    #: What `configure` has set on the connection objects of each session, by the server's process.
    _sessions: dict[int, dict[str, Any]]
    conninfo: str
    kwargs: Mapping[str, Any]

    def _init(
        self,
        conninfo: str,
        connection_class: type[Any],
        kwargs: Mapping[str, Any] | None,
        min_size: int,
        max_size: int | None,
        name: str | None,
        timeout: Seconds,
        max_waiting: int,
        max_lifetime: Seconds,
        max_idle: Seconds,
        reconnect_timeout: float,
        num_workers: int,
        callbacks: tuple[Callable[..., Any] | None, ...],
        clock: _leakpool.ManualClock | None,
        options: Mapping[str, Any],
    ) -> None:
        self._configure, self._check, self._reset, self._reconnect_failed = callbacks
        for what, callback in zip(("configure", "check", "reset", "reconnect_failed"), callbacks):
            if callback is not None and not callable(callback):
                raise TypeError(f"{what} must be callable or None, not {type(callback).__qualname__}")
        if not isinstance(conninfo, str):
            raise TypeError(f"conninfo must be a str, not {type(conninfo).__qualname__}")
        if kwargs is not None and not isinstance(kwargs, Mapping):
            raise TypeError(f"kwargs must be a mapping, not {type(kwargs).__qualname__}")
        _whole("max_waiting", max_waiting, 0)
        _whole("num_workers", num_workers, 1)
        _whole("min_size", min_size, 0)
        if max_size is not None:
            _whole("max_size", max_size, 1)
        if not isinstance(reconnect_timeout, (int, float)) or isinstance(reconnect_timeout, bool):
            raise TypeError(f"reconnect_timeout must be a number, not {type(reconnect_timeout).__qualname__}")
        if not reconnect_timeout >= 0:
            raise InvalidOption(f"reconnect_timeout ({reconnect_timeout}) must be 0 or more")
        if not isinstance(connection_class, type):
            raise TypeError(f"connection_class must be a class, not {connection_class!r}")
        self.conninfo = conninfo
        self.kwargs = dict(kwargs or {})
        self.reconnect_timeout = float(reconnect_timeout)
        self.num_workers = num_workers
        self.max_waiting = max_waiting
        self._counted = {}
        self._returns_bad = 0
        self._connections_lost = 0
        self._failing_since: float | None = None
        if max_size is None:
            # As in psycopg_pool: a pool of that size, if one was said.
            max_size = min_size or 10
        if max_size < min_size:
            raise InvalidOption(f"max_size ({max_size}) must be min_size ({min_size}) or more")
        wanted: dict[str, Any] = {
            "min_size": min_size,
            "max_size": max_size,
            "timeout": timeout,
            "max_waiting": max_waiting,
        }
        wanted |= {"max_lifetime": max_lifetime, "max_idle": max_idle}
        if name is not None:
            wanted["name"] = name
        if "reset_session" in options:
            # `reset` is psycopg_pool's name for a callback.
            options = dict(options)
            options["reset"] = options.pop("reset_session")
        wanted |= options
        server = {key: value for key, value in self.kwargs.items() if key not in OF_CONNECTIONS}
        cls, plain = class_for(connection_class, self.kwargs)
        self._sessions = {}
        self._set_up(
            conninfo,
            server,
            wanted,
            cls,
            plain=plain,
            on_check_out=self._configure is not None or self._check is not None,
            on_return=self._reset is not None,
            clock=clock,
        )

    @property
    def min_size(self) -> int:
        """The connections that are kept warm."""
        return self._sizes()[0]

    @property
    def max_size(self) -> int:
        """The most connections that there may be."""
        return self._sizes()[1]

    def _timeout(self) -> float:
        """The pool's own time-out, in seconds."""
        return self._acquire_timeout() or float("inf")

    def _remember(self, conn: Any) -> None:
        """Keeps what `configure` has set, for the next objects of the same session."""
        state = vars(conn)
        self._sessions[conn.backend_pid] = {key: state[key] for key in conn.SESSION_STATE if key in state}
        if len(self._sessions) > 4 * self.max_size + 16:
            # Of sessions that ended. Who is forgotten too many is configured again.
            self._sessions.pop(next(iter(self._sessions)))

    def _recall(self, conn: Any) -> bool:
        """Sets it again. False if this session was not configured yet."""
        if self._is_new(conn):
            return False
        state = self._sessions.get(conn.backend_pid)
        if state is None:
            return False
        vars(conn).update(state)
        return True

    def _check_status(self, conn: Any, callback: str) -> None:
        """A callback leaves a connection as it should be, or it is not used."""
        status = conn.transaction_status
        if status not in (0, 4):
            name = TransactionStatus(status).name
            raise ProgrammingError(
                f"connection left in status {name} by {callback} function {getattr(self, '_' + callback)}: discarded"
            )

    def _watch_reconnects(self) -> None:
        if self._reconnect_failed is not None:
            self.subscribe(self._reconnecting, ["connect", "error"])

    def _reconnecting(self, event: _leakpool.Event) -> None:
        if event.kind == "connect":
            self._failing_since = None
            return
        if self._failing_since is not None:
            return
        # A row of failures is told once: whether it has gone on, somebody has to look.
        since = self._failing_since = event.at.timestamp()
        pool = weakref.ref(self)

        def look() -> None:
            this = pool()
            if this is not None and this._failing_since == since and not this.closed:
                this._failing_since = None
                if this.status().size < this.min_size:
                    this._tell_reconnect_failed()

        timer = threading.Timer(self.reconnect_timeout, look)
        timer.daemon = True
        timer.start()

    def _tell_reconnect_failed(self) -> None:
        raise NotImplementedError

    def get_stats(self) -> dict[str, int]:
        """The pool's numbers by psycopg_pool's names; those that count do so since the last `pop_stats`."""
        now = self._count()
        before = self._counted
        return self._measure() | {key: value - before.get(key, 0) for key, value in now.items()}

    def pop_stats(self) -> dict[str, int]:
        """`get_stats`, and begins to count anew."""
        stats = self.get_stats()
        self._counted = self._count()
        return stats

    def _measure(self) -> dict[str, int]:
        minimum, maximum = self._sizes()
        status = self.status() if self._opened else None
        return {
            "pool_min": minimum,
            "pool_max": maximum,
            "pool_size": status.size if status else 0,
            "pool_available": status.idle if status else 0,
            "requests_waiting": status.waiting if status else 0,
        }

    def _count(self) -> dict[str, int]:
        if not self._opened:
            return {}
        metrics = self.metrics()
        queued, failed = self._counts()
        return {
            "requests_num": metrics.acquired + failed,
            "requests_queued": queued,
            "requests_wait_ms": round(metrics.wait_time.sum * 1000),
            "requests_errors": failed,
            "usage_ms": round(metrics.use_time.sum * 1000),
            "returns_bad": metrics.dirty_releases + metrics.lost + self._returns_bad,
            "connections_num": metrics.created + metrics.create_errors,
            "connections_ms": round(metrics.create_time.sum * 1000),
            "connections_errors": metrics.create_errors,
            "connections_lost": metrics.lost + self._connections_lost,
        }

    def resize(self, min_size: int, max_size: int | None = None) -> None:
        """Changes how many connections there are: `max_size` is `min_size` if it is not given."""
        if max_size is None:
            max_size = min_size
        _whole("min_size", min_size, 0)
        _whole("max_size", max_size, 1)
        if max_size < min_size:
            raise InvalidOption(f"max_size ({max_size}) must be min_size ({min_size}) or more")
        self._resize(min_size, max_size)

    def reconfigure(self, **options: Any) -> None:
        """Changes leak options while the pool runs; what is checked out is judged by them at once."""
        super().reconfigure(**options)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return (
            f"<{type(self).__module__}.{type(self).__qualname__} {self.name!r} ({state}) at 0x{id(self):x}>"
        )


def _whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {type(value).__qualname__}")
    if value < least:
        raise InvalidOption(f"{name} ({value}) must be {least} or more")
