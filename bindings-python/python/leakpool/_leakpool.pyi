"""The native layer: all I/O, the pool, the detector. What stands here is what the Python layer codes against.

Errors: whatever goes wrong natively is raised as what `leakpool.errors.of_server` or `of_core` make of it. Arguments of a
wrong type are TypeError, of a wrong value ValueError, unless they concern SQL.

Each method that waits for the server stands here twice: plain, it blocks the calling thread (the GIL is released, signals
are looked at every 100 ms); with the suffix `_async`, it returns an object to be awaited once, on the running asyncio
loop. Cancelled while it waits, a statement is cancelled on the server, and the connection stays usable.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar, final

from typing_extensions import Self, disjoint_base

_T = TypeVar("_T", covariant=True)

__version__: str

@final
class Operation(Generic[_T]):
    """What an `_async` method returns: awaitable once. Nothing is sent before it is awaited for the first time."""

    def __await__(self) -> Generator[Any, None, _T]: ...
    def __iter__(self) -> Generator[Any, None, _T]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any, /) -> Any: ...
    def throw(self, type: Any, value: Any = None, traceback: Any = None, /) -> Any: ...
    def close(self) -> None: ...

@final
class Column:
    """One column of a result."""

    @property
    def name(self) -> str: ...
    @property
    def type_oid(self) -> int: ...
    @property
    def type_size(self) -> int: ...
    @property
    def type_modifier(self) -> int: ...
    @property
    def table_oid(self) -> int: ...
    @property
    def column_id(self) -> int: ...
    @property
    def format(self) -> Literal[0, 1]: ...

@final
class NativeResult:
    """One result of a request, kept as it came and decoded when rows are asked for. It outlives its connection."""

    @property
    def columns(self) -> list[Column] | None:
        """None for a command that returns no rows."""
    @property
    def tag(self) -> str | None:
        """The command tag, `INSERT 0 5`; None for an empty text."""
    @property
    def rowcount(self) -> int:
        """The number in the tag, -1 where it has none."""
    @property
    def nrows(self) -> int: ...
    @property
    def nfields(self) -> int: ...
    @property
    def notices(self) -> list[dict[str, str]]:
        """Each by its letters, as errors."""
    def rows(self, start: int = 0, stop: int | None = None) -> list[tuple[Any, ...]]:
        """Decoded rows."""
    def row(self, index: int) -> tuple[Any, ...] | None:
        """One decoded row; None past the end."""
    def raw(self, row: int, column: int) -> bytes | None:
        """One value as the server sent it."""

@disjoint_base
class NativeConnection:
    """One checkout. `leakpool.Connection` and `leakpool.AsyncConnection` are its subclasses, made by the pool without
    arguments (`__init__` is not called): state of theirs begins as class attributes."""

    # -- requests ---------------------------------------------------------------------------------------------
    def query(
        self,
        sql: str | bytes,
        params: Sequence[Any] | None = None,
        *,
        first: str | None = None,
        cached: bool = True,
        binary: bool = False,
    ) -> list[NativeResult]:
        """Runs SQL. `params=None`: by the simple protocol, any number of statements, one result each. Otherwise one
        statement with `$1`, `$2`, ...; the parameters are Python objects. `first` (`BEGIN`, say) travels in front, in the
        same batch; its result is swallowed; if it fails, that is the error. `binary`: results in binary, also without
        parameters (then by the extended protocol). A parameter that is a `Formatted(value, "t")` goes in that
        format."""
    def query_async(
        self,
        sql: str | bytes,
        params: Sequence[Any] | None = None,
        *,
        first: str | None = None,
        cached: bool = True,
        binary: bool = False,
    ) -> Operation[list[NativeResult]]: ...
    def query_many(
        self,
        sql: str | bytes,
        params: Iterable[Sequence[Any]],
        *,
        first: str | None = None,
        cached: bool = True,
        binary: bool = False,
        returning: bool = False,
    ) -> tuple[list[NativeResult], int]:
        """One statement for each set of parameters, pipelined. The results (all of them with `returning`, else only the
        last), and the sum of their rowcounts (-1 if none has one). The first error ends it; outside a transaction, what was
        run before it stays."""
    def query_many_async(
        self,
        sql: str | bytes,
        params: Iterable[Sequence[Any]],
        *,
        first: str | None = None,
        cached: bool = True,
        binary: bool = False,
        returning: bool = False,
    ) -> Operation[tuple[list[NativeResult], int]]: ...
    def stream(
        self,
        sql: str | bytes,
        params: Sequence[Any] | None = None,
        *,
        first: str | None = None,
        cached: bool = True,
        binary: bool = False,
    ) -> NativeStream:
        """The rows of one statement while they come, the server waiting for the reader. Waits for the columns. The
        connection can be used otherwise only after the end of the stream."""
    def stream_async(
        self,
        sql: str | bytes,
        params: Sequence[Any] | None = None,
        *,
        first: str | None = None,
        cached: bool = True,
        binary: bool = False,
    ) -> Operation[NativeStream]: ...
    def copy_in(self, sql: str | bytes, *, first: str | None = None) -> NativeCopyIn: ...
    def copy_in_async(self, sql: str | bytes, *, first: str | None = None) -> Operation[NativeCopyIn]: ...
    def copy_out(self, sql: str | bytes, *, first: str | None = None) -> NativeCopyOut: ...
    def copy_out_async(self, sql: str | bytes, *, first: str | None = None) -> Operation[NativeCopyOut]: ...
    def describe(
        self, sql: str | bytes, oids: Sequence[int] | None = None
    ) -> tuple[list[int], list[Column] | None]:
        """What a statement takes and gives, without running it."""
    def describe_async(
        self, sql: str | bytes, oids: Sequence[int] | None = None
    ) -> Operation[tuple[list[int], list[Column] | None]]: ...
    def notifications(
        self, timeout: float | None = None, stop_after: int | None = None
    ) -> list[tuple[str, str, int]]:
        """Waits for notifications: (channel, payload, pid). Returns those that are there, at least one, up to `stop_after`;
        none if `timeout` passed (0 = do not wait). None are lost from the first LISTEN on that went through this object."""
    def notifications_async(
        self, timeout: float | None = None, stop_after: int | None = None
    ) -> Operation[list[tuple[str, str, int]]]: ...
    def check_usable(self) -> None:
        """Raises what happened to it, if it cannot be used any more: `ForceReleased`, `ConnectionReleased`, ..."""
    def cancel(self) -> None:
        """Asks the server to cancel what runs. Returns at once; from any thread."""
    @property
    def being_cancelled(self) -> bool:
        """A cancel is still on its way: it may hit the next statement."""
    @property
    def being_cleared(self) -> bool:
        """What came of a request that was given up is not known yet. False if the connection is of no use any more."""
    # -- state ------------------------------------------------------------------------------------------------
    @property
    def transaction_status(self) -> int:
        """libpq's: 0 idle, 1 active (a request is under way), 2 in a transaction, 3 in a failed one, 4 unknown (closed)."""
    @property
    def backend_pid(self) -> int:
        """0 once it is closed and not known."""
    @property
    def released(self) -> bool:
        """It was given back, closed, or taken away."""
    @property
    def broken(self) -> bool:
        """Its session has ended."""
    @property
    def checkout_id(self) -> int | None: ...
    @property
    def native_pool(self) -> NativePool | None:
        """None once it is released."""
    @property
    def pool_name(self) -> str | None:
        """The name of the pool that it is, or was, of."""
    @property
    def revocation(self) -> Revocation | None: ...
    def parameter(self, name: str) -> str | None:
        """What the server reports: `TimeZone`, `server_version`, `client_encoding`, ..."""
    def connect_info(self) -> dict[str, str]:
        """host, port, user, dbname, options of this session: never the password."""
    def take_notices(self) -> list[dict[str, str]]:
        """Notices of the requests since the last call, at most the last 1,000; also those of requests that failed."""
    def release(self, broken: bool = False) -> None:
        """Gives it back, or ends the session (`broken`). Never waits. A second time does nothing."""
    def _touch(self) -> None:
        """Its holder has called something that moves no byte: it is in use."""
    @property
    def prepared(self) -> bool:
        """True if repeated SQL is kept prepared: `statement_cache`, unless a pooler stands between."""

