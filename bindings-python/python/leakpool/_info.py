"""`connection.info`: what is known about a session without asking the server."""

from __future__ import annotations

from datetime import timezone, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from ._enums import ConnStatus, TransactionStatus

if TYPE_CHECKING:
    from ._connection_base import BaseConnection


class ConnectionInfo:
    """Where a connection leads and how it stands. It has no password: that is not kept."""

    __module__ = "leakpool"
    __slots__ = ("_conn",)

    def __init__(self, conn: BaseConnection[Any]) -> None:
        self._conn = conn

    @property
    def vendor(self) -> str:
        """`PostgreSQL`."""
        return "PostgreSQL"

    @property
    def status(self) -> ConnStatus:
        """`OK`, or `BAD` once the connection cannot be used any more."""
        return ConnStatus.BAD if self._conn.closed else ConnStatus.OK

    @property
    def transaction_status(self) -> TransactionStatus:
        """Where the session stands."""
        return TransactionStatus(self._conn.transaction_status)

    @property
    def backend_pid(self) -> int:
        """The server's process, as in `pg_stat_activity.pid`."""
        return self._conn.backend_pid

    @property
    def server_version(self) -> int:
        """`150008` for 15.8; 0 if the server did not tell."""
        told = (self._conn.parameter("server_version") or "").split()
        numbers = [int(part) for part in told[0].split(".") if part.isdecimal()] if told else []
        if not numbers:
            # A beta's: 18beta1.
            digits = "".join(c for c in (told[0] if told else "")[:2] if c.isdecimal())
            return int(digits) * 10_000 if digits else 0
        major, minor, patch = (*numbers, 0, 0)[:3]
        return major * 10_000 + minor if major >= 10 else major * 10_000 + minor * 100 + patch

    @property
    def full_protocol_version(self) -> int:
        """`30000`: protocol 3.0."""
        return 30000

    @property
    def encoding(self) -> str:
        """The codec of texts on this connection: always UTF-8."""
        return "utf-8"

    @property
    def timezone(self) -> tzinfo:
        """The session's time zone; UTC if Python does not know it."""
        try:
            return ZoneInfo(self._conn.parameter("TimeZone") or "UTC")
        except (KeyError, OSError, ValueError):
            return timezone.utc

    @property
    def host(self) -> str:
        """The server's name, address or socket directory."""
        return self._told("host")

    @property
    def hostaddr(self) -> str:
        """The server's address, if it was given as one."""
        return self._told("hostaddr")

    @property
    def port(self) -> int:
        """The server's port."""
        return int(self._told("port") or 5432)

    @property
    def dbname(self) -> str:
        """The database."""
        return self._told("dbname")

    @property
    def user(self) -> str:
        """The user that it was opened as."""
        return self._told("user")

    @property
    def options(self) -> str:
        """The command line options that it was opened with."""
        return self._told("options")

    @property
    def dsn(self) -> str:
        """A connection string, without the password."""
        return " ".join(f"{key}={_quoted(value)}" for key, value in self.get_parameters().items())

    def get_parameters(self) -> dict[str, str]:
        """What the connection was opened with, without the password."""
        self._conn._check_usable()
        return {key: value for key, value in self._conn.connect_info().items() if value}

    def parameter_status(self, param_name: str) -> str | None:
        """What the server reports: `TimeZone`, `server_version`, `client_encoding`, …; `None` if it does not."""
        return self._conn.parameter(param_name)

    def _told(self, key: str) -> str:
        self._conn._check_usable()
        return self._conn.connect_info().get(key, "")

    def __repr__(self) -> str:
        return f"<leakpool.ConnectionInfo of {self._conn!r}>"


def _quoted(value: str) -> str:
    if value and not any(c.isspace() or c in "'\\" for c in value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
