"""Admission: requests as rows for add.lua, by shard, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from crawler.codec import encode_request
from crawler.error import LeaseLost
from crawler.frontier.redis.record import LOW_BITS, origin_number, pack
from crawler.frontier.redis.shards import CALL_BYTES_MAX, CALL_MAX, PRODUCER, TRIP_BYTES_MAX, Shards
from crawler.model import REQUEST_BYTES_MAX, Added, Request
from crawler.url import host as host_of
from crawler.url import visit_print

_FULL, _LOST = 1, 2
Batch = tuple[int, tuple[Sequence[str], Sequence[Any]]]
"""A shard; names of hosts, and rows."""


def add(shards: Shards, requests: Sequence[Request], producer: str | None, full: Callable[[], bool]) -> Added:
    """`Frontier.add`. `full`: whether producers must wait, where no single script can see it."""
    distinct: dict[int, Request] = {}
    for request in requests:
        distinct.setdefault(visit_print(request), request)
    batches = _batches(shards, distinct)
    answers: list[Any] = []
    if producer is not None:
        # The check goes with the first rows where one shard can see to all, else before them.
        together = shards.count == 1 and bool(batches)
        answers = _add(shards, batches[:1] if together else [(0, ((), ()))], _number(shards, producer))
        state = answers[0][0]
        if state == _LOST:
            raise LeaseLost(f"producer {producer} is no longer current")
        if state == _FULL or full():
            return Added(full=True)
        batches = batches[1:] if together else batches
    answers += _add(shards, batches)
    new = sum(answer[1] for answer in answers)
    too_large = {int(text) for answer in answers for text in answer[2]}
    refused = sum(visit_print(request) in too_large for request in requests) if too_large else 0
    return Added(new=new, known=len(requests) - new - refused, refused=refused)


def _number(shards: Shards, producer: str) -> int:
    _, number, kind = shards.parse(producer)
    if kind != PRODUCER or number < 1:
        raise LeaseLost(f"producer {producer} is no longer current")
    return number


def _batches(shards: Shards, distinct: dict[int, Request]) -> list[Batch]:
    """Hosts and rows for add.lua, by shard, in calls that one script may take."""
    batches: dict[int, list[tuple[dict[str, int], list[Any]]]] = {}
    sizes: dict[int, int] = {}
    for print_, request in distinct.items():
        url = request.url
        host = host_of(url)
        shard = shards.of(host)
        payload = encode_request(request)
        calls = batches.setdefault(shard, [({}, [])])
        size = sizes.get(shard, 0) + len(payload)
        if len(calls[-1][1]) == CALL_MAX or (size > CALL_BYTES_MAX and calls[-1][1]):
            calls.append(({}, []))
            size = len(payload)
        sizes[shard] = size
        hosts, rows = calls[-1]
        rows.append(
            (
                hosts.setdefault(host, len(hosts) + 1),
                str(print_),
                print_ & LOW_BITS,
                origin_number(url),
                request.priority,
                request.not_before_ms,
                payload.decode() if len(payload) <= REQUEST_BYTES_MAX else False,
            )
        )
    return [(shard, (tuple(hosts), rows)) for shard, calls in batches.items() for hosts, rows in calls]


def _add(shards: Shards, batches: Sequence[Batch], producer: int = 0) -> list[Any]:
    answers: list[Any] = []
    calls: list[tuple[int, tuple[bytes]]] = []
    size = 0
    for shard, batch in batches:
        packed = pack((producer, *batch))
        if calls and size + len(packed) > TRIP_BYTES_MAX:
            answers += shards.runs("add", calls, durable=True)
            calls, size = [], 0
        calls.append((shard, (packed,)))
        size += len(packed)
    return answers + shards.runs("add", calls, durable=True) if calls else answers
