"""What the Redis frontier costs, in time and memory, beside scrapy-redis's queues and duplicate filter.

python -m tests.bench.redis                 up to 10 million URLs; writes the README's table
python -m tests.bench.redis --small         up to 100,000, in a minute or two; prints only

Each case has a server of its own, with the configuration that is shipped (appendfsync everysec).
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path

from crawler.codec import encode_request
from crawler.frontier.redis import RedisFrontier
from crawler.frontier.redis.address import parse
from crawler.frontier.redis.wire import Wire, connect
from crawler.model import Done, Request, Rules, Settlement
from crawler.tables import RedisTable
from tests.bench import redis_table, table
from tests.bench.contestants import CHECKOUT, RIVALS
from tests.bench.redis_probe import Cost, Meter, Probe
from tests.bench.redis_table import Memory, Result
from tests.servers.redis import RedisServer

RULES = Rules(robots=False, delay_s=0.0, per_host=0)
OPTIONS = {"appendfsync": "everysec"}
BATCH = 200
THREADS = 2
"""Calls at a time, of one process: while the server works on one, the next is made ready."""
BATCHES = (1, 64, 200)
PAGES = 40_000
"""Taken to their end at each batch size; a tenth of it one by one."""
BLOCK = 4_000
"""Pages between two looks at the server."""
SMALL = 100_000


@dataclass(frozen=True)
class Case:
    urls: int
    hosts: int
    batches: tuple[int, ...] = BATCHES
    """Empty: memory is measured. What is kept of calls, so that they can be repeated, would be counted otherwise."""


def cases(most: int) -> list[Case]:
    """With at most so many URLs: from 10,000 pending up, and from one host to 100,000, also with 100 URLs on each."""
    some = min(most, 1_000_000)
    wanted = [Case(10_000, 1_000), Case(some, 1), Case(some, 1_000), Case(some, SMALL, (BATCH,))]
    wanted += [Case(some, hosts, ()) for hosts in (1, some // 100, SMALL)]
    return [*wanted, Case(most, 1_000), Case(most, 1, ())] if most > some else wanted


@dataclass
class Bench:
    """One case on one server."""

    case: Case
    probe: Probe
    wire: Wire
    frontier: RedisFrontier
    threads: ThreadPoolExecutor
    urls: Iterator[Request] = field(init=False)
    slow: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        hosts = self.case.hosts
        self.urls = (Request(url=f"http://h{number % hosts}.example/shop/product/{number}") for number in count())

    def meter(self, name: str) -> Meter:
        return Meter(name, self.probe, self.wire, slow=self.slow)

    def cost(self, meter: Meter, batch: int) -> Cost:
        found = meter.cost(hosts=self.case.hosts, pending=self.case.urls, batch=batch)
        print(found, flush=True)
        return found

    def put(self, meter: Meter, number: int, batch: int) -> None:
        """That many new ones."""
        while number > 0:
            block = [list(islice(self.urls, size)) for size in sizes(min(number, max(BLOCK, batch)), batch)]
            number -= sum(map(len, block))
            with meter.running(sum(map(len, block))):
                new = sum(added.new for added in self.threads.map(self.frontier.add, block))
            if new != sum(map(len, block)):
                raise RuntimeError(f"{new} new of {sum(map(len, block))}")

    def take(self, meter: Meter, number: int, batch: int) -> None:
        """Lease and settle that many: while one batch is settled the next is leased, as a worker does it."""
        settling: list[Future[tuple[str, ...]]] = []
        with meter.running(number):
            for size in sizes(number, batch):
                leases = self.frontier.lease(size, worker="bench/1", request_id=secrets.token_hex(16)).leases
                outcomes = [Settlement(one.token, Done(bytes=1_000, items=1)) for one in leases]
                settling = [*settling[-1:], self.threads.submit(self.frontier.settle, outcomes)]
                stale = settling[0].result()
                if len(leases) != size or stale:
                    raise RuntimeError(f"{len(leases)} leases for {size}, {len(stale)} stale")
            if settling and settling[-1].result():
                raise RuntimeError("stale tokens")

    def cycle(self, batch: int, pages: int) -> list[Cost]:
        """Take pages, and put as many new ones in their place: what is pending stays the same."""
        take, put = self.meter("lease and settle"), self.meter("add")
        block = min(BLOCK, self.case.urls // 4)
        for size in sizes(pages, block):
            self.take(take, size, batch)
            self.put(put, size, batch)
        costs = [self.cost(take, batch)]
        return costs if batch == BATCH else [*costs, self.cost(put, batch)]


def sizes(number: int, batch: int) -> list[int]:
    """A number in batches."""
    return [min(batch, number - begin) for begin in range(0, number, batch)]


def open_frontier(server: RedisServer) -> tuple[Wire, RedisFrontier]:
    settings = RedisTable()
    wire = connect(parse(server.url, settings), settings)
    return wire, RedisFrontier(wire, RULES, name="bench")


def warm_up(server: RedisServer, probe: Probe) -> None:
    """Every script is loaded and every connection has been used; the keys are gone again."""
    wire, frontier = open_frontier(server)
    with frontier, ThreadPoolExecutor(THREADS) as threads:
        bench = Bench(Case(4 * BATCH, 1), probe, wire, frontier, threads)
        bench.put(bench.meter(""), 4 * BATCH, BATCH)
        bench.take(bench.meter(""), BATCH, BATCH)
        frontier.purge()
    server.flush()
    probe.slow()


def run(case: Case, pages: int) -> Result:
    with RedisServer(OPTIONS) as server:
        probe = Probe(server)
        warm_up(server, probe)
        wire, frontier = open_frontier(server)
        with frontier, ThreadPoolExecutor(THREADS) as threads:
            bench = Bench(case, probe, wire, frontier, threads)
            empty = probe.used_bytes()
            fill = bench.meter("add")
            bench.put(fill, case.urls, BATCH)
            costs = [bench.cost(fill, BATCH)]
            for batch in case.batches:
                costs += bench.cycle(batch, pages // (10 if batch == 1 else 1))
            memory = None if case.batches else weigh(bench, empty)
    print(f"  longest: {redis_table.longest([bench.slow])}", flush=True)
    return Result(costs, memory, bench.slow)


def weigh(bench: Bench, empty: int) -> Memory:
    """What is pending, by purging it, and what is seen."""
    case, full = bench.case, bench.probe.used_bytes()
    purge = bench.meter("purge")
    with purge.running(case.urls):
        purged = bench.frontier.purge()
    bench.cost(purge, BATCH)
    if purged != case.urls:
        raise RuntimeError(f"{purged} were pending, not {case.urls}")
    memory = Memory(case.hosts, case.urls, payload(case), empty, full, bench.probe.used_bytes())
    print(memory, flush=True)
    return memory


def payload(case: Case) -> float:
    """Mean bytes of a request as it is stored."""
    step = max(1, case.urls // 10_000)
    numbers = range(0, case.urls, step)
    return sum(
        len(encode_request(Request(url=f"http://h{n % case.hosts}.example/shop/product/{n}"))) for n in numbers
    ) / len(numbers)


def rival(python: Path, operations: int, seen: int) -> redis_table.Rival:
    """scrapy-redis on a server of the same kind."""
    with RedisServer(OPTIONS) as server:
        script = RIVALS / "queue_of_scrapy_redis.py"
        command = [str(python), str(script), server.url_for("admin"), str(operations), str(seen)]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    costs = [Cost(**row, trips=row["units"], pending=operations, hosts=1_000) for row in answer["rows"]]
    for cost in costs:
        print(cost, flush=True)
    found = redis_table.Rival(costs, answer["seen"], answer["seen_bytes"], answer["pending_bytes"])
    print(found, flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.redis", description="Cost of the Redis frontier.")
    parser.add_argument("--small", action="store_true", help="at most 100,000 URLs, and print only")
    parser.add_argument("--most", type=int, default=10_000_000, help="most URLs in a case (default %(default)s)")
    parser.add_argument("--hosts", type=int, help="only cases with so many hosts; print only")
    parser.add_argument("--memory", action="store_true", help="only cases of memory; print only")
    python = Path(f"{sys.prefix}-bench") / "bin" / "python"
    parser.add_argument("--rivals", type=Path, default=python, help="that has scrapy-redis (default %(default)s)")
    given = parser.parse_args()
    if not given.rivals.exists():
        print(f"no {given.rivals}: run `make bench`, or name an interpreter with --rivals", file=sys.stderr)
        return 2
    most = SMALL if given.small else given.most
    results = []
    for case in cases(most):
        if given.hosts in (None, case.hosts) and not (given.memory and case.batches):
            print(f"{case.urls:,} URLs on {case.hosts:,} hosts", flush=True)
            results.append(run(case, PAGES // (4 if given.small else 1)))
    print("scrapy-redis", flush=True)
    beside = rival(given.rivals, 5_000 if given.small else 20_000, min(most, 1_000_000))
    text = redis_table.render(results, beside, redis_table.caption(given.rivals))
    print(text)
    if not (given.small or given.hosts or given.memory):
        readme = CHECKOUT / "README.md"
        readme.write_text(table.insert(readme.read_text(encoding="utf-8"), text, "redis"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
