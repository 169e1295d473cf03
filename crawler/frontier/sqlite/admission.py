"""Admission: seen and enqueue in one write transaction, and the hosts, origins and producers that come with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from crawler.codec import encode_request
from crawler.error import LeaseLost
from crawler.frontier.policy import ms
from crawler.frontier.sqlite.settling import producer_serial
from crawler.frontier.sqlite.step import Step, encode_list
from crawler.model import REQUEST_BYTES_MAX, Request, Robots
from crawler.url import host as host_of
from crawler.url import origin as origin_of

_NEW_SEEN = "INSERT OR IGNORE INTO seen SELECT value FROM json_each(?) RETURNING fp"
_ORIGINS = """
    SELECT o.name, o.id, o.host, h.ready_ms IS NULL
    FROM json_each(?) j CROSS JOIN origin o ON o.name = j.value CROSS JOIN host h ON h.id = o.host"""
_INSERT_REQUEST = "INSERT INTO request(id, fp, origin, priority, payload) VALUES (?, ?, ?, ?, ?)"


def unseen(db: sqlite3.Connection, keys: list[int]) -> list[int]:
    """Those fingerprints that are not known. Reads only."""
    sql = "SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM seen WHERE fp = value)"
    return [key for (key,) in db.execute(sql, (encode_list(keys),))]


def add(step: Step, requests: Mapping[int, Request], *, producer: str | None) -> tuple[int, set[int]] | None:
    """`requests` by `visit_print`, in order of admission. How many are new, and which are too large; None: full."""
    if producer is not None:
        _check_producer(step.db, producer)
        if 0 < step.rules.pending_max <= step.totals.ready + step.totals.delayed - step.totals.revisits:
            return None
    new = {key for (key,) in step.db.execute(_NEW_SEEN, (encode_list(sorted(requests)),)).fetchall()}
    encoded = [(key, one, encode_request(one)) for key, one in requests.items() if key in new]
    refused = {key for key, _, payload in encoded if len(payload) > REQUEST_BYTES_MAX}
    if refused:
        step.db.executemany("DELETE FROM seen WHERE fp = ?", [(key,) for key in refused])
        encoded = [row for row in encoded if row[0] not in refused]
    _admit(step, encoded)
    step.flush()
    return len(encoded), refused


def _check_producer(db: sqlite3.Connection, token: str) -> None:
    sql = "SELECT 1 FROM producer WHERE serial = ? AND state = 'open'"
    if not db.execute(sql, (producer_serial(token),)).fetchone():
        raise LeaseLost(f"producer {token} is no longer current")


def _admit(step: Step, encoded: list[tuple[int, Request, bytes]]) -> None:
    names = [origin_of(one.url) for _, one, _ in encoded]
    origins = _origins(step, names)
    number = step.totals.added
    step.totals.added += len(encoded)
    rows = []
    for (key, one, payload), name in zip(encoded, names, strict=True):
        number += 1
        origin, host = origins[name]
        rows.append((number, key, origin, one.priority, payload))
        if one.not_before_ms > step.now:
            step.delay(number, host=host, due_ms=one.not_before_ms, later=one.visit > 0)
        else:
            step.make_ready(number, host=host, place=step.place(one.priority, number), origin=origin)
    step.db.executemany(_INSERT_REQUEST, rows)


def _origins(step: Step, names: list[str]) -> dict[str, tuple[int, int]]:
    """Origin and host numbers by origin name, made if need be. Hosts that may not be among the due ones yet are loaded,
    so that `flush` finds their place; the others need no write."""
    found = {}
    distinct = dict.fromkeys(names)
    waking = set()
    for name, origin, host, asleep in step.db.execute(_ORIGINS, (encode_list(list(distinct)),)).fetchall():
        found[name] = origin, host
        if asleep:
            waking.add(host)
    for name in distinct:
        if name not in found:
            host = host_number(step, host_of(f"{name}/"))
            found[name] = origin_number(step, name, host), host
            waking.add(host)
    step.load(waking)
    return found


def host_number(step: Step, name: str) -> int:
    """The host's number, made if need be."""
    row = step.db.execute("SELECT id FROM host WHERE name = ?", (name,)).fetchone()
    if row is not None:
        return int(row[0])
    step.totals.hosts += 1
    sql = "INSERT INTO host(name, due_ms) VALUES (?, ?)"
    return step.db.execute(sql, (name, step.now)).lastrowid or 0


def origin_number(step: Step, name: str, host: int) -> int:
    """The origin's number, made if need be."""
    row = step.db.execute("SELECT id FROM origin WHERE name = ?", (name,)).fetchone()
    if row is not None:
        return int(row[0])
    sql = "INSERT INTO origin VALUES (NULL, ?, ?, 0, 0, 0, '')"
    return step.db.execute(sql, (name, host)).lastrowid or 0


def set_host(
    step: Step,
    name: str,
    *,
    delay_s: float | None,
    per_host: int | None,
    pause_s: float | None,
    robots: Robots | None,
    crawl_delay_s: float,
) -> None:
    """Set what is given."""
    number = host_number(step, name)
    host = step.host(number)
    host.set_own(delay_s, per_host)
    if pause_s is not None:
        host.paused_ms = step.now + ms(pause_s) if pause_s > 0 else 0
    if robots is not None:
        origin = origin_number(step, robots.origin, number)
        sql = "SELECT 1 FROM origin WHERE host = ? AND id != ? AND fetched_ms > 0 AND expires_ms > ?"
        others = step.db.execute(sql, (number, origin, step.now)).fetchone() is not None
        host.set_crawl_delay(crawl_delay_s, others=others)
        sql = """UPDATE origin SET text = ?, expires_s = ?, expires_ms = ?, fetched_ms = max(?, 1, fetched_ms + 1)
            WHERE id = ?"""
        expires_ms = step.now + ms(robots.expires_s)
        step.db.execute(sql, (robots.text, robots.expires_s, expires_ms, step.now, origin))
    step.flush()
