"""A private redis-server that runs with deploy/redis.conf and deploy/redis.acl, as a production server would.

Everything it writes is in a directory of its own, its copy of both files included: Redis may rewrite them. It listens
on a free port of loopback and on a socket in that directory, and is ended by its own pid only.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from tests.servers.certificates import make_certificates
from tests.servers.daemon import Daemon, PortTaken, free_port

PORT_TRIES = 10
DEPLOY = Path(__file__).parents[2] / "deploy"

PASSWORDS = {user: f"{user}-password" for user in ("crawler", "admin", "replica", "sentinel")}
"""Of the users in deploy/redis.acl, for tests."""


def access_list() -> str:
    """deploy/redis.acl with the passwords filled in."""
    text = (DEPLOY / "redis.acl").read_text(encoding="utf-8")
    for user, password in PASSWORDS.items():
        text = text.replace(f"{user.upper()}_SHA256", hashlib.sha256(password.encode()).hexdigest())
    return text


@dataclass
class RedisServer:
    """`with RedisServer() as server: server.url` answers.

    `options` are further lines for redis.conf: {"appendfsync": "always", "save": '""'}; a value is written as it is.
    `tls`: no plain port, and clients need `client_cert`. `replica_of`: a server without TLS. `cluster`: a node that
    belongs to no cluster yet. Raises RuntimeError with Redis's own words when it does not start.
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
    """Its own directory: redis.conf, redis.acl, redis.log, redis.sock, appendonlydir."""
    _daemon: Daemon | None = field(default=None, init=False)
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
    def log(self) -> Path:
        return self.home / "redis.log"

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def alive(self) -> bool:
        return self._daemon is not None and self._daemon.alive

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
                "ssl_ca_certs": str(self.ca),
                "ssl_certfile": str(self.client_cert),
                "ssl_keyfile": str(self.client_key),
            } | settings
        return redis.Redis.from_url(self.url_for(user), **settings)

    def flush(self) -> None:
        """Delete all data, on a primary; scripts stay loaded. Cheaper than a new server."""
        self.admin.flushall()

    def start(self) -> Self:
        self.home = Path(tempfile.mkdtemp(prefix="redis-"))
        try:
            if self.tls:
                make_certificates(self.home)
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self) -> None:
        config = self.home / "redis.conf"
        (self.home / "redis.acl").write_text(access_list(), encoding="utf-8")
        self._daemon = Daemon(self.home, (str(config),), f"AUTH admin {PASSWORDS['admin']}\r\n")
        fixed = self.port
        for tried in range(1, PORT_TRIES + 1):
            self.port = fixed or free_port()
            self.bus_port = free_port() if self.cluster else 0
            lines = "".join(f"{name} {value}\n" for name, value in self._lines().items())
            config.write_text((DEPLOY / "redis.conf").read_text(encoding="utf-8") + lines, encoding="utf-8")
            try:
                return self._daemon.start()
            except PortTaken:
                if fixed or tried == PORT_TRIES:
                    raise

    def _lines(self) -> dict[str, str]:
        """What this server has in place of, or beyond, deploy/redis.conf."""
        lines = {
            "dir": str(self.home),
            "masteruser": "replica",
            "masterauth": PASSWORDS["replica"],
            # Replicas that wait for others to copy together: 5 s of every test.
            "repl-diskless-sync-delay": "0",
        }
        if self.tls:
            lines |= {
                "port": "0",
                "tls-port": str(self.port),
                "tls-ca-cert-file": str(self.ca),
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

    def kill(self) -> None:
        """SIGKILL, as a machine's memory killer would."""
        self._running().kill()
        self._disconnect()

    def terminate(self) -> None:
        """SIGTERM, an orderly shutdown. Files stay; restart() goes on from them."""
        self._running().terminate()
        self._disconnect()

    def restart(self) -> None:
        """Start again with the same port, settings and files; ended in good order first if it runs."""
        self.terminate()
        self._running().start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and unanswered until resume()."""
        self._running().pause()

    def resume(self) -> None:
        self._running().resume()

    def stop(self) -> None:
        """End it and remove its directory. Safe to repeat."""
        self._disconnect()
        if self._daemon is not None:
            self._daemon.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def _running(self) -> Daemon:
        if self._daemon is None:
            raise RuntimeError("start() first")
        return self._daemon

    def _disconnect(self) -> None:
        if self._admin is not None:
            self._admin.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
