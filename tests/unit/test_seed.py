"""Seeding: every form of list, each kind of bad line, and the producer behind it."""

from __future__ import annotations

import gzip
import io
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from crawler.error import SettingsError, SiteError
from crawler.frontier.memory import MemoryFrontier
from crawler.model import Added, CrawlRecord, Request, Rules
from crawler.seed import REFUSALS_MAX, Refusal, SeedReport, is_list, seed
from crawler.seed_named import NAMED_MAX
from crawler.seed_sources import requests
from crawler.view import Finish

URLSET = '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{}</urlset>'
A = "http://a.com/"
INDEX = '<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{}</sitemapindex>'


def found(path: Path, text: str | bytes, **options: Any) -> tuple[list[Request], list[tuple[int, str]]]:
    """The requests of a file, and line and reason of each refusal."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    both = [one for one in requests(str(path), chars_max=options.pop("chars_max", 2_000), **options) if one is not None]
    good = [one for one in both if isinstance(one, Request)]
    return good, [(one.line, one.reason) for one in both if isinstance(one, Refusal)]


def urls(path: Path, text: str | bytes, **options: Any) -> tuple[list[str], list[tuple[int, str]]]:
    good, bad = found(path, text, **options)
    return [one.url for one in good], bad


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["a.txt", "a", "a.list"])
@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("", [], []),
        ("\n\n# http://a.com\n  \n", [], []),
        ("http://a.com", ["http://a.com/"], []),
        ("  HTTP://A.com/x#y \r\nhttp://b.com/\r\n", ["http://a.com/x", "http://b.com/"], []),
        ("\ufeffhttp://a.com/\n", ["http://a.com/"], []),
        ("http://a.com/ä\n", ["http://a.com/%C3%A4"], []),
        ("nonsense\nhttp://a.com/\nftp://a.com/\n", ["http://a.com/"], [(1, "not_a_url"), (3, "scheme")]),
        ("http://u:p@a.com/\n", [], [(1, "credentials")]),
        (b"http://a.com/\xff\nhttp://a.com/\n", ["http://a.com/"], [(1, "encoding")]),
        ("http://a.com/" + "x" * 3_000 + "\nhttp://a.com/\n", ["http://a.com/"], [(1, "too_long")]),
        (b"#\n" + b"x" * 3_000_000 + b"\nhttp://a.com/\n", ["http://a.com/"], [(2, "line_max")]),
    ],
)
def test_text(
    tmp_path: Path, name: str, packed: bool, text: str | bytes, good: list[str], bad: list[tuple[int, str]]
) -> None:
    raw = text.encode() if isinstance(text, str) else text
    path = tmp_path / (name + ".gz" if packed else name)
    assert urls(path, gzip.compress(raw, 1) if packed else raw) == (good, bad)


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a", "a.jsonl.gz"])
def test_json_lines(tmp_path: Path, name: str) -> None:
    lines = [
        '{"url": "http://a.com"}',
        "",
        '{"url": "http://b.com/", "priority": 9, "depth": 2, "to": "detail", "meta": {"shelf": [1]}}',
        '{"url": "http://c.com/", "method": "POST", "headers": {"X-A": "b"}, "body": "q=1"}',
        '{"url": "http://d.com/", "priority": 10}',
        '{"url": "http://d.com/", "prio": 1}',
        '{"priority": 1}',
        '{"url": "http://d.com/", "to": "__init__"}',
        '{"url": "http://d.com/',
        '["http://d.com/"]',
        '{"url": "d.com"}',
        '{"url": "http://e.com/", "meta": {"deep": ' + "[" * 100_000,
    ]
    raw = "\n".join(lines).encode()
    good, bad = found(tmp_path / name, gzip.compress(raw) if name.endswith("gz") else raw)
    assert good == [
        Request(url="http://a.com/"),
        Request(url="http://b.com/", priority=9, depth=2, to="detail", meta={"shelf": [1]}),
        Request(url="http://c.com/", method="POST", headers=(("X-A", "b"),), body=b"q=1"),
    ]
    assert bad == [
        *((number, "field") for number in (5, 6, 7, 8)),
        (9, "json"),
        (10, "field"),
        (11, "not_a_url"),
        (12, "json"),
    ]


def test_csv(tmp_path: Path) -> None:
    rows = [
        "Priority,URL,sku,meta",
        'http://a.com,x,"a ""b""",',
        "3,http://a.com,,",
        '0,"http://b.com/?a,b","two',
        'lines","{""k"": 1}"',
        "12,http://c.com,,",
        ",http://c.com,,[1]",
        ",http://c.com,,,,",
        ",,,",
        "",
        ",http://d.com",
    ]
    good, bad = found(tmp_path / "a.csv", "\r\n".join(rows))
    assert good == [
        Request(url="http://a.com/", priority=3),
        Request(url="http://b.com/?a,b", meta={"sku": "two\r\nlines", "k": 1}),
        Request(url="http://d.com/"),
    ]
    assert bad == [(2, "field"), (6, "field"), (7, "field"), (8, "csv"), (9, "field")]


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        (b"url\nhttp://a.com/\xff\nhttp://b.com/\n", ["http://b.com/"], [(2, "encoding")]),
        (b"http://a.com/\nhttp://b.com/\n", ["http://a.com/", "http://b.com/"], []),
        (b"link,name\nhttp://b.com/,b\n", [], [(1, "csv")]),
        (b"", [], []),
        (b"url\n" + b'"' + b"x" * 200_000 + b'"\nhttp://a.com/\n', ["http://a.com/"], [(2, "csv")]),
    ],
)
def test_odd_csv(tmp_path: Path, text: bytes, good: list[str], bad: list[tuple[int, str]]) -> None:
    assert urls(tmp_path / "a.csv", text) == (good, bad)


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        (URLSET.format("<url><loc> http://a.com/?x=1&amp;y=2 </loc></url>"), ["http://a.com/?x=1&y=2"], []),
        (URLSET.format(f"\n<url>\n<loc><![CDATA[{A}]]></loc></url><url><loc>b</loc></url>"), [A], [(3, "not_a_url")]),
        (URLSET.format(f'<url><i:b xmlns:i="i"><i:loc>http://b.com/</i:loc></i:b><loc>{A}</loc></url>'), [A], []),
        (f"<urlset><url><loc>{A}</loc></url>\n", [A], [(2, "sitemap")]),
        (f"<urlset><url><loc>{A}</loc></x>", [A], [(1, "sitemap")]),
        (f"<rss><url><loc>{A}</loc></url></rss>", [], []),
        (f"<html><url><loc>{A}</loc></url></html>", [], [(1, "sitemap")]),
        (f'<!DOCTYPE urlset [<!ENTITY a "{A}">]><urlset><url><loc>&a;</loc></url></urlset>', [], [(1, "not_a_url")]),
        (INDEX.format("<sitemap><loc>http://a.com/1.xml</loc></sitemap>"), [], [(1, "sitemap")]),
        ("", [], [(1, "sitemap")]),
    ],
)
def test_sitemap(tmp_path: Path, text: str, good: list[str], bad: list[tuple[int, str]]) -> None:
    assert urls(tmp_path / "a.xml", text) == (good, bad)


