"""The tables. A request's state is the one table besides `request` that names it: ready, delayed, suspect, lease, dead.

So a transition moves a small row, and the row with the payload is written once and deleted once. `seen` stays.
"""

from __future__ import annotations

from typing import Final

from crawler.frontier.host import HostState
from crawler.frontier.totals import Totals
from crawler.sqlitefile import Schema

TOTALS: Final = ", ".join(Totals.__struct_fields__)
HOST: Final = ", ".join(HostState.__struct_fields__)
HOST_OF_H: Final = ", ".join(f"h.{field}" for field in HostState.__struct_fields__)

_TOTALS_DDL = ", ".join(
    f"{field} TEXT NOT NULL DEFAULT ''" if field == "drain_worker" else f"{field} INTEGER NOT NULL DEFAULT 0"
    for field in Totals.__struct_fields__
)

_HOST_DDL = ", ".join(f"{field} INTEGER NOT NULL DEFAULT 0" for field in HostState.__struct_fields__[4:])

SCHEMA: Final = Schema(
    "frontier",
    3,
    (
        f"""CREATE TABLE state(
            one INTEGER PRIMARY KEY CHECK (one = 1), record TEXT NOT NULL, paused INTEGER NOT NULL DEFAULT 0,
            placing TEXT NOT NULL, {_TOTALS_DDL})""",
        "CREATE TABLE seen(fp INTEGER PRIMARY KEY)",
        f"""CREATE TABLE host(
            id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, delay_ms INTEGER, per_host INTEGER, {_HOST_DDL},
            ready_ms INTEGER, doomed INTEGER NOT NULL DEFAULT 0, queued INTEGER NOT NULL DEFAULT 0)""",
        "CREATE INDEX host_ready ON host(ready_ms) WHERE ready_ms IS NOT NULL",
        "CREATE INDEX host_doomed ON host(doomed) WHERE doomed",
        """CREATE TABLE origin(
            id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, host INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
            fetched_ms INTEGER NOT NULL, expires_s REAL NOT NULL, text TEXT NOT NULL)""",
        "CREATE INDEX origin_host ON origin(host)",
        """CREATE TABLE request(
            id INTEGER PRIMARY KEY, fp INTEGER NOT NULL, origin INTEGER NOT NULL, priority INTEGER NOT NULL,
            attempts INTEGER NOT NULL DEFAULT 0, crashes INTEGER NOT NULL DEFAULT 0, payload BLOB NOT NULL)""",
        """CREATE TABLE ready(
            host INTEGER, place INTEGER, request INTEGER NOT NULL, origin INTEGER NOT NULL,
            PRIMARY KEY (host, place)) WITHOUT ROWID""",
        # later: a later visit that was not due yet when it was admitted (rule 18).
        """CREATE TABLE delayed(
            due_ms INTEGER, request INTEGER, later INTEGER NOT NULL, PRIMARY KEY (due_ms, request)) WITHOUT ROWID""",
        """CREATE TABLE suspect(
            since_ms INTEGER, request INTEGER, host INTEGER NOT NULL, PRIMARY KEY (since_ms, request)) WITHOUT ROWID""",
        # One row for each lease call that gave something: what its leases have in common.
        """CREATE TABLE batch(
            id INTEGER PRIMARY KEY, request_id TEXT NOT NULL UNIQUE, worker TEXT NOT NULL,
            given_ms INTEGER NOT NULL)""",
        # request and place are null for a robots.txt, since_ms unless it is held alone. A serial is never reused.
        """CREATE TABLE lease(
            serial INTEGER PRIMARY KEY AUTOINCREMENT, batch INTEGER NOT NULL, request INTEGER, place INTEGER,
            origin INTEGER NOT NULL, host INTEGER NOT NULL, since_ms INTEGER, expires_ms INTEGER NOT NULL,
            step INTEGER NOT NULL, fetched INTEGER NOT NULL DEFAULT 0)""",
        "CREATE INDEX lease_expiry ON lease(expires_ms)",
        """CREATE TABLE dead(
            serial INTEGER PRIMARY KEY, request INTEGER NOT NULL, fp INTEGER NOT NULL, host INTEGER NOT NULL,
            reason TEXT NOT NULL, detail TEXT NOT NULL, died_ms INTEGER NOT NULL)""",
        "CREATE INDEX dead_fp ON dead(fp)",
        "CREATE INDEX dead_host ON dead(host)",
        "CREATE INDEX dead_reason ON dead(reason)",
        """CREATE TABLE worker(
            name TEXT PRIMARY KEY, held INTEGER NOT NULL DEFAULT 0, leased INTEGER NOT NULL DEFAULT 0,
            alone INTEGER NOT NULL DEFAULT 0, pages INTEGER NOT NULL DEFAULT 0,
            seen_ms INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID""",
        """CREATE TABLE producer(
            serial INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, state TEXT NOT NULL,
            expires_ms INTEGER NOT NULL)""",
        "CREATE TABLE reason(name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID",
    ),
)

