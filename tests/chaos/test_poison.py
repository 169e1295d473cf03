"""Pages that kill or hang whoever parses them are buried after crashes_max deaths, and no other page is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler.demo.export import export
from crawler.demo.serve import names
from crawler.demo.shop import Shop
from tests.sites.crawl import Crawl, urls_of_jsonl
from tests.sites.nginx import Nginx

POISON = ("/p/7.html", "/p/8.html", "/p/9.html", "/p/11.html", "/p/13.html")
"""Exit with 1, with 0, with 2; hang in C; hang in Python."""

SPIDER = """
import os
import re

from crawler.spiders.pages import Pages


class Poisoned(Pages):
    name = "poisoned"

    def parse(self, page):
        if page.url.endswith(("/p/7.html", "/p/8.html", "/p/9.html")):
            os._exit({"7": 1, "8": 0, "9": 2}[page.url[-6]])
        if page.url.endswith("/p/11.html"):
            re.match(r"(a+)+$", "a" * 60 + "b")
        if page.url.endswith("/p/13.html"):
            while True:
                pass
        yield from super().parse(page)
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with Nginx(f"{tmp_path}/site/$host") as site:
        shop = Shop(pages=400, hosts=names(site.port, 1), faults=False)
        export(shop, str(tmp_path / "site"))
        yield shop


def test_poison_pages_are_buried_and_nothing_else_is(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "poisoned.py").write_text(SPIDER)
    arguments = [*shop.seeds(), "--spider", "poisoned.py:Poisoned", "-w", "2", "--delay", "0", "--per-host", "0"]
    crawl = Crawl(tmp_path, [*arguments, "--set", "worker.parse_max_s=0.5"])
    report = crawl.run()
    poison = {url for url in shop.urls() if url.endswith(POISON)}
    assert len(poison) == len(POISON)
    dead = {letter.request.url: (letter.reason, letter.crashes) for letter in crawl.dead()}
    assert dead == dict.fromkeys(poison, ("crashed", 3))
    stored = urls_of_jsonl(tmp_path / "out.jsonl")
    assert set(stored) == set(shop.urls()) - poison
    assert set(stored.values()) == {1}
    assert report["exit"] == 0
    assert report["dead"] == len(POISON)


BOMB = "<p>" + "".join(f"<b id={number}>" for number in range(100)) + "<p>x" * 600_000


def test_a_page_that_takes_all_memory_is_buried_and_ends_nobody(shop: Shop, tmp_path: Path) -> None:
    (url,) = (url for url in shop.urls() if url.endswith("/p/7.html"))
    (file,) = (tmp_path / "site").rglob("p/7.html")
    file.write_text(BOMB)
    arguments = [*shop.seeds(), "-w", "2", "--delay", "0", "--per-host", "0"]
    crawl = Crawl(tmp_path, [*arguments, "--set", "worker.memory_bytes_max=600_000_000"])
    report = crawl.run()
    (letter,) = crawl.dead()
    assert (letter.request.url, letter.reason, letter.crashes) == (url, "spider_exception", 0)
    assert "MemoryError" in letter.detail
    assert_all_but(url, shop, tmp_path)
    assert (report["exit"], report["restarts"]) == (0, 0)


LEAK = """
from crawler.spiders.pages import Pages

taken = []


class Leaking(Pages):
    name = "leaking"

    def parse(self, page):
        taken.append(bytes(5_000_000))
        yield from super().parse(page)
"""


def test_a_worker_whose_memory_is_full_is_ended_and_no_page_is_blamed(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "leaking.py").write_text(LEAK)
    arguments = [*shop.seeds(), "--spider", "leaking.py:Leaking", "-w", "2", "--delay", "0", "--per-host", "0"]
    crawl = Crawl(tmp_path, [*arguments, "--set", "worker.memory_bytes_max=700_000_000"])
    report = crawl.run()
    assert crawl.dead() == ()
    assert_all_but("", shop, tmp_path)
    assert report["exit"] == 0
    assert report["restarts"] >= 2
    assert "worker.memory_bytes_max" in crawl.errors


def assert_all_but(url: str, shop: Shop, home: Path) -> None:
    stored = urls_of_jsonl(home / "out.jsonl")
    assert set(stored) == set(shop.urls()) - {url}
    assert set(stored.values()) == {1}
