"""Politeness that adapts, as servers see it: four workers together leave a host alone for as long as it asks, slow down
for one that is slow or overloaded, keep the pace that settings and robots.txt name, and miss no page all the same."""

from __future__ import annotations

import math
import time
from collections import Counter
from contextlib import ExitStack
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from time import monotonic

import pytest

from tests.servers.redis import RedisServer
from tests.sites.crawl import Crawl, urls_of_jsonl
from tests.sites.stamp import Stamp, StampServer

PAGES = 24
DELAY_S = 0.05
HTML = {"Content-Type": "text/html"}
SECONDS, DATE, FLAPS, SLOW, ROBOTS, OWN, BUSY_ROBOTS = (f"127.0.0.{number}" for number in range(1, 8))
HOSTS = (SECONDS, DATE, FLAPS, SLOW, ROBOTS, OWN, BUSY_ROBOTS)
SLOW_S = 0.25
CRAWL_DELAY_S = 0.3
OWN_DELAY_S = 0.2


class Site:
    """A home page with PAGES links on each address; each address has a trouble of its own."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.windows: list[tuple[str, float, float]] = []
        """Address, and from when until when (monotonic) it asked to be left alone."""

    def __call__(self, address: str, path: str) -> tuple[int, dict[str, str], bytes]:
        self.asked[address] += 1
        count = self.asked[address]
        if path == "/robots.txt":
            if address == BUSY_ROBOTS and count == 1:
                return self.busy(address, 429, 1)
            delay = f"Crawl-delay: {CRAWL_DELAY_S}\n" if address == ROBOTS else ""
            return 200, {"Content-Type": "text/plain"}, f"User-agent: *\n{delay}Disallow:\n".encode()
        if address == SECONDS and count in (5, 12):
            return self.busy(address, 429, 1)
        if address == DATE and count == 7:
            until = math.ceil(time.time()) + 1
            return self.busy(address, 503, until - time.time(), formatdate(until, usegmt=True))
        if address == FLAPS and count in (4, 9, 16):
            return self.busy(address, 503, 0, "")
        if path == "/":
            return 200, HTML, "".join(f"<a href='/page/{number}'>x</a>" for number in range(PAGES)).encode()
        return 200, HTML, b"<title>page</title>"

    def busy(self, address: str, status: int, seconds: float, header: str = "") -> tuple[int, dict[str, str], bytes]:
        now = monotonic()
        self.windows.append((address, now, now + seconds))
        value = header or (str(seconds) if seconds else "")
        return status, {"Retry-After": value} if value else {}, b""

    @staticmethod
    def slow_s(address: str, path: str) -> float:
        return SLOW_S if address == SLOW and path.startswith("/page") else 0.0


def gaps(stamps: list[Stamp], address: str) -> list[float]:
    mine = sorted((stamp for stamp in stamps if stamp.address == address), key=lambda stamp: stamp.came)
    return [after.came - before.written for before, after in pairwise(mine)]


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_four_workers_leave_hosts_alone_that_ask_for_it(store: str, tmp_path: Path) -> None:
    site = Site()
    with ExitStack() as stack:
        server = stack.enter_context(StampServer(site, slow_s=Site.slow_s))
        url = stack.enter_context(RedisServer()).url if store == "redis" else ""
        own = tmp_path / "settings.toml"
        own.write_text(f'[politeness.hosts."{OWN}:{server.port}"]\ndelay_s = {OWN_DELAY_S}\n')
        seeds = [f"http://{address}:{server.port}/" for address in HOSTS]
        options = ["-w", "4", "--delay", str(DELAY_S), "--settings", str(own)]
        crawl = Crawl(tmp_path, [*seeds, *options, "--set", "politeness.delay_max_s=0.6"], url=url)
        report = crawl.run()
        assert report["exit"] == 0, crawl.errors
        _check_windows(site, server.stamps)
        stored = urls_of_jsonl(tmp_path / "out.jsonl")
        assert len(stored) == len(HOSTS) * (1 + PAGES)
        assert set(stored.values()) == {1}
        for address in HOSTS:
            assert min(gaps(server.stamps, address)) >= DELAY_S
        assert min(gaps(server.stamps, ROBOTS)[1:]) >= CRAWL_DELAY_S
        assert min(gaps(server.stamps, OWN)) >= OWN_DELAY_S
        assert max(gaps(server.stamps, SLOW)[-5:]) >= 1.5 * SLOW_S, "the delay follows the response time"
        _check_recovery(crawl, server.port)


def _check_windows(site: Site, stamps: list[Stamp]) -> None:
    assert len(site.windows) == 7, "each trouble was met"
    for address, start, end in site.windows:
        inside = [stamp for stamp in stamps if stamp.address == address and start < stamp.came < end]
        assert inside == [], f"{address} asked to be left alone for {end - start:.2f} s"


def _check_recovery(crawl: Crawl, port: int) -> None:
    """Ten pages that went well take a step back: of two steps, 13 pages before the end, one is left."""
    with crawl.frontier() as frontier:
        slow = {address: frontier.host(f"{address}:{port}").slow for address in HOSTS}
        failures = {frontier.host(f"{address}:{port}").failures for address in HOSTS}
    assert failures == {0}
    assert slow[SECONDS] == 1
    assert slow[DATE] == 0
    assert slow[SLOW] == slow[ROBOTS] == slow[OWN] == slow[BUSY_ROBOTS] == 0
