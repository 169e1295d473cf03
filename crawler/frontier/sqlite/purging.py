"""Purging: what is pending is forgotten, in pieces, so that the workers go on meanwhile."""

from __future__ import annotations

import sqlite3
from collections import Counter

from crawler.frontier.sqlite.step import Step, encode_list

PIECE_MAX = 500
"""Requests forgotten in one transaction."""

Delayed = tuple[int, int]
"""due_ms and request: the key of a delayed one."""


def newest(db: sqlite3.Connection) -> int:
    """Number of the last request: those after it are not this purge's."""
    return int(db.execute("SELECT added FROM state").fetchone()[0])


def delayed(db: sqlite3.Connection, host: str | None, after: Delayed, until: int) -> list[Delayed]:
    """The next piece's. Reads only."""
    sql = """SELECT d.due_ms, d.request FROM delayed d CROSS JOIN request r ON r.id = d.request
        CROSS JOIN origin o ON o.id = r.origin CROSS JOIN host h ON h.id = o.host
        WHERE (d.due_ms, d.request) > (?, ?) AND d.request <= ? AND coalesce(?, h.name) = h.name
        ORDER BY d.due_ms, d.request LIMIT ?"""
    return db.execute(sql, (*after, until, host, PIECE_MAX)).fetchall()


def forget_delayed(step: Step, wanted: list[Delayed]) -> int:
    """Those of them that are still delayed; returns how many."""
    sql = """DELETE FROM delayed WHERE (due_ms, request) IN (
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)) RETURNING request, later"""
    rows = step.db.execute(sql, (encode_list(wanted),)).fetchall()
    requests = [request for request, _ in rows]
    step.totals.revisits -= sum(later for _, later in rows)
    sql = """SELECT o.host FROM json_each(?) j CROSS JOIN request r ON r.id = j.value
        CROSS JOIN origin o ON o.id = r.origin"""
    by_host = Counter(host for (host,) in step.db.execute(sql, (encode_list(requests),)))
    step.load(by_host)
    for number, count in by_host.items():
        step.took_delayed(number, count)
    step.drop(requests)
    step.flush()
    return len(requests)


def forget_ready(step: Step, host: str | None, until: int) -> int:
    """One piece; returns how many."""
    one = "host = (SELECT id FROM host WHERE name = ?)" if host is not None else "? IS NULL"
    sql = f"""DELETE FROM ready WHERE (host, place) IN (
        SELECT host, place FROM ready WHERE {one} AND request <= ? ORDER BY host, place LIMIT ?)
        RETURNING host, request"""
    rows = step.db.execute(sql, (host, until, PIECE_MAX)).fetchall()
    by_host = Counter(number for number, _ in rows)
    step.load(by_host)
    for number, count in by_host.items():
        step.took_ready(number, count)
    step.drop(request for _, request in rows)
    step.flush()
    return len(rows)
