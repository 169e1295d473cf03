"""What can be asked without the write lock."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from crawler.frontier.host import HostState
from crawler.frontier.sqlite.schema import HOST, TOTALS
from crawler.frontier.totals import Totals
from crawler.model import CrawlRecord, Robots, Rules
from crawler.view import Counts, Host, WorkerRow


def record(db: sqlite3.Connection) -> CrawlRecord:
    """The crawl's identity and notes."""
    return msgspec.json.decode(db.execute("SELECT record FROM state").fetchone()[0], type=CrawlRecord)


def counts(db: sqlite3.Connection) -> Counts:
    """Counters only: nothing is counted here."""
    totals = Totals(*db.execute(f"SELECT {TOTALS} FROM state").fetchone())
    reasons = dict(db.execute("SELECT name, count FROM reason").fetchall())
    producers = dict(db.execute("SELECT state, count(*) FROM producer GROUP BY state").fetchall())
    return totals.counts(reasons, producers)


def workers(db: sqlite3.Connection) -> tuple[WorkerRow, ...]:
    """By name."""
    rows = db.execute("SELECT name, leased, pages, seen_ms FROM worker ORDER BY name")
    return tuple(WorkerRow(name=name, leased=leased, pages=pages, seen_ms=seen) for name, leased, pages, seen in rows)


def host(db: sqlite3.Connection, rules: Rules, name: str, now: int) -> Host:
    """One host, with its valid robots records."""
    row = db.execute(f"SELECT {HOST}, queued FROM host WHERE name = ?", (name,)).fetchone()
    if row is None:
        return Host(name=name)
    sql = """SELECT name, text, expires_s, fetched_ms FROM origin
        WHERE host = ? AND fetched_ms > 0 AND expires_ms > ? ORDER BY name"""
    robots = tuple(
        Robots(origin=origin, text=text, expires_s=expires_s, fetched_ms=fetched_ms)
        for origin, text, expires_s, fetched_ms in db.execute(sql, (row[0], now))
    )
    return HostState(*row[:-1]).public(rules, now, ready=row[-1], robots=robots)


def robots(db: sqlite3.Connection, origins: Sequence[str], now: int) -> tuple[Robots, ...]:
    """`Frontier.robots`. Cost: a look by index for each."""
    sql = "SELECT text, expires_s, fetched_ms FROM origin WHERE name = ? AND fetched_ms > 0 AND expires_ms > ?"
    rows = [(origin, db.execute(sql, (origin, now)).fetchone()) for origin in origins]
    return tuple(Robots(origin=origin, text=row[0], expires_s=row[1], fetched_ms=row[2]) for origin, row in rows if row)


def hosts(db: sqlite3.Connection, rules: Rules, limit: int, now: int) -> tuple[Host, ...]:
    """Cost: one pass over the hosts, 0.1 µs each."""
    sql = f"SELECT {HOST}, queued FROM host ORDER BY queued DESC, id LIMIT ?"
    return tuple(HostState(*row[:-1]).public(rules, now, ready=row[-1]) for row in db.execute(sql, (limit,)))
