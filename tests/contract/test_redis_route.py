"""Redis behind Sentinel and in a Cluster: who has a key, and what happens when that changes."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator

import pytest

from crawler.error import BackendError, SettingsError
from crawler.frontier.redis.wire import Script, Wire
from tests.contract.test_redis_wire import ADD, KEY, heard, open_wire, patiently, raised
from tests.servers.cluster import ClusterSetup
from tests.servers.redis import PASSWORDS, RedisServer, free_port
from tests.servers.sentinel import SentinelSetup

__all__ = ["open_wire"]

Open = Callable[..., Wire]
KEYS = [f"crawler:{{{n}}}" for n in range(12)]
WHO = Script.of("return KEYS[1] .. ARGV[1]")


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterSetup]:
    with ClusterSetup() as setup:
        yield setup


def test_a_batch_goes_to_all_nodes_at_once(cluster: ClusterSetup, open_wire: Open) -> None:
    wire = open_wire(cluster.url)
    assert wire.servers() == tuple(sorted(f"127.0.0.1:{server.port}" for server in cluster.servers))
    assert {wire.place(key) for key in KEYS} == set(wire.servers())
    assert wire.place(KEYS[0]) == f"127.0.0.1:{cluster.owner(KEYS[0]).port}"
    before = wire.trips
    assert wire.runs(WHO, [(key, ("x",)) for key in KEYS]) == [f"{key}x".encode() for key in KEYS]
    assert wire.trips == before + 6
    cluster.servers[1].admin.script_flush()
    assert wire.runs(WHO, [(key, ("y",)) for key in KEYS]) == [f"{key}y".encode() for key in KEYS]
    assert wire.trips == before + 6 + 3 + 1
    assert wire.calls([(key, ("HSET", key, "a", 1)) for key in KEYS]) == [1] * len(KEYS)
    assert wire.epoch() == 0
    cluster.flush()


def test_a_slot_that_moves_to_another_node(cluster: ClusterSetup, open_wire: Open) -> None:
    wire, moved = open_wire(cluster.url), KEYS[0]
    assert wire.run(ADD, moved, 1) == 1
    source = cluster.owner(moved)
    target = next(server for server in cluster.servers if server is not source)
    slot = source.admin.execute_command("CLUSTER KEYSLOT", moved)
    ids = {server.port: server.admin.execute_command("CLUSTER MYID").decode() for server in cluster.servers}
    target.admin.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source.port])
    source.admin.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target.port])
    derived = Script.of("return redis.call('HSET', KEYS[1] .. 'x', 'a', 1)")
    raised(BackendError, lambda: wire.run(derived, moved), "is moving these keys to another node")
    auth = ("AUTH2", "admin", PASSWORDS["admin"], "KEYS", moved)
    source.admin.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, *auth)
    raised(BackendError, lambda: wire.run(ADD, moved, 1), "is moving these keys to another node")
    for server in (target, source, *cluster.servers):
        server.admin.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target.port])
    # The other keys are not touched by it, and the batch is answered in order.
    assert wire.runs(ADD, [(key, (1,)) for key in KEYS]) == [2] + [1] * (len(KEYS) - 1)
    assert wire.place(moved) == f"127.0.0.1:{target.port}"
    assert wire.epoch() == 1
    cluster.flush()


def test_a_cluster_that_is_told_by_one_node_only(cluster: ClusterSetup, open_wire: Open) -> None:
    hosts = f"127.0.0.1:{free_port()},127.0.0.1:{cluster.servers[2].port}"
    wire = open_wire(f"redis+cluster://crawler:{PASSWORDS['crawler']}@{hosts}")
    assert wire.runs(WHO, [(key, ("x",)) for key in KEYS])
    nobody = open_wire(f"redis+cluster://crawler:{PASSWORDS['crawler']}@127.0.0.1:{free_port()}")
    raised(BackendError, lambda: nobody.run(WHO, KEY, 1), "no node of redis+cluster://crawler:***@", "answers")
    wrong = open_wire(f"redis+cluster://crawler:{PASSWORDS['crawler']}x@{hosts}")
    raised(SettingsError, lambda: wrong.run(WHO, KEY, 1), "wants another user or password")


def test_cluster_and_single_server_are_not_mixed_up(cluster: ClusterSetup, open_wire: Open) -> None:
    with RedisServer() as single:
        wire = open_wire(single.url.replace("redis:", "redis+cluster:").removesuffix("/0"))
        raised(SettingsError, lambda: wire.run(WHO, KEY, 1), "is not a Cluster: write redis:// instead")
    node = open_wire(cluster.servers[0].url)
    away = next(key for key in KEYS if cluster.owner(key) is not cluster.servers[0])
    raised(BackendError, lambda: node.run(WHO, away, 1), "has moved these keys to another node")
    with_db = open_wire(f"{cluster.servers[0].url[:-2]}/1")
    raised(SettingsError, lambda: with_db.run(WHO, KEY, 1), "database")


def test_a_node_is_lost_and_its_replica_takes_over(open_wire: Open) -> None:
    messages: queue.Queue[tuple[str, bytes]] = queue.Queue()
    with ClusterSetup(replicas=1, timeout_ms=1000) as setup:
        wire = open_wire(setup.url, timeout_s=2)
        victim = setup.owner(KEYS[0])
        channel = next(f"crawler:{n}" for n in range(1000) if setup.owner(f"crawler:{n}") is victim)
        wire.listen([channel], lambda name, payload: messages.put((name, payload)))
        assert heard(messages) == ("", b"")
        assert wire.runs(ADD, [(key, (1,)) for key in KEYS]) == [1] * len(KEYS)
        for key in KEYS:
            with setup.owner(key).client() as client:
                assert client.wait(1, 5000) == 1
        setup.kill(victim)
        raised(BackendError, lambda: wire.runs(ADD, [(key, (1,)) for key in KEYS]))
        assert patiently(lambda: wire.run(ADD, KEYS[0], 1)) >= 2
        assert wire.epoch() > 0
        assert wire.place(KEYS[0]) != f"127.0.0.1:{victim.port}"
        while heard(messages) != ("", b""):
            pass
        other = next(key for key in KEYS if setup.owner(key) is not setup.owner(KEYS[0]))
        patiently(lambda: wire.call(other, "PUBLISH", channel, "over the bus"))
        assert heard(messages) == (channel, b"over the bus")
        wire.close()


def test_sentinel_names_the_primary_before_and_after_a_failover(open_wire: Open) -> None:
    messages: queue.Queue[tuple[str, bytes]] = queue.Queue()
    with SentinelSetup(down_after_ms=500) as setup:
        wire = open_wire(setup.url, timeout_s=2)
        wire.listen(["crawler:ready"], lambda name, payload: messages.put((name, payload)))
        assert heard(messages) == ("", b"")
        assert wire.run(ADD, KEY, 1) == 1
        assert wire.servers() == (f"127.0.0.1:{setup.primary.port}",)
        assert wire.epoch() == 0
        with setup.primary.client() as client:
            client.hset(KEY, "n", 1)
            assert client.wait(1, 5000) == 1
        setup.kill_primary()
        raised(BackendError, lambda: wire.run(ADD, KEY, 1), "does not answer", "redis+sentinel://crawler:***@")
        assert patiently(lambda: wire.run(ADD, KEY, 1)) == 2
        setup.wait_for_failover()
        assert wire.servers() == (f"127.0.0.1:{setup.primary.port}",)
        # Once for the broken connection, once for the other server.
        assert wire.epoch() == 2
        assert heard(messages) == ("", b"")
        wire.call(KEY, "PUBLISH", "crawler:ready", "x")
        assert heard(messages) == ("crawler:ready", b"x")
        _refusals(setup, open_wire)
        wire.close()


def _refusals(setup: SentinelSetup, open_wire: Open) -> None:
    unknown = open_wire(setup.url.replace("/crawl/", "/other/"))
    raised(SettingsError, lambda: unknown.run(ADD, KEY, 1), "knows a primary named other")
    wrong = open_wire(setup.url.replace(PASSWORDS["crawler"], "wrong-word"))
    assert "wrong-word" not in raised(SettingsError, lambda: wrong.run(ADD, KEY, 1), "wants another user or password")
    ports = [free_port(), setup.ports[1]]
    half = open_wire(f"redis+sentinel://crawler:{PASSWORDS['crawler']}@127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}/crawl")
    assert half.run(ADD, KEY, 0) == 2
    none = open_wire(f"redis+sentinel://127.0.0.1:{ports[0]}/crawl")
    raised(BackendError, lambda: none.run(ADD, KEY, 1), "no Sentinel of redis+sentinel://127.0.0.1")


def test_sentinels_have_users_of_their_own(open_wire: Open) -> None:
    with SentinelSetup(protected=True) as setup:
        known = {"sentinel_user": "crawler", "sentinel_password": PASSWORDS["crawler"]}
        assert open_wire(setup.url, **known).run(ADD, KEY, 1) == 1
        raised(SettingsError, lambda: open_wire(setup.url).run(ADD, KEY, 1), "[redis] sentinel_user")
