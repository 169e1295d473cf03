"""Messages as they are published, in a queue of this process's own: the pipelines' queues are not touched.

The queue is bound only as pipelines' queues are: a message that no pipeline takes stays one that nobody takes, and
goes where those are kept.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

from crawler.codec import decode_message
from crawler.error import BackendError, BadRecord, SettingsError
from crawler.exchange.rabbit.address import Address
from crawler.exchange.rabbit.direct import Direct
from crawler.exchange.rabbit.failure import Missing
from crawler.exchange.rabbit.names import bindings, names_of
from crawler.exchange.routing import ExchangeType
from crawler.model import Message, Queue
from crawler.tables import RabbitTable

AHEAD_MAX: Final = 10_000
"""Messages that wait for a slow reader at most; of more the oldest are left out."""

QUIET_S: Final = 0.25
AGAIN_S: Final = 1.0

_log = logging.getLogger(__name__)


def messages(
    address: Address, table: RabbitTable, crawl: str, exchange_type: ExchangeType, queues: Sequence[Queue]
) -> Iterator[Message | None]:
    """What goes to any of these pipelines' queues from now on, without end; None when nothing came for a while. While
    the broker is away it is waited for, and what is published then is missed.

    Raises SettingsError (no such queue, no access), BackendError (no broker at the start). Cost: one copy a message."""
    direct = _begin(address, table, crawl, exchange_type, queues, worked=False)
    while True:
        try:
            yield from _flow(direct)
        except BackendError as error:
            _log.warning("%s; what is published meanwhile is not shown", error)
        finally:
            direct.close()
        while True:
            yield None
            time.sleep(AGAIN_S)
            try:
                direct = _begin(address, table, crawl, exchange_type, queues, worked=True)
                break
            except BackendError:
                continue


def _begin(
    address: Address,
    table: RabbitTable,
    crawl: str,
    exchange_type: ExchangeType,
    queues: Sequence[Queue],
    *,
    worked: bool,
) -> Direct:
    """A connection with a queue that goes with it."""
    names = names_of(crawl)
    direct = Direct(address, table, name=f"crawler:{crawl}:tail", worked=worked)
    try:
        with direct.told():
            for queue in queues:
                if queue.name:
                    direct.channel.queue_declare(names.line(queue.name).main, passive=True)
            direct.queue = names.asked(f"tail-{os.urandom(8).hex()}")
            arguments = {"x-max-length": AHEAD_MAX, "x-overflow": "drop-head"}
            direct.channel.queue_declare(direct.queue, exclusive=True, auto_delete=True, arguments=arguments)
            for queue in queues:
                for exchange, key in bindings(names, exchange_type, queue.name, queue.bind):
                    direct.channel.queue_bind(direct.queue, exchange, key)
    except Missing:
        direct.close()
        if worked:
            raise
        wanted = ", ".join(queue.name for queue in queues if queue.name) or "any"
        raise SettingsError(f"no pipeline {wanted} of crawl {crawl} on RabbitMQ at {direct.where}") from None
    except BaseException:
        direct.close()
        raise
    return direct


def _flow(direct: Direct) -> Iterator[Message | None]:
    """Until the connection is lost. Raises BackendError."""
    come: deque[bytes] = deque()

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        come.append(body)
        if len(come) >= AHEAD_MAX:
            come.popleft()

    with direct.told():
        direct.channel.basic_consume(direct.queue, on_message, auto_ack=True, exclusive=True)
    while True:
        direct.pump(0 if come else QUIET_S)
        if not come:
            yield None
        while come:
            try:
                yield decode_message(come.popleft())
            except BadRecord:  # its consumer will say so
                continue
