"""The commands as people and scripts use them: real processes, a real server on loopback."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PAGES = 40
GUARD_S = 60
FAST = ("--delay", "0", "--per-host", "0")


class Site:
    """`PAGES` pages that link on, /old redirects to one of them, /gone is missing until it is mended."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.mended = False
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16

            def log_message(self, format: str, *args: object) -> None:
                return

            def do_GET(self) -> None:
                site.asked[self.path] += 1
                status, body, more = site.answer(self.path)
                self.send_response(status)
                for name, value in {"Content-Type": "text/html; charset=utf-8", **more}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}/"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        if path == "/old":
            return 301, b"", {"Location": "/page/1"}
        if path == "/" or re.fullmatch(r"/page/\d+", path) or (path == "/gone" and self.mended):
            number = int(path.rpartition("/")[2]) if path.startswith("/page/") else 0
            links = [f"/page/{(number * 3 + k) % PAGES}" for k in range(1, 5)] + ["/old", "/gone"]
            html = "".join(f'<a href="{link}">x</a>' for link in links)
            return 200, f"<title>T {number}</title><h1>Ü</h1>{html}".encode(), {}
        return 404, b"", {}

    def pages(self) -> set[str]:
        """What a crawl must find."""
        found = {self.url, *(f"{self.url}page/{number}" for number in range(PAGES))}
        return found | ({f"{self.url}gone"} if self.mended else set())

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.chdir(tmp_path)
    site = Site()
    yield site
    site.close()


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "crawler", *words]


ENVIRON = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def crawler(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), input=stdin, capture_output=True, text=True, env=ENVIRON, timeout=GUARD_S)


def stored(path: str) -> list[str]:
    return [json.loads(line)["url"] for line in Path(path).read_text().splitlines()]


def test_run_twice_then_fresh(site: Site) -> None:
    first = crawler("run", site.url, *FAST)
    assert first.returncode == 0, first.stderr
    name = site.host.replace(":", "_")
    assert sorted(stored(f"{name}.jsonl")) == sorted(site.pages())
    assert f"finished: {PAGES + 1} pages, {PAGES + 1} items" in first.stdout
    assert f"results   {name}.jsonl" in first.stdout
    assert f"dead      1 page: http_404 1\n            see crawler dead ls --state .crawler/{name}.db" in first.stdout
    assert all(times == 1 for path, times in site.asked.items() if path != "/robots.txt")

    asked = site.asked.total()
    again = crawler("run", site.url, *FAST)
    assert again.returncode == 0
    assert again.stdout.startswith(f"already finished: {PAGES + 1} pages")
    assert site.asked.total() == asked

    other = crawler("run", site.url, *FAST, "-o", "other.jsonl")
    assert other.returncode == 2
    assert f"{name}.jsonl" in other.stderr
    assert not Path("other.jsonl").exists()

    fresh = crawler("run", site.url, *FAST, "--fresh")
    assert fresh.returncode == 0
    assert sorted(stored(f"{name}.jsonl")) == sorted(site.pages())
    assert site.asked["/page/1"] == 2


@pytest.mark.parametrize("state", ["memory:", "some.db"])
def test_json_is_all_there_is_on_stdout(state: str, site: Site) -> None:
    done = crawler("run", site.url, *FAST, "--state", state, "-o", "out.jsonl", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert (report["pages"], report["items"], report["failed"], report["dead"]) == (PAGES + 1, PAGES + 1, 1, 1)
    assert report["finish"] == "finished"
    for measure in ("seconds", "cpu_seconds", "pages_per_second", "pages_per_cpu_second", "peak_rss_mb"):
        assert report[measure] > 0
    assert sorted(stored("out.jsonl")) == sorted(site.pages())


def test_progress_is_a_plain_line_when_piped(site: Site) -> None:
    done = crawler("run", site.url, *FAST, "--state", "s.db")
    assert "\x1b" not in done.stdout + done.stderr
    assert f"{PAGES + 1} pages" in done.stderr.splitlines()[-1]


def test_a_terminal_gets_a_live_view_and_then_the_summary(site: Site) -> None:
    master, slave = pty.openpty()
    environ = {**ENVIRON, "TERM": "xterm", "COLUMNS": "80", "LINES": "30"}
    words = command("run", site.url, *FAST, "--state", "s.db")
    with subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, env=environ) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                piece = os.read(master, 1 << 16)
            except OSError:  # how Linux says that the other end is closed
                break
            if not piece:
                break
            shown += piece
        assert process.wait(GUARD_S) == 0
    os.close(master)
    live, _, after = shown.decode().partition("finished: ")
    assert "leased" in live
    assert "w1-" in live
    assert after.startswith(f"{PAGES + 1} pages")
    assert "\x1b" not in after


def test_interrupted_and_resumed(site: Site) -> None:
    words = ("run", site.url, "--delay", "0.05", "-w", "2", "--state", "s.db", "-o", "out.jsonl")
    with subprocess.Popen(
        command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRON
    ) as run:
        while site.asked.total() < 8:
            assert run.poll() is None
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate(timeout=GUARD_S)
    assert run.returncode == 130
    assert out.startswith("interrupted: ")
    assert f"go on     crawler {' '.join(words)}\n" in out
    status = json.loads(crawler("status", "--state", "s.db", "--json").stdout)
    assert status["phase"] == "stopped"
    assert status["counts"]["leased"] == 0
    done = crawler("run", site.url, *FAST, "--state", "s.db", "-o", "out.jsonl")
    assert done.returncode == 0, done.stderr
    assert sorted(stored("out.jsonl")) == sorted(site.pages())