CLEARED: Final = (
    *("seen", "host", "origin", "request", "ready", "delayed", "suspect", "batch", "lease", "dead", "worker"),
    *("producer", "reason"),
)
"""Tables that `clear` empties; `state` keeps the record."""

# What a lease step can know at a glance. Parameters: worker, request_id.
LOOK: Final = f"""
    SELECT {", ".join(f"s.{field}" for field in Totals.__struct_fields__)}, s.paused,
        (SELECT ready_ms FROM host WHERE ready_ms IS NOT NULL AND id != s.drain_host ORDER BY ready_ms LIMIT 1),
        (SELECT min(due_ms) FROM delayed),
        (SELECT min(expires_ms) FROM lease),
        (SELECT min(expires_ms) FROM producer WHERE state = 'open'),
        EXISTS (SELECT 1 FROM host WHERE doomed),
        EXISTS (SELECT 1 FROM batch WHERE request_id = :request_id),
        w.held, w.alone, w.seen_ms
    FROM state s LEFT JOIN worker w ON w.name = :worker"""

# How many more requests of a host may be in flight, time aside, as `HostState.room`.
_ROOM: Final = """CASE
    WHEN slow > 0 OR coalesce(delay_ms, max(:delay_ms, crawl_delay_ms)) > 0 THEN 1 - in_flight
    WHEN coalesce(per_host, :per_host) = 0 THEN :count ELSE coalesce(per_host, :per_host) - in_flight END"""

# Rule 10: round by round one request of each due host, in one walk of the index; an origin whose robots.txt is not
# known gives that instead, and its host nothing more.
_TAKE: Final = """
    INSERT INTO lease(batch, request, place, origin, host, expires_ms, step)
    WITH RECURSIVE
    allowed AS (
        SELECT id, ready_ms, steps, {room} AS room
        FROM host WHERE {which} AND room > 0 ORDER BY ready_ms, id LIMIT :count),
    due AS MATERIALIZED (
        SELECT id, steps, room, row_number() OVER (ORDER BY ready_ms, id) AS turn FROM allowed),
    taken(round, turn, host, room, step, place, request, origin, known) AS (
        SELECT 1, due.turn, due.id, due.room, due.steps, r.place, r.request, r.origin,
            :robots = 0 OR (SELECT expires_ms > :now FROM origin WHERE id = r.origin)
        FROM due CROSS JOIN ready r ON r.host = due.id AND r.place = (SELECT min(place) FROM ready WHERE host = due.id)
        UNION ALL
        SELECT t.round + 1, t.turn, t.host, t.room, t.step, r.place, r.request, r.origin,
            :robots = 0 OR (SELECT expires_ms > :now FROM origin WHERE id = r.origin)
        FROM taken t CROSS JOIN ready r ON r.host = t.host
            AND r.place = (SELECT min(place) FROM ready WHERE host = t.host AND place > t.place)
        WHERE t.round < t.room AND t.known
        ORDER BY 1, 2 LIMIT :count)
    SELECT :batch, iif(known, request, NULL), iif(known, place, NULL), origin, host, :expires_ms, step
    FROM taken ORDER BY round, turn"""

TAKE: Final = _TAKE.format(room=_ROOM, which="ready_ms <= :now AND id != :reserved")
TAKE_CHOSEN: Final = _TAKE.format(room=f"min(1, {_ROOM})", which="id IN (SELECT value FROM json_each(:chosen))")
"""One of each of these hosts (rule 16)."""
