"""A private RabbitMQ node that runs with deploy/rabbitmq.conf and deploy/rabbitmq-definitions.json, as a production one
would.

Everything it writes is in a directory of its own: data, logs, cookie. It listens on free ports of loopback, has no
epmd, and is ended by its own pid only; when the process that started it dies, it dies too. It starts in about 3 s.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.certificates import make_certificates
from tests.servers.daemon import PortTaken, free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
PORT_TRIES = 5
START_S_MAX = 180.0
STOP_S_MAX = 20.0
CTL_S_MAX = 60.0
VHOST = "crawler"

PASSWORDS = {user: f"{user}-password" for user in ("crawler", "admin")}
"""Of the users in deploy/rabbitmq-definitions.json, for tests."""

# Waits until its standard input ends, which it does however the tests end; then kills the node and its name server.
_GUARD = """
pid=$1; port=$2; home=$3
cat >/dev/null
kill -9 "$pid" 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
done
epmd -port "$port" -kill >/dev/null 2>&1
rm -rf "$home"
"""


def scripts() -> Path:
    """The folder of the package's own scripts: those in /usr/sbin switch to another user. Raises RuntimeError."""
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin"))
    if not found:
        raise RuntimeError("rabbitmq-server is not installed: deploy/setup.sh servers")
    return found[-1]


