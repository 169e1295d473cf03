"""The exchange on RabbitMQ: many machines, each queue on as many nodes as the cluster has.

What is where: `crawler/exchange/rabbit/names.py`. A message is published once, with a confirm; the broker copies it to
every bound queue. A consumer holds what the broker sent ahead, not acknowledged, in memory; to retry, to bury or to
suspect is to publish into another queue, with a confirm, before the acknowledgement: a death in between doubles a
message, and stores are idempotent.

Death. What was in a dead consumer's hands comes again, marked by the broker: it goes to the suspects, uncharged, and a
consumer with empty hands fetches one of those alone. One that comes again from there was held alone by somebody who
died: charged. A process that lost its connection and not its life knows what it held, and charges nothing for that.

Costs: one thread. `publish` is one trip for the whole batch, `lease` none while the broker has sent enough ahead,
`settle` none for what is done. All state lives in the thread's loop, so there are no locks.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from crawler.codec import DAMAGED, decode_message, encode_message
from crawler.error import BadRecord, CrawlError
from crawler.exchange.rabbit.address import Address
from crawler.exchange.rabbit.hand import Held
from crawler.exchange.rabbit.mover import Terms
from crawler.exchange.rabbit.names import names_of
from crawler.exchange.rabbit.state import State
from crawler.exchange.rabbit.thread import Thread
from crawler.exchange.routing import ExchangeType
from crawler.model import Bury, DeadItem, Delivery, Message, Queue, Settlement
from crawler.tables import RabbitTable
from crawler.view import QueueCounts

T = TypeVar("T")

MANY_S: Final = 60.0
"""For what looks at many messages: dead letters, clear."""


class RabbitExchange:
    """The port. Connects when first used. Not to be used in a forked child."""

    def __init__(
        self,
        address: Address,
        table: RabbitTable,
        *,
        name: str,
        type: ExchangeType = "fanout",
        lease_s: float = 60.0,
        crashes_max: int = 3,
        suspect_wait_s: float = 60.0,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """`name`: the crawl's. Raises SettingsError when it cannot name a queue."""
        self._thread = Thread()
        self._timeout_s = table.timeout_s
        terms = Terms(
            lease_ms=round(lease_s * 1_000),
            crashes_max=crashes_max,
            suspect_wait_ms=round(suspect_wait_s * 1_000),
            prefetch=table.prefetch,
            quorum=table.queues == "quorum",
        )
        self._make = partial(State, names_of(name), type, address, table, terms, clock, uid=os.urandom(8).hex())
        self._state: State | None = None

    def _run(self, work: Callable[[State], Coroutine[Any, Any, T]], timeout_s: float = 0.0) -> T:
        return self._thread.run(self._with_state(work), timeout_s or self._timeout_s)

    async def _with_state(self, work: Callable[[State], Coroutine[Any, Any, T]]) -> T:
        if self._state is None:
            self._state = self._make()
        return await work(self._state)

    def declare(self, queues: Sequence[Queue]) -> None:
        """Raises SettingsError for a queue that exists with other arguments."""
        self._run(lambda state: state.declare(queues))

    def publish(self, messages: Sequence[Message]) -> None:
        """Also waits while a queue is full or the broker has an alarm; then BackendError: give the same messages
        again, and none that is safe already goes twice. BadRecord: one of them is nothing that AMQP can carry (a kind
        or an id of more than 255 bytes); give the others again."""
        if messages:
            bodies = [(message, encode_message(message)) for message in messages]
            self._run(lambda state: state.publish(bodies))

    def lease(
        self, queue: str, count: int, *, consumer: str, request_id: str, bytes_max: int = 0
    ) -> tuple[Delivery, ...]:
        """A consumer serves one queue. The first call of a process begins to consume it."""
        given = self._run(lambda state: state.lease(queue, (count, bytes_max), consumer, request_id))
        return self._deliveries(given)

    def _deliveries(self, given: Sequence[tuple[str, Held]]) -> tuple[Delivery, ...]:
        """A record that was damaged is buried at once: it must not come round for ever."""
        deliveries: list[Delivery] = []
        damaged: list[Settlement] = []
        for token, held in given:
            card = held.card
            try:
                message = decode_message(card.body)
            except BadRecord as error:
                damaged.append(Settlement(token, Bury(DAMAGED, str(error))))
                continue
            deliveries.append(
                Delivery(token=token, message=message, attempts=card.attempts, crashes=card.crashes, alone=held.alone)
            )
        if damaged:
            self.settle(damaged)
        return tuple(deliveries)

    def settle(self, settlements: Sequence[Settlement]) -> tuple[str, ...]:
        return self._run(lambda state: state.settle(settlements)) if settlements else ()

    def renew(self, tokens: Sequence[str]) -> tuple[str, ...]:
        """Within this process."""
        return self._run(lambda state: state.renew(tokens)) if tokens else ()

    def release(self, tokens: Sequence[str]) -> None:
        """Within this process. A suspect goes behind the others."""
        if tokens:
            self._run(lambda state: state.release(tokens))

    def forfeit(self, consumer: str) -> int:
        """Of this process's consumers. Another process's death is noticed by the broker itself; 0 then."""
        return self._run(lambda state: state.forfeit(consumer)) if self._thread.began else 0

    def counts(self) -> dict[str, QueueCounts]:
        """`done` is that of the consumers that are alive; `oldest_ready_s` is 0 for a queue that nobody consumes. Cost:
        nine trips a queue, and a question to each consumer."""
        return self._run(State.counts)

    def unrouted(self) -> int:
        """Items that no pipeline was bound to: the last 100 MB are kept. Cost: one trip."""
        return self._run(State.unrouted)

    def dead(
        self, *, queue: str | None = None, reason: str | None = None, limit: int = 100, after: int = 0
    ) -> tuple[DeadItem, ...]:
        return self._run(lambda state: state.dead(queue, reason, limit, after), MANY_S)

    def kick(self, *, queue: str | None = None, reason: str | None = None, id: str | None = None) -> int:
        return self._run(lambda state: state.take_dead(queue, reason, id, back=True), MANY_S)

    def drop(self, *, queue: str | None = None, reason: str | None = None, id: str | None = None) -> int:
        return self._run(lambda state: state.take_dead(queue, reason, id, back=False), MANY_S)

    def clear(self) -> None:
        """The queues stay declared. What other processes hold now is stored by them."""
        self._run(State.clear, MANY_S)

    def remove(self) -> None:
        """Delete everything that the crawl has on the broker."""
        self._run(State.remove, MANY_S)

    def close(self) -> None:
        """Messages that were sent ahead and not leased go back, uncharged; leases are the next consumer's suspects."""
        if self._thread.began:
            with suppress(CrawlError):  # the broker is away: it takes back what it gave by itself
                self._run(State.close)
            self._thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
