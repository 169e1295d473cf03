"""One queue of the memory exchange: the lease machine as plainly as it can be written.

It knows copies (numbers of messages), not messages. Not thread-safe: the exchange's lock is around it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

import msgspec

from crawler.exchange.size import Room
from crawler.frontier import REAP_MAX
from crawler.model import Bury, Done, Outcome, Retry
from crawler.view import QueueCounts


class Copy(msgspec.Struct, frozen=True, order=True):
    """The queue's copy of a message, wherever in the machine it is."""

    number: int
    """Admission number of the message: the order of delivery."""
    id: str
    attempts: int = 0
    crashes: int = 0
    size: int = 0


class Held(msgspec.Struct, frozen=True):
    """A copy under lease."""

    copy: Copy
    consumer: str
    until_ms: int
    alone: bool = False
    since_ms: int = 0
    """When one given `alone` became a suspect."""


class Dead(msgspec.Struct, frozen=True):
    """A buried copy. `number`: its place in the order of deaths of the whole exchange."""

    number: int
    copy: Copy
    why: Bury
    died_ms: int


def due_ms(now_ms: int, outcome: Retry) -> int:
    """When a copy that is tried again may be delivered."""
    return now_ms + max(0, round(outcome.delay_s * 1_000))


def crashed(crashes: int) -> Bury:
    """Why a copy is buried that killed too many consumers."""
    return Bury("crashed", f"{crashes} consumers died holding it and nothing else")


