"""The ends of leases: outcomes, releases, reports of ended fetches, renewals. By shard, in calls that scripts take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from crawler.frontier.policy import ms
from crawler.frontier.redis.record import pack
from crawler.frontier.redis.shards import Shards
from crawler.model import Bury, Done, Outcome, Settlement

_list = msgspec.msgpack.Decoder(list[int])
_EMPTY = (b"\x80", b"\x90")
"""How the server's Lua packs a table without elements."""


def settle(shards: Shards, settlements: Sequence[Settlement]) -> tuple[str, ...]:
    """Returns the stale tokens. One trip."""
    rows: dict[int, list[Any]] = {}
    tokens: dict[int, list[str]] = {}
    for one in settlements:
        shard, serial, request_id = shards.parse(one.token)
        rows.setdefault(shard, []).append((str(serial), request_id, *_outcome(one.outcome)))
        tokens.setdefault(shard, []).append(one.token)
    return _answered(shards, "settle", rows, tokens, durable=True) if rows else ()


def renew(shards: Shards, tokens: Sequence[str]) -> tuple[str, ...]:
    """Returns the lost tokens. One trip."""
    rows, by_shard = _rows(shards, tokens)
    return _answered(shards, "renew", rows or {0: []}, by_shard)


def tell(shards: Shards, name: str, tokens: Sequence[str]) -> None:
    """Run `fetched` or `release` for these tokens. One trip."""
    if tokens:
        calls = shards.grouped(_rows(shards, tokens)[0])
        shards.runs(name, [(shard, (pack(some),)) for shard, some in calls])


def _rows(shards: Shards, tokens: Sequence[str]) -> tuple[dict[int, list[Any]], dict[int, list[str]]]:
    rows: dict[int, list[Any]] = {}
    by_shard: dict[int, list[str]] = {}
    for token in tokens:
        shard, serial, request_id = shards.parse(token)
        rows.setdefault(shard, []).append((str(serial), request_id))
        by_shard.setdefault(shard, []).append(token)
    return rows, by_shard


def _answered(
    shards: Shards, name: str, rows: dict[int, list[Any]], tokens: dict[int, list[str]], *, durable: bool = False
) -> tuple[str, ...]:
    """The tokens whose positions the scripts return."""
    calls = shards.grouped(rows) or [(shard, ()) for shard in rows]
    replies = shards.runs(name, [(shard, (pack(some),)) for shard, some in calls], durable=durable)
    done: dict[int, int] = {}
    found = []
    for (shard, some), reply in zip(calls, replies, strict=True):
        start = done.get(shard, 0)
        positions = [] if reply in _EMPTY else _list.decode(reply)
        found += [tokens[shard][start + position] for position in positions]
        done[shard] = start + len(some)
    return tuple(found)


def _outcome(outcome: Outcome) -> tuple[Any, ...]:
    """Kind, reason, detail, delay_ms, host_blamed, bytes, items, fetched, as settle.lua takes them."""
    if isinstance(outcome, Done):
        return 0, outcome.reason, "", 0, 0, outcome.bytes, outcome.items, int(outcome.fetched)
    if isinstance(outcome, Bury):
        return 2, outcome.reason, outcome.detail, 0, 0, 0, 0, int(outcome.fetched)
    return 1, outcome.reason, "", ms(outcome.delay_s), int(outcome.blame == "host"), 0, 0, 1
