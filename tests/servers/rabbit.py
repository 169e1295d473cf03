"""A private RabbitMQ node that runs with deploy/rabbitmq.conf and deploy/rabbitmq-definitions.json, as a production one
would.

Everything it writes is in a directory of its own: data, logs, cookie. It listens on free ports of loopback, has no
epmd, and is ended by its own pid only. It starts in about 3 s.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.servers.certificates import make_certificates
from tests.servers.daemon import Daemon, free_port, on_free_ports, undone

DEPLOY = Path(__file__).parents[2] / "deploy"
START_S_MAX = 180.0
CTL_S_MAX = 60.0
VHOST = "crawler"

PASSWORDS = {user: f"{user}-password" for user in ("crawler", "admin")}
"""Of the users in deploy/rabbitmq-definitions.json, for tests."""


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

    `options` are further lines for rabbitmq.conf. `tls`: no plain port, and clients need client.crt of `home`. Raises
    RuntimeError with RabbitMQ's own words when it does not start.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    tls: bool = False
    port: int = field(default=0, init=False)
    home: Path = field(init=False)
    """Its own directory: rabbitmq.conf, definitions.json, data, logs."""
    _dist_port: int = field(default=0, init=False)
    _epmd_port: int = field(default=0, init=False)
    process: Daemon = field(init=False)

    @property
    def url(self) -> str:
        """For the crawler."""
        return self.url_for("crawler")

    def url_for(self, user: str) -> str:
        scheme = "amqps" if self.tls else "amqp"
        return f"{scheme}://{user}:{PASSWORDS[user]}@127.0.0.1:{self.port}/{VHOST}"

    def start(self) -> Self:
        memory = Path("/dev/shm")  # a quorum queue syncs its log for each step, and a test machine's disk is slow
        self.home = Path(tempfile.mkdtemp(prefix="rabbit-", dir=memory if os.access(memory, os.W_OK) else None))
        self.process = Daemon("rabbitmq-server", self.home, self._answers, START_S_MAX)
        with undone(self.stop):
            if self.tls:
                make_certificates(self.home)
            on_free_ports(self._start)
        return self

    def _start(self) -> None:
        self.port, self._dist_port, self._epmd_port = free_port(), free_port(), free_port()
        self._configure()
        self.process.last += f"epmd -port {self._epmd_port} -kill; "
        self.process.start(str(scripts() / "rabbitmq-server"), env=self._environment())

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
                "ssl_options.cacertfile": str(self.home / "ca.crt"),
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
            "RABBITMQ_LOG_BASE": home,
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

    def stop(self) -> None:
        """End it and its name server, and remove its directory. Safe to repeat."""
        self.process.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
