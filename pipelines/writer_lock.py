"""One writer a file: an OS lock beside the path, free again the moment its process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import Final

from crawler.workerlock import is_at
from pipelines.output import refusal

STANDBY_S: Final = 0.2
"""How often a copy that stands by looks whether the writer is gone."""


class WriterLock:
    """An exclusive flock on `<path>.lock`. The file is removed when the lock is given back in order."""

    def __init__(self, path: str | Path) -> None:
        self._path = f"{os.path.realpath(path)}.lock"
        self._fd: int | None = None

    def take(self) -> bool:
        """False: another writer has it. Raises SettingsError when nothing can be written there, Unavailable."""
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            while self._fd is None:
                fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(fd)
                    return False
                if is_at(fd, self._path):
                    self._fd = fd
                else:  # its holder removed it between our open and our lock
                    os.close(fd)
        except OSError as error:
            raise refusal(self._path, error) from error
        return True

    def wait(self, stop: threading.Event) -> bool:
        """Stand by until the lock is taken. False: `stop` came first. Raises like `take`."""
        while not self.take():
            if stop.wait(STANDBY_S):
                return False
        return True

    def give_back(self) -> None:
        if self._fd is not None:
            Path(self._path).unlink(missing_ok=True)  # before unlocking: nobody may lock a file that is about to go
            os.close(self._fd)
            self._fd = None
