"""The way to Redis, against real servers: commands, scripts, outages, refusals. No message shows a password."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crawler.error import BackendError, BadRecord, SettingsError
from crawler.frontier.redis.address import parse
from crawler.frontier.redis.wire import Script, Wire, connect
from crawler.tables import RedisTable
from tests.servers.redis import PASSWORDS, RedisServer

KEY = "crawler:{test}"
ECHO = Script.of("return ARGV[1]")
ADD = Script.of("return redis.call('HINCRBY', KEYS[1], 'n', ARGV[1])")
APPEND = Script.of("return redis.call('RPUSH', KEYS[1], ARGV[1])")

Open = Callable[..., Wire]


@pytest.fixture(scope="module")
def running() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(running: RedisServer) -> RedisServer:
    if not running.process.alive:
        running.process.restart()
    running.flush()
    return running


@pytest.fixture
def own() -> Iterator[RedisServer]:
    """A server that the test may spoil."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def open_wire() -> Iterator[Open]:
    wires: list[Wire] = []

    def make(url: str, *, name: str = "crawler", **table: Any) -> Wire:
        redis = RedisTable(**{"connect_s": 2, "timeout_s": 5, **table})
        wires.append(connect(parse(url, redis), redis, name=name))
        return wires[-1]

    yield make
    for wire in wires:
        wire.close()


def raised(kind: type[Exception], act: Callable[[], object], *says: str) -> str:
    """The message of the error that `act` raises; all of `says` stands in it, and no password."""
    with pytest.raises(kind) as error:
        act()
    text = str(error.value)
    assert type(error.value) is kind or kind is SettingsError
    assert [one for one in says if one not in text] == [], text
    assert [word for word in PASSWORDS.values() if word in text] == []
    return text


def patiently(act: Callable[[], Any]) -> Any:
    """What `act` returns at last, as callers repeat while a server is away."""
    until = time.monotonic() + 30
    while True:
        try:
            return act()
        except BackendError:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_commands_and_their_answers(server: RedisServer, open_wire: Open) -> None:
    wire = open_wire(server.url)
    assert wire.trips == 0
    assert wire.call(KEY, "HSET", KEY, "a", 1, b"b\r\n\xff", 2.5) == 2
    assert wire.calls([(KEY, ("HGET", KEY, "a")), (KEY, ("HGET", KEY, "none")), (KEY, ("HGETALL", KEY))]) == [
        b"1",
        None,
        [b"a", b"1", b"b\r\n\xff", b"2.5"],
    ]
    assert wire.calls([]) == []
    assert (wire.trips, wire.epoch()) == (2, 0)
    assert wire.place(KEY) == f"127.0.0.1:{server.port}"
    assert wire.servers() == (wire.place(KEY),)
    assert wire.info(wire.place(KEY))["tcp_port"] == str(server.port)


def test_scripts_are_loaded_when_the_server_does_not_know_them(server: RedisServer, open_wire: Open) -> None:
    server.admin.script_flush()
    wire = open_wire(server.url)
    assert wire.run(ADD, KEY, 2) == 2
    assert wire.run(ADD, KEY, 3) == 5
    assert wire.trips == 3
    server.admin.script_flush()
    assert wire.runs(ADD, [(KEY, (1,)), (KEY, (1,)), (KEY, (1,))]) == [6, 7, 8]
    assert wire.runs(ECHO, []) == []


def test_a_batch_goes_on_when_scripts_are_flushed_in_its_middle(server: RedisServer, open_wire: Open) -> None:
    wire = open_wire(server.url)
    wire.run(APPEND, KEY, 0)
    stop = threading.Event()

    def flush() -> None:
        with server.client("admin") as client:
            while not stop.is_set():
                client.script_flush()
                time.sleep(0.002)

    thread = threading.Thread(target=flush)
    thread.start()
    try:
        for first in range(1, 1001, 50):
            answers = patiently(lambda first=first: wire.runs(APPEND, [(KEY, (n,)) for n in range(first, first + 50)]))
            assert len(answers) == 50
    finally:
        stop.set()
        thread.join()
    found = [int(one) for one in wire.call(KEY, "LRANGE", KEY, 0, -1)]
    assert set(found) == set(range(1001))


