"""A crawl as people look at it: what monitor tells while it runs, what status, peek and explain say afterwards."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import msgspec
import pytest

from crawler.model import LOG_KIND, Message, Record
from crawler.view import LogEntry
from pipelines.history import History, entries

PAGES = 30
GUARD_S = 60
MARKER = "http://marker.example/"
ENVIRON = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


class Handler(BaseHTTPRequestHandler):
    """/0 to /29, each linking to the next two; /gone is missing, /private is forbidden."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16

    def log_message(self, format: str, *args: object) -> None:
        return

    def do_GET(self) -> None:
        name = self.path[1:]
        status, body = 200, ""
        if name == "robots.txt":
            body = "User-agent: *\nDisallow: /private"
        elif name.isdigit():
            links = [(int(name) * 2 + k) % PAGES for k in (1, 2)]
            body = "".join(f'<a href="/{link}">x</a>' for link in [*links, "gone", "private"])
        else:
            status = 404
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if name == "robots.txt" else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.chdir(tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "crawler", *words, "--state", "s.db"]


def crawler(*words: str) -> str:
    done = subprocess.run(command(*words), capture_output=True, text=True, env=ENVIRON, timeout=GUARD_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_until_it_watches(watching: subprocess.Popen[str]) -> None:
    """By outcomes of a page of no site, which are logged until one is told of."""
    assert watching.stdout is not None
    history = History(path="s.db.history")
    for number in range(1, GUARD_S * 10):
        entry = LogEntry(fingerprint=number, outcome="done", reason="marker")
        record = Record(str(number), msgspec.Raw(msgspec.json.encode(entry)))
        at = "2026-01-31T12:00:00.000Z"
        history.store([Message(id=record.id, kind=LOG_KIND, url=MARKER, fetched_at=at, spider="s", records=(record,))])
        if select.select([watching.stdout], [], [], 0.1)[0]:
            break
    history.close()


def test_a_crawl_as_it_is_seen(site: str) -> None:
    assert crawler("seed", f"{site}0").startswith("1 new")
    assert crawler("peek").splitlines()[1].endswith(f"{site}0")
    with subprocess.Popen(command("monitor", "--json"), stdout=subprocess.PIPE, text=True, env=ENVIRON) as watching:
        wait_until_it_watches(watching)
        crawler("run", f"{site}0", "--delay", "0", "--per-host", "0", "-o", "out.jsonl")
        logged = [event for event in entries("s.db.history", limit=1000) if event.url != MARKER]
        assert watching.stdout is not None
        lines = (line for line in map(json.loads, watching.stdout) if line["url"] != MARKER)
        told = list(islice(lines, len(logged)))
        watching.send_signal(2)
        assert watching.stdout.read() == ""
    assert watching.returncode == 0
    assert [(one["url"], one["what"]) for one in told] == [(event.url, event.entry.outcome) for event in logged]
    assert Counter((one["what"], one["reason"]) for one in told) == {
        ("done", ""): PAGES,
        ("done", "robots"): 1,
        ("bury", "http_404"): 1,
    }

    host = site.removeprefix("http://").rstrip("/")
    status = json.loads(crawler("status", "--json"))
    (row,) = status["hosts"]
    assert {key: row[key] for key in ("name", "ready", "in_flight", "delayed", "dead", "done")} == {
        **{"name": host, "ready": 0, "in_flight": 0, "delayed": 0, "dead": 1, "done": PAGES + 1}
    }
    assert status["shards"][0]["next_due_s"] is None
    assert crawler("peek", host) == f"nothing waits on {host}\n"
    assert f"host         {host}, dead 1, done {PAGES + 1}\n" in crawler("explain", f"{site}7")
    assert "; HTTP 200 in " in crawler("explain", f"{site}7")
    assert "state        dead since " in crawler("explain", f"{site}gone")
    private = crawler("explain", f"{site}private")
    assert "robots.txt   forbidden" in private
    assert "done robots" in private
    assert "seen         no" in crawler("explain", f"{site}never")


def test_what_is_purged_is_never_crawled(site: str) -> None:
    Path("seeds.txt").write_text("".join(f"{site}{number}\n" for number in range(PAGES)))
    crawler("seed", "seeds.txt")
    assert crawler("purge", "--all", "--yes").startswith(f"{PAGES} requests purged")
    assert "already finished: 0 pages" in crawler("run", "--seeds", "seeds.txt", "--delay", "0", "-o", "out.jsonl")
