"""Messages of one queue from one place to the next: safe there, before they are gone here."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence

import msgspec

from crawler.exchange.line import crashed, due_ms
from crawler.exchange.rabbit.channel import Channel
from crawler.exchange.rabbit.hand import Hand, Held
from crawler.exchange.rabbit.names import Line
from crawler.exchange.rabbit.posting import Card, Numbers, Posting, moved, runs, why_dead
from crawler.exchange.rabbit.publisher import Publisher
from crawler.model import Bury, Done, Outcome


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    lease_ms: int
    crashes_max: int
    suspect_wait_ms: int
    prefetch: int
    quorum: bool
    """Kind of the queues: a quorum queue counts a consumer that ended until all that it got is acknowledged."""


class Pile:
    """What came through one channel and is not acknowledged."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.tags: dict[int, float] = {}
        """And when it came, by the monotonic clock; oldest first."""
        self._kept: list[Card] | None = None
        self._ends: list[int] = []
        """Last tags of the consumers before this one, as long as something of them is not acknowledged."""

    def hold(self) -> None:
        """Acknowledge nothing until `go_on`: the broker sends nothing more to a consumer that is full."""
        self._kept = []

    @property
    def last(self) -> int:
        """The tag of what came last, of all that is not acknowledged."""
        return next(reversed(self.tags), 0)

    def begin(self, end: int) -> None:
        """A new consumer has begun: what came to the end of the one before does not count for its prefetch."""
        self._ends.append(end)

    def go_on(self) -> None:
        kept, self._kept = self._kept or [], None
        self.ack(kept)

    def is_full(self, prefetch: int) -> bool:
        """Whether the broker may send the consumer nothing more. Cost: one look, more while old messages are left."""
        if len(self.tags) < prefetch:
            return False
        old = self.old()
        return not old or sum(tag > old[-1] for tag in self.tags) >= prefetch

    def old(self) -> list[int]:
        """The consumers that ended and left something here: their last tags."""
        if self._ends:
            tags, begin, kept = list(self.tags), 0, []
            for end in self._ends:
                if any(begin < tag <= end for tag in tags):
                    kept.append(end)
                begin = end
            self._ends = kept
        return self._ends

    def ack(self, cards: Sequence[Card]) -> None:
        """In as few frames as possible; nothing when the channel is gone."""
        if self._kept is not None:
            self._kept += cards
        elif self.channel.is_open:
            for tag, multiple in runs([card.tag for card in cards], self.tags):
                self.channel.raw.basic_ack(tag, multiple)


class Mover:
    """Of one desk. In the loop's thread only. All raise BackendError; what could not be moved is where it was."""

    def __init__(
        self,
        line: Line,
        hand: Hand,
        publisher: Publisher,
        terms: Terms,
        clock: Callable[[], int],
        numbers: Numbers,
        piles: tuple[Pile, Pile],
    ) -> None:
        """`piles`: what came from the main and the suspects' queue, and from the delayed one."""
        self._line = line
        self._hand = hand
        self._publisher = publisher
        self._terms = terms
        self._clock = clock
        self._numbers = numbers
        self._piles = piles

    async def suspect(self, cards: Sequence[Card], *, alone: frozenset[int] = frozenset()) -> None:
        """To the suspects; with a crash charged where the card's tag is in `alone`. Buried when those are too many."""
        now_ms = self._clock()
        postings, waiting = [], 0
        for card in sorted(cards):
            crashes = card.crashes + (card.tag in alone)
            replaced = msgspec.structs.replace(card, crashes=crashes)
            if card.tag in alone and crashes >= self._terms.crashes_max:
                postings.append(self._burial(replaced, crashed(crashes), self._numbers.next(now_ms)))
            else:
                waiting += 1
                postings.append(self._suspicion(replaced, now_ms))
        self._hand.sent_away(cards, now_ms)
        await self.move(cards, postings)
        for _ in range(waiting):
            bisect.insort(self._hand.suspects, now_ms)

    def _suspicion(self, card: Card, since_ms: int) -> Posting:
        return Posting("", self._line.suspects, moved(card, since_ms=since_ms), card.body, mandatory=True)

    def _burial(self, card: Card, why: Bury, died: int) -> Posting:
        told = moved(card, **why_dead(why.reason, why.detail), died=died)
        return Posting("", self._line.dead, told, card.body, mandatory=True)

    async def move(self, cards: Sequence[Card], postings: Sequence[Posting]) -> None:
        """Safe in the next queue, then out of the last: in between a death only doubles it."""
        await self._publisher.send(postings)
        self.ack(cards)
        self._hand.arrived(cards)

    def ack(self, cards: Sequence[Card]) -> None:
        for pile, delayed in zip(self._piles, (False, True), strict=True):
            some = [card for card in cards if (card.source == "delayed") == delayed]
            if some:
                pile.ack(some)

    async def settle(self, ended: Sequence[tuple[str, Outcome, int]]) -> None:
        """Tokens that are current, each once; and the number of its death, of one that is buried."""
        self.ack(self._hand.finish([token for token, outcome, _ in ended if isinstance(outcome, Done)]))
        now_ms = self._clock()
        left: dict[str, Held] = {}
        postings = []
        for token, outcome, died in ended:
            if isinstance(outcome, Done):
                continue
            left[token] = self._hand.end(token)
            card = left[token].card
            if isinstance(outcome, Bury):
                postings.append(self._burial(card, outcome, died))
                self._hand.sent_away([card], now_ms)
            else:
                attempts = card.attempts + (outcome.blame == "page")
                told = moved(card, attempts=attempts, due_ms=due_ms(now_ms, outcome))
                postings.append(Posting("", self._line.delayed, told, card.body, mandatory=True))
        if left:
            await self._move_or_hold(left, postings)

    async def _move_or_hold(self, left: dict[str, Held], postings: Sequence[Posting]) -> None:
        try:
            await self.move([held.card for held in left.values()], postings)
        except BaseException:
            self._hand.hold_again(left)
            raise

    async def release(self, tokens: Sequence[str]) -> None:
        back = [card for card in map(self._hand.release, tokens) if card is not None]
        if back:
            await self.move(back, [self._suspicion(card, card.since_ms) for card in back])
            for card in back:
                bisect.insort(self._hand.suspects, card.since_ms)

    async def mourn(self, taken: dict[str, Held]) -> None:
        """Leases that ended without an outcome, taken out of the hand."""
        if taken:
            alone = frozenset(held.card.tag for held in taken.values() if held.alone)
            try:
                await self.suspect([held.card for held in taken.values()], alone=alone)
            except BaseException:
                self._hand.hold_again(taken)
                raise

    async def promote(self, now_ms: int) -> bool:
        """Delayed messages that are due, into the main queue. Whether there were any."""
        cards = self._hand.due(now_ms)
        if not cards:
            return False
        try:
            await self.move(cards, [self.to_main(card) for card in cards])
        except BaseException:
            self.ack(self._hand.put_back(cards, now_ms))
            raise
        return True

    def to_main(self, card: Card) -> Posting:
        return Posting("", self._line.main, moved(card, again=1), card.body, mandatory=True)
