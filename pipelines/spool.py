"""A file of lines for stores whose own files cannot be read until they are closed: items are safe here until such a
file is whole.

    items.parquet.spool     lines, appended whole batches at a time
    items.parquet.index     the spool's committed length, and the ids of the messages stored: SQLite
    items.parquet.part      the file that is being written from the spool
    items-000001.parquet    whole files, for anybody to take

A batch is first written behind the committed length, then ids and new length are committed in one transaction; a kill
in between leaves a tail that is cut off at the next start. A whole file is first written as `.part` and flushed to the
disk; then the index says under which number it goes, then it is renamed, then the index empties the spool. After a kill
in between the next start goes on from there. So each message is in the spool or in one whole file, and in none twice.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from crawler.error import SettingsError, Unavailable
from crawler.model import Message
from pipelines.database import Database, Tables, unstored
from pipelines.naming import numbered
from pipelines.output import refusal

CHUNK_BYTES: Final = 16 << 20
"""Of lines read at a time, and more where one line is longer."""

_TABLES: Final = Tables(
    part="spool",
    version=1,
    statements=(
        """CREATE TABLE file(name TEXT PRIMARY KEY, length INTEGER NOT NULL, rows INTEGER NOT NULL,
            begun_s REAL NOT NULL, number INTEGER NOT NULL, moving INTEGER NOT NULL, note TEXT NOT NULL)""",
        "CREATE TABLE whole(name TEXT PRIMARY KEY, rows INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE stored(id TEXT PRIMARY KEY) WITHOUT ROWID",
    ),
)


class Lines(NamedTuple):
    """What a batch adds."""

    data: bytes
    rows: int
    note: str
    """Of the store, kept with the index."""


class State(NamedTuple):
    """The spool's row in the index."""

    length: int = 0
    """Bytes committed."""
    rows: int = 0
    begun_s: float = 0.0
    """When the first of them came (Unix time); 0: there are none."""
    number: int = 0
    """Of the last whole file."""
    moving: int = 0
    """`.part` is whole, and gets this number."""
    note: str = ""


