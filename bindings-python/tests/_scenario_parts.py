"""What a scenario is played with: its files, facts compared, the server, a task that acquires."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

FOLDER = Path(__file__).parent.parent.parent / "tests" / "scenarios"

#: The longest that anything may take that is awaited, in seconds. Generous: nothing is judged by it.
LIMIT = 30.0

Facts = dict[str, Any]

_COUNT = itertools.count()

#: Options that have another name in Python, and those that are durations.
_RENAMED = {
    "min_idle": "min_size",
    "acquire_timeout": "timeout",
    "idle_timeout": "max_idle",
    "reset": "reset_session",
}
_DURATIONS = {
    "acquire_timeout",
    "idle_timeout",
    "max_lifetime",
    "leak_threshold",
    "check_interval",
    "max_held",
    "force_release_after",
    "close_timeout",
    "reset_timeout",
}

#: What Python cannot do, and why.
CANNOT = {
    "try_acquire": "psycopg_pool has no such method, and neither has leakpool's Pool",
    "release while a query runs in the background": "a statement that nobody waits for any more is cancelled, and while "
    "somebody waits, the release takes effect when that call has returned",
    "close of a closed pool": "it does nothing, as psycopg_pool's",
    "release with a COPY or an unread result": "a release lets go of them, so that a session is never stuck",
}


class Failed(AssertionError):
    """A step saw something else than it expected."""


def skipped(scenario: Facts) -> str | None:
    """The step that Python cannot do, with the reason; None if it can do all."""
    running: dict[str, str] = {}
    opened: set[str] = set()
    for step in scenario["steps"]:
        do = step["do"]
        what = do if do in CANNOT else None
        if do == "query" and "background" in step:
            running[step["background"]] = step["on"]
        elif do == "await":
            running.pop(step["background"], None)
        elif do == "close" and step.get("expect", {}).get("error") == "pool_closed":
            what = "close of a closed pool"
        elif do in ("copy_in_open", "read_nothing"):
            opened.add(step["on"])
        elif do in ("release", "release_broken", "forget"):
            if step["name"] in running.values():
                what = "release while a query runs in the background"
            elif step["name"] in opened and do == "release":
                what = "release with a COPY or an unread result"
        if what is not None:
            return f"{what}: {CANNOT[what]}"
    return None


def options(given: Facts) -> dict[str, Any]:
    """Options by Python's names, in its units."""
    return {
        _RENAMED.get(name, name): value / 1000 if name in _DURATIONS else value
        for name, value in given.items()
    }


def ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def same(expected: Any, seen: Any) -> bool:
    if isinstance(expected, dict):
        for name, bound in expected.items():
            fits = {
                "at_least": lambda bound=bound: isinstance(seen, int | float) and seen >= bound,
                "at_most": lambda bound=bound: isinstance(seen, int | float) and seen <= bound,
                "contains": lambda bound=bound: isinstance(seen, str) and bound in seen,
            }[name]
            if not fits():
                return False
        return True
    if isinstance(expected, list):
        return isinstance(seen, list) and len(seen) == len(expected) and all(map(same, expected, seen))
    if isinstance(expected, bool) or isinstance(seen, bool):
        return expected is seen
    return bool(expected == seen)


def matches(expected: Facts, seen: Facts) -> None:
    wrong = [
        f"{name}: expected {value!r}, "
        + (f"seen {seen[name]!r}" if name in seen else "but there is no such fact")
        for name, value in expected.items()
        if name not in seen or not same(value, seen[name])
    ]
    if wrong:
        raise Failed("; ".join(wrong))


class Server:
    """The extra connection, and what was made for one scenario."""

    def __init__(self, kind: str) -> None:
        self.unique = f"p{os.getpid()}_{next(_COUNT)}"
        self.kind = kind
        self.admin = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        if kind == "silent":
            self.listener.listen()
        else:
            self.listener.close()
        if kind == "limited":
            self.sql(f"CREATE ROLE {self.unique} LOGIN PASSWORD '{self.unique}' CONNECTION LIMIT 1")

    def target(self) -> tuple[str, dict[str, Any]]:
        url = os.environ["DATABASE_URL"]
        if self.kind == "limited":
            return url, {"user": self.unique, "password": self.unique}
        if self.kind in ("refused", "silent"):
            return f"host=127.0.0.1 port={self.port} user=nobody sslmode=disable", {}
        return url, {}

    def sql(self, sql: str) -> Facts:
        try:
            cursor = self.admin.execute(sql)  # type: ignore[arg-type]
        except psycopg.Error as e:
            return {"error": "database", "sqlstate": e.sqlstate, "message": str(e)}
        rows = cursor.fetchall() if cursor.description else []
        value = rows[0][0] if rows else None
        if isinstance(value, bool):
            value = "t" if value else "f"
        return {"error": None, "rows": len(rows), "value": None if value is None else str(value)}

    def has_session(self, pool: str, pid: int | None = None) -> bool:
        sql = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND pid = coalesce(%s, pid)"
        return self.admin.execute(sql, (pool, pid)).fetchone() is not None

    def waits(self, pid: int) -> Any:
        row = self.admin.execute("SELECT wait_event FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone()
        return row and row[0]

    def close(self) -> None:
        if self.kind == "limited":
            self.sql(f"DROP ROLE {self.unique}")
        self.listener.close()
        self.admin.close()


class Owner:
    """A task that acquires, and lives until it is told to end."""

    def __init__(self, acquiring: Callable[[], Any]) -> None:
        self.ended = asyncio.Event()
        self.result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.task = asyncio.ensure_future(self._live(acquiring))

    async def _live(self, acquiring: Callable[[], Any]) -> None:
        try:
            connection = await acquiring()
        except BaseException as e:
            if not self.result.done():
                self.result.set_exception(e)
            if isinstance(e, asyncio.CancelledError):
                raise
            return
        if self.result.cancelled():
            connection.release()
            return
        self.result.set_result(connection)
        # Nothing here refers to the connection any more: its holder may forget it.
        del connection
        self.result = asyncio.get_running_loop().create_future()
        await self.ended.wait()
