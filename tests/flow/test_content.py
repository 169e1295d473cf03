"""What pages hold, over real sockets: types that the server does not tell, near-duplicates, markup without a bottom,
and the cache for development."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import crawler
from crawler import Item, Page, Spider
from crawler.cli import main
from pipelines.history import entries
from tests.sites.changing import PAGES, Changing
from tests.sites.crawl import Crawl
from tests.sites.stamp import StampServer

WORDS = ["".join(random.Random(seed).choices("abcdefghijkl", k=6)) for seed in range(900)]


class Kinds(Spider):
    """One item a page: how it was read."""

    name = "kinds"

    def parse(self, page: Page) -> Iterator[Any]:
        yield Item("kind", {"kind": page.kind, "links": len(page.links())})
        yield from page.follow_all()


@pytest.fixture
def site() -> Iterator[Changing]:
    with Changing() as site:
        yield site


def found(site: Changing, **settings: Any) -> dict[str, Any]:
    given = {"politeness.per_host": 0, **{key.replace("__", "."): value for key, value in settings.items()}}
    result = crawler.run(Kinds, [f"{site.url}/"], delay_s=0.0, settings=given)
    return {item["url"].rpartition("/")[2]: item["data"] for item in result.items}


def test_types_that_the_server_does_not_tell(site: Changing) -> None:
    site.types = {
        **{"etag": "", "dated": "text/plain", "same": "application/octet-stream"},
        **{"token": "application/pdf", "news": "*/*"},
    }
    as_browsers = found(site)
    assert {name: data["kind"] for name, data in as_browsers.items() if name} == {
        **{"etag": "html", "dated": "text", "news": "html", "gone": "html"}
    }
    site.times.clear()
    loosely = found(site, content__sniff="loose")
    assert {name for name, data in loosely.items() if data["kind"] == "html"} == {
        *("", "etag", "dated", "same", "news", "gone")
    }
    site.times.clear()
    assert {"same", "token", "news"}.isdisjoint(found(site, content__sniff="off"))


def near_pages(site: Changing) -> None:
    """same and token have nearly the same text, dated another."""
    long = random.Random(1).choices(WORDS, k=1_500)
    site.texts = {"same": " ".join(long), "token": " ".join([*long[:700], "other", *long[700:]])}
    site.texts["dated"] = " ".join(random.Random(2).choices(WORDS, k=1_500))


def test_near_duplicates_are_flagged_or_left_out(tmp_path: Path, site: Changing) -> None:
    near_pages(site)
    common = (f"{site.url}/", "--delay", "0", "--per-host", "1", "-w", "1")
    for mode, items in (("flag", len(PAGES) + 1), ("skip", len(PAGES))):
        site.times.clear()
        (folder := tmp_path / mode).mkdir()
        one = Crawl(folder, [*common, "--set", f"content.similar={mode}"])
        one.start()
        report = one.end()
        assert (report["exit"], report["items_total"]) == (0, items)
        entries_ = {event.url.rpartition("/")[2]: event.entry for event in entries(folder / "state.db.history")}
        pair = (entries_["same"], entries_["token"])
        second = next(entry for entry in pair if entry.near)
        assert {entry.near.rpartition("/")[2] for entry in pair} == {"", "same" if second is pair[1] else "token"}
        assert second.reason == ("similar" if mode == "skip" else "")
        assert entries_["dated"].simhash not in (0, pair[0].simhash)
        assert (entries_["dated"].near, entries_["news"].simhash) == ("", 0)


def test_a_page_that_is_nested_too_deep_is_buried_at_its_first_visit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
        body = b"<div>" * 100_000 if path == "/deep" else b"<a href=/deep>d</a><a href=/last>l</a>"
        return 200, {"Content-Type": "text/html"}, body

    with StampServer(answer) as server:
        url = f"http://127.0.0.1:{server.port}"
        one = Crawl(tmp_path, [f"{url}/", "--delay", "0", "-w", "1"])
        report = one.run()
        assert (report["exit"], report["pages_total"], report["errors"]) == (0, 2, {"bury:nesting": 1})
        (letter,) = one.dead()
        assert (letter.request.url, letter.attempts, letter.crashes) == (f"{url}/deep", 0, 0)
        assert "5,000" in letter.detail
        assert Counter(stamp.path for stamp in server.stamps)["/deep"] == 1
        assert main(["fetch", f"{url}/deep"]) == 1
        assert "nesting: elements more than 5,000 deep" in capsys.readouterr().out


def test_the_cache_answers_for_the_site(tmp_path: Path, site: Changing) -> None:
    site.redirects = {"gone": "/news"}
    arguments = (f"{site.url}/", f"{site.url}/missing", "--delay", "0.05", "-w", "2", "--cache")
    stored = []
    for name in ("first", "second"):
        (folder := tmp_path / name).mkdir()
        cache = ("--set", f"cache.path={tmp_path / 'cache'}")
        one = Crawl(folder, [*arguments, *cache])
        one.start()
        report = one.end()
        assert (report["exit"], report["errors"]) == (0, {"bury:http_404": 1})
        lines = map(json.loads, (folder / "out.jsonl").read_text().splitlines())
        stored.append(sorted(lines, key=lambda item: str(item["id"])))
    assert stored[0] == stored[1] != []
    assert set(site.times.values()) == {1}


def test_what_the_cache_has_is_not_asked_for_nor_waited_for(tmp_path: Path, site: Changing) -> None:
    settings = {"cache__enabled": True, "cache__path": str(tmp_path / "cache"), "politeness__robots": False}
    assert found(site, **settings) == found(site, **settings)
    assert set(site.times.values()) == {1}
    site.times.clear()
    assert len(found(site, **settings, cache__max_age_s=0.001)) == len(PAGES) + 1
    assert set(site.times.values()) == {1}
