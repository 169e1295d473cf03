"""The exchange's tables in a SQLite file, and the moves between them. One `Tables` lives for one write transaction.

A message is stored once, with the set of queues that still have it as bits of `queues`. A queue's copy of it is a small
row in the table of its state (ready, delayed, suspect, lease, dead), so that taking the oldest is reading the head of
a table, nothing needs an index of its own, and a million waiting messages make no step dearer.

`queues` always has the bit ALIVE, so that its stored size never changes and SQLite overwrites it in place, instead of
writing the whole message again when the second last queue has ended it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Final

from crawler.exchange.line import crashed
from crawler.exchange.size import Room
from crawler.model import Bury
from crawler.sqlitefile import Schema

QUEUES_MAX: Final = 60
"""Queues in one file: bits 1 to 60 of a 64-bit integer."""

ALIVE: Final = 1 << 62

SCHEMA: Final = Schema(
    part="exchange",
    version=1,
    statements=(
        "CREATE TABLE x_state(id INTEGER PRIMARY KEY CHECK (id = 1), asked_ms INTEGER NOT NULL)",
        "INSERT INTO x_state VALUES (1, 0)",
        """CREATE TABLE x_queue(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, bind TEXT NOT NULL,
            ready INTEGER NOT NULL DEFAULT 0, delayed INTEGER NOT NULL DEFAULT 0, suspects INTEGER NOT NULL DEFAULT 0,
            dead INTEGER NOT NULL DEFAULT 0, done INTEGER NOT NULL DEFAULT 0,
            emptying TEXT, emptying_until_ms INTEGER NOT NULL DEFAULT 0)""",
        """CREATE TABLE x_message(number INTEGER PRIMARY KEY, queues INTEGER NOT NULL, at_ms INTEGER NOT NULL,
            id TEXT NOT NULL UNIQUE, payload BLOB NOT NULL)""",
        """CREATE TABLE x_ready(queue INTEGER, number INTEGER, attempts INTEGER NOT NULL, crashes INTEGER NOT NULL,
            PRIMARY KEY (queue, number)) WITHOUT ROWID""",
        """CREATE TABLE x_delayed(queue INTEGER, due_ms INTEGER, number INTEGER, attempts INTEGER NOT NULL,
            crashes INTEGER NOT NULL, PRIMARY KEY (queue, due_ms, number)) WITHOUT ROWID""",
        """CREATE TABLE x_suspect(queue INTEGER, since_ms INTEGER, number INTEGER, attempts INTEGER NOT NULL,
            crashes INTEGER NOT NULL, PRIMARY KEY (queue, since_ms, number)) WITHOUT ROWID""",
        # One batch a lease call that gave something: what its leases have in common, and the request_id by which the
        # call is known when it is repeated.
        """CREATE TABLE x_batch(id INTEGER PRIMARY KEY, request TEXT NOT NULL UNIQUE, queue INTEGER NOT NULL,
            consumer TEXT NOT NULL, alone INTEGER NOT NULL, since_ms INTEGER NOT NULL)""",
        """CREATE TABLE x_lease(batch INTEGER, slot INTEGER, number INTEGER NOT NULL, until_ms INTEGER NOT NULL,
            attempts INTEGER NOT NULL, crashes INTEGER NOT NULL, PRIMARY KEY (batch, slot)) WITHOUT ROWID""",
        """CREATE TABLE x_dead(id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, number INTEGER NOT NULL,
            reason TEXT NOT NULL, detail TEXT NOT NULL, attempts INTEGER NOT NULL, crashes INTEGER NOT NULL,
            died_ms INTEGER NOT NULL)""",
    ),
)

_COUNTERS: Final = ("ready", "delayed", "suspects", "dead", "done")

Row = tuple[int, int, int]
"""A copy: number, attempts, crashes."""


class Tables:
    """Moves copies; keeps the queues' counters and writes them once, in `flush`, which must come last."""

    def __init__(self, db: sqlite3.Connection, now_ms: int) -> None:
        self.db = db
        self.now_ms = now_ms
        self._tally: dict[tuple[str, int], int] = {}

    def _count(self, counter: str, queue: int, change: int) -> None:
        if change:
            self._tally[counter, queue] = self._tally.get((counter, queue), 0) + change

    def flush(self) -> None:
        for counter in _COUNTERS:
            changes = [(change, queue) for (name, queue), change in self._tally.items() if name == counter and change]
            if changes:
                self.db.executemany(f"UPDATE x_queue SET {counter} = {counter} + ? WHERE id = ?", changes)
        self._tally.clear()

    def to_ready(self, queue: int, rows: Sequence[Row]) -> None:
        self.db.executemany(f"INSERT INTO x_ready VALUES ({queue}, ?, ?, ?)", rows)
        self._count("ready", queue, len(rows))

    def from_ready(self, queue: int, limit: int, bytes_max: int) -> list[Row]:
        """The oldest; they are the head of the table, so they go as one range. A payload's length stands before it:
        none is read for that."""
        found = self.db.execute(
            "SELECT r.number, r.attempts, r.crashes, length(m.payload) FROM x_ready r"
            " LEFT JOIN x_message m ON m.number = r.number WHERE r.queue = ? ORDER BY r.number LIMIT ?",
            (queue, limit),
        ).fetchall()
        room = Room(bytes_max)
        rows: list[Row] = [row[:3] for row in takewhile(lambda row: room.takes(row[3] or 0), found)]
        if rows:
            self.db.execute("DELETE FROM x_ready WHERE queue = ? AND number <= ?", (queue, rows[-1][0]))
            self._count("ready", queue, -len(rows))
        return rows

    def to_delayed(self, queue: int, rows: Sequence[tuple[int, int, int, int]]) -> None:
        """Rows: due_ms, number, attempts, crashes."""
        self.db.executemany(f"INSERT INTO x_delayed VALUES ({queue}, ?, ?, ?, ?)", rows)
        self._count("delayed", queue, len(rows))

    def promote(self, queue: int, limit: int) -> None:
        """Delayed copies whose time has come are ready."""
        rows = self.db.execute(
            "SELECT number, attempts, crashes, due_ms FROM x_delayed WHERE queue = ? AND due_ms <= ?"
            " ORDER BY due_ms, number LIMIT ?",
            (queue, self.now_ms, limit),
        ).fetchall()
        if rows:
            self.db.executemany(
                f"DELETE FROM x_delayed WHERE queue = {queue} AND due_ms = ? AND number = ?",
                [(due_ms, number) for number, _, _, due_ms in rows],
            )
            self._count("delayed", queue, -len(rows))
            self.to_ready(queue, [row[:3] for row in rows])

    def to_suspects(self, queue: int, rows: Sequence[Row], since_ms: int) -> None:
        self.db.executemany("INSERT INTO x_suspect VALUES (?, ?, ?, ?, ?)", [(queue, since_ms, *row) for row in rows])
        self._count("suspects", queue, len(rows))

    def from_suspects(self, queue: int) -> tuple[int, Row]:
        """The oldest, with the time since which it is one. There must be one."""
        since_ms, *row = self.db.execute(
            "SELECT since_ms, number, attempts, crashes FROM x_suspect WHERE queue = ?"
            " ORDER BY since_ms, number LIMIT 1",
            (queue,),
        ).fetchone()
        self.db.execute(
            "DELETE FROM x_suspect WHERE queue = ? AND since_ms = ? AND number = ?", (queue, since_ms, row[0])
        )
        self._count("suspects", queue, -1)
        return since_ms, (row[0], row[1], row[2])

    def lapse(self, queue: int, alone: bool, rows: Sequence[Row], crashes_max: int) -> None:
        """Leases that ended without an outcome: suspects, or buried when they have killed too often."""
        rows = [(number, attempts, crashes + alone) for number, attempts, crashes in rows]
        for row in rows:
            if alone and row[2] >= crashes_max:
                self.to_dead(queue, row, crashed(row[2]))
        self.to_suspects(queue, [row for row in rows if not alone or row[2] < crashes_max], self.now_ms)

    def to_dead(self, queue: int, row: Row, why: Bury) -> None:
        self.db.execute(
            "INSERT INTO x_dead(queue, number, reason, detail, attempts, crashes, died_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (queue, row[0], why.reason, why.detail, row[1], row[2], self.now_ms),
        )
        self._count("dead", queue, 1)

    def from_dead(self, queue: str | None, reason: str | None, id: str | None) -> list[tuple[int, int]]:
        """Queue and number of those that match all given."""
        rows = self.db.execute(
            "SELECT d.id, d.queue, d.number FROM x_dead d JOIN x_message m ON m.number = d.number"
            " JOIN x_queue q ON q.id = d.queue WHERE (:queue IS NULL OR q.name = :queue)"
            " AND (:reason IS NULL OR d.reason = :reason)"
            " AND (:id IS NULL OR m.id = :id) ORDER BY d.id",
            {"queue": queue, "reason": reason, "id": id},
        ).fetchall()
        self.db.executemany("DELETE FROM x_dead WHERE id = ?", [(row[0],) for row in rows])
        for _, line, _ in rows:
            self._count("dead", line, -1)
        return [(line, number) for _, line, number in rows]

    def done(self, queue: int, numbers: Sequence[int]) -> None:
        self.end(queue, numbers)
        self._count("done", queue, len(numbers))

    def end(self, queue: int, numbers: Iterable[int]) -> None:
        """The queue is through with these; a message that no queue has any more goes."""
        which = json.dumps(list(numbers))
        bit = 1 << queue
        self.db.execute(
            "UPDATE x_message SET queues = queues & ~?1"
            " WHERE number IN (SELECT value FROM json_each(?2)) AND queues <> ?3",
            (bit, which, ALIVE | bit),
        )
        self.db.execute(
            "DELETE FROM x_message WHERE number IN (SELECT value FROM json_each(?1)) AND queues = ?2",
            (which, ALIVE | bit),
        )

    def from_lease(self, batch: int, slots: Iterable[int]) -> dict[int, Row]:
        """Leases that are current, ended: slot -> copy."""
        rows = self.db.execute(
            "DELETE FROM x_lease WHERE batch = ? AND slot IN (SELECT value FROM json_each(?))"
            " RETURNING slot, number, attempts, crashes",
            (batch, json.dumps(list(slots))),
        ).fetchall()
        return {slot: (number, attempts, crashes) for slot, number, attempts, crashes in rows}
