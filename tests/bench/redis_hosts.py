"""How well workers on one Redis keep many hosts busy, politely, as seen at the hosts; and what it costs in trips.

python -m tests.bench.redis_hosts           500 hosts, 4 workers, delay 1 s: three minutes; writes the README's table
python -m tests.bench.redis_hosts --hosts 100 --only polite

With a delay every host answers after `FETCH_S`. While all are busy some hosts are added and some paused ones freed,
and once more when nothing else is left. Without a delay the same site stands behind nginx.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from crawler import home
from crawler.error import CrawlError
from crawler.frontier import Frontier
from crawler.model import Request
from crawler.settings import Settings, load
from tests.bench import hosts_table, table
from tests.bench.contestants import CHECKOUT
from tests.bench.hosts_table import Polite, Starts, Trips
from tests.servers.redis import RedisServer
from tests.sites.many import addresses, answering, export
from tests.sites.nginx import Nginx
from tests.sites.stamp import StampServer

NAME = "hosts"
FETCH_S = 0.05
DELAY_S = 1.0
WORKERS = 4
NEW = 10
"""Hosts added, and hosts freed, while the others are busy and again when nothing is left."""
EVERY_S = 0.73
"""Between two of them: out of step with the delay."""
EAGER = 200, 66
"""Hosts, and pages of each beside its home page, without a delay."""
IDLE_S = 5.0
"""For so long idle workers are watched."""
WAIT_S_MAX = 120.0
PAUSE_S = 3_600.0
T = TypeVar("T")
OPTIONS = {"appendfsync": "everysec"}


@dataclass
class Fleet:
    """`crawler run` of some workers on a Redis of its own, kept open by a producer until `finish`."""

    home: Path
    redis: RedisServer
    seeds: Sequence[str]
    delay_s: float
    per_host: int
    workers: int
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def environ(self) -> dict[str, str]:
        given = {"FRONTIER__URL": self.redis.url, "POLITENESS__DELAY_S": self.delay_s}
        given |= {"POLITENESS__PER_HOST": self.per_host, "WORKER__PROCESSES": self.workers}
        given["GUARD__ALLOW"] = '["127.0.0.0/8"]'  # the hosts that are added later are in no list of seeds
        return {f"CRAWLER__{name}": str(value) for name, value in given.items()}

    @property
    def settings(self) -> Settings:
        return load(None, environ=self.environ)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The command runs; it ends with the block at the latest."""
        seeds = self.home / "seeds.txt"
        seeds.write_text("\n".join(self.seeds))
        out = ["--out", str(self.home / "out.jsonl"), "--quiet"]
        command = [sys.executable, "-m", "crawler", "run", "--seeds", str(seeds), "--state", NAME, *out]
        with (self.home / "stderr").open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                cwd=self.home,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT), **self.environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        try:
            yield
        finally:
            if self.process.poll() is None:
                self.process.terminate()
                self.process.wait(WAIT_S_MAX)

    def finish(self) -> None:
        """Wait for the end of the crawl. Raises RuntimeError when it is not complete."""
        code = self.process.wait(WAIT_S_MAX)
        if code:
            raise RuntimeError(f"exit code {code}: {(self.home / 'stderr').read_text()[-2000:]}")

    def frontier(self) -> Frontier:
        """As soon as the crawl exists."""
        return wait_for(self._joined, "the crawl")

    def _joined(self) -> Frontier | None:
        try:
            return home.open_redis(self.settings, NAME)
        except CrawlError:
            return None

    def trips(self) -> int:
        """Times that Redis has read something from a connection so far: a batch of commands is one."""
        return int(self.redis.admin.info("stats")["total_reads_processed"])

    def asked_by_workers(self, seconds: float) -> int:
        """Commands that they send in that time, without those that scripts give."""
        workers = {one["addr"] for one in self.redis.admin.client_list() if one["name"].endswith(":work")}
        asked, until = 0, time.monotonic() + seconds
        with self.redis.client("admin") as client, client.monitor() as monitor:
            for told in monitor.listen():
                if time.monotonic() > until:
                    break
                asked += told["client_type"] != "lua" and f"{told['client_address']}:{told['client_port']}" in workers
        return asked


def wait_for(what: Callable[[], T | None], name: str) -> T:
    """What it returns, when that is no longer None or False."""
    until = time.monotonic() + WAIT_S_MAX
    while time.monotonic() < until:
        if found := what():
            return found
        time.sleep(0.02)
    raise RuntimeError(f"{name} did not come within {WAIT_S_MAX:.0f} s")


def first_came(site: StampServer, address: str) -> float | None:
    return next((stamp.came for stamp in tuple(site.stamps) if stamp.address == address), None)


