"""What the modules that follow a pool share: one connection of it, and how its session is ended."""

from __future__ import annotations

import os
import socket
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ._leakpool import NativeDetector, Revocation
from .errors import Error, ForceReleased

#: Makes the detector once it is clear that the pool can be followed.
Make = Callable[[str], Any]


class Tracked:
    """A connection of a watched pool, for life: its checkout while it is checked out, and the proof if it goes while it is."""

    __slots__ = ("__weakref__", "checkout", "detector", "reclaim", "reference", "revoked")

    def __init__(self, detector: NativeDetector, connection: object, end: Callable[[Any], None]) -> None:
        """`end(connection)` ends its session, on another thread."""
        self.detector = detector
        self.checkout: int | None = None
        self.revoked = False
        tracked = weakref.ref(self)

        def gone(_: object) -> None:
            this = tracked()
            if this is not None and this.checkout is not None:
                with suppress(Error):
                    this.detector.prove(this.checkout)
                this.checkout = None

        #: Kept: without it nobody is told.
        self.reference = reference = weakref.ref(connection, gone)

        def reclaim(revocation: Revocation) -> None:
            this, connection = tracked(), reference()
            if this is not None:
                this.revoked = True
            if connection is not None:
                end(connection)

        #: Made once, not for each checkout: it holds neither the connection nor this.
        self.reclaim = reclaim

    def check_out(self) -> None:
        """It is checked out."""
        if self.checkout is not None:
            # It was closed instead of being returned, and the pool has found that out.
            self.check_in()
        self.revoked = False
        self.checkout = self.detector.check_out(reclaim=self.reclaim)

    def check_in(self) -> bool:
        """It comes back. False if it had been taken away: its session is over."""
        checkout, self.checkout = self.checkout, None
        if checkout is None:
            return True
        try:
            self.detector.check_in(checkout)
        except ForceReleased:
            return False
        except Error:
            # The detector was closed, or is of the parent process: nobody judges.
            return True
        return True

    def executing(self, sql: str | None) -> None:
        """A statement is about to be sent; raises `ForceReleased` if the connection was taken away."""
        if self.checkout is not None:
            try:
                self.detector.executing(self.checkout, sql)
            except ForceReleased:
                raise
            except Error:
                pass

    def unknown(self) -> None:
        """Its holder may use it in ways that nobody follows."""
        if self.checkout is not None:
            with suppress(Error):
                self.detector.unknown(self.checkout)

    def idle(self, transaction_status: int) -> None:
        """Its answer is complete."""
        if self.checkout is not None:
            with suppress(Error):
                self.detector.idle(self.checkout, transaction_status)


def shut_down(descriptor: int) -> None:
    """Ends the conversation on a socket that another caller owns and will close."""
    if descriptor < 0:
        return
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as own:
        own.shutdown(socket.SHUT_RDWR)
