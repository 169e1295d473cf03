"""The topology on the broker: declared by whoever begins, the same by everybody; and who is bound to what.

AMQP cannot list bindings, and to change what a queue is bound to the old bindings must be known. So they stand in the
register: a queue with one message. Whoever has it, not acknowledged, may change bindings: it is the lock as well, and
one that opens when its holder dies. What it lists is never less than what is bound, whenever its writer is killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Final

import msgspec
import pika  # type: ignore[import-untyped]

from crawler.error import BackendError, SettingsError
from crawler.exchange.rabbit.channel import Channel
from crawler.exchange.rabbit.failure import Missing
from crawler.exchange.rabbit.link import Link
from crawler.exchange.rabbit.names import Names, arguments, bindings, register_arguments, unrouted_arguments
from crawler.exchange.rabbit.posting import Posting
from crawler.exchange.rabbit.publisher import Publisher
from crawler.exchange.routing import ExchangeType
from crawler.model import Queue
from crawler.tables import RabbitTable

VERSION: Final = 1
LOCKED_S: Final = 0.02
"""Wait before asking again for a register that somebody else has in hand."""
LOCKED_S_MAX: Final = 10.0
"""Nobody alive has it in hand for so long."""


class Entry(msgspec.Struct, frozen=True):
    """A pipeline in the register."""

    bind: tuple[str, ...]
    bound: tuple[tuple[str, str], ...]
    """(exchange, routing key), also those that were about to be added or removed when the writer died."""


class Book(msgspec.Struct, frozen=True):
    v: int = VERSION
    queues: dict[str, Entry] = {}


class Register:
    """Of one crawl. `channel`: gives a channel for calls."""

    def __init__(
        self,
        names: Names,
        type: ExchangeType,
        table: RabbitTable,
        link: Link,
        channel: Callable[[], Any],
        publisher: Publisher,
    ) -> None:
        self._names = names
        self._type: ExchangeType = type
        self._table = table
        self._link = link
        self._channel = channel
        self._publisher = publisher
        self.queues: dict[str, tuple[str, ...]] = {}
        """Name -> bind, as last read."""

    async def declare(self, queues: Sequence[Queue]) -> None:
        """Raises SettingsError for what exists otherwise. Cost: one trip for each thing declared and each binding."""
        channel = await self._link.channel()  # of its own: a refusal closes it
        try:
            fresh = await self._declare_frame(channel)
            await asyncio.gather(*(self._declare_line(queue) for queue in queues))
            if fresh:
                await self._write(Book())
            await self._bind(channel, queues)
        finally:
            channel.close()

    async def _declare_line(self, queue: Queue) -> None:
        channel = await self._link.channel()
        try:
            for name, given in arguments(self._names, queue.name, self._table).items():
                await channel.call("queue_declare", name, durable=True, arguments=given)
        finally:
            channel.close()

    async def _declare_frame(self, channel: Channel) -> bool:
        """What does not belong to one pipeline. Returns whether the register is new."""
        names, table = self._names, self._table
        await channel.call("exchange_declare", names.unrouted, "fanout", durable=True)
        other = {"alternate-exchange": names.unrouted}
        await channel.call("exchange_declare", names.items, self._type, durable=True, arguments=other)
        await channel.call("exchange_declare", names.own, "direct", durable=True)
        await channel.call("exchange_declare", names.ask, "fanout", durable=True)
        await channel.call("queue_declare", names.unrouted, durable=True, arguments=unrouted_arguments(table))
        await channel.call("queue_bind", names.unrouted, names.unrouted, "")
        probe = await self._link.channel()
        try:
            await probe.call("queue_declare", names.register, passive=True)
            fresh = False
        except Missing:
            fresh = True
        finally:
            probe.close()
        await channel.call("queue_declare", names.register, durable=True, arguments=register_arguments(table))
        return fresh

    async def _bind(self, channel: Channel, queues: Sequence[Queue]) -> None:
        tag, book = await self._lock(channel, or_new=True)
        wanted = {queue.name: bindings(self._names, self._type, queue.name, queue.bind) for queue in queues}
        had = {name: set(entry.bound) for name, entry in book.queues.items()}
        both = {queue.name: _entry(queue, wanted[queue.name] | had.get(queue.name, set())) for queue in queues}
        after = {queue.name: _entry(queue, wanted[queue.name]) for queue in queues}
        new = any(book.queues.get(name) != entry for name, entry in after.items())
        if new:
            await self._write(Book(queues={**book.queues, **both}))
        for name, keys in wanted.items():  # also those that are in the book: a queue may have been deleted since
            main = self._names.line(name).main
            for exchange, key in sorted(keys):
                await channel.call("queue_bind", main, exchange, key)
            for exchange, key in sorted(had.get(name, set()) - keys):
                await channel.call("queue_unbind", main, exchange, key)
        if new:
            book = Book(queues={**book.queues, **after})
            await self._write(book)
            channel.raw.basic_ack(tag)
        else:
            channel.raw.basic_nack(tag, requeue=True)
        self._note(book)

    async def read(self) -> Mapping[str, tuple[str, ...]]:
        """Name -> bind of every declared queue. Cost: two trips."""
        channel: Channel = await self._channel()
        try:
            tag, book = await self._lock(channel)
        except Missing:
            return {}
        channel.raw.basic_nack(tag, requeue=True)
        self._note(book)
        return self.queues

    async def _lock(self, channel: Channel, *, or_new: bool = False) -> tuple[int, Book]:
        """`or_new`: write it when it is empty for long, because who made the queue died before he wrote it."""
        until_s = monotonic() + LOCKED_S_MAX
        while True:
            got = await channel.get(self._names.register)
            if got is not None:
                return got.method.delivery_tag, _book(got.body)
            if monotonic() > until_s:
                if not or_new:
                    raise BackendError(f"RabbitMQ at {self._link.where}: {self._names.register} is empty")
                await self._write(Book())
                until_s = monotonic() + LOCKED_S_MAX
            await asyncio.sleep(LOCKED_S)

    async def _write(self, book: Book) -> None:
        properties = pika.BasicProperties(content_type="application/json", delivery_mode=2)
        posting = Posting("", self._names.register, properties, msgspec.json.encode(book), mandatory=True)
        await self._publisher.send([posting])

    def _note(self, book: Book) -> None:
        self.queues = {name: entry.bind for name, entry in book.queues.items()}


def _entry(queue: Queue, bound: set[tuple[str, str]]) -> Entry:
    return Entry(bind=queue.bind, bound=tuple(sorted(bound)))


def _book(body: bytes) -> Book:
    try:
        book = msgspec.json.decode(body, type=Book)
    except msgspec.MsgspecError as error:
        raise SettingsError(f"RabbitMQ: the register of this crawl is damaged: {error}") from None
    if book.v != VERSION:
        raise SettingsError(f"RabbitMQ: this crawl's queues are of version {book.v}: finish it with what began it")
    return book
