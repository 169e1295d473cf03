"""A durable queue of seeds, which any program in any language may publish to (`crawler/seed_amqp.py` says what)."""

from __future__ import annotations

from collections import deque
from typing import Any, Final, NamedTuple

import pika  # type: ignore[import-untyped]

from crawler.error import BackendError
from crawler.exchange.rabbit.address import Address
from crawler.exchange.rabbit.direct import Direct
from crawler.exchange.rabbit.failure import Missing
from crawler.exchange.rabbit.names import DELIVERIES_ANY
from crawler.exchange.rabbit.posting import PERSISTENT, why_dead
from crawler.tables import RabbitTable

AHEAD_MAX: Final = 2_000
"""Messages given to this process and not acknowledged at most."""

TAKE_MAX: Final = 1_000
"""Messages taken at a time."""


class Letter(NamedTuple):
    """A message as it came. `tag` is of the connection that it came through."""

    tag: int
    body: bytes


class SeedQueue:
    """Connects when it is first used, and again after it was lost: what was not ended then comes again."""

    def __init__(self, address: Address, table: RabbitTable, queue: str) -> None:
        self.name = queue
        self._address = address
        self._table = table
        self._direct: Direct | None = None
        self._worked = False
        self._come: deque[Letter] = deque()

    @property
    def dead(self) -> str:
        """The queue of those that are no seeds."""
        return f"{self.name}.dead"

    def take(self, wait_s: float) -> list[Letter]:
        """What has come, in order; none after `wait_s`. Raises SettingsError when it cannot be reached or made at the
        first time, BackendError."""
        direct = self._open()
        if not self._come:
            self._pump(direct, wait_s)
        return [self._come.popleft() for _ in range(min(TAKE_MAX, len(self._come)))]

    def pump(self, wait_s: float) -> None:
        """Stay connected for so long while nothing is taken. Raises BackendError."""
        self._pump(self._open(), wait_s)

    def end(self, last: Letter) -> None:
        """This one and all taken before it are safe elsewhere. Raises BackendError: they come again."""
        direct = self._open()
        try:
            with direct.told():
                direct.channel.basic_ack(last.tag, multiple=True)
        except BackendError:
            self._lose()
            raise

    def bury(self, body: bytes, reason: str, detail: str) -> None:
        """Put a message into the queue of the dead, with headers `reason` and `detail`; returns when it is safe there.
        Raises BackendError."""
        direct = self._open()
        headers = {**why_dead(reason, detail), "queue": self.name}
        properties = pika.BasicProperties(delivery_mode=PERSISTENT, headers=headers)
        try:
            with direct.told():
                direct.channel.basic_publish("", self.dead, body, properties, mandatory=True)
        except BackendError:
            self._lose()
            raise

    def is_empty(self) -> bool:
        """Nothing waits in it, and nothing was given to this process and not taken. Raises BackendError."""
        direct = self._open()
        try:
            with direct.told():
                waiting: int = direct.channel.queue_declare(self.name, passive=True).method.message_count
        except BackendError:
            self._lose()
            raise
        return not waiting and not self._come

    def close(self) -> None:
        """What was taken and not ended goes back."""
        self._lose()

    def _pump(self, direct: Direct, wait_s: float) -> None:
        try:
            direct.pump(wait_s)
        except BackendError:
            self._lose()
            raise

    def _lose(self) -> None:
        self._come.clear()
        direct, self._direct = self._direct, None
        if direct is not None:
            direct.close()

    def _open(self) -> Direct:
        if self._direct is None:
            direct = self._begin()
            self._direct, self._worked = direct, True
        return self._direct

    def _begin(self) -> Direct:
        """A connection on which the queue is consumed; queues that are not there are made, others stay as they are."""
        direct = Direct(self._address, self._table, name=f"crawler::seeds {self.name}", worked=self._worked)
        try:
            kind = {"x-queue-type": self._table.queues}
            limit = {"x-delivery-limit": DELIVERIES_ANY} if self._table.queues == "quorum" else {}
            for queue in (self.name, self.dead):
                try:
                    with direct.told():
                        direct.channel.queue_declare(queue, passive=True)
                except Missing:
                    direct.renew()
                    with direct.told():
                        direct.channel.queue_declare(queue, durable=True, arguments={**kind, **limit})
            with direct.told():
                direct.channel.confirm_delivery()
                direct.channel.basic_qos(prefetch_count=AHEAD_MAX)
                direct.channel.basic_consume(self.name, self._on_message)
        except BaseException:
            direct.close()
            raise
        return direct

    def _on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._come.append(Letter(method.delivery_tag, body))
