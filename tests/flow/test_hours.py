"""Outside its hours a crawl asks nobody, says so, and still notices that it is over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from crawler.workerlock import in_use
from tests.sites.crawl import HANG_S, Crawl
from tests.sites.stamp import StampServer


def answer(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "text/html"}, b"<title>x</title>"


def closed() -> str:
    """A window of an hour, two hours from now."""
    start, end = (datetime.now(UTC) + timedelta(hours=hours) for hours in (2, 3))
    return f'politeness.hours=["{start:%H:%M}-{end:%H:%M}"]'


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


def test_a_crawl_that_is_over_ends_outside_its_hours(tmp_path: Path) -> None:
    with StampServer(answer) as server:
        arguments = [f"http://127.0.0.1:{server.port}/", "--delay", "0"]
        assert Crawl(tmp_path, arguments).run()["exit"] == 0
        asked = len(server.stamps)
        assert Crawl(tmp_path, [*arguments, "--set", closed()]).run()["exit"] == 0
        assert len(server.stamps) == asked
