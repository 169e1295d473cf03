"""Whether a Redis is fit for a crawl: what is refused, what is warned of, and that real servers are read right."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crawler.error import BackendError, SettingsError
from crawler.frontier.redis.check import Facts, check, judge
from crawler.frontier.redis.wire import Wire
from tests.contract.test_redis_wire import open_wire, raised
from tests.servers.cluster import ClusterSetup
from tests.servers.redis import RedisServer

__all__ = ["open_wire"]

Open = Callable[..., Wire]

INFO = {
    "redis_version": "7.0.15",
    "cluster_enabled": "0",
    "role": "master",
    "maxmemory": "0",
    "maxmemory_policy": "noeviction",
    "aof_enabled": "1",
}
CONFIG = {"save": "", "appendfsync": "everysec", "set-max-intset-entries": "512"}
NO_AOF = {"aof_enabled": "0"}


def facts(
    info: dict[str, str] | None = None, config: dict[str, str] | None = None, skew_s: float | None = 0.0
) -> Facts:
    return Facts(server="h:1", info=INFO | (info or {}), config=CONFIG | (config or {}), skew_s=skew_s)


@pytest.mark.parametrize(
    ("info", "cluster", "says"),
    [
        ({"redis_version": "6.2.19"}, False, "is 6.2.19; the crawler needs Redis 7.0 or newer"),
        ({"redis_version": ""}, False, "needs Redis 7.0 or newer"),
        ({"cluster_enabled": "1"}, False, "is a node of a Cluster: write redis+cluster://"),
        ({}, True, "is not a Cluster: write redis://"),
        ({"role": "slave", "master_host": "a", "master_port": "2"}, False, "is a replica of a:2"),
        ({"maxmemory": "9", "maxmemory_policy": "allkeys-lru"}, False, "set maxmemory-policy noeviction"),
        ({"maxmemory": "9", "maxmemory_policy": "volatile-ttl"}, False, "set maxmemory-policy noeviction"),
    ],
)
def test_what_is_refused(info: dict[str, str], cluster: bool, says: str) -> None:
    with pytest.raises(SettingsError, match=r"^Redis at h:1") as error:
        list(judge(facts(info), cluster=cluster))
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (facts(), []),
        (facts({"redis_version": "8.2.1", "maxmemory": "9"}), []),
        (facts(skew_s=1.9), []),
        (facts(skew_s=None), []),
        (facts({"maxmemory_policy": "allkeys-lfu"}), ["once a maxmemory is set"]),
        (facts(NO_AOF), ["a restart loses the crawl"]),
        (facts(NO_AOF, {"save": "3600 1"}), ["a restart goes back to the last snapshot (save 3600 1)"]),
        (facts(config={"appendfsync": "no"}), ["appendfsync is no"]),
        (facts(config={"appendfsync": "always"}), []),
        (facts(config={"set-max-intset-entries": "128"}), ["set-max-intset-entries is 128"]),
        (facts(config={"set-max-intset-entries": "256"}), []),
        (facts(skew_s=90.0), ["its clock is 90 s ahead of this machine's"]),
        (facts(skew_s=-3.0), ["its clock is 3 s behind this machine's"]),
        (Facts(server="h:1", info=INFO, forbidden=("CONFIG GET", "TIME")), ["CONFIG GET and TIME is not allowed"]),
        (Facts(server="h:1", info=INFO | NO_AOF, forbidden=("CONFIG GET",)), ["CONFIG GET is not allowed"]),
        (Facts(server="h:1", forbidden=("INFO",)), ["INFO is not allowed"]),
    ],
)
def test_what_is_warned_of(given: Facts, says: list[str]) -> None:
    warnings = list(judge(given, cluster=False))
    assert [one in warning for one, warning in zip(says, warnings, strict=True)] == [True] * len(says)


def test_the_shipped_configuration_is_fit(open_wire: Open) -> None:
    with RedisServer() as server:
        wire = open_wire(server.url)
        assert check(wire) == ()
        assert wire.trips == 3


def test_what_a_real_server_tells(open_wire: Open) -> None:
    with RedisServer() as server, RedisServer(replica_of=server) as replica:
        raised(SettingsError, lambda: check(open_wire(replica.url)), f"is a replica of 127.0.0.1:{server.port}")
        wire = open_wire(server.url)
        server.admin.config_set("appendonly", "no")
        server.admin.config_set("set-max-intset-entries", 100)
        server.admin.config_set("maxmemory-policy", "allkeys-lru")
        assert len(check(wire)) == 3
        server.admin.config_set("maxmemory", "1gb")
        raised(SettingsError, lambda: check(wire), "set maxmemory-policy noeviction")
        server.process.kill()
        raised(BackendError, lambda: check(wire), "does not answer")


def test_rights_that_are_missing_are_told(open_wire: Open) -> None:
    with RedisServer() as server:
        server.admin.execute_command("ACL SETUSER crawler -config|get")
        (warning,) = check(open_wire(server.url))
        assert "CONFIG GET is not allowed to this user" in warning
        server.admin.execute_command("ACL SETUSER crawler -info -time")
        (warning,) = check(open_wire(server.url))
        assert "INFO and CONFIG GET and TIME is not allowed" in warning


def test_cluster_and_single_server(open_wire: Open) -> None:
    with ClusterSetup() as cluster:
        assert check(open_wire(cluster.url)) == ()
        raised(SettingsError, lambda: check(open_wire(cluster.servers[0].url)), "write redis+cluster:// instead")
    with RedisServer() as server:
        url = server.url.replace("redis:", "redis+cluster:").removesuffix("/0")
        raised(SettingsError, lambda: check(open_wire(url)), "write redis:// instead of redis+cluster://")
