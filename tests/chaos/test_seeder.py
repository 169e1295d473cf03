"""Seeders that die, meet each other or lose their supervisor: no crawl is called finished without its seeds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from crawler.frontier.sqlite import SqliteFrontier
from crawler.model import Rules
from crawler.view import Counts
from tests.sites.crawl import Crawl
from tests.sites.stamp import StampServer

ROOT = Path(__file__).parents[2]
HANG_S = 40.0
"""Far less than the 60 s of a lease: nothing may wait for one to lapse."""
FAST = ["-w", "1", "--delay", "0", "--per-host", "0", "--set", "politeness.robots=false"]
MANY = 150_000


def answer(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "text/html"}, b"<title>page</title>"


def start(home: Path, *words: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "crawler", *words],
        cwd=home,
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def counts(home: Path) -> Counts:
    with SqliteFrontier(home / "state.db", Rules()) as frontier:
        return frontier.counts()


def wait_for(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG_S
    while not reached():
        assert time.monotonic() < deadline, "hangs"
        time.sleep(0.02)


@pytest.fixture
def lists(tmp_path: Path) -> tuple[str, str]:
    """Two long lists that no scope takes, so that only seeding costs time."""
    for name in ("one.txt", "two.txt"):
        lines = (f"http://127.0.0.1:1/{name}/{number}" for number in range(MANY))
        (tmp_path / name).write_text("\n".join(lines))
    return "one.txt", "two.txt"


def test_a_killed_seeder_is_made_up_for_by_the_same_list_only(tmp_path: Path, lists: tuple[str, str]) -> None:
    seeder = start(tmp_path, "seed", lists[0], "--state", "state.db", "--quiet")
    wait_for(lambda: (tmp_path / "state.db").exists() and counts(tmp_path).added > 0)
    os.killpg(seeder.pid, signal.SIGKILL)
    seeder.wait()
    assert counts(tmp_path).added < MANY
    assert start(tmp_path, "seed", "http://127.0.0.1:1/other", "--state", "state.db").wait(HANG_S) == 0
    with SqliteFrontier(tmp_path / "state.db", Rules(pages_max=1)) as frontier:
        frontier.lease(1, worker="w", request_id="0" * 32)
        frontier.forfeit("w")
    assert counts(tmp_path).producers_lost == 1
    assert start(tmp_path, "seed", lists[0], "--state", "state.db", "--quiet").wait(HANG_S) == 0
    assert counts(tmp_path).producers_lost == 0
    assert counts(tmp_path).added == MANY + 1


@pytest.mark.parametrize("same", [False, True])
def test_two_seeders_at_once(tmp_path: Path, lists: tuple[str, str], same: bool) -> None:
    names = (lists[0], lists[0] if same else lists[1])
    seeders = [start(tmp_path, "seed", name, "--state", "state.db", "--quiet") for name in names]
    assert [seeder.wait(HANG_S) for seeder in seeders] == [0, 0]
    found = counts(tmp_path)
    assert found.added == MANY * len(set(names))
    assert (found.producers_open, found.producers_lost) == (0, 0)


def test_a_seeder_ends_with_its_supervisor_and_the_crawl_is_incomplete(tmp_path: Path) -> None:
    with StampServer(answer) as server:
        url = f"http://127.0.0.1:{server.port}/a"
        words = ["run", "--seeds", "-", "--state", "state.db", "-o", "out.jsonl", *FAST]
        run = start(tmp_path, *words, stdin=subprocess.PIPE)
        assert run.stdin is not None
        run.stdin.write(f"{url}\n".encode())
        run.stdin.flush()
        wait_for(lambda: (tmp_path / "state.db").exists() and counts(tmp_path).pages == 1)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        # Our end of its standard input stays open: only its supervisor's death can end it.
        wait_for(lambda: not _group(run.pid))
        began = time.monotonic()
        again = Crawl(tmp_path, FAST)
        report = again.run()
        run.stdin.close()
        assert time.monotonic() - began < HANG_S
        assert report["exit"] == 1
        assert report["finish"] == "incomplete"


def _group(pgid: int) -> bool:
    """Whether any process of the group lives."""
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return False
    return True


def test_fresh_is_refused_while_somebody_works_on_the_crawl(tmp_path: Path) -> None:
    with StampServer(answer, slow_s=0.5) as server:
        seeds = [f"http://127.0.0.1:{server.port}/{number}" for number in range(20)]
        first = Crawl(tmp_path, [*seeds, *FAST, "--set", "worker.concurrency=1"])
        first.start()
        wait_for(lambda: bool(server.stamps))
        second = Crawl(tmp_path, [*seeds, *FAST, "--fresh"])
        assert second.run()["exit"] == 2
        assert "stop it first" in second.errors
        assert first.end()["pages"] == 20


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.csv", "mine.db"])
def test_fresh_removes_nothing_that_no_crawl_wrote(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    crawl = Crawl(tmp_path, ["http://127.0.0.1:1/", "--fresh"], out=name)
    assert crawl.run()["exit"] == 2
    assert (tmp_path / name).read_text() == "precious"
