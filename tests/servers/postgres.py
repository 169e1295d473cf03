"""A private PostgreSQL cluster, made by Debian's packages as they come.

Everything it writes is in a directory of its own. It listens on a free port of loopback and on a socket in that
directory, asks for a password, and is ended by its own pid only. PostgreSQL refuses to run as root: then the user
`postgres` runs it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psycopg

from tests.servers.daemon import Daemon, free_port, on_free_ports, undone

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
    process: Daemon = field(init=False)

    @property
    def data(self) -> Path:
        return self.home / "data"

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
        self.process = Daemon("postgres", self.home, self._answers, START_S_MAX, signal.SIGINT)
        # A killed one leaves a small piece of System V shared memory, which its next start would remove.
        self.process.last = f"ipcrm -m $(awk 'NR == 7 {{ print $2 }}' '{self.data}/postmaster.pid')"
        with undone(self.stop):
            self._make()
            on_free_ports(self._start)
        return self

    def _make(self) -> None:
        (self.home / "password").write_text(PASSWORD, encoding="utf-8")
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            for path in (self.home, self.home / "password"):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        command = [str(programs() / "initdb"), "-D", str(self.data), "-U", USER, "-A", "scram-sha-256", "-E", "UTF8"]
        command += ["--pwfile", str(self.home / "password"), "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        made = subprocess.run(command, cwd=self.home, capture_output=True, check=False, text=True, **_owner())
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr[-4000:]}")
        lines = {
            "listen_addresses": "'127.0.0.1'",
            "unix_socket_directories": f"'{self.home}'",
            # A killed process loses nothing without it; only a power loss would.
            "fsync": "off",
            # In its own directory, so that a killed one leaves none in /dev/shm.
            "dynamic_shared_memory_type": "mmap",
            "shared_buffers": "32MB",
            "max_connections": "20",
            **self.options,
        }
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = {value}\n" for name, value in lines.items())

    def _start(self) -> None:
        self.port = free_port()
        self.process.start(str(programs() / "postgres"), "-D", str(self.data), "-p", str(self.port), **_owner())

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            self.connect().close()
            return True
        return False

    def stop(self) -> None:
        """End it, in good order if it can be, and remove all it has made. Safe to repeat."""
        self.process.end()
        self.process.stop()

    def cpu_s(self) -> float:
        """CPU time of the server so far: of its first process, and of all that it started."""
        ticks = 0
        for pid in (self.process.pid, *self.process.children):
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15] if pid == self.process.pid else fields[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _owner() -> dict[str, Any]:
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
