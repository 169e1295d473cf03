"""SIGTERM and SIGINT to a crawl at work: what is in flight ends, what waits is given back, nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.sites.crawl import Crawl, urls_of_jsonl
from tests.sites.stamp import StampServer

PAGES = 60
SLOW_S = 0.3
HANG_S = 30.0


def answer(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
    links = "".join(f"<a href='/{number}'>x</a>" for number in range(PAGES - 1)) if path == "/" else ""
    return 200, {"Content-Type": "text/html"}, f"<title>{path}</title>{links}".encode()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_drains_and_the_next_run_completes(tmp_path: Path, number: int, code: int) -> None:
    with StampServer(answer, slow_s=SLOW_S) as server:
        url = f"http://127.0.0.1:{server.port}/"
        slots = ["--set", "worker.concurrency=4"]
        crawl = Crawl(tmp_path, [url, "-w", "2", "--delay", "0", "--per-host", "0", *slots])
        crawl.start()
        deadline = time.monotonic() + HANG_S
        while len(server.stamps) < 12:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(crawl.process.pid, number)
        first = crawl.end()
        asked = len(server.stamps)
        assert first["exit"] == code
        assert first["pages"] == len(urls_of_jsonl(tmp_path / "out.jsonl"))
        assert 0 < first["pages"] < PAGES
        assert crawl.counts().leased == 0
        assert crawl.counts().suspects == 0
        time.sleep(2 * SLOW_S)
        assert len(server.stamps) == asked  # nobody is left who asks
        assert crawl.run()["exit"] == 0
        stored = urls_of_jsonl(tmp_path / "out.jsonl")
        assert len(stored) == PAGES
        assert set(stored.values()) == {1}
        # Nothing that was waiting began after the signal, and nothing was asked for twice.
        assert len({stamp.path for stamp in server.stamps}) == len(server.stamps)


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    with StampServer(answer, slow_s=20.0) as server:
        crawl = Crawl(tmp_path, [f"http://127.0.0.1:{server.port}/", "-w", "1", "--set", "politeness.robots=false"])
        crawl.start()
        time.sleep(2)
        os.kill(crawl.process.pid, signal.SIGINT)
        time.sleep(0.5)
        began = time.monotonic()
        os.kill(crawl.process.pid, signal.SIGINT)
        assert crawl.end()["exit"] == 130
        assert time.monotonic() - began < 10.0
