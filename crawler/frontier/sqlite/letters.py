"""Dead letters: shown, kicked back to READY, dropped. In pieces, so that a million of them do not stop the workers."""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import Any

from crawler.codec import decode_request
from crawler.error import BadRecord
from crawler.frontier.sqlite.step import Step, encode_list
from crawler.model import DeadLetter, Request

Matching = tuple[str, list[Any]]
"""A condition on `dead d`, and its parameters."""

PIECE_MAX = 2_000
"""Dead letters kicked or dropped in one transaction."""


def where(reason: str | None, host: str | None, fingerprint: int | None) -> Matching:
    """Those that match all given."""
    conditions = [
        (sql, value)
        for sql, value in (
            ("d.reason = ?", reason),
            ("d.host = (SELECT id FROM host WHERE name = ?)", host),
            ("d.fp = ?", fingerprint),
        )
        if value is not None
    ]
    return " AND ".join([sql for sql, _ in conditions] or ["true"]), [value for _, value in conditions]


def read(db: sqlite3.Connection, matching: Matching, limit: int, after: int) -> list[tuple[Any, ...]]:
    """Rows for `letter`, in order of death."""
    sql = f"""SELECT r.payload, d.fp, h.name, d.reason, d.detail, r.attempts, r.crashes, d.died_ms
        FROM dead d JOIN request r ON r.id = d.request JOIN host h ON h.id = d.host
        WHERE {matching[0]} ORDER BY d.serial LIMIT ? OFFSET ?"""
    return db.execute(sql, (*matching[1], limit, after)).fetchall()


def letter(row: tuple[Any, ...]) -> DeadLetter:
    payload, fingerprint, host, reason, detail, attempts, crashes, died_ms = row
    return DeadLetter(
        request=request(payload, host),
        fingerprint=fingerprint,
        host=host,
        reason=reason,
        detail=detail,
        attempts=attempts,
        crashes=crashes,
        died_ms=died_ms,
    )


def request(payload: bytes, host: str) -> Request:
    """Of a damaged record only the host is known; its reason and detail say the rest."""
    try:
        return decode_request(payload)
    except BadRecord:
        return Request(url=f"http://{host}/")


def last(db: sqlite3.Connection) -> int:
    """Serial of the last death: those after it are not this kick's."""
    return int(db.execute("SELECT coalesce(max(serial), 0) FROM dead").fetchone()[0])


def _piece(step: Step, matching: Matching, until: int) -> list[int]:
    """Takes the next ones off the dead letters; their requests."""
    sql = f"""DELETE FROM dead WHERE serial IN
        (SELECT d.serial FROM dead d WHERE {matching[0]} AND d.serial <= ? ORDER BY d.serial LIMIT ?)
        RETURNING serial, request, host"""
    rows = sorted(step.db.execute(sql, (*matching[1], until, PIECE_MAX)).fetchall())
    by_host = Counter(host for *_, host in rows)
    step.load(by_host)
    for host, count in by_host.items():
        step.took_dead(host, count)
    return [request for _, request, _ in rows]


def kick(step: Step, matching: Matching, until: int) -> int:
    """One piece; returns how many."""
    requests = encode_list(_piece(step, matching, until))
    sql = "UPDATE request SET attempts = 0, crashes = 0 WHERE id IN (SELECT value FROM json_each(?))"
    step.db.execute(sql, (requests,))
    sql = """SELECT r.id, r.priority, o.id, o.host FROM json_each(?) j CROSS JOIN request r ON r.id = j.value
        JOIN origin o ON o.id = r.origin"""
    rows = step.db.execute(sql, (requests,)).fetchall()
    for request, priority, origin, host in rows:
        step.make_ready(request, host=host, place=step.place(priority, request), origin=origin)
    step.flush()
    return len(rows)


def drop(step: Step, matching: Matching, until: int) -> int:
    """One piece; returns how many."""
    requests = _piece(step, matching, until)
    step.drop(requests)
    step.flush()
    return len(requests)


def revive(step: Step, host: str) -> None:
    """This host is no longer down."""
    row = step.db.execute("SELECT id FROM host WHERE name = ?", (host,)).fetchone()
    if row is not None:
        step.host(row[0]).revive()
        step.flush()
