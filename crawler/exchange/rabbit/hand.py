"""What this process holds of one queue, and whom of its consumers it was promised: the rules of
`crawler/exchange/line.py` for the part of the machine that is in memory. Pure: no I/O, no clock.

    broker's main queue ──prefetch──► ready ──give──► held ──► done · delayed · dead      (the last two on the broker)
    broker's delayed    ──prefetch──► later ──due──► back to the main queue
    broker's suspects   ──one, when a consumer's hands are empty──► held alone

All of it is unacknowledged on the broker: when this process dies, it is given to others.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from crawler.exchange.rabbit.posting import Card
from crawler.exchange.size import Room
from crawler.frontier import REAP_MAX

ELSEWHERE_MAX: Final = 10_000
ELSEWHERE_MS: Final = 600_000
"""How many ids, and for how long, are remembered that this process sent to the suspects or the dead letters."""

Verdict = Literal["nothing", "ready", "suspect"]
Most = tuple[int, int]
"""Messages of a lease, and their bytes together (0: any)."""


class Held(msgspec.Struct, frozen=True):
    """A card under lease."""

    card: Card
    consumer: str
    until_ms: int
    alone: bool = False


class Hand:
    """One queue's part. In the loop's thread only."""

    def __init__(self, *, lease_ms: int, suspect_wait_ms: int) -> None:
        self._lease_ms = lease_ms
        self._suspect_wait_ms = suspect_wait_ms
        self.ready: list[Card] = []
        self.later: list[tuple[int, Card]] = []
        self.held: dict[str, Held] = {}
        self.suspects: list[int] = []
        """Since when those on the broker are suspects, as far as this process knows; oldest first."""
        self.done = 0
        self.received = 0
        """Cards that ever came: whoever asks twice and finds it unchanged knows that none came in between."""
        self.moving: set[int] = set()
        """Cards (by Python's id) between two queues: published to the next, not acknowledged in the last."""
        self._ids: set[str] = set()
        self._elsewhere: dict[str, int] = {}
        self._asked: dict[str, set[str]] = {}
        self._emptying: tuple[str, int] | None = None
        self._trying: set[str] = set()
        """Consumers for which a suspect is being fetched."""

    def arrive(self, card: Card, now_ms: int) -> bool:
        """A card of the main or the delayed queue. False: the queue has this message already; drop the card."""
        if card.id in self._ids:
            return False
        if card.source == "delayed":
            heapq.heappush(self.later, (card.due_ms, card))
        else:
            if self._elsewhere:
                until_ms = self._elsewhere.get(card.id, 0)
                if until_ms > now_ms and not card.again:
                    return False
                self._elsewhere.pop(card.id, None)
            heapq.heappush(self.ready, card)
        self._ids.add(card.id)
        self.received += 1
        return True

    def due(self, now_ms: int) -> list[Card]:
        """Those whose delay is over, taken out: they go back into the main queue."""
        found: list[Card] = []
        while self.later and self.later[0][0] <= now_ms and len(found) < REAP_MAX:
            found.append(heapq.heappop(self.later)[1])
        return self.take_out(found)

    def take_out(self, cards: list[Card]) -> list[Card]:
        """They are on the move: their messages may arrive again."""
        self._ids.difference_update(card.id for card in cards)
        self.moving.update(map(id, cards))
        return cards

    def arrived(self, cards: Sequence[Card]) -> None:
        """They are safe where they were moved to."""
        self.moving.difference_update(map(id, cards))

    def put_back(self, cards: Sequence[Card], now_ms: int) -> list[Card]:
        """They could not be moved. Returns those that have come again meanwhile: to be dropped."""
        self.arrived(cards)
        twice = []
        for card in cards:
            if card.id in self._ids:
                twice.append(card)
                continue
            self._ids.add(card.id)
            if card.source == "delayed":
                heapq.heappush(self.later, (card.due_ms, card))
            else:
                heapq.heappush(self.ready, card)
        return twice

    def hold_again(self, taken: dict[str, Held]) -> None:
        """Their outcome could not be made safe: still leased."""
        self.arrived([held.card for held in taken.values()])
        self.held.update(taken)
        self._ids.update(held.card.id for held in taken.values())

    def repeated(self, request_id: str) -> list[tuple[str, Held]] | None:
        """What is still current of a lease that is asked for again; None: it is new."""
        if any(request_id in asked for asked in self._asked.values()):
            return [(token, held) for token, held in self.held.items() if _request(token) == request_id]
        return None

    def verdict(self, count: int, consumer: str, now_ms: int) -> Verdict:
        """What a consumer may have: what is ready, else perhaps a suspect; a suspect at once; nothing."""
        mine = [held for held in self.held.values() if held.consumer == consumer]
        if count <= 0 or consumer in self._trying or any(held.alone for held in mine):
            return "nothing"
        overdue = bool(self.suspects) and self.suspects[0] + self._suspect_wait_ms <= now_ms
        if overdue and (self._emptying is None or self._emptying[0] == consumer or self._emptying[1] <= now_ms):
            if not mine:
                return "suspect"
            if self._emptying is None or self._emptying[1] <= now_ms:
                self._emptying = (consumer, now_ms + self._lease_ms)
            return "nothing"
        return "ready"

    def give(self, most: Most, consumer: str, request_id: str, now_ms: int) -> list[tuple[str, Held]]:
        """Of what is ready."""
        count, ready, room = most[0], self.ready, Room(most[1])
        cards: list[Card] = []
        while ready and len(cards) < count and room.takes(len(ready[0].body)):
            cards.append(heapq.heappop(ready))
        until_ms = now_ms + self._lease_ms
        return self._give(request_id, [Held(card, consumer, until_ms) for card in cards])

    def may_try(self, consumer: str) -> bool:
        """Whether a consumer's hands are empty, and there are suspects."""
        return bool(self.suspects) and all(held.consumer != consumer for held in self.held.values())

    def begin_trial(self, consumer: str) -> None:
        """A suspect is being fetched for it; ended by `give_alone` or `end_trial`."""
        self._emptying = None
        self._trying.add(consumer)

    def end_trial(self, consumer: str, left: int, now_ms: int) -> None:
        """`left`: suspects on the broker."""
        self._trying.discard(consumer)
        self.count_suspects(left, now_ms)

    def give_alone(self, card: Card, consumer: str, request_id: str, now_ms: int) -> list[tuple[str, Held]]:
        self.received += 1
        self._elsewhere.pop(card.id, None)
        self._ids.add(card.id)
        if card.since_ms in self.suspects:
            self.suspects.remove(card.since_ms)
        return self._give(request_id, [Held(card, consumer, now_ms + self._lease_ms, alone=True)])

    def _give(self, request_id: str, some: list[Held]) -> list[tuple[str, Held]]:
        given = [(f"{request_id}:{index}", held) for index, held in enumerate(some)]
        if given:
            consumer = some[0].consumer
            current = {_request(token) for token in self.held}
            self._asked[consumer] = (self._asked.get(consumer, set()) & current) | {request_id}
            self.held.update(given)
        return given

    def count_suspects(self, count: int, now_ms: int) -> None:
        """So many are on the broker. Others put some there, or took some."""
        del self.suspects[count:]
        self.suspects += [now_ms] * (count - len(self.suspects))

    def finish(self, tokens: Sequence[str]) -> list[Card]:
        """Take current leases out that are done."""
        cards = [self.held.pop(token).card for token in tokens]
        self._ids.difference_update([card.id for card in cards])
        self.done += len(cards)
        return cards

    def end(self, token: str) -> Held:
        """Take a current lease out; its card is on the move."""
        held = self.held.pop(token)
        self.take_out([held.card])
        return held

    def sent_away(self, cards: Sequence[Card], now_ms: int) -> None:
        """To the suspects or the dead letters: a message of that id is there."""
        for card in cards:
            self._elsewhere[card.id] = now_ms + ELSEWHERE_MS
        while len(self._elsewhere) > ELSEWHERE_MAX:
            del self._elsewhere[next(iter(self._elsewhere))]

    def forget_elsewhere(self) -> None:
        """Dead letters were taken away."""
        self._elsewhere.clear()

    def renew(self, token: str, now_ms: int) -> None:
        self.held[token] = msgspec.structs.replace(self.held[token], until_ms=now_ms + self._lease_ms)

    def renew_all(self, now_ms: int) -> None:
        for token in self.held:
            self.renew(token, now_ms)

    def release(self, token: str) -> Card | None:
        """To its old place; a suspect is returned: it must go back to the others."""
        held = self.held[token]
        if held.alone:
            return self.end(token).card
        del self.held[token]
        heapq.heappush(self.ready, held.card)
        return None

    def lapsed(self, now_ms: int) -> dict[str, Held]:
        """Leases that are over, oldest first, taken out: their consumers are taken to be dead."""
        over = [(held.until_ms, token) for token, held in self.held.items() if held.until_ms <= now_ms]
        return {token: self.end(token) for _, token in heapq.nsmallest(REAP_MAX, over)}

    def forfeit(self, consumer: str) -> dict[str, Held]:
        """A dead consumer's leases, taken out."""
        if self._emptying is not None and self._emptying[0] == consumer:
            self._emptying = None
        return {token: self.end(token) for token, held in list(self.held.items()) if held.consumer == consumer}

    def clear(self) -> list[Card]:
        """Forget all, leases and what was done too. Returns what is not acknowledged."""
        cards = [*self.ready, *(card for _, card in self.later), *(held.card for held in self.held.values())]
        self.ready.clear()
        self.later.clear()
        self.held.clear()
        self.suspects.clear()
        self._ids.clear()
        self._elsewhere.clear()
        self.done = 0
        return cards

    def ids(self) -> set[str]:
        """Of all that is in hand."""
        return set(self._ids)

    def heir(self) -> Hand:
        """For the next connection: nothing in hand, and no token is current."""
        new = Hand(lease_ms=self._lease_ms, suspect_wait_ms=self._suspect_wait_ms)
        new.done, new.received = self.done, self.received
        return new

    def oldest_ms(self) -> int:
        """When the first of what is ready was published; 0: nothing is ready."""
        return self.ready[0].number // 1_000_000 if self.ready else 0


def _request(token: str) -> str:
    return token.partition(":")[0]
