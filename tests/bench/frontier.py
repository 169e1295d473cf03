"""What the frontier adapters cost: add, lease, fetched and settle, with little and with much pending.

python -m tests.bench.frontier [--pending 10000,1000000] [--hosts 1000] [--adapter sqlite]
"""

from __future__ import annotations

import argparse
import secrets
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from crawler.frontier import Frontier
from crawler.frontier.memory import MemoryFrontier
from crawler.frontier.sqlite import SqliteFrontier
from crawler.model import Done, Request, Rules, Settlement
from tests.bench.stopwatch import Stopwatch

RULES = Rules(robots=False, delay_s=0.0, per_host=0)
ADAPTERS = ("memory", "sqlite")
ADD = 1_000
BATCHES = (1, 64, 200)
PAGES = 20_000
"""Pages taken through lease, fetched and settle at each batch size; a tenth of it one by one."""


def open_frontier(adapter: str, home: Path) -> Frontier:
    return MemoryFrontier(RULES) if adapter == "memory" else SqliteFrontier(home / "state.db", RULES)


def requests(count: int, hosts: int, site: str) -> Iterator[list[Request]]:
    """Distinct pages in batches, spread over the hosts. Another `site` gives others: no cache knows them."""
    for begin in range(0, count, ADD):
        span = range(begin, min(begin + ADD, count))
        yield [Request(url=f"http://h{number % hosts}.{site}.example/shop/product/{number}") for number in span]


def fill(frontier: Frontier, count: int, hosts: int, site: str) -> None:
    watch = Stopwatch(f"add, batch {ADD:,}", count)
    for batch in requests(count, hosts, site):
        watch.start()
        added = frontier.add(batch)
        watch.stop()
        if added.new != len(batch):
            raise RuntimeError(f"{added} for {len(batch)} new requests")
    print(watch)
    again = next(iter(requests(ADD, hosts, site)))
    with Stopwatch("add, all known", 20 * ADD):
        for _ in range(20):
            frontier.add(again)


def cycle(frontier: Frontier, pages: int, batch: int) -> None:
    """Take `pages` pages to their end, `batch` at a time."""
    lease = Stopwatch(f"lease, batch {batch}", pages)
    fetched = Stopwatch(f"fetched, batch {batch}", pages)
    settle = Stopwatch(f"settle, batch {batch}", pages)
    left = pages
    while left > 0:
        lease.start()
        leases = frontier.lease(min(batch, left), worker="bench/1", request_id=secrets.token_hex(16)).leases
        lease.stop()
        if not leases:
            raise RuntimeError(f"nothing to lease with {left} pages to go: {frontier.counts()}")
        tokens = [each.token for each in leases]
        fetched.start()
        frontier.fetched(tokens)
        fetched.stop()
        settle.start()
        stale = frontier.settle([Settlement(token, Done(bytes=1_000, items=1)) for token in tokens])
        settle.stop()
        if stale:
            raise RuntimeError(f"stale: {stale}")
        left -= len(leases)
    total = lease.wall_s + fetched.wall_s + settle.wall_s
    print(lease, fetched, settle, f"  all three, batch {batch:<18} {pages / total:>12,.0f} /s", sep="\n", flush=True)


def reads(frontier: Frontier) -> None:
    with Stopwatch("counts", 20):
        for _ in range(20):
            frontier.counts()
    with Stopwatch("finished", 20):
        for _ in range(20):
            frontier.finished()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.frontier", description="Cost of the frontier adapters."
    )
    parser.add_argument("--pending", default="10000,1000000", help="requests pending, a list (default %(default)s)")
    parser.add_argument("--hosts", type=int, default=1_000, help="hosts they are spread over (default %(default)s)")
    parser.add_argument("--adapter", choices=ADAPTERS, action="append", help="only this one")
    given = parser.parse_args()
    for adapter in given.adapter or ADAPTERS:
        for pending in map(int, given.pending.split(",")):
            print(f"{adapter}, {pending:,} pending on {given.hosts:,} hosts")
            with tempfile.TemporaryDirectory(prefix="bench-") as home, open_frontier(adapter, Path(home)) as frontier:
                began = time.perf_counter()
                fill(frontier, pending, given.hosts, f"{adapter}{pending}")
                for batch in BATCHES:
                    cycle(frontier, min(PAGES, pending // 4) // (10 if batch == 1 else 1), batch)
                reads(frontier)
                print(f"  {time.perf_counter() - began:.1f} s in all", flush=True)


if __name__ == "__main__":
    main()
