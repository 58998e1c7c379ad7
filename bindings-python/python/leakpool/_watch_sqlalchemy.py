"""Follows SQLAlchemy by the events that it offers: of the pool when connections come and go, of the engine when statements
begin and end.

A connection that is dropped comes back to SQLAlchemy's pool by itself, so the collector proves nothing here.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ._watched import Make, Tracked, shut_down
from .errors import ForceReleased

_KEY = "leakpool"


def follow(target: Any, name: str | None, make: Make) -> Any:
    """Watches an engine, or a pool alone; of that nobody tells when statements run."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine
    from sqlalchemy.pool import Pool

    # An AsyncEngine is a face of this.
    target = getattr(target, "sync_engine", target)
    if not isinstance(target, (Engine, Pool)):
        raise TypeError(
            f"{type(target).__qualname__} hands out no connections: watch an Engine, an AsyncEngine or a Pool"
        )
    pool = target.pool if isinstance(target, Engine) else target
    detector = make(name or f"sqlalchemy-{id(pool):x}")
    limits: Any = pool
    with suppress(AttributeError):
        # A QueuePool's.
        detector.set_max_size(limits.size() + max(0, limits._max_overflow))

    def listen(of: Any, what: str, told: Any) -> None:
        event.listen(of, what, told)
        detector.on_close(lambda: event.remove(of, what, told))

    def of(record: Any) -> Tracked | None:
        tracked: Tracked | None = record.info.get(_KEY) if record is not None else None
        return tracked if tracked is not None and tracked.detector is detector else None

    def checkout(dbapi_connection: Any, record: Any, proxy: Any) -> None:
        tracked = of(record)
        if tracked is None or tracked.reference() is not record:
            tracked = record.info[_KEY] = Tracked(detector, record, _end)
        tracked.check_out()
        # Until a Connection of the engine's has it, its holder may use the driver's own, which nobody follows.
        tracked.unknown()

    def checkin(dbapi_connection: Any, record: Any) -> None:
        tracked = of(record)
        if tracked is not None and not tracked.check_in() and dbapi_connection is not None:
            # Its session is over: it is not to be handed out again.
            record.invalidate()

    def ended(dbapi_connection: Any, record: Any, exception: object = None) -> None:
        tracked = of(record)
        if tracked is not None:
            tracked.check_in()

    listen(pool, "checkout", checkout)
    listen(pool, "checkin", checkin)
    listen(pool, "invalidate", ended)
    listen(pool, "detach", ended)
    if isinstance(target, Engine):

        def connected(conn: Any) -> None:
            tracked = of(conn.connection._connection_record)
            if tracked is not None:
                tracked.idle(0)

        def before(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
            tracked = of(conn.connection._connection_record)
            if tracked is not None:
                try:
                    tracked.executing(statement)
                except ForceReleased as taken:
                    # SQLAlchemy does not know the error for what it is: the session is over.
                    conn.invalidate(taken)
                    raise

        def after(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
            tracked = of(conn.connection._connection_record)
            if tracked is not None:
                tracked.idle(2 if conn.in_transaction() else 0)
                if getattr(context, "_is_server_side", False):
                    # Its rows are fetched from the server past all events.
                    tracked.unknown()

        def failed(context: Any) -> None:
            conn = context.connection
            if conn is not None and not conn.closed and not conn.invalidated:
                tracked = of(conn.connection._connection_record)
                if tracked is not None:
                    tracked.idle(3 if conn.in_transaction() else 0)

        def over(conn: Any) -> None:
            if not conn.closed and not conn.invalidated:
                tracked = of(conn.connection._connection_record)
                if tracked is not None:
                    tracked.idle(0)

        listen(target, "engine_connect", connected)
        listen(target, "before_cursor_execute", before)
        listen(target, "after_cursor_execute", after)
        listen(target, "handle_error", failed)
        listen(target, "commit", over)
        listen(target, "rollback", over)
    return detector


def _end(record: Any) -> None:
    """Ends a session from another thread: shuts its socket down, as far as the driver shows it."""
    connection = record.driver_connection
    with suppress(Exception):
        pgconn = getattr(connection, "pgconn", None)
        transport = getattr(connection, "_transport", None)
        if pgconn is not None:
            shut_down(pgconn.socket)
        elif transport is not None:
            shut_down(transport.get_extra_info("socket").fileno())
        else:
            shut_down(connection.fileno())
