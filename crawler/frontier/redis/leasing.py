"""Leasing from one shard, which knows everything by itself, or from several, where the asker keeps count of its hands.

Several shards are asked in one trip, each for its part, and those that have more once again for what is missing. Only
when none gave anything, and the worker holds nothing at all, one shard after the other may give a suspect (rule 5).
What a worker holds where is known to the process that asked for it: one process leases in a worker's name.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from crawler.codec import DAMAGED, decode_request
from crawler.error import BadRecord
from crawler.frontier import LEASE_MAX
from crawler.frontier.redis.record import origins, unpack_totals
from crawler.frontier.redis.shards import Shards
from crawler.model import Bury, Lease, Leased, Request, Settlement
from crawler.url import fingerprint

_head = msgspec.msgpack.Decoder(tuple[int, int, int, msgspec.Raw])
_facts = msgspec.msgpack.Decoder(list[Any])
_FACTS = 8
_HEAD = 6
"""Bytes of origin and number before a payload."""


class Answer(NamedTuple):
    """What one shard's lease script said."""

    leases: list[Lease]
    damaged: list[Settlement]
    due_ms: int | None
    draining: bool
    """The worker must empty its hands for a suspect of this shard."""
    suspects: int

    @property
    def given(self) -> int:
        return len(self.leases) + len(self.damaged)


class Hands:
    """How many leases a worker holds in each shard, by what this process has seen of it."""

    def __init__(self) -> None:
        self._held: dict[str, dict[str, tuple[int, bool]]] = {}
        self._worker: dict[str, str] = {}
        self._lock = threading.Lock()

    def take(self, worker: str, shard: int, leases: Iterable[Lease]) -> None:
        with self._lock:
            for lease in leases:
                self._held.setdefault(worker, {})[lease.token] = shard, lease.alone
                self._worker[lease.token] = worker

    def drop(self, tokens: Iterable[str]) -> None:
        with self._lock:
            for token in tokens:
                worker = self._worker.pop(token, None)
                if worker is not None:
                    self._held[worker].pop(token, None)

    def forget(self, worker: str) -> None:
        with self._lock:
            for token in self._held.pop(worker, {}):
                self._worker.pop(token, None)

    def elsewhere(self, worker: str, shard: int) -> int:
        """How many it holds in other shards."""
        with self._lock:
            return sum(at != shard for at, _ in self._held.get(worker, {}).values())

    def holding(self, worker: str) -> tuple[int, bool]:
        """How many it holds, and whether one of them was given alone."""
        with self._lock:
            held = self._held.get(worker, {}).values()
            return len(held), any(alone for _, alone in held)


