"""The frontier adapters under test, a clock that tests set, and short ways to say common things."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

from crawler.frontier import Frontier
from crawler.frontier.memory import MemoryFrontier
from crawler.frontier.sqlite import SqliteFrontier
from crawler.model import Done, Lease, Leased, Outcome, Request, Robots, Rules, Settlement
from crawler.view import Counts
from tests.contract.redis_frontier import open_redis

START_MS = 1_700_000_000_000


class FakeClock:
    """Milliseconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms

    def wait(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)


Opener = Callable[[Path, Rules, FakeClock], Frontier]


def memory(folder: Path, rules: Rules, clock: FakeClock) -> MemoryFrontier:
    return MemoryFrontier(rules, clock=clock)


def sqlite(folder: Path, rules: Rules, clock: FakeClock) -> SqliteFrontier:
    return SqliteFrontier(folder / "crawl.db", rules, clock=clock)


ADAPTERS: dict[str, Opener] = {"memory": memory, "sqlite": sqlite, "redis": open_redis}
"""Every test of the contract runs with each."""

RULES = Rules(delay_s=0.0, per_host=0, robots=False)
"""The plainest: no politeness, no robots.txt."""

_numbers = itertools.count(1)


def request_id() -> str:
    return f"{next(_numbers):032x}"


def pages(*names: str, host: str = "a.test", **fields: object) -> list[Request]:
    return [Request(url=f"http://{host}/{name}", **fields) for name in names]  # type: ignore[arg-type]


def many(count: int, host: str = "a.test") -> list[Request]:
    return pages(*map(str, range(count)), host=host)


class Crawl:
    """A frontier with its clock; the verbs in short."""

    def __init__(self, frontier: Frontier, clock: FakeClock) -> None:
        self.frontier = frontier
        self.clock = clock

    def add(self, *requests: Request) -> int:
        return self.frontier.add(requests).new

    def ask(self, count: int = 1, worker: str = "w1") -> Leased:
        return self.frontier.lease(count, worker=worker, request_id=request_id())

    def lease(self, count: int = 1, worker: str = "w1") -> list[Lease]:
        return list(self.ask(count, worker).leases)

    def one(self, worker: str = "w1") -> Lease:
        (lease,) = self.lease(1, worker)
        return lease

    def settle(self, outcome: Outcome, *leases: Lease) -> tuple[str, ...]:
        return self.frontier.settle([Settlement(lease.token, outcome) for lease in leases])

    def done(self, *leases: Lease) -> tuple[str, ...]:
        return self.settle(Done(), *leases)

    def drain(self, worker: str = "w1") -> list[str]:
        """Lease and settle one by one until nothing comes."""
        names: list[str] = []
        while leases := self.lease(1, worker):
            names.extend(map(name, leases))
            self.done(*leases)
        return names

    def allow_robots(self, lease: Lease) -> None:
        """What a worker does with a robots.txt lease."""
        assert lease.robots
        origin = lease.request.url.removesuffix("/robots.txt")
        self.frontier.set_host(lease.host, robots=Robots(origin=origin))
        assert self.done(lease) == ()

    @property
    def counts(self) -> Counts:
        return self.frontier.counts()

    def pass_time(self, seconds: float, step_s: float = 5.0) -> None:
        """Let time pass with somebody asking now and then, as in a crawl (rule 6); the asker takes nothing."""
        while seconds > 0:
            self.clock.wait(min(step_s, seconds))
            seconds -= step_s
            self.frontier.lease(0, worker="watcher", request_id=request_id())


def name(lease: Lease) -> str:
    """What comes after the host."""
    return lease.request.url.split("/", 3)[3]


def names(leases: Iterable[Lease]) -> list[str]:
    return [name(lease) for lease in leases]


def balanced(frontier: Frontier) -> bool:
    """The counters add up, those of the hosts too."""
    counts = frontier.counts()
    hosts = frontier.hosts(limit=1_000_000)
    ended = counts.dead + counts.done + counts.dropped
    return counts.added == counts.ready + counts.delayed + counts.leased + counts.suspects + ended and all(
        sum(getattr(host, place) for host in hosts) == getattr(counts, place)
        for place in ("ready", "delayed", "dead", "done")
    )


def make_suspects(crawl: Crawl, *requests: Request, worker: str = "doomed") -> None:
    """Make suspects of these requests: a worker that holds them dies."""
    crawl.add(*requests)
    crawl.lease(len(requests), worker)
    crawl.frontier.forfeit(worker)
