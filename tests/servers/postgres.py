"""A private PostgreSQL cluster, made by Debian's packages as they come.

Everything it writes is in a directory of its own. It listens on a free port of loopback and on a socket in that
directory, asks for a password, and is ended by its own pid only. PostgreSQL refuses to run as root: then the user
`postgres` runs it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from tests.servers.daemon import STOP_S_MAX, PortTaken, free_port

PORT_TRIES = 10
START_S_MAX = 60.0
"""From its start to its first answer, crash recovery included."""
USER = "crawler"
PASSWORD = "postgres-password"
INSTALLED = Path("/usr/lib/postgresql")


def programs() -> Path:
    """The folder of the newest version's programs. Raises RuntimeError when none is installed."""
    found = sorted(INSTALLED.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not found:
        raise RuntimeError("PostgreSQL is not installed: deploy/setup.sh servers")
    return found[-1].parent


@dataclass
class PostgresServer:
    """`with PostgresServer() as server: server.dsn` answers; its user may do everything.

    `options` are lines for postgresql.conf: {"max_connections": "3"}. Raises RuntimeError with PostgreSQL's own words
    when it does not start.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default=0, init=False)
    home: Path = field(init=False)
    """Its own directory: data, log, socket."""
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "postgres.log"

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("start() first")
        return self._process.pid

    @property
    def dsn(self) -> str:
        return self.dsn_for("postgres")

    def dsn_for(self, database: str, *, password: str = PASSWORD) -> str:
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """A new connection, each statement its own transaction. The caller closes it."""
        return psycopg.connect(self.dsn_for(database), autocommit=True)

    def database(self, name: str, *options: str) -> str:
        """The dsn of a new, empty database; one that has the name goes first."""
        with contextlib.closing(self.connect()) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            connection.execute(f'CREATE DATABASE "{name}" {" ".join(options)}')
        return self.dsn_for(name)

    def start(self) -> Self:
        self.home = Path(tempfile.mkdtemp(prefix="postgres-"))
        try:
            self._make()
            for tried in range(1, PORT_TRIES + 1):
                self.port = free_port()
                try:
                    self._start()
                    break
                except PortTaken:
                    if tried == PORT_TRIES:
                        raise
        except BaseException:
            self.stop()
            raise
        return self

    def _make(self) -> None:
        (self.home / "password").write_text(PASSWORD, encoding="utf-8")
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            for path in (self.home, self.home / "password"):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        command = [str(programs() / "initdb"), "-D", str(self.data), "-U", USER, "-A", "scram-sha-256", "-E", "UTF8"]
        command += ["--pwfile", str(self.home / "password"), "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        made = subprocess.run(command, capture_output=True, check=False, text=True, **self._as_owner())
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr[-4000:]}")
        lines = {
            "listen_addresses": "'127.0.0.1'",
            "unix_socket_directories": f"'{self.home}'",
            # A killed process loses nothing without it; only a power loss would.
            "fsync": "off",
            "shared_buffers": "32MB",
            "max_connections": "20",
            **self.options,
        }
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = {value}\n" for name, value in lines.items())

    def _as_owner(self) -> dict[str, Any]:
        as_root: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []}
        return {"cwd": self.home, "stdin": subprocess.DEVNULL, **(as_root if os.geteuid() == 0 else {})}

    def _start(self) -> None:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [programs() / "postgres", "-D", self.data, "-p", str(self.port)],
                stdout=log,
                stderr=subprocess.STDOUT,
                **self._as_owner(),
            )
        until = time.monotonic() + START_S_MAX
        while self.alive and time.monotonic() < until:
            with contextlib.suppress(psycopg.OperationalError):
                self.connect().close()
                return
            time.sleep(0.02)
        self.kill()
        words = self.log.read_text(errors="replace")[-4000:]
        raise (PortTaken if "Address already in use" in words else RuntimeError)(f"postgres did not start: {words}")

    def terminate(self) -> None:
        """SIGINT: a fast shutdown, which ends all connections. Files stay; restart() goes on from them."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL, as a machine's memory killer would; then its children are ended too."""
        if not self.alive:
            return
        children = self._children()
        os.kill(self.pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        until = time.monotonic() + STOP_S_MAX
        while any(Path(f"/proc/{child}/cwd").exists() for child in children) and time.monotonic() < until:
            time.sleep(0.01)

    def restart(self) -> None:
        """Start again with the same port and files; ended in good order first if it runs."""
        self.terminate()
        self._start()

    def stop(self) -> None:
        """End it and remove all it has made. Safe to repeat."""
        self._signal(signal.SIGQUIT)
        self._free_memory()
        shutil.rmtree(self.home, ignore_errors=True)

    def cpu_s(self) -> float:
        """CPU time of the server so far: of its first process, and of all that it started."""
        ticks = 0
        for pid in (self.pid, *self._children()):
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15] if pid == self.pid else fields[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def _children(self) -> list[int]:
        try:
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        except OSError:
            return []

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or not self.alive:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()

    def _free_memory(self) -> None:
        """A killed server leaves a small piece of System V shared memory, which its next start would remove."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return
        if len(lines) > 6 and (found := re.search(r"(\d+)\s*$", lines[6])):
            subprocess.run(["ipcrm", "-m", found[1]], check=False, stderr=subprocess.DEVNULL)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
