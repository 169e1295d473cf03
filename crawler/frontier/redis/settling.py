"""The ends of leases: outcomes, releases, reports of ended fetches, renewals. By shard, in calls that scripts take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from crawler.frontier.host import with_times
from crawler.frontier.policy import ms
from crawler.frontier.redis.record import EMPTY, pack
from crawler.frontier.redis.shards import Shards
from crawler.model import Bury, Done, Outcome, Settlement

_list = msgspec.msgpack.Decoder(list[int])

Row = tuple[str, tuple[Any, ...]]
"""A token, and what the script gets for it."""
Call = tuple[int, Sequence[Row]]
"""A shard, and rows."""


def settle(shards: Shards, settlements: Sequence[Settlement]) -> tuple[str, ...]:
    """Returns the stale tokens. One trip, more when large requests are to be tried again or buried."""
    rows: dict[int, list[Row]] = {}
    for one in settlements:
        shard, serial, request_id = shards.parse(one.token)
        rows.setdefault(shard, []).append((one.token, (str(serial), request_id, *_outcome(one.outcome))))
    return _answered(shards, "settle", rows, durable=True)


def renew(shards: Shards, tokens: Sequence[str]) -> tuple[str, ...]:
    """Returns the lost tokens. One trip, also without any: the server sees that somebody is there."""
    return _answered(shards, "renew", _rows(shards, tokens) or {0: []})


def tell(shards: Shards, name: str, tokens: Sequence[str], seconds: Sequence[float] = ()) -> None:
    """Run `fetched` or `release` for these tokens. One trip, more when large requests are released."""
    calls = shards.grouped(_rows(shards, tokens, seconds))
    while calls:
        calls = _rest(calls, _run(shards, name, calls))


def _rows(shards: Shards, tokens: Sequence[str], seconds: Sequence[float] = ()) -> dict[int, list[Row]]:
    rows: dict[int, list[Row]] = {}
    for token, took_ms in with_times(tokens, seconds):
        shard, serial, request_id = shards.parse(token)
        row: tuple[Any, ...] = (str(serial), request_id)
        row = (*row, took_ms) if took_ms else row
        rows.setdefault(shard, []).append((token, row))
    return rows


def _answered(shards: Shards, name: str, rows: dict[int, list[Row]], *, durable: bool = False) -> tuple[str, ...]:
    """The tokens whose positions the scripts return."""
    calls = shards.grouped(rows) or [(shard, ()) for shard in rows]
    found = []
    while calls:
        replies = _run(shards, name, calls, durable=durable)
        for (_, some), (packed, _) in zip(calls, replies, strict=True):
            found += [some[position][0] for position in ([] if packed in EMPTY else _list.decode(packed))]
        calls = _rest(calls, [count for _, count in replies])
    return tuple(found)


def _run(shards: Shards, name: str, calls: Sequence[Call], *, durable: bool = False) -> list[Any]:
    packed = [(shard, (pack([row for _, row in some]),)) for shard, some in calls]
    return shards.runs(name, packed, durable=durable)


def _rest(calls: Sequence[Call], counts: Sequence[int]) -> list[Call]:
    """What the scripts left for another call."""
    return [(shard, some[count:]) for (shard, some), count in zip(calls, counts, strict=True) if count < len(some)]


def _outcome(outcome: Outcome) -> tuple[Any, ...]:
    """Kind, reason, detail, delay_ms, host_blamed, bytes, items, fetched, as settle.lua takes them."""
    if isinstance(outcome, Done):
        return 0, outcome.reason, "", 0, 0, outcome.bytes, outcome.items, int(outcome.fetched)
    if isinstance(outcome, Bury):
        return 2, outcome.reason, outcome.detail, 0, 0, 0, 0, int(outcome.fetched)
    return 1, outcome.reason, "", ms(outcome.delay_s), int(outcome.blame == "host"), 0, 0, 1
