"""How much a broker sends a consumer ahead, and that none of it is taken for a dead consumer's at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pika
import pytest

from crawler.exchange.rabbit import RabbitExchange, ahead
from crawler.model import Message, Queue
from crawler.tables import RabbitTable
from tests.contract.exchanges import end, message, request_id
from tests.contract.rabbit_exchange import open_rabbit, shared_broker

KB = 1_000


@pytest.fixture(params=["quorum", "classic"])
def queues(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def exchange(tmp_path: Path, queues: str) -> Iterator[RabbitExchange]:
    with another(tmp_path, queues) as one:
        try:
            one.declare([Queue("a")])
            yield one
        finally:
            one.remove()


def another(folder: Path, queues: str) -> RabbitExchange:
    return open_rabbit(folder, table=RabbitTable(queues=queues))  # type: ignore[arg-type]


def pages(count: int, size: int, first: int = 0) -> list[Message]:
    return [msgspec.structs.replace(message(f"{first + at}"), blob=b"x" * size) for at in range(count)]


def take(exchange: RabbitExchange, count: int) -> list[Any]:
    return list(exchange.lease("a", count, consumer="c", request_id=request_id()))


def waiting(exchange: RabbitExchange) -> int:
    """Messages that the broker has sent to nobody."""
    queue = exchange._make.args[0].line("a").main
    with pika.BlockingConnection(pika.URLParameters(shared_broker().url)) as connection:
        return int(connection.channel().queue_declare(queue, passive=True).method.message_count)


def test_as_many_small_ones_as_are_allowed(exchange: RabbitExchange) -> None:
    exchange.publish(pages(600, 0))
    (one,) = take(exchange, 1)
    assert waiting(exchange) == 600 - ahead.FIRST - 400
    counts = exchange.counts()["a"]
    assert (counts.ready, counts.leased) == (599, 1)
    desk = exchange._state._desks["a"]  # type: ignore[union-attr]
    assert desk._work.old() == [ahead.FIRST], "where the first consumer ended"
    end(exchange, [one.token])
    assert take(exchange, 600)[0].message.id == "1"


def drain(exchange: RabbitExchange, count: int) -> list[int]:
    """Numbers of so many messages, stored one batch after the other."""
    found: list[int] = []
    until_s = time.monotonic() + 60
    while len(found) < count and time.monotonic() < until_s:
        held = take(exchange, 300)
        found += [int(one.message.id) for one in held]
        end(exchange, [one.token for one in held])
    return sorted(found)


def test_large_ones_stay_with_the_broker(exchange: RabbitExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "AHEAD_BYTES_MAX", 1_000 * KB)
    exchange.publish(pages(300, 20 * KB))
    held = take(exchange, 300)
    assert len(held) == 300 - waiting(exchange) <= ahead.FIRST + 50, "fifty at a time, and the first"
    end(exchange, [one.token for one in held])
    assert len(drain(exchange, 300 - len(held))) == 300 - len(held)
    exchange.publish(pages(300, 200 * KB, first=300))
    held = take(exchange, 300)
    assert len(held) == 300 - waiting(exchange) <= 50 + 10, "what had been asked for, and five at a time"
    end(exchange, [one.token for one in held])
    assert drain(exchange, 300 - len(held)) == list(range(300 + len(held), 600))
    exchange.publish(pages(100, 200 * KB, first=600))
    assert len(take(exchange, 100)) == 100 - waiting(exchange) <= 10
    counts = exchange.counts()["a"]
    assert (counts.suspects, counts.dead, counts.done) == (0, 0, 600)


def test_a_consumer_that_ends_while_messages_come_leaves_no_suspects(
    exchange: RabbitExchange, tmp_path: Path, queues: str
) -> None:
    """What was on its way to it when it ended was in nobody's hands."""
    stop = threading.Event()
    published = 0

    def publish() -> None:
        nonlocal published
        while not stop.is_set():
            exchange.publish(pages(50, 0, first=published))
            published += 50

    thread = threading.Thread(target=publish)
    thread.start()
    ids: set[str] = set()
    try:
        for _ in range(15):
            with another(tmp_path, queues) as consumer:
                for _ in range(2):
                    held = take(consumer, 30)
                    assert not any(one.alone for one in held)
                    ids |= {one.message.id for one in held}
                    end(consumer, [one.token for one in held])
    finally:
        stop.set()
        thread.join(60)
    assert exchange.counts()["a"].suspects == 0
    while len(ids) < published:
        held = take(exchange, 1_000)
        assert not any(one.alone for one in held)
        ids |= {one.message.id for one in held}
        end(exchange, [one.token for one in held])
    assert ids == {str(number) for number in range(published)}