def test_sitemaps_on_the_web(tmp_path: Path) -> None:
    pages = {
        "http://a.com/index.xml": INDEX.format(
            "".join(f"<sitemap><loc>http://a.com/{n}.xml</loc></sitemap>" for n in ("1", "gone", "loop"))
        ),
        "http://a.com/1.xml": gzip.compress(URLSET.format("<url><loc>http://a.com/p</loc></url>").encode()),
        "http://a.com/loop.xml": INDEX.format("<sitemap><loc>http://a.com/loop.xml</loc></sitemap>"),
    }

    def fetch(url: str) -> BinaryIO:
        if url not in pages:
            raise SiteError("http_404", url)
        text = pages[url]
        return io.BytesIO(text.encode() if isinstance(text, str) else text)

    both = [one for one in requests("http://a.com/index.xml", chars_max=100, fetch=fetch) if one is not None]
    assert [one.url for one in both if isinstance(one, Request)] == ["http://a.com/p"]
    refusals = [(one.source, one.reason) for one in both if isinstance(one, Refusal)]
    assert refusals == [("http://a.com/gone.xml", "http_404")]  # and one that names itself is read once


@pytest.mark.parametrize(("cut", "least"), [(12, 0), (-1, 30_000), (-9, 30_000)])
def test_a_packed_list_that_is_cut_gives_what_can_be_read(tmp_path: Path, cut: int, least: int) -> None:
    lines = "".join(f"http://a.com/{number * 7919 % 104729}\n" for number in range(50_000))
    good, bad = urls(tmp_path / "a.gz", gzip.compress(lines.encode())[:cut])
    assert [reason for _, reason in bad if reason != "not_a_url"] == ["gzip"]
    assert good == lines.split()[: len(good)]
    assert len(good) >= least


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("http://a.com/", False),
        ("https://a.com/x.html?sitemap.xml", False),
        ("ftp://a.com/", False),
        ("https://a.com/sitemap.xml", True),
        ("https://a.com/sitemap.XML.gz?x=1", True),
        ("seeds.txt", True),
        ("-", True),
    ],
)
def test_what_is_a_list(source: str, expected: bool) -> None:
    assert is_list(source) is expected


