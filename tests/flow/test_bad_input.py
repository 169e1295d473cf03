"""Bad input, given to the real command: a clear message or a dead letter, the right exit code, nothing lost."""

from __future__ import annotations

import asyncio
import gzip
import resource
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sites.crawl import Crawl, urls_of_jsonl
from tests.sites.nasty import Nasty
from tests.sites.stamp import StampServer

FAST = ["-w", "2", "--delay", "0", "--per-host", "0"]
SOON = ["--set", "retry.backoff_s=0.05", "--set", "frontier.attempts_max=2"]
HTML = {"Content-Type": "text/html"}


class _Background:
    """The nasty site on an event loop of its own thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.site = Nasty()
        asyncio.run_coroutine_threadsafe(self.site.__aenter__(), self._loop).result(10)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.site.__aexit__(None, None, None), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def nasty() -> Iterator[Nasty]:
    background = _Background()
    yield background.site
    background.close()


def small_site(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
    if path == "/robots.txt":
        return 404, {}, b""
    links = "".join(f"<a href='/{number}'>x</a>" for number in range(30)) if path == "/" else ""
    return 200, HTML, f"<title>{path}</title>{links}{'words ' * 3_000}".encode()


def test_a_site_full_of_faults(nasty: Nasty, tmp_path: Path) -> None:
    """Each fault is a dead letter with its reason, and what is fine is stored."""
    faults = {
        "/endless": "body_max",
        "/bomb": "decoded_max",
        "/loop": "redirect_loop",
        "/404": "http_404",
        "/404-latin": "http_404",
        "/500": "http_500",
        "/not-gzip": "bad_encoding",
        "/garbage": "protocol",
        "/drip": "timeout_total",
    }
    fine = ["/fine", "/gzip", "/br", "/zstd", "/deflate"]
    seeds = [nasty.url(path) for path in (*faults, *fine)]
    limits = ["--set", "fetch.total_s=3", "--set", "politeness.robots=false", *SOON]
    crawl = Crawl(tmp_path, [*seeds, *FAST, *limits, "--depth", "0", "--set", 'crawl.exclude=["/next$"]'])
    report = crawl.run()
    assert report["exit"] == 0, crawl.errors
    assert {letter.request.url: letter.reason for letter in crawl.dead()} == {
        nasty.url(path): reason for path, reason in faults.items()
    }
    assert urls_of_jsonl(tmp_path / "out.jsonl") == {nasty.url(path): 1 for path in fine}
    assert report["peak_rss_mb"] < 400  # the bomb alone has 500 MB


def test_a_redirect_loop_over_several_pages(tmp_path: Path) -> None:
    def answer(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
        following = {"/a": "/b", "/b": "/c", "/c": "/a"}.get(path)
        return (302, {"Location": following}, b"") if following else (404, {}, b"")

    with StampServer(answer) as server:
        crawl = Crawl(tmp_path, [f"http://127.0.0.1:{server.port}/a", *FAST])
        assert crawl.run()["exit"] == 0
        (letter,) = crawl.dead()
        assert letter.reason == "redirect_loop"
        assert letter.detail.count(" -> ") == 3


def test_a_site_that_is_down(tmp_path: Path) -> None:
    url = "http://127.0.0.1:1/"
    down = ["--set", "politeness.host_failures_max=3", "--set", "politeness.host_backoff_s=0.1"]
    crawl = Crawl(tmp_path, [url, *FAST, *down])
    assert crawl.run()["exit"] == 0
    assert [(letter.request.url, letter.reason) for letter in crawl.dead()] == [(url, "host_down")]


SPIDERS = {
    "exception": ("        raise ValueError('no such table')", "spider_exception", "ValueError: no such table"),
    "surrogate": ("        raise ValueError(chr(0xD800))", "spider_exception", "ValueError: \\ud800"),
    "nonsense": ("        yield 42", "spider_yield", "int 42"),
    "unencodable": ("        yield page.item('x', what=object())", "spider_item", "'what'"),
    "exit": ("        raise SystemExit(3)", "spider_exception", "SystemExit"),
}


@pytest.mark.parametrize(("body", "reason", "said"), SPIDERS.values(), ids=SPIDERS.keys())
def test_a_spider_that_fails_on_one_page(tmp_path: Path, body: str, reason: str, said: str) -> None:
    lines = (
        "from crawler.spiders.pages import Pages\nclass Bad(Pages):\n    def parse(self, page):\n"
        "        if not page.url.endswith('/7'):\n            yield from super().parse(page)\n            return\n"
        f"{body}\n"
    )
    (tmp_path / "bad.py").write_text(lines)
    with StampServer(small_site) as server:
        crawl = Crawl(tmp_path, [f"http://127.0.0.1:{server.port}/", *FAST, "--spider", "bad.py:Bad"])
        report = crawl.run()
    assert report["exit"] == 0
    (letter,) = crawl.dead()
    assert letter.request.url.endswith("/7")
    assert letter.reason == reason
    assert said in letter.detail
    assert len(urls_of_jsonl(tmp_path / "out.jsonl")) == 30


REFUSED = {
    "not a URL": (["exa mple"], "exa mple"),
    "scheme": (["ftp://example.com/"], "ftp"),
    "missing file": (["--seeds", "missing.txt"], "missing.txt"),
    "misspelt key": (["http://127.0.0.1:1/", "--set", "worker.concurency=3"], "did you mean concurrency"),
    "spider that does not import": (["http://127.0.0.1:1/", "--spider", "broken.py:Broken"], "no_such_module"),
    "spider that is none": (["http://127.0.0.1:1/", "--spider", "crawler.url:Joiner"], "Joiner"),
    "pipeline with a wrong argument": (
        ["http://127.0.0.1:1/", "--set", "pipelines.x.use=pipelines.jsonl:JsonLines", "--set", "pipelines.x.pat=y"],
        "pat",
    ),
}


@pytest.mark.parametrize(("arguments", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_before_anything_starts(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module\n")
    crawl = Crawl(tmp_path, arguments)
    assert crawl.run()["exit"] == 2
    assert said in crawl.errors
    assert "Traceback" not in crawl.errors
    assert not crawl.state.exists()


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    crawl = Crawl(tmp_path, ["http://127.0.0.1:1/"], out="file/out.jsonl")
    (tmp_path / "file").write_text("not a folder")
    assert crawl.run()["exit"] == 2
    assert "out.jsonl" in crawl.errors


def test_an_output_of_another_kind(tmp_path: Path) -> None:
    crawl = Crawl(tmp_path, ["http://127.0.0.1:1/"], out="out.xls")
    assert crawl.run()["exit"] == 2
    assert ".jsonl, .jsonl.gz, .jsonl.zst, .csv" in crawl.errors
    assert not crawl.state.exists()


@pytest.mark.parametrize("content", [b"this is no database, but long enough to be one " * 40, b"x"])
def test_a_state_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    crawl = Crawl(tmp_path, ["http://127.0.0.1:1/"])
    crawl.state.write_bytes(content)
    assert crawl.run()["exit"] == 2
    assert str(crawl.state) in crawl.errors
    assert crawl.state.read_bytes() == content


def test_another_output_for_an_old_crawl_is_refused(tmp_path: Path) -> None:
    with StampServer(small_site) as server:
        url = f"http://127.0.0.1:{server.port}/"
        assert Crawl(tmp_path, [url, *FAST]).run()["exit"] == 0
        other = Crawl(tmp_path, [url, *FAST], out="other.csv")
        assert other.run()["exit"] == 2
        assert "--fresh" in other.errors
        assert not (tmp_path / "other.csv").exists()


def test_an_output_that_was_cut_or_removed_is_refused(tmp_path: Path) -> None:
    with StampServer(small_site) as server:
        crawl = Crawl(tmp_path, [f"http://127.0.0.1:{server.port}/", *FAST])
        assert crawl.run()["exit"] == 0
        out = tmp_path / "out.jsonl"
        out.write_bytes(out.read_bytes()[:100])
        assert crawl.run()["exit"] == 2
        assert "out.jsonl" in crawl.errors


def test_lines_that_are_no_urls_are_refused_with_their_numbers(tmp_path: Path) -> None:
    with StampServer(small_site) as server:
        url = f"http://127.0.0.1:{server.port}/"
        lines = [url.encode(), b"ftp://x/", b"caf\xe9 \xff", b"not a url", f"{url}3".encode()]
        with gzip.open(tmp_path / "seeds.txt.gz", "wb") as file:
            file.write(b"\n".join(lines))
        report = Crawl(tmp_path, ["--seeds", "seeds.txt.gz", *FAST]).run()
    assert report["exit"] == 0
    seeded = report["seeded"]
    assert (seeded["new"], seeded["refused"]) == (2, 3)
    assert [refusal[1] for refusal in seeded["refusals"]] == [2, 3, 4]


def test_a_report_of_many_long_refusals_does_not_hold_the_seeder(tmp_path: Path) -> None:
    """A hundred of them are kept, of 200 letters each: more than a pipe holds."""
    with StampServer(small_site) as server:
        bad = "\N{GRINNING FACE}" * 300
        lines = [f"http://{bad} {number}/" for number in range(150)]
        (tmp_path / "seeds.txt").write_text("\n".join([*lines, f"http://127.0.0.1:{server.port}/3"]))
        report = Crawl(tmp_path, ["--seeds", "seeds.txt", *FAST]).run()
    assert report["exit"] == 0
    assert (report["seeded"]["new"], report["seeded"]["refused"]) == (1, 150)
    assert len(report["seeded"]["refusals"]) == 100


def test_a_disk_that_fills_up_stops_nothing_for_good(tmp_path: Path) -> None:
    """Files may not grow over 200 kB: workers and stores wait. Then there is room again: the crawl ends complete."""
    with StampServer(small_site) as server:
        crawl = Crawl(tmp_path, [f"http://127.0.0.1:{server.port}/", *FAST, "--set", "exchange.history=false"])
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
        try:
            crawl.start()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        time.sleep(3)
        assert crawl.running, crawl.errors
        waiting = crawl.errors
        for pid in tree(crawl.process.pid):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        report = crawl.end()
    assert "out.jsonl" in waiting or "state.db" in waiting
    assert report["exit"] == 0, crawl.errors
    stored = urls_of_jsonl(tmp_path / "out.jsonl")
    assert len(stored) == 31
    assert set(stored.values()) == {1}
    assert crawl.dead() == ()


def tree(pid: int) -> list[int]:
    """The process and its children."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [pid, *map(int, listed.stdout.split())]


