"""A real site of some 500 pages: each page stored once, fetched once, whatever the number of workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sites.crawl import Crawl, urls_of_jsonl
from tests.sites.docs import docs_root
from tests.sites.nginx import Nginx
from tests.sites.walk import walk


@pytest.fixture(scope="module")
def site() -> Iterator[Nginx]:
    with Nginx(docs_root()) as served:
        yield served


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_every_page_once(site: Nginx, tmp_path: Path, workers: int) -> None:
    site.forget()
    start = f"{site.url}/index.html"
    report = Crawl(tmp_path, [start, "-w", str(workers), "--delay", "0", "--per-host", "0"]).run()
    wanted = walk(docs_root(), start)
    assert urls_of_jsonl(tmp_path / "out.jsonl") == Counter(wanted.pages)
    assert report["exit"] == 0
    assert report["pages"] == len(wanted.pages)
    asked = Counter(hit.path for hit in site.hits())
    assert set(asked.values()) == {1}
    assert {f"{site.url}{path}" for path in asked} >= wanted.pages


def test_memory_frontier_finds_the_same(site: Nginx, tmp_path: Path) -> None:
    start = f"{site.url}/index.html"
    crawl = Crawl(tmp_path, [start, "--delay", "0", "--per-host", "0", "--state", "memory:"])
    report = crawl.run()
    assert urls_of_jsonl(tmp_path / "out.jsonl") == Counter(walk(docs_root(), start).pages)
    assert report["exit"] == 0
    assert not crawl.state.exists()
