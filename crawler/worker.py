"""The worker: lease, fetch, parse, commit, in bounded stages of one asyncio loop.

    lease loop --(at most `room` leases)--> one task a lease: robots? fetch, parse --> commit loop: publish, add, settle

The lease loop keeps just enough leases to feed the fetch slots. A task ends its lease with an `Ended`, which waits for
a batch to fill, for `flush_s`, or until nothing else is in flight. The keeper's thread renews; what is lost is
cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Coroutine, Sequence
from functools import partial
from time import monotonic, time

from crawler.caller import Caller
from crawler.commit import Committer, Ended
from crawler.exchange import Exchange
from crawler.frontier import LEASE_MAX, Frontier
from crawler.hours import HostHours, Hours
from crawler.keeper import Keeper
from crawler.known import Known
from crawler.model import Lease, Retry
from crawler.settings import Settings
from crawler.view import Finish
from crawler.visit import Visitor

log = logging.getLogger("crawler.worker")

IDLE_MIN_S = 0.01
OVER_S = 1.0
"""While something becomes due by time, so often is asked whether the crawl is over: it may be a later visit, for which
it does not wait."""
CLOSED_OVER_S = 30.0
"""Outside the crawl's hours it is asked so often: nobody else is at work then."""
CLOSED_PAUSE_S = 60.0
"""A host outside its own hours is paused for so long at most: settings may change before it opens."""
IDLE_MAX_S = 0.25
"""An idle worker asks again after so long at least and at most: other workers' finds may be ready."""
OPEN_PER_SLOT = 2
"""Leases taken per fetch slot when politeness does not count requests in flight: one is fetched, one waits."""
REPORT_S = 0.25
"""Without a delay, the end of a fetch is reported so much later, if its page has not been settled by then."""
UNSETTLED_BATCHES = 4
"""Batches that may wait for a slow store before leasing stops."""