@pytest.mark.parametrize(
    ("name", "message"),
    [("none.txt", "no such file"), ("example.com", "write https://example.com"), (".", "directory")],
)
def test_a_file_that_cannot_be_read(name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with MemoryFrontier(Rules()) as frontier, pytest.raises(SettingsError, match=message):
        seed(frontier, [name])


def test_seeding_counts_and_closes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(f"http://a.com/{number % 2_000}\n" for number in range(2_500)) + "x\n" * 150)
    progress: list[SeedReport] = []
    refused: list[Refusal] = []
    with MemoryFrontier(Rules(robots=False)) as frontier:
        sources = ["http://b.com", str(path), "gopher://b.com"]
        report = seed(frontier, sources, batch=100, on_progress=progress.append, on_refused=refused.append)
        assert (report.new, report.known, report.refused, report.complete) == (2_001, 500, 151, True)
        assert len(report.refusals) == REFUSALS_MAX
        assert report.refusals[0][:3] == (str(path), 2_501, "not_a_url")
        assert len(refused) == 151
        assert refused[-1][:3] == ("gopher://b.com", 0, "scheme")
        assert [one.new + one.known for one in progress][:3] == [100, 200, 300]
        assert (frontier.counts().producers_open, frontier.counts().producers_closed) == (0, 1)
        again = seed(frontier, sources)
        assert (again.new, again.known) == (0, 2_501)


def test_nothing_to_seed_is_a_producer_that_closed() -> None:
    with MemoryFrontier(Rules()) as frontier:
        assert seed(frontier, []) == SeedReport()
        assert frontier.finished() is Finish.FINISHED


def test_it_waits_while_the_frontier_is_full() -> None:
    with MemoryFrontier(Rules(pending_max=2, robots=False)) as frontier:
        stop = threading.Event()
        sources = [f"http://a.com/{number}" for number in range(6)]
        reports: list[SeedReport] = []
        thread = threading.Thread(target=lambda: reports.append(seed(frontier, sources, batch=2, stop=stop)))
        thread.start()
        thread.join(0.7)
        assert thread.is_alive()
        assert frontier.counts().added < 6
        stop.set()
        thread.join(10)
        assert not thread.is_alive()
        assert not reports[0].complete
        assert reports[0].new == frontier.counts().added
        assert frontier.counts().producers_open == 1


def test_a_slow_source_does_not_lose_the_producer() -> None:
    """Standard input that gives a line now and then: each line goes in at once, and the lease is renewed meanwhile."""
    read, write = os.pipe()
    with MemoryFrontier(Rules(lease_s=0.4, robots=False)) as frontier:
        source = f"/dev/fd/{read}"
        reports: list[SeedReport] = []
        thread = threading.Thread(target=lambda: reports.append(seed(frontier, [source], renew_s=0.05)))
        for number in range(3):
            os.write(write, f"http://a.com/{number}\n".encode())
            if number == 0:
                thread.start()
            deadline = threading.Event()
            for _ in range(200):
                if frontier.counts().added == number + 1:
                    break
                deadline.wait(0.02)
            assert frontier.counts().added == number + 1
            deadline.wait(0.5)
            frontier.lease(0, worker="other", request_id=f"{number:032x}")  # reaps
            assert frontier.counts().producers_lost == 0
        os.close(write)
        thread.join(10)
        assert reports[0].new == 3
    os.close(read)


