"""The process of a server: started, known to answer, killed, started again, and ended by its own pid only."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STOP_S_MAX = 20.0
PORT_TRIES = 10
RANDOM = random.SystemRandom()
"""Property tests seed the usual one, so that two test processes would choose the same ports."""

# Reads what is to be done at the end, the latest line counts, until it is told to do it or the tests are gone, however
# they ended.
_GUARD = """
while read -r line && [ "$line" != end ]; do last=$line; done
eval "$last"
rm -rf "$1"
"""


class PortTaken(RuntimeError):
    """Somebody else was quicker: try another port."""


def free_port() -> int:
    """A port of loopback that nobody listens on.

    Below the range that the kernel gives to outgoing connections: none of those can take it while a server is down
    between kill and restart, nor can a client that keeps trying connect to itself.
    """
    for _ in range(200):
        port = RANDOM.randrange(20_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port between 20000 and 32000")


def on_free_ports(start: Callable[[], None], tries: int = PORT_TRIES) -> None:
    """Call `start`, which takes new ports from free_port(), again while it raises PortTaken."""
    for _ in range(tries - 1):
        with contextlib.suppress(PortTaken):
            return start()
    start()


@contextlib.contextmanager
def undone(undo: Callable[[], None]) -> Iterator[None]:
    """`with undone(self.stop)`: what raises inside is undone first."""
    try:
        yield
    except BaseException:
        undo()
        raise


@dataclass
class Daemon:
    """One process of a server, in a directory of its own. When the process that started it dies, both go too.

    `answers` tells whether it is ready. What it prints goes to a log there.
    """

    name: str
    home: Path
    answers: Callable[[], bool]
    start_s_max: float = 30.0
    """It must answer within so long of its start, its data read."""
    end_signal: signal.Signals = signal.SIGTERM
    """Asks for an orderly end."""
    last: str = ""
    """A shell command for stop(): ends what a killed one leaves outside its directory."""
    _command: tuple[str, ...] = field(default=(), init=False)
    _options: dict[str, Any] = field(default_factory=dict, init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _guard: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def log(self) -> str:
        """The end of it."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.home.glob("*.log")))[-6000:]

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    @property
    def children(self) -> list[int]:
        """Their pids."""
        try:
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        except OSError:
            return []

    def start(self, *command: str, **options: Any) -> None:
        """Returns when it answers. `options`: for Popen. Raises PortTaken, or RuntimeError with the end of its log."""
        if shutil.which(command[0]) is None:
            raise RuntimeError(f"{self.name} is not installed: deploy/setup.sh servers")
        self._command, self._options = command, options
        with (self.home / f"{self.name}.log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **options,
            )
        self._guard = self._guard or _guard(self.home)
        self._tell_guard(f"kill -9 {self.pid}; sleep 1; {self.last}")
        until = time.monotonic() + self.start_s_max
        while self.alive and time.monotonic() < until:
            if self.answers():
                return
            time.sleep(0.01)
        self.kill()
        taken = any(words in self.log for words in ("Address already in use", "eaddrinuse"))
        raise (PortTaken if taken else RuntimeError)(f"{self.name} did not start: {self.log}")

    def kill(self) -> None:
        """SIGKILL, as a machine's memory killer would; then its children are ended too. Safe to repeat."""
        if self._process is None:
            return
        children = self.children if self.alive else []
        self._process.kill()
        self._process.wait()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        wait_until(lambda: not any(Path(f"/proc/{pid}/cwd").exists() for pid in children), "children gone", STOP_S_MAX)
        self._tell_guard(self.last)

    def end(self) -> None:
        """In good order. Files stay; restart() goes on from them. Safe to repeat."""
        if self._process is not None and self.alive:
            self._process.send_signal(self.end_signal)
            self._process.send_signal(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S_MAX)
        self.kill()

    def restart(self) -> None:
        """Start again with the same command and files; ended in good order first if it runs."""
        self.end()
        self.start(*self._command, **self._options)

    def stop(self) -> None:
        """Kill it and remove its directory. Safe to repeat."""
        self.kill()
        self._tell_guard("end")
        if self._guard is not None:
            self._guard.communicate()
            self._guard = None
        shutil.rmtree(self.home, ignore_errors=True)

    def _tell_guard(self, line: str) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.write(f"{line}\n".encode())
            self._guard.stdin.flush()

    def pause(self) -> None:
        """SIGSTOP; returns when it has stopped. Connections stay open and unanswered until resume()."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


def _guard(home: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["sh", "-c", _GUARD, "guard", str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_until(true: Callable[[], bool], what: str, timeout_s: float) -> None:
    """Asks 20 times a second. Raises TimeoutError."""
    until = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.05)
