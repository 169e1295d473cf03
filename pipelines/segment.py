"""A text file that is only ever appended to, whole batches at a time, and is complete after any kill.

Beside the file lies `<path>.index`, a SQLite file with the committed length and the ids of the messages stored. A batch
is first written behind the committed length, then ids and new length are committed in one transaction. A kill in
between leaves a tail that the index does not know: it is cut off at the next start, and the batch comes again. So every
line is whole, every message is in the file once, and the ids take disk, not memory.

With `fsync` the file reaches the disk before the index does. Without, a power loss (not a kill) can leave a file that
is shorter than its index; that is refused at the next start, never guessed at.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from crawler.error import SettingsError, Unavailable
from crawler.model import Message
from pipelines.database import Database, Tables
from pipelines.output import refusal

_TABLES: Final = Tables(
    part="segment",
    version=1,
    statements=(
        "CREATE TABLE segment(id INTEGER PRIMARY KEY CHECK (id = 1), length INTEGER NOT NULL, columns TEXT NOT NULL)",
        "INSERT INTO segment VALUES (1, 0, '[]')",
        "CREATE TABLE stored(id TEXT PRIMARY KEY) WITHOUT ROWID",
    ),
)


class Segment:
    """The open file and its index. One writer; not thread-safe."""

    def __init__(self, path: str | Path, *, fsync: bool = False) -> None:
        """Cuts the file back to its committed length. Raises SettingsError when file and index do not belong together
        or cannot be written, Unavailable when the disk is full."""
        self.path = Path(os.path.realpath(path))
        self._fsync = fsync
        self._check_kind()
        index = Path(f"{self.path}.index")
        if not index.exists() and self.path.exists() and self.path.stat().st_size:
            raise SettingsError(
                f"{self.path} exists, but {index.name} beside it does not: it was not written by this crawl. "
                "Give another path, or move the file away"
            )
        self._index = Database(index, _TABLES, fsync=fsync, exclusive=True)
        self._fd = -1
        self._length = 0
        self.columns: tuple[str, ...] = ()
        """Of a table; noted with the first batch."""
        try:
            self._recover()
        except BaseException:
            self.close()
            raise

    @property
    def empty(self) -> bool:
        """Nothing is in the file yet."""
        if self._length < 0:
            self._recover()
        return self._length == 0

    def _check_kind(self) -> None:
        try:
            regular = stat.S_ISREG(self.path.stat().st_mode)
        except FileNotFoundError:
            return
        except OSError as error:
            raise refusal(self.path, error) from error
        if not regular:
            raise SettingsError(f"{self.path} is not a regular file: give another path")

    def _recover(self) -> None:
        """Open the file if need be, and bring it back to what is committed."""
        with self._index.transaction() as db:
            self._length, columns = db.execute("SELECT length, columns FROM segment").fetchone()
        self.columns = tuple(json.loads(columns))
        try:
            if self._fd < 0:
                create = os.O_CREAT if self._length == 0 else 0
                self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | create, 0o666)
            size = os.fstat(self._fd).st_size
            if size > self._length:
                os.ftruncate(self._fd, self._length)
        except FileNotFoundError:
            size = 0
        except OSError as error:
            raise refusal(self.path, error) from error
        if size < self._length:
            raise SettingsError(
                f"{self.path} has {size} bytes, but {self.path.name}.index says {self._length} are stored: it was "
                "cut, replaced or removed (or power was lost without fsync = true). Bring it back, or start over with "
                "--fresh"
            )

    def append(
        self, messages: Sequence[Message], render: Callable[[Sequence[Message]], bytes], columns: Sequence[str] = ()
    ) -> None:
        """Store those not stored yet, as `render` puts them, all or none. `columns` are noted with the first batch.

        Raises Unavailable when the disk is full (nothing is stored then), and what `render` raises. Cost: one write,
        one commit, one index look-up a message."""
        if self._length < 0:
            self._recover()
        length, self._length = self._length, -1  # unknown until it is committed or cut back
        noted = self.columns
        try:
            with self._index.transaction() as db:
                fresh = _unstored(db, messages)
                if fresh:
                    data = render(fresh)
                    self._write(data, length)
                    noted = tuple(columns) if length == 0 else noted
                    db.execute("UPDATE segment SET length = ?", (length + len(data),))
                    if length == 0 and columns:
                        db.execute("UPDATE segment SET columns = ?", (json.dumps(columns),))
                    length += len(data)
        except OSError as error:
            self._cut_back()
            raise Unavailable(f"{self.path}: {error.strerror}") from error
        except BaseException:
            self._cut_back()
            raise
        self._length = length
        self.columns = noted

    def _write(self, data: bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, offset)
            view = view[written:]
            offset += written
        if self._fsync:
            os.fdatasync(self._fd)

    def _cut_back(self) -> None:
        """At once if the index can be read, so that readers see no torn line; else before the next batch."""
        try:
            self._recover()
        except Unavailable:
            self._length = -1

    def close(self) -> None:
        self._index.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _unstored(db: sqlite3.Connection, messages: Sequence[Message]) -> list[Message]:
    """Those whose ids were not in the index; now they are. Of two with one id in a batch, the first."""
    by_id: dict[str, Message] = {}
    for message in messages:
        by_id.setdefault(message.id, message)
    new = {
        id
        for (id,) in db.execute(
            "INSERT OR IGNORE INTO stored SELECT value FROM json_each(?) RETURNING id", (json.dumps(list(by_id)),)
        ).fetchall()
    }
    return [message for id, message in by_id.items() if id in new]
