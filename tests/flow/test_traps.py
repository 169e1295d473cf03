"""Endless sites, crawled by the real workers: the crawl ends, every real page is in, what was refused is told."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import count
from pathlib import Path

import crawler
from crawler.frontier.sqlite import SqliteFrontier
from crawler.model import DeadLetter, Rules
from crawler.spiders.pages import Pages
from tests.sites.stamp import StampServer

HTML = {"Content-Type": "text/html"}
WORDS = ("alder", "birch", "cedar", "damson", "elm", "fir", "gorse", "hazel", "ivy", "juniper", "larch", "maple")
REAL = 60
Answer = Callable[[str], str | None]
"""A path with its query -> the page's body; None: not found."""

FAST = {"politeness.delay_s": 0, "politeness.per_host": 0, "worker.flush_s": 0.005}


def text_of(name: str) -> str:
    """Words that no other page has in this order."""
    digest = blake2b(name.encode()).digest()
    return " ".join(WORDS[octet % len(WORDS)] for octet in digest[:24])


def link(path: str) -> str:
    return f'<a href="{path}">{path}</a> '


def crawled(answer: Answer, state: Path, **settings: object) -> tuple[Counter[str], tuple[DeadLetter, ...]]:
    """Paths of the pages stored, and the dead letters."""

    def site(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
        body = answer(path) if path != "/robots.txt" else None
        return (404, {}, b"") if body is None else (200, HTML, f"<title>{path}</title>{body}".encode())

    with StampServer(site) as server:
        result = crawler.run(
            Pages, [f"http://127.0.0.1:{server.port}/"], state=str(state / "state.db"), out=str(state / "out.jsonl"),
            settings={**FAST, **settings},
        )  # fmt: skip
    assert result.report.exit_code == 0
    paths = re.findall(r'"url":"http://[^/]+(/[^"]*)"', (state / "out.jsonl").read_text())
    with SqliteFrontier(str(state / "state.db"), Rules()) as frontier:
        return Counter(paths), frontier.dead(limit=100_000)


def real_page(path: str, prefix: str = "") -> str | None:
    """A finite site: a tree of pages, each linking to two more."""
    found = re.fullmatch(r"/(?:page-(\d+)\.html)?", path)
    if not found:
        return None
    number = int(found[1] or 0)
    more = [f"{prefix}/page-{one}.html" for one in (2 * number + 1, 2 * number + 2) if one < REAL]
    return text_of(path) + "".join(map(link, more))


def expected() -> set[str]:
    return {"/", *(f"/page-{number}.html" for number in range(1, REAL))}


def test_a_calendar_without_end(tmp_path: Path) -> None:
    def answer(path: str) -> str | None:
        if path == "/":
            return (real_page(path) or "") + link("/calendar?month=1&year=2026") + link("/diary/2026/01/")
        if found := re.fullmatch(r"/calendar\?month=(\d+)&year=(\d+)", path):
            month, year = int(found[1]), int(found[2])
            after = link(f"/calendar?month={month % 12 + 1}&year={year + month // 12}")
            return f"{WORDS[month - 1]} {year}: nothing planned {after}" + link(f"/diary/{year}/{month:02}/")
        if found := re.fullmatch(r"/diary/(\d+)/(\d+)/", path):
            year, month = int(found[1]), int(found[2])
            return f"entries of {month}/{year}" + link(f"/diary/{year + 1}/{month:02}/") + link("/")
        return real_page(path)

    stored, dead = crawled(answer, tmp_path)
    assert expected() <= set(stored)
    traps = [letter for letter in dead if letter.reason == "trap"]
    assert {"calendar"} == {letter.detail.partition(":")[0] for letter in traps}
    assert all("traps.calendar_budget_max" in letter.detail for letter in traps)
    assert len(stored) < REAL + 250


def test_session_ids_without_end(tmp_path: Path) -> None:
    """Every link gets a new one: in the query as a hash, as a small number, in the path, as a path parameter."""
    fresh = count()
    styles: list[Callable[[str, int], str]] = [
        lambda path, number: f"{path}?PHPSESSID={blake2b(str(number).encode(), digest_size=13).hexdigest()}",
        lambda path, number: f"{path}?sid={number}",
        lambda path, number: f"/s/{blake2b(str(number).encode(), digest_size=16).hexdigest()}{path}",
        lambda path, number: f"{path};jsessionid={number:08X}",
    ]

    def answer(path: str) -> str | None:
        plain = re.sub(r"\?.*|;.*|^/s/[0-9a-f]+", "", path)
        page = real_page(plain)
        if page is None:
            return None

        def with_session(found: re.Match[str]) -> str:
            number = next(fresh)
            style = styles[sum(plain.encode()) % len(styles)]
            return f'href="{style(found[1], number)}"'

        # Back to the start as well, as sites do: each page leads to ever more.
        return re.sub('href="([^"]*)"', with_session, page + link("/") + link("/page-1.html"))

    stored, dead = crawled(answer, tmp_path)
    real = {re.sub(r"\?.*|;.*|^/s/[0-9a-f]+", "", path) for path in stored}
    assert real == expected()
    assert {letter.reason for letter in dead} == {"trap"}
    assert sum(stored.values()) < REAL * 40


def test_paths_that_grow(tmp_path: Path) -> None:
    def answer(path: str) -> str | None:
        if path == "/":
            return (real_page(path) or "") + '<a href="a/b/">deeper</a>'
        if path.startswith("/a/"):
            return f'{path.count("/")} deep <a href="a/b/">deeper</a>'
        return real_page(path)

    stored, dead = crawled(answer, tmp_path)
    assert expected() <= set(stored)
    assert [letter.detail for letter in dead] == ["repeats: a/b stands in its path more than 3 times in a row"]


def shop(items: int) -> Answer:
    """Many pages of one shape, each linking to others of it, that tell apart by one number and a price."""

    def answer(path: str) -> str | None:
        if path == "/":
            return "".join(link(f"/list/{number}") for number in range(0, items, 100))
        if found := re.fullmatch(r"/list/(\d+)", path):
            first = int(found[1])
            return "".join(link(f"/item/{number}") for number in range(first, min(first + 100, items)))
        if found := re.fullmatch(r"/item/(\d+)", path):
            number = int(found[1])
            return f"Item {number}, price {number % 90}" + link(f"/item/{(number + 7) % items}") + link("/")
        return None

    return answer


def test_many_items_of_one_shape_are_no_trap(tmp_path: Path) -> None:
    stored, dead = crawled(shop(3_000), tmp_path, **{"exchange.history": False})
    assert dead == ()
    assert len(stored) == 1 + 30 + 3_000


def months() -> Iterator[str]:
    return (f"/calendar/2026-{month:02}" for month in range(1, 13))


def test_what_was_refused_can_be_brought_back(tmp_path: Path) -> None:
    """Each month says the same and leads nowhere else: with a budget of 3 some are refused."""

    def answer(path: str) -> str | None:
        if path == "/":
            return "".join(map(link, months()))
        return f"nothing in {path[-2:]}" if path in months() else None

    small = {"traps.calendar_budget_max": 3, "worker.concurrency": 1, "worker.processes": 1}
    stored, dead = crawled(answer, tmp_path, **small)
    assert dead
    assert len(stored) + len(dead) == 13
    with SqliteFrontier(str(tmp_path / "state.db"), Rules()) as frontier:
        assert frontier.kick(reason="trap") == len(dead)
    # The server listens on another port now: the kicked pages are asked for where they were, and fail there.
    with SqliteFrontier(str(tmp_path / "state.db"), Rules()) as frontier:
        assert frontier.counts().dead == 0
        assert frontier.counts().ready == len(dead)
