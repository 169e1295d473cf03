"""What the consumers hold, which AMQP does not tell: they are asked, and answer.

A question goes to the exchange `ask`, which copies it to each consuming process's own queue; the answer comes straight
back (RabbitMQ's direct reply-to). The broker tells how many consumers a queue has, so missing answers are noticed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import pika  # type: ignore[import-untyped]

from crawler.error import CrawlError
from crawler.exchange.rabbit.channel import Channel
from crawler.exchange.rabbit.desk import Desk
from crawler.exchange.rabbit.link import Link
from crawler.exchange.rabbit.names import Names

ANSWER_S_MAX: Final = 1.0
"""A process that has not answered by then is taken to hold something."""
_REPLY_TO: Final = "amq.rabbitmq.reply-to"

_log = logging.getLogger(__name__)


class Held(msgspec.Struct, frozen=True):
    """One process's part of one queue."""

    ready: int = 0
    leased: int = 0
    delayed: int = 0
    done: int = 0
    received: int = 0
    """Messages that ever came."""
    oldest_ms: int = 0
    """When the first of what is ready was published; 0: nothing is."""
    consumers: int = 1
    """As which the broker counts it."""


class Answer(msgspec.Struct, frozen=True):
    uid: str
    queues: dict[str, Held]


class Answering:
    """Of a process that consumes."""

    def __init__(self, names: Names, uid: str, desks: Callable[[], Mapping[str, Desk]]) -> None:
        self._names = names
        self._uid = uid
        self._desks = desks
        self._times = 0
        self._channel: Channel | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, link: Link) -> None:
        self._channel = channel = await link.channel()
        # A name of its own each time: the old connection may still be there for the broker, and it is exclusive.
        self._times += 1
        name = self._names.asked(f"{self._uid}-{self._times}")
        await channel.call("queue_declare", name, exclusive=True, auto_delete=True)
        await channel.call("queue_bind", name, self._names.ask, "")
        await channel.call("basic_consume", name, self._asked, auto_ack=True)

    def _asked(self, raw: Any, method: Any, properties: Any, body: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(properties))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, asked: Any) -> None:
        try:
            held = {queue: await self._held(desk) for queue, desk in self._desks().items() if desk.is_open}
        except CrawlError as error:  # no answer: we count as holding something
            _log.debug("no answer: %s", error)
            return
        channel = self._channel
        if channel is not None and channel.is_open:
            told = pika.BasicProperties(correlation_id=asked.correlation_id)
            channel.raw.basic_publish("", asked.reply_to, msgspec.json.encode(Answer(self._uid, held)), told)

    @staticmethod
    async def _held(desk: Desk) -> Held:
        """What the broker sent before it was asked is in hand."""
        hand = desk.hand
        if desk.stirred or not (hand.held or hand.ready):
            await desk.catch_up()
        return Held(
            ready=len(hand.ready),
            leased=len(hand.held) + len(hand.moving),
            delayed=len(hand.later),
            done=hand.done,
            received=hand.received,
            oldest_ms=hand.oldest_ms(),
            consumers=desk.consumers,
        )


class Asking:
    """Of a process that wants to know. `channel`: gives the channel for calls."""

    def __init__(self, names: Names, channel: Callable[[], Any]) -> None:
        self._names = names
        self._channel_of = channel
        self._channel: Channel | None = None
        self._asked = 0
        self._answers: dict[str, Answer] = {}
        self._come = asyncio.Event()
        self._lock = asyncio.Lock()

    async def ask(self, consumers: Mapping[str, int]) -> dict[str, Answer]:
        """Answers by process. `consumers`: of each queue, as the broker counts them. Cost: one trip to each process,
        ANSWER_S_MAX when one does not answer."""
        if not any(consumers.values()):
            return {}
        async with self._lock:
            channel: Channel = await self._channel_of()
            if channel is not self._channel:
                await channel.call("basic_consume", _REPLY_TO, self._answered, auto_ack=True)
                self._channel = channel
            self._asked += 1
            self._answers.clear()
            told = pika.BasicProperties(reply_to=_REPLY_TO, correlation_id=str(self._asked))
            channel.raw.basic_publish(self._names.ask, "", b"", told)
            try:
                async with asyncio.timeout(ANSWER_S_MAX):
                    while any(missing(consumers, self._answers).values()):
                        self._come.clear()
                        await self._come.wait()
            except TimeoutError:
                channel.check()
            return dict(self._answers)

    def _answered(self, raw: Any, method: Any, properties: Any, body: bytes) -> None:
        if properties.correlation_id != str(self._asked):
            return
        try:
            answer = msgspec.json.decode(body, type=Answer)
        except msgspec.MsgspecError as error:
            _log.warning("RabbitMQ: an answer that is none: %s", error)
            return
        self._answers[answer.uid] = answer
        self._come.set()


def missing(consumers: Mapping[str, int], answers: Mapping[str, Answer]) -> dict[str, int]:
    """Queue -> consumers that have not answered."""
    return {
        queue: max(0, count - sum(one.queues[queue].consumers for one in answers.values() if queue in one.queues))
        for queue, count in consumers.items()
    }


def unchanged(queue: str, before: Mapping[str, Answer], after: Mapping[str, Answer]) -> bool:
    """Whether nothing of a queue was in anybody's hands between two questions."""

    def held(answers: Mapping[str, Answer]) -> dict[str, int]:
        found = {uid: answer.queues[queue] for uid, answer in answers.items() if queue in answer.queues}
        return {uid: one.received if not one.leased + one.ready + one.delayed else -1 for uid, one in found.items()}

    first = held(before)
    return first == held(after) and -1 not in first.values()
