"""`crawler.run` from scripts and notebooks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import crawler
from crawler import Page, SettingsError, Spider
from tests.sites.crawl import urls_of_jsonl
from tests.sites.stamp import StampServer

FAST: dict[str, Any] = {"delay_s": 0, "per_host": 0}


class Links(Spider):
    name = "links"

    def __init__(self, *, prefix: str = "") -> None:
        self._prefix = prefix

    def parse(self, page: Page) -> Iterator[Any]:
        yield page.item("link", path=self._prefix + page.url.rpartition("/")[2])
        yield from page.follow_all("a")


def answer(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
    links = "".join(f"<a href='/{number}'>x</a>" for number in range(5)) if path == "/" else ""
    return 200, {"Content-Type": "text/html"}, f"<title>{path}</title>{links}".encode()


@pytest.fixture
def url() -> Iterator[str]:
    with StampServer(answer) as server:
        yield f"http://127.0.0.1:{server.port}/"


def paths(result: Any) -> list[str]:
    return sorted(item["data"]["path"] for item in result.items)


def test_items_are_at_hand_and_nothing_is_written(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = crawler.run(Links, [url], **FAST)
    assert paths(result) == ["", "0", "1", "2", "3", "4"]
    assert set(result.items[0]) == {"id", "kind", "url", "fetched_at", "spider", "data"}
    assert result.report.pages == 6
    assert result.report.exit_code == 0
    assert result.report.seeded.new == 1
    assert list(tmp_path.iterdir()) == []


def test_settings_and_limits(url: str) -> None:
    result = crawler.run(Links, [url], pages_max=1, settings={"spider.prefix": "x"}, **FAST)
    assert paths(result) == ["x"]


def test_with_a_state_file_it_forks_workers_and_resumes(url: str, tmp_path: Path) -> None:
    where = {"state": str(tmp_path / "s.db"), "out": str(tmp_path / "o.jsonl"), "workers": 2}
    first = crawler.run("crawler.spiders.pages:Pages", [url], pages_max=2, **where, **FAST)
    assert first.report.pages == 2
    again = crawler.run("crawler.spiders.pages:Pages", [url], **where, **FAST)
    assert again.report.pages == 4
    assert len(urls_of_jsonl(tmp_path / "o.jsonl")) == 6


def test_within_a_running_event_loop_and_in_a_thread(url: str) -> None:
    async def notebook() -> Any:
        return crawler.run(Links, [url], **FAST)

    assert len(asyncio.run(notebook()).items) == 6
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(crawler.run(Links, [url], **FAST)))
    thread.start()
    thread.join(60)
    assert len(found[0].items) == 6


def test_no_thread_stays_behind(url: str) -> None:
    before = threading.active_count()
    crawler.run(Links, [url], **FAST)
    assert threading.active_count() == before


@pytest.mark.parametrize("seeds", [["no url"], ["missing.txt"], []])
def test_mistakes_are_settings_errors(seeds: list[str]) -> None:
    with pytest.raises(SettingsError):
        crawler.run(Links, seeds, **FAST)


def test_a_spider_that_cannot_be_made(url: str) -> None:
    with pytest.raises(SettingsError, match="prefixx"):
        crawler.run(Links, [url], settings={"spider.prefixx": "x"}, **FAST)
