"""What a crawl has on the broker: names, arguments and bindings. Pure.

    exchange  crawler.NAME.items.v1           exchange.type; items, by kind; what nobody is bound to goes to unrouted
    exchange  crawler.NAME.own.v1             direct; outcomes (log) and raw pages, to the queues bound to them alone
    exchange  crawler.NAME.ask.v1             fanout; questions to the consumers: what do you hold?
    queue     crawler.NAME.items.unrouted.v1  items for nobody; the oldest go when it is full
    queue     crawler.NAME.items.register.v1  one message: the pipelines and what they are bound to
    and for each pipeline PIPE:
    queue     crawler.NAME.PIPE.v1            its messages
    queue     crawler.NAME.PIPE.suspects.v1   whose consumer died; each is tried alone
    queue     crawler.NAME.PIPE.delayed.v1    to be tried again later
    queue     crawler.NAME.PIPE.dead.v1       buried; headers reason, detail, attempts, crashes, died

All durable. Arguments cannot be changed later, so names carry a version; nothing here is refused by RabbitMQ 4.x
(no mirrored queues, no transient ones that are shared, no x-queue-mode, no x-queue-version) or unknown to 3.10.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from crawler.error import SettingsError
from crawler.exchange import HISTORY
from crawler.exchange.routing import ExchangeType, is_raw
from crawler.model import LOG_KIND, RAW_KIND
from crawler.tables import RabbitTable

PREFIX: Final = "crawler."
NAME_BYTES_MAX: Final = 255
"""Of a queue's name (AMQP 0-9-1 short string)."""
UNROUTED_BYTES_MAX: Final = 100_000_000
DELIVERIES_MAX: Final = 100
"""A message that was given out so often without anybody counting it goes to the dead letters: the last net under a
message that kills whoever receives it. 4.x would else take 20."""
DELIVERIES_ANY: Final = 2_000_000_000
"""For queues whose messages are looked at and put back."""

SUFFIXES: Final = ("", ".suspects", ".delayed", ".dead")


class Line(msgspec.Struct, frozen=True):
    """The queues of one pipeline."""

    main: str
    suspects: str
    delayed: str
    dead: str

    def all(self) -> tuple[str, ...]:
        return (self.main, self.suspects, self.delayed, self.dead)


class Names(msgspec.Struct, frozen=True):
    """Of one crawl. Made by `of`."""

    prefix: str

    @property
    def items(self) -> str:
        return f"{self.prefix}.items.v1"

    @property
    def own(self) -> str:
        return f"{self.prefix}.own.v1"

    @property
    def ask(self) -> str:
        return f"{self.prefix}.ask.v1"

    @property
    def unrouted(self) -> str:
        """The exchange and its queue."""
        return f"{self.prefix}.items.unrouted.v1"

    @property
    def register(self) -> str:
        return f"{self.prefix}.items.register.v1"

    def line(self, queue: str) -> Line:
        return Line(*(f"{self.prefix}.{queue}{suffix}.v1" for suffix in SUFFIXES))

    def asked(self, uid: str) -> str:
        """The queue in which one process gets questions."""
        return f"{self.prefix}.ask.{uid}.v1"


def names_of(crawl: str) -> Names:
    """Dots are encoded too, so that no crawl's queue can be taken for another's. Raises SettingsError: too long."""
    prefix = PREFIX + quote(crawl, safe="").replace(".", "%2E")
    if len(prefix) > NAME_BYTES_MAX - 90:
        raise SettingsError(f"crawl.name: too long for a queue of RabbitMQ: {crawl[:80]}…")
    return Names(prefix)


def exchange_for(names: Names, kind: str) -> str:
    """Where a message of this kind is published; its routing key is the kind."""
    return names.own if kind in (LOG_KIND, RAW_KIND) else names.items


def bindings(names: Names, type: ExchangeType, queue: str, bind: Sequence[str]) -> set[tuple[str, str]]:
    """(exchange, routing key) of a pipeline's queue."""
    if queue == HISTORY:
        return {(names.own, LOG_KIND)}
    if is_raw(bind):
        return {(names.own, RAW_KIND)}
    return {(names.items, "")} if type == "fanout" else {(names.items, key) for key in bind}


def arguments(names: Names, queue: str, table: RabbitTable) -> dict[str, dict[str, Any]]:
    """Queue name -> arguments, of one pipeline's queues."""
    line = names.line(queue)
    dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": line.dead}
    full = {"x-max-length-bytes": table.queue_bytes_max} if table.queue_bytes_max else {}
    if table.queues == "classic":
        kind = {"x-queue-type": "classic", "x-overflow": "reject-publish"}
        return {
            line.main: {**kind, **dead, **full},
            line.suspects: {**kind, **dead},
            line.delayed: dict(kind),
            line.dead: dict(kind),
        }
    kind = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
    safe = {**kind, **dead, "x-dead-letter-strategy": "at-least-once", "x-delivery-limit": DELIVERIES_MAX}
    kept = {**kind, "x-delivery-limit": DELIVERIES_ANY}
    return {line.main: {**safe, **full}, line.suspects: safe, line.delayed: kept, line.dead: dict(kept)}


def register_arguments(table: RabbitTable) -> dict[str, Any]:
    kind = {"x-queue-type": table.queues, "x-max-length": 1, "x-overflow": "drop-head"}
    return kind if table.queues == "classic" else {**kind, "x-delivery-limit": DELIVERIES_ANY}


def unrouted_arguments(table: RabbitTable) -> dict[str, Any]:
    kind = {"x-queue-type": table.queues, "x-max-length-bytes": UNROUTED_BYTES_MAX, "x-overflow": "drop-head"}
    return kind if table.queues == "classic" else {**kind, "x-delivery-limit": DELIVERIES_ANY}
