"""Items on their way, watched in a file's exchange and by the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from crawler import app
from crawler.cli import main
from crawler.cli.items import lines
from crawler.error import SettingsError
from crawler.exchange.sqlite import SqliteExchange
from crawler.exchange.tailing import is_meant, messages
from crawler.frontier.sqlite import SqliteFrontier
from crawler.model import LOG_KIND, RAW_KIND, Done, Message, Queue, Record, Rules, Settlement
from crawler.settings import Settings

ENVIRON = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def message(id: str, kind: str = "quote", data: bytes = b'{"a":1}') -> Message:
    return Message(
        id=id,
        kind=kind,
        url=f"https://example.com/{id}",
        fetched_at="2026-01-31T12:34:56.789Z",
        spider="s",
        records=(Record(f"i{id}", msgspec.Raw(data)),),
    )


@pytest.fixture
def exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteExchange]:
    monkeypatch.chdir(tmp_path)
    with (
        SqliteFrontier(".crawler/shop.db", Rules(), name="shop"),
        SqliteExchange(".crawler/shop.db", type="topic") as one,
    ):
        one.declare([Queue("out", ("#",)), Queue("prices", ("price",)), Queue("history", (LOG_KIND,))])
        yield one


class Watching:
    """A tail that is asked step by step."""

    def __init__(self, pipeline: str | None = None) -> None:
        self._found = messages(".crawler/shop.db", pipeline=pipeline, sleep=lambda seconds: None)

    def ids(self) -> list[str]:
        """What there is until it says that there is nothing."""
        found = []
        while (one := next(self._found)) is not None:
            found.append(one.id)
        return found


def store_all(exchange: SqliteExchange) -> None:
    for queue in ("out", "prices", "history"):
        given = exchange.lease(queue, 1000, consumer=queue, request_id=os.urandom(16).hex())
        exchange.settle([Settlement(one.token, Done()) for one in given])


def test_each_new_message_once_and_nothing_is_taken(exchange: SqliteExchange) -> None:
    exchange.publish([message("old")])
    tail = Watching()
    assert tail.ids() == []
    exchange.publish([message("1"), message("2", "price")])
    assert tail.ids() == ["1", "2"]
    assert tail.ids() == []
    exchange.publish([message("3")])
    assert tail.ids() == ["3"]
    counts = exchange.counts()
    assert (counts["out"].ready, counts["out"].leased) == (4, 0)


def test_numbers_that_begin_anew(exchange: SqliteExchange) -> None:
    tail = Watching()
    assert tail.ids() == []
    for turn in range(3):
        exchange.publish([message(f"{turn}{at}") for at in range(turn + 2)])
        assert tail.ids() == [f"{turn}{at}" for at in range(turn + 2)]
        store_all(exchange)
        assert tail.ids() == []
    exchange.publish([message("x")])
    assert tail.ids() == ["x"]


def test_one_pipeline(exchange: SqliteExchange) -> None:
    tail, history = Watching("prices"), Watching("history")
    assert (tail.ids(), history.ids()) == ([], [])
    exchange.publish([message("1"), message("2", "price"), message("3", LOG_KIND)])
    assert (tail.ids(), history.ids()) == (["2"], ["3"])
    with pytest.raises(SettingsError, match="no pipeline 'no'"):
        Watching("no").ids()


def test_a_damaged_record_is_left_to_its_consumer(exchange: SqliteExchange) -> None:
    import sqlite3

    tail = Watching()
    assert tail.ids() == []
    exchange.publish([message("1"), message("2")])
    with sqlite3.connect(".crawler/shop.db") as db:
        db.execute("UPDATE x_message SET payload = x'00ff' WHERE id = '1'")
    db.close()
    assert tail.ids() == ["2"]


def test_no_file_and_no_state_file(tmp_path: Path) -> None:
    assert next(messages(tmp_path / "no.db")) is None
    (tmp_path / "bad.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 4_000)
    with pytest.raises(SettingsError, match=r"bad\.db cannot be read"):
        next(messages(tmp_path / "bad.db"))


@pytest.mark.parametrize(
    ("kind", "wanted", "shown"),
    [
        ("quote", None, True),
        (LOG_KIND, None, False),
        (RAW_KIND, None, False),
        (LOG_KIND, LOG_KIND, True),
        (LOG_KIND, "#", False),
        (RAW_KIND, "raw.*", False),
        ("shop.price", "shop.*", True),
        ("shop.price", "quote", False),
    ],
)
def test_what_is_meant(kind: str, wanted: str | None, shown: bool) -> None:
    assert is_meant(kind, wanted) is shown


def test_lines_for_people() -> None:
    raw = msgspec.structs.replace(message("1", RAW_KIND), blob=b"x" * 1234)
    evil = message("2", "k\x1b[31m", b'{"text":"a\xc2\x9b' + b"x" * 200 + b'"}')
    assert lines(raw) == ["12:34:56.789 raw.page https://example.com/1  1234 bytes"]
    (shown,) = lines(evil, 80)
    assert len(shown) == 80
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert lines(message("3"))[0] == '12:34:56.789 quote https://example.com/3  {"a":1}'


def test_the_command_shows_items_as_they_come(exchange: SqliteExchange) -> None:
    command = [sys.executable, "-u", "-m", "crawler", "items", "tail", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRON)
    assert process.stdout is not None
    ended = threading.Event()

    def publish() -> None:
        number = 0
        while not ended.wait(0.05):
            exchange.publish([message(f"{number}"), message(f"log{number}", LOG_KIND)])
            number += 1

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        found = [json.loads(process.stdout.readline()) for _ in range(3)]
    finally:
        ended.set()
        publisher.join()
    first = int(found[0]["id"][1:])
    assert [one["id"] for one in found] == [f"i{first + at}" for at in range(3)]
    assert found[0]["data"] == {"a": 1}
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    process.stdout.close()


def test_the_command_ends_in_time_and_says_what_is_wrong(
    exchange: SqliteExchange, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    assert main(["items", "tail", "--seconds", "0.3", "--kind", "quote"]) == 0
    assert time.monotonic() - began < 20
    assert main(["items", "tail", "--pipeline", "no"]) == 2
    assert "no pipeline 'no'" in capsys.readouterr().err
    assert main(["items"]) == 2
    assert main(["items", "tail", "--state", "other"]) == 2


def test_kinds_and_pipelines_by_settings(exchange: SqliteExchange) -> None:
    found = app.open_items(Settings(), ".crawler/shop.db", kind="price")
    assert next(found) is None
    exchange.publish([message("1"), message("2", "price")])
    shown = [one.id for one in (next(found) for _ in range(3)) if one is not None]
    assert shown == ["2"]