@final
class NativeStream:
    """Rows while they come. Dropped before its end, the rest is thrown away."""

    @property
    def columns(self) -> list[Column] | None: ...
    @property
    def tag(self) -> str | None:
        """Once it is over."""
    @property
    def rowcount(self) -> int: ...
    def fetch(self, size: int) -> list[tuple[Any, ...]]:
        """At most `size` rows, fewer if that many have come (at least one); none at the end."""
    def fetch_async(self, size: int) -> Operation[list[tuple[Any, ...]]]: ...
    def close(self) -> None:
        """Throws the rest away: the statement is cancelled."""

@final
class NativeCopyIn:
    @property
    def format(self) -> Literal[0, 1]: ...
    @property
    def column_formats(self) -> list[int]: ...
    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Waits while the server is behind. An error ends the copy."""
    def send_async(self, data: bytes | bytearray | memoryview) -> Operation[None]: ...
    def finish(self) -> str:
        """The tag, `COPY 5`."""
    def finish_async(self) -> Operation[str]: ...
    def fail(self, reason: str) -> None:
        """Gives the copy up; returns when the server has."""
    def fail_async(self, reason: str) -> Operation[None]: ...

@final
class NativeCopyOut:
    @property
    def format(self) -> Literal[0, 1]: ...
    @property
    def column_formats(self) -> list[int]: ...
    @property
    def tag(self) -> str | None: ...
    def fetch(self, size: int) -> list[bytes]:
        """At most `size` pieces (in text format each is a row), fewer if that many have come (at least one); none at the
        end."""
    def fetch_async(self, size: int) -> Operation[list[bytes]]: ...
    def close(self) -> None: ...

# -- the pool and what it tells ------------------------------------------------------------------------------------

@final
class Frame:
    """One frame of a stack. `kind`: user, dependency, library, runtime, unknown."""

    @property
    def function(self) -> str | None: ...
    @property
    def file(self) -> str | None: ...
    @property
    def line(self) -> int | None: ...
    @property
    def kind(self) -> str: ...
    @property
    def text(self) -> str: ...

@final
class Site:
    """Where checkouts were acquired, and the record of that line."""

    @property
    def culprit(self) -> str:
        """`process (/srv/app/orders.py:42)`."""
    @property
    def file(self) -> str | None: ...
    @property
    def line(self) -> int | None: ...
    @property
    def function(self) -> str | None: ...
    @property
    def stack(self) -> list[Frame]: ...
    @property
    def acquired(self) -> int: ...
    @property
    def leaked(self) -> int: ...
    @property
    def recovered(self) -> int: ...
    @property
    def force_released(self) -> int: ...

@final
class CheckoutInfo:
    """A live checkout at one moment. Durations in seconds."""

    @property
    def id(self) -> int: ...
    @property
    def pool(self) -> str: ...
    @property
    def site(self) -> Site: ...
    @property
    def label(self) -> str | None: ...
    @property
    def owner(self) -> str | None: ...
    @property
    def held(self) -> float: ...
    @property
    def idle_for(self) -> float | None: ...
    @property
    def executing_for(self) -> float | None: ...
    @property
    def activity(self) -> str: ...
    @property
    def transaction(self) -> str: ...
    @property
    def verdict(self) -> str: ...
    @property
    def suspicion(self) -> str | None:
        """Why it is `suspected`: `unused`, `held_by_pings`."""
    @property
    def reported(self) -> bool: ...
    @property
    def owner_ended(self) -> bool: ...
    @property
    def listening(self) -> bool: ...
    @property
    def expected(self) -> float | None: ...
    @property
    def last_sql(self) -> str | None: ...
    @property
    def last_sql_age(self) -> float | None: ...
    @property
    def backend_pid(self) -> int | None: ...

@final
class Revocation:
    """Why, when and whose: `ForceReleased.revocation`."""

    @property
    def checkout(self) -> int: ...
    @property
    def pool(self) -> str: ...
    @property
    def at(self) -> datetime: ...
    @property
    def reason(self) -> str: ...
    @property
    def site(self) -> Site: ...
    @property
    def held(self) -> float: ...
    @property
    def idle_for(self) -> float | None: ...

@final
class Exhausted:
    """An acquire that timed out: `PoolTimeout.exhausted`."""

    @property
    def diagnosis(self) -> str: ...
    @property
    def phase(self) -> str: ...
    @property
    def waited(self) -> float: ...
    @property
    def max_size(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def ending(self) -> int: ...
    @property
    def holders(self) -> list[CheckoutInfo]: ...
    @property
    def last_error(self) -> str | None: ...

# -- values ---------------------------------------------------------------------------------------------------------

@final
class Formatted:
    """A parameter whose placeholder asks for a format: `t` (text), `b` (binary), `s` (what suits its type). Among the
    parameters of a request, in place of the value."""

    def __new__(cls, value: Any, format: str) -> Formatted: ...

@final
class Transformer:
    """Converts values in a session's encoding, time zone and styles, as they were when it was made. `format` is 0 (text)
    or 1 (binary)."""

    def __new__(cls, parameters: Mapping[str, str] | None = None) -> Transformer:
        """`parameters`: the session's `client_encoding`, `TimeZone`, `DateStyle`, `IntervalStyle`."""
    def load(self, oid: int, format: int, value: bytes | None) -> Any: ...
    def dump(self, object: Any, want: str = "s") -> tuple[int, int, bytes | None]:
        """OID, format and value of a parameter, for a placeholder `%s`, `%t` or `%b`."""
    def set_types(self, types: Sequence[int | str]) -> None:
        """What the columns of the rows are: OIDs, or names of built-in types (`int4`, `timestamptz[]`)."""
    def format_row(self, row: Sequence[Any], format: int) -> bytes:
        """One row for COPY in; in binary without the signature, in text with its end of line."""
    def parse_row(self, row: bytes, format: int) -> tuple[Any, ...]:
        """One row of COPY out; in binary without the signature, in text with its end of line. Without `set_types`, texts
        or bytes."""

