"""What cannot be written to RabbitMQ, and what is published beside it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pika
import pytest

from crawler.error import BadRecord
from crawler.exchange.rabbit import RabbitExchange
from crawler.model import Message, Queue
from crawler.tables import RabbitTable
from tests.contract.exchanges import message, take
from tests.contract.rabbit_exchange import open_rabbit, rabbit, shared_broker

LONG = "k" * 300
"""AMQP's short strings have 255 bytes."""


@pytest.mark.parametrize(
    "bad",
    [
        message("bad", LONG),
        msgspec.structs.replace(message("bad"), id="i" * 300),
    ],
    ids=["kind", "id"],
)
def test_what_cannot_be_written_is_refused_and_all_else_goes_on(tmp_path: Path, bad: Message) -> None:
    with rabbit(tmp_path, queues="classic") as exchange:
        exchange.declare([Queue("a")])
        with pytest.raises(BadRecord, match="cannot be written"):
            exchange.publish([message("one"), bad, message("two")])
        for _ in range(3):
            with pytest.raises(BadRecord, match="cannot be written"):
                exchange.publish([bad])
        exchange.publish([message("three")])
        exchange.publish([message("one"), message("two")])  # given again, without the one that was refused
        assert sorted(take(exchange)) == ["one", "three", "two"]


def test_a_window_of_one_is_not_jammed_by_what_was_refused(tmp_path: Path) -> None:
    table = RabbitTable(queues="classic", unconfirmed_max=1, timeout_s=3.0)
    exchange: RabbitExchange
    with open_rabbit(tmp_path, table=table) as exchange:
        try:
            exchange.declare([Queue("a")])
            with pytest.raises(BadRecord):
                exchange.publish([message("bad", LONG), message("one")])
            exchange.publish([message("two")])
            exchange.publish([message("one")])
            assert sorted(take(exchange)) == ["one", "two"]
        finally:
            exchange.remove()


def test_a_queue_that_was_deleted_is_bound_again_when_it_is_declared_again(tmp_path: Path) -> None:
    with rabbit(tmp_path) as exchange:
        exchange.declare([Queue("a"), Queue("b", bind=("page",))])
        exchange.publish([message("one", "page")])
        with pika.BlockingConnection(pika.URLParameters(shared_broker().url)) as connection:
            for queue in ("a", "b"):
                connection.channel().queue_delete(exchange._make.args[0].line(queue).main)
        exchange.declare([Queue("a"), Queue("b", bind=("page",))])
        exchange.publish([message("two", "page")])
        assert (take(exchange), take(exchange, "b"), exchange.unrouted()) == (["two"], ["two"], 0)
