"""Crawls whose frontier is on Redis: workers and servers die, stall and forget, and the stored set is the full set."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from crawler.demo.export import export
from crawler.demo.serve import names
from crawler.demo.shop import Shop
from crawler.error import BackendError, SettingsError
from crawler.view import Counts
from tests.servers.cluster import ClusterSetup
from tests.servers.redis import RedisServer
from tests.servers.sentinel import SentinelSetup
from tests.sites.crawl import NAME, Crawl, pid_of, until, urls_of_jsonl
from tests.sites.nginx import Nginx

PAGES = 20_000
PAGES_FEW = 6_000
HOSTS = 50
WORKER_KILLS = 30
SERVER_KILLS = 5
SEED = 20260131
HANG_S = 120.0
FAST = [
    "-w",
    "4",
    "--delay",
    "0",
    "--per-host",
    "0",
    "--set",
    'crawl.hosts=["*"]',
    "--set",
    'guard.allow=["127.0.0.0/8"]',
]
SAFE = ["--set", "redis.replicas=1"]
ALWAYS = {"appendfsync": "always"}


@pytest.fixture
def shop(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """The demo site without faults, as files behind nginx: 50 hosts that link to each other."""
    with Nginx(f"{tmp_path}/site/$host") as site:
        made = Shop(pages=request.param, hosts=names(site.port, HOSTS), faults=False)
        export(made, str(tmp_path / "site"))
        yield made


few = pytest.mark.parametrize("shop", [PAGES_FEW], indirect=True)


@contextmanager
def started(home: Path, url: str, shop: Shop, *options: str) -> Iterator[Crawl]:
    """A crawl of the whole site by four workers, which does not outlive a test that failed."""
    crawl = Crawl(home, [shop.seeds()[0], *FAST, *options], url=url)
    crawl.start()
    try:
        yield crawl
    finally:
        if crawl.running:
            crawl.kill_tree()


def kill_workers(crawl: Crawl, dice: random.Random, killed: set[str]) -> None:
    """SIGKILL WORKER_KILLS workers that had settled something, at random moments, also while the server is away."""
    while len(killed) < WORKER_KILLS and crawl.running:
        time.sleep(dice.uniform(0.1, 0.3))
        rows: tuple[str, ...] = ()
        with suppress(BackendError, SettingsError):
            rows = tuple(row.name for row in crawl.workers() if row.pages and row.name not in killed)
        victims = [name for name in rows if Path(f"/proc/{pid_of(name)}").exists()]
        if not victims:
            continue
        victim = dice.choice(victims)
        with suppress(ProcessLookupError):  # it ended between the look and the kill
            os.kill(pid_of(victim), signal.SIGKILL)
            killed.add(victim)


def check_counts(counts: Counts, wanted: int) -> None:
    assert (counts.ready, counts.delayed, counts.leased, counts.suspects) == (0, 0, 0, 0)
    assert (counts.dead, counts.dropped) == (0, 0)
    assert counts.added == counts.done == counts.pages == wanted


def check(crawl: Crawl, shop: Shop, report: dict[str, object]) -> None:
    """Complete, nothing twice, nothing dead, nothing left, and the counters add up."""
    assert report["exit"] == 0, crawl.errors[-3000:]
    wanted = Counter(shop.urls())
    assert urls_of_jsonl(crawl.home / "out.jsonl") == wanted
    assert crawl.dead() == ()
    check_counts(crawl.counts(), len(wanted))


@pytest.mark.parametrize("shop", [PAGES], indirect=True)
def test_kills_of_workers_and_server_lose_nothing_and_double_nothing(shop: Shop, tmp_path: Path) -> None:
    dice, killed = random.Random(SEED), set[str]()
    with RedisServer(ALWAYS) as server, started(tmp_path, server.url, shop, "--set", "frontier.shards=16") as crawl:
        killer = threading.Thread(target=kill_workers, args=(crawl, dice, killed))
        killer.start()
        for number in range(1, SERVER_KILLS + 1):
            until(crawl, PAGES * number // (SERVER_KILLS + 3), HANG_S)
            server.process.kill()
            time.sleep(dice.uniform(0.5, 1.0))
            server.process.restart()
        killer.join(HANG_S)
        report = crawl.end()

        assert len(killed) >= WORKER_KILLS, f"{len(killed)} kills: {crawl.errors[-2000:]}"
        check(crawl, shop, report)
        with crawl.frontier() as frontier:
            assert len(frontier.shards()) == 16
        assert crawl.counts().crashes <= WORKER_KILLS  # charged only to who was held alone


@few
def test_a_crawl_outlives_a_failover_by_sentinel(shop: Shop, tmp_path: Path) -> None:
    with SentinelSetup() as setup, started(tmp_path, setup.url, shop, *SAFE) as crawl:
        until(crawl, PAGES_FEW // 4, HANG_S)
        setup.kill_primary()
        setup.wait_for_failover()
        report = crawl.end()
        check(crawl, shop, report)
        assert report["restarts"] == 0


@few
def test_a_crawl_outlives_the_loss_of_a_primary_of_a_cluster(shop: Shop, tmp_path: Path) -> None:
    with ClusterSetup(nodes=3, replicas=1) as cluster, started(tmp_path, cluster.url, shop, *SAFE) as crawl:
        until(crawl, PAGES_FEW // 4, HANG_S)
        cluster.kill(cluster.owner(f"crawler:{{{NAME}:0}}"))
        cluster.wait_ok()
        report = crawl.end()
        check(crawl, shop, report)
        with crawl.frontier() as frontier:
            assert len({shard.place for shard in frontier.shards()}) == 3
        assert report["restarts"] == 0


def stall(server: RedisServer) -> None:
    """Unanswered for 3 s, gone for 3 s, back again."""
    server.process.pause()
    time.sleep(3)
    server.process.kill()
    time.sleep(3)
    server.process.restart()


def forget_scripts(server: RedisServer) -> None:
    for _ in range(10):
        server.admin.script_flush()
        time.sleep(0.02)


def cut_off(server: RedisServer) -> None:
    """Every client's connection at once, several times."""
    for _ in range(5):
        server.admin.client_kill_filter(_type="normal", skipme=True)
        server.admin.client_kill_filter(_type="pubsub", skipme=True)
        time.sleep(0.1)


def fill_up(server: RedisServer) -> None:
    """No memory for writes for a while."""
    server.admin.config_set("maxmemory", "1mb")
    time.sleep(2)
    server.admin.config_set("maxmemory", "0")


@pytest.mark.parametrize("outage", [stall, forget_scripts, cut_off, fill_up])
@few
def test_workers_wait_while_the_server_is_away(
    shop: Shop, tmp_path: Path, outage: Callable[[RedisServer], None]
) -> None:
    with RedisServer(ALWAYS) as server, started(tmp_path, server.url, shop) as crawl:
        until(crawl, PAGES_FEW // 4, HANG_S)
        outage(server)
        assert crawl.running
        report = crawl.end()
        check(crawl, shop, report)
        assert report["restarts"] == 0, crawl.errors[-2000:]
