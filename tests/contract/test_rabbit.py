"""What the RabbitMQ exchange does that no other adapter does: topology, refusals, unroutable items, full queues."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec
import pika
import pytest

from crawler.error import BackendError, SettingsError
from crawler.exchange.rabbit import RabbitExchange
from crawler.exchange.rabbit.address import parse
from crawler.exchange.rabbit.names import names_of
from crawler.model import Bury, Queue, Retry
from crawler.tables import RabbitTable
from tests.contract.exchanges import end, log, message, request_id, take
from tests.contract.rabbit_exchange import open_rabbit, shared_broker
from tests.servers.daemon import free_port, wait_until

Open = Callable[..., RabbitExchange]


@pytest.fixture
def open_one(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens exchanges of one crawl, named after the test; removes it afterwards."""
    with ExitStack() as stack:

        def make(type: Any = "fanout", url: str = "", **table: Any) -> RabbitExchange:
            settings = RabbitTable(**{"queues": "classic", **table})
            address = parse(url or shared_broker().url, settings)
            exchange = RabbitExchange(address, settings, name=request.node.name, type=type)
            return stack.enter_context(exchange)

        yield make
        make().remove()


@pytest.fixture
def channel() -> Iterator[Any]:
    """A plain client of the same broker, which may do everything."""
    with pika.BlockingConnection(pika.URLParameters(shared_broker().url_for("admin"))) as connection:
        yield connection.channel()


def drain(channel: Any, queue: str) -> list[Any]:
    """Properties of all messages of a queue."""
    found = []
    while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
        found.append(got[1])
    return found


@pytest.mark.parametrize("queues", ["quorum", "classic"])
def test_the_topology_is_as_documented(open_one: Open, request: pytest.FixtureRequest, queues: str) -> None:
    open_one("topic", queues=queues, queue_bytes_max=5_000_000).declare([Queue("store", ("shop.*",)), Queue("history")])
    prefix = names_of(request.node.name).prefix
    listed = shared_broker().ctl("list_queues", "-p", "crawler", "name", "durable", "arguments", "--formatter", "json")
    found = {one["name"]: one for one in msgspec.json.decode(listed) if one["name"].startswith(prefix + ".")}
    suffixes = ("", ".suspects", ".delayed", ".dead")
    lines = {f"{prefix}.{name}{suffix}.v1" for name in ("store", "history") for suffix in suffixes}
    assert set(found) == lines | {f"{prefix}.items.unrouted.v1", f"{prefix}.items.register.v1"}
    assert all(one["durable"] for one in found.values())
    arguments = {name: {key: value for key, _, value in _triples(one["arguments"])} for name, one in found.items()}
    assert all(given["x-queue-type"] == queues for given in arguments.values())
    main = arguments[f"{prefix}.store.v1"]
    assert main["x-overflow"] == "reject-publish"
    assert main["x-max-length-bytes"] == 5_000_000
    assert main["x-dead-letter-routing-key"] == f"{prefix}.store.dead.v1"
    if queues == "quorum":
        assert main["x-dead-letter-strategy"] == "at-least-once"
        assert main["x-delivery-limit"] == 100
    bound = shared_broker().ctl(
        "list_bindings", "-p", "crawler", "source_name", "destination_name", "routing_key", "--formatter", "json"
    )
    wanted = [(one["source_name"], one["destination_name"], one["routing_key"]) for one in msgspec.json.decode(bound)]
    mine = {one for one in wanted if one[0].startswith(prefix + ".")}
    assert mine == {
        (f"{prefix}.items.v1", f"{prefix}.store.v1", "shop.*"),
        (f"{prefix}.own.v1", f"{prefix}.history.v1", "log"),
        (f"{prefix}.items.unrouted.v1", f"{prefix}.items.unrouted.v1", ""),
    }


def _triples(arguments: Any) -> list[tuple[str, str, Any]]:
    """rabbitmqctl writes arguments as an object, or as a list of name, type and value."""
    if isinstance(arguments, dict):
        return [(name, "", value) for name, value in arguments.items()]
    return [(one[0], one[1], one[2]) for one in arguments]


