"""A Redis Cluster on loopback: primaries that share the slots, and replicas for them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

import redis

from tests.servers.daemon import undone, wait_until
from tests.servers.redis import PASSWORDS, RedisServer

SLOTS = 16_384
WAIT_S_MAX = 30.0
"""For the cluster to be formed (Redis itself waits two seconds), and for a failover."""


@dataclass
class ClusterSetup:
    """`with ClusterSetup() as cluster: cluster.url` answers for every slot.

    `nodes` primaries with `replicas` each. `options` as for RedisServer, for all of them.
    """

    nodes: int = 3
    replicas: int = 0
    timeout_ms: int = 2000
    """cluster-node-timeout: a node silent for so long is taken for dead."""
    options: Mapping[str, str] = field(default_factory=dict)
    servers: list[RedisServer] = field(default_factory=list, init=False)
    """All of them, dead ones too; at first the primaries, in the order of their slots, then the replicas."""
    _open: ExitStack = field(default_factory=ExitStack, init=False)

    @property
    def url(self) -> str:
        """Names two nodes only; clients learn of the others."""
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self.servers[:2])
        return f"redis+cluster://crawler:{PASSWORDS['crawler']}@{hosts}/"

    @property
    def alive(self) -> list[RedisServer]:
        return [server for server in self.servers if server.process.alive]

    @property
    def primaries(self) -> list[RedisServer]:
        """Those alive that are primaries now."""
        return [server for server in self.alive if server.admin.role()[0] == b"master"]

    @property
    def replicas_now(self) -> list[RedisServer]:
        return [server for server in self.alive if server.admin.role()[0] == b"slave"]

    def owner(self, key: str) -> RedisServer:
        """The primary that has this key's slot, as the nodes see it now."""
        slot = self.alive[0].admin.execute_command("CLUSTER KEYSLOT", key)
        for first, last, port in _slots(self.alive[0]):
            if first <= slot <= last:
                return next(server for server in self.servers if server.port == port)
        raise LookupError(f"nobody has slot {slot}")

    def client(self, user: str = "crawler", **settings: Any) -> redis.RedisCluster:
        """A new client. The caller closes it."""
        return redis.RedisCluster(
            host="127.0.0.1", port=self.alive[0].port, username=user, password=PASSWORDS[user], **settings
        )

    def flush(self) -> None:
        """Delete all data."""
        for server in self.primaries:
            server.flush()

    def kill(self, server: RedisServer) -> None:
        """SIGKILL. Its replica takes over after timeout_ms and about a second: wait_ok()."""
        server.process.kill()

    def wait_ok(self, timeout_s: float = WAIT_S_MAX) -> None:
        """Until every node alive calls the cluster ok and sees all slots with nodes alive. Raises TimeoutError."""
        wait_until(lambda: all(map(self._ok, self.alive)), "cluster ok", timeout_s)

    def _ok(self, server: RedisServer) -> bool:
        if _info(server)["cluster_state"] != "ok":
            return False
        ports = {other.port for other in self.alive}
        return sum(last - first + 1 for first, last, port in _slots(server) if port in ports) == SLOTS

    def start(self) -> Self:
        options = {"cluster-node-timeout": str(self.timeout_ms)} | dict(self.options)
        with undone(self.stop):
            for _ in range(self.nodes * (1 + self.replicas)):
                self.servers.append(self._open.enter_context(RedisServer(options, cluster=True)))
            self._form()
        return self

    def _form(self) -> None:
        primaries, replicas = self.servers[: self.nodes], self.servers[self.nodes :]
        for number, server in enumerate(self.servers):
            server.admin.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for number, server in enumerate(primaries):
            first, end = SLOTS * number // self.nodes, SLOTS * (number + 1) // self.nodes
            server.admin.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
        for server in self.servers:
            for other in self.servers:
                if other is not server:
                    server.admin.execute_command("CLUSTER MEET", "127.0.0.1", other.port, other.bus_port)
        ids = [server.admin.execute_command("CLUSTER MYID").decode() for server in self.servers]
        # Names, not a count: a node that is still shaking hands counts under a temporary name.
        wait_until(lambda: all(_known(server) == set(ids) for server in self.servers), "nodes met", WAIT_S_MAX)
        for number, server in enumerate(replicas):
            server.admin.execute_command("CLUSTER REPLICATE", ids[number % self.nodes])
        self.wait_ok()
        wait_until(
            lambda: all(server.admin.info("replication").get("master_link_status") == "up" for server in replicas),
            "replicas",
            WAIT_S_MAX,
        )

    def stop(self) -> None:
        """End all of them and remove their directories. Safe to repeat."""
        self._open.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _info(server: RedisServer) -> dict[str, str]:
    answer: dict[str, str] = server.admin.execute_command("CLUSTER INFO")
    return answer


def _known(server: RedisServer) -> set[str]:
    return {node["node_id"] for node in server.admin.execute_command("CLUSTER NODES").values()}


def _slots(server: RedisServer) -> list[tuple[int, int, int]]:
    """(first slot, last slot, port of their primary) as this node sees it."""
    ranges = server.admin.execute_command("CLUSTER SLOTS")
    return [(first, last, primary[1]) for first, last, primary, *_ in ranges]
