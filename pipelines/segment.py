"""Files that are only ever appended to, whole batches at a time, and are complete after any kill.

Beside them lies `<path>.index`, a SQLite file with the committed length of each and the ids of the messages stored. A
batch is first written behind the committed lengths, then ids and new lengths are committed in one transaction. A kill
in between leaves tails that the index does not know: they are cut off at the next start, and the batch comes again. So
every line is whole, every message is in the files once, and the ids take disk, not memory.

A file that is due is put away: the index says first under which name, then it is renamed, then the index forgets it.
A kill in between is made up for at the next start.

With `fsync` the files reach the disk before the index does. Without, a power loss (not a kill) can leave a file that
is shorter than its index; that is refused at the next start, never guessed at.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from crawler.error import SettingsError, Unavailable
from crawler.model import Message
from pipelines.database import Database, unstored
from pipelines.naming import Naming, numbered
from pipelines.output import refusal
from pipelines.packing import packer
from pipelines.shelf import TABLES, File, Shelf

OPEN_MAX: Final = 64
"""Files open at once; of others the one is closed that was opened first."""

Render = Callable[[Sequence[Message], File], bytes]
"""The messages as they are to stand in the file; `file.empty`: with what a file begins with."""

Choose = Callable[[Sequence[Message]], Sequence[str]]
"""The columns of a table that begins with these messages."""


class Segment:
    """The files of one path, and their index. One writer; not thread-safe."""

    def __init__(
        self,
        path: str | Path,
        *,
        fsync: bool = False,
        rotate_bytes: int = 0,
        rotate_s: float = 0.0,
        compression: str = "none",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Cuts the files back to their committed lengths. A file is put away, before the next batch, once it has
        `rotate_bytes` or is `rotate_s` old (0: never); one of another day always. Raises SettingsError when files and
        index do not belong together or cannot be written, Unavailable when the disk is full."""
        self.path = Path(os.path.realpath(path))
        self._naming = Naming(self.path)
        self._pack = packer(str(path), compression)
        self._fsync = fsync
        self._rotate_bytes, self._rotate_s = rotate_bytes, rotate_s
        self._clock = clock
        self._fds: dict[str, int] = {}
        index = Path(f"{self.path}.index")
        if self._naming.one:
            self._check_alone(index)
        self._index = Database(index, TABLES, fsync=fsync, exclusive=True)
        self._shelf = Shelf()
        self._sound = False
        """The lengths in the shelf are those of the files."""
        try:
            self._recover()
        except BaseException:
            self.close()
            raise

    @property
    def files(self) -> Mapping[str, File]:
        """Those that grow, by name: to be looked at."""
        return self._shelf.files

    def _check_alone(self, index: Path) -> None:
        """Raises SettingsError when there is something else at the path than a file of ours."""
        try:
            about = self.path.stat()
        except FileNotFoundError:
            return
        except OSError as error:
            raise refusal(self.path, error) from error
        if not stat.S_ISREG(about.st_mode):
            raise SettingsError(f"{self.path} is not a regular file: give another path")
        if about.st_size and not index.exists():
            raise SettingsError(
                f"{self.path} exists, but {index.name} beside it does not: it was not written by this crawl. "
                "Give another path, or move the file away"
            )

    def _recover(self) -> None:
        """Read the index, and bring all files back to what is committed."""
        with self._index.transaction() as db:
            self._shelf = Shelf.read(db)
        for file in self._shelf.files.values():
            if file.moving:
                self._finish_moving(file)
        if self._naming.one and not self._shelf.files:
            self._begin(self.path.name, "")
        for file in self._shelf.files.values():
            self._cut(file)
        self._sound = True

    def _cut(self, file: File) -> None:
        path = self.path.parent / file.name
        try:
            if self._naming.one:
                self._descriptor(file)  # a file that cannot be written is refused at once
            size = path.stat().st_size if file.length or path.exists() else 0
            if size > file.length:
                os.truncate(path, file.length)
        except FileNotFoundError:
            size = 0
        except OSError as error:
            raise refusal(path, error) from error
        if size < file.length:
            raise SettingsError(
                f"{path} has {size} bytes, but {self.path.name}.index says {file.length} are stored: it was "
                "cut, replaced or removed (or power was lost without fsync = true). Bring it back, or start over with "
                "--fresh"
            )

    def _descriptor(self, file: File) -> int:
        fd = self._fds.get(file.name)
        if fd is None:
            while len(self._fds) >= OPEN_MAX:
                os.close(self._fds.pop(next(iter(self._fds))))
            create = 0 if file.length else os.O_CREAT
            fd = os.open(self.path.parent / file.name, os.O_RDWR | os.O_CLOEXEC | create, 0o666)
            self._fds[file.name] = fd
        return fd

    def append(self, messages: Sequence[Message], render: Render, choose: Choose | None = None) -> None:
        """Store those not stored yet, as `render` puts them, all or none. `choose`: the columns of a new table.

        Raises Unavailable when the disk is full (nothing is stored then), and what `render` raises. Cost: one write a
        file, one commit, one index look-up a message."""
        grown: list[tuple[File, int]] = []
        try:
            if not self._sound:
                self._recover()
            self._sound = False  # until it is committed or cut back
            self._turn()
            files = self._files_of(messages)
            with self._index.transaction() as db:
                for file, part in self._by_file(unstored(db, messages), files):
                    if choose is not None and file.empty and not file.columns:
                        file.columns = tuple(choose(part))
                    data = render(part, file)
                    if data:
                        data = self._pack(data) if self._pack is not None else data
                        self._write(file, data)
                        grown.append((file, len(data)))
                        file.note(db, file.length + len(data), file.begun_s or self._clock())
        except OSError as error:
            self._cut_back()
            raise Unavailable(f"{self.path}: {error.strerror}") from error
        except SettingsError as error:  # somebody's hand in the files: theirs to mend, the items keep
            raise Unavailable(str(error)) from error
        except BaseException:
            self._cut_back()
            raise
        for file, length in grown:
            file.length += length
            file.begun_s = file.begun_s or self._clock()
        self._sound = True

    def _files_of(self, messages: Sequence[Message]) -> dict[str, File]:
        """Kind -> file, begun if it is not there yet."""
        if self._naming.one:
            return {}
        day = self._day()
        found = {}
        for kind in {message.kind for message in messages}:
            name = self._naming.name(kind, day)
            found[kind] = self._shelf.files.get(name) or self._begin(name, day)
        return found

    def _by_file(self, fresh: Sequence[Message], files: dict[str, File]) -> list[tuple[File, Sequence[Message]]]:
        if not fresh:
            return []
        if self._naming.one:
            return [(self._shelf.files[self.path.name], fresh)]
        parts: dict[str, list[Message]] = {}
        for message in fresh:
            parts.setdefault(files[message.kind].name, []).append(message)
        return [(self._shelf.files[name], part) for name, part in parts.items()]

    def _begin(self, name: str, day: str) -> File:
        """A new file, or one that this store had put away for the day and goes on with."""
        path = self.path.parent / name
        there = not self._naming.one and path.exists() and path.stat().st_size > 0
        with self._index.transaction() as db:
            file = self._shelf.take(db, name, day, there=there)
            if file is None:
                raise Unavailable(f"{path} exists and was not written by this store: move it away")
        self._shelf.files[name] = file
        return file

    def _day(self) -> str:
        return time.strftime("%Y-%m-%d", time.gmtime(self._clock())) if self._naming.days else ""

    def _turn(self) -> None:
        """Put away what is due."""
        if not (self._rotate_bytes or self._rotate_s or self._naming.days):
            return
        now_s, day = self._clock(), self._day()
        for file in tuple(self._shelf.files.values()):
            old = self._rotate_s and file.begun_s and now_s - file.begun_s >= self._rotate_s
            if file.length and (old or (self._rotate_bytes and file.length >= self._rotate_bytes)):
                self._move(file)
            if file.day != day:
                self._close(file)
                with self._index.transaction() as db:
                    self._shelf.shelve(db, file)

    def _move(self, file: File) -> None:
        number = file.number + 1
        while (self.path.parent / numbered(file.name, number)).exists():
            number += 1
        with self._index.transaction() as db:
            file.move(db, number)
        self._finish_moving(file)

    def _finish_moving(self, file: File) -> None:
        """Rename, unless a process did it that was killed then. Raises SettingsError when the file is gone."""
        source = self.path.parent / file.name
        target = source.with_name(numbered(file.name, file.moving))
        if source.exists() and target.exists():  # another's, made just now
            return self._move(file)
        try:
            if not target.exists():
                self._cut(file)
                self._close(file)
                os.rename(source, target)
                self._sync_folder()
        except OSError as error:
            raise refusal(source, error) from error
        with self._index.transaction() as db:
            self._shelf.moved(db, file, target.name)

    def _sync_folder(self) -> None:
        if self._fsync:
            fd = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            os.fsync(fd)
            os.close(fd)

    def _write(self, file: File, data: bytes) -> None:
        fd, view, offset = self._descriptor(file), memoryview(data), file.length
        while view:
            written = os.pwrite(fd, view, offset)
            view = view[written:]
            offset += written
        if self._fsync:
            os.fdatasync(fd)

    def _cut_back(self) -> None:
        """At once if the index can be read, so that readers see no torn line; else before the next batch."""
        try:
            self._recover()
        except (Unavailable, SettingsError):
            self._sound = False

    def _close(self, file: File) -> None:
        if (fd := self._fds.pop(file.name, None)) is not None:
            os.close(fd)

    def close(self) -> None:
        self._index.close()
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
