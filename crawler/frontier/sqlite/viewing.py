"""Where a request is, what waits, how the file stands. Reads only: no worker waits for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from crawler.frontier.policy import next_due_s
from crawler.frontier.sqlite.letters import request as decode
from crawler.frontier.sqlite.reading import counts
from crawler.view import Shard, Trace

_REQUEST = "r.fp, r.payload, r.attempts, r.crashes"
_OF_REQUEST = "CROSS JOIN request r ON r.id = {}.request"
_HOST_OF_REQUEST = "CROSS JOIN origin o ON o.id = r.origin CROSS JOIN host h ON h.id = o.host"

# In each the fingerprint is the last parameter. CROSS JOIN: the small table first, never all requests.
_READY = f"""
    SELECT {_REQUEST}, (SELECT count(*) FROM ready p WHERE p.host = q.host AND p.place < q.place)
    FROM ready q {_OF_REQUEST.format("q")} WHERE q.host = (SELECT id FROM host WHERE name = ?) AND r.fp = ?"""
_DELAYED = f"SELECT {_REQUEST}, d.due_ms FROM delayed d {_OF_REQUEST.format('d')} WHERE r.fp = ?"
_LEASED = f"""
    SELECT {_REQUEST}, l.expires_ms, b.worker
    FROM lease l {_OF_REQUEST.format("l")} CROSS JOIN batch b ON b.id = l.batch WHERE r.fp = ?"""
_SUSPECT = f"SELECT {_REQUEST} FROM suspect s {_OF_REQUEST.format('s')} WHERE r.fp = ?"
_DEAD = f"SELECT {_REQUEST}, d.reason, d.detail, d.died_ms FROM dead d {_OF_REQUEST.format('d')} WHERE d.fp = ?"

# Rule 10 without its limits: round by round one of each host.
_PEEK_READY = f"""
    WITH turns AS MATERIALIZED (
        SELECT id, name, max(due_ms, next_ms, paused_ms) AS turn_ms FROM host
        WHERE queued > 0 AND coalesce(:host, name) = name ORDER BY turn_ms, id LIMIT :limit),
    walk(round, turn_ms, host, name, place, request) AS (
        SELECT 1, t.turn_ms, t.id, t.name, q.place, q.request FROM turns t
        CROSS JOIN ready q ON q.host = t.id AND q.place = (SELECT min(place) FROM ready WHERE host = t.id)
        UNION ALL
        SELECT w.round + 1, w.turn_ms, w.host, w.name, q.place, q.request FROM walk w
        CROSS JOIN ready q ON q.host = w.host
            AND q.place = (SELECT min(place) FROM ready WHERE host = w.host AND place > w.place)
        ORDER BY 1, 2, 3 LIMIT :limit)
    SELECT w.name, {_REQUEST}, w.round - 1 FROM walk w {_OF_REQUEST.format("w")} ORDER BY w.round, w.turn_ms, w.host"""
_PEEK_DELAYED = f"""
    SELECT h.name, {_REQUEST}, d.due_ms FROM delayed d {_OF_REQUEST.format("d")} {_HOST_OF_REQUEST}
    WHERE coalesce(:host, h.name) = h.name ORDER BY d.due_ms, d.request LIMIT :limit"""
_TIMES = "SELECT (SELECT min(ready_ms) FROM host WHERE ready_ms IS NOT NULL), (SELECT min(due_ms) FROM delayed)"

Row = tuple[Any, ...]


def trace(db: sqlite3.Connection, fingerprint: int, host: str, now: int) -> Trace:
    """Cost: one look at each request that is ready on the host, delayed, leased or suspect."""
    if not db.execute("SELECT 1 FROM seen WHERE fp = ?", (fingerprint,)).fetchone():
        return Trace(fingerprint=fingerprint, state="unseen", host=host)
    for row in db.execute(_READY, (host, fingerprint)):
        return _ready(host, row)
    for row in db.execute(_DELAYED, (fingerprint,)):
        return _delayed(host, row, now)
    for row in db.execute(_LEASED, (fingerprint,)):
        return Trace(state="leased", due_s=_seconds(row[4], now), worker=row[5], **_common(host, row))
    for row in db.execute(_SUSPECT, (fingerprint,)):
        return Trace(state="suspect", **_common(host, row))
    for row in db.execute(_DEAD, (fingerprint,)):
        return Trace(state="dead", reason=row[4], detail=row[5], died_ms=row[6], **_common(host, row))
    return Trace(fingerprint=fingerprint, state="done", host=host)


def peek(db: sqlite3.Connection, host: str | None, limit: int, now: int) -> tuple[Trace, ...]:
    """Cost: one look at each host without one given, at each delayed request if the ready ones are too few."""
    found = [_ready(name, row) for name, *row in db.execute(_PEEK_READY, {"host": host, "limit": max(0, limit)})]
    rest: Iterable[Row] = ()
    if len(found) < limit:
        rest = db.execute(_PEEK_DELAYED, {"host": host, "limit": limit - len(found)})
    return (*found, *(_delayed(name, row, now) for name, *row in rest))


def shard(db: sqlite3.Connection, now: int) -> Shard:
    """The only one."""
    first_ms, delayed_ms = db.execute(_TIMES).fetchone()
    return Shard(
        number=0,
        counts=counts(db),
        oldest_s=0.0 if first_ms is None else max(0, now - first_ms) / 1000,
        next_due_s=next_due_s(now, first_ms, delayed_ms),
    )


def _ready(host: str, row: Row | list[Any]) -> Trace:
    return Trace(state="ready", ahead=row[4], **_common(host, row))


def _delayed(host: str, row: Row | list[Any], now: int) -> Trace:
    return Trace(state="delayed", due_s=_seconds(row[4], now), **_common(host, row))


def _common(host: str, row: Row | list[Any]) -> dict[str, Any]:
    fingerprint, payload, attempts, crashes = row[:4]
    request = decode(payload, host)
    return {"fingerprint": fingerprint, "request": request, "host": host, "attempts": attempts, "crashes": crashes}


def _seconds(time_ms: int, now: int) -> float:
    return max(0, time_ms - now) / 1000
