"""What `import leakpool` gives of PEP 249 and of psycopg's manners: connections, cursors, rows, types, errors."""

from __future__ import annotations

from ._column import Column
from ._connection_base import Notify
from ._enums import ConnStatus, Format, IsolationLevel, TransactionStatus
from ._exceptions import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    Warning,
)
from ._info import ConnectionInfo
from .connection import AsyncConnection, Connection
from .copy import AsyncCopy, Copy
from .cursor import AsyncCursor, Cursor
from .server_cursor import AsyncServerCursor, ServerCursor
from .transaction import AsyncTransaction, Rollback, Transaction
from .types import (
    BINARY,
    DATETIME,
    NUMBER,
    ROWID,
    STRING,
    Binary,
    Date,
    DateFromTicks,
    Time,
    TimeFromTicks,
    Timestamp,
    TimestampFromTicks,
)

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "AsyncConnection",
    "AsyncCopy",
    "AsyncCursor",
    "AsyncServerCursor",
    "AsyncTransaction",
    "Binary",
    "Column",
    "ConnStatus",
    "Connection",
    "ConnectionInfo",
    "Copy",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "Error",
    "Format",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "IsolationLevel",
    "NotSupportedError",
    "Notify",
    "OperationalError",
    "ProgrammingError",
    "Rollback",
    "ServerCursor",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "Transaction",
    "TransactionStatus",
    "Warning",
    "apilevel",
    "connect",
    "paramstyle",
    "threadsafety",
]

#: The version of PEP 249.
apilevel = "2.0"
#: Threads may share the module and connections.
threadsafety = 2
#: `%s` and `%(name)s`.
paramstyle = "pyformat"

#: A connection of its own, without a pool: see `Connection.connect`.
connect = Connection.connect
