"""One write transaction's view of the frontier: hosts and counters as values, moves collected and then done together.

Every verb makes few statements whatever the size of its batch: at each one another thread may take the interpreter.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from crawler.frontier.host import HostState
from crawler.frontier.policy import crash_detail, place
from crawler.frontier.sqlite.schema import HOST_OF_H, TOTALS
from crawler.frontier.totals import Totals
from crawler.model import Rules

encode_list = msgspec.json.Encoder().encode
"""Numbers and strings as a JSON array, for json_each."""

_HOST_FIELDS = HostState.__struct_fields__[1:]
_SET_HOST = (
    f"UPDATE host SET {', '.join(f'{field} = ?' for field in _HOST_FIELDS)}, ready_ms = ?, doomed = ? WHERE id = ?"
)
_SET_TOTALS = f"UPDATE state SET {', '.join(f'{field} = ?' for field in Totals.__struct_fields__)}"
_SHARE = "UPDATE worker SET held = held + ?, leased = leased + ?, alone = alone + ?, pages = pages + ? WHERE name = ?"
_WAITING = """
    SELECT h.value, EXISTS (SELECT 1 FROM ready WHERE host = h.value),
        :any_down AND EXISTS (SELECT 1 FROM suspect WHERE host = h.value)
    FROM json_each(:ids) h"""


class Held(NamedTuple):
    """A current lease."""

    serial: int
    request_id: str
    worker: str
    request: int | None
    place: int
    origin: int
    host: int
    since_ms: int | None
    step: int
    fetched: int


_HELD = """SELECT l.serial, b.request_id, b.worker, l.request, l.place, l.origin, l.host, l.since_ms, l.step, l.fetched
    FROM {} JOIN batch b ON b.id = l.batch"""
HELD_BY_SERIAL = _HELD.format("json_each(?) j CROSS JOIN lease l ON l.serial = j.value")
HELD = _HELD.format("lease l")


class _Share(msgspec.Struct):
    """What changes in a worker's row."""

    held: int = 0
    leased: int = 0
    alone: int = 0
    pages: int = 0


