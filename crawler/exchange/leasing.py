"""The lease machine on the exchange's tables: what `crawler/exchange/line.py` does in memory, in statements.

What it remembers besides (the time it was last asked, when the next lease can lapse) only saves work: all that counts
is in the file.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

from crawler.exchange.tables import Row, Tables
from crawler.frontier import REAP_MAX

BATCHES_KEPT: Final = 1_000
"""Batches without leases that are kept, so that a repeated request is known to be one."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    lease_ms: int
    crashes_max: int
    suspect_wait_ms: int


class Look(msgspec.Struct, frozen=True):
    """What a read shows before a lease: the queue's id, and whether taking the write lock can give anything."""

    queue: int
    worth: bool


class Taken(msgspec.Struct, frozen=True):
    """A lease that was current until now."""

    queue: int
    alone: bool
    since_ms: int
    row: Row


Given = tuple[int, int, int, int, bytes]
"""slot, attempts, crashes, alone, payload"""

Most = tuple[int, int]
"""Messages, and bytes of them together (0: any)."""


class Leasing:
    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._asked_ms = 0
        self._lapse_ms: dict[int, int] = {}
        """Queue -> none of its leases lapses before: later leases end later, and renewing only moves on."""

    def look(self, db: sqlite3.Connection, queue: str, request_id: str, now_ms: int) -> Look | None:
        """None: there is no such queue. Cost: one statement."""
        found = db.execute(
            "SELECT id, ready + suspects, (SELECT min(due_ms) FROM x_delayed WHERE queue = x_queue.id),"
            " (SELECT asked_ms FROM x_state), EXISTS (SELECT 1 FROM x_batch WHERE request = ?)"
            " FROM x_queue WHERE name = ?",
            (request_id, queue),
        ).fetchone()
        if found is None:
            return None
        id, waiting, due_ms, asked_ms, repeated = found
        worth = bool(
            waiting
            or repeated
            or (due_ms is not None and due_ms <= now_ms)
            or self._check_silence(asked_ms, now_ms)
            or now_ms - asked_ms > self._terms.lease_ms // 8
            or now_ms >= self._lapse_ms.get(id, 0)
        )
        if not worth:
            self._asked_ms = now_ms
        return Look(id, worth)

    def _check_silence(self, asked_ms: int, now_ms: int) -> bool:
        if self._asked_ms - asked_ms > self._terms.lease_ms // 8:  # another process noticed that the clock went back
            self._asked_ms = 0
            self._lapse_ms.clear()
        return asked_ms > 0 and abs(now_ms - max(asked_ms, self._asked_ms)) > self._terms.lease_ms // 2

    def notice_silence(self, tables: Tables) -> None:
        """After a silence, or a jump of the clock, of more than half a lease every lease begins anew."""
        now_ms = tables.now_ms
        asked_ms: int = tables.db.execute("SELECT asked_ms FROM x_state").fetchone()[0]
        silence = self._check_silence(asked_ms, now_ms)
        if silence:
            tables.db.execute("UPDATE x_lease SET until_ms = ?", (now_ms + self._terms.lease_ms,))
            self._lapse_ms.clear()
        if silence or not asked_ms <= now_ms <= asked_ms + self._terms.lease_ms // 8:
            tables.db.execute("UPDATE x_state SET asked_ms = ?", (now_ms,))
        self._asked_ms = now_ms

    def lease(self, tables: Tables, queue: int, most: Most, consumer: str, request_id: str) -> list[Given]:
        db = tables.db
        self.notice_silence(tables)
        if tables.now_ms >= self._lapse_ms.get(queue, 0):
            self._reap(tables, queue)
        found = db.execute("SELECT id, queue FROM x_batch WHERE request = ?", (request_id,)).fetchone()
        if found is None:
            rows, alone_since_ms = self._choose(tables, queue, most, consumer)
            if not rows:
                return []
            db.execute(
                "DELETE FROM x_batch WHERE queue = ? AND consumer = ?"
                " AND NOT EXISTS (SELECT 1 FROM x_lease WHERE batch = x_batch.id)",
                (queue, consumer),
            )
            batch = db.execute(
                "INSERT INTO x_batch(request, queue, consumer, alone, since_ms) VALUES (?, ?, ?, ?, ?) RETURNING id",
                (request_id, queue, consumer, alone_since_ms is not None, alone_since_ms or 0),
            ).fetchone()[0]
            until_ms = tables.now_ms + self._terms.lease_ms
            db.executemany(
                "INSERT INTO x_lease VALUES (?, ?, ?, ?, ?, ?)",
                [(batch, slot, number, until_ms, tried, died) for slot, (number, tried, died) in enumerate(rows)],
            )
        elif found[1] == queue:
            batch = found[0]
        else:
            return []
        return db.execute(
            "SELECT l.slot, l.attempts, l.crashes, b.alone, m.payload FROM x_lease l JOIN x_batch b ON b.id = l.batch"
            " JOIN x_message m ON m.number = l.number WHERE l.batch = ? ORDER BY l.slot",
            (batch,),
        ).fetchall()

    def _choose(self, tables: Tables, queue: int, most: Most, consumer: str) -> tuple[Sequence[Row], int | None]:
        """What the consumer gets; with the time since which it is a suspect, if it is one."""
        now_ms = tables.now_ms
        holds, oldest_ms, emptying, emptying_until_ms = tables.db.execute(
            "SELECT (SELECT max(alone) FROM x_batch b WHERE b.queue = q.id AND b.consumer = ?"
            "   AND EXISTS (SELECT 1 FROM x_lease WHERE batch = b.id)),"
            " (SELECT min(since_ms) FROM x_suspect WHERE queue = q.id), emptying, emptying_until_ms"
            " FROM x_queue q WHERE q.id = ?",
            (consumer, queue),
        ).fetchone()
        if most[0] <= 0 or holds == 1:
            return (), None
        overdue = oldest_ms is not None and oldest_ms + self._terms.suspect_wait_ms <= now_ms
        if overdue and (emptying in (None, consumer) or emptying_until_ms <= now_ms):
            if holds is None:
                return self._pop_suspect(tables, queue)
            if emptying is None or emptying_until_ms <= now_ms:
                until_ms = now_ms + self._terms.lease_ms
                tables.db.execute(
                    "UPDATE x_queue SET emptying = ?, emptying_until_ms = ? WHERE id = ?", (consumer, until_ms, queue)
                )
            return (), None
        tables.promote(queue, REAP_MAX)
        rows = tables.from_ready(queue, *most)
        if not rows and oldest_ms is not None and holds is None:
            return self._pop_suspect(tables, queue)
        return rows, None

    @staticmethod
    def _pop_suspect(tables: Tables, queue: int) -> tuple[Sequence[Row], int | None]:
        tables.db.execute("UPDATE x_queue SET emptying = NULL WHERE id = ? AND emptying IS NOT NULL", (queue,))
        since_ms, row = tables.from_suspects(queue)
        return (row,), since_ms

    def _reap(self, tables: Tables, queue: int) -> None:
        db = tables.db
        lapsed = db.execute(
            "SELECT l.batch, l.slot, b.alone, l.number, l.attempts, l.crashes FROM x_lease l"
            " JOIN x_batch b ON b.id = l.batch WHERE l.until_ms <= ? AND b.queue = ?"
            " ORDER BY l.until_ms, l.batch, l.slot LIMIT ?",
            (tables.now_ms, queue, REAP_MAX),
        ).fetchall()
        for batch, slot, alone, *row in lapsed:
            db.execute("DELETE FROM x_lease WHERE batch = ? AND slot = ?", (batch, slot))
            tables.lapse(queue, bool(alone), [(row[0], row[1], row[2])], self._terms.crashes_max)
        db.execute(
            "DELETE FROM x_batch WHERE id < (SELECT max(id) - ? FROM x_batch)"
            " AND NOT EXISTS (SELECT 1 FROM x_lease WHERE batch = x_batch.id)",
            (BATCHES_KEPT,),
        )
        first_ms = db.execute(
            "SELECT min(l.until_ms) FROM x_lease l JOIN x_batch b ON b.id = l.batch WHERE b.queue = ?", (queue,)
        ).fetchone()[0]
        self._lapse_ms[queue] = tables.now_ms + self._terms.lease_ms if first_ms is None else first_ms

    def take(self, tables: Tables, tokens: Sequence[str]) -> dict[str, Taken]:
        """End the leases that are current. Cost: two statements for each lease call that they come from."""
        taken: dict[str, Taken] = {}
        for request_id, slots in slots_by_request(tokens).items():
            batch = _batch(tables.db, request_id)
            if batch is not None:
                id, queue, alone, since_ms = batch
                for slot, row in tables.from_lease(id, slots).items():
                    taken[f"{request_id}:{slot}"] = Taken(queue, bool(alone), since_ms, row)
        return taken

    def renew(self, tables: Tables, tokens: Sequence[str]) -> set[str]:
        """Those that are current, extended."""
        self.notice_silence(tables)
        renewed: set[str] = set()
        for request_id, slots in slots_by_request(tokens).items():
            batch = _batch(tables.db, request_id)
            if batch is not None:
                found = tables.db.execute(
                    "UPDATE x_lease SET until_ms = ? WHERE batch = ? AND slot IN (SELECT value FROM json_each(?))"
                    " RETURNING slot",
                    (tables.now_ms + self._terms.lease_ms, batch[0], json.dumps(slots)),
                )
                renewed.update(f"{request_id}:{slot}" for (slot,) in found.fetchall())
        return renewed

    def forfeit(self, tables: Tables, consumer: str) -> int:
        count = 0
        db = tables.db
        batches = db.execute("SELECT id, queue, alone FROM x_batch WHERE consumer = ? ORDER BY queue, id", (consumer,))
        for batch, queue, alone in batches.fetchall():
            rows = db.execute("DELETE FROM x_lease WHERE batch = ? RETURNING number, attempts, crashes", (batch,))
            found = sorted(rows.fetchall())
            tables.lapse(queue, bool(alone), found, self._terms.crashes_max)
            count += len(found)
        db.execute("UPDATE x_queue SET emptying = NULL WHERE emptying = ?", (consumer,))
        return count


def holders(db: sqlite3.Connection) -> set[str]:
    """Consumers that hold leases."""
    return {
        name
        for (name,) in db.execute(
            "SELECT consumer FROM x_batch b WHERE EXISTS (SELECT 1 FROM x_lease WHERE batch = b.id)"
        )
    }


def slots_by_request(tokens: Sequence[str]) -> dict[str, list[int]]:
    """Tokens are `request_id:slot`; what does not look like one is nobody's."""
    found: dict[str, list[int]] = {}
    for token in tokens:
        request_id, _, slot = token.rpartition(":")
        if slot.isdecimal() and slot.isascii():
            found.setdefault(request_id, []).append(int(slot))
    return found


def _batch(db: sqlite3.Connection, request_id: str) -> tuple[int, int, int, int] | None:
    found: tuple[int, int, int, int] | None = db.execute(
        "SELECT id, queue, alone, since_ms FROM x_batch WHERE request = ?", (request_id,)
    ).fetchone()
    return found
