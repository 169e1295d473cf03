"""The history of a crawl: what is written comes out again, the newest when there is too much."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crawler.error import BadUrl, SettingsError
from crawler.model import LOG_KIND, Message, Record, Request
from crawler.url import fingerprint
from crawler.view import LogEntry
from pipelines.history import Event, History, entries, latest

ENTRY = LogEntry(
    fingerprint=-5,
    outcome="retry",
    reason="http_503",
    detail="busy",
    status=503,
    seconds=0.25,
    bytes=10,
    items=2,
    links=3,
    attempt=2,
    depth=4,
    worker="w1",
)


def message(id: str, url: str = "https://e.com/", **changes: Any) -> Message:
    entry = msgspec.structs.replace(ENTRY, **changes)
    return Message(
        id=id,
        kind=LOG_KIND,
        url=url,
        fetched_at="2026-01-31T12:00:00.000Z",
        spider="s",
        visit=1,
        records=(Record(id, msgspec.Raw(msgspec.json.encode(entry))),),
    )


def store(path: Path, *messages: Message, **options: Any) -> None:
    pipeline = History(path=str(path), **options)
    pipeline.store(messages)
    pipeline.close()


def test_an_entry_comes_out_as_it_went_in(tmp_path: Path) -> None:
    store(tmp_path / "h.db", message("a"))
    assert entries(tmp_path / "h.db") == (Event("https://e.com/", "2026-01-31T12:00:00.000Z", 1, ENTRY),)


def test_by_url_and_by_fingerprint_oldest_first(tmp_path: Path) -> None:
    path, url = tmp_path / "h.db", "https://e.com/a"
    mine = fingerprint(Request(url=url))
    store(
        path,
        message("1", url, fingerprint=mine, reason="first"),
        message("2", "https://e.com/b", fingerprint=7),
        message("3", url, fingerprint=mine, reason="second"),
        message("4", url, fingerprint=mine, reason="third"),
    )
    assert [event.entry.reason for event in entries(path, url="HTTPS://e.com:443/x/../a#f")] == [
        "first",
        "second",
        "third",
    ]
    assert [event.entry.reason for event in entries(path, fingerprint=mine, limit=2)] == ["second", "third"]
    assert [event.url for event in entries(path, fingerprint=7)] == ["https://e.com/b"]
    assert entries(path, url="https://e.com/none") == ()
    with pytest.raises(BadUrl):
        entries(path, url="no url")


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "h.db"
    for start in range(0, 100, 10):
        store(path, *(message(str(number), fingerprint=number) for number in range(start, start + 10)), rows_max=25)
    assert [event.entry.fingerprint for event in entries(path)] == list(range(75, 100))


def test_reading_while_it_is_written(tmp_path: Path) -> None:
    pipeline = History(path=str(tmp_path / "h.db"))
    for number in range(3):
        pipeline.store([message(str(number))])
        assert len(entries(tmp_path / "h.db")) == number + 1
    pipeline.close()


def test_what_is_no_history(tmp_path: Path) -> None:
    assert entries(tmp_path / "none.db") == ()
    (tmp_path / "text").write_text("no database " * 100)
    with pytest.raises(SettingsError, match="text"):
        entries(tmp_path / "text")


def _entry(number: int, visit: int = 0, **fields: object) -> Message:
    entry = LogEntry(fingerprint=number, outcome="done", **fields)  # type: ignore[arg-type]
    record = Record(f"{number}-{visit}", msgspec.Raw(msgspec.json.encode(entry)))
    url, at = f"http://a.test/{number}", f"2025-01-0{visit + 1}T00:00:00.000Z"
    return Message(id=record.id, kind=LOG_KIND, url=url, fetched_at=at, spider="s", visit=visit, records=(record,))


def test_the_last_outcome_of_each_page_in_pieces(tmp_path: Path) -> None:
    history = History(path=str(tmp_path / "h"))
    history.store([_entry(number, visit) for visit in range(3) for number in range(-5, 6)])
    history.close()
    first = latest(tmp_path / "h", limit=4)
    assert [(event.entry.fingerprint, event.visit) for event in first] == [(-5, 2), (-4, 2), (-3, 2), (-2, 2)]
    rest = latest(tmp_path / "h", after=-2, limit=100)
    assert [event.entry.fingerprint for event in rest] == list(range(-1, 6))
    assert latest(tmp_path / "h", after=5) == latest(tmp_path / "none") == ()


def test_a_file_of_the_first_version_is_read_and_taken_on(tmp_path: Path) -> None:
    old = (
        *("number INTEGER PRIMARY KEY", "id TEXT NOT NULL UNIQUE", "url TEXT", "at TEXT", "visit INTEGER"),
        *("fingerprint INTEGER", "outcome TEXT", "reason TEXT", "detail TEXT", "status INTEGER", "seconds REAL"),
        *("bytes INTEGER", "items INTEGER", "links INTEGER", "attempt INTEGER", "depth INTEGER", "worker TEXT"),
    )
    with closing(sqlite3.connect(tmp_path / "h")) as db:
        db.execute(f"CREATE TABLE log({', '.join(old)})")
        db.execute("CREATE INDEX log_fingerprint ON log(fingerprint)")
        db.execute("CREATE TABLE part(name TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID")
        db.execute("INSERT INTO part VALUES ('history', 1)")
        db.execute("INSERT INTO log VALUES (1, 'x', 'u', 'a', 0, 7, 'done', '', '', 200, 0.5, 1, 2, 3, 1, 0, 'w1')")
        db.commit()
    (event,) = entries(tmp_path / "h")
    assert event.entry == LogEntry(
        fingerprint=7, outcome="done", status=200, seconds=0.5, bytes=1, items=2, links=3, worker="w1"
    )
    history = History(path=str(tmp_path / "h"))
    history.store([_entry(7, 1, etag='"1"', method="detail", simhash=-5)])
    history.close()
    assert [event.entry.etag for event in entries(tmp_path / "h", fingerprint=7)] == ["", '"1"']
    assert latest(tmp_path / "h")[0].entry.simhash == -5
    History(path=str(tmp_path / "h")).close()
