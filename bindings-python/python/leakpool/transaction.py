"""`connection.transaction()`: blocks that commit at their end, or roll back if an exception leaves them.

Nested, they are savepoints. What both kinds share is `BaseTransaction`; nothing here does I/O by itself.
"""

from __future__ import annotations

import logging
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import errors as e
from ._enums import TransactionStatus
from ._request_lock import finish

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._connection_base import BaseConnection
    from .connection import AsyncConnection, Connection  # noqa: F401

__all__ = ["AsyncTransaction", "OutOfOrderTransactionNesting", "Rollback", "Transaction"]

logger = logging.getLogger("leakpool")

C = TypeVar("C", bound="BaseConnection[Any]")


class Rollback(Exception):
    """Ends a `transaction()` block with a rollback, and goes no further.

    With a transaction as its argument, it leaves all blocks up to that one; otherwise the innermost.
    """

    __module__ = "leakpool"

    def __init__(self, transaction: BaseTransaction[Any] | None = None) -> None:
        super().__init__(*([] if transaction is None else [transaction]))
        self.transaction = transaction

    def __repr__(self) -> str:
        return f"{type(self).__qualname__}({self.transaction!r})"


class OutOfOrderTransactionNesting(e.ProgrammingError):
    """Transaction blocks were left in another order than they were entered."""

    __module__ = "leakpool.errors"


class BaseTransaction(Generic[C]):
    """What sync and async transaction blocks share."""

    class Status(Enum):
        """Where a block stands."""

        NOT_STARTED = "not_started"
        ACTIVE = "active"
        COMMITTED = "committed"
        ROLLED_BACK_EXPLICITLY = "rolled_back_explicitly"
        ROLLED_BACK_WITH_ERROR = "rolled_back_with_error"
        FAILED = "failed"

    def __init__(
        self, connection: C, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> None:
        if savepoint_name is not None and not isinstance(savepoint_name, str):
            raise TypeError(f"a savepoint's name must be str, got {type(savepoint_name).__name__}")
        if savepoint_name is not None and "\0" in savepoint_name:
            raise ValueError("a savepoint's name cannot contain NUL (0x00) characters")
        self._conn = connection
        self._name = savepoint_name or ""
        self.force_rollback = force_rollback
        self.status = self.Status.NOT_STARTED
        self._outer = False

    @property
    def connection(self) -> C:
        """The connection that the block is on."""
        return self._conn

    @property
    def savepoint_name(self) -> str | None:
        """The savepoint's name; empty or `None` for an outermost block that was given none."""
        return self._name

    def __repr__(self) -> str:
        name = f" {self._name!r}" if self._name else ""
        cls = type(self).__qualname__
        return f"<leakpool.{cls}{name} ({self.status.value}) [{self._conn._state()}] at {id(self):#x}>"

    async def _enter(self) -> None:
        if self.status is not self.Status.NOT_STARTED:
            raise TypeError("transaction blocks can be used only once")
        conn = self._conn
        conn._check_usable()
        request_lock = await conn._take_request_lock()
        try:
            commands = []
            self._outer = conn.transaction_status == TransactionStatus.IDLE
            if self._outer:
                if conn._transactions:
                    raise e.ProgrammingError(
                        f"the transaction of {conn._transactions[-1]!r} was ended inside the block by a statement"
                    )
                commands.append(conn._begin)
            elif not self._name:
                self._name = f"_leakpool_{len(conn._transactions) + 1}"
            if self._name:
                commands.append(f"SAVEPOINT {quoted(self._name)}")
            await conn._send(conn._native_query, "; ".join(commands))
            self.status = self.Status.ACTIVE
            conn._transactions = (*conn._transactions, self)
        finally:
            request_lock.done()

    async def _exit(self, kind: type[BaseException] | None, error: BaseException | None) -> bool:
        if kind is None and not self.force_rollback:
            await self._commit()
            return False
        try:
            return await self._rollback(error)
        except OutOfOrderTransactionNesting:
            self.status = self.Status.FAILED
            raise
        except Exception as failed:
            self.status = self.Status.FAILED
            if error is None:
                raise
            # What the block raised matters more than that it could not be undone: the session has ended, most likely.
            if not isinstance(failed, e.OperationalError) or not self._conn.closed:
                logger.warning("error ignored in rollback of %r: %s", self, failed)
            return False

    async def _commit(self) -> None:
        conn = self._conn
        self._leave("commit")
        commands = []
        if self._name and not self._outer:
            commands.append(f"RELEASE {quoted(self._name)}")
        if self._outer:
            commands.append("COMMIT")
        try:
            if not self._outer or conn.transaction_status != TransactionStatus.IDLE or conn.closed:
                await conn._command(*commands)
        except BaseException:
            self.status = self.Status.FAILED
            raise
        self.status = self.Status.COMMITTED

    async def _rollback(self, error: BaseException | None) -> bool:
        conn = self._conn
        mine = isinstance(error, Rollback) and error.transaction in (None, self)
        self._leave("rollback")
        commands = []
        if self._name and not self._outer:
            commands += [f"ROLLBACK TO {quoted(self._name)}", f"RELEASE {quoted(self._name)}"]
        if self._outer:
            commands.append("ROLLBACK")
        if not self._outer or conn.transaction_status != TransactionStatus.IDLE or conn.closed:
            await conn._command(*commands)
        explicit = error is None or isinstance(error, Rollback)
        self.status = self.Status.ROLLED_BACK_EXPLICITLY if explicit else self.Status.ROLLED_BACK_WITH_ERROR
        return mine

    def _leave(self, doing: str) -> None:
        conn = self._conn
        innermost = conn._transactions[-1:]
        conn._transactions = conn._transactions[:-1]
        if innermost != (self,):
            raise OutOfOrderTransactionNesting(f"transaction {doing} at the wrong nesting level: {self!r}")


class Transaction(BaseTransaction["Connection[Any]"]):
    """A transaction block: `with connection.transaction() as tx:`."""

    __module__ = "leakpool"

    def __enter__(self) -> Self:
        finish(self._enter())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        return finish(self._exit(kind, error))


class AsyncTransaction(BaseTransaction["AsyncConnection[Any]"]):
    """A transaction block: `async with connection.transaction() as tx:`."""

    __module__ = "leakpool"

    async def __aenter__(self) -> Self:
        await self._enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        return await self._exit(kind, error)


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
