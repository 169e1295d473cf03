"""A primary, its replica and three Sentinels that promote the replica when the primary is gone."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import redis

from tests.servers.daemon import Daemon, free_port, on_free_ports, undone, wait_until
from tests.servers.redis import PASSWORDS, RedisServer, redis_daemon

WAIT_S_MAX = 30.0
"""For the setup to be complete, and for a failover; it takes about two seconds."""

_CONFIG = """
port {port}
bind 127.0.0.1
dir {home}
unixsocket {home}/redis.sock
user default {default}
user crawler on >{password} resetchannels allchannels -@all +auth +hello +ping +subscribe +unsubscribe +psubscribe \
+client|setname +sentinel|masters +sentinel|master +sentinel|get-master-addr-by-name +sentinel|sentinels \
+sentinel|replicas +sentinel|slaves +info +role
sentinel myid {myid}
sentinel monitor {name} 127.0.0.1 {primary} {quorum}
sentinel auth-user {name} sentinel
sentinel auth-pass {name} {sentinel_password}
sentinel down-after-milliseconds {name} {down_after_ms}
sentinel failover-timeout {name} 4000
"""


@dataclass
class SentinelSetup:
    """`with SentinelSetup() as setup: setup.url` answers, and every Sentinel knows the others and the replica.

    The Sentinels let everybody in, and know the crawler's password too; `protected`: they ask for it. `options` as for
    RedisServer, for both servers.
    """

    name: str = "crawl"
    """Of the primary, for Sentinel."""
    down_after_ms: int = 1000
    protected: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    primary: RedisServer = field(init=False)
    """The current one, as far as wait_for_failover() was called."""
    replica: RedisServer = field(init=False)
    sentinels: list[Daemon] = field(default_factory=list, init=False)
    ports: list[int] = field(default_factory=list, init=False)
    """Of the Sentinels."""
    _open: ExitStack = field(default_factory=ExitStack, init=False)

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"redis+sentinel://crawler:{PASSWORDS['crawler']}@{hosts}/{self.name}/0"

    def start(self) -> Self:
        with undone(self.stop):
            self.primary = self._open.enter_context(RedisServer(self.options))
            self.replica = self._open.enter_context(RedisServer(self.options, replica_of=self.primary))
            wait_until(
                lambda: self.replica.admin.info("replication")["master_link_status"] == "up", "replica", WAIT_S_MAX
            )
            on_free_ports(lambda: self._start_sentinels(3))
            wait_until(lambda: all(map(self._complete, self.ports)), "Sentinels", WAIT_S_MAX)
        return self

    def _start_sentinels(self, count: int) -> None:
        self._end_sentinels()
        self.ports = [free_port() for _ in range(count)]
        ids = [secrets.token_hex(20) for _ in self.ports]
        for port, myid in zip(self.ports, ids, strict=True):
            home = Path(tempfile.mkdtemp(prefix="sentinel-"))
            config = home / "sentinel.conf"
            text = _CONFIG.format(
                home=home,
                port=port,
                myid=myid,
                name=self.name,
                primary=self.primary.port,
                quorum=count // 2 + 1,
                password=PASSWORDS["crawler"],
                sentinel_password=PASSWORDS["sentinel"],
                down_after_ms=self.down_after_ms,
                default="off" if self.protected else "on nopass ~* &* +@all",
            )
            # They would find each other by themselves, within two seconds or more.
            for other, other_id in zip(self.ports, ids, strict=True):
                if other != port:
                    text += f"sentinel known-sentinel {self.name} 127.0.0.1 {other} {other_id}\n"
            config.write_text(text, encoding="utf-8")
            self.sentinels.append(redis_daemon(home, "crawler"))
            self.sentinels[-1].start("redis-server", str(config), "--sentinel")

    def kill_primary(self) -> None:
        """SIGKILL. The replica is promoted down_after_ms and about a second later: wait_for_failover()."""
        self.primary.process.kill()

    def wait_for_failover(self, timeout_s: float = WAIT_S_MAX) -> RedisServer:
        """Until all Sentinels name the replica as primary and it accepts writes: the two have changed places.

        Returns the new primary. The old one, as `replica`, can be restarted; Sentinel makes it a replica.
        Raises TimeoutError.
        """
        wait_until(lambda: all(self._named(port) == self.replica.port for port in self.ports), "failover", timeout_s)
        wait_until(lambda: self.replica.admin.role()[0] == b"master", "promotion", timeout_s)
        self.primary, self.replica = self.replica, self.primary
        return self.primary

    def _ask(self, port: int, *command: str) -> Any:
        with redis.Redis(
            port=port, username="crawler", password=PASSWORDS["crawler"], decode_responses=True, protocol=2
        ) as client:
            return client.execute_command(" ".join(command[:2]), *command[2:])

    def _named(self, port: int) -> int:
        """The port of the server that this Sentinel takes for the primary."""
        return int(self._ask(port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)[1])

    def _complete(self, port: int) -> bool:
        state = self._ask(port, "SENTINEL", "MASTER", self.name)
        known = state["num-slaves"], state["num-other-sentinels"]
        return known == (1, len(self.ports) - 1) and state["flags"] == "master"

    def _end_sentinels(self) -> None:
        for sentinel in self.sentinels:
            sentinel.stop()
        self.sentinels.clear()

    def stop(self) -> None:
        """End all of them and remove their directories. Safe to repeat."""
        self._end_sentinels()
        self._open.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
