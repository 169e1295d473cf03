"""The servers that other tests run on, and what deploy/redis.conf and deploy/redis.acl promise."""

from __future__ import annotations

import os
import re
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.servers.cluster import SLOTS, ClusterSetup
from tests.servers.redis import DEPLOY, RedisServer
from tests.servers.sentinel import SentinelSetup

ALLOWED = """
HSET crawler:h f 1|HSETNX crawler:h g 1|HGET crawler:h f|HMGET crawler:h f g|HDEL crawler:h g|HINCRBY crawler:h f 1
HLEN crawler:h|HKEYS crawler:h|SCAN 0|HEXISTS crawler:h f|HGETALL crawler:h|HSCAN crawler:h 0
ZADD crawler:z 1 a|ZREM crawler:z b|ZRANGE crawler:z 0 -1|ZRANGEBYSCORE crawler:z -inf +inf LIMIT 0 9
ZREVRANGEBYSCORE crawler:z +inf -inf|ZREMRANGEBYSCORE crawler:z 8 9|ZCARD crawler:z|ZCOUNT crawler:z 0 1
ZSCORE crawler:z a|ZMSCORE crawler:z a b|ZSCAN crawler:z 0
SADD crawler:s 1|SREM crawler:s 2|SISMEMBER crawler:s 1|SMISMEMBER crawler:s 1 2|SMEMBERS crawler:s|SCARD crawler:s
SSCAN crawler:s 0
RPUSH crawler:l a b|LPUSH crawler:l c|LINDEX crawler:l 0|LLEN crawler:l|LRANGE crawler:l 0 -1|LPOP crawler:l 1
RPOP crawler:l|DEL crawler:l|EXISTS crawler:l|TYPE crawler:s|UNLINK crawler:s|PUBLISH crawler:wake 1|TIME
"""
"""What scripts do, in an order that leaves each command something to do; separated by bars and lines."""

DIRECTLY = """
PING|SELECT 0|SPUBLISH crawler:wake 1|PUBSUB NUMSUB crawler:wake|PUBSUB SHARDNUMSUB crawler:wake|INFO server|ROLE
WAIT 0 1|COMMAND|CONFIG GET maxmemory-policy|CLIENT ID|CLIENT LIST|CLIENT SETNAME w-1
CLIENT GETNAME|MEMORY USAGE crawler:h|SCRIPT EXISTS 0000000000000000000000000000000000000000
"""

REFUSED = """
FLUSHALL|FLUSHDB|KEYS *|SWAPDB 0 1|EXPIRE crawler:h 1|RENAME crawler:h crawler:i|DUMP crawler:h|SORT crawler:l
HSET other f 1|HGETALL other|DEL other|RPUSH crawlerx:l a|PUBLISH other 1|SPUBLISH other 1
"""
"""Neither in scripts nor directly."""

NEVER_IN_SCRIPTS = """
CONFIG SET maxmemory 1|CONFIG REWRITE|SHUTDOWN|ACL LIST|SAVE|MONITOR|REPLICAOF NO ONE|SCRIPT FLUSH
FUNCTION LIST|CLIENT KILL TYPE normal|CLIENT PAUSE 1|MODULE LIST|SLOWLOG GET|CLUSTER FAILOVER|CLUSTER RESET
MIGRATE h 1 k 0 1|RESTORE crawler:r 0 x|SUBSCRIBE other|PSUBSCRIBE *
"""
"""Not directly, and Redis knows no script that may."""


def lines(table: str) -> list[str]:
    return [command for command in re.split(r"[|\n]", table) if command]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
def crawler(server: RedisServer) -> Iterator[redis.Redis]:
    server.flush()
    server.admin.acl_log_reset()
    with server.client() as client:
        yield client


def call(command: str) -> str:
    words = ", ".join(f"'{word}'" for word in command.split())
    return f"redis.call({words})"


def test_the_crawler_may_do_its_work_in_scripts(server: RedisServer, crawler: redis.Redis) -> None:
    for command in lines(ALLOWED):
        crawler.eval(f"return {call(command)}", 1, "crawler:h")
    sha = crawler.script_load("return ARGV[1]")
    assert crawler.evalsha(sha, 0, "x") == b"x"
    assert server.admin.acl_log() == []


def test_the_crawler_may_do_its_work_directly(server: RedisServer, crawler: redis.Redis) -> None:
    for command in lines(ALLOWED) + lines(DIRECTLY):
        crawler.execute_command(*command.split())
    with crawler.pubsub() as listener:
        listener.subscribe("crawler:wake")
        assert listener.get_message(timeout=5)["type"] == "subscribe"
        crawler.publish("crawler:wake", "now")
        assert listener.get_message(timeout=5)["data"] == b"now"
        listener.unsubscribe()
    assert server.admin.acl_log() == []


@pytest.mark.parametrize("command", lines(REFUSED) + lines(NEVER_IN_SCRIPTS))
def test_the_crawler_may_do_nothing_else(crawler: redis.Redis, command: str) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        crawler.execute_command(*command.split())


@pytest.mark.parametrize("command", lines(REFUSED))
def test_a_script_may_do_no_more_than_who_runs_it(crawler: redis.Redis, command: str) -> None:
    with pytest.raises(redis.exceptions.ResponseError, match="The user executing the script can't"):
        crawler.eval(f"return {call(command)}", 0)


