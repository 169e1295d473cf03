"""Run a plan: as a fleet of processes on a shared store, or, on memory queues, as threads of this one.

    seeder --> frontier <--> N workers --> exchange --> one process a pipeline

The supervisor opens the stores only between forks, for a moment: to look, to forfeit a dead child's leases.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from tempfile import TemporaryFile
from time import monotonic

import msgspec

from crawler import app, child, home
from crawler.error import BackendError, CrawlError, SettingsError
from crawler.fleet import EXIT_SETTINGS, Fleet, Member
from crawler.frontier import Frontier
from crawler.plan import Plan
from crawler.report import Report, Snapshot, memory_bytes, report, unstored
from crawler.seed import SeedReport
from crawler.seed_sources import is_url
from crawler.solo import launch_solo
from crawler.view import Counts, Finish, QueueCounts

TICK_S = 0.25
DRAIN_TICK_S = 0.02
"""Between looks at the queues once only stores are at work: the end should not wait for a tick."""
MEMORY_TICK_S = 1.0
SERVER_TICK_S = BROKER_TICK_S = 1.0
BROKER_DRAIN_TICK_S = 0.1
"""Likewise where each look connects to a server, or to a broker that asks every consumer."""

Tick = Callable[[Snapshot], None]


def launch(plan: Plan, on_tick: Tick = lambda snapshot: None) -> Report:
    """Run to the end, blocking; `on_tick` is called about four times a second. Raises SettingsError when a child
    refuses its settings (it has said why), BackendError when the store cannot be opened at the start."""
    if plan.state == home.MEMORY:
        return launch_solo(plan, on_tick)
    run = _Run(plan, on_tick)
    try:
        return run.run()
    except CrawlError:
        home.take_back(plan.settings, plan.made, own=run.added if _is_there(plan.sources) else 0)
        raise


def _is_there(sources: Sequence[str]) -> bool:
    """Whether they can be read again; what came through a pipe cannot."""
    return all(is_url(source) or os.path.isfile(source) for source in sources)


def _unsettled(name: str) -> bool:
    """A seeder that died is started again with growing waits."""
    return False


class _Run:
    """One run of a fleet."""

    def __init__(self, plan: Plan, on_tick: Tick) -> None:
        self._plan = plan
        self._on_tick = on_tick
        self._began = monotonic()
        self._state = "crawling"
        self._last = Snapshot(counts=Counts())
        self._finish = Finish.RUNNING
        self._peak_bytes = 0
        self._weighed_at = 0.0
        self._lost_to = ""
        self._stored: dict[str, int] = {}
        self._seeded: SeedReport | None = None
        self._seed_report = TemporaryFile()  # noqa: SIM115 (no name, gone with this run; a pipe would hold a long one up)
        self._queues = tuple(plan.pipelines) if plan.chosen is None else plan.chosen
        self._broker = home.is_rabbit(plan.settings.exchange.url)
        self._tick_s = SERVER_TICK_S if home.on_server(plan.state) else TICK_S
        self._counted_at = 0.0
        self._untold: list[str] = []
        """Dead workers that the frontier could not be told of yet."""

    @property
    def added(self) -> int:
        """Pages that its seeds have brought, as far as it knows."""
        return self._seeded.new if self._seeded else 0

    def run(self) -> Report:
        plan = self._plan
        with app.open_exchange(plan.settings, plan.state) as exchange:
            exchange.declare(app.queues(plan.pipelines))
        members = self._members()
        before = self._begin()
        with Fleet(members, grace_s=plan.settings.worker.grace_s) as fleet:
            try:
                self._crawl(fleet)
                self._store(fleet)
            finally:
                for role in ("worker", "seeder", "consumer"):
                    fleet.stop(role)
                while fleet.pids():
                    fleet.wait(TICK_S)
                self._seed_report.close()
        self._look(fleet, fresh=True)
        self._on_tick(self._last)
        return report(
            before,
            self._last,
            finish=self._finish,
            interrupted=signal.SIGINT in fleet.signals,
            peak_rss_bytes=self._peak_bytes,
            outputs=plan.outputs,
            state=plan.state,
            lost_to=self._lost_to,
            queues=self._queues,
        )

    def _members(self) -> list[Member]:
        plan, parent = self._plan, os.getpid()
        members = [
            Member(role="worker", name=f"w{number}", main=partial(child.work, plan, parent), died=self._worker_died)
            for number in range(1, plan.workers + 1)
        ]
        for queue in self._queues:
            table = plan.pipelines[queue]
            main = partial(child.store, plan, parent, queue, table)
            for number in range(1, plan.copies + 1):
                died = partial(self._consumer_died, queue)
                members.append(Member(role="consumer", name=f"{queue}{number}", main=main, died=died))
        if plan.sources and not child.is_short(plan.sources):
            again = _is_there(plan.sources)  # else the crawl is then incomplete
            main = partial(child.seeds, plan, parent, self._seed_report.fileno())
            members.append(Member(role="seeder", name="seeder", main=main, died=_unsettled, again=again))
        return members

    def _begin(self) -> Counts:
        """What the crawl had before; seeds that are few go in now."""
        plan = self._plan
        with app.open_frontier(plan.settings, plan.state, name=plan.name) as frontier:
            before = frontier.counts()
            if plan.revisit and plan.settings.revisit.mode != "lastmod":
                from crawler.seed_history import schedule  # only who revisits pays for it

                schedule(frontier, app.history_path(plan.state), plan.settings.revisit)
            if plan.sources and child.is_short(plan.sources):
                self._seeded = child.add_seeds(plan, frontier)
            return before

    def _crawl(self, fleet: Fleet) -> None:
        """Until every worker has ended by itself (the crawl is over) or was told to."""
        time_max_s = self._plan.settings.crawl.time_max_s
        while fleet.running("worker") or fleet.alive("worker") or self._goes_on(fleet):
            self._wait(fleet, TICK_S)
            if fleet.signals:
                self._drain(fleet, signal.Signals(fleet.signals[0]).name)
            elif time_max_s and monotonic() - self._began > time_max_s:
                self._drain(fleet, f"limit: {time_max_s:g} s")
        fleet.stop("seeder")

    def _goes_on(self, fleet: Fleet) -> bool:
        """Without workers at work: whether there is something to wait for."""
        if fleet.signals or self._state != "crawling":
            return False
        if not self._plan.workers:  # stores alone: until the crawl that others work on is over
            return not self._plan.until_finished or self._finish is Finish.RUNNING
        # A finished crawl's workers may have ended before the seeder got to its first page.
        self._look(fleet)
        if self._finish is Finish.RUNNING:
            fleet.revive("worker")
            return True
        return self._finish is not Finish.LIMIT and bool(fleet.running("seeder"))

    def _drain(self, fleet: Fleet, why: str) -> None:
        if self._state == "crawling":
            self._state, self._lost_to = "draining", why
            fleet.stop("worker")
            fleet.stop("seeder")

    def _store(self, fleet: Fleet) -> None:
        """Until the queues are empty. After a signal the stores have the grace time for it; the rest keeps."""
        self._state = "storing"
        self._look(fleet, fresh=True)
        deadline = monotonic() + self._plan.settings.worker.grace_s
        while fleet.running("consumer") and unstored(self._last, self._queues):
            if fleet.signals and monotonic() > deadline:
                break
            self._wait(fleet, BROKER_DRAIN_TICK_S if self._broker else DRAIN_TICK_S)
            self._look(fleet)
        fleet.stop("consumer")

    def _wait(self, fleet: Fleet, timeout_s: float) -> None:
        """One turn: start, sleep, reap; look and tell when a tick is due."""
        for exit_ in fleet.wait(timeout_s):
            if exit_.code == EXIT_SETTINGS:
                raise SettingsError(f"{exit_.member.name} refused its settings; the reason stands above")
            if exit_.member.role == "seeder" and exit_.code == 0:
                self._seed_report.seek(0)
                self._seeded = msgspec.json.decode(self._seed_report.read(), type=SeedReport)
        if len(fleet.signals) > 1:
            fleet.kill()
        if monotonic() - self._began - self._last.seconds >= self._tick_s:
            self._look(fleet)
            self._on_tick(self._last)

    def _look(self, fleet: Fleet, *, fresh: bool = False) -> None:
        """A new snapshot; while the store cannot be read, the old one stays. `fresh`: with the queues as they are now,
        though a broker was asked a moment ago."""
        plan, now = self._plan, monotonic()
        if now - self._weighed_at >= MEMORY_TICK_S:
            self._weighed_at = now
            self._peak_bytes = max(self._peak_bytes, memory_bytes((os.getpid(), *fleet.pids())))
        try:
            with app.open_frontier(plan.settings, plan.state, name=plan.name) as frontier:
                self._forfeit(frontier)
                counts, workers, self._finish = frontier.counts(), frontier.workers(), frontier.finished()
            queues = self._count(now, fresh)
        except BackendError:
            return
        self._last = Snapshot(
            counts=counts,
            queues=queues,
            workers=tuple(row for row in workers if row.name in fleet.names()),
            seconds=now - self._began,
            state=self._state,
            restarts=fleet.restarts,
            seeded=self._seeded,
        )

    def _count(self, now: float, fresh: bool) -> dict[str, QueueCounts]:
        tick_s = BROKER_DRAIN_TICK_S if self._state == "storing" else BROKER_TICK_S
        if self._broker and not fresh and now - self._counted_at < tick_s:
            return self._last.queues
        with app.open_exchange(self._plan.settings, self._plan.state) as exchange:
            queues = exchange.counts()
        self._counted_at = monotonic()
        return queues

    def _worker_died(self, name: str) -> bool:
        plan = self._plan
        self._untold.append(name)
        with suppress(BackendError), app.open_frontier(plan.settings, plan.state, name=plan.name) as frontier:
            settled = any(row.name == name and row.pages for row in frontier.workers())
            self._forfeit(frontier)
            return settled
        return False  # the store is away: it is told at a later look

    def _forfeit(self, frontier: Frontier) -> None:
        while self._untold:
            frontier.forfeit(self._untold[0])
            self._untold.pop(0)

    def _consumer_died(self, queue: str, name: str) -> bool:
        plan = self._plan
        ended = QueueCounts()
        with suppress(BackendError), app.open_exchange(plan.settings, plan.state) as exchange:
            exchange.forfeit(name)
            ended = exchange.counts().get(queue, ended)
        # A broker counts for the living alone: what the dead one did stands in the last look.
        done = max(ended.done, self._last.queues.get(queue, ended).done)
        before, self._stored[queue] = self._stored.get(queue, 0), done
        return 0 < done != before
