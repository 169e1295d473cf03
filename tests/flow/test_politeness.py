"""Politeness as the server sees it: N workers together keep a host's delay, robots.txt and redirects included."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from tests.sites.crawl import Crawl, pid_of, urls_of_jsonl
from tests.sites.stamp import StampServer

DELAY_S = 0.2
HOSTS = 6
PAGES = 8
KILLS = 4
HTML = {"Content-Type": "text/html"}


def answer(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
    """Per host: a home page that links to PAGES pages, each behind a redirect."""
    if path == "/robots.txt":
        return 200, {"Content-Type": "text/plain"}, b"User-agent: *\nDisallow: /secret"
    if path == "/":
        links = "".join(f"<a href='/go/{number}'>x</a>" for number in range(PAGES)) + "<a href='/secret'>x</a>"
        return 200, HTML, links.encode()
    if path.startswith("/go/"):
        return 302, {"Location": path.replace("/go/", "/page/")}, b""
    return 200, HTML, b"<title>page</title>"


def seeds(port: int) -> list[str]:
    return [f"http://127.0.0.{number}:{port}/" for number in range(1, HOSTS + 1)]


def check(server: StampServer, home: Path) -> None:
    gaps = server.gaps()
    assert len(gaps) == HOSTS
    assert min(gap for host in gaps.values() for gap in host) >= DELAY_S
    assert {stamp.path for stamp in server.stamps} >= {"/robots.txt", "/", "/go/0", "/page/0"}
    assert "/secret" not in {stamp.path for stamp in server.stamps}
    stored = urls_of_jsonl(home / "out.jsonl")
    assert len(stored) == HOSTS * (1 + PAGES)
    assert set(stored.values()) == {1}


def test_four_workers_are_as_polite_as_one(tmp_path: Path) -> None:
    with StampServer(answer, slow_s=0.02) as server:
        report = Crawl(tmp_path, [*seeds(server.port), "-w", "4", "--delay", str(DELAY_S)]).run()
        assert report["exit"] == 0
        check(server, tmp_path)
        robots = [stamp.address for stamp in server.stamps if stamp.path == "/robots.txt"]
        assert len(robots) == HOSTS  # one fetch an origin serves the fleet


def test_they_stay_polite_when_workers_are_killed(tmp_path: Path) -> None:
    with StampServer(answer, slow_s=0.02) as server:
        crawl = Crawl(tmp_path, [*seeds(server.port), "-w", "4", "--delay", str(DELAY_S)])
        crawl.start()
        killed = 0
        while crawl.running and killed < KILLS:
            time.sleep(0.3)
            alive = [pid_of(row.name) for row in crawl.workers() if row.pages]
            alive = [pid for pid in alive if Path(f"/proc/{pid}").exists()]
            if alive:
                with suppress(ProcessLookupError):
                    os.kill(alive[0], signal.SIGKILL)
                    killed += 1
        report = crawl.end()
        assert report["exit"] == 0
        assert killed == KILLS
        check(server, tmp_path)