class Leasing:
    """The lease verb over the shards of a crawl. Thread-safe."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self.hands = Hands()
        self._draining: dict[str, frozenset[int]] = {}
        self._first = 0

    def lease(self, count: int, worker: str, request_id: str) -> tuple[Leased, list[Settlement]]:
        """What was given, and the ends of those whose record was damaged: they must not come round for ever."""
        if self._shards.count == 1:
            (answer,) = self._ask([(0, count)], worker, request_id, suspects=True)
            return _told([answer])
        return _told(self._lease_many(min(count, LEASE_MAX), worker, request_id))

    def _lease_many(self, count: int, worker: str, request_id: str) -> list[Answer]:
        held, alone = self.hands.holding(worker)
        if alone:
            return []
        allowed = self._allowed()
        wanted = count if allowed < 0 else min(count, allowed)
        if draining := self._draining.get(worker):
            return self._suspect(sorted(draining), worker, request_id, allowed)
        shards = range(self._shards.count)
        self._first = (self._first + 1) % self._shards.count
        order = [*shards[self._first :], *shards[: self._first]]
        part = -(-max(0, wanted) // self._shards.count)
        answers = self._ask(_portions(order, part, wanted), worker, request_id, suspects=False, allowed=allowed)
        given = sum(answer.given for answer in answers)
        full = [shard for shard, answer in zip(order, answers, strict=True) if part and answer.given == part]
        if given < wanted and full:
            # The same request_id would be a repeat where it gave something: the second round has one of its own.
            again = _portions(full, wanted - given, wanted - given)
            answers += self._ask(again, worker, _second(request_id), suspects=False, allowed=allowed)
            given = sum(answer.given for answer in answers)
        if not given and not held and wanted > 0:
            waiting = [shard for shard, answer in zip(order, answers, strict=False) if answer.suspects]
            answers += self._suspect(waiting, worker, request_id, allowed)
        return answers

    def _suspect(self, shards: Sequence[int], worker: str, request_id: str, allowed: int) -> list[Answer]:
        """One suspect of one of these shards."""
        answers: list[Answer] = []
        for shard in shards:
            answers += self._ask([(shard, 1)], worker, request_id, suspects=True, allowed=allowed)
            if answers[-1].given:
                break
        return answers

    def _allowed(self) -> int:
        """How many leases the limits leave over all shards (rule 12); -1: no limit. One trip when there is one."""
        rules = self._shards.rules
        if not rules.pages_max and not rules.bytes_max:
            return -1
        totals = [unpack_totals(answer[0]) for answer in self._shards.each("look")]
        if rules.bytes_max and sum(one["bytes"] for one in totals) >= rules.bytes_max:
            return 0
        if not rules.pages_max:
            return LEASE_MAX
        return max(0, rules.pages_max - sum(int(one["pages"]) + int(one["leased"]) for one in totals))

    def _ask(
        self, portions: Sequence[tuple[int, int]], worker: str, request_id: str, *, suspects: bool, allowed: int = -1
    ) -> list[Answer]:
        calls = [
            (shard, (count, worker, request_id, self.hands.elsewhere(worker, shard), int(suspects), allowed))
            for shard, count in portions
        ]
        replies = self._shards.runs("lease", calls)
        answers = [self._answer(shard, request_id, reply) for (shard, _), reply in zip(portions, replies, strict=True)]
        draining = set(self._draining.get(worker, ()))
        for (shard, _), answer in zip(portions, answers, strict=True):
            if self._shards.count > 1:
                self.hands.take(worker, shard, answer.leases)
            (draining.add if answer.draining else draining.discard)(shard)
        self._draining[worker] = frozenset(draining)
        return answers

    def _answer(self, shard: int, request_id: str, reply: list[bytes]) -> Answer:
        due, facts, *raws = reply
        draining, suspects, _, packed = _head.decode(facts)
        rows = zip(*[iter(_facts.decode(packed) if raws else [])] * _FACTS, strict=True)
        answer = Answer([], [], int(due) if due else None, bool(draining), suspects)
        for row, raw in zip(rows, raws, strict=True):
            serial, host, origin, attempts, crashes, alone, robots, stamp = row
            token = self._shards.token(request_id, shard, int(serial))
            if robots:
                answer.leases.append(_robots_lease(token, host, origin))
                continue
            try:
                request = decode_request(raw[_HEAD:])
            except BadRecord as error:
                answer.damaged.append(Settlement(token, Bury(DAMAGED, str(error))))
                continue
            lease = Lease(
                token=token,
                request=request,
                fingerprint=fingerprint(request),
                host=host,
                attempts=attempts,
                crashes=crashes,
                alone=bool(alone),
                robots_ms=stamp,
            )
            answer.leases.append(lease)
        return answer


def _portions(order: Sequence[int], part: int, total: int) -> list[tuple[int, int]]:
    """`part` for each, as long as the total lasts; the rest is asked for nothing, and says when it is due."""
    portions = []
    for shard in order:
        portions.append((shard, max(0, min(part, total))))
        total -= part
    return portions


def _second(request_id: str) -> str:
    """A request_id that follows from the first, so that a repeat of the call repeats both rounds."""
    return f"{int(request_id, 16) ^ 1:032x}"


def _robots_lease(token: str, host: str, origin: int) -> Lease:
    request = Request(url=f"{origins(host)[origin]}/robots.txt")
    return Lease(token=token, request=request, fingerprint=fingerprint(request), host=host, robots=True)


def _told(answers: Sequence[Answer]) -> tuple[Leased, list[Settlement]]:
    leases = tuple(lease for answer in answers for lease in answer.leases)
    damaged = [one for answer in answers for one in answer.damaged]
    due = [answer.due_ms for answer in answers if answer.due_ms is not None]
    due_s = 0.0 if damaged else min(due) / 1000 if due else None
    return Leased(leases, due_s), damaged
