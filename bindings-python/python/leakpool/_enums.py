"""The numbers that have names."""

from __future__ import annotations

from enum import IntEnum


class IsolationLevel(IntEnum):
    """How much a transaction sees of others."""

    READ_UNCOMMITTED = 1
    READ_COMMITTED = 2
    REPEATABLE_READ = 3
    SERIALIZABLE = 4


class TransactionStatus(IntEnum):
    """Where a session stands, as libpq numbers it."""

    #: No transaction.
    IDLE = 0
    #: A request is under way.
    ACTIVE = 1
    #: In a transaction.
    INTRANS = 2
    #: In a transaction that has failed.
    INERROR = 3
    #: Closed.
    UNKNOWN = 4


class ConnStatus(IntEnum):
    """Whether a connection can be used."""

    OK = 0
    BAD = 1


class Format(IntEnum):
    """How values travel."""

    TEXT = 0
    BINARY = 1
