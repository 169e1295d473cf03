"""Leasing from one shard, which knows everything by itself, or from several, where the asker adds up what it holds.

Several shards are asked in one trip, each for its part, and those that have more once again for what is missing. Only
when none gave anything, and the worker holds nothing at all, one shard after the other may give a suspect (rule 5).
What a worker holds each shard says with each answer; one process leases in a worker's name, one call at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from crawler.codec import DAMAGED, decode_request
from crawler.error import BadRecord
from crawler.frontier import LEASE_MAX
from crawler.frontier.domain import domain_of
from crawler.frontier.redis.record import EMPTY, origins, unpack_totals
from crawler.frontier.redis.shards import CALL_MAX, Shards
from crawler.model import Bury, Lease, Leased, Request, Settlement
from crawler.url import fingerprint, visit_print

_head = msgspec.msgpack.Decoder(tuple[int, int, int, int, msgspec.Raw, msgspec.Raw])
_names = msgspec.msgpack.Decoder(list[str])
_facts = msgspec.msgpack.Decoder(list[Any])
_LOOK = -1
_FACTS = 8
_HEAD = 6
"""Bytes of origin and number before a payload."""


class Answer(NamedTuple):
    """What one shard's lease script said."""

    shard: int
    leases: list[Lease]
    damaged: list[Settlement]
    due_ms: int | None
    draining: bool
    """The worker must empty its hands for a suspect of this shard."""
    suspects: int
    held: int
    """Leases that the worker has in this shard now, these among them."""
    alone: int
    """Those of them that were given alone."""

    @property
    def given(self) -> int:
        return len(self.leases) + len(self.damaged)


class _Asker:
    """What the shards last said of one worker. Only its own calls can make it hold more."""

    def __init__(self, shards: int) -> None:
        self.held = [0] * shards
        self.alone = [0] * shards
        self.suspects = [0] * shards
        self.draining: set[int] = set()
        self.answered = ""
        """The last request_id that all shards answered: asked again, it gives nothing new."""

    def note(self, answer: Answer) -> None:
        shard = answer.shard
        self.held[shard], self.alone[shard], self.suspects[shard] = answer.held, answer.alone, answer.suspects
        (self.draining.add if answer.draining else self.draining.discard)(shard)

    def elsewhere(self, shard: int) -> int:
        return sum(self.held) - self.held[shard]