def test_a_record_that_was_damaged_by_hand(tmp_path: Path) -> None:
    """It is buried by name; everything else completes."""
    with StampServer(small_site) as server:
        url = f"http://127.0.0.1:{server.port}/"
        crawl = Crawl(tmp_path, [url, *FAST, "--max-pages", "1"])
        assert crawl.run()["exit"] == 0
        db = sqlite3.connect(crawl.state)
        db.execute("UPDATE request SET payload = ? WHERE id = (SELECT max(id) FROM request)", (b"{damaged",))
        db.commit()
        db.close()
        crawl.arguments = [url, *FAST, "--max-pages", "0"]
        report = crawl.run()
    assert report["exit"] == 0
    (letter,) = crawl.dead()
    assert letter.reason == "damaged_record"
    assert len(urls_of_jsonl(tmp_path / "out.jsonl")) == 30


def test_json_report_has_what_scripts_need(tmp_path: Path) -> None:
    with StampServer(small_site) as server:
        report = Crawl(tmp_path, [f"http://127.0.0.1:{server.port}/", *FAST]).run()
    whole = ("pages", "items", "failed", "dead")
    measured = ("seconds", "cpu_seconds", "pages_per_second", "pages_per_cpu_second", "peak_rss_mb")
    assert all(type(report[key]) is int for key in whole)
    assert all(report[key] > 0 for key in measured)
    assert report["pages"] == 31
    assert report["items"] == 31