def test_a_limit_ends_with_0_and_can_be_lifted(site: Site) -> None:
    limited = crawler("run", site.url, *FAST, "--state", "s.db", "-o", "out.jsonl", "--max-pages", "10")
    assert limited.returncode == 0, limited.stderr
    assert limited.stdout.startswith("stopped at its limit: 10 pages")
    assert crawler("run", site.url, *FAST, "--state", "s.db", "-o", "out.jsonl").returncode == 0
    assert sorted(stored("out.jsonl")) == sorted(site.pages())


def test_kicked_pages_are_crawled_by_the_next_run(site: Site) -> None:
    words = ("run", site.url, *FAST, "--state", "s.db", "-o", "out.jsonl")
    assert crawler(*words).returncode == 0
    site.mended = True
    assert crawler("dead", "kick", "--state", "s.db", "--reason", "http_404").stdout.startswith("1 page kicked")
    done = crawler(*words)
    assert done.returncode == 0
    assert done.stdout.startswith("finished: 1 page, 1 item, ")
    assert f"with earlier runs {PAGES + 2} pages" in done.stdout
    assert sorted(stored("out.jsonl")) == sorted(site.pages())


def test_seed_work_store(site: Site) -> None:
    Path("shop.toml").write_text(
        '[frontier]\nurl = "sqlite:shop.db"\n[politeness]\ndelay_s = 0\nper_host = 0\n'
        '[pipelines.lines]\nuse = "pipelines.jsonl:JsonLines"\npath = "lines.jsonl"\n'
        '[pipelines.table]\nuse = "pipelines.csv:Csv"\npath = "table.csv"\n'
    )
    seeds = f"{site.url}\n# a comment\n\n{site.url}#again\nftp://example.org/\nnot a url\n"
    seeded = crawler("seed", "-", "--settings", "shop.toml", stdin=seeds)
    assert seeded.returncode == 0, seeded.stderr
    assert seeded.stdout.startswith("1 new, 1 known, 2 refused")
    assert "-:5: scheme" in seeded.stderr
    assert "-:6: not_a_url" in seeded.stderr
    worked = crawler("work", "-n", "2", "--until-finished", "--settings", "shop.toml", "--json", "--quiet")
    assert worked.returncode == 0, worked.stderr
    assert json.loads(worked.stdout)["pages"] == PAGES + 1
    assert not Path("lines.jsonl").exists()
    lines = crawler("store", "lines", "--until-finished", "--settings", "shop.toml", "--quiet")
    assert lines.stderr == ""
    assert sorted(stored("lines.jsonl")) == sorted(site.pages())
    assert crawler("store", "--until-finished", "--settings", "shop.toml", "--quiet").returncode == 0
    assert len(Path("table.csv").read_text().splitlines()) == PAGES + 2


@pytest.mark.parametrize(
    "words", [("seed", "nonsense://x"), ("seed", "missing.txt"), ("run", "--seeds", "missing.txt")]
)
def test_seeds_that_are_none_end_with_2(words: tuple[str, ...], site: Site) -> None:
    done = crawler(*words)
    assert done.returncode == 2
    assert words[-1] in done.stderr
    assert "Traceback" not in done.stderr


def test_fetch_shows_the_way_and_what_was_found(site: Site) -> None:
    done = crawler("fetch", f"{site.url}old")
    assert done.returncode == 0, done.stderr
    hops = [line.split() for line in done.stdout.splitlines()[:2]]
    assert [(hop[0], hop[-1]) for hop in hops] == [("301", f"{site.url}old"), ("200", f"{site.url}page/1")]
    assert "charset   utf-8 (header)" in done.stdout
    assert "Content-Type: text/html; charset=utf-8" in done.stdout
    assert "links     6 distinct; the spider follows 6 in scope" in done.stdout
    assert 'title: "T 1"' in done.stdout

    found = json.loads(crawler("fetch", site.url, "--json").stdout)
    assert found["items"][0]["data"]["h1"] == "Ü"
    assert crawler("fetch", site.url, "--body").stdout.startswith("<title>T 0</title>")
    assert site.asked["/robots.txt"] == 2, "asked to be shown, but not for --body"
    assert "HTTP/1.1 200 OK" in done.stdout
    assert "address   127.0.0.1" in done.stdout
    assert re.search(r"^time      name 0\.0.*first byte \d\.\d{3} s, total", done.stdout, re.MULTILINE)
    assert re.search(r"^robots    allowed", done.stdout, re.MULTILINE)
    assert (found["status_line"], found["address"]) == ("HTTP/1.1 200 OK", "127.0.0.1")
    assert found["timing"]["total_s"] >= found["timing"]["first_byte_s"] > 0
    assert found["hops"][0]["address"] == "127.0.0.1"


@pytest.mark.parametrize(("path", "said"), [("gone", "http_404"), ("old", "redirects_max")])
def test_fetch_of_a_page_that_fails_ends_with_1(path: str, said: str, site: Site) -> None:
    done = crawler("fetch", f"{site.url}{path}", "--set", "fetch.redirects_max=0")
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_fetch_shows_a_spider_that_fails(site: Site) -> None:
    Path("shop.py").write_text(
        "import crawler\n"
        "class Shop(crawler.Spider):\n"
        "    name = 'shop'\n"
        "    def parse(self, page):\n"
        "        raise ValueError('no price')\n"
        "    def detail(self, page):\n"
        "        yield page.item('price', eur=5)\n"
    )
    failed = crawler("fetch", site.url, "--spider", "shop.py:Shop")
    assert failed.returncode == 1
    assert "no price" in failed.stdout
    found = crawler("fetch", site.url, "--spider", "shop.py:Shop", "--to", "detail")
    assert found.returncode == 0
    assert "eur: 5" in found.stdout
    assert crawler("fetch", site.url, "--spider", "shop.py:Shop", "--to", "nothing").returncode == 2
