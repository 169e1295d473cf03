"""The built-in pipeline for `log` messages: every outcome of every page, in a SQLite file beside the crawl's state.

What explaining a page, watching a crawl and crawling again read, and a crawl log that people want anyway.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from crawler.error import SettingsError
from crawler.model import Message, Request
from crawler.url import canonical, fingerprint
from crawler.view import LogEntry
from pipelines.database import Database, Tables

ROWS_MAX: Final = 10_000_000
"""About 2 GB."""

_FIELDS: Final = LogEntry.__struct_fields__

_ADDED: Final = (
    *("method TEXT NOT NULL DEFAULT 'parse'", "etag TEXT NOT NULL DEFAULT ''", "modified TEXT NOT NULL DEFAULT ''"),
    *("body INTEGER NOT NULL DEFAULT 0", "items_hash INTEGER NOT NULL DEFAULT 0"),
    *("simhash INTEGER NOT NULL DEFAULT 0", "near TEXT NOT NULL DEFAULT ''"),
)
"""Columns of version 2."""

_TABLES: Final = Tables(
    part="history",
    version=2,
    statements=(
        f"""CREATE TABLE log(number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, url TEXT NOT NULL, at TEXT NOT NULL,
            visit INTEGER NOT NULL, fingerprint INTEGER NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL,
            detail TEXT NOT NULL, status INTEGER NOT NULL, seconds REAL NOT NULL, bytes INTEGER NOT NULL,
            items INTEGER NOT NULL, links INTEGER NOT NULL, attempt INTEGER NOT NULL, depth INTEGER NOT NULL,
            worker TEXT NOT NULL, {", ".join(_ADDED)})""",
        "CREATE INDEX log_fingerprint ON log(fingerprint)",
    ),
    upgrades={1: tuple(f"ALTER TABLE log ADD COLUMN {column}" for column in _ADDED)},
)

_INSERT: Final = f"""INSERT OR IGNORE INTO log(id, url, at, visit, {", ".join(_FIELDS)})
    VALUES (?, ?, ?, ?, {", ".join("?" * len(_FIELDS))})"""

_decode = msgspec.json.Decoder(LogEntry).decode


class Event(msgspec.Struct, frozen=True):
    """One outcome of one page."""

    url: str
    at: str
    """RFC 3339, UTC."""
    visit: int
    entry: LogEntry


class History:
    """`path`: the file. `rows_max`: the oldest outcomes go when there are more; 0 keeps all."""

    writers = 1

    def __init__(self, *, path: str, rows_max: int = ROWS_MAX) -> None:
        """Raises SettingsError when the path cannot be such a file; Unavailable when the disk is full."""
        self._rows_max = rows_max
        self._database = Database(path, _TABLES)

    def store(self, messages: Sequence[Message]) -> None:
        """Raises Unavailable when the disk is full."""
        rows = [
            (record.id, message.url, message.fetched_at, message.visit, *msgspec.structs.astuple(_decode(record.data)))
            for message in messages
            for record in message.records
        ]
        with self._database.transaction() as db:
            db.executemany(_INSERT, rows)
            if self._rows_max:
                db.execute("DELETE FROM log WHERE number <= (SELECT max(number) FROM log) - ?", (self._rows_max,))

    def close(self) -> None:
        self._database.close()


def entries(
    path: str | Path, *, url: str | None = None, fingerprint: int | None = None, limit: int = 100
) -> tuple[Event, ...]:
    """The newest `limit` outcomes, oldest first: of a URL (asked for by GET), of a fingerprint, or of all pages.

    A file that does not exist has none. Raises SettingsError (not a history file), BadUrl. Cost: one look-up."""
    print_ = _fingerprint(url) if url is not None else fingerprint
    where = "" if print_ is None else "WHERE fingerprint = ?"
    if not Path(path).exists():
        return ()
    with _reading(path) as db:
        fields = _fields_of(db)
        rows = db.execute(
            f"SELECT url, at, visit, {', '.join(fields)} FROM log {where} ORDER BY number DESC LIMIT ?",
            (limit,) if print_ is None else (print_, limit),
        ).fetchall()
    return tuple(_event(fields, row) for row in reversed(rows))


def latest(path: str | Path, *, after: int | None = None, limit: int = 500) -> tuple[Event, ...]:
    """The last outcome of each page, by fingerprint, from the first that is above `after`; empty when there are no
    more. Raises SettingsError (not a history file). Cost: 5 µs a page; no writer waits for it."""
    if not Path(path).exists():
        return ()
    with _reading(path) as db:
        fields = _fields_of(db)
        rows = db.execute(
            f"""SELECT url, at, visit, {", ".join(fields)} FROM log WHERE number IN (
                SELECT max(number) FROM log WHERE fingerprint > ? GROUP BY fingerprint ORDER BY fingerprint LIMIT ?)
                ORDER BY fingerprint""",
            (-(1 << 63) if after is None else after, limit),
        ).fetchall()
    return tuple(_event(fields, row) for row in rows)


def _fields_of(db: sqlite3.Connection) -> tuple[str, ...]:
    """Fields that the file has: one of an older version has fewer, until somebody writes to it."""
    columns = {name for _, name, *_ in db.execute("PRAGMA table_info(log)")}
    return tuple(field for field in _FIELDS if field in columns)


def _event(fields: tuple[str, ...], row: tuple[Any, ...]) -> Event:
    url, at, visit, *values = row
    return Event(url, at, visit, LogEntry(**dict(zip(fields, values, strict=True))))


def _fingerprint(url: str) -> int:
    return fingerprint(Request(url=canonical(url)))


@contextmanager
def _reading(path: str | Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"{Path(path).resolve().as_uri()}?mode=ro", uri=True)) as db:
        try:
            yield db
        except sqlite3.DatabaseError as error:
            raise SettingsError(f"{path} cannot be read as a history file ({error})") from error