class Spool:
    """The spool of one path and its index. One writer; not thread-safe."""

    def __init__(self, path: str | Path, *, fsync: bool = True, clock: Callable[[], float] = time.time) -> None:
        """Brings all files back to what is committed. Raises SettingsError when they do not belong together or cannot
        be written, Unavailable when the disk is full."""
        self.path = Path(os.path.realpath(path))
        self._spool, self._part = Path(f"{self.path}.spool"), Path(f"{self.path}.part")
        self._fsync = fsync
        self._clock = clock
        self._fd = -1
        self.state = State()
        self._sound = False
        """`state` is that of the files."""
        self._check_place()
        self._index = Database(Path(f"{self.path}.index"), _TABLES, fsync=fsync, exclusive=True)
        try:
            self._recover()
        except BaseException:
            self._close()
            raise

    def _check_place(self) -> None:
        """Nothing is written at the path itself: what is there is not ours."""
        if self.path.exists():
            if not self.path.is_file():
                raise SettingsError(f"{self.path} is not a regular file: give another path")
            raise SettingsError(f"{self.path} was not written by this crawl: give another path, or move the file away")
        if self._spool.exists() and self._spool.stat().st_size and not Path(f"{self.path}.index").exists():
            raise SettingsError(f"{self._spool} has no index beside it: give another path, or move the file away")

    def _recover(self) -> None:
        with self._index.transaction() as db:
            db.execute("INSERT OR IGNORE INTO file VALUES (?, 0, 0, 0, 0, 0, '')", (self._spool.name,))
            self.state = State(*db.execute("SELECT length, rows, begun_s, number, moving, note FROM file").fetchone())
        try:
            if self._fd < 0:
                create = 0 if self.state.length else os.O_CREAT
                self._fd = os.open(self._spool, os.O_RDWR | os.O_CLOEXEC | create, 0o666)
            size = os.fstat(self._fd).st_size
            if size > self.state.length:
                os.ftruncate(self._fd, self.state.length)
        except FileNotFoundError:
            size = 0
        except OSError as error:
            raise refusal(self._spool, error) from error
        if size < self.state.length:
            raise SettingsError(
                f"{self._spool} has {size} bytes, but {self.path.name}.index says {self.state.length} are stored: it "
                "was cut, replaced or removed (or power was lost without fsync = true). Bring it back, or start over "
                "with --fresh"
            )
        self._sound = True
        try:
            if self.state.moving:
                self._finish_moving()
            else:
                self._part.unlink(missing_ok=True)
        except OSError as error:
            raise refusal(self._part, error) from error

    def append(self, messages: Sequence[Message], render: Callable[[Sequence[Message]], Lines]) -> None:
        """Store those not stored yet, as `render` puts them, all or none.

        Raises Unavailable when the disk is full (nothing is stored then), and what `render` raises. Cost: one write,
        one commit, one index look-up a message."""
        self._ensure_sound()
        self._sound = False  # until it is committed or cut back
        state = self.state
        try:
            with self._index.transaction() as db:
                fresh = unstored(db, messages)
                if fresh:
                    lines = render(fresh)
                    self._write(lines.data)
                    state = state._replace(
                        length=state.length + len(lines.data),
                        rows=state.rows + lines.rows,
                        begun_s=state.begun_s or (self._clock() if lines.rows else 0.0),
                        note=lines.note,
                    )
                    self._note(db.execute, state)
        except OSError as error:
            self._cut_back()
            raise Unavailable(f"{self._spool}: {error.strerror}") from error
        except BaseException:
            self._cut_back()
            raise
        self.state = state
        self._sound = True

    def _ensure_sound(self) -> None:
        if not self._sound:
            try:
                self._recover()
            except SettingsError as error:  # somebody's hand in the files: theirs to mend, the items keep
                raise Unavailable(str(error)) from error

    def _write(self, data: bytes) -> None:
        view, offset = memoryview(data), self.state.length
        while view:
            written = os.pwrite(self._fd, view, offset)
            view = view[written:]
            offset += written
        if self._fsync:
            os.fdatasync(self._fd)

    @staticmethod
    def _note(execute: Callable[..., object], state: State) -> None:
        execute("UPDATE file SET length = ?, rows = ?, begun_s = ?, number = ?, moving = ?, note = ?", state)

    def _cut_back(self) -> None:
        """At once if the index can be read, so that readers see no torn line; else before the next batch."""
        try:
            self._recover()
        except (Unavailable, SettingsError):
            self._sound = False

    def chunks(self) -> Iterator[bytes]:
        """The committed lines, some whole ones at a time. Raises OSError."""
        offset, rest = 0, b""
        while offset < self.state.length:
            piece = os.pread(self._fd, min(CHUNK_BYTES, self.state.length - offset), offset)
            if not piece:
                raise OSError(0, "is shorter than its index says", str(self._spool))
            offset += len(piece)
            whole, newline, rest = (rest + piece).rpartition(b"\n")
            if newline:
                yield whole + newline

    def finish(self, write: Callable[[Path], None]) -> str:
        """Make a whole file of what is in the spool, and empty it. `write` makes it at the path given, from `chunks`,
        and may be called again after a kill. Gives the file's name. Raises Unavailable, and what `write` raises."""
        self._ensure_sound()
        try:
            self._part.unlink(missing_ok=True)
            write(self._part)
            _sync(self._part, os.O_RDONLY)
            self._sound = False
            self._move()
            return self._finish_moving()
        except OSError as error:
            with contextlib.suppress(OSError):
                self._part.unlink(missing_ok=True)  # room for others, while the disk is full
            raise Unavailable(f"{self.path}: {error.strerror or error}") from error

    def _move(self) -> None:
        """Say which number the part gets: the next one that nobody has."""
        number = self.state.number + 1
        while (self.path.parent / numbered(self.path.name, number)).exists():
            number += 1
        self._commit(self.state._replace(moving=number))

    def _finish_moving(self) -> str:
        """Rename the part, unless a process did it that was killed then; and empty the spool."""
        target = self.path.parent / numbered(self.path.name, self.state.moving)
        if self._part.exists():
            if target.exists():  # another's, made just now
                self._move()
                return self._finish_moving()
            os.rename(self._part, target)
            _sync(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        elif not target.exists():  # neither is there: the spool still has all
            self._commit(self.state._replace(moving=0))
            self._sound = True
            return ""
        empty = State(number=self.state.moving, note=self.state.note)
        self._commit(empty, whole=target.name)
        self._sound = True
        os.ftruncate(self._fd, 0)
        return target.name

    def _commit(self, state: State, whole: str = "") -> None:
        with self._index.transaction() as db:
            if whole:
                db.execute("INSERT OR REPLACE INTO whole VALUES (?, ?)", (whole, self.state.rows))
            self._note(db.execute, state)
        self.state = state

    def close(self) -> None:
        """An empty spool goes."""
        if self._sound and not self.state.length:
            self._spool.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        self._index.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _sync(path: Path, flags: int) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