def set_json_loads(function: Callable[[Any], Any] | None) -> None: ...
def set_json_dumps(function: Callable[[Any], str | bytes] | None) -> None: ...

@final
class Histogram:
    """Durations, in seconds."""

    @property
    def count(self) -> int: ...
    @property
    def sum(self) -> float: ...
    @property
    def buckets(self) -> list[tuple[float, int]]:
        """(upper bound, how many fell between it and the one before)."""

@final
class PoolStatus:
    """How full a pool is, at one moment."""

    @property
    def name(self) -> str: ...
    @property
    def max_size(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def idle(self) -> int: ...
    @property
    def in_use(self) -> int: ...
    @property
    def returning(self) -> int: ...
    @property
    def connecting(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def ending(self) -> int: ...
    @property
    def closed(self) -> bool: ...
    @property
    def utilization(self) -> float: ...
    @property
    def leaked_now(self) -> int: ...
    def as_dict(self) -> dict[str, Any]: ...

@final
class PoolMetrics:
    """The status and everything that was counted since the pool was made."""

    @property
    def status(self) -> PoolStatus: ...
    @property
    def acquired(self) -> int: ...
    @property
    def released(self) -> int: ...
    @property
    def force_released(self) -> int: ...
    @property
    def lost(self) -> int: ...
    @property
    def active(self) -> int: ...
    @property
    def leaks(self) -> int: ...
    @property
    def leaks_recovered(self) -> int: ...
    @property
    def late_uses(self) -> int: ...
    @property
    def late_releases(self) -> int: ...
    @property
    def dirty_releases(self) -> int: ...
    @property
    def timeouts(self) -> int: ...
    @property
    def created(self) -> int: ...
    @property
    def create_errors(self) -> int: ...
    @property
    def removed(self) -> int: ...
    @property
    def events_dropped(self) -> int: ...
    @property
    def oldest_checkout(self) -> float | None: ...
    @property
    def leak_rate(self) -> float: ...
    @property
    def min_idle(self) -> int: ...
    @property
    def wait_time(self) -> Histogram: ...
    @property
    def use_time(self) -> Histogram: ...
    @property
    def create_time(self) -> Histogram: ...
    @property
    def sweep_time(self) -> Histogram: ...
    def as_dict(self) -> dict[str, Any]: ...

@final
class Event:
    """Something that happened. What does not belong to its kind is None."""

    @property
    def kind(self) -> str:
        """`connect`, `acquire`, `release`, `remove`, `error`, `leak`, `leaks_detected`, `leak_recovered`, `long_running`,
        `force_release`, `late_use`, `late_release`, `dirty_release`, `exhausted`, `utilization`."""
    @property
    def pool(self) -> str: ...
    @property
    def at(self) -> datetime: ...
    @property
    def text(self) -> str:
        """What a log line about it says."""
    @property
    def checkout_id(self) -> int | None: ...
    @property
    def checkout(self) -> CheckoutInfo | None: ...
    @property
    def site(self) -> Site | None: ...
    @property
    def leaks(self) -> list[CheckoutInfo] | None: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def revocation(self) -> Revocation | None: ...
    @property
    def exhausted(self) -> Exhausted | None: ...
    @property
    def held(self) -> float | None: ...
    @property
    def waited(self) -> float | None: ...
    @property
    def took(self) -> float | None: ...
    @property
    def backend_pid(self) -> int | None: ...
    @property
    def error(self) -> tuple[str, str] | None: ...
    @property
    def last_sql(self) -> str | None: ...
    @property
    def utilization(self) -> tuple[int, int] | None: ...

@final
class Subscription:
    """A callback's subscription: it lasts until it is cancelled, or its pool is gone."""

    def cancel(self) -> None:
        """From here on the callback is not called, and runs on no other thread."""
    def __enter__(self) -> Subscription: ...
    def __exit__(self, *args: Any) -> None: ...

@final
class ManualClock:
    """For tests: a clock that stands still until it is moved."""

    def __new__(cls) -> ManualClock: ...
    def advance(self, by: float) -> None:
        """Moves it forward, by seconds."""

@final
class Checkout:
    """`with pool.connection()`."""

    def __enter__(self) -> NativeConnection: ...
    def __exit__(self, exc_type: Any, exc: Any, traceback: Any, /) -> None: ...

@final
class AsyncCheckout:
    """`async with pool.connection()`."""

    def __aenter__(self) -> Any: ...
    def __aexit__(self, exc_type: Any, exc: Any, traceback: Any, /) -> Any: ...
    def _entered(self, connection: NativeConnection) -> None: ...
    def _acquire(self, timeout: float) -> Operation[Any]: ...
    @property
    def _timeout(self) -> float | None: ...

@disjoint_base
class NativePool:
    """The pool: `leakpool.Pool` and `leakpool.AsyncPool` are its subclasses."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...
    @property
    def closed(self) -> bool:
        """True if it is not open."""
    @property
    def name(self) -> str | None: ...
    def options(self) -> list[tuple[str, str]]:
        """The options in force, as texts."""
    def status(self) -> PoolStatus:
        """How full it is. Cheap."""
    def metrics(self) -> PoolMetrics:
        """Everything that is counted."""
    def checkouts(self) -> list[CheckoutInfo]:
        """Every checkout that is held, longest held first."""
    def leaks(self) -> list[CheckoutInfo]:
        """Those of them that are suspected or proven to have leaked."""
    def sites(self) -> list[Site]:
        """Every line that has acquired so far, with its record."""
    def report(self) -> str:
        """The human text: who leaks, grouped by the line that acquired."""
    def openmetrics(self) -> str:
        """The metrics as OpenMetrics text."""
    def subscribe(
        self, callback: Callable[[Event], object], kinds: Sequence[str] | None = None
    ) -> Subscription:
        """Calls `callback(event)` for every event of these kinds (all if there are none), in order, on a thread of the
        library's. The pool keeps it."""
    def flush_events(self, timeout: float = 5.0) -> bool:
        """Waits until every event of before has been told; False if the time is over first."""
    def reconfigure(self, **options: Any) -> None:
        """Changes leak options while the pool runs; what is held is judged by them at once."""
    def force_release(self, checkout: int | CheckoutInfo | NativeConnection) -> CheckoutInfo:
        """Takes a checkout away from its holder, whatever it does: its place is free at once."""
    def assert_no_leaks(self) -> None:
        """For the end of a test: an AssertionError with the report if anything is still held."""
    def _set_up(
        self,
        conninfo: str,
        parameters: dict[str, Any],
        options: dict[str, Any],
        connection_class: type[NativeConnection],
        *,
        plain: bool = False,
        on_check_out: bool = False,
        on_return: bool = False,
        clock: ManualClock | None = None,
    ) -> None: ...
    def _open(self) -> None: ...
    @property
    def _opened(self) -> bool: ...
    def _sizes(self) -> tuple[int, int]: ...
    def _acquire_timeout(self) -> float: ...
    def _counts(self) -> tuple[int, int]: ...
    def _close(self, timeout: float | None = None) -> list[CheckoutInfo]: ...
    def _close_async(self, timeout: float | None = None) -> Operation[list[CheckoutInfo]]: ...
    def _wait(self, size: int, timeout: float) -> bool: ...
    def _wait_async(self, size: int, timeout: float) -> Operation[bool]: ...
    def _resize(self, min_size: int, max_size: int) -> None: ...
    def _drain(self) -> None: ...
    def _getconn(
        self,
        timeout: float | None = None,
        *,
        label: str | None = None,
        expected_duration: float | None = None,
    ) -> Any: ...
    def _getconn_async(
        self,
        timeout: float | None = None,
        *,
        label: str | None = None,
        expected_duration: float | None = None,
    ) -> Operation[Any]: ...
    def _connection(
        self,
        timeout: float | None = None,
        *,
        label: str | None = None,
        expected_duration: float | None = None,
    ) -> Checkout: ...
    def _connection_async(
        self,
        timeout: float | None = None,
        *,
        label: str | None = None,
        expected_duration: float | None = None,
    ) -> AsyncCheckout: ...
    def _putconn(self, conn: object) -> None: ...
    def _idle(self) -> Any: ...
    def _is_new(self, connection: NativeConnection) -> bool: ...
    def _check_own(self, connection: object) -> None: ...

@disjoint_base
class NativeDetector:
    """The detection over another library's pool: `leakpool.LeakDetector` is its subclass."""

    def __new__(cls, name: str, *, clock: ManualClock | None = None, **options: Any) -> Self: ...
    @property
    def name(self) -> str: ...
    @property
    def closed(self) -> bool: ...
    def set_max_size(self, max_size: int) -> None:
        """Tells how many connections the watched pool may have; 0 = not known."""
    def check_out(
        self,
        *,
        label: str | None = None,
        owner: str | None = None,
        expected_duration: float = 0.0,
        waited: float = 0.0,
        reclaim: Callable[[Revocation], object] | None = None,
    ) -> int:
        """A connection was checked out, by the line that calls this. Its owner is the running task, or the thread.
        `reclaim(revocation)` ends the session if it is taken away, on a thread of the library's; it must not hold the
        connection, or nothing is ever proven."""
    def executing(self, checkout: int, sql: str | None = None) -> None:
        """A statement was sent."""
    def idle(self, checkout: int, transaction_status: int = 0) -> None:
        """Its answer is complete; the transaction status after it, as libpq's number."""
    def unknown(self, checkout: int) -> None:
        """Nobody knows what it does from now on, until the next of these."""
    def check_in(self, checkout: int) -> None:
        """The holder gave it back. Raises ForceReleased if it had been taken away: the session is not to be handed out again."""
    def prove(self, checkout: int) -> CheckoutInfo:
        """A finalizer showed that the handle is unreachable."""
    def owner_ended(self, checkout: int) -> None:
        """The task or thread that acquired it has ended: a reason for suspicion, no proof."""
    def force_release(self, checkout: int | CheckoutInfo | NativeConnection) -> CheckoutInfo:
        """Takes a checkout away from its holder, whatever it does."""
    def status(self) -> PoolStatus: ...
    def metrics(self) -> PoolMetrics: ...
    def checkouts(self) -> list[CheckoutInfo]: ...
    def leaks(self) -> list[CheckoutInfo]: ...
    def report(self) -> str: ...
    def openmetrics(self) -> str: ...
    def subscribe(
        self, callback: Callable[[Event], object], kinds: Sequence[str] | None = None
    ) -> Subscription: ...
    def flush_events(self, timeout: float = 5.0) -> bool: ...
    def reconfigure(self, **options: Any) -> None: ...
    def assert_no_leaks(self) -> None: ...
    def _close(self, timeout: float = 0.0) -> list[CheckoutInfo]: ...

def flush_log(timeout: float = 5.0) -> bool:
    """Waits until the log lines of before have reached the logger; False if the time is over first."""

def at_exit() -> None:
    """The interpreter is about to end: no thread of the library's comes back to it."""