@pytest.mark.parametrize("login", [{}, {"password": "x"}, {"username": "crawler", "password": "x"}])
def test_nobody_comes_in_without_name_and_password(server: RedisServer, login: dict[str, str]) -> None:
    with (
        redis.Redis(port=server.port, retry=None, **login) as client,  # type: ignore[arg-type]
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        client.ping()


def test_placeholders_are_no_passwords(tmp_path: Path) -> None:
    access = tmp_path / "redis.acl"
    access.write_text((DEPLOY / "redis.acl").read_text())
    with pytest.raises(RuntimeError, match="64 characters"):
        RedisServer({"aclfile": str(access)}).start()


def test_the_configuration_is_what_the_crawler_asks_for(server: RedisServer, crawler: redis.Redis) -> None:
    wanted = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec", "save": ""}
    assert crawler.config_get(*wanted) == wanted
    assert crawler.config_get("set-max-intset-entries")["set-max-intset-entries"] == "512"


@pytest.mark.parametrize("appendfsync", ["everysec", "always"])
def test_what_was_written_outlives_a_killed_server(appendfsync: str) -> None:
    with RedisServer({"appendfsync": appendfsync}) as server:
        port, pid = server.port, server.process.pid
        with server.client() as crawler:
            for number in range(200):
                crawler.rpush("crawler:l", number)
            # While an fsync is under way, everysec keeps what it answers to itself: let that pass.
            until = time.monotonic() + 10
            while appendfsync == "everysec" and server.admin.info("persistence")["aof_buffer_length"]:
                assert time.monotonic() < until
        server.process.kill()
        with pytest.raises(redis.exceptions.ConnectionError):
            server.client(retry=None).ping()
        server.process.restart()
        assert (server.port, server.admin.llen("crawler:l")) == (port, 200)
        server.process.restart()
        assert server.admin.llen("crawler:l") == 200
        assert server.process.pid != pid
        home = server.home
    assert not home.exists()
    assert not server.process.alive


def test_a_paused_server_is_silent_and_forgets_nothing() -> None:
    with RedisServer() as server, server.client(socket_timeout=0.2, retry=None) as crawler:
        crawler.hset("crawler:h", "f", 1)
        server.process.pause()
        with pytest.raises(redis.exceptions.TimeoutError):
            crawler.hget("crawler:h", "f")
        server.process.resume()
        assert server.admin.hget("crawler:h", "f") == b"1"
        server.process.pause()
    assert not server.process.alive


def write_without_end(client: redis.Redis) -> None:
    for number in range(10_000):
        client.rpush("crawler:l", f"{number}" + "x" * 1000)


def test_a_full_server_refuses_and_keeps_what_it_has() -> None:
    with RedisServer({"maxmemory": "3mb"}) as server, server.client() as crawler:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            write_without_end(crawler)
        count = crawler.llen("crawler:l")
        assert count > 100
        assert crawler.lindex("crawler:l", 0).startswith(b"0x")
        crawler.delete("crawler:l")


def test_tls_asks_for_a_client_certificate() -> None:
    with RedisServer(tls=True) as server:
        assert server.url.startswith("rediss://crawler:")
        with server.client() as crawler:
            assert crawler.ping()
        with (
            server.client(ssl_certfile=None, ssl_keyfile=None, retry=None) as stranger,
            pytest.raises((redis.exceptions.ConnectionError, ssl.SSLError)),
        ):
            stranger.ping()
        with (
            server.client(ssl_ca_certs=str(server.home / "client.crt"), retry=None) as misled,
            pytest.raises(redis.exceptions.ConnectionError, match="certificate verify failed"),
        ):
            misled.ping()


def test_sentinel_promotes_the_replica() -> None:
    with SentinelSetup() as setup:
        old, standby = setup.primary, setup.replica
        with old.client() as crawler:
            crawler.hset("crawler:h", "f", 1)
            assert crawler.wait(1, 5000) == 1
        sentinels = redis.Sentinel([("127.0.0.1", port) for port in setup.ports])
        assert sentinels.discover_master(setup.name) == ("127.0.0.1", old.port)
        setup.kill_primary()
        assert setup.wait_for_failover() is setup.primary is standby
        assert setup.replica is old
        assert sentinels.discover_master(setup.name) == ("127.0.0.1", standby.port)
        for sentinel in sentinels.sentinels:
            sentinel.close()
        with standby.client() as crawler:
            crawler.hincrby("crawler:h", "f", 1)
            assert crawler.hget("crawler:h", "f") == b"2"
        assert standby.admin.acl_log() == []
    assert not any(os.path.exists(sentinel.home) for sentinel in setup.sentinels)


def test_a_cluster_answers_for_all_slots_also_without_one_primary() -> None:
    with ClusterSetup(replicas=1) as cluster:
        assert (len(cluster.primaries), len(cluster.replicas_now)) == (3, 3)
        keys = [f"crawler:{{{number}}}" for number in range(60)]
        with cluster.client() as crawler:
            for key in keys:
                crawler.eval("return redis.call('HSET', KEYS[1], 'f', 1)", 1, key)
            assert {crawler.keyslot(key) * 3 // SLOTS for key in keys} == {0, 1, 2}
            owner = cluster.owner(keys[0])
            owner.admin.execute_command("WAIT", 1, 5000)
            assert all(server.admin.acl_log() == [] for server in cluster.servers)
            cluster.kill(owner)
            cluster.wait_ok()
            assert cluster.owner(keys[0]) is not owner
            assert all(crawler.hget(key, "f") == b"1" for key in keys)
            owner.process.restart()
            cluster.wait_ok()
        cluster.flush()
        assert all(server.admin.dbsize() == 0 for server in cluster.primaries)