def test_the_first_error_is_raised_after_all_was_done(server: RedisServer, open_wire: Open) -> None:
    wire = open_wire(server.url)
    batch = [(KEY, ("HSET", KEY, "a", 1)), (KEY, ("LPOP", KEY)), (KEY, ("HSET", KEY, "b", 1))]
    raised(BadRecord, lambda: wire.calls(batch), " is not the crawler's (WRONGTYPE")
    assert wire.call(KEY, "HLEN", KEY) == 2


@pytest.mark.parametrize("part", [None, True, [1]])
def test_a_part_that_is_none_is_refused(part: Any, server: RedisServer, open_wire: Open) -> None:
    wire = open_wire(server.url)
    with pytest.raises(TypeError, match="not a part of a command"):
        wire.run(ECHO, KEY, part)
    assert wire.run(ECHO, KEY, b"") == b""


@pytest.mark.parametrize(
    "text", ["return nothing.at.all", "return", "error('x')", "no Lua", "return redis.call('GET')"]
)
def test_a_wrong_script_is_a_bug(text: str, server: RedisServer, open_wire: Open) -> None:
    wire = open_wire(server.url)
    if text == "return":
        assert wire.run(Script.of(text), KEY) is None
    else:
        raised(RuntimeError, lambda: wire.run(Script.of(text), KEY), "127.0.0.1")