def test_messages_say_what_they_are(open_one: Open, request: pytest.FixtureRequest, channel: Any) -> None:
    exchange = open_one()
    exchange.declare([Queue("store")])
    exchange.publish([message("m1", "shop.book")])
    (told,) = drain(channel, names_of(request.node.name).line("store").main)
    assert (told.message_id, told.type, told.content_type) == ("m1", "shop.book", "application/json")
    assert told.delivery_mode == 2
    assert abs(told.timestamp - time.time()) < 60


def test_a_dead_letter_says_why(open_one: Open, request: pytest.FixtureRequest, channel: Any) -> None:
    exchange = open_one()
    exchange.declare([Queue("store")])
    exchange.publish([message("m1")])
    (one,) = exchange.lease("store", 1, consumer="c", request_id=request_id())
    end(exchange, [one.token], Bury("bad", "ValueError: " + "x" * 100_000))
    (told,) = drain(channel, names_of(request.node.name).line("store").dead)
    assert told.headers["reason"] == "bad"
    assert told.headers["detail"].startswith("ValueError: x")
    assert len(told.headers["detail"]) == 16_000


def test_items_for_nobody_are_kept_and_counted(open_one: Open) -> None:
    exchange = open_one("topic")
    exchange.declare([Queue("store", ("shop.*",)), Queue("history")])
    exchange.publish([message("1", "shop.book"), message("2", "news"), log("3")])
    assert exchange.unrouted() == 1
    assert take(exchange, "store") == ["1"]


def test_outcomes_without_a_history_are_nobodys(open_one: Open) -> None:
    exchange = open_one()
    exchange.declare([Queue("store")])
    exchange.publish([log("1")])
    assert exchange.unrouted() == 0


def test_what_is_not_bound_any_more_is_unbound(open_one: Open) -> None:
    exchange = open_one("direct")
    exchange.declare([Queue("store", ("a", "b"))])
    exchange.declare([Queue("store", ("b", "c"))])
    exchange.publish([message(kind, kind) for kind in "abc"])
    assert take(exchange, "store") == ["b", "c"]


def test_who_declares_and_who_looks_need_not_be_the_same(open_one: Open) -> None:
    open_one().declare([Queue("store")])
    open_one().publish([message("1")])
    assert open_one().counts()["store"].ready == 1
    with pytest.raises(SettingsError, match="nowhere"):
        take(open_one(), "nowhere")


def test_a_crawl_that_was_never_declared_has_no_queues(open_one: Open) -> None:
    assert open_one().counts() == {}
    assert open_one().dead() == ()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("fanout", {}), ("topic", {})),
        (("fanout", {}), ("fanout", {"queues": "quorum"})),
        (("fanout", {}), ("fanout", {"queue_bytes_max": 1_000_000})),
    ],
    ids=["type", "kind of queues", "length"],
)
def test_what_exists_otherwise_is_refused_by_name(open_one: Open, before: Any, after: Any) -> None:
    open_one(before[0], **before[1]).declare([Queue("store")])
    with pytest.raises(SettingsError, match=r"crawler\..*exists with another .*crawler rm"):
        open_one(after[0], **after[1]).declare([Queue("store")])


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("amqp://crawler:wrong@{}/crawler", "password of user crawler"),
        ("amqp://nobody:crawler-password@{}/crawler", "password of user nobody"),
        ("amqp://crawler:crawler-password@{}/nowhere", "vhost 'nowhere'"),
        ("amqp://crawler:crawler-password@{}", "vhost '/'"),
    ],
)
def test_who_may_not_is_told_why(url: str, told: str) -> None:
    table = RabbitTable()
    address = parse(url.format(f"127.0.0.1:{shared_broker().port}"), table)
    with RabbitExchange(address, table, name="x") as exchange, pytest.raises(SettingsError, match=told) as raised:
        exchange.declare([Queue("store")])
    assert "crawler-password" not in str(raised.value)
    assert "wrong" not in str(raised.value)