class Leasing:
    """The lease verb over the shards of a crawl. Thread-safe for calls in different workers' names."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._askers: dict[str, _Asker] = {}

    def lease(self, count: int, worker: str, request_id: str) -> tuple[Leased, list[Settlement]]:
        """What was given, and the ends of those whose record was damaged: they must not come round for ever."""
        asker = self._askers.setdefault(worker, _Asker(self._shards.count))
        if self._shards.count == 1:
            # In pieces, so that nobody waits for long meanwhile: one trip all the same. With a cap by domain in one,
            # which gives one request of a host at most (rule 16).
            count, piece = min(count, LEASE_MAX), LEASE_MAX if self._shards.rules.per_domain else CALL_MAX
            pieces = [(0, min(count, piece))]
            if count > piece:
                pieces.append((0, count - piece))
            return _told(self._ask(asker, pieces, worker, request_id, suspects=True))
        answers = self._lease_many(asker, min(count, LEASE_MAX), worker, request_id)
        asker.answered = request_id
        return _told(answers)

    def forget(self, worker: str) -> None:
        self._askers.pop(worker, None)

    def _lease_many(self, asker: _Asker, count: int, worker: str, request_id: str) -> list[Answer]:
        if asker.answered == request_id:
            answers = self._look(asker, worker, request_id) + self._look(asker, worker, _second(request_id))
            return [answer for answer in answers if answer.given]
        if any(asker.alone) or asker.draining:
            # What it holds may have ended meanwhile, by settlement or by time.
            answers = self._look(asker, worker, request_id)
            if any(asker.alone):
                return []
            if asker.draining:
                return answers + self._suspect(asker, sorted(asker.draining), worker, request_id, self._allowed())
        allowed = self._allowed()
        wanted = count if allowed < 0 else min(count, allowed)
        answers = self._rounds(asker, wanted, worker, request_id, allowed)
        if not any(answer.given for answer in answers) and not any(asker.held) and wanted > 0:
            waiting = sorted({shard for shard in range(self._shards.count) if asker.suspects[shard]})
            answers += self._suspect(asker, waiting, worker, request_id, allowed)
        return answers

    def _look(self, asker: _Asker, worker: str, request_id: str) -> list[Answer]:
        """Nothing new: what the request_id has, and what the worker holds."""
        portions = [(shard, _LOOK) for shard in range(self._shards.count)]
        return self._ask(asker, portions, worker, request_id, suspects=False)

    def _rounds(self, asker: _Asker, wanted: int, worker: str, request_id: str, allowed: int) -> list[Answer]:
        """All shards at once, each for its part; those that have more then for what is missing."""
        shards = range(self._shards.count)
        first = int(request_id, 16) % self._shards.count
        order = [*shards[first:], *shards[:first]]
        part = -(-max(0, wanted) // self._shards.count)
        portions = _portions(order, part, wanted)
        answers = self._ask(asker, portions, worker, request_id, suspects=False, allowed=allowed)
        missing = wanted - sum(answer.given for answer in answers)
        more = [
            shard for (shard, asked), answer in zip(portions, answers, strict=True) if self._has_more(asked, answer)
        ]
        if missing > 0 and more:
            # The same request_id would be a repeat where it gave something: the second round has one of its own.
            again = _portions(more, min(missing, CALL_MAX), missing)
            answers += self._ask(asker, again, worker, _second(request_id), suspects=False, allowed=allowed)
        return answers

    def _has_more(self, asked: int, answer: Answer) -> bool:
        """Whether a shard is worth asking again. With a cap by domain one that gave something is not: a second time
        would give a host two requests in one call (rule 16)."""
        if asked <= 0:
            return answer.due_ms == 0
        return answer.given == asked and not self._shards.rules.per_domain

    def _suspect(
        self, asker: _Asker, shards: Sequence[int], worker: str, request_id: str, allowed: int
    ) -> list[Answer]:
        """One suspect of one of these shards."""
        answers: list[Answer] = []
        for shard in shards:
            answers += self._ask(asker, [(shard, 1)], worker, request_id, suspects=True, allowed=allowed)
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
        self,
        asker: _Asker,
        portions: Sequence[tuple[int, int]],
        worker: str,
        request_id: str,
        *,
        suspects: bool,
        allowed: int = -1,
    ) -> list[Answer]:
        """A shard that is asked twice has a request_id of its own for the second time."""
        shards = [shard for shard, _ in portions]
        ids = [_second(request_id) if shard in shards[:at] else request_id for at, shard in enumerate(shards)]
        calls = [
            (shard, (count, worker, identity, asker.elsewhere(shard), int(suspects), allowed))
            for (shard, count), identity in zip(portions, ids, strict=True)
        ]
        replies = self._shards.runs("lease", calls)
        for at, (call, reply) in enumerate(zip(calls, replies, strict=True)):
            replies[at] = self._introduced(call, reply)
        answers = [self._answer(*told) for told in zip(shards, ids, replies, strict=True)]
        for answer in answers:
            asker.note(answer)
        return answers

    def _answer(self, shard: int, request_id: str, reply: list[bytes]) -> Answer:
        due, facts, *raws = reply
        draining, suspects, held, alone, _, packed = _head.decode(facts)
        rows = zip(*[iter(_facts.decode(packed) if raws else [])] * _FACTS, strict=True)
        answer = Answer(shard, [], [], int(due) if due else None, bool(draining), suspects, held, alone)
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
                fingerprint=visit_print(request),
                host=host,
                attempts=attempts,
                crashes=crashes,
                alone=bool(alone),
                robots_ms=stamp,
            )
            answer.leases.append(lease)
        return answer

    def _introduced(self, call: tuple[int, Sequence[Any]], reply: list[bytes]) -> list[bytes]:
        """The script's reply, once it knows the domains of all hosts that it meets: it gives nothing before (rule 16).
        Cost: two trips while there are new ones."""
        while bytes(strangers := _head.decode(reply[1])[4]) not in EMPTY:
            names, shard = _names.decode(strangers), call[0]
            for start in range(0, len(names), CALL_MAX):
                some = names[start : start + CALL_MAX]
                self._shards.run("domains", shard, *(part for host in some for part in (host, domain_of(host))))
            reply = self._shards.run("lease", *call[:1], *call[1])
        return reply


def _portions(order: Sequence[int], part: int, total: int) -> list[tuple[int, int]]:
    """`part` for each, as long as the total lasts; the rest is asked when it is due."""
    portions = []
    for shard in order:
        portions.append((shard, min(part, total) if total > 0 else _LOOK))
        total -= part
    return portions


def _second(request_id: str) -> str:
    """A request_id that follows from the first, so that a repeat of the call repeats both rounds."""
    return f"{int(request_id, 16) ^ (1 << 127):032x}"


def _robots_lease(token: str, host: str, origin: int) -> Lease:
    request = Request(url=f"{origins(host)[origin]}/robots.txt")
    return Lease(token=token, request=request, fingerprint=fingerprint(request), host=host, robots=True)


def _told(answers: Sequence[Answer]) -> tuple[Leased, list[Settlement]]:
    leases = tuple(lease for answer in answers for lease in answer.leases)
    damaged = [one for answer in answers for one in answer.damaged]
    last = {answer.shard: answer.due_ms for answer in answers}
    due = [due_ms for due_ms in last.values() if due_ms is not None]
    due_s = 0.0 if damaged else min(due) / 1000 if due else None
    return Leased(leases, due_s), damaged
