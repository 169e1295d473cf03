"""Messages of a file's exchange as they are published, looked at and left where they are."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from crawler.codec import decode_message
from crawler.error import BadRecord, SettingsError
from crawler.exchange.routing import matches
from crawler.model import LOG_KIND, RAW_KIND, Message

POLL_S: Final = 0.1

PIECE_MAX: Final = 500
"""Messages read at a time."""

_NEW: Final = "SELECT number, at_ms, id, queues, payload FROM x_message WHERE number > ? ORDER BY number LIMIT ?"
_LAST: Final = "SELECT number, at_ms, id, 0, NULL FROM x_message ORDER BY number DESC LIMIT 1"
_AT: Final = "SELECT id FROM x_message WHERE number = ?"
_QUEUE: Final = "SELECT id FROM x_queue WHERE name = ?"


class Tail:
    """Where the reading is. Numbers begin anew when all messages were stored, so the last is known by its id too."""

    def __init__(self, path: Path, pipeline: str | None) -> None:
        self._path = path
        self._pipeline = pipeline
        self._number = 0
        self._at_ms = 0
        self._id = ""

    def skip(self) -> None:
        """Go behind what is there."""
        for row in self._rows(_LAST) or ():
            self._note(row)

    def read(self) -> list[Message]:
        """What is new, as far as it is there still."""
        mask = self._mask()
        if self._number and self._id not in [id for (id,) in self._rows(_AT, self._number) or ()]:
            self._number = 0
        since_ms, last = self._at_ms, self._id
        found = []
        for row in self._rows(_NEW, self._number, PIECE_MAX) or ():
            self._note(row)
            if row[1] >= since_ms and row[2] != last and (mask is None or row[3] & mask):
                found += self._decoded(row[4])
        return found

    def _note(self, row: tuple[Any, ...]) -> None:
        self._number, self._id = row[0], row[2]
        self._at_ms = max(self._at_ms, row[1])

    def _mask(self) -> int | None:
        if self._pipeline is None:
            return None
        rows = self._rows(_QUEUE, self._pipeline)
        if rows == []:
            raise SettingsError(f"no pipeline {self._pipeline!r} in {self._path}")
        return 1 << rows[0][0] if rows else 0

    @staticmethod
    def _decoded(payload: bytes) -> list[Message]:
        try:
            return [decode_message(payload)]
        except BadRecord:  # its consumer will say so
            return []

    def _rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]] | None:
        """None when the file is locked or has no tables yet."""
        if not self._path.exists():
            return None
        try:
            with closing(sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)) as db:
                return db.execute(sql, parameters).fetchall()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                return None
            raise SettingsError(f"{self._path} cannot be read as a state file ({error})") from error


def messages(
    path: str | Path, *, pipeline: str | None = None, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Message | None]:
    """From now on, without end, of all pipelines or one; None when nothing came for `POLL_S`. A message that every
    pipeline has stored is gone from the file: of those that live shorter than `POLL_S` some are not seen.

    Raises SettingsError (not a state file, no such pipeline). Cost: two look-ups each `POLL_S`; no writer waits."""
    tail = Tail(Path(path), pipeline)
    tail.skip()
    while True:
        found = tail.read()
        yield from found
        if len(found) < PIECE_MAX:
            yield None
            sleep(POLL_S)


def is_meant(kind: str, wanted: str | None) -> bool:
    """Whether a message of this kind is shown: outcomes and whole pages only when they are asked for by name."""
    if wanted is None:
        return kind not in (LOG_KIND, RAW_KIND)
    return kind == wanted or (kind not in (LOG_KIND, RAW_KIND) and matches(wanted, kind))
