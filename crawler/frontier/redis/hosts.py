"""What is known about hosts: their records, and what their queues hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from crawler.error import BadRecord
from crawler.frontier.host import HostState
from crawler.frontier.redis.reading import PIECE, Reading
from crawler.frontier.redis.record import HOST, UNREADABLE, origins, unpack_host, whole_number
from crawler.frontier.redis.shards import Shards
from crawler.model import PRIORITY_MAX, Robots, Rules
from crawler.url import host as host_of
from crawler.view import Host

_robots = msgspec.msgpack.Decoder(tuple[str, int, int, str])
_SAME = tuple(field for field in HostState.__struct_fields__ if field in HOST and field != "id")
_NEVER_MET = {"id": 0, "mask": 0, "back": 0}


class _Row(NamedTuple):
    """A record, and how many requests are READY: the record says that only as 0 or more (shard.lua)."""

    name: str
    record: dict[str, Any]
    ready: int


class Hosts:
    """The hosts of `Shards`."""

    def __init__(self, shards: Shards, reading: Reading) -> None:
        self._shards = shards
        self._reading = reading
        self._generations: dict[int, int] = {}  # as last seen, by shard

    def one(self, name: str, now: int | None) -> Host:
        """`now`: None for the server's. One trip, two the first time and where priorities other than 0 wait."""
        shard = self._shards.of(name)
        key = self._shards.key(shard)
        while True:
            known = self._generations.get(shard, 0)  # another thread may change it meanwhile
            prefix = f"{key}:{known}:"
            (seconds, micros), (generation, skewed), packed, texts, usual = self._shards.wire.calls(
                [
                    (key, ("TIME",)),
                    (key, ("HMGET", key, "generation", "skew")),
                    (key, ("HGET", f"{prefix}hosts", name)),
                    (key, ("HMGET", f"{prefix}robots", *origins(name))),
                    (key, ("LLEN", _queue(prefix, 0, name))),
                ]
            )
            number = whole_number(generation, f"{key} generation")
            if number == known:
                break
            self._generations[shard] = number
        record = _record(packed)
        if record is _NEVER_MET:
            return Host(name=name)
        usual_only = record["mask"] in (0, 1)
        ready = usual + record["back"] if usual_only else self._with_ready(shard, [(name, record)])[0].ready
        now = int(seconds) * 1000 + int(micros) // 1000 if now is None else now
        skew = whole_number(skewed, f"{key} skew")
        robots = [_robots_record(origin, text) for origin, text in zip(origins(name), texts, strict=True) if text]
        valid = tuple(sorted((one for one, expires in robots if expires > now), key=lambda one: one.origin))
        return _public(_Row(name, record, ready), now + skew, self._shards.rules, valid)

    def robots(self, origins: Sequence[str]) -> tuple[Robots, ...]:
        """`Frontier.robots`. One trip."""
        asked: dict[int, list[str]] = {}
        for origin in origins:
            asked.setdefault(self._shards.of(host_of(f"{origin}/")), []).append(origin)
        calls = self._shards.grouped(asked)
        valid: dict[str, Robots] = {}
        for (_, some), (now, *packed) in zip(calls, self._shards.runs("robots", calls), strict=True):
            found = [_robots_record(*one) for one in zip(some, packed, strict=True) if one[1]]
            valid |= {one.origin: one for one, expires in found if expires > int(now)}
        return tuple(valid[origin] for origin in origins if origin in valid)

    def most(self, limit: int, now: int) -> tuple[Host, ...]:
        """Those with the most READY requests (`Frontier.hosts`). Cost: a walk over all hosts, two trips each PIECE."""
        rows = []
        for shard in range(self._shards.count):
            skew = self._reading.skew(shard)
            for row in self._rows(shard):
                rows.append((_public(row, now + skew, self._shards.rules, ()), row.record["id"]))
        rows.sort(key=lambda row: (-row[0].ready, row[1]))
        return tuple(host for host, _ in rows[:limit])

    def names(self, shard: int) -> Iterator[str]:
        return (name for name, _ in self._reading.hash(shard, "hosts"))

    def turns(self, shard: int) -> list[str]:
        """Hosts with READY requests, in the order in which they take turns (`Frontier.peek`)."""
        turns = [
            (max(host["due_ms"], host["next_ms"], host["paused_ms"]), host["id"], name)
            for name, host in self._records(shard)
            if host is not _NEVER_MET and host["ready"]
        ]
        return [name for *_, name in sorted(turns)]

    def _records(self, shard: int) -> Iterator[tuple[str, dict[str, Any]]]:
        return ((name, _record(packed)) for name, packed in self._reading.hash(shard, "hosts"))

    def _rows(self, shard: int) -> Iterator[_Row]:
        records = self._records(shard)
        while piece := list(islice(records, PIECE)):
            yield from self._with_ready(shard, piece)

    def _with_ready(self, shard: int, records: Sequence[tuple[str, dict[str, Any]]]) -> list[_Row]:
        key, prefix = self._reading.at(shard)
        queues = [_priorities(host["mask"]) for _, host in records]
        lengths = iter(
            self._shards.wire.calls(
                [
                    (key, ("LLEN", _queue(prefix, priority, name)))
                    for (name, _), some in zip(records, queues, strict=True)
                    for priority in some
                ]
            )
        )
        return [
            _Row(name, host, host["back"] + sum(islice(lengths, len(some))))
            for (name, host), some in zip(records, queues, strict=True)
        ]


def _record(packed: bytes | None) -> dict[str, Any]:
    """A damaged one is that of a host never met."""
    try:
        return _NEVER_MET if packed is None else unpack_host(packed)
    except BadRecord:
        return _NEVER_MET


def _priorities(mask: int) -> list[int]:
    return [priority for priority in range(PRIORITY_MAX + 1) if mask >> priority & 1]


def _queue(prefix: str, priority: int, name: str) -> str:
    return f"{prefix}q:{priority}:{name}"


def _public(row: _Row, now: int, rules: Rules, robots: tuple[Robots, ...]) -> Host:
    name, host, ready = row
    if host is _NEVER_MET:
        return Host(name=name)
    state = HostState(
        host["id"],
        name,
        delay_ms=host["own_delay"] - 1 if host["own_delay"] else None,
        per_host=host["own_width"] - 1 if host["own_width"] else None,
        **{field: host[field] for field in _SAME},
    )
    return state.public(rules, now, ready=ready, robots=robots)


def _robots_record(origin: str, packed: bytes) -> tuple[Robots, int]:
    """The record and when it expires; a damaged one is one that has expired."""
    try:
        expires_s, expires_ms, fetched_ms, text = _robots.decode(packed)
        return Robots(origin=origin, text=text, expires_s=float(expires_s), fetched_ms=fetched_ms), expires_ms
    except UNREADABLE:
        return Robots(origin=origin), 0
