"""The history of a crawl: what is written comes out again, the newest when there is too much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from crawler.error import BadUrl, SettingsError
from crawler.model import LOG_KIND, LogEntry, Message, Record, Request
from crawler.url import fingerprint
from pipelines.history import Event, History, entries

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
