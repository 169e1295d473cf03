"""The SQLite store: its table, other tables, several writers."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from crawler.error import SettingsError
from crawler.model import Message, Record
from pipelines.sqlite import Sqlite


def message(number: int) -> Message:
    return Message(
        id=f"m{number}",
        kind="page",
        url=f"https://e.com/{number}",
        fetched_at="2026-01-31T12:00:00.000Z",
        spider="s",
        records=(Record(f"i{number}", msgspec.Raw(b'{"title":"T%d","n":%d}' % (number, number))),),
    )


def test_the_table(tmp_path: Path) -> None:
    pipeline = Sqlite(path=str(tmp_path / "out.db"))
    pipeline.store([message(1)])
    with closing(sqlite3.connect(tmp_path / "out.db")) as db:
        assert db.execute("SELECT * FROM item").fetchall() == [
            ("i1", "page", "https://e.com/1", "2026-01-31T12:00:00.000Z", "s", '{"title":"T1","n":1}')
        ]
        assert db.execute("SELECT data ->> 'title' FROM item WHERE kind = 'page'").fetchall() == [("T1",)]
    pipeline.close()


def test_other_tables_are_left_alone_but_not_overwritten(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "mine.db", isolation_level=None)) as db:
        db.execute("CREATE TABLE mine(x)")
    Sqlite(path=str(tmp_path / "mine.db")).close()
    with closing(sqlite3.connect(tmp_path / "other.db", isolation_level=None)) as db:
        db.execute("CREATE TABLE item(x)")
    with pytest.raises(SettingsError, match="another program's tables"):
        Sqlite(path=str(tmp_path / "other.db"))
    with closing(sqlite3.connect(tmp_path / "other.db")) as db:
        assert db.execute("SELECT name FROM sqlite_schema").fetchall() == [("item",)]


def test_several_writers_and_readers(tmp_path: Path) -> None:
    path, failed = tmp_path / "out.db", []

    def write() -> None:
        try:
            pipeline = Sqlite(path=str(path))
            for start in range(0, 200, 10):
                pipeline.store([message(number) for number in range(start, start + 10)])
            pipeline.close()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*), count(DISTINCT id) FROM item").fetchone() == (200, 200)
