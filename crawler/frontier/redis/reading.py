"""What can be asked without changing anything: in small pieces, so that nobody waits for a look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from heapq import merge
from math import isfinite
from typing import Any

from crawler.frontier.redis.record import (
    Entry,
    unpack_entry,
    unpack_lease,
    unpack_letter,
    unpack_queued,
    unpack_totals,
    unpack_worker,
    whole_number,
)
from crawler.frontier.redis.shards import Shards
from crawler.frontier.totals import Totals
from crawler.model import PRIORITY_MAX, DeadLetter
from crawler.view import Counts, Shard, WorkerRow

PIECE = 200
"""Elements of one key read at a time."""

_COUNTERS = tuple(field for field in Totals.__struct_fields__ if field in Counts.__struct_fields__)


class Reading:
    """The questions, on the keys of `Shards`."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._wire = shards.wire

    def numbers(self) -> range:
        return range(self._shards.count)

    def shard_of(self, host: str) -> int:
        return self._shards.of(host)

    # Numbers

    def looks(self) -> list[tuple[Counts, dict[str, Any], float, float | None]]:
        """Of each shard: counts, totals, how long the longest due has waited, seconds to the next due. One trip."""
        looks = []
        for packed, reasons, oldest, due in self._shards.each("look"):
            totals = unpack_totals(packed)
            times = [whole_number(text, "reasons") if text.isdigit() else 0 for text in reasons[1::2]]
            names = [name.decode(errors="replace") for name in reasons[::2]]
            counts = Counts(
                **{field: totals[field] for field in _COUNTERS},
                producers_open=totals["open"],
                producers_closed=totals["closed"],
                producers_lost=totals["lost"],
                reasons=dict(zip(names, times, strict=True)),
            )
            looks.append((counts, totals, int(oldest or 0) / 1000, int(due) / 1000 if due else None))
        return looks

    def counts(self) -> Counts:
        return add_up([counts for counts, *_ in self.looks()])

    def shards(self) -> tuple[Shard, ...]:
        memory: dict[str, int] = {}
        rows = []
        for number, (counts, _, oldest_s, due_s) in enumerate(self.looks()):
            place = self._wire.place(self._shards.key(number))
            if place not in memory:
                memory[place] = int(self._wire.info(place).get("used_memory", 0))
            rows.append(
                Shard(
                    number=number,
                    counts=counts,
                    oldest_s=oldest_s,
                    next_due_s=due_s,
                    place=place,
                    memory_bytes=memory[place],
                )
            )
        return tuple(rows)

    def workers(self) -> tuple[WorkerRow, ...]:
        found: dict[str, WorkerRow] = {}
        for shard in range(self._shards.count):
            for name, packed in self.hash(shard, "workers"):
                pages, seen_ms, leased = unpack_worker(packed)
                before = found.get(name, WorkerRow(name=name))
                found[name] = WorkerRow(
                    name=name,
                    leased=before.leased + leased,
                    pages=before.pages + pages,
                    seen_ms=max(before.seen_ms, seen_ms),
                )
        return tuple(row for _, row in sorted(found.items()))

    # Dead letters

    def letters(self, *, reason: str | None, host: str | None, print_: int | None = None) -> Iterator[DeadLetter]:
        """Those that match all given, in order of death."""
        found = [
            (letter for _, letter in self.letters_of(shard, reason=reason, host=host, print_=print_))
            for shard in range(self._shards.count)
        ]
        return merge(*found, key=lambda letter: letter.died_ms) if len(found) > 1 else found[0]

    def letters_of(
        self, shard: int, *, reason: str | None, host: str | None, print_: int | None
    ) -> Iterator[tuple[int, DeadLetter]]:
        """The number of its death, and the letter. Cost: all dead letters of the shard are read, a trip each 200."""
        key, prefix = self.at(shard)
        after = b"0"
        while rows := self._wire.call(
            key, "ZRANGEBYSCORE", f"{prefix}dead", b"(" + after, "+inf", "WITHSCORES", "LIMIT", 0, PIECE
        ):
            after = rows[-1]
            for member, score in zip(rows[::2], rows[1::2], strict=True):
                letter = unpack_letter(member)
                if (
                    reason in (None, letter.reason)
                    and host in (None, letter.host)
                    and print_ in (None, letter.fingerprint)
                    and score.isdigit()
                ):
                    yield int(score), letter

    def delayed(self, shard: int) -> Iterator[tuple[bytes, int, Entry]]:
        """Members of `delayed`, with when they are due (ms of the shard's time), in order."""
        rows = self._scored(*self._key(shard, "delayed"))
        return ((member, int(score), unpack_entry(member[6:])) for member, score in rows)

    def skew(self, shard: int) -> int:
        """How far the shard's time is ahead of the server's clock, in ms."""
        key = self._shards.key(shard)
        return whole_number(self._wire.call(key, "HGET", key, "skew"), f"{key} skew")

    def leases(self, shard: int) -> Iterator[tuple[Entry, str, int]]:
        """Leased pages: entry, worker, when the lease lapses (ms of the shard's time)."""
        ends = {member.partition(b" ")[0]: int(score) for member, score in self._scored(*self._key(shard, "expiry"))}
        taken = dict(self.hash(shard, "taken"))
        for serial, packed in self.hash(shard, "leases"):
            found = unpack_lease(packed, taken.get(serial))
            if found is not None:
                yield *found, ends.get(serial.encode(), 0)

    def suspects(self, shard: int) -> Iterator[Entry]:
        return (unpack_entry(member[6:]) for member, _ in self._scored(*self._key(shard, "suspects")))

    # Where requests are

    def seen(self, print_: int, host: str) -> bool:
        shard = self._shards.of(host)
        key, prefix = self.at(shard)
        buckets = max(1, unpack_totals(self._shards.run("look", shard)[0])["buckets"])
        level = 1 << (buckets.bit_length() - 1)
        low = print_ & (level - 1)
        bucket = low if low >= buckets - level else print_ & (2 * level - 1)
        return bool(self._wire.call(key, "SISMEMBER", f"{prefix}seen:{bucket}", print_))

    def ready(self, host: str) -> Iterator[Entry]:
        """A host's READY requests in the order of rule 10."""
        key, prefix = self.at(self._shards.of(host))
        lifo = self._shards.rules.order == "lifo"
        sign = -1 if lifo else 1
        for priority in range(PRIORITY_MAX, -1, -1):
            rank = PRIORITY_MAX - priority
            back = [
                unpack_entry(member)
                for member in self._wire.call(
                    key, "ZRANGEBYSCORE", f"{prefix}back:{host}", rank << 48, f"({(rank + 1) << 48}"
                )
            ]
            back.sort(key=lambda entry: sign * entry.number)
            queued = self._queued(key, f"{prefix}q:{priority}:{host}", host, priority, lifo=lifo)
            yield from merge(back, queued, key=lambda entry: sign * entry.number)

    def _queued(self, key: str, queue: str, host: str, priority: int, *, lifo: bool) -> Iterator[Entry]:
        start = 0
        while True:
            first, last = (-start - PIECE, -start - 1) if lifo else (start, start + PIECE - 1)
            raws = self._wire.call(key, "LRANGE", queue, first, last)
            for raw in reversed(raws) if lifo else raws:
                yield unpack_queued(raw, host, priority)
            if len(raws) < PIECE:
                return
            start += PIECE

    # Plumbing

    def at(self, shard: int) -> tuple[str, str]:
        return self._shards.key(shard), self._shards.prefix(shard)

    def _key(self, shard: int, name: str) -> tuple[str, str]:
        key, prefix = self.at(shard)
        return key, f"{prefix}{name}"

    def hash(self, shard: int, name: str) -> Iterator[tuple[str, bytes]]:
        """Fields and values of a hash; a field that moves meanwhile comes once (HSCAN may give it twice)."""
        key, full = self._key(shard, name)
        cursor, seen = b"0", set()
        while True:
            cursor, flat = self._wire.call(key, "HSCAN", full, cursor, "COUNT", 500)
            for field, value in zip(flat[::2], flat[1::2], strict=True):
                if field not in seen:
                    seen.add(field)
                    yield field.decode(errors="replace"), value
            if cursor in (b"0", 0):
                return

    def _scored(self, key: str, name: str) -> Iterator[tuple[bytes, float]]:
        start = 0
        while rows := self._wire.call(key, "ZRANGE", name, start, start + PIECE - 1, "WITHSCORES"):
            scored = zip(rows[::2], map(float, rows[1::2]), strict=True)
            yield from ((member, score) for member, score in scored if isfinite(score))
            start += PIECE


def add_up(all_counts: list[Counts]) -> Counts:
    """One crawl's counts from those of its shards."""
    if len(all_counts) == 1:
        return all_counts[0]
    reasons: Counter[str] = Counter()
    for counts in all_counts:
        reasons.update(counts.reasons)
    fields = [field for field in Counts.__struct_fields__ if field != "reasons"]
    return Counts(
        **{field: sum(getattr(counts, field) for counts in all_counts) for field in fields}, reasons=dict(reasons)
    )
