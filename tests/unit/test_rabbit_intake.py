"""What the short way of reading deliveries gives is what pika alone gives, however the stream is cut."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
import pika
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pika import frame, spec
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel

from crawler.exchange.rabbit.intake import READ_BYTES, Connection, Taker, class_of, delivery
from crawler.exchange.rabbit.posting import Card, Posting, moved, properties
from crawler.model import Message

CONSUMERS = {1: ("ctag1.0123456789abcdef", "main"), 2: ("ctag2.ü", "delayed")}
CANCELLED = "ctag1.cancelled"
PLAIN = "ctag1.plain"
"""A consumer of channel 1 whose callback is no Taker."""
BEGAN = 1_700_000_000_000_000_000
DELIVER = spec.Basic.Deliver(CONSUMERS[1][0], 1, False, "", "quote")


@pytest.fixture(scope="module", autouse=True)
def loop() -> Iterator[None]:
    """pika asks for one; nothing runs in it."""
    one = asyncio.new_event_loop()
    asyncio.set_event_loop(one)
    yield
    asyncio.set_event_loop(None)
    one.close()


class Reader:
    """One connection that was never opened: all that it reads is what it is given."""

    def __init__(self, kind: type[Any]) -> None:
        self.log: list[Any] = []
        self.connection = kind(
            pika.ConnectionParameters(),
            custom_ioloop=asyncio.get_event_loop_policy().get_event_loop(),
            internal_connection_workflow=False,
        )
        for number, (name, source) in CONSUMERS.items():
            raw = Channel(self.connection, number, lambda opened: None)
            raw._consumers[name] = Taker(self._take, source)  # type: ignore[arg-type]
            raw.add_callback(lambda told: self.log.append(told.method.delivery_tag), [spec.Basic.Ack], one_shot=False)
            raw.add_on_return_callback(lambda *told: self.log.append(("returned", told[3])))
            self.connection._channels[number] = raw
        raw = self.connection._channels[1]
        raw._consumers[PLAIN] = lambda raw, method, properties, body: self.log.append((method, properties, body))
        raw._consumers[CANCELLED] = Taker(self._take, "main")
        raw._cancelled.add(CANCELLED)

    def _take(self, card: Card) -> None:
        unnamed = card.id.startswith("unnamed ")
        self.log.append(msgspec.structs.replace(card, id="unnamed") if unnamed else card)

    def read(self, stream: bytes, cuts: list[int]) -> str:
        """What it raised, which ends a connection."""
        ends = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
        try:
            for begin, end in pairwise(ends):
                self.connection._on_data_available(stream[begin:end])
        except Exception as error:
            return type(error).__name__
        return ""

    @property
    def seen(self) -> tuple[Any, ...]:
        one = self.connection
        return self.log, one._frame_buffer, one.bytes_received, one.frames_received


def alike(stream: bytes, cuts: list[int]) -> list[Any]:
    """What both read."""
    theirs, ours = Reader(AsyncioConnection), Reader(Connection)
    assert ours.read(stream, cuts) == theirs.read(stream, cuts)
    assert ours.seen == theirs.seen
    return ours.log


def content(method: Any, told: Any, bodies: list[bytes], number: int = 1) -> bytes:
    size = sum(map(len, bodies))
    parts = [frame.Method(number, method), frame.Header(number, size, told), *(frame.Body(number, b) for b in bodies)]
    return b"".join(part.marshal() for part in parts)


def message(id: str = "0123456789abcdef", kind: str = "quote", blob: bytes = b"") -> Message:
    return Message(id=id, kind=kind, url="https://e.com/", fetched_at="", spider="s", blob=blob)


def published(tag: int, body: bytes = b"{}", *, number: int = 1, name: str = "", again: bool = False) -> bytes:
    """As the broker delivers what a worker published."""
    method = spec.Basic.Deliver(name or CONSUMERS[number][0], tag, again, "crawler.x.items.v1", "quote")
    return content(method, properties(message(), BEGAN + tag), [body], number)


def test_a_published_message_goes_the_short_way() -> None:
    stream = published(7, b'{"v":1}', again=True)
    reader = Reader(Connection)
    found = delivery(stream, 0, reader.connection._channels)
    assert found is not None
    end, taker, card = found
    assert (end, taker.source) == (len(stream), "main")
    assert card == Card(BEGAN + 7, "0123456789abcdef", 7, redelivered=True, kind="quote", body=b'{"v":1}')
    assert delivery(b"." + stream, 1, reader.connection._channels) == (end + 1, taker, card)
    assert alike(stream, []) == [card]


def test_half_a_delivery_waits_for_the_rest_wherever_it_is_cut() -> None:
    stream = published(1) + published(2, number=2)
    for cut in range(len(stream) + 1):
        assert len(alike(stream, [cut])) == 2


def test_a_delivery_byte_by_byte() -> None:
    stream = published(1, b"x" * 100)
    assert len(alike(stream, list(range(len(stream))))) == 1


@pytest.mark.parametrize(
    "stream",
    [
        published(1, name="ctag1.unknown"),
        published(1, name=CANCELLED),
        published(1, name=PLAIN),
        published(1, b""),
        published(1).replace(b"\x00\x01", b"\x00\x09", 1),
        content(DELIVER, properties(message(), 9), [b"ab", b"c"]),
        content(DELIVER, properties(message(id=""), 9), [b"ab"]),
        content(DELIVER, properties(message(), 1 << 62), [b"ab"]),
        content(DELIVER, properties(message(), (1 << 62) + 1), [b"ab"]),
        published(1).replace(b"\x06numberl", b"\x06numberl\xff", 1),
        content(DELIVER, properties(message(kind=""), 1 << 40), [b"ab"]),
        published(1)[:-1] + b"\x00",
        b"AMQP\x00\x00\x09\x01" + published(1),
        published(1)[:200] + b"AMQP",
        b"\x07" + published(1),
        frame.Method(1, DELIVER).marshal() + published(2),
        frame.Header(1, 5, pika.BasicProperties()).marshal() + published(2),
    ],
)
def test_what_else_may_come_is_read_as_pika_reads_it(stream: bytes) -> None:
    alike(stream + published(3), [])
    alike(stream + published(3), [30, 120, 200])


FLAGS: dict[str, Any] = {
    "content_type": "application/json",
    "content_encoding": "gzip",
    "headers": {"number": 1 << 40},
    "delivery_mode": 2,
    "priority": 3,
    "correlation_id": "c",
    "reply_to": "r",
    "expiration": "60000",
    "message_id": "m" * 32,
    "timestamp": 1_700_000_000,
    "type": "quote",
    "user_id": "u",
    "app_id": "a",
    "cluster_id": "x",
}


def test_properties_in_every_combination() -> None:
    names = list(FLAGS)
    parts = []
    for bits in range(1 << len(names)):
        told = pika.BasicProperties(**{name: FLAGS[name] for at, name in enumerate(names) if bits >> at & 1})
        parts.append(content(DELIVER, told, [b"{}"]))
    for begin in range(0, len(parts), 1_000):
        some = parts[begin : begin + 1_000]
        assert len(alike(b"".join(some), [])) == len(some)


headers = st.dictionaries(
    st.sampled_from(["number", "attempts", "crashes", "since_ms", "due_ms", "again", "x-delivery-count", "n"]),
    st.one_of(st.integers(-(1 << 63), (1 << 63) - 1), st.booleans(), st.text(max_size=5), st.binary(max_size=5)),
    max_size=3,
)
told = st.one_of(
    st.builds(
        lambda id, kind, number: properties(message(id, kind), number),
        st.text(max_size=40),
        st.text(max_size=20),
        st.integers(0, 1 << 62),
    ),
    st.builds(lambda one: moved(one, again=1), st.builds(Card, st.integers(1, 1 << 60), st.just("m"), st.just(1))),
    st.builds(lambda table: pika.BasicProperties(headers=table, message_id="m"), headers),
    st.builds(
        lambda table: pika.BasicProperties(**{name: FLAGS[name] for name in PLAIN_FLAGS} | {"headers": table}), headers
    ),
)
PLAIN_FLAGS = ("content_type", "delivery_mode", "message_id", "timestamp", "type")
bodies = st.lists(st.binary(min_size=1, max_size=60), max_size=3)
numbers = st.sampled_from([1, 1, 1, 2])
deliveries = st.builds(
    lambda number, other, tag, again, told, bodies: content(
        spec.Basic.Deliver(other or CONSUMERS[number][0], tag, again, "x", "key"), told, bodies, number
    ),
    numbers,
    st.sampled_from(["", "", "", "", CANCELLED, PLAIN, "ctag1.unknown"]),
    st.integers(0, (1 << 64) - 1),
    st.booleans(),
    told,
    bodies,
)
quick = st.builds(
    lambda tag, body, number: published(tag, body, number=number), st.integers(1, 99), st.binary(), numbers
)
others = st.one_of(
    st.builds(lambda number, tag: frame.Method(number, spec.Basic.Ack(tag)).marshal(), numbers, st.integers(0, 99)),
    st.builds(lambda told, bodies: content(spec.Basic.Return(312, "NO_ROUTE", "x", "k"), told, bodies), told, bodies),
    st.just(frame.Heartbeat().marshal()),
    st.just(b"AMQP\x00\x00\x09\x01"),
)
streams = st.lists(st.one_of(quick, deliveries, others), max_size=8).map(b"".join)
cuts = st.lists(st.integers(0, 10_000), max_size=6)


@settings(max_examples=300, deadline=None)
@given(streams, cuts)
def test_any_stream_cut_anywhere_gives_what_pika_gives(stream: bytes, cuts: list[int]) -> None:
    alike(stream, cuts)


@settings(max_examples=500, deadline=None)
@given(streams, cuts, st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=3))
def test_so_does_a_damaged_stream(stream: bytes, cuts: list[int], damage: list[tuple[int, int]]) -> None:
    torn = bytearray(stream + published(1))
    for at, value in damage:
        torn[at % len(torn)] = value
    alike(bytes(torn), cuts)


@pytest.mark.parametrize("kind", [AsyncioConnection, Connection])
def test_what_comes_behind_the_end_of_a_connection_is_not_read(kind: type[Any]) -> None:
    reader = Reader(kind)
    raw = reader.connection._channels[1]
    raw._consumers[CONSUMERS[1][0]] = Taker(lambda card: reader.connection._init_connection_state(), "main")
    assert reader.read(published(1) + published(2), []) == ""
    assert reader.connection._frame_buffer == b""


@pytest.mark.parametrize("kind", [AsyncioConnection, Connection])
def test_a_delivery_whose_callback_raises_is_not_read_again(kind: type[Any]) -> None:
    reader = Reader(kind)
    raw = reader.connection._channels[1]

    def take(card: Card) -> None:
        raise ValueError(card.id)

    raw._consumers[CONSUMERS[1][0]] = Taker(take, "main")
    assert reader.read(published(1) + published(2), []) == "ValueError"
    assert reader.connection._frame_buffer == published(2)


def test_another_pika_reads_its_own_way() -> None:
    assert class_of("1.4.4") is Connection
    assert class_of("1.4.5") is AsyncioConnection
    assert class_of("2.0.0") is AsyncioConnection
    assert class_of(pika.__version__) is Connection, "look whether pika still reads as intake.py takes it to"
    assert READ_BYTES == 262_144


def test_what_is_published_is_what_is_looked_for() -> None:
    """Whoever changes the properties of a published message changes `intake` too."""
    posting = Posting("x", "quote", properties(message(blob=b"x"), 1 << 60), b"body")
    stream = content(spec.Basic.Deliver(CONSUMERS[2][0], 1, False, "", ""), posting.properties, [posting.body], 2)
    assert delivery(stream, 0, Reader(Connection).connection._channels) is not None
