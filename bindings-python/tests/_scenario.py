"""Plays one scenario of tests/scenarios (its README says what the steps mean): the pool, who holds what, what was told;
and what has to be true at the end of every one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
import warnings
from collections.abc import Callable
from typing import Any

import _scenario_places as places
import leakpool
import leakpool.errors
from _scenario_parts import LIMIT, Facts, Failed, Owner, Server, matches, ms, options
from leakpool._leakpool import CheckoutInfo, Event, ManualClock, Revocation, Site


class Runner:
    """What a scenario has in hand."""

    def __init__(self, scenario: Facts) -> None:
        self.scenario = scenario
        self.server = Server(scenario.get("server", "default"))
        self.clock = ManualClock()
        self.name = f"scenario-{self.server.unique}"
        self.held: dict[str, Any] = {}
        #: Handles that were released, for those who use them all the same.
        self.released: dict[str, Any] = {}
        self.ids: dict[str, int] = {}
        self.pids: dict[str, int] = {}
        self.owners: dict[str, Owner] = {}
        self.jobs: dict[str, tuple[str, str, Any]] = {}
        self.kept: list[tuple[str, Any]] = []
        self.log: list[Event] = []
        self.matched: set[int] = set()
        self.sweeps = 0

    async def run(self) -> None:
        conninfo, kwargs = self.server.target()
        given = {"max_size": 10, **options(self.scenario.get("pool", {}))}
        self.close_timeout = float(given.get("close_timeout", 30.0))
        self.pool: leakpool.AsyncPool[Any] = leakpool.AsyncPool(
            conninfo,
            kwargs={**kwargs, "autocommit": True},
            name=self.name,
            clock=self.clock,
            open=False,
            **given,
        )
        await self.pool.open()
        subscription = self.pool.subscribe(self.log.append)
        try:
            for number, step in enumerate(self.scenario["steps"], 1):
                try:
                    await self.step(dict(step))
                except (Failed, KeyError, asyncio.TimeoutError, TimeoutError) as e:
                    told = [self.about(event) for i, event in enumerate(self.log) if i not in self.matched]
                    raise Failed(
                        f"step {number} {json.dumps(step)}\n  {type(e).__name__}: {e}\n"
                        f"  events that no step has expected: {', '.join(told)}\n  {self.pool.status()}"
                    ) from None
        finally:
            try:
                await self.end()
            finally:
                for sql in self.scenario.get("cleanup", []):
                    self.server.sql(self.fill_in(sql))
                subscription.cancel()
                self.server.close()

    async def step(self, step: Facts) -> None:
        step.pop("note", None)
        do = step.pop("do")
        method = getattr(self, f"do_{do}", None)
        if method is None:
            raise Failed(f"there is no step {do}")
        if "as" in step:
            step["name"] = step.pop("as")
        if "in" in step:
            step["place"] = step.pop("in")
        await method(**step)

    async def eventually(self, look: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + LIMIT
        while True:
            try:
                return look()
            except Failed:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.001)

    async def settle(self) -> None:
        """Makes sure that the sweeper has judged everybody at the time that the clock shows, and that all is told."""
        for _ in range(2):
            if self.pool.closed or self.pool.status().in_use == 0:
                break
            rounds = self.pool.metrics().sweep_time.count
            self.pool.reconfigure(leak_threshold=dict(self.pool.options())["leak_threshold"])

            def sweepable(rounds: int = rounds) -> None:
                if self.pool.metrics().sweep_time.count <= rounds and self.pool.status().in_use:
                    raise Failed("the sweeper does not look at the checkouts")

            await self.eventually(sweepable)
        if not self.pool.flush_events(LIMIT):
            raise Failed("events are queued and not told")

    def fill_in(self, sql: str) -> str:
        sql = sql.replace("{unique}", self.server.unique)
        return re.sub(r"\{pid:(\w+)\}", lambda match: str(self.pids[match[1]]), sql)

    # ---- facts ---------------------------------------------------------------------------------------------

    def named(self, checkout: int) -> str:
        found = [name for name, known in self.ids.items() if known == checkout]
        return found[-1] if found else f"checkout {checkout}, which has no name"

    def place(self, site: Site) -> str:
        return places.at(site.line) if site.file == places.__file__ else site.culprit

    def checkout(self, c: CheckoutInfo) -> Facts:
        return {
            "held_ms": ms(c.held),
            "idle_for_ms": ms(c.idle_for),
            "executing_for_ms": ms(c.executing_for),
            "activity": c.activity,
            "transaction": c.transaction,
            "verdict": c.verdict,
            "suspicion": c.suspicion,
            "reported": c.reported,
            "owner_ended": c.owner_ended,
            "listening": c.listening,
            "expected_ms": ms(c.expected),
            "label": c.label,
            "last_sql": c.last_sql,
            "last_sql_age_ms": ms(c.last_sql_age),
            "place": self.place(c.site),
        }

    def revocation(self, r: Revocation) -> Facts:
        return {
            "reason": r.reason,
            "held_ms": ms(r.held),
            "idle_for_ms": ms(r.idle_for),
            "place": self.place(r.site),
        }

    def exhausted(self, e: Any) -> Facts:
        return {
            "diagnosis": e.diagnosis,
            "phase": e.phase,
            "waited_ms": ms(e.waited),
            "max_size": e.max_size,
            "waiting": e.waiting,
            "holders": [self.named(c.id) for c in e.holders],
            "last_error": e.last_error,
        }

    def event(self, event: Event) -> Facts:
        seen: Facts = {"reason": event.reason, "held_ms": ms(event.held), "waited_ms": ms(event.waited)}
        if event.site is not None:
            seen["place"] = self.place(event.site)
        if event.checkout is not None:
            seen |= self.checkout(event.checkout)
        if event.kind == "leak":
            # Why it was told: null for a proven leak.
            seen["suspicion"] = None if event.reason == "proven" else event.reason
        if event.leaks is not None:
            seen |= {"count": len(event.leaks), "leaks": [self.named(c.id) for c in event.leaks]}
        if event.revocation is not None:
            seen |= self.revocation(event.revocation)
        if event.exhausted is not None:
            seen |= self.exhausted(event.exhausted)
        if event.error is not None:
            seen |= {"error": event.error[0], "message": event.error[1]}
        if event.kind == "dirty_release":
            seen |= {"found": event.reason, "last_sql": event.last_sql}
        if event.utilization is not None:
            seen |= {"in_use": event.utilization[0], "max_size": event.utilization[1]}
        return seen

    def about(self, event: Event) -> str:
        return event.kind if event.checkout_id is None else f"{event.kind} of {self.named(event.checkout_id)}"

    def failure(self, e: BaseException) -> Facts:
        if (
            isinstance(e, ValueError)
            and not isinstance(e, leakpool.Error)
            and "was given back before" in str(e)
        ):
            # psycopg_pool's class for it.
            return {"error": "already_released", "message": str(e)}
        if not isinstance(e, leakpool.Error):
            raise e
        seen: Facts = {"error": e.code, "sqlstate": e.sqlstate, "message": str(e)}
        if isinstance(e, leakpool.errors.PoolTimeout) and e.exhausted is not None:
            seen |= self.exhausted(e.exhausted)
        if isinstance(e, leakpool.errors.ForceReleased) and e.revocation is not None:
            seen |= self.revocation(e.revocation)
        return seen

    async def outcome(self, work: Any, told: Callable[[Any], Facts], expect: Facts) -> None:
        """What came of it is what is expected; a success, if nothing is."""
        try:
            seen = told(await asyncio.wait_for(work, LIMIT))
        except (leakpool.Error, ValueError) as e:
            seen = self.failure(e)
        matches({"error": None, **expect}, seen)

    # ---- steps that do something ---------------------------------------------------------------------------

    def acquired(self, name: str, connection: Any) -> Facts:
        self.held[name] = connection
        self.ids[name] = connection.checkout_id
        self.pids[name] = connection.backend_pid
        return {"error": None}

    async def do_acquire(
        self,
        name: str,
        place: str = "elsewhere",
        label: str | None = None,
        expected_ms: int | None = None,
        timeout_ms: int | None = None,
        background: str | None = None,
        expect: Facts | None = None,
    ) -> None:
        wanted: dict[str, Any] = {"label": label, "expected_duration": expected_ms and expected_ms / 1000}
        wanted["timeout"] = None if timeout_ms is None else timeout_ms / 1000 or float("inf")
        owner = Owner(lambda: getattr(places, place)(self.pool, wanted))
        self.owners[name] = owner
        if background is not None:
            self.jobs[background] = ("acquire", name, owner)
            # Until it waits for something.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        else:
            await self.outcome(owner.result, lambda connection: self.acquired(name, connection), expect or {})

    async def do_release(self, name: str, broken: bool = False) -> None:
        connection = self.held.pop(name)
        self.kept = [(on, what) for on, what in self.kept if on != name]
        with contextlib.suppress(leakpool.Error):
            # Late: the events tell.
            connection.release(broken)
        self.released[name] = connection

    async def do_release_broken(self, name: str) -> None:
        await self.do_release(name, broken=True)

    async def do_release_again(self, name: str, expect: Facts | None = None) -> None:
        await self.outcome(self.pool.putconn(self.released[name]), lambda _: {"error": None}, expect or {})

    async def do_forget(self, name: str) -> None:
        self.kept = [(on, what) for on, what in self.kept if on != name]
        with warnings.catch_warnings():
            # The warning is tested elsewhere.
            warnings.simplefilter("ignore", ResourceWarning)
            self.held.pop(name)

    async def _ask(self, connection: Any, sql: str) -> Facts:
        results = await connection.query_async(self.fill_in(sql))
        counts = [result.nrows for result in results]
        first = next((result for result in results if result.nrows), None)
        value = None if first is None else first.raw(0, 0)
        return {"error": None, "rows": sum(counts), "value": None if value is None else value.decode()}

    async def do_query(
        self, on: str, sql: str, background: str | None = None, expect: Facts | None = None
    ) -> None:
        asking = asyncio.ensure_future(self._ask(self.held[on], sql))
        if background is not None:
            self.jobs[background] = ("query", on, asking)
            await asyncio.sleep(0)
        else:
            await self._answered(on, asking, expect or {})

    async def _answered(self, on: str, asking: Any, expect: Facts) -> None:
        failed = False

        def told(seen: Facts) -> Facts:
            return seen

        try:
            await self.outcome(asking, told, expect)
        finally:
            failed = asking.done() and not asking.cancelled() and asking.exception() is not None
        if failed:
            # An error reaches its caller before the session is ready again.
            def ready() -> None:
                for c in self.pool.checkouts():
                    if c.id == self.ids[on] and c.activity == "executing":
                        raise Failed("the session does not become ready again")

            await self.eventually(ready)

    async def do_query_released(self, on: str, sql: str, expect: Facts | None = None) -> None:
        async def ask() -> Facts:
            return await self._ask(self.released[on], sql)

        await self.outcome(ask(), lambda seen: seen, expect or {})

    async def do_copy_in_open(self, on: str, sql: str) -> None:
        self.kept.append((on, await self.held[on].copy_in_async(self.fill_in(sql))))

    async def do_read_nothing(self, on: str, sql: str) -> None:
        self.kept.append((on, await self.held[on].stream_async(self.fill_in(sql))))
        await self.do_server_session_waits(on, "ClientWrite")

    async def do_cancel(self, on: str, expect: Facts | None = None) -> None:
        async def cancel() -> None:
            self.held[on].cancel()

        await self.outcome(cancel(), lambda _: {"error": None}, expect or {})

    async def do_collect(self, name: str) -> None:
        import gc

        await self.do_forget(name)
        gc.collect()
        await asyncio.sleep(0)
        gc.collect()

    async def do_prove(self, name: str, expect: Facts | None = None) -> None:
        import gc

        gc.collect()

        def gone() -> None:
            if any(c.id == self.ids[name] for c in self.pool.checkouts()):
                raise Failed("the finalizer has not proven it")

        await self.eventually(gone)
        if (expect or {}).get("error") is None:
            matches(expect or {}, {"error": None})
        else:
            # A second proof: the finalizer runs once, and what the pool knows of the checkout is asked in another way.
            await self.do_force_release(name, expect)

    async def do_owner_ended(self, name: str, expect: Facts | None = None) -> None:
        live = any(c.id == self.ids[name] for c in self.pool.checkouts())
        owner = self.owners[name]
        owner.ended.set()
        await owner.task
        await asyncio.sleep(0)
        # The end of a task is told by asyncio, and answered by nobody: whether the checkout was known is seen before.
        matches({"error": None, **(expect or {})}, {"error": None if live else "unknown_checkout"})

    async def do_force_release(self, name: str, expect: Facts | None = None) -> None:
        async def take() -> None:
            self.pool.force_release(self.ids[name])

        await self.outcome(take(), lambda _: {"error": None}, expect or {})

    async def do_advance(self, ms: int) -> None:
        self.clock.advance(ms / 1000)

    async def do_await(self, background: str, expect: Facts | None = None) -> None:
        kind, name, job = self.jobs.pop(background)
        if kind == "acquire":
            await self.outcome(job.result, lambda connection: self.acquired(name, connection), expect or {})
        elif kind == "query":
            await self._answered(name, job, expect or {})
        else:
            await self.outcome(job, self._closed, expect or {})

    async def do_cancel_acquire(self, background: str) -> None:
        _, _, owner = self.jobs.pop(background)
        if owner.result.done() and not owner.result.exception():
            owner.result.result().release()
        owner.ended.set()
        owner.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await owner.task

    async def do_reconfigure(self, options: Facts, expect: Facts | None = None) -> None:
        given = globals()["options"](options)

        async def change() -> None:
            self.pool.reconfigure(**given)

        await self.outcome(change(), lambda _: {"error": None}, expect or {})

    async def do_resize(self, max_size: int, expect: Facts | None = None) -> None:
        async def change() -> None:
            self.pool._resize(self.pool.min_size, max_size)

        await self.outcome(change(), lambda _: {"error": None}, expect or {})

    def _closed(self, holders: list[CheckoutInfo]) -> Facts:
        return {"error": None, "holders": [self.named(c.id) for c in holders]}

    async def do_close(
        self, within_ms: int | None = None, background: str | None = None, expect: Facts | None = None
    ) -> None:
        timeout = self.close_timeout if within_ms is None else within_ms / 1000
        closing = asyncio.ensure_future(self.pool.close(timeout))
        if background is not None:
            self.jobs[background] = ("close", "", closing)
            await asyncio.sleep(0)
        else:
            await self.outcome(closing, self._closed, expect or {})

    async def do_sql_admin(self, sql: str, expect: Facts | None = None) -> None:
        matches({"error": None, **(expect or {})}, self.server.sql(self.fill_in(sql)))

    # ---- steps that expect something -----------------------------------------------------------------------

    async def do_server_session_gone(self, of: str) -> None:
        def gone() -> None:
            if self.server.has_session(self.name, self.pids[of]):
                raise Failed(f"the server still has session {self.pids[of]}")

        await self.eventually(gone)

    async def do_server_session_waits(self, of: str, event: str) -> None:
        def waits() -> None:
            seen = self.server.waits(self.pids[of])
            if seen != event:
                raise Failed(f"the server's process waits for {seen}, not for {event}")

        await self.eventually(waits)

    async def do_expect_pending(self, background: str) -> None:
        await self.settle()
        await asyncio.sleep(0)
        kind, _, job = self.jobs[background]
        if (job.result if kind == "acquire" else job).done():
            raise Failed(f"{background} has come to an end")

    async def do_expect_event(self, kind: str, of: str | None = None, fields: Facts | None = None) -> None:
        def look() -> None:
            about = None if of is None else self.ids[of]
            before = [i for i in self.matched if about is not None and self.log[i].checkout_id == about]
            nearly = []
            for i, event in enumerate(list(self.log)):
                if i in self.matched or event.kind != kind or (of is not None and event.checkout_id != about):
                    continue
                try:
                    matches(fields or {}, self.event(event))
                except Failed as e:
                    nearly.append(str(e))
                    continue
                if before and max(before) > i:
                    nearly.append("it came before what was expected before it")
                    continue
                self.matched.add(i)
                return
            raise Failed(f"it came otherwise: {nearly}" if nearly else "it never came")

        await self.eventually(look)

    async def do_expect_no_event(self, kinds: list[str], of: str | None = None) -> None:
        await self.settle()
        for i, event in enumerate(self.log):
            about = of is None or event.checkout_id == self.ids[of]
            if i not in self.matched and event.kind in kinds and about:
                raise Failed(f"it came: {self.about(event)} {self.event(event)}")

    async def do_expect_status(self, fields: Facts) -> None:
        await self.eventually(lambda: matches(fields, self.pool.status().as_dict()))

    async def do_expect_metrics(self, fields: Facts) -> None:
        def look() -> None:
            metrics = self.pool.metrics()
            matches(fields, {**metrics.as_dict(), "oldest_checkout_ms": ms(metrics.oldest_checkout)})

        await self.eventually(look)

    async def do_expect_checkout(self, of: str, fields: Facts) -> None:
        def look() -> None:
            found = [c for c in self.pool.checkouts() if c.id == self.ids[of]]
            if not found:
                raise Failed(f"the checkout of {of} is not live")
            matches(fields, self.checkout(found[0]))

        await self.eventually(look)

    async def do_expect_holders(self, names: list[str]) -> None:
        def look() -> None:
            seen = [self.named(c.id) for c in self.pool.checkouts()]
            if seen != names:
                raise Failed(f"expected {names}, seen {seen}")

        await self.eventually(look)

    async def do_expect_session(
        self, of: str, same_as: str | None = None, other_than: str | None = None
    ) -> None:
        if same_as is not None and self.pids[same_as] != self.pids[of]:
            raise Failed(f"{of} and {same_as} have different sessions")
        if other_than is not None and self.pids[other_than] == self.pids[of]:
            raise Failed(f"{of} has the session of {other_than}")

    async def do_expect_report(
        self,
        contains: list[str] | None = None,
        lacks: list[str] | None = None,
        places: list[str] | None = None,
    ) -> None:
        lines = [globals()["places"].line_of(place) for place in places or []]

        def look() -> None:
            report = self.pool.report()
            for part in [*(contains or []), *lines]:
                if part not in report:
                    raise Failed(f"the report lacks {part!r}:\n{report}")
            for part in lacks or []:
                if part in report:
                    raise Failed(f"the report has {part!r}:\n{report}")

        await self.eventually(look)

    # ---- the end -------------------------------------------------------------------------------------------

    async def end(self) -> None:
        """Gives everything back, closes the pool and checks what is true of every pool that was closed."""
        for kind, _, job in self.jobs.values():
            task = job.task if kind == "acquire" else job
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, leakpool.Error):
                await task
        self.kept.clear()
        for connection in self.held.values():
            with contextlib.suppress(leakpool.Error):
                connection.release()
        for owner in self.owners.values():
            owner.ended.set()
            with contextlib.suppress(asyncio.CancelledError, leakpool.Error):
                await owner.task
            if owner.result.done() and not owner.result.cancelled() and owner.result.exception() is None:
                owner.result.result().release()
        self.held.clear()
        self.released.clear()
        await asyncio.wait_for(self.pool.close(0), LIMIT)
        metrics = self.pool.metrics()
        ended = metrics.released + metrics.force_released + metrics.lost
        if metrics.active or metrics.acquired != ended:
            raise Failed(f"at the end: the books do not balance: {metrics.as_dict()}")
        if metrics.status.leaked_now or metrics.events_dropped:
            raise Failed(f"at the end: flagged or dropped: {metrics.as_dict()}")

        def gone() -> None:
            if self.server.has_session(self.name):
                raise Failed("at the end: the server still has sessions of the pool")

        await self.eventually(gone)
