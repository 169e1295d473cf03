"""Everything at once on real servers: frontier on Redis, exchange on RabbitMQ, four stores; all of it dies again and
again. What the stores hold at the end is what an undisturbed crawl would have stored."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator

from tests.servers.postgres import PostgresServer
from tests.servers.rabbit import RabbitServer
from tests.servers.redis import RedisServer
from tests.sites.crawl import Crawl, children, until, urls_of_jsonl, urls_of_sqlite
from tests.sites.docs import docs_root
from tests.sites.nginx import Nginx
from tests.sites.walk import walk

HANG_S = 150.0
KILL_EVERY_S = 0.5
KILLS_MAX = 40
SEED = 20260131
AWAY_S = 60.0
PEAK_MB = 700
"""More than a crawl of this site takes, with two workers and five consumers; a queue without a bound would pass it."""

BROKER = """
[exchange]
url = "{url}"
"""
STORES = """
[pipelines.rows]
use = "pipelines.sqlite:Sqlite"
path = "{home}/rows.db"

[pipelines.table]
use = "pipelines.postgres:Postgres"
dsn = "{dsn}"

[pipelines.archive]
use = "pipelines.warc:Warc"
path = "{home}/pages.warc.gz"
rotate_bytes = 2_000_000
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Nginx]:
    with Nginx(docs_root()) as served:
        yield served


@contextmanager
def started(home: Path, site: Nginx, redis: RedisServer, rabbit: RabbitServer, stores: str = "") -> Iterator[Crawl]:
    """A crawl by two workers, slow enough to be disturbed; it does not outlive a test that failed."""
    (home / "crawl.toml").write_text(BROKER.format(url=rabbit.url) + stores)
    slow = ("-w", "2", "--delay", "0.03", "--set", "frontier.lease_s=10", "--settings", "crawl.toml")
    crawl = Crawl(home, [f"{site.url}/index.html", *slow], url=redis.url)
    crawl.start()
    try:
        yield crawl
    finally:
        if crawl.running:
            crawl.kill_tree()


def kill_some(crawl: Crawl, dice: random.Random, stop: threading.Event, killed: list[int]) -> None:
    """SIGKILL a worker or a consumer every KILL_EVERY_S, KILLS_MAX in all."""
    while len(killed) < KILLS_MAX and not stop.wait(KILL_EVERY_S) and crawl.running:
        if victims := children(crawl.process.pid):
            victim = dice.choice(victims)
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)


def cut_off(rabbit: RabbitServer) -> None:
    rabbit.ctl("close_all_connections", "a test")


def kill_broker(rabbit: RabbitServer) -> None:
    rabbit.process.kill()
    time.sleep(1)
    rabbit.process.restart()


def alarm(rabbit: RabbitServer) -> None:
    """Publishers are blocked for a while."""
    rabbit.ctl("set_vm_memory_high_watermark", "0.00001")
    time.sleep(3)
    rabbit.ctl("set_vm_memory_high_watermark", "0.6")


def urls_of_postgres(postgres: PostgresServer, database: str) -> Counter[str]:
    with closing(postgres.connect(database)) as connection:
        rows = connection.execute("SELECT id, url FROM items").fetchall()
    assert len({id for id, _ in rows}) == len(rows)
    return Counter(url for _, url in rows)


def urls_of_warc(home: Path) -> Counter[str]:
    """Of the responses with a page, a download or whatever else, but robots.txt."""
    found: Counter[str] = Counter()
    for path in home.glob("pages*.warc.gz"):
        with path.open("rb") as file:
            for record in ArchiveIterator(file):
                if record.rec_type == "response" and record.http_headers.get_statuscode() == "200":
                    url = record.rec_headers.get_header("WARC-Target-URI")
                    found[url] += not url.endswith("/robots.txt")
    return +found


def check_warc(home: Path) -> None:
    files = map(str, home.glob("pages*.warc.gz"))
    done = subprocess.run([sys.executable, "-m", "warcio.cli", "check", *files], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def test_a_storm_on_all_servers_leaves_each_store_with_each_page_once(site: Nginx, tmp_path: Path) -> None:
    wanted = Counter(walk(docs_root(), f"{site.url}/index.html").pages)
    dice, stop, killed = random.Random(SEED), threading.Event(), list[int]()
    with (
        RedisServer({"appendfsync": "always"}) as redis,
        RabbitServer() as rabbit,
        PostgresServer() as postgres,
    ):
        stores = STORES.format(home=tmp_path, dsn=postgres.database("storm"))
        with started(tmp_path, site, redis, rabbit, stores) as crawl:
            until(crawl, 10, HANG_S)
            killer = threading.Thread(target=kill_some, args=(crawl, dice, stop, killed))
            killer.start()
            faults: list[Callable[[], object]] = [
                lambda: cut_off(rabbit),
                lambda: kill_broker(rabbit),
                lambda: alarm(rabbit),
                postgres.process.restart,
                lambda: cut_off(rabbit),
            ]
            for number, fault in enumerate(faults, 1):
                until(crawl, len(wanted) * number // (len(faults) + 2), HANG_S)
                fault()
            until(crawl, len(wanted) * 9 // 10, HANG_S)
            stop.set()
            killer.join(HANG_S)
            report = crawl.end()

            assert report["exit"] == 0, crawl.errors[-3000:]
            assert len(killed) >= 10
            assert {letter.reason for letter in crawl.dead()} <= {"http_404"}  # the site has a dead link
            assert urls_of_jsonl(tmp_path / "out.jsonl") == wanted
            assert urls_of_sqlite(tmp_path / "rows.db") == wanted
            assert urls_of_postgres(postgres, "storm") == wanted
            archived = urls_of_warc(tmp_path)  # also what is no page for the spider
            assert set(archived.values()) == {1}
            assert archived.keys() >= wanted.keys()
            check_warc(tmp_path)
            assert (report["dead_items"], report["unstored"]) == (0, 0)


def test_a_broker_that_is_away_for_a_minute_kills_no_worker(site: Nginx, tmp_path: Path) -> None:
    wanted = Counter(walk(docs_root(), f"{site.url}/index.html").pages)
    with (
        RedisServer() as redis,
        RabbitServer() as rabbit,
        started(tmp_path, site, redis, rabbit) as crawl,
    ):
        until(crawl, len(wanted) // 5, HANG_S)
        rabbit.process.kill()
        time.sleep(AWAY_S)
        assert crawl.running, crawl.errors[-3000:]
        rabbit.process.restart()
        report = crawl.end()
        assert report["exit"] == 0, crawl.errors[-3000:]
        assert report["restarts"] == 0, crawl.errors[-3000:]
        assert report["peak_rss_mb"] < PEAK_MB
        assert urls_of_jsonl(tmp_path / "out.jsonl") == wanted