def test_a_producer_that_was_lost_is_opened_again() -> None:
    with MemoryFrontier(Rules(robots=False)) as frontier:
        taken = []

        def take(report: SeedReport) -> None:
            taken.append(frontier.open_producer("seeds"))

        report = seed(frontier, [f"http://a.com/{number}" for number in range(4)], batch=2, on_progress=take)
        assert report.new == 4
        assert len(taken) == 2
        assert frontier.finished() is Finish.RUNNING
        assert frontier.counts().producers_open == 0


class Sink:
    """A frontier that keeps nothing, to see what seeding alone holds in memory."""

    def open_producer(self, name: str) -> str:
        return name

    def renew(self, tokens: tuple[str, ...]) -> tuple[str, ...]:
        return ()

    def close_producer(self, token: str) -> bool:
        return True

    def add(self, batch: list[Request], *, producer: str) -> Added:
        return Added(new=len(batch))

    def record(self) -> CrawlRecord:
        return CrawlRecord(name="sink")

    def update_record(self, *, named: tuple[str, ...]) -> CrawlRecord:
        return CrawlRecord(name="sink", named=named)


def test_memory_is_constant() -> None:
    """300,000 lines through standard input, in a process of its own."""
    code = "from tests.unit.test_seed import seed_stdin; seed_stdin()"
    command = [sys.executable, "-c", code]
    lines = "".join(f"http://host{number % 999}.com/page/{number}\n" for number in range(300_000))
    done = subprocess.run(command, input=lines, text=True, capture_output=True, check=True, timeout=60)
    count, before, after = map(int, done.stdout.split())
    assert count == 300_000
    assert after - before < 20_000


def seed_stdin() -> None:
    """Seeds standard input; prints how many, and the peak memory in KB before and after."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = seed(Sink(), ["-"])  # type: ignore[arg-type]
    print(report.new, before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


class TestNamed:
    """Which hosts the seeds open to the workers."""

    def named(self, *sources: str, fetch: Any = None) -> tuple[str, ...]:
        with MemoryFrontier(Rules()) as frontier:
            seed(frontier, sources, fetch=fetch)
            return frontier.record().named

    def test_urls_and_files_name_their_hosts(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text(
            "http://b.example/1\nhttps://B.example:443/2\nhttp://127.1:8000/\nnone\nftp://x/\n"
        )
        found = self.named("http://a.example:80/", "not a url://", str(tmp_path / "a.txt"))
        assert found == ("127.0.0.1:8000", "a.example", "b.example")

    def test_lists_on_the_web_name_only_where_they_are(self, tmp_path: Path) -> None:
        pages = b"<urlset><url><loc>http://10.0.0.1/</loc></url></urlset>"
        assert self.named("http://a.example/sitemap.xml", fetch=lambda url: io.BytesIO(pages)) == ("a.example",)
        index = tmp_path / "index.xml"
        index.write_text("<sitemapindex><sitemap><loc>http://a.example/s.xml</loc></sitemap></sitemapindex>")
        assert self.named(str(index), fetch=lambda url: io.BytesIO(pages)) == ()

    def test_names_stand_before_the_first_request_can_be_leased(self) -> None:
        with MemoryFrontier(Rules()) as frontier:
            seen = []
            seed(frontier, ["http://a.example/"], on_progress=lambda report: seen.append(frontier.record().named))
            seed(frontier, ["http://b.example/"])
            assert seen == [("a.example",)]
            assert frontier.record().named == ("a.example", "b.example")

    def test_there_is_a_limit_but_not_for_ones_own(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("".join(f"http://h{number}.example/\n" for number in range(NAMED_MAX + 500)))
        own = ("http://127.0.0.1:9/", "http://[::1]/", "http://intranet/", "http://a.localhost:8/", "http://h.example/")
        found = self.named(str(tmp_path / "a.txt"), *own)
        assert len(found) == NAMED_MAX + 4
        assert {"127.0.0.1:9", "[::1]", "intranet", "a.localhost:8"} < set(found)