def test_a_broker_that_is_down_is_named_at_once() -> None:
    table, port = RabbitTable(), free_port()
    began = time.monotonic()
    with RabbitExchange(parse(f"amqp://127.0.0.1:{port}", table), table, name="x") as exchange:
        with pytest.raises(BackendError, match=f"127.0.0.1:{port}"):
            exchange.publish([message("1")])
        with pytest.raises(BackendError):
            exchange.counts()
    assert time.monotonic() - began < 20


def test_the_next_host_is_tried(open_one: Open) -> None:
    url = shared_broker().url.replace("@", f"@127.0.0.1:{free_port()},")
    exchange = open_one(url=url)
    exchange.declare([Queue("store")])
    exchange.publish([message("1")])
    assert take(exchange, "store") == ["1"]


def test_a_full_queue_is_waited_for_and_fills_no_other(open_one: Open) -> None:
    """The store of `slow` stands still. Its messages come when there is room; `quick` gets none of them again and
    again."""
    exchange = open_one(queue_bytes_max=30_000, timeout_s=0.5)
    exchange.declare([Queue("slow")])
    other = open_one(timeout_s=0.5)
    other.declare([Queue("quick")])
    messages = [message(str(number), text="x" * 1_000) for number in range(100)]
    for _ in range(3):
        with pytest.raises(BackendError, match="full"):
            exchange.publish(messages)
    assert exchange.counts()["quick"].ready <= 200  # twice at most, whatever the repeats
    got: set[str] = set()
    thread = threading.Thread(target=_publish_until_taken, args=(exchange, messages))
    thread.start()
    consumer = open_one(queue_bytes_max=30_000)
    until = time.monotonic() + 60
    while len(got) < 100 and time.monotonic() < until:
        leased = consumer.lease("slow", 50, consumer="c", request_id=request_id())
        got |= {one.message.id for one in leased}
        end(consumer, [one.token for one in leased])
        time.sleep(0.01)
    thread.join(60)
    assert got == {str(number) for number in range(100)}
    assert exchange.counts()["quick"].ready <= 200


