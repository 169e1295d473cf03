"""What the reference answers when it is only asked: where a request is, what waits, how the crawl stands."""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import Any, Literal

from crawler.frontier.host import HostState
from crawler.frontier.memory_parts import Entry
from crawler.frontier.memory_state import State
from crawler.frontier.policy import next_due_s
from crawler.view import Counts, Shard, Trace

Place = Literal["ready", "delayed", "leased", "suspect", "dead"]


def trace(state: State, fingerprint: int, host: str, now: int) -> Trace:
    """`Frontier.trace`."""
    if fingerprint not in state.seen:
        return Trace(fingerprint=fingerprint, state="unseen", host=host)
    known = state.hosts.get(host)
    waiting = chain(_ready(state, known), _delayed(state, known, now)) if known is not None else ()
    for one in waiting:
        if one.fingerprint == fingerprint:
            return one
    for holding in state.leases.values():
        entry = holding.entry
        if entry is not None and entry.fingerprint == fingerprint:
            due_s = max(0, holding.expires_ms - now) / 1000
            return _trace(entry, "leased", due_s=due_s, worker=holding.worker)
    for entry in state.suspects.values():
        if entry.fingerprint == fingerprint:
            return _trace(entry, "suspect")
    for letter, entry in state.dead.values():
        if entry.fingerprint == fingerprint:
            return _trace(entry, "dead", reason=letter.reason, detail=letter.detail, died_ms=letter.died_ms)
    return Trace(fingerprint=fingerprint, state="done", host=host)


def peek(state: State, host: str | None, limit: int, now: int) -> tuple[Trace, ...]:
    """`Frontier.peek`."""
    if host is not None:
        known = state.hosts.get(host)
        return (*_ready(state, known), *_delayed(state, known, now))[:limit] if known is not None else ()
    turn = sorted(state.hosts.values(), key=lambda one: (one.turn_ms(), one.id))
    rounds = zip_longest(*(_ready(state, one) for one in turn))
    ready = [one for round in rounds for one in round if one is not None]
    return (*ready, *_delayed(state, None, now))[:limit]


def shard(state: State, counts: Counts, now: int) -> Shard:
    """`Frontier.shards`: the only one."""
    first_ms = min((one for one in state.ready_ms.values() if one is not None), default=None)
    delayed_ms = state.delayed[0][0] if state.delayed else None
    return Shard(
        number=0,
        counts=counts,
        oldest_s=0.0 if first_ms is None else max(0, now - first_ms) / 1000,
        next_due_s=next_due_s(now, first_ms, delayed_ms),
    )


def _ready(state: State, host: HostState) -> list[Trace]:
    """In the order of rule 10."""
    rows = sorted(state.ready[host.id], key=lambda row: row[0])
    return [_trace(entry, "ready", ahead=ahead) for ahead, (_, entry) in enumerate(rows)]


def _delayed(state: State, host: HostState | None, now: int) -> list[Trace]:
    """By time; of one host, or of all."""
    rows = sorted((due_ms, number) for due_ms, number, _ in state.delayed)
    entries = {number: entry for _, number, entry in state.delayed}
    return [
        _trace(entries[number], "delayed", due_s=max(0, due_ms - now) / 1000)
        for due_ms, number in rows
        if host is None or entries[number].host is host
    ]


def _trace(entry: Entry, state: Place, **fields: Any) -> Trace:
    return Trace(
        fingerprint=entry.fingerprint,
        state=state,
        request=entry.request,
        host=entry.host.name,
        attempts=entry.attempts,
        crashes=entry.crashes,
        **fields,
    )
