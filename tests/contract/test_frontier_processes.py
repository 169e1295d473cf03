"""The SQLite frontier with several real processes on one file, killed and not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import crawler
from crawler.frontier.sqlite import SqliteFrontier
from crawler.model import Done, Settlement
from tests.contract.frontiers import RULES, balanced, many, request_id

HANG_S = 60.0

# A worker: leases and settles until nothing is left, and writes the pages it settled, one a line. With `hold` it says
# how many leases it has, and holds them.
WORKER = """
import sys, time, uuid, json
from crawler.frontier.sqlite import SqliteFrontier
from crawler.model import Done, Rules, Settlement
path, name, mode = sys.argv[1:]
with SqliteFrontier(path, Rules(delay_s=0.0, per_host=0, robots=False)) as frontier:
    while True:
        leases = frontier.lease(7, worker=name, request_id=uuid.uuid4().hex).leases
        if mode == "hold":
            print(len(leases), flush=True)
            time.sleep(1000)
        stale = frontier.settle([Settlement(lease.token, Done()) for lease in leases])
        for lease in leases:
            if lease.token not in stale:
                print(json.dumps(lease.request.url), flush=True)
        if not leases:
            if not frontier.counts().leased and not frontier.counts().suspects:
                break
            time.sleep(0.02)
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts workers on the test's file; those still alive at the end are killed."""
    started = []
    environment = {**os.environ, "PYTHONPATH": str(Path(crawler.__file__).parents[1])}

    def make(name: str, mode: str = "work") -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WORKER, str(tmp_path / "crawl.db"), name, mode]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
        return started[-1]

    yield make
    for process in started:
        process.kill()
        process.communicate(timeout=HANG_S)


@pytest.fixture
def frontier(tmp_path: Path) -> Iterator[SqliteFrontier]:
    with SqliteFrontier(tmp_path / "crawl.db", RULES) as frontier:
        yield frontier
        assert balanced(frontier), frontier.counts()


def held(process: subprocess.Popen[str]) -> int:
    """How many leases a holding worker has told that it got."""
    assert process.stdout is not None
    return int(process.stdout.readline())


def settled(process: subprocess.Popen[str]) -> list[str]:
    output, _ = process.communicate(timeout=HANG_S)
    assert process.returncode == 0
    return [json.loads(line) for line in output.splitlines()]


def test_each_request_goes_to_exactly_one_of_several_processes(frontier: SqliteFrontier, start: Start) -> None:
    requests = [*many(600, "a.test"), *many(600, "b.test")]
    frontier.add(requests)
    workers = [start(f"w{number}") for number in range(4)]
    pages = Counter(url for worker in workers for url in settled(worker))
    assert pages == Counter(request.url for request in requests)
    assert frontier.counts().done == frontier.counts().pages == 1200


def test_a_killed_workers_leases_are_suspects_at_once(frontier: SqliteFrontier, start: Start) -> None:
    frontier.add(many(5))
    victim = start("victim", "hold")
    assert held(victim) == 5
    frontier.lease(1, worker="w1", request_id=request_id())
    assert frontier.counts().leased == 5, "alive: its leases stay"
    victim.kill()
    victim.wait()
    began = time.monotonic()
    while not (leases := frontier.lease(9, worker="w1", request_id=request_id()).leases):
        assert time.monotonic() - began < HANG_S / 2, "a lease is 60 s: this would be the lapse, not the lock"
        time.sleep(0.02)
    assert [lease.alone for lease in leases] == [True]
    assert (frontier.counts().suspects, frontier.counts().crashes) == (4, 0)


def test_a_killed_tree_is_noticed_by_the_first_who_comes_back(tmp_path: Path, start: Start) -> None:
    with SqliteFrontier(tmp_path / "crawl.db", RULES) as frontier:
        frontier.add(many(12))
    victims = [start(f"w{number}", "hold") for number in (1, 2)]
    assert sum(map(held, victims)) == 12
    for victim in victims:
        victim.kill()
        victim.wait()
    survivors = [start(f"w{number}") for number in (1, 3)]
    assert len({url for survivor in survivors for url in settled(survivor)}) == 12


def test_two_processes_cannot_work_under_one_name(frontier: SqliteFrontier, start: Start) -> None:
    frontier.add(many(50))
    assert held(start("twin", "hold")) == 7
    with pytest.raises(crawler.error.BackendError, match="twin"):
        frontier.lease(1, worker="twin", request_id=request_id())


def test_work_goes_on_while_workers_are_killed(frontier: SqliteFrontier, start: Start) -> None:
    frontier.add(many(3000))
    for number in range(6):
        victim = start(f"victim{number}")
        assert victim.stdout is not None
        victim.stdout.readline()
        victim.kill()
        victim.wait()
    settled(start("last"))
    counts = frontier.counts()
    assert (counts.done, counts.dead, counts.leased, counts.suspects) == (3000, 0, 0, 0)


def test_a_closed_and_reopened_file_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "crawl.db"
    with SqliteFrontier(path, RULES, name="quotes") as frontier:
        frontier.add(many(4))
        (first, second) = frontier.lease(2, worker="w1", request_id=request_id()).leases
        assert frontier.settle([Settlement(first.token, Done())]) == ()
    with SqliteFrontier(path, RULES, name="other") as frontier:
        assert frontier.record().name == "quotes"
        assert frontier.counts().leased == 1
        leases = frontier.lease(9, worker="w2", request_id=request_id()).leases
        assert len(leases) == 2
        assert frontier.counts().suspects == 1, "w1 closed the file and is gone"
        assert frontier.settle([Settlement(second.token, Done())]) == (second.token,)