def _publish_until_taken(exchange: RabbitExchange, messages: list[Any]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            return exchange.publish(messages)
        except BackendError:
            continue


def test_consumers_of_other_processes_are_counted(open_one: Open) -> None:
    """Never drained while one of them holds something, whatever it does with it."""
    one, two, look = open_one(), open_one(), open_one()
    one.declare([Queue("store")])
    one.publish([message(str(number)) for number in range(10)])
    held = [each.token for each in one.lease("store", 4, consumer="c1", request_id=request_id())]
    take(two, "store", consumer="c2")
    counts = look.counts()["store"]
    assert counts.ready + counts.leased == 10
    assert counts.leased >= 4
    end(one, held[:1], Retry(60, "x"))
    end(one, held[1:2], Bury("x"))
    end(one, held[2:])
    counts = look.counts()["store"]
    assert (counts.delayed, counts.dead, counts.done) == (1, 1, 2)
    assert counts.ready + counts.leased == 6


def test_an_orderly_end_makes_no_suspects(open_one: Open) -> None:
    one = open_one()
    one.declare([Queue("store")])
    one.publish([message(str(number)) for number in range(10)])
    (held,) = one.lease("store", 1, consumer="c1", request_id=request_id())
    end(one, [held.token])
    one.close()
    two = open_one()
    assert take(two, "store") == [str(number) for number in range(1, 10)]
    assert two.counts()["store"].suspects == 0


def test_a_foreign_message_is_taken_or_buried(open_one: Open, request: pytest.FixtureRequest, channel: Any) -> None:
    """Somebody else's program publishes into the crawl's exchange."""
    exchange = open_one()
    exchange.declare([Queue("store")])
    names = names_of(request.node.name)
    record = (
        b'{"v":1,"id":"7","kind":"page","url":"https://example.com/","fetched_at":"2026-01-31T12:00:00Z","spider":"x"}'
    )
    for body in (b"{damaged", record.replace(b'"v":1', b'"v":9'), record):
        channel.basic_publish(names.items, "page", body)
    wait_until(lambda: exchange.counts()["store"].ready == 3, "published", 20)
    assert take(exchange, "store") == ["7"]
    assert [item.reason for item in exchange.dead()] == ["damaged_record"] * 2


STRANGE: list[dict[str, Any]] = [
    {"headers": {"number": -1}},
    {"headers": {"number": 2**63 - 1, "attempts": -5, "crashes": -5}},
    {"headers": {"number": 0, "attempts": 2**62, "crashes": 2**62, "since_ms": -1}},
    {"headers": {"number": "1", "attempts": [1], "crashes": True, "again": "no", "due_ms": {"a": 1}}},
    {"message_id": b"\xff\xfe", "type": b"\xff"},
    {"message_id": b"\xff\xfd"},
    {"message_id": "unnamed main 1 0"},
    {},
]


def test_strange_properties_jam_no_queue(open_one: Open, request: pytest.FixtureRequest, channel: Any) -> None:
    """A damaged message is buried and a good one stored, whatever its properties and headers are."""
    exchange = open_one()
    exchange.declare([Queue("store")])
    main = names_of(request.node.name).line("store").main
    for given in STRANGE:
        channel.basic_publish("", main, b"{damaged", pika.BasicProperties(**given))
    exchange.publish([message("good")])
    wait_until(lambda: exchange.counts()["store"].ready == len(STRANGE) + 1, "published", 20)
    found: list[str] = []
    wait_until(lambda: bool(found.extend(take(exchange, "store")) or found), "the good one", 20)
    assert found == ["good"]
    assert [item.reason for item in exchange.dead()] == ["damaged_record"] * len(STRANGE)


@pytest.mark.parametrize(
    "outcome",
    [Bury("x" * 200_000), Bury("\ud800"), Bury("bad", "\ud800" * 70_000), Bury("bad", "é" * 70_000), Bury("")],
)
def test_whatever_a_store_says_its_message_is_buried(open_one: Open, outcome: Bury) -> None:
    """A reason longer than a frame, or text that UTF-8 has no bytes for, would else close the connection for ever."""
    exchange = open_one()
    exchange.declare([Queue("store")])
    exchange.publish([message("1"), message("2")])
    first, second = exchange.lease("store", 2, consumer="c", request_id=request_id())
    end(exchange, [first.token], outcome)
    end(exchange, [second.token])
    (item,) = exchange.dead()
    assert item.message.id == "1"
    assert bool(item.reason) == bool(outcome.reason)


def test_what_is_too_large_for_the_broker_is_refused_and_others_go_on(open_one: Open) -> None:
    """deploy/rabbitmq.conf sets max_message_size to 16 MiB."""
    exchange = open_one()
    exchange.declare([Queue("store")])
    with pytest.raises(SettingsError, match="message_bytes_max"):
        exchange.publish([message("large", text="x" * 17_000_000)])
    exchange.publish([message("small")])
    assert take(exchange, "store") == ["small"]


def test_a_fork_is_refused(open_one: Open, tmp_path: Path) -> None:
    import os

    exchange = open_one()
    exchange.declare([Queue("store")])
    pid = os.fork()
    if not pid:
        try:
            exchange.publish([message("1")])
            os._exit(1)
        except BackendError:
            os._exit(0)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _sockets() -> int:
    """That this process has open."""
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the folder's own, closed again
            count += os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
    return count


def test_closing_leaves_no_socket_behind_though_the_broker_is_silent(tmp_path: Path) -> None:
    server = shared_broker()
    before = _sockets()
    exchange = open_rabbit(tmp_path, table=RabbitTable(timeout_s=1))
    exchange.declare([Queue("a")])
    exchange.lease("a", 1, consumer="c1", request_id=request_id())
    assert _sockets() > before
    server.process.pause()
    try:
        exchange.close()
        assert _sockets() == before
    finally:
        server.process.resume()
