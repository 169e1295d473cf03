"""Who is alive: one OS lock (flock) a worker, in one folder. The kernel frees it when the process ends, anyhow.

So a worker killed together with everything that could have noticed is known to be dead the moment somebody looks.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote, unquote

from crawler.error import BackendError

NAME_MAX = 150
"""A file's name keeps so many characters of its worker's; more are hashed."""


class WorkerLocks:
    """The locks of one folder that this process holds. Thread-safe. A forked child would share them: do not fork."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}
        self._mutex = threading.Lock()

    def hold(self, worker: str) -> bool:
        """Take the worker's lock until `close` or the process's end. True when it was not held yet: whatever that name
        still has belongs to a dead predecessor. Raises BackendError when another process holds it, OSError."""
        if worker in self._held:
            return False
        with self._mutex:
            if worker in self._held:
                return False
            fd = self._take(worker, create=True)
            if fd is None:
                raise BackendError(f"{self._folder}: another process works as {worker!r}")
            self._held[worker] = fd
            return True

    def dead(self, names: Iterable[str]) -> tuple[str, ...]:
        """Which of these hold no lock. Their files are removed. Raises OSError. Cost: three system calls a name."""
        with self._mutex:
            return tuple(name for name in names if name not in self._held and self._is_dead(name))

    def _is_dead(self, worker: str) -> bool:
        try:
            fd = self._take(worker, create=False)
        except FileNotFoundError:
            return True
        if fd is None:
            return False
        os.unlink(self._path(worker))
        os.close(fd)
        return True

    def _path(self, worker: str) -> str:
        name = quote(worker, safe="").replace(".", "%2E")  # so that no name means a folder
        if len(name) > NAME_MAX:
            name = f"{name[:NAME_MAX]}-{blake2b(worker.encode(), digest_size=16).hexdigest()}"
        return os.path.join(self._folder, name)

    def _take(self, worker: str, *, create: bool) -> int | None:
        """The locked file of a worker, or None when another process has it."""
        path = self._path(worker)
        if create:
            os.makedirs(self._folder, exist_ok=True)
        while True:
            fd = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o666)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if is_at(fd, path):  # else another process removed it between open and lock
                    return fd
            except BlockingIOError:
                os.close(fd)
                return None
            os.close(fd)

    def let_go(self, worker: str) -> None:
        """Give one lock back and remove its file. Raises OSError."""
        with self._mutex:
            fd = self._held.pop(worker, None)
            if fd is not None:
                os.unlink(self._path(worker))  # before unlocking: nobody may lock a file that is about to go
                os.close(fd)

    def close(self) -> None:
        """Let go of all."""
        with self._mutex:
            for fd in self._held.values():
                os.close(fd)
            self._held.clear()


def is_at(fd: int, path: str) -> bool:
    """Whether the open file is still the one at `path`: another process may have removed it before it was locked."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), there)


def in_use(folder: str | Path) -> bool:
    """Whether any process holds a lock of this folder. Removes the files of dead ones. Raises BackendError."""
    folder = Path(folder)
    names = [unquote(path.name) for path in folder.iterdir()] if folder.is_dir() else []
    locks = WorkerLocks(folder)
    try:
        return len(locks.dead(names)) < len(names)
    except OSError as error:
        raise BackendError(f"{folder}: {error.strerror}") from error
    finally:
        locks.close()
