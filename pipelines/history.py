"""The built-in pipeline for `log` messages: every outcome of every page, in a SQLite file beside the crawl's state.

What explaining a page, watching a crawl and crawling again read, and a crawl log that people want anyway.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from crawler.error import SettingsError
from crawler.model import LogEntry, Message, Request
from crawler.url import canonical, fingerprint
from pipelines.database import Database, Tables

ROWS_MAX: Final = 10_000_000
"""About 2 GB."""

_FIELDS: Final = LogEntry.__struct_fields__

_TABLES: Final = Tables(
    part="history",
    version=1,
    statements=(
        """CREATE TABLE log(number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, url TEXT NOT NULL, at TEXT NOT NULL,
            visit INTEGER NOT NULL, fingerprint INTEGER NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL,
            detail TEXT NOT NULL, status INTEGER NOT NULL, seconds REAL NOT NULL, bytes INTEGER NOT NULL,
            items INTEGER NOT NULL, links INTEGER NOT NULL, attempt INTEGER NOT NULL, depth INTEGER NOT NULL,
            worker TEXT NOT NULL)""",
        "CREATE INDEX log_fingerprint ON log(fingerprint)",
    ),
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
        rows = db.execute(
            f"SELECT url, at, visit, {', '.join(_FIELDS)} FROM log {where} ORDER BY number DESC LIMIT ?",
            (limit,) if print_ is None else (print_, limit),
        ).fetchall()
    return tuple(
        Event(url, at, visit, LogEntry(**dict(zip(_FIELDS, fields, strict=True))))
        for url, at, visit, *fields in reversed(rows)
    )


def _fingerprint(url: str) -> int:
    return fingerprint(Request(url=canonical(url)))


@contextmanager
def _reading(path: str | Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"{Path(path).resolve().as_uri()}?mode=ro", uri=True)) as db:
        try:
            yield db
        except sqlite3.DatabaseError as error:
            raise SettingsError(f"{path} cannot be read as a history file ({error})") from error
