"""A private redis-server that runs with deploy/redis.conf and deploy/redis.acl, as a production server would.

Everything it writes is in a directory of its own, its copy of both files included: Redis may rewrite them. It listens
on a free port of loopback and on a socket in that directory, and is ended by its own pid only.
"""

from __future__ import annotations

import hashlib
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import redis

from tests.servers.certificates import make_certificates
from tests.servers.daemon import PORT_TRIES, Daemon, free_port, on_free_ports, undone

DEPLOY = Path(__file__).parents[2] / "deploy"

PASSWORDS = {user: f"{user}-password" for user in ("crawler", "admin", "replica", "sentinel")}
"""Of the users in deploy/redis.acl, for tests."""


def access_list() -> str:
    """deploy/redis.acl with the passwords filled in."""
    text = (DEPLOY / "redis.acl").read_text(encoding="utf-8")
    for user, password in PASSWORDS.items():
        text = text.replace(f"{user.upper()}_SHA256", hashlib.sha256(password.encode()).hexdigest())
    return text


def redis_daemon(home: Path, user: str) -> Daemon:
    """For a server or a Sentinel that opens `redis.sock` in `home`; `user` is who asks whether it answers."""

    def answers() -> bool:
        # By its socket, not its port, which may be another server's.
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(5)
            try:
                wire.connect(str(home / "redis.sock"))
                wire.sendall(f"AUTH {user} {PASSWORDS[user]}\r\nPING\r\n".encode())
                with wire.makefile("rb") as answer:
                    # Not so while it reads its log: LOADING.
                    return [answer.readline() for _ in range(2)][-1] == b"+PONG\r\n"
            except OSError:
                return False

    return Daemon("redis-server", home, answers)


@dataclass
class RedisServer:
    """`with RedisServer() as server: server.url` answers.

    `options` are further lines for redis.conf: {"appendfsync": "always", "save": '""'}; a value is written as it is.
    `tls`: no plain port, and clients need client.crt of `home`. `replica_of`: a server without TLS. `cluster`: a node
    that belongs to no cluster yet. Raises RuntimeError with Redis's own words when it does not start.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    tls: bool = False
    replica_of: RedisServer | None = None
    cluster: bool = False
    port: int = 0
    """0: a free one."""
    bus_port: int = field(default=0, init=False)
    """Of a cluster's node."""
    home: Path = field(init=False)
    """Its own directory: redis.conf, redis.acl, redis-server.log, redis.sock, appendonlydir."""
    process: Daemon = field(init=False)
    _admin: redis.Redis | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """For the crawler."""
        return self.url_for("crawler")

    def url_for(self, user: str) -> str:
        scheme = "rediss" if self.tls else "redis"
        return f"{scheme}://{user}:{PASSWORDS[user]}@127.0.0.1:{self.port}/0"

    @property
    def socket(self) -> Path:
        return self.home / "redis.sock"

    @property
    def admin(self) -> redis.Redis:
        """A client that may do everything, by socket; answers are bytes. Closed by stop()."""
        if self._admin is None:
            self._admin = redis.Redis(
                unix_socket_path=str(self.socket), username="admin", password=PASSWORDS["admin"], socket_timeout=10
            )
        return self._admin

    def client(self, user: str = "crawler", **settings: Any) -> redis.Redis:
        """A new client by port, with a client certificate where needed. The caller closes it."""
        if self.tls:
            settings = {
                "ssl_ca_certs": str(self.home / "ca.crt"),
                "ssl_certfile": str(self.home / "client.crt"),
                "ssl_keyfile": str(self.home / "client.key"),
            } | settings
        return redis.Redis.from_url(self.url_for(user), **settings)

    def flush(self) -> None:
        """Delete all data, on a primary; scripts stay loaded. Cheaper than a new server."""
        self.admin.flushall()

    def start(self) -> Self:
        self.home = Path(tempfile.mkdtemp(prefix="redis-"))
        self.process = redis_daemon(self.home, "admin")
        with undone(self.stop):
            if self.tls:
                make_certificates(self.home)
            (self.home / "redis.acl").write_text(access_list(), encoding="utf-8")
            fixed = self.port
            on_free_ports(lambda: self._start(fixed or free_port()), 1 if fixed else PORT_TRIES)
        return self

    def _start(self, port: int) -> None:
        self.port, self.bus_port = port, free_port() if self.cluster else 0
        config = self.home / "redis.conf"
        lines = "".join(f"{name} {value}\n" for name, value in self._lines().items())
        config.write_text((DEPLOY / "redis.conf").read_text(encoding="utf-8") + lines, encoding="utf-8")
        self.process.start("redis-server", str(config))

    def _lines(self) -> dict[str, str]:
        """What this server has in place of, or beyond, deploy/redis.conf."""
        lines = {
            "dir": str(self.home),
            "unixsocket": str(self.socket),
            "masteruser": "replica",
            "masterauth": PASSWORDS["replica"],
            # Replicas that wait for others to copy together: 5 s of every test.
            "repl-diskless-sync-delay": "0",
        }
        if self.tls:
            lines |= {
                "port": "0",
                "tls-port": str(self.port),
                "tls-ca-cert-file": str(self.home / "ca.crt"),
                "tls-cert-file": str(self.home / "server.crt"),
                "tls-key-file": str(self.home / "server.key"),
            }
        else:
            lines |= {"port": str(self.port)}
        if self.replica_of is not None:
            lines |= {"replicaof": f"127.0.0.1 {self.replica_of.port}"}
        if self.cluster:
            lines |= {"cluster-enabled": "yes", "cluster-port": str(self.bus_port)}
        return {**lines, **self.options}

    def stop(self) -> None:
        """End it and remove its directory. Safe to repeat."""
        if self._admin is not None:
            self._admin.close()
        self.process.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
