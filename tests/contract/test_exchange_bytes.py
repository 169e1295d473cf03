"""What a lease gives is bounded in bytes too, over every adapter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from crawler.exchange import Exchange
from crawler.exchange.size import Room, size_of
from crawler.model import Message, Queue
from tests.contract.exchanges import ADAPTERS, Clock, end, message, request_id

KB = 1_000


@pytest.fixture(params=list(ADAPTERS))
def exchange(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Exchange]:
    with ExitStack() as stack:
        one = stack.enter_context(ADAPTERS[request.param](tmp_path, clock=Clock()))
        one.declare([Queue("a")])
        yield one


def page(id: str, size: int) -> Message:
    return msgspec.structs.replace(message(id), blob=b"x" * size)


def given(exchange: Exchange, bytes_max: int, count: int = 100) -> list[str]:
    leased = exchange.lease("a", count, consumer="c", request_id=request_id(), bytes_max=bytes_max)
    end(exchange, [one.token for one in leased])
    return [one.message.id for one in leased]


def test_a_batch_ends_before_the_message_that_does_not_fit(exchange: Exchange) -> None:
    exchange.publish([page(str(number), 20 * KB) for number in range(7)])
    assert given(exchange, 70 * KB) == ["0", "1", "2"]
    assert given(exchange, 70 * KB, count=2) == ["3", "4"]
    assert given(exchange, 0) == ["5", "6"]


def test_the_first_is_given_whatever_its_size(exchange: Exchange) -> None:
    exchange.publish([page("0", 1 * KB), page("1", 90 * KB), page("2", 1 * KB), page("3", 1 * KB)])
    assert given(exchange, 10 * KB) == ["0"]
    assert given(exchange, 10 * KB) == ["1"]
    assert given(exchange, 10 * KB) == ["2", "3"]
    assert given(exchange, 10 * KB) == []


def test_what_did_not_fit_is_still_the_first(exchange: Exchange) -> None:
    exchange.publish([page(str(number), 20 * KB) for number in range(4)])
    one, other = request_id(), request_id()
    first = exchange.lease("a", 9, consumer="c", request_id=one, bytes_max=50 * KB)
    assert [delivery.message.id for delivery in first] == ["0", "1"]
    assert exchange.lease("a", 9, consumer="c", request_id=one, bytes_max=50 * KB) == first
    assert exchange.counts()["a"].ready == 2
    rest = exchange.lease("a", 9, consumer="d", request_id=other, bytes_max=50 * KB)
    assert [delivery.message.id for delivery in rest] == ["2", "3"]
    end(exchange, [delivery.token for delivery in (*first, *rest)])
    assert exchange.counts()["a"].done == 4


def test_a_message_weighs_what_it_carries() -> None:
    assert size_of(message("1")) == len(b'{"id":"1","text":""}')
    assert size_of(page("1", 5 * KB)) == size_of(message("1")) + 5 * KB


def test_room() -> None:
    room = Room(10)
    assert [room.takes(size) for size in (11, 1)] == [True, False]
    room = Room(10)
    assert [room.takes(size) for size in (6, 4, 0, 1)] == [True, True, True, False]
    assert all(Room(0).takes(1 << 60) for _ in range(3))
    room = Room(0)
    assert all(room.takes(1 << 60) for _ in range(3))
