"""Consuming one queue on one connection: its channels, what came through them, and what goes back.

A desk ends with its connection. Tags belong to their channel, so nothing of an old desk is ever acknowledged on a new
one: its tokens are stale, and the broker gives its messages out again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, Final

from crawler.error import BackendError, CrawlError
from crawler.exchange.rabbit.ahead import Ahead
from crawler.exchange.rabbit.hand import Hand, Held, Most
from crawler.exchange.rabbit.intake import Taker
from crawler.exchange.rabbit.mover import Mover, Pile, Terms
from crawler.exchange.rabbit.names import Line
from crawler.exchange.rabbit.posting import Card, card_of
from crawler.frontier import REAP_MAX

LATER_MAX: Final = 500
"""Delayed messages that one process keeps until they are due; the others wait on the broker."""
HOLD_S_MAX: Final = 600.0
"""What was not acknowledged for so long goes back to the broker, which else closes the channel after 30 minutes."""
IDLE_S: Final = 1.0
"""A consumer that finds nothing asks the broker itself so often, whether it has anything."""
CATCH_UP_TRIES: Final = 25
CATCH_UP_S: Final = 0.002
"""Wait for what the broker has and has not sent yet."""


class Desk:
    """Begins with `open`. In the loop's thread only."""

    def __init__(
        self,
        line: Line,
        hand: Hand,
        moves: Mover,
        piles: tuple[Pile, Pile],
        *,
        terms: Terms,
        clock: Callable[[], int],
        survived: set[str],
    ) -> None:
        """`piles`: for the main and the suspects' queue, and for the delayed one. `survived`: ids that this process
        held when it lost its connection: that they come again says nothing against them."""
        self.hand = hand
        self.moves = moves
        self.error: CrawlError | None = None
        """Why it is at its end, though the connection may stand."""
        self.stirred = True
        """This process put something into the main or the delayed queue, that it may be asked for at once."""
        self._line = line
        self._work, self._later = piles
        self._ahead = Ahead(terms.prefetch)
        self._quorum = terms.quorum
        self._fitting: asyncio.Task[None] | None = None
        self._closing = False
        self._clock = clock
        self._survived = survived
        self._strays: list[Card] = []
        self._caught_up_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Begin to consume. Raises BackendError, SettingsError."""
        for pile, queue, most, arrived in (
            (self._work, self._line.main, self._ahead.now, Taker(self._on_message, "main")),
            (self._later, self._line.delayed, LATER_MAX, Taker(self._on_delayed, "delayed")),
        ):
            channel = pile.channel
            channel.on_refused = self._end
            channel.raw.add_on_cancel_callback(lambda frame: self._end(BackendError(f"{self._line.main}: deleted")))
            await channel.call("basic_qos", prefetch_count=most)
            await channel.call("basic_consume", queue, arrived)

    @property
    def is_open(self) -> bool:
        return self.error is None and self._work.channel.is_open and self._later.channel.is_open

    @property
    def consumers(self) -> int:
        """As the broker counts those of the main queue."""
        return 1 + (len(self._work.old()) if self._quorum else 0)

    def _end(self, error: CrawlError) -> None:
        self.error = self.error or error

    def end(self) -> None:
        """Give all back to the broker; it marks what it had sent as redelivered."""
        self._end(BackendError("RabbitMQ: this desk is closed"))
        for pile in (self._work, self._later):
            pile.channel.close()
        for task in self._tasks:
            task.cancel()

    def check_age(self) -> None:
        """End it when something was kept for too long: a store is away, and the broker would lose its patience."""
        for pile in (self._work, self._later):
            if pile.tags and monotonic() - next(iter(pile.tags.values())) > HOLD_S_MAX:
                self.end()

    def _on_message(self, card: Card) -> None:
        self._work.tags[card.tag] = monotonic()
        self._ahead.came(len(card.body))
        if self._fitting is None and self._work.is_full(self._ahead.now):
            self._fit()
        if card.redelivered and not self._has_survived(card):
            self._strays.append(card)
            self.hand.take_out([card])
            self.hand.received += 1
            if len(self._strays) == 1:
                self._begin(self._send_strays())
        elif not self.hand.arrive(card, self._clock()):
            self._work.ack([card])

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _fit(self) -> None:
        """Let the broker send ahead what there is room for, if that is not what it does. While the consumer is full
        nothing is on its way to it: what comes to one that ends would be given out again, marked."""
        wanted = self._ahead.wanted()
        if wanted != self._ahead.now and not self._closing:
            self._ahead.now = wanted
            self._work.hold()
            self._fitting = self._begin(self._refit(wanted))

    async def _refit(self, prefetch: int) -> None:
        """A consumer keeps the prefetch that it began with: the next one begins, then the old one ends, so that nobody
        ever counts the queue as one without consumers. Cost: three trips."""
        channel = self._work.channel
        try:
            old = list(channel.raw.consumer_tags)
            await channel.call("basic_qos", prefetch_count=prefetch)
            end = self._work.last  # its first messages come together with the broker's answer
            await channel.call("basic_consume", self._line.main, Taker(self._on_message, "main"))
            self._work.begin(end)
            for consumer in old:
                await channel.stop(consumer, self._line.main)
        except CrawlError as error:
            self._end(error)
        finally:
            self._fitting = None
            self._work.go_on()

    def _has_survived(self, card: Card) -> bool:
        """Whether it comes again because this process lost its connection, not its life. Says so once."""
        known = card.id in self._survived
        self._survived.discard(card.id)
        return known

    def _on_delayed(self, card: Card) -> None:
        self._later.tags[card.tag] = monotonic()
        if not self.hand.arrive(card, self._clock()):
            self._later.ack([card])

    async def _send_strays(self) -> None:
        """Their consumer died, or lost its connection: each is to be tried alone."""
        while self._strays:
            cards, self._strays = self._strays, []
            try:
                await self.moves.suspect(cards)
            except CrawlError as error:
                self._end(error)
                asyncio.get_running_loop().call_soon(self.end)  # what is in hand goes back, and all begins anew

    async def lease(self, most: Most, consumer: str, request_id: str, now_ms: int) -> list[tuple[str, Held]]:
        """As `crawler/exchange/line.py` does it, with the broker for a memory."""
        hand = self.hand
        await self.moves.mourn(hand.lapsed(now_ms))
        repeated = hand.repeated(request_id)
        if repeated is not None:
            return repeated
        if self.stirred or (not hand.ready and monotonic() - self._caught_up_s > IDLE_S):
            await self.catch_up()
        verdict = hand.verdict(most[0], consumer, now_ms)
        if verdict == "ready":
            if await self.moves.promote(now_ms):
                await self.catch_up()
            given = hand.give(most, consumer, request_id, now_ms)
            if given or not hand.may_try(consumer):
                return given
            verdict = "suspect"
        return await self._try_one(consumer, request_id, now_ms) if verdict == "suspect" else []

    async def catch_up(self) -> None:
        """Wait until what the broker has for this process is here. Cost: five trips and more."""
        self.stirred = False
        await self._catch_up(self._later, self._line.delayed, lambda: LATER_MAX)
        left = (await self._work.channel.call("queue_declare", self._line.suspects, passive=True)).message_count
        self.hand.count_suspects(left, self._clock())
        await self._catch_up(self._work, self._line.main, lambda: self._ahead.now)
        self._caught_up_s = monotonic()

    async def _catch_up(self, pile: Pile, queue: str, most: Callable[[], int]) -> None:
        for _ in range(CATCH_UP_TRIES):
            left = (await pile.channel.call("queue_declare", queue, passive=True)).message_count
            if not left or (self._fitting is None and pile.is_full(most())):
                break
            await asyncio.sleep(CATCH_UP_S)
        # It counted before it sent what it no longer counts; a second answer comes behind all that.
        await pile.channel.call("queue_declare", queue, passive=True)
        while self._strays or any(not task.done() for task in self._tasks):
            await asyncio.sleep(CATCH_UP_S)

    async def _try_one(self, consumer: str, request_id: str, now_ms: int) -> list[tuple[str, Held]]:
        """The first suspect. One that comes again was in the hands of somebody who died: charged, to the end."""
        self.hand.begin_trial(consumer)
        left = len(self.hand.suspects)
        try:
            for _ in range(REAP_MAX):
                got = await self._work.channel.get(self._line.suspects)
                if got is None:
                    left = 0
                    return []
                left = got.left
                card = card_of(got.method, got.properties, got.body, "suspects", now_ms)
                self._work.tags[card.tag] = monotonic()
                if not card.redelivered or self._has_survived(card):
                    return self.hand.give_alone(card, consumer, request_id, now_ms)
                self.hand.take_out([card])
                await self.moves.suspect([card], alone=frozenset({card.tag}))
                left += 1
            return []
        finally:
            self.hand.end_trial(consumer, left, now_ms)

    async def clear(self) -> None:
        """Drop what is here, and what the broker has sent already."""
        await self.catch_up()
        self.moves.ack(self.hand.clear())

    async def give_back(self) -> None:
        """At an orderly end: nobody died, so what was not started goes back unmarked."""
        self._closing = True
        if self._fitting is not None:
            await asyncio.wait([self._fitting])
        for pile, queue, most in (
            (self._work, self._line.main, self._ahead.now),
            (self._later, self._line.delayed, LATER_MAX),
        ):
            await self._catch_up(pile, queue, lambda most=most: most)  # type: ignore[misc]
            for consumer in list(pile.channel.raw.consumer_tags):
                await pile.channel.stop(consumer, queue)
        cards = self.hand.take_out(list(self.hand.ready))
        self.hand.ready.clear()
        await self.moves.move(cards, [self.moves.to_main(card) for card in cards])
