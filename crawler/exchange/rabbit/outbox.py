"""Publishing a crawl's messages: each once to its exchange, and, while a queue is full, to each queue by itself.

The broker refuses a message as a whole when one of its queues is full, though the others have taken it. Published again
through the exchange it would be in those twice, three times, without end. So a refused message goes to each of its
queues by itself, and is repeated to the full one only. What a caller gives again after a BackendError is known by its
id, and goes on from where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Final

from crawler.error import BackendError
from crawler.exchange.rabbit.names import Names, exchange_for
from crawler.exchange.rabbit.posting import Numbers, Posting, properties
from crawler.exchange.rabbit.publisher import Publisher
from crawler.exchange.rabbit.register import Register
from crawler.exchange.routing import ExchangeType, Router
from crawler.model import Message

FULL_S: Final = 5.0
"""So long after a refusal messages go to each queue by itself from the start."""
AGAIN_S: Final = (0.05, 1.0)
"""Before a refused message is sent again; doubles from the first to the second."""
UNFINISHED_MAX: Final = 20_000
"""Postings of failed calls that are remembered; the oldest are forgotten, and may be doubled."""

Key = tuple[str, str]
"""Message id, and the queue; empty: through the exchange."""


class Outbox:
    """In the loop's thread only."""

    def __init__(
        self,
        names: Names,
        type: ExchangeType,
        publisher: Publisher,
        register: Register,
        clock: Callable[[], int],
        timeout_s: float,
    ) -> None:
        self._names = names
        self._type: ExchangeType = type
        self._publisher = publisher
        self._register = register
        self._clock = clock
        self._timeout_s = timeout_s
        self._numbers = Numbers()
        self._unfinished: dict[Key, Posting] = {}
        self._full_until_s = 0.0

    async def publish(self, messages: Sequence[tuple[Message, bytes]]) -> None:
        """Messages with their bytes. Raises BackendError: give the same again."""
        through: dict[Key, Posting] = {}
        for message, body in messages:
            key = (message.id, "")
            if key not in through:
                through[key] = self._unfinished.get(key) or self._posting(message, body)
        until_s = monotonic() + self._timeout_s
        try:
            if monotonic() >= self._full_until_s:
                await self._publisher.settle(list(through.values()))
            full = {key: posting for key, posting in through.items() if posting.state != "safe"}
            if full:
                await self._apart(full, until_s)
        except BaseException:
            self._remember(through)
            raise
        for key in through:
            self._unfinished.pop(key, None)

    def _posting(self, message: Message, body: bytes) -> Posting:
        told = properties(message, self._numbers.next(self._clock()))
        return Posting(exchange_for(self._names, message.kind), message.kind, told, body)

    def _remember(self, postings: Mapping[Key, Posting]) -> None:
        self._unfinished.update(postings)
        while len(self._unfinished) > UNFINISHED_MAX:
            del self._unfinished[next(iter(self._unfinished))]

    async def _apart(self, postings: Mapping[Key, Posting], until_s: float) -> None:
        """To each queue by itself, again and again to the full ones. Raises BackendError when time is up."""
        router = Router(self._type, await self._register.read())
        single: dict[Key, Posting] = {}
        for (id, _), posting in postings.items():
            for queue in router.targets(posting.key):
                main = self._names.line(queue).main
                copy = Posting("", main, posting.properties, posting.body, mandatory=True)
                single[id, main] = self._unfinished.get((id, main), copy)
        wait_s = AGAIN_S[0]
        try:
            while True:
                await self._publisher.settle(list(single.values()))
                full = sorted({copy.key for copy in single.values() if copy.state != "safe"})
                if not full:
                    break
                self._full_until_s = monotonic() + FULL_S
                if monotonic() + wait_s > until_s:
                    raise BackendError(
                        f"RabbitMQ: {', '.join(full)} is full ([rabbit] queue_bytes_max) or gone: its "
                        "store is stopped, or slower than the workers"
                    )
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, AGAIN_S[1])
        except BaseException:
            self._remember(single)
            raise
        for posting in postings.values():
            posting.state = "safe"
        for name in single:
            self._unfinished.pop(name, None)
