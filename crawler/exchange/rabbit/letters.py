"""Counting what is on the broker, and handling dead letters: what people ask for, not consumers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, Final

import msgspec

from crawler.codec import decode_message
from crawler.error import BadRecord
from crawler.exchange.rabbit.asking import Answer, Asking, missing, unchanged
from crawler.exchange.rabbit.channel import Channel
from crawler.exchange.rabbit.link import Link
from crawler.exchange.rabbit.names import Names
from crawler.exchange.rabbit.posting import NS_IN_MS, Card, Posting, card_of, moved
from crawler.exchange.rabbit.publisher import Publisher
from crawler.model import DeadItem, Message
from crawler.view import QueueCounts

LETTERS_MAX: Final = 100_000
"""Dead letters of one queue that are looked at together at most."""
QUIET_S: Final = 1.0
"""Without a further one for so long, the rest is in somebody else's hands."""
GIVEN_UP: Final = "delivery_limit"
"""Reason of what the broker itself buried, because it was given out too often without being counted."""


class Letter(msgspec.Struct, frozen=True):
    """A dead letter in hand."""

    queue: str
    card: Card
    reason: str
    detail: str
    died: int


class OnBroker(msgspec.Struct, frozen=True):
    """What the broker counts of one pipeline's queues."""

    ready: int
    suspects: int
    delayed: int
    dead: int
    consumers: int


async def on_broker(channel: Channel, names: Names, queue: str) -> OnBroker:
    """Cost: four trips."""
    found = [await channel.call("queue_declare", name, passive=True) for name in names.line(queue).all()]
    counts = [one.message_count for one in found]
    return OnBroker(counts[0], counts[1], counts[2], counts[3], found[0].consumer_count)


async def counts(
    channel: Channel, names: Names, queues: Sequence[str], asking: Asking, now_ms: int
) -> dict[str, QueueCounts]:
    """Never says that a queue is empty while somebody holds a message of it: a message goes from queue to hand to
    queue, so an empty one is looked at twice, and its consumers are asked before, between and after."""
    consumers = {queue: (await on_broker(channel, names, queue)).consumers for queue in queues}
    answers = await asking.ask(consumers)
    seen = {queue: await on_broker(channel, names, queue) for queue in queues}
    found = {queue: _counted(queue, one, answers, now_ms) for queue, one in seen.items()}
    empty = [queue for queue, one in found.items() if seen[queue].consumers and not _unstored(one)]
    if empty:
        again = await asking.ask({queue: one.consumers for queue, one in seen.items()})
        for queue in empty:
            if missing({queue: seen[queue].consumers}, again)[queue] or not unchanged(queue, answers, again):
                found[queue] = msgspec.structs.replace(found[queue], leased=1)
    return found


def _unstored(one: QueueCounts) -> int:
    return one.ready + one.delayed + one.leased + one.suspects


def _counted(queue: str, seen: OnBroker, answers: Mapping[str, Answer], now_ms: int) -> QueueCounts:
    held = [answer.queues[queue] for answer in answers.values() if queue in answer.queues]
    oldest_ms = min((one.oldest_ms for one in held if one.oldest_ms), default=0)
    return QueueCounts(
        ready=seen.ready + sum(one.ready for one in held),
        delayed=seen.delayed + sum(one.delayed for one in held),
        leased=sum(one.leased for one in held) + missing({queue: seen.consumers}, answers)[queue],
        suspects=seen.suspects,
        dead=seen.dead,
        done=sum(one.done for one in held),
        oldest_ready_s=max(0, now_ms - oldest_ms) / 1_000 if oldest_ms else 0.0,
    )


@asynccontextmanager
async def letters(link: Link, names: Names, queue: str, most: int) -> AsyncIterator[tuple[Channel, list[Letter]]]:
    """The first dead letters of a queue, in order of death; those not acknowledged go back to their place at the end.
    Cost: as many trips as a consumer's, all of them in memory."""
    channel = await link.channel()
    try:
        name = names.line(queue).dead
        there = (await channel.call("queue_declare", name, passive=True)).message_count
        wanted = min(there, most, LETTERS_MAX)
        found: list[Letter] = []
        heard_s = [monotonic()]

        def arrived(raw: Any, method: Any, properties: Any, body: bytes) -> None:
            if len(found) < wanted:
                found.append(_letter(queue, method, properties, body))
            heard_s[0] = monotonic()

        if wanted:
            await channel.call("basic_qos", prefetch_count=min(wanted, 65_535))
            await channel.call("basic_consume", name, arrived)
            while len(found) < wanted and monotonic() - heard_s[0] < QUIET_S:
                channel.check()
                await asyncio.sleep(0.002)
        yield channel, sorted(found, key=lambda letter: letter.died)
    finally:
        channel.close()


def _letter(queue: str, method: Any, properties: Any, body: bytes) -> Letter:
    told = properties.headers or {}
    died = told.get("died", 0)
    broker = "" if died else str(told.get("x-first-death-reason", "")) or GIVEN_UP
    return Letter(
        queue=queue,
        card=card_of(method, properties, body, "main", 0),
        reason=str(told.get("reason", "")) or broker,
        detail=str(told.get("detail", "")),
        died=died if isinstance(died, int) else 0,
    )


def item(letter: Letter) -> DeadItem:
    card = letter.card
    return DeadItem(
        queue=letter.queue,
        message=_message(card.body),
        reason=letter.reason,
        detail=letter.detail,
        attempts=card.attempts,
        crashes=card.crashes,
        died_ms=letter.died // NS_IN_MS,
    )


def _message(body: bytes) -> Message:
    """Of a damaged record nothing is known; its reason and detail say the rest."""
    try:
        return decode_message(body)
    except BadRecord:
        return Message(id="", kind="", url="", fetched_at="", spider="")


async def take(
    link: Link, names: Names, queue: str, matching: Callable[[Letter], bool], publisher: Publisher | None
) -> int:
    """Take the matching dead letters of a queue: with a publisher back into their queue, uncharged; else away."""
    async with letters(link, names, queue, LETTERS_MAX) as (channel, found):
        some = [letter.card for letter in found if matching(letter)]
        if publisher is not None and some:
            main = names.line(queue).main
            fresh = [msgspec.structs.replace(card, attempts=0, crashes=0) for card in some]
            await publisher.send([Posting("", main, moved(card, again=1), card.body, mandatory=True) for card in fresh])
        for card in some:
            channel.raw.basic_ack(card.tag)
        return len(some)
