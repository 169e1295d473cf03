"""What only the SQLite frontier can get wrong: its file, a changed order, the cost of asking in vain."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import msgspec
import pytest

from crawler.error import BackendError, SettingsError
from crawler.frontier import Frontier
from crawler.frontier.sqlite import SqliteFrontier
from crawler.model import Done, Settlement
from tests.contract.frontiers import RULES, FakeClock, many, names, pages, request_id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "crawl.db"


def change(path: Path, sql: str) -> None:
    db = sqlite3.connect(path)
    with db:
        db.execute(sql)
    db.close()


def lease_names(frontier: Frontier, count: int) -> list[str]:
    return names(frontier.lease(count, worker="w1", request_id=request_id()).leases)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("UPDATE part SET version = 7", "crawl.db.*version 7.*needs 3.*--fresh"),
        ("UPDATE part SET version = 1", "crawl.db.*version 1.*needs 3.*--fresh"),
        ("UPDATE state SET record = replace(record, 'whatwg-', 'other-')", "crawl.db.*other-1.*whatwg-1.*--fresh"),
        ("UPDATE state SET record = json_set(record, '$.shards', 3)", "crawl.db.*3 shards.*--fresh"),
    ],
)
def test_a_file_of_another_version_is_refused(path: Path, sql: str, message: str) -> None:
    SqliteFrontier(path, RULES).close()
    change(path, sql)
    with pytest.raises(SettingsError, match=f"(?s){message}"):
        SqliteFrontier(path, RULES)


def test_a_crawls_order_may_change(path: Path) -> None:
    with SqliteFrontier(path, RULES) as frontier:
        frontier.add([*pages("1", "2", "3"), *pages("4", priority=5)])
        frontier.lease(1, worker="w1", request_id=request_id())
    with SqliteFrontier(path, msgspec.structs.replace(RULES, order="lifo")) as frontier:
        frontier.add(pages("5"))
        assert lease_names(frontier, 9) == ["5", "3", "2", "1"]


def test_asking_in_vain_does_not_write(path: Path) -> None:
    clock = FakeClock()
    with SqliteFrontier(path, RULES, clock=clock) as frontier:
        frontier.add(many(1))
        lease_names(frontier, 1)
        lease_names(frontier, 1)
        db = sqlite3.connect(path)
        (before,) = db.execute("PRAGMA data_version").fetchone()
        for _ in range(20):
            clock.wait(0.05)
            assert lease_names(frontier, 1) == []
        assert db.execute("PRAGMA data_version").fetchone() == (before,)
        db.close()


def test_threads_share_it(path: Path) -> None:
    taken: list[str] = []
    with SqliteFrontier(path, RULES) as frontier:

        def work(name: str) -> None:
            frontier.add(many(200))
            while leases := frontier.lease(5, worker=name, request_id=request_id()).leases:
                taken.extend(names(leases))
                assert frontier.settle([Settlement(lease.token, Done()) for lease in leases]) == ()

        threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(taken, key=int) == [str(number) for number in range(200)]
        assert frontier.counts().done == 200


def test_a_full_disk_is_said_and_loses_nothing(path: Path) -> None:
    with SqliteFrontier(path, RULES) as frontier:
        frontier.add(many(10))
        write = frontier._file.write
        (size,) = write(lambda db: db.execute("PRAGMA page_count").fetchone())
        frontier._file._writer.execute(f"PRAGMA max_page_count = {size + 10}")
        with pytest.raises(BackendError, match=r"crawl.db: database or disk is full"):
            frontier.add([page for number in range(20) for page in many(200, f"{number}.test")])
        assert (frontier.counts().added, frontier.counts().hosts) == (10, 1)
        assert len(lease_names(frontier, 20)) == 10


def test_a_damaged_record_is_buried_and_the_rest_goes_on(path: Path) -> None:
    with SqliteFrontier(path, RULES) as frontier:
        frontier.add(pages("a", "b", "c"))
        change(path, "UPDATE request SET payload = '{damaged' WHERE id = 2")
        assert lease_names(frontier, 3) == ["a", "c"]
        (letter,) = frontier.dead()
        assert letter.reason == "damaged_record"
        assert "{damaged" in letter.detail
        assert frontier.counts().leased == 2
        assert frontier.kick() == 1  # it cannot be mended, and does no harm
        assert lease_names(frontier, 3) == []
        assert frontier.counts().dead == 1
