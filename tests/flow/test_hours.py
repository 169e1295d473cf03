"""Outside its hours a crawl asks nobody, says so, and still notices that it is over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crawler.workerlock import in_use
from tests.sites.crawl import HANG_S, Crawl
from tests.sites.stamp import StampServer


def answer(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "text/html"}, b"<title>x</title>"


def closed(key: str = "politeness.hours") -> str:
    """A window of an hour, two hours from now."""
    start, end = (datetime.now(UTC) + timedelta(hours=hours) for hours in (2, 3))
    return f'{key}=["{start:%H:%M}-{end:%H:%M}"]'


def test_nothing_is_asked_outside_the_hours(tmp_path: Path) -> None:
    with StampServer(answer) as server:
        crawl = Crawl(tmp_path, [f"http://127.0.0.1:{server.port}/", "-w", "2", "--set", closed()])
        crawl.start()
        end = time.monotonic() + HANG_S
        while not (in_use(f"{crawl.state}-workers") and crawl.counts().ready) and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(1.0)
        status = [sys.executable, "-m", "crawler", "status", "--state", str(crawl.state), "--set", closed()]
        shown = subprocess.run(status, capture_output=True, text=True, env=crawl.environ, check=True, timeout=HANG_S)
        assert "outside politeness.hours, opens at " in shown.stdout
        assert crawl.running
        assert server.stamps == []
        os.kill(crawl.process.pid, signal.SIGINT)
        crawl.end()
        assert crawl.counts().ready == 1
        assert "outside its hours, nothing is fetched until " in crawl.errors


@pytest.mark.parametrize("delay", ["0", "0.05"])
def test_a_host_with_hours_of_its_own_is_left_alone_outside_them(tmp_path: Path, delay: str) -> None:
    """The others are crawled meanwhile."""

    def linked(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
        if path == "/robots.txt":
            return 200, {"Content-Type": "text/plain"}, b"User-agent: *"
        return 200, {"Content-Type": "text/html"}, b"".join(b"<a href=/%d>x</a>" % number for number in range(20))

    with StampServer(linked) as shut, StampServer(linked) as other:
        own = f'politeness.hosts={{"127.0.0.1:{shut.port}" = {{{closed("hours")}}}}}'
        seeds = [f"http://127.0.0.1:{server.port}{path}" for server in (shut, other) for path in ("/", "/a", "/b")]
        crawl = Crawl(tmp_path, [*seeds, "-w", "2", "--delay", delay, "--per-host", "4", "--set", own])
        crawl.start()
        end = time.monotonic() + HANG_S
        while crawl.counts().pages < 23 and time.monotonic() < end:
            time.sleep(0.1)
        explain = [sys.executable, "-m", "crawler", "explain", seeds[0], "--state", str(crawl.state), "--set", own]
        shown = subprocess.run(explain, capture_output=True, text=True, env=crawl.environ, check=True, timeout=HANG_S)
        assert "outside its hours, opens at " in shown.stdout
        assert crawl.running
        assert shut.stamps == []
        counts = crawl.counts()
        assert (counts.pages, counts.ready, counts.dead, counts.crashes) == (23, 3, 0, 0)
        os.kill(crawl.process.pid, signal.SIGINT)
        crawl.end()


def test_lists_on_the_web_wait_for_the_hours(tmp_path: Path) -> None:
    with StampServer(answer) as server:
        command = [sys.executable, "-m", "crawler", "seed", "--sitemap", f"http://127.0.0.1:{server.port}/list.xml"]
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        process = subprocess.Popen(
            [*command, "--set", closed()], cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        try:
            told = process.stderr.readline()
            assert f"127.0.0.1:{server.port} is closed at this hour (politeness.hours): waiting until " in told
            process.send_signal(signal.SIGINT)
            assert process.wait(HANG_S) == 130
        finally:
            process.kill()
            process.wait()
            process.stderr.close()
        assert server.stamps == []


def test_a_crawl_that_is_over_ends_outside_its_hours(tmp_path: Path) -> None:
    with StampServer(answer) as server:
        arguments = [f"http://127.0.0.1:{server.port}/", "--delay", "0"]
        assert Crawl(tmp_path, arguments).run()["exit"] == 0
        asked = len(server.stamps)
        assert Crawl(tmp_path, [*arguments, "--set", closed()]).run()["exit"] == 0
        assert len(server.stamps) == asked
