"""Pages that come back: by interval, adaptively, by a sitemap's lastmod, after a crawl that knew nothing of it; across
kills. The site tells what it was asked, the history how each visit ended."""

from __future__ import annotations

import json
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import crawler
from crawler import Item, Page, Request, Spider
from pipelines.history import Event, entries
from tests.sites.changing import PAGES, STAMP, Changing
from tests.sites.crawl import Crawl

OPTIONS = ("--delay", "0", "--per-host", "0", "-w", "1")
HANG_S = 90.0


@pytest.fixture
def site() -> Iterator[Changing]:
    with Changing() as site:
        yield site


def visits(folder: Path) -> dict[str, list[Event]]:
    """Outcomes by the last part of the URL, in the order of visits."""
    found: dict[str, list[Event]] = defaultdict(list)
    for event in entries(folder / "state.db.history", limit=100_000):
        found[event.url.rpartition("/")[2]].append(event)
    return {name: sorted(events, key=lambda event: event.visit) for name, events in found.items()}


def stored(folder: Path) -> dict[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for line in (folder / "out.jsonl").read_text().splitlines():
        item = json.loads(line)
        found[item["url"].rpartition("/")[2]].append(item)
    return found


def crawl(folder: Path, site: Changing, *arguments: str) -> dict[str, Any]:
    one = Crawl(folder, [f"{site.url}/", *OPTIONS, *arguments])
    one.start()
    return one.end()


def interval(seconds: float) -> tuple[str, ...]:
    return ("--set", "revisit.mode=interval", "--set", f"revisit.interval_s={seconds}")


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_pages_come_back_and_only_news_is_stored(tmp_path: Path, site: Changing) -> None:
    one = Crawl(tmp_path, [f"{site.url}/", *OPTIONS, *interval(0.5), "--revisit"])
    one.start()
    wait_for(lambda: min(site.times[f"/{page}"] for page in PAGES if page != "gone") >= 3)
    one.process.send_signal(signal.SIGINT)
    one.end()
    seen, items = visits(tmp_path), stored(tmp_path)
    for name, events in seen.items():
        numbers = [event.visit for event in events if event.entry.outcome == "done"]
        assert numbers == list(range(len(numbers))), name
    later = {name: {event.entry.reason for event in events[1:]} for name, events in seen.items()}
    assert later == {
        **{"etag": {"not_modified"}, "dated": {"not_modified"}, "same": {"unchanged"}, "token": {"unchanged"}},
        **{"": {"unchanged"}, "news": {""}, "gone": {"http_410"}},
    }
    assert all("if-none-match" not in headers for headers in site.of("/etag")[:1])
    assert all(headers["if-none-match"] == '"v1"' for headers in site.of("/etag")[1:])
    assert all(headers["if-modified-since"] == STAMP for headers in site.of("/dated")[1:])
    assert site.times["/gone"] == 2
    assert {name: len(of) for name, of in items.items() if name != "news"} == dict.fromkeys(["", *PAGES[:4], "gone"], 1)
    texts = [item["data"]["text"] for item in items["news"]]
    assert len(texts) == len(set(texts)) == len(seen["news"])
    assert len({item["id"] for item in items["news"]}) == len(texts)


def test_a_plain_run_does_not_wait_for_later_visits(tmp_path: Path, site: Changing) -> None:
    report = crawl(tmp_path, site, *interval(3600))
    assert (report["exit"], report["finish"]) == (0, "finished")
    assert (report["pages"], report["pending"], report["revisits"]) == (7, 0, 7)
    again = crawl(tmp_path, site, *interval(3600))
    assert (again["exit"], again["pages"], again["revisits"]) == (0, 0, 7)
    assert set(site.times.values()) == {1}


def test_a_crawl_that_knew_nothing_of_it_is_taken_up(tmp_path: Path, site: Changing) -> None:
    assert crawl(tmp_path, site)["revisits"] == 0
    report = crawl(tmp_path, site, *interval(0.5), "--revisit", "--max-time", "4")
    assert report["restarts"] == 0
    seen = visits(tmp_path)
    assert all(len(seen[page]) > 1 for page in PAGES)
    assert seen["etag"][1].entry.reason == "not_modified"
    assert seen["same"][1].entry.reason == ""  # nobody had kept what it looked like
    assert {event.entry.reason for event in seen["same"][2:]} <= {"unchanged"}


def test_adaptively_what_changes_comes_sooner(tmp_path: Path, site: Changing) -> None:
    settings = {"mode": '"adaptive"', "interval_s": 1, "min_s": 0.25, "max_s": 60}
    given = [part for key, value in settings.items() for part in ("--set", f"revisit.{key}={value}")]
    crawl(tmp_path, site, *given, "--revisit", "--max-time", "7")
    assert site.times["/news"] > site.times["/etag"] > 1
    assert site.times["/news"] > site.times["/same"] > 1


def test_unchanged_pages_give_items_when_asked(tmp_path: Path, site: Changing) -> None:
    crawl(tmp_path, site, *interval(0.5), "--revisit", "--max-time", "4", "--set", "revisit.unchanged_items=true")
    items = stored(tmp_path)
    assert all(len(items[page]) > 1 for page in ("etag", "dated", "same", "token"))
    assert all("if-none-match" not in headers for headers in site.of("/etag"))


def test_nothing_is_lost_or_doubled_by_kills(tmp_path: Path, site: Changing) -> None:
    one = Crawl(tmp_path, [f"{site.url}/", *OPTIONS, *interval(0.5), "--revisit", "--set", "frontier.lease_s=2"])
    for round_ in range(1, 4):
        one.start()
        wait_for(lambda least=round_: site.times["/news"] >= 2 * least)
        one.kill_tree()
    one.start()
    before = site.times["/etag"]
    wait_for(lambda: site.times["/etag"] > before + 1 and site.times["/same"] > 4)
    one.process.send_signal(signal.SIGINT)
    one.end()
    seen, items = visits(tmp_path), stored(tmp_path)
    for name, events in seen.items():
        if name != "gone":
            assert sorted({event.visit for event in events}) == list(range(events[-1].visit + 1)), name
    ids = [item["id"] for of in items.values() for item in of]
    assert len(ids) == len(set(ids))
    assert len(items["etag"]) == len(items["same"]) == 1


def sitemap(tmp_path: Path, site: Changing, lastmod: str) -> str:
    path = tmp_path / "sitemap.xml"
    rows = "".join(f"<url><loc>{site.url}/{page}</loc><lastmod>{lastmod}</lastmod></url>" for page in ("etag", "news"))
    path.write_text(f"<urlset>{rows}<url><loc>{site.url}/same</loc></url></urlset>")
    return str(path)


def test_a_sitemap_says_what_has_changed(tmp_path: Path, site: Changing) -> None:
    arguments = ("--revisit", "--depth", "1", "--set", "revisit.mode=lastmod", "--seeds")
    first = crawl(tmp_path, site, *arguments, sitemap(tmp_path, site, "2025-01-01T00:00:00Z"))
    assert (first["exit"], first["finish"]) == (0, "finished")
    assert crawl(tmp_path, site, *arguments, sitemap(tmp_path, site, "2025-01-01"))["pages"] == 0
    tomorrow = time.strftime("%Y-%m-%dT00:00:00+00:00", time.gmtime(time.time() + 86_400))
    assert crawl(tmp_path, site, *arguments, sitemap(tmp_path, site, tomorrow))["pages"] == 1
    assert (site.times["/etag"], site.times["/news"], site.times["/same"]) == (2, 2, 1)
    assert visits(tmp_path)["etag"][1].entry.reason == "not_modified"
    assert len(stored(tmp_path)["news"]) == 2


class Heads(Spider):
    """Looks before it fetches."""

    name = "heads"

    def parse(self, page: Page) -> Iterator[Item | Request]:
        for url in page.links():
            yield page.follow(url, to="head", method="HEAD")

    def head(self, page: Page) -> Iterator[Item | Request]:
        yield page.item("head", kind=page.headers["Content-Type"], bytes=len(page.body), links=len(page.links()))


def test_a_spider_may_ask_for_heads(site: Changing) -> None:
    site.types = {"news": "application/pdf"}
    result = crawler.run(Heads, [f"{site.url}/"], delay_s=0.0, per_host=0)
    assert len(result.items) == len(PAGES)
    assert {method for method, path, _ in site.asked if path[1:] in PAGES} == {"HEAD"}
    found = {item["url"].rpartition("/")[2]: item["data"] for item in result.items}
    assert found["news"] == {"kind": "application/pdf", "bytes": 0, "links": 0}
