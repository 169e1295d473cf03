"""The history file as it grows: each outcome once, soon after it was stored. What `crawler monitor` shows of a crawl in
files, where nobody tells of each step."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from crawler.error import SettingsError
from crawler.url import host
from crawler.view import Transition

POLL_S: Final = 0.25

PIECE_MAX: Final = 1_000
"""Outcomes read at a time."""

_NEXT: Final = "SELECT number, url, at, outcome, reason, worker FROM log WHERE number > ? ORDER BY number LIMIT ?"
_LAST: Final = "SELECT coalesce(max(number), 0) FROM log"


def transitions(path: str | Path, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[Transition | None]:
    """From now on, without end: `done`, `retry` and `bury`. None when nothing came for `POLL_S`, so that the caller
    gets a turn. A file that is not there yet, or was replaced by a new one, is read from its beginning.

    Raises SettingsError (not a history file). Cost: one look-up each `POLL_S`; no writer waits for it."""
    path = Path(path)
    number = _last(path) or 0
    while True:
        rows = _rows(path, _NEXT, number, PIECE_MAX) or []
        for row in rows:
            number = row[0]
            yield _transition(*row[1:])
        if not rows:
            yield None
            sleep(POLL_S)
            last = _last(path)
            number = number if last is None else min(number, last)


def _last(path: Path) -> int | None:
    """Number of the last outcome; None when that cannot be told just now."""
    rows = _rows(path, _LAST)
    return None if rows is None else rows[0][0] if rows else 0


def _rows(path: Path, sql: str, *parameters: int) -> list[tuple[Any, ...]] | None:
    """None when the file is locked or has no tables yet."""
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            return db.execute(sql, parameters).fetchall()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return None
        raise SettingsError(f"{path} cannot be read as a history file ({error})") from error


def _transition(url: str, at: str, outcome: Any, reason: str, worker: str) -> Transition:
    at_ms = round(datetime.fromisoformat(at).timestamp() * 1000)
    return Transition(at_ms=at_ms, what=outcome, url=url, host=host(url), worker=worker, reason=reason)
