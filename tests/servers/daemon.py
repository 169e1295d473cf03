"""A redis-server process, as a server or as a Sentinel: started, known to answer, and ended by its own pid only."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

START_S_MAX = 30.0
"""A server must answer within so long of its start, its log read."""
STOP_S_MAX = 10.0
RANDOM = random.SystemRandom()
"""Property tests seed the usual one, so that two test processes would choose the same ports."""


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


@dataclass
class Daemon:
    """One redis-server process: `arguments` after the program's name, in `home`, where it opens `redis.sock`.

    `auth` is sent before PING to learn whether it answers.
    """

    home: Path
    arguments: tuple[str, ...]
    auth: str = ""
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def socket(self) -> Path:
        return self.home / "redis.sock"

    @property
    def log(self) -> Path:
        return self.home / "redis.log"

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("redis-server was not started")
        return self._process.pid

    def start(self) -> None:
        """Returns when it answers. Raises PortTaken, or RuntimeError with the end of its log."""
        if shutil.which("redis-server") is None:
            raise RuntimeError("redis-server is not installed: deploy/setup.sh servers")
        self.log.write_bytes(b"")
        command = ["redis-server", *self.arguments, "--logfile", str(self.log), "--unixsocket", str(self.socket)]
        self._process = subprocess.Popen(
            command, cwd=self.home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        until = time.monotonic() + START_S_MAX
        while self.alive and time.monotonic() < until:
            if self._answers():
                return
            time.sleep(0.005)
        self.kill()
        log = self.log.read_text(errors="replace")[-4000:]
        raise (PortTaken if "Address already in use" in log else RuntimeError)(f"redis-server did not start: {log}")

    def _answers(self) -> bool:
        # By its socket, not its port, which may be another server's.
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(5)
            try:
                wire.connect(str(self.socket))
                wire.sendall(f"{self.auth}PING\r\n".encode())
                with wire.makefile("rb") as answer:
                    lines = [answer.readline() for _ in range(2 if self.auth else 1)]
            except OSError:
                return False
        # Not so while it reads its log: LOADING.
        return lines[-1] == b"+PONG\r\n"

    def kill(self) -> None:
        """SIGKILL. Safe to repeat."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> None:
        """SIGTERM, an orderly end. Safe to repeat."""
        if self._process is not None and self.alive:
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)
            try:
                self._process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                self.kill()

    def pause(self) -> None:
        """SIGSTOP; returns when it has stopped. Connections stay open and unanswered."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


def wait_until(true: Callable[[], bool], what: str, timeout_s: float) -> None:
    """Asks 20 times a second. Raises TimeoutError."""
    until = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.05)