class Step:
    """Made inside a write transaction; `flush` before it ends, and before a statement that must see the moves."""

    def __init__(self, db: sqlite3.Connection, rules: Rules, now: int) -> None:
        self.db = db
        self.rules = rules
        self.now = now
        *totals, self.paused, self.placing = db.execute(f"SELECT {TOTALS}, paused, placing FROM state").fetchone()
        self.totals = Totals(*totals)
        self._totals_before: Sequence[Any] = totals
        self.hosts: dict[int, HostState] = {}
        self.reasons: Counter[str] = Counter()
        self._forget_moves()

    def _forget_moves(self) -> None:
        self.ended: list[int] = []
        self.finished: list[int] = []
        self.failed: list[int] = []
        self.ready: list[tuple[int, int, int, int]] = []
        self.delayed: list[tuple[int, int, bool]] = []
        self.suspects: list[tuple[int, int, int]] = []
        self.dead: list[tuple[int, str, str, int, int]] = []
        self.shares: defaultdict[str, _Share] = defaultdict(_Share)
        self.queued: Counter[int] = Counter()

    def load(self, ids: Iterable[int]) -> None:
        """Have these hosts in `hosts`: they are written back at `flush`."""
        missing = [id for id in ids if id not in self.hosts]
        if missing:
            sql = f"SELECT {HOST_OF_H} FROM json_each(?) j CROSS JOIN host h ON h.id = j.value"
            for row in self.db.execute(sql, (encode_list(missing),)).fetchall():
                self.hosts[row[0]] = HostState(*row)

    def host(self, id: int) -> HostState:
        self.load((id,))
        return self.hosts[id]

    def place(self, priority: int, number: int) -> int:
        return place(self.placing, priority, number)

    # Moves. The counters change here and nowhere else.

    def make_ready(self, request: int, *, host: int, place: int, origin: int) -> None:
        self.ready.append((host, place, request, origin))
        self.queued[host] += 1
        self.totals.ready += 1

    def took_ready(self, host: int, count: int = 1) -> None:
        """So many of the host's are out of the table `ready` already."""
        self.queued[host] -= count
        self.totals.ready -= count

    def delay(self, request: int, *, host: int, due_ms: int, later: bool = False) -> None:
        """`later`: a later visit, on its admission (rule 18)."""
        self.delayed.append((due_ms, request, later))
        self.totals.revisits += later
        self.host(host).delayed += 1
        self.totals.delayed += 1

    def took_delayed(self, host: int, count: int = 1, *, later: int = 0) -> None:
        """So many of the host's are out of the table `delayed` already; so many of them were later visits."""
        self.totals.revisits -= later
        self.host(host).delayed -= count
        self.totals.delayed -= count

    def suspect(self, request: int, *, host: int, since_ms: int) -> None:
        self.suspects.append((since_ms, request, host))
        self.totals.suspects += 1

    def bury(self, request: int, *, host: int, reason: str, detail: str = "") -> None:
        self.dead.append((host, reason, detail, self.now, request))
        self.host(host).dead += 1
        self.totals.dead += 1
        self.reasons[f"bury:{reason}"] += 1

    def took_dead(self, host: int, count: int = 1) -> None:
        """So many of the host's are out of the table `dead` already."""
        self.host(host).dead -= count
        self.totals.dead -= count

    def drop(self, requests: Iterable[int]) -> None:
        """These are out of their tables already, and go for good."""
        before = len(self.finished)
        self.finished.extend(requests)
        self.totals.dropped += len(self.finished) - before

    def end_lease(self, held: Held) -> HostState:
        """The lease is no longer current; where its request goes, and its host if it was not `fetched`, is for the
        caller."""
        self.ended.append(held.serial)
        host = self.host(held.host)
        share = self.shares[held.worker]
        share.held -= 1
        if held.request is None:
            host.asking = False
        else:
            share.leased -= 1
            self.totals.leased -= 1
        if held.since_ms is not None:
            share.alone -= 1
        return host

    def died(self, held: Held) -> None:
        """The lease ended without an outcome (rule 4)."""
        host = self.end_lease(held)
        if not held.fetched:
            host.fetch_lost(self.rules, self.now)
        if held.request is None:
            return
        if held.since_ms is not None:
            self.totals.crashes += 1
            sql = "UPDATE request SET crashes = crashes + 1 WHERE id = ? RETURNING crashes"
            ((crashes,),) = self.db.execute(sql, (held.request,)).fetchall()
            if crashes >= self.rules.crashes_max:
                return self.bury(held.request, host=held.host, reason="crashed", detail=crash_detail(crashes))
        self.suspect(held.request, host=held.host, since_ms=self.now)

    def forfeit_leases(self, worker: str) -> int:
        """All leases of a dead worker."""
        helds = [Held(*row) for row in self.db.execute(f"{HELD} WHERE b.worker = ? ORDER BY l.serial", (worker,))]
        self.load({held.host for held in helds})
        for held in helds:
            self.died(held)
        if self.totals.drain_worker == worker:
            self.totals.stop_drain()
        return len(helds)

    def forfeit(self, worker: str) -> int:
        """All that a dead worker holds, its producers too."""
        prefix = f"{worker}/"
        sql = "UPDATE producer SET state = 'lost' WHERE state = 'open' AND substr(name, 1, ?) = ?"
        lost = self.db.execute(sql, (len(prefix), prefix)).rowcount
        return self.forfeit_leases(worker) + lost

    def lose_producers(self, locks: Iterable[str]) -> None:
        """Producers of processes that are dead, by the names of their OS locks."""
        names = [(lock.partition(" ")[2],) for lock in locks]
        self.db.executemany("UPDATE producer SET state = 'lost' WHERE state = 'open' AND name = ?", names)

    # Writing it down

    def flush(self) -> None:
        """Do the moves, then write hosts and counters. May be called again."""
        db = self.db
        if self.ended:
            db.execute("DELETE FROM lease WHERE serial IN (SELECT value FROM json_each(?))", (encode_list(self.ended),))
        if self.finished:
            sql = "DELETE FROM request WHERE id IN (SELECT value FROM json_each(?))"
            db.execute(sql, (encode_list(self.finished),))
        if self.failed:
            sql = "UPDATE request SET attempts = attempts + 1 WHERE id IN (SELECT value FROM json_each(?))"
            db.execute(sql, (encode_list(self.failed),))
        if self.ready:
            self.ready.sort()
            db.executemany("INSERT INTO ready VALUES (?, ?, ?, ?)", self.ready)
        if self.queued:
            deltas = [(delta, host) for host, delta in self.queued.items()]
            db.executemany("UPDATE host SET queued = queued + ? WHERE id = ?", deltas)
        if self.delayed:
            db.executemany("INSERT INTO delayed VALUES (?, ?, ?)", self.delayed)
        if self.suspects:
            db.executemany("INSERT INTO suspect VALUES (?, ?, ?)", self.suspects)
        if self.dead:
            sql = "INSERT INTO dead SELECT NULL, id, fp, ?, ?, ?, ? FROM request WHERE id = ?"
            db.executemany(sql, self.dead)
        for worker, share in self.shares.items():
            db.execute(_SHARE, (share.held, share.leased, share.alone, share.pages, worker))
        self._forget_moves()
        self._write_hosts()
        self._write_totals()

    def _write_hosts(self) -> None:
        if not self.hosts:
            return
        any_down = any(host.down for host in self.hosts.values())
        parameters = {"ids": encode_list(list(self.hosts)), "any_down": any_down}
        rows = []
        for id, waiting, suspects in self.db.execute(_WAITING, parameters).fetchall():
            host = self.hosts[id]
            ready_ms = host.ready_ms(self.rules, waiting=waiting)
            doomed = host.down and (waiting or suspects)
            rows.append((*msgspec.structs.astuple(host)[1:], ready_ms, doomed, id))
        self.db.executemany(_SET_HOST, rows)
        self.hosts.clear()

    def _write_totals(self) -> None:
        totals = msgspec.structs.astuple(self.totals)
        if totals != tuple(self._totals_before):
            self.db.execute(_SET_TOTALS, totals)
            self._totals_before = totals
        if self.reasons:
            sql = "INSERT INTO reason VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET count = count + excluded.count"
            self.db.executemany(sql, self.reasons.items())
            self.reasons.clear()