class Line:
    """Rules 2 to 6 of `crawler/frontier/__init__.py` for one queue."""

    def __init__(self, *, lease_ms: int, crashes_max: int, suspect_wait_ms: int, deaths: Iterator[int]) -> None:
        self._lease_ms = lease_ms
        self._crashes_max = crashes_max
        self._suspect_wait_ms = suspect_wait_ms
        self._deaths = deaths
        self.ids: set[str] = set()
        """Of everything below, dead copies included."""
        self.ready: list[Copy] = []
        self.delayed: list[tuple[int, Copy]] = []
        self.suspects: list[tuple[int, Copy]] = []
        self.held: dict[str, Held] = {}
        self.dead: list[Dead] = []
        self.done = 0
        self._asked: dict[str, set[str]] = {}
        """Consumer -> its last request that was given something, and those before it whose leases it still had then."""
        self._emptying: tuple[str, int] | None = None
        """The consumer that gets nothing until its hands are empty, for an overdue suspect; and until when."""

    def add(self, copy: Copy) -> bool:
        """False: it is in the queue already."""
        if copy.id in self.ids:
            return False
        self.ids.add(copy.id)
        heapq.heappush(self.ready, copy)
        return True

    def lease(
        self, count: int, consumer: str, request_id: str, now_ms: int, bytes_max: int = 0
    ) -> list[tuple[str, Held]]:
        """Token and lease of what the consumer gets."""
        lapsed = [(held.until_ms, token) for token, held in self.held.items() if held.until_ms <= now_ms]
        for _, token in heapq.nsmallest(REAP_MAX, lapsed):
            self._lapse(token, now_ms)
        if any(request_id in asked for asked in self._asked.values()):
            return [(token, held) for token, held in self.held.items() if _request(token) == request_id]
        chosen = self._choose(count, consumer, now_ms, Room(bytes_max))
        given = [(f"{request_id}:{index}", held) for index, held in enumerate(chosen)]
        if given:
            current = {_request(token) for token in self.held}
            self._asked[consumer] = (self._asked.get(consumer, set()) & current) | {request_id}
            self.held.update(given)
        return given

    def _choose(self, count: int, consumer: str, now_ms: int, room: Room) -> list[Held]:
        mine = [held for held in self.held.values() if held.consumer == consumer]
        if count <= 0 or any(held.alone for held in mine):
            return []
        overdue = bool(self.suspects) and self.suspects[0][0] + self._suspect_wait_ms <= now_ms
        if overdue and self._has_turn(consumer, now_ms):
            if not mine:
                return self._pop_suspect(consumer, now_ms)
            if self._emptying is None or self._emptying[1] <= now_ms:
                self._emptying = (consumer, now_ms + self._lease_ms)
            return []
        for _ in range(REAP_MAX):
            if not self.delayed or self.delayed[0][0] > now_ms:
                break
            heapq.heappush(self.ready, heapq.heappop(self.delayed)[1])
        if self.ready:
            until_ms = now_ms + self._lease_ms
            chosen: list[Copy] = []
            while self.ready and len(chosen) < count and room.takes(self.ready[0].size):
                chosen.append(heapq.heappop(self.ready))
            return [Held(copy, consumer, until_ms) for copy in chosen]
        return self._pop_suspect(consumer, now_ms) if self.suspects and not mine else []

    def _has_turn(self, consumer: str, now_ms: int) -> bool:
        """One consumer at a time empties its hands for an overdue suspect, and for one lease at most."""
        return self._emptying is None or self._emptying[0] == consumer or self._emptying[1] <= now_ms

    def _pop_suspect(self, consumer: str, now_ms: int) -> list[Held]:
        self._emptying = None
        since_ms, copy = heapq.heappop(self.suspects)
        return [Held(copy, consumer, now_ms + self._lease_ms, alone=True, since_ms=since_ms)]

    def settle(self, token: str, outcome: Outcome, now_ms: int) -> Copy | None:
        """Ends a current lease. Returns the copy when it leaves the queue."""
        copy = self.held.pop(token).copy
        if isinstance(outcome, Done):
            self.done += 1
            self.ids.discard(copy.id)
            return copy
        if isinstance(outcome, Bury):
            self.dead.append(Dead(next(self._deaths), copy, outcome, now_ms))
        else:
            if outcome.blame == "page":
                copy = msgspec.structs.replace(copy, attempts=copy.attempts + 1)
            heapq.heappush(self.delayed, (due_ms(now_ms, outcome), copy))
        return None

    def renew(self, token: str, now_ms: int) -> None:
        self.held[token] = msgspec.structs.replace(self.held[token], until_ms=now_ms + self._lease_ms)

    def release(self, token: str) -> None:
        """To its old place: a suspect is a suspect again, as old as it was."""
        held = self.held.pop(token)
        if held.alone:
            heapq.heappush(self.suspects, (held.since_ms, held.copy))
        else:
            heapq.heappush(self.ready, held.copy)

    def forfeit(self, consumer: str, now_ms: int) -> int:
        tokens = [token for token, held in self.held.items() if held.consumer == consumer]
        for token in tokens:
            self._lapse(token, now_ms)
        if self._emptying is not None and self._emptying[0] == consumer:
            self._emptying = None
        return len(tokens)

    def _lapse(self, token: str, now_ms: int) -> None:
        """A lease ends without an outcome: its consumer is taken to be dead."""
        held = self.held.pop(token)
        copy = held.copy
        if held.alone:
            copy = msgspec.structs.replace(copy, crashes=copy.crashes + 1)
        if held.alone and copy.crashes >= self._crashes_max:
            self.dead.append(Dead(next(self._deaths), copy, crashed(copy.crashes), now_ms))
        else:
            heapq.heappush(self.suspects, (now_ms, copy))

    def take_dead(self, matching: Callable[[Dead], bool]) -> list[Copy]:
        """Remove the dead copies that match."""
        taken = [dead.copy for dead in self.dead if matching(dead)]
        self.dead = [dead for dead in self.dead if not matching(dead)]
        self.ids.difference_update(copy.id for copy in taken)
        return taken

    def counts(self, oldest_ready_s: Callable[[str], float]) -> QueueCounts:
        return QueueCounts(
            ready=len(self.ready),
            delayed=len(self.delayed),
            leased=len(self.held),
            suspects=len(self.suspects),
            dead=len(self.dead),
            done=self.done,
            oldest_ready_s=oldest_ready_s(self.ready[0].id) if self.ready else 0.0,
        )


def _request(token: str) -> str:
    return token.partition(":")[0]
