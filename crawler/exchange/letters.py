"""Looking at the exchange's tables and handling dead items: what people ask for, not consumers."""

from __future__ import annotations

import sqlite3

from crawler.codec import decode_message
from crawler.error import BadRecord
from crawler.exchange.tables import Tables
from crawler.model import DeadItem, Message
from crawler.view import QueueCounts


def counts(db: sqlite3.Connection, now_ms: int) -> dict[str, QueueCounts]:
    """By queue, from counters kept in the transitions. Cost: three small reads a queue."""
    rows = db.execute(
        "SELECT name, ready, delayed, suspects, dead, done,"
        " (SELECT count(*) FROM x_lease l JOIN x_batch b ON b.id = l.batch WHERE b.queue = q.id),"
        " (SELECT at_ms FROM x_message WHERE number = (SELECT min(number) FROM x_ready WHERE queue = q.id))"
        " FROM x_queue q ORDER BY id"
    )
    return {
        name: QueueCounts(
            ready=ready,
            delayed=delayed,
            leased=leased,
            suspects=suspects,
            dead=dead,
            done=done,
            oldest_ready_s=0.0 if at_ms is None else max(0, now_ms - at_ms) / 1_000,
        )
        for name, ready, delayed, suspects, dead, done, leased, at_ms in rows
    }


def dead(db: sqlite3.Connection, queue: str | None, reason: str | None, limit: int, after: int) -> tuple[DeadItem, ...]:
    """In order of death."""
    rows = db.execute(
        "SELECT q.name, m.payload, d.reason, d.detail, d.attempts, d.crashes, d.died_ms FROM x_dead d"
        " JOIN x_queue q ON q.id = d.queue JOIN x_message m ON m.number = d.number"
        " WHERE (?1 IS NULL OR q.name = ?1) AND (?2 IS NULL OR d.reason = ?2) ORDER BY d.id LIMIT ?3 OFFSET ?4",
        (queue, reason, limit, after),
    )
    return tuple(
        DeadItem(
            queue=name,
            message=_message(payload),
            reason=why,
            detail=detail,
            attempts=attempts,
            crashes=crashes,
            died_ms=died_ms,
        )
        for name, payload, why, detail, attempts, crashes, died_ms in rows
    )


def _message(payload: bytes) -> Message:
    """Of a damaged record nothing is known; its reason and detail say the rest."""
    try:
        return decode_message(payload)
    except BadRecord:
        return Message(id="", kind="", url="", fetched_at="", spider="")


def kick(tables: Tables, queue: str | None, reason: str | None, id: str | None) -> int:
    """Dead items that match all given are ready again, uncharged, in their old place."""
    taken = tables.from_dead(queue, reason, id)
    for line, number in taken:
        tables.to_ready(line, [(number, 0, 0)])
    tables.flush()
    return len(taken)


def drop(tables: Tables, queue: str | None, reason: str | None, id: str | None) -> int:
    taken = tables.from_dead(queue, reason, id)
    for line, number in taken:
        tables.end(line, [number])
    tables.flush()
    return len(taken)


def clear(db: sqlite3.Connection) -> None:
    """All but the queues themselves."""
    for table in ("x_message", "x_ready", "x_delayed", "x_suspect", "x_batch", "x_lease", "x_dead"):
        db.execute(f"DELETE FROM {table}")
    db.execute("UPDATE x_queue SET ready = 0, delayed = 0, suspects = 0, dead = 0, done = 0, emptying = NULL")