def test_threads_have_connections_of_their_own(server: RedisServer, open_wire: Open) -> None:
    wire = open_wire(server.url, name="crawler:my shop:w1")
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(100):
            wire.run(ADD, KEY, 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wire.run(ADD, KEY, 0) == 400
    named = [client for client in wire.clients() if client["name"] == "crawler:my_shop:w1"]
    assert 1 <= len(named) <= 4
    assert {"addr", "idle", "server"} <= set(named[0])
    assert wire.epoch() == 0


def test_not_after_a_fork_and_not_after_close(server: RedisServer, open_wire: Open) -> None:
    wire = open_wire(server.url)
    wire.run(ECHO, KEY, 1)
    child = os.fork()
    if not child:
        try:
            wire.run(ECHO, KEY, 1)
        except BackendError as error:
            os._exit(0 if "before a fork" in str(error) else 2)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert wire.run(ECHO, KEY, 1) == b"1"
    wire.close()
    wire.close()
    raised(BackendError, lambda: wire.run(ECHO, KEY, 1), "used after close()")


def test_a_unix_socket_and_a_database(server: RedisServer, open_wire: Open) -> None:
    wire = open_wire(f"redis+unix://crawler:{PASSWORDS['crawler']}@{server.socket}?db=3")
    assert wire.call(KEY, "HSET", KEY, "a", 1) == 1
    assert wire.servers() == (str(server.socket),)
    assert open_wire(server.url).call(KEY, "EXISTS", KEY) == 0
    assert open_wire(server.url.replace("/0", "/3")).call(KEY, "EXISTS", KEY) == 1


def test_killed_and_restarted(own: RedisServer, open_wire: Open) -> None:
    wire = open_wire(own.url)
    wire.run(ADD, KEY, 1)
    own.process.kill()
    raised(BackendError, lambda: wire.run(ADD, KEY, 1), "does not answer", "redis://crawler:***@127.0.0.1")
    broke = wire.epoch()
    assert broke > 0
    raised(BackendError, lambda: wire.run(ADD, KEY, 1), "Connection refused")
    assert wire.epoch() == broke
    own.process.restart()
    assert wire.run(ADD, KEY, 1) in (1, 2)
    assert wire.epoch() > broke


def test_killed_before_it_was_ever_reached(own: RedisServer, open_wire: Open) -> None:
    own.process.kill()
    wire = open_wire(own.url)
    raised(BackendError, lambda: wire.run(ECHO, KEY, 1), "Connection refused")
    socket_wire = open_wire(f"redis+unix://{own.home}/gone.sock")
    raised(BackendError, lambda: socket_wire.run(ECHO, KEY, 1), "does not answer", "gone.sock")
    assert wire.epoch() == 0


def test_a_server_that_answers_no_more(own: RedisServer, open_wire: Open) -> None:
    wire = open_wire(own.url, timeout_s=0.3)
    wire.run(ADD, KEY, 1)
    own.process.pause()
    try:
        raised(BackendError, lambda: wire.run(ADD, KEY, 1), "does not answer: Timeout")
        raised(BackendError, lambda: wire.run(ADD, KEY, 1), "does not answer: Timeout")
    finally:
        own.process.resume()
    assert patiently(lambda: wire.run(ADD, KEY, 0)) >= 1
    assert wire.epoch() > 0


def test_paused_clients(server: RedisServer, open_wire: Open) -> None:
    wire = open_wire(server.url, timeout_s=0.2)
    wire.run(ADD, KEY, 1)
    server.admin.client_pause(400)
    raised(BackendError, lambda: wire.run(ADD, KEY, 1), "Timeout")
    assert patiently(lambda: wire.run(ADD, KEY, 0)) >= 1


def test_killed_connections(server: RedisServer, open_wire: Open) -> None:
    wire = open_wire(server.url)
    wire.run(ADD, KEY, 1)
    server.admin.execute_command("CLIENT KILL TYPE normal SKIPME yes")
    raised(BackendError, lambda: wire.run(ADD, KEY, 1), "does not answer")
    assert wire.run(ADD, KEY, 0) == 1
    assert wire.epoch() == 1


def test_loading(own: RedisServer, open_wire: Open) -> None:
    wire = open_wire(own.url)
    wire.run(ADD, KEY, 1)
    own.admin.execute_command("CONFIG SET", "key-load-delay", "5000", "loading-process-events-interval-bytes", "1024")
    reload = threading.Thread(target=_reload, args=(own,))
    reload.start()
    try:
        says = set()
        until = time.monotonic() + 20
        while "loading" not in " ".join(says) and time.monotonic() < until:
            try:
                wire.run(ADD, KEY, 0)
            except BackendError as error:
                says.add(str(error))
    finally:
        reload.join()
    assert "is loading its data" in " ".join(says)
    assert patiently(lambda: wire.run(ADD, KEY, 0)) == 1


def _reload(server: RedisServer) -> None:
    """A replica that takes over a copy of all data is loading meanwhile."""
    with RedisServer() as other:
        other.admin.eval("for n = 1, 200 do redis.call('SET', 'x' .. n, ('y'):rep(1000)) end", 0)
        other.admin.hincrby(KEY, "n", 1)
        server.admin.replicaof("127.0.0.1", str(other.port))
        until = time.monotonic() + 20
        while server.admin.info("replication")["master_link_status"] != "up" and time.monotonic() < until:
            time.sleep(0.05)
        server.admin.replicaof("NO", "ONE")


def test_a_primary_that_became_a_replica(own: RedisServer, server: RedisServer, open_wire: Open) -> None:
    wire = open_wire(own.url)
    wire.run(ADD, KEY, 1)
    own.admin.replicaof("127.0.0.1", str(server.port))
    raised(BackendError, lambda: wire.run(ADD, KEY, 1), "is a replica now")
    raised(BackendError, lambda: wire.run(ADD, KEY, 1), "is a replica now")
    assert wire.epoch() == 1
    own.admin.replicaof("NO", "ONE")
    assert patiently(lambda: wire.run(ADD, KEY, 1)) >= 1
    assert wire.epoch() == 2


def test_out_of_memory(own: RedisServer, open_wire: Open) -> None:
    wire = open_wire(own.url)
    wire.run(ADD, KEY, 1)
    own.admin.config_set("maxmemory", 1)
    raised(BackendError, lambda: wire.run(ADD, KEY, 1), "is out of memory (maxmemory): raise maxmemory")
    raised(BackendError, lambda: wire.call(KEY, "HSET", f"{KEY}h", "a", 1), "is out of memory")
    own.admin.config_set("maxmemory", 0)
    assert wire.run(ADD, KEY, 1) == 2


def test_too_few_replicas_to_write(own: RedisServer, open_wire: Open) -> None:
    wire = open_wire(own.url)
    own.admin.config_set("min-replicas-to-write", 1)
    raised(BackendError, lambda: wire.run(ADD, KEY, 1), "takes no writes without its replicas")


def test_refused_from_the_start_is_for_the_user_and_later_for_patience(own: RedisServer, open_wire: Open) -> None:
    right = open_wire(own.url)
    right.run(ADD, KEY, 1)
    wrong = own.url.replace(PASSWORDS["crawler"], "wrong-word")
    text = raised(SettingsError, lambda: open_wire(wrong).run(ADD, KEY, 1), "[redis] user, password")
    assert "wrong-word" not in text
    nobody = f"redis://127.0.0.1:{own.port}"
    raised(SettingsError, lambda: open_wire(nobody).run(ADD, KEY, 1), "wants another user or password")
    raised(SettingsError, lambda: open_wire(f"{own.url[:-2]}/99").run(ADD, KEY, 1), "has no such database")
    own.admin.acl_setuser("crawler", reset_passwords=True, passwords=["+another"], enabled=True)
    own.admin.execute_command("CLIENT KILL TYPE normal SKIPME yes")
    for _ in range(2):
        raised(BackendError, lambda: right.run(ADD, KEY, 1))
    raised(BackendError, lambda: right.run(ADD, KEY, 1), "wants another user or password")
    own.admin.acl_setuser("crawler", passwords=[f"+{PASSWORDS['crawler']}"], enabled=True)
    assert right.run(ADD, KEY, 1) == 2


def test_a_password_that_nobody_asked_for(own: RedisServer, open_wire: Open) -> None:
    own.admin.execute_command("ACL SETUSER default on nopass ~* &* +@all")
    wire = open_wire(f"redis://:needless@127.0.0.1:{own.port}")
    assert "needless" not in raised(SettingsError, lambda: wire.run(ADD, KEY, 1), "asks for no password")


def test_missing_rights(own: RedisServer, open_wire: Open) -> None:
    raised(SettingsError, lambda: open_wire(own.url).call("x", "HGET", "x", "a"), "forbids", "deploy/redis.acl")
    wire = open_wire(own.url)
    wire.run(ECHO, KEY, 1)
    other = Script.of("return redis.call('FLUSHALL')")
    raised(SettingsError, lambda: wire.run(other, KEY), "forbids")
    raised(SettingsError, lambda: wire.call(KEY, "FLUSHALL"), "forbids")
    raised(SettingsError, lambda: wire.call(KEY, "NOSUCHCOMMAND"), "forbids")
    own.admin.execute_command("ACL SETUSER crawler -evalsha")
    raised(BackendError, lambda: wire.run(ECHO, KEY, 1), "forbids")
    own.admin.execute_command("ACL SETUSER crawler +evalsha")
    assert wire.run(ECHO, KEY, 1) == b"1"


def test_no_redis_there(open_wire: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        def answer() -> None:
            for _ in range(2):
                with other.accept()[0] as client:
                    client.recv(1000)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        raised(BackendError, lambda: open_wire(f"redis://127.0.0.1:{port}").run(ECHO, KEY), "what answers there is not")
        raised(SettingsError, lambda: open_wire(f"rediss://127.0.0.1:{port}").run(ECHO, KEY), "does not speak TLS")
        thread.join()


def test_tls(open_wire: Open) -> None:
    with RedisServer(tls=True) as server, RedisServer(tls=True) as stranger:
        mine = {"cert_file": str(server.home / "client.crt"), "key_file": str(server.home / "client.key")}
        assert open_wire(server.url, ca_file=str(server.home / "ca.crt"), **mine).run(ADD, KEY, 1) == 1
        wrong_ca = open_wire(server.url, ca_file=str(stranger.home / "ca.crt"), **mine)
        raised(SettingsError, lambda: wrong_ca.run(ADD, KEY, 1), "certificate is not trusted", "[redis] ca_file")
        no_ca = open_wire(server.url, **mine)
        raised(SettingsError, lambda: no_ca.run(ADD, KEY, 1), "certificate is not trusted")
        no_cert = open_wire(server.url, ca_file=str(server.home / "ca.crt"))
        raised(SettingsError, lambda: no_cert.run(ADD, KEY, 1), "cert_file and key_file")
        plain = open_wire(server.url.replace("rediss:", "redis:"))
        raised(BackendError, lambda: plain.run(ADD, KEY, 1), "if it wants TLS, write rediss://")


def test_durable_waits_for_replicas(own: RedisServer, open_wire: Open, caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer(replica_of=own) as replica:
        until = time.monotonic() + 20
        while own.admin.role()[0] != b"master" or not own.admin.role()[2]:
            assert time.monotonic() < until
            time.sleep(0.02)
        wire = open_wire(own.url, replicas=1, replicas_wait_s=0.3)
        assert patiently(lambda: wire.run(ADD, KEY, 1, durable=True)) >= 1
        before = wire.trips
        wire.runs(ADD, [(KEY, (0,)), (KEY, (0,))], durable=True)
        assert wire.trips == before + 1
        assert caplog.records == []
        replica.process.pause()
        try:
            raised(BackendError, lambda: wire.run(ADD, KEY, 1, durable=True), "0 of 1 replicas", "in time")
            assert wire.run(ADD, KEY, 1) >= 3
        finally:
            replica.process.resume()
        assert patiently(lambda: wire.run(ADD, KEY, 0, durable=True)) >= 3
    until = time.monotonic() + 20
    while own.admin.role()[2]:
        assert time.monotonic() < until
        time.sleep(0.02)
    for _ in range(3):
        assert wire.run(ADD, KEY, 0, durable=True) >= 3
    assert [record.getMessage().count("0 are connected: going on without") for record in caplog.records] == [1]


def heard(messages: queue.Queue[tuple[str, bytes]]) -> tuple[str, bytes]:
    return messages.get(timeout=30)


def test_listening_goes_on_after_an_outage(own: RedisServer, open_wire: Open) -> None:
    wire, channel = open_wire(own.url), "crawler:{test}:ready"
    messages: queue.Queue[tuple[str, bytes]] = queue.Queue()
    wire.listen([channel, f"{channel}2"], lambda name, payload: messages.put((name, payload)))
    assert heard(messages) == ("", b"")
    assert wire.call(KEY, "PUBLISH", channel, "a\r\n") == 1
    assert heard(messages) == (channel, b"a\r\n")
    own.process.kill()
    own.process.restart()
    assert heard(messages) == ("", b"")
    assert patiently(lambda: wire.call(KEY, "PUBLISH", f"{channel}2", "b")) == 1
    assert heard(messages) == (f"{channel}2", b"b")
    own.admin.execute_command("CLIENT KILL TYPE pubsub")
    assert heard(messages) == ("", b"")
    started = time.monotonic()
    wire.close()
    assert time.monotonic() - started < 3
    assert not any(thread.name == "redis-listener" for thread in threading.enumerate())


def test_a_listener_that_fails_hears_on(server: RedisServer, open_wire: Open, caplog: pytest.LogCaptureFixture) -> None:
    wire, channel = open_wire(server.url), "crawler:{test}:ready"
    messages: queue.Queue[bytes] = queue.Queue()

    def fail(_: str, payload: bytes) -> None:
        messages.put(payload)
        raise ValueError("mine")

    wire.listen([channel], fail)
    assert messages.get(timeout=30) == b""
    wire.call(KEY, "PUBLISH", channel, "a")
    assert messages.get(timeout=30) == b"a"
    wire.close()
    assert "a listener failed" in caplog.text
