"""Pipelines come and go while a crawl runs; its exchange is on RabbitMQ."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler.demo.export import export
from crawler.demo.serve import names
from crawler.demo.shop import Shop
from tests.contract.rabbit_exchange import shared_broker
from tests.sites.crawl import urls_of_jsonl
from tests.sites.nginx import Nginx

PAGES = 300
HANG_S = 120.0
ROOT = Path(__file__).parents[2]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with Nginx(f"{tmp_path}/site/$host") as site:
        made = Shop(pages=PAGES, hosts=names(site.port, 2), faults=False)
        export(made, str(tmp_path / "site"))
        yield made


class Place:
    """A folder with settings and a crawl of a name that no other test has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / f"crawl-{secrets.token_hex(4)}.db"

    def settings(self, *stores: str) -> None:
        tables = [f'[pipelines.{name}]\nuse = "pipelines.jsonl:JsonLines"\npath = "{name}.jsonl"\n' for name in stores]
        (self.folder / "settings.toml").write_text("\n".join([f'[exchange]\nurl = "{shared_broker().url}"\n', *tables]))

    def crawler(self, *words: str) -> None:
        common = ["--state", str(self.state), "--settings", "settings.toml"]
        done = subprocess.run(
            [sys.executable, "-m", "crawler", *words, *common],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=HANG_S,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    def work(self, *more: str) -> None:
        quick = (
            "--delay",
            "0",
            "--per-host",
            "0",
            "--set",
            'guard.allow=["127.0.0.0/8"]',
            "--set",
            'crawl.hosts=["*"]',
        )
        self.crawler("work", "-n", "2", "--until-finished", *quick, *more)

    def stored(self, name: str) -> Counter[str]:
        return urls_of_jsonl(self.folder / f"{name}.jsonl")


def test_a_pipeline_that_was_stopped_for_the_whole_crawl_loses_nothing(shop: Shop, tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.settings("early", "late")
    place.crawler("seed", shop.seeds()[0])
    place.work()
    place.crawler("store", "early", "--until-finished")
    assert not (tmp_path / "late.jsonl").exists()
    place.crawler("store", "late", "--until-finished")
    assert place.stored("early") == place.stored("late") == Counter(shop.urls())


def test_a_pipeline_that_is_added_gets_all_from_then_on(shop: Shop, tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.settings("first")
    place.crawler("seed", shop.seeds()[0])
    limit = ("--set", f"crawl.pages_max={PAGES // 3}")
    place.work(*limit)
    place.crawler("store", "--until-finished", *limit)
    before = place.stored("first")
    place.settings("first", "added")
    place.work()
    place.crawler("store", "--until-finished")
    assert place.stored("first") == Counter(shop.urls())
    assert place.stored("added") == Counter(shop.urls()) - before
    assert 0 < len(before) < PAGES