def starts(frontier: Frontier, site: StampServer, second: int) -> Starts:
    """Seconds from adding hosts, and from freeing paused ones, to their first request."""
    fresh = addresses(2 * NEW, second)
    added, paused = fresh[:NEW], fresh[NEW:]
    for address in paused:
        frontier.set_host(f"{address}:{site.port}", pause_s=PAUSE_S)
        frontier.add([Request(url=f"http://{address}:{site.port}/page/0.html")])
    began = {}
    for one, other in zip(added, paused, strict=True):
        time.sleep(EVERY_S / 2)
        began[one] = time.monotonic()
        frontier.add([Request(url=f"http://{one}:{site.port}/page/0.html")])
        time.sleep(EVERY_S / 2)
        began[other] = time.monotonic()
        frontier.set_host(f"{other}:{site.port}", pause_s=0)
    came = {address: wait_for(lambda of=address: first_came(site, of), address) for address in fresh}
    return Starts([came[one] - began[one] for one in added], [came[one] - began[one] for one in paused])


def polite(hosts: int, pages: int) -> Polite:
    """With a delay. Raises RuntimeError when the crawl is not complete."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        RedisServer(OPTIONS) as redis,
        StampServer(answering(pages), slow_s=FETCH_S) as site,
    ):
        mine = addresses(hosts)
        fleet = Fleet(Path(name), redis, [f"http://{one}:{site.port}/" for one in mine], DELAY_S, 1, WORKERS)
        with fleet.running(), fleet.frontier() as frontier:
            producer = frontier.open_producer(f"bench-{secrets.token_hex(4)}")
            wait_for(lambda: len({stamp.address for stamp in tuple(site.stamps)}) == hosts, "the first of each host")
            before, trips = len(site.stamps), fleet.trips()
            busy = starts(frontier, site, 10)
            each = (fleet.trips() - trips) / (len(site.stamps) - before)
            wait_for(lambda: frontier.counts().ready + frontier.counts().leased == 0, "the end")
            idle = starts(frontier, site, 20)
            time.sleep(1.5 * DELAY_S)
            asked = fleet.asked_by_workers(IDLE_S) / IDLE_S / WORKERS
            frontier.close_producer(producer)
            fleet.finish()
        expected = hosts * (pages + 2) + 4 * 2 * NEW
        if len(site.stamps) != expected:
            raise RuntimeError(f"{len(site.stamps)} requests, not {expected}")
        of = set(mine)
        stamps = [stamp for stamp in site.stamps if stamp.address in of]
        fetch_s = fmean(stamp.written - stamp.came for stamp in stamps)
        gaps = [gap for address, found in site.gaps().items() if address in of for gap in found]
        rate = hosts_table.steady_rate(stamps)
        return Polite(hosts, WORKERS, DELAY_S, fetch_s, rate, gaps, busy, idle, each, asked)


def eager(hosts: int, pages: int, per_host: int, workers: int) -> Trips:
    """Without a delay, from nginx. Raises RuntimeError when the crawl is not complete."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, RedisServer(OPTIONS) as redis:
        folder = Path(name) / "site"
        export(folder, pages, heavy=True)
        with Nginx(folder) as site:
            seeds = [f"http://{one}:{site.port}/" for one in addresses(hosts)]
            fleet = Fleet(Path(name), redis, seeds, 0.0, per_host, workers)
            began = time.monotonic()
            with fleet.running():
                fleet.finish()
            wall_s = time.monotonic() - began
            asked = len(site.hits())
        if asked != hosts * (pages + 2):
            raise RuntimeError(f"{asked} requests, not {hosts * (pages + 2)}")
        return Trips(hosts, hosts * (pages + 1), per_host, workers, wall_s, fleet.trips())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.redis_hosts", description="Many hosts on Redis.")
    parser.add_argument("--hosts", type=int, default=500, help="with a delay (default 500)")
    parser.add_argument("--pages", type=int, default=26, help="of each of them, beside its home page (default 26)")
    parser.add_argument("--only", choices=("polite", "eager"), help="print one of the tables")
    parser.add_argument("--no-readme", action="store_true", help="print only")
    given = parser.parse_args()
    found = polite(given.hosts, given.pages) if given.only != "eager" else None
    trips = []
    for workers in (1, 2, WORKERS) if given.only != "polite" else ():
        for per_host in (0, 1):
            trips.append(eager(*EAGER, per_host, workers))
            print(trips[-1], file=sys.stderr, flush=True)
    text = hosts_table.render(found, trips)
    print(text)
    if found and trips and not given.no_readme:
        readme = CHECKOUT / "README.md"
        readme.write_text(table.insert(readme.read_text(encoding="utf-8"), text, "hosts"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
