"""The SQLite exchange under real processes that are really killed."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crawler.exchange.sqlite import SqliteExchange
from crawler.model import Queue
from tests.contract.exchanges import end, message, request_id, take

ROOT = Path(__file__).parents[2]

CONSUMER = """
import os, sys, time
from crawler.exchange.sqlite import SqliteExchange
from crawler.model import Done, Settlement
path, name, out = sys.argv[1:]
sink = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
with SqliteExchange(path) as exchange:
    while True:
        leased = exchange.lease("a", 20, consumer=name, request_id=os.urandom(16).hex())
        if leased:
            os.write(sink, "".join(f"{one.message.id}\\n" for one in leased).encode())
            exchange.settle([Settlement(one.token, Done()) for one in leased])
        else:
            time.sleep(0.01)
"""


def start(path: Path, name: str, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CONSUMER, str(path), name, str(out)], cwd=ROOT)


def test_killed_consumers_leases_come_back_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    """Leases last 60 s here, and the test is over long before: only the OS locks can tell that a consumer died."""
    dice, out, total = random.Random(7), tmp_path / "got", 3_000
    with SqliteExchange(tmp_path / "state.db") as exchange:
        exchange.declare([Queue("a")])
        consumers = [start(tmp_path / "state.db", f"c{number}", out) for number in range(3)]
        try:
            published, born, deadline = 0, 3, time.monotonic() + 60
            while exchange.counts()["a"].done < total:
                assert time.monotonic() < deadline, exchange.counts()
                if published < total:
                    exchange.publish([message(f"{published + number}") for number in range(60)])
                    published += 60
                if out.exists() and born < 15 and dice.random() < 0.2:
                    victim = dice.randrange(3)
                    consumers[victim].kill()
                    consumers[victim].wait()
                    # half of them come again under their old name, as a supervisor's child does
                    name = f"c{victim}" if dice.random() < 0.5 else f"n{born}"
                    consumers[victim] = start(tmp_path / "state.db", name, out)
                    born += 1
                time.sleep(0.02)
            assert exchange.counts()["a"].dead == 0
        finally:
            for consumer in consumers:
                consumer.kill()
                consumer.wait()
    assert born >= 8
    assert {int(line) for line in out.read_text().split()} == set(range(total))


@pytest.mark.parametrize("heir", ["c1", "c2"], ids=["the same name", "another name"])
def test_leases_of_a_killed_tree_are_suspects_for_the_next_process(tmp_path: Path, heir: str) -> None:
    path = tmp_path / "state.db"
    code = (
        "import os, sys, signal; from crawler.exchange.sqlite import SqliteExchange\n"
        "exchange = SqliteExchange(sys.argv[1])\n"
        "assert len(exchange.lease('a', 9, consumer='c1', request_id='0' * 32)) == 2\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with SqliteExchange(path) as exchange:
        exchange.declare([Queue("a")])
        exchange.publish([message("1"), message("2")])
    died = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL
    with SqliteExchange(path) as exchange:
        (suspect,) = exchange.lease("a", 9, consumer=heir, request_id=request_id())
        assert (suspect.message.id, suspect.alone) == ("1", True)
        assert end(exchange, [suspect.token]) == ()
        assert take(exchange, consumer=heir) == ["2"]


def test_what_was_published_survives_a_kill_right_after(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    code = (
        "import os, sys; from crawler.exchange.sqlite import SqliteExchange\n"
        "from tests.contract.exchanges import message\n"
        "exchange = SqliteExchange(sys.argv[1])\n"
        "exchange.publish([message(str(number)) for number in range(500)])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    with SqliteExchange(path) as exchange:
        exchange.declare([Queue("a")])
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, env=env, check=False)
        assert len(take(exchange, count=1_000)) == 500


def test_a_damaged_record_is_buried_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with SqliteExchange(path) as exchange:
        exchange.declare([Queue("a")])
        exchange.publish([message(f"m{number}") for number in range(3)])
        db = sqlite3.connect(path)
        with db:
            db.execute("UPDATE x_message SET payload = '{damaged' WHERE number = 2")
        db.close()
        taken = exchange.lease("a", 3, consumer="c1", request_id=request_id())
        assert [one.message.id for one in taken] == ["m0", "m2"]
        (item,) = exchange.dead(queue="a")
        assert item.reason == "damaged_record"
        assert "{damaged" in item.detail
