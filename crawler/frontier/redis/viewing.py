"""Where a request is, and what waits: `Frontier.trace` and `Frontier.peek` over what `Reading` reads."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

from crawler.frontier.redis.hosts import Hosts
from crawler.frontier.redis.reading import Reading
from crawler.frontier.redis.record import Entry
from crawler.url import visit_print
from crawler.view import Trace


def trace(reading: Reading, print_: int, host: str, now: int) -> Trace:
    """`Frontier.trace`."""
    if not reading.seen(print_, host):
        return Trace(fingerprint=print_, state="unseen", host=host)
    for found in _places(reading, host, now):
        if found.fingerprint == print_:
            return found
    return Trace(fingerprint=print_, state="done", host=host)


def _places(reading: Reading, host: str, now: int) -> Iterator[Trace]:
    """All that the host has, and all that is leased, suspect or dead in its shard."""
    shard = reading.shard_of(host)
    yield from _ready(reading, host)
    time = now + reading.skew(shard)
    for entry, worker, ends_ms in reading.leases(shard):
        yield _trace(entry, "leased", worker=worker, due_s=max(0, ends_ms - time) / 1000)
    yield from _delayed(reading, shard, host, time)
    for entry in reading.suspects(shard):
        yield _trace(entry, "suspect")
    for _, letter in reading.letters_of(shard, reason=None, host=host, print_=None):
        yield Trace(
            fingerprint=letter.fingerprint,
            state="dead",
            request=letter.request,
            host=letter.host,
            attempts=letter.attempts,
            crashes=letter.crashes,
            reason=letter.reason,
            detail=letter.detail,
            died_ms=letter.died_ms,
        )


def peek(reading: Reading, hosts: Hosts, host: str | None, limit: int, now: int) -> tuple[Trace, ...]:
    """`Frontier.peek`."""
    shards = reading.numbers() if host is None else (reading.shard_of(host),)
    ready = (
        (row for shard in shards for row in _rounds(reading, hosts, shard)) if host is None else _ready(reading, host)
    )
    found = list(islice(ready, limit))
    for shard in shards:
        rows = _delayed(reading, shard, host, now + reading.skew(shard))
        found += islice(rows, limit - len(found))
    return tuple(found)


def _rounds(reading: Reading, hosts: Hosts, shard: int) -> Iterator[Trace]:
    """One of each host in each round."""
    turn = [_ready(reading, host) for host in hosts.turns(shard)]
    while turn:
        again = []
        for rows in turn:
            if (row := next(rows, None)) is not None:
                yield row
                again.append(rows)
        turn = again


def _ready(reading: Reading, host: str) -> Iterator[Trace]:
    return (_trace(entry, "ready", ahead=ahead) for ahead, entry in enumerate(reading.ready(host)))


def _delayed(reading: Reading, shard: int, host: str | None, time: int) -> Iterator[Trace]:
    for _, due_ms, entry in reading.delayed(shard):
        if host in (None, entry.host):
            yield _trace(entry, "delayed", due_s=max(0, due_ms - time) / 1000)


def _trace(entry: Entry, state: Literal["ready", "delayed", "leased", "suspect"], **facts: Any) -> Trace:
    request = entry.request()
    return Trace(
        fingerprint=visit_print(request),
        state=state,
        request=request,
        host=entry.host,
        attempts=entry.attempts,
        crashes=entry.crashes,
        **facts,
    )
