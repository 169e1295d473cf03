"""Real processes, real SIGKILL: whatever dies, the stored set is the full set, with nothing twice."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from crawler.demo.export import export
from crawler.demo.serve import names
from crawler.demo.shop import Shop
from tests.sites.crawl import Crawl, pid_of, urls_of_csv, urls_of_jsonl, urls_of_sqlite
from tests.sites.nginx import Nginx

PAGES = 20_000
HOSTS = 50
WORKER_KILLS = 30
TREE_KILLS = 3
SEED = 20260131
HANG_S = 300.0

SETTINGS = """
[crawl]
hosts = ["*"]

[guard]
allow = ["127.0.0.0/8"]

[pipelines.table]
use = "pipelines.csv:Csv"
path = "out.csv"

[pipelines.rows]
use = "pipelines.sqlite:Sqlite"
path = "out.db"
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[tuple[Shop, Nginx]]:
    """The demo site without faults, as files behind nginx: 50 hosts that link to each other."""
    with Nginx(f"{tmp_path}/site/$host") as site:
        shop = Shop(pages=PAGES, hosts=names(site.port, HOSTS), faults=False)
        export(shop, str(tmp_path / "site"))
        yield shop, site


def settled_workers(crawl: Crawl, killed: set[str]) -> list[str]:
    """Workers alive that have settled something."""
    found = []
    for row in crawl.workers():
        if row.pages and row.name not in killed and Path(f"/proc/{pid_of(row.name)}").exists():
            found.append(row.name)
    return found


def kill_workers(crawl: Crawl, dice: random.Random, killed: set[str], count: int) -> None:
    """SIGKILL `count` workers that had settled something, at random moments."""
    done = 0
    while done < count:
        assert crawl.running, f"the crawl ended after {len(killed)} kills: {crawl.errors[-2000:]}"
        time.sleep(dice.uniform(0.2, 0.5))
        victims = settled_workers(crawl, killed)
        if not victims:
            continue
        victim = dice.choice(victims)
        killed.add(victim)
        with suppress(ProcessLookupError):  # it ended between the look and the kill
            os.kill(pid_of(victim), signal.SIGKILL)
            done += 1


def test_a_storm_of_kills_loses_nothing_and_doubles_nothing(shop: tuple[Shop, Nginx], tmp_path: Path) -> None:
    made, _ = shop
    (tmp_path / "settings.toml").write_text(SETTINGS)
    arguments = [made.seeds()[0], "-w", "4", "--delay", "0", "--per-host", "0", "--settings", "settings.toml"]
    crawl = Crawl(tmp_path, arguments)
    dice = random.Random(SEED)
    killed: set[str] = set()
    crawl.start()
    began = time.monotonic()
    for _ in range(TREE_KILLS):
        kill_workers(crawl, dice, killed, WORKER_KILLS // TREE_KILLS)
        crawl.kill_tree()
        crawl.start()
    report = crawl.end()

    assert report["exit"] == 0, crawl.errors[-2000:]
    assert len(killed) >= WORKER_KILLS
    assert time.monotonic() - began < HANG_S  # not a minute for each kill
    wanted = Counter(made.urls())
    assert urls_of_jsonl(tmp_path / "out.jsonl") == wanted
    assert urls_of_csv(tmp_path / "out.csv") == wanted
    assert urls_of_sqlite(tmp_path / "out.db") == wanted
    assert crawl.dead() == ()
    counts = crawl.counts()
    assert counts.pages == PAGES
    assert counts.added == counts.done