class Worker:
    """One process's share of the crawl."""

    def __init__(
        self,
        name: str,
        frontier: Frontier,
        exchange: Exchange,
        visitor: Visitor,
        settings: Settings,
        call: Caller,
        *,
        until_finished: bool,
    ) -> None:
        """`until_finished`: `run` returns when the crawl is over, not only when stopped."""
        self._name = name
        self._frontier = frontier
        self._settings = settings.worker
        self._until_finished = until_finished
        self._visitor = visitor
        politeness = settings.politeness
        self._hours = Hours(politeness.hours, politeness.zone)
        self._host_hours = HostHours(politeness)
        self._delayed = politeness.delay_s > 0
        self._counted = self._delayed or politeness.per_host > 0
        self._open_max = self._settings.concurrency * (1 if self._counted else OPEN_PER_SLOT)
        self._keeper = Keeper(frontier.renew, settings.frontier.lease_s, self._on_lost)
        known = Known(self._settings.known_max)
        self._committer = Committer(frontier, exchange, self._keeper, known, spider=visitor.spider_name)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._started: set[str] = set()
        self._ended: list[Ended] = []
        self._fetched: list[tuple[str, float]] = []
        self._slots = asyncio.Semaphore(self._settings.concurrency)
        self._changed = asyncio.Event()
        self._ready_to_commit = asyncio.Event()
        self._report = asyncio.Event()
        self._scarce = asyncio.Event()  # the last lease call brought less than it asked for
        self._stopping = asyncio.Event()
        self._call = call
        self._asked_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Work until stopped, or until the crawl is over. Raises nothing that a server's absence causes."""
        self._loop = asyncio.get_running_loop()
        self._keeper.start()
        self._frontier.listen(self._on_ready)
        loops = [asyncio.create_task(self._commit_loop()), asyncio.create_task(self._report_loop())]
        try:
            async with self._visitor:
                await self._guarded(self._lease_loop(), loops)
                await self._guarded(self._drain(), loops)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            self._keeper.stop()
            self._call.close()

    def stop(self) -> None:
        """Drain: lease no more, finish what is in flight within `grace_s`, release the rest. Loop thread only."""
        self._stopping.set()
        self._changed.set()

    async def _guarded(self, work: Coroutine[None, None, None], loops: list[asyncio.Task[None]]) -> None:
        """Await `work`, unless one of the loops beside it ends first: then raise what ended it."""
        task = asyncio.create_task(work)
        await asyncio.wait([task, *loops], return_when=asyncio.FIRST_COMPLETED)
        for loop in loops:
            if loop.done():
                task.cancel()
                loop.result()
        await task

    # -- lease ---------------------------------------------------------------------------------------------------

    async def _lease_loop(self) -> None:
        idle_s = IDLE_MIN_S
        refill = max(1, self._open_max // 4)
        while not self._stopping.is_set():
            self._changed.clear()
            room = self._room()
            if room < refill and self._tasks:
                await self._changed.wait()
                continue
            given, due_s = await self._lease(max(1, room))
            if given:
                idle_s = IDLE_MIN_S
                continue
            if self._until_finished and not self._busy() and self._may_be_over(due_s) and await self._is_over():
                return
            await _wait(self._changed, min(idle_s, IDLE_MAX_S if due_s is None else max(due_s, 0.001)))
            idle_s = min(idle_s * 2, IDLE_MAX_S)

    def _room(self) -> int:
        unsettled_max = self._open_max + UNSETTLED_BATCHES * self._settings.batch_max
        unsettled = len(self._tasks) + len(self._ended)
        return min(LEASE_MAX, self._open_max - len(self._tasks), unsettled_max - unsettled)

    def _may_be_over(self, due_s: float | None) -> bool:
        """Whether it is worth asking. While anything becomes due soon (a lease or a producer that may lapse is such a
        thing) it is not over."""
        if due_s is None:
            return True
        now = monotonic()
        closed = self._hours.wait_s(int(time() * 1000)) > 0
        if due_s <= OVER_S or now - self._asked_at < (CLOSED_OVER_S if closed else OVER_S):
            return False
        self._asked_at = now
        return True

    def _busy(self) -> bool:
        return bool(self._tasks or self._ended or len(self._keeper))

    async def _lease(self, count: int) -> tuple[int, float | None]:
        """Lease up to `count` and start a task for each; a server's absence is waited for with the same request_id."""
        request_id = secrets.token_hex(16)
        asked_s = monotonic()
        leased = await self._call(lambda: self._frontier.lease(count, worker=self._name, request_id=request_id))
        if len(leased.leases) < count:
            self._scarce.set()
        else:
            self._scarce.clear()
        self._keeper.hold((lease.token for lease in leased.leases), asked_s)
        for lease in await self._of_open_hosts(leased.leases) if self._host_hours.any_own else leased.leases:
            self._tasks[lease.token] = asyncio.create_task(self._work(lease))
        return len(leased.leases), leased.next_due_s

    async def _of_open_hosts(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        """Those of hosts that may be asked at this hour. The others are given back, after their hosts were paused, so
        that nobody leases them soon."""
        now_ms = int(time() * 1000)
        shut = {lease.host: wait_s for lease in leases if (wait_s := self._host_hours.own_s(lease.host, now_ms))}
        if not shut:
            return leases
        tokens = [lease.token for lease in leases if lease.host in shut]
        await self._call(partial(self._leave, shut, tokens))
        self._keeper.drop(tokens)
        return [lease for lease in leases if self._keeper.holds(lease.token)]

    def _leave(self, hosts: dict[str, float], tokens: Sequence[str]) -> None:
        """A thread of the pool."""
        for name, wait_s in hosts.items():
            # What it asked for itself, in an answer to another worker just now, stands.
            pause_s = max(min(wait_s, CLOSED_PAUSE_S), self._frontier.host(name).paused_s)
            self._frontier.set_host(name, pause_s=pause_s)
        self._frontier.release(tokens)

    async def _is_over(self) -> bool:
        return await self._call(self._frontier.finished) is not Finish.RUNNING

    # -- work ----------------------------------------------------------------------------------------------------

    async def _work(self, lease: Lease) -> None:
        """One lease from fetch to `Ended`. Cancelled when the lease is lost or the grace time is over."""
        hurry = False
        try:
            async with self._slots:
                self._started.add(lease.token)
                ended = await self._visitor.visit(lease, self._fetch_ended)
            self._ended.append(ended)
            # The others who ask this host should know soon that it wants to be left alone.
            hurry = isinstance(ended.outcome, Retry) and ended.outcome.blame == "host"
        except Exception:
            log.exception("%s: given up, another worker will have it when the lease lapses", lease.request.url)
            self._keeper.drop((lease.token,))
        finally:
            del self._tasks[lease.token]
            self._started.discard(lease.token)
            self._changed.set()
            if hurry or len(self._ended) >= self._settings.batch_max or not self._tasks:
                self._ready_to_commit.set()

    async def _fetch_ended(self, token: str, seconds: float) -> None:
        """The host's delay runs from here, so it is told before the page is parsed."""
        if self._counted:
            self._fetched.append((token, seconds))
            self._report.set()
            await asyncio.sleep(0)

    def _on_ready(self) -> None:
        """Some thread: requests became ready where nothing was."""
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._changed.set)

    def _on_lost(self, tokens: tuple[str, ...]) -> None:
        """Keeper's thread: stop working on what somebody else may hold now."""
        assert self._loop is not None
        for token in tokens:
            self._loop.call_soon_threadsafe(self._cancel, token)

    def _cancel(self, token: str) -> None:
        if task := self._tasks.get(token):
            task.cancel()

    # -- report and commit ---------------------------------------------------------------------------------------

    async def _report_loop(self) -> None:
        """With a delay at once, for it runs from the report. Without one the host is merely free again, which settling
        its page says too: while there is enough else to lease, only what was not settled in time is reported."""
        while True:
            await self._report.wait()
            self._report.clear()
            ended, self._fetched = self._fetched, []
            if not self._delayed:
                await _wait(self._scarce, REPORT_S)
                ended = [one for one in ended if self._keeper.holds(one[0])]
            if ended:
                tokens, seconds = zip(*ended, strict=True)
                await self._call(partial(self._frontier.fetched, tokens, seconds))

    async def _commit_loop(self) -> None:
        while True:
            await _wait(self._ready_to_commit, self._settings.flush_s)
            self._ready_to_commit.clear()
            if not self._ended:
                continue
            batch = self._ended[: self._settings.batch_max]
            await self._call(partial(self._committer.commit, batch))
            del self._ended[: len(batch)]
            if len(self._ended) >= self._settings.batch_max or (self._ended and not self._tasks):
                self._ready_to_commit.set()
            self._changed.set()

    async def _drain(self) -> None:
        """Release what has not begun, finish the rest within the grace time, cut off and release what is left, commit
        what ended."""
        await self._give_back([token for token in self._tasks if token not in self._started])
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=self._settings.grace_s)
        cut_off = list(self._tasks)
        if cut_off:  # they count as asked: the host's delay, which it may have in any crawl, starts; then it is free
            await self._call(partial(self._frontier.fetched, cut_off))
        await self._give_back(cut_off)
        while self._ended:
            self._ready_to_commit.set()
            self._changed.clear()
            await self._changed.wait()

    async def _give_back(self, tokens: list[str]) -> None:
        """Cancel the work on these leases and release those that did not end just now."""
        tasks = [self._tasks[token] for token in tokens if token in self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        ended = {one.lease.token for one in self._ended}
        unfinished = [token for token in tokens if token not in ended and self._keeper.holds(token)]
        if unfinished:
            await self._call(partial(self._frontier.release, unfinished))
            self._keeper.drop(unfinished)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Until it is set, at most so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