def hashed(password: str) -> str:
    """As RabbitMQ keeps it: base64 of a salt of 4 bytes and the SHA-256 of salt and password."""
    salt = hashlib.sha256(password.encode()).digest()[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def definitions() -> str:
    """deploy/rabbitmq-definitions.json with the passwords filled in."""
    text = (DEPLOY / "rabbitmq-definitions.json").read_text(encoding="utf-8")
    for user, password in PASSWORDS.items():
        text = text.replace(f"{user.upper()}_HASH", hashed(password))
    return text


@dataclass
class RabbitServer:
    """`with RabbitServer() as server: server.url` answers.

    `options` are further lines for rabbitmq.conf. `tls`: no plain port, and clients need `client_cert`. Raises
    RuntimeError with RabbitMQ's own words when it does not start.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    tls: bool = False
    port: int = field(default=0, init=False)
    home: Path = field(init=False)
    """Its own directory: rabbitmq.conf, definitions.json, data, logs."""
    _dist_port: int = field(default=0, init=False)
    _epmd_port: int = field(default=0, init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _guard: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """For the crawler."""
        return self.url_for("crawler")

    def url_for(self, user: str) -> str:
        scheme = "amqps" if self.tls else "amqp"
        return f"{scheme}://{user}:{PASSWORDS[user]}@127.0.0.1:{self.port}/{VHOST}"

    @property
    def ca(self) -> Path:
        return self.home / "ca.crt"

    @property
    def client_cert(self) -> Path:
        return self.home / "client.crt"

    @property
    def client_key(self) -> Path:
        return self.home / "client.key"

    @property
    def log(self) -> str:
        """The end of its log and of what it wrote to the terminal."""
        texts = [path.read_text(errors="replace") for path in sorted((self.home / "log").glob("*.log"))]
        return "\n".join(texts)[-6000:]

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("start() first")
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start it; after kill() or terminate() again, on the same port and data."""
        if self._process is not None:
            self._launch()
            return self
        memory = Path("/dev/shm")  # a quorum queue syncs its log for each step, and a test machine's disk is slow
        self.home = Path(tempfile.mkdtemp(prefix="rabbit-", dir=memory if os.access(memory, os.W_OK) else None))
        try:
            for folder in ("log", "data"):
                (self.home / folder).mkdir()
            if self.tls:
                make_certificates(self.home)
            for tried in range(1, PORT_TRIES + 1):
                self.port, self._dist_port, self._epmd_port = free_port(), free_port(), free_port()
                self._configure()
                try:
                    self._launch()
                    return self
                except PortTaken:
                    if tried == PORT_TRIES:
                        raise
        except BaseException:
            self.close()
            raise
        return self

    def _configure(self) -> None:
        (self.home / "definitions.json").write_text(definitions(), encoding="utf-8")
        kind = "ssl" if self.tls else "tcp"
        lines = {
            f"listeners.{kind}.default": f"127.0.0.1:{self.port}",
            "load_definitions": str(self.home / "definitions.json"),
            # A test machine's disk must not stop a test.
            "disk_free_limit.absolute": "1MB",
        }
        if self.tls:
            lines |= {
                "listeners.tcp": "none",
                "ssl_options.cacertfile": str(self.ca),
                "ssl_options.certfile": str(self.home / "server.crt"),
                "ssl_options.keyfile": str(self.home / "server.key"),
                "ssl_options.verify": "verify_peer",
                "ssl_options.fail_if_no_peer_cert": "true",
            }
        lines |= self.options
        given = (DEPLOY / "rabbitmq.conf").read_text(encoding="utf-8").splitlines()
        replaced = {*lines, "listeners.tcp.default"} if self.tls else set(lines)
        kept = [line for line in given if line.partition("=")[0].strip() not in replaced]
        text = "\n".join([*kept, *(f"{key} = {value}" for key, value in lines.items())])
        (self.home / "rabbitmq.conf").write_text(text + "\n", encoding="utf-8")

    def _environment(self) -> dict[str, str]:
        home = str(self.home)
        return {
            **os.environ,
            "HOME": home,
            "RABBITMQ_NODENAME": f"t{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": f"{home}/data",
            "RABBITMQ_LOG_BASE": f"{home}/log",
            "RABBITMQ_PID_FILE": f"{home}/pid",
            "RABBITMQ_CONFIG_FILE": f"{home}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{home}/none.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{home}/none.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/enabled_plugins",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{home}/generated",
            # A name server of its own, ended with the node: the usual one would outlive it and be shared with others.
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_ALLOW_INPUT": "1",  # the script becomes the node: its pid is the node's
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput +sbwt none +sbwtdcpu none +sbwtdio none",
        }

    def _launch(self) -> None:
        """Returns when it answers. Raises PortTaken, or RuntimeError with the end of its log."""
        environment = self._environment()
        with open(self.home / "log" / "terminal.log", "wb") as terminal:
            self._process = subprocess.Popen(
                [str(scripts() / "rabbitmq-server")],
                cwd=self.home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=terminal,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._end_guard()
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "guard", str(self.pid), str(self._epmd_port), str(self.home)],
            env=environment,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        until = time.monotonic() + START_S_MAX
        while self.alive and time.monotonic() < until:
            if self._answers():
                return
            time.sleep(0.05)
        log = self.log
        self.kill()
        raise (PortTaken if "eaddrinuse" in log else RuntimeError)(f"rabbitmq-server did not start: {log}")

    def _answers(self) -> bool:
        with socket.socket() as wire:
            wire.settimeout(5)
            try:
                wire.connect(("127.0.0.1", self.port))
                if self.tls:
                    return True
                wire.sendall(b"AMQP\0\0\x09\x01")
                return wire.recv(1) == b"\x01"  # a method frame: Connection.Start
            except OSError:
                return False

    def ctl(self, *arguments: str) -> str:
        """What rabbitmqctl says. Takes about 1 s. Raises RuntimeError."""
        done = subprocess.run(
            [str(scripts() / "rabbitmqctl"), "-q", *arguments],
            cwd=self.home,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CTL_S_MAX,
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)}: {done.stderr or done.stdout}")
        return done.stdout

    def kill(self) -> None:
        """SIGKILL of the node, as a power loss without the loss. Safe to repeat."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and unanswered until resume()."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM, an orderly end; start() goes on with the same data. Safe to repeat."""
        if self._process is not None and self.alive:
            self._process.terminate()
            try:
                self._process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                self.kill()

    def close(self) -> None:
        """End it and its name server, and remove its directory. Safe to repeat."""
        self.kill()
        self._end_guard()
        shutil.rmtree(self.home, ignore_errors=True)

    def _end_guard(self) -> None:
        """Let the guard do its last work; of a node that is started again, only its name server's end."""
        if self._guard is None:
            return
        if self.alive:  # the new node: the old one's guard must leave its directory and name server alone
            self._guard.kill()
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()
        self._guard = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
