"""The lease step: reap, promote and bury on the side, then choose and promise. One write transaction."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from crawler.codec import DAMAGED, decode_request
from crawler.error import BadRecord
from crawler.frontier import LEASE_MAX, REAP_MAX
from crawler.frontier.policy import ms, next_due_s, stale
from crawler.frontier.sqlite.choosing import Domains
from crawler.frontier.sqlite.look import Look
from crawler.frontier.sqlite.schema import TAKE, TAKE_CHOSEN
from crawler.frontier.sqlite.step import Step, encode_list
from crawler.frontier.sqlite.tidying import look_at_clock, place_again, tidy
from crawler.model import Bury, Lease, Request, Settlement
from crawler.url import fingerprint

_GIVEN = """
    SELECT :request_id || ':' || l.serial, r.payload, r.fp, h.name, r.attempts, r.crashes, l.since_ms IS NOT NULL,
        o.name, o.fetched_ms, l.host, l.serial
    FROM lease l JOIN host h ON h.id = l.host JOIN origin o ON o.id = l.origin LEFT JOIN request r ON r.id = l.request
    WHERE {} ORDER BY l.serial"""
_GIVEN_SINCE = _GIVEN.format("l.serial > :serial")
_GIVEN_BATCH = _GIVEN.format("l.batch = (SELECT id FROM batch WHERE request_id = :request_id)")
_NOTE_WORKER = """INSERT INTO worker(name, seen_ms) VALUES (?, ?)
    ON CONFLICT(name) DO UPDATE SET seen_ms = excluded.seen_ms"""

Row = tuple[Any, ...]


class _Suspect(NamedTuple):
    since_ms: int
    request: int
    host: int
    origin: int
    priority: int


def lease(
    step: Step, count: int, *, worker: str, request_id: str, dead: Sequence[str], first: bool
) -> tuple[list[Row], float | None]:
    """Rows for `leases`, and when to ask again. `dead`: workers known to be dead. `first`: this process asks for the
    first time in this worker's name, so what that name holds is a dead predecessor's."""
    asking = _Asking(step, worker, request_id)
    asking.look_at_clock()
    for name in dead:
        step.forfeit(name)
    if first:
        step.forfeit_leases(worker)
    step.flush()
    look = asking.look()
    if look.repeated:
        asking.note_worker(look, granted=False)
        return step.db.execute(_GIVEN_BATCH, {"request_id": request_id}).fetchall(), asking.next_due(look)
    if tidy(step, look):
        step.flush()
        look = asking.look()
    count = min(count, LEASE_MAX, step.totals.room(step.rules))
    rows: list[Row] = []
    if count > 0 and look.may_give():
        rows = asking.choose(count, look)
    asking.note_worker(look, granted=bool(rows))
    step.flush()
    if not look.may_give() or count <= 0:
        return rows, None
    if len(rows) == count:
        return rows, 0.0
    look = asking.look()
    if asking.looked:
        look.host_ms = step.now if asking.again else asking.domains.later_ms()
    return rows, asking.next_due(look)


def leases(rows: list[Row], *, robots: bool) -> tuple[list[Lease], list[Settlement]]:
    """Values from the rows of `lease`, and an end for each record that was damaged: it must not come round for ever."""
    given: list[Lease] = []
    damaged: list[Settlement] = []
    for row in rows:
        try:
            given.append(_robots_lease(row) if row[1] is None else _page_lease(row, robots=robots))
        except BadRecord as error:
            damaged.append(Settlement(row[0], Bury(DAMAGED, str(error))))
    return given, damaged


def _page_lease(row: Row, *, robots: bool) -> Lease:
    return Lease(
        token=row[0],
        request=decode_request(row[1]),
        fingerprint=row[2],
        host=row[3],
        attempts=row[4],
        crashes=row[5],
        alone=bool(row[6]),
        robots_ms=row[8] if robots else 0,
    )


def _robots_lease(row: Row) -> Lease:
    request = Request(url=f"{row[7]}/robots.txt")
    return Lease(token=row[0], request=request, fingerprint=fingerprint(request), host=row[3], robots=True)


class _Asking:
    """One worker's call."""

    def __init__(self, step: Step, worker: str, request_id: str) -> None:
        self._step = step
        self._worker = worker
        self._request_id = request_id
        self._lease_ms = ms(step.rules.lease_s)
        self.looked = False
        """The domains of due hosts were looked at; `again`: more than could be are due."""
        self.again = False

    @cached_property
    def domains(self) -> Domains:
        return Domains(self._step)

    def look(self) -> Look:
        return Look(self._step.db, self._step.rules, worker=self._worker, request_id=self._request_id)

    def look_at_clock(self) -> None:
        look_at_clock(self._step)
        if self._step.placing != self._step.rules.order:
            place_again(self._step)

    def note_worker(self, look: Look, *, granted: bool) -> None:
        now = self._step.now
        if granted or look.seen_ms is None or stale(look.seen_ms, now, self._lease_ms):
            self._step.db.execute(_NOTE_WORKER, (self._worker, now))

    def choose(self, count: int, look: Look) -> list[Row]:
        """Rule 5 and 10: the suspect that this worker must take, or else ready requests, or else a suspect."""
        step, held = self._step, look.held or 0
        suspects = _suspects(step) if step.totals.suspects else []
        if drained := self._drain(suspects):
            if not held and self._may_give(drained):
                return self._give_alone(drained)
            return []
        if look.host_ms is not None and look.host_ms <= step.now:
            step.flush()
            if rows := self._give_by_domain(count) if step.rules.per_domain else self._give_ready(count):
                return rows
        reserved = step.totals.drain_host
        for one in suspects if not held else []:
            mine = one.request != step.totals.drain_request and one.host != reserved
            if mine and self._may_give(one):
                return self._give_alone(one)
        return []

    def _may_give(self, one: _Suspect) -> bool:
        host = self._step.host(one.host)
        return host.may_give(self._step.rules, self._step.now) and self.domains.has_room(host.name)

    def _give_by_domain(self, count: int) -> list[Row]:
        chosen, self.again = self.domains.choose(count)
        self.looked = True
        return self._give_ready(len(chosen), chosen) if chosen else []

    def _drain(self, suspects: list[_Suspect]) -> _Suspect | None:
        """The overdue suspect that this worker must wait for with empty hands, if it is the one (rule 5)."""
        step, totals, now = self._step, self._step.totals, self._step.now
        by_request = {one.request: one for one in suspects}
        if totals.drain_worker:
            one = by_request.get(totals.drain_request)
            gone = one is None or step.host(one.host).down or step.host(one.host).paused_ms > now
            if gone or not 0 <= now - totals.drain_ms <= self._lease_ms:
                totals.stop_drain()
        if not totals.drain_worker:
            for one in suspects:
                overdue = one.since_ms + ms(step.rules.suspect_wait_s) <= now
                if overdue and self._may_give(one):
                    totals.start_drain(self._worker, one.request, step.host(one.host), step.rules)
                    break
        if totals.drain_worker != self._worker:
            return None
        totals.drain_ms = now
        return by_request[totals.drain_request]

    def _batch(self) -> int:
        sql = "INSERT INTO batch(request_id, worker, given_ms) VALUES (?, ?, ?)"
        return self._step.db.execute(sql, (self._request_id, self._worker, self._step.now)).lastrowid or 0

    def _give_ready(self, count: int, chosen: Sequence[int] = ()) -> list[Row]:
        """chosen: these hosts and no others."""
        step, rules = self._step, self._step.rules
        parameters = {
            "count": count,
            "now": step.now,
            "delay_ms": ms(rules.delay_s),
            "per_host": rules.per_host,
            "robots": rules.robots,
            "reserved": step.totals.drain_host,
            "expires_ms": step.now + self._lease_ms,
            "batch": self._batch(),
            "chosen": encode_list(chosen),
        }
        taken = step.db.execute(TAKE_CHOSEN if chosen else TAKE, parameters)
        before = (taken.lastrowid or 0) - taken.rowcount if taken.rowcount else sys.maxsize
        sql = "DELETE FROM ready WHERE (host, place) IN (SELECT host, place FROM lease WHERE serial > ?)"
        step.db.execute(sql, (before,))
        rows = self._given_since(before)
        for host, count in Counter(row[9] for row in rows if row[1] is not None).items():
            step.took_ready(host, count)
        return rows

    def _give_alone(self, one: _Suspect) -> list[Row]:
        """The suspect; or its origin's robots.txt, and it stays where it is (rule 8)."""
        step, host = self._step, self._step.host(one.host)
        known = not step.rules.robots or self._robots_known(one.origin)
        place = step.place(one.priority, one.request)
        sql = """INSERT INTO lease(batch, request, place, origin, host, since_ms, expires_ms, step)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
        page = (
            (one.request, place, one.origin, one.host, one.since_ms)
            if known
            else (None, None, one.origin, one.host, None)
        )
        row = (self._batch(), *page, step.now + self._lease_ms, host.steps)
        serial = step.db.execute(sql, row).lastrowid or 0
        if known:
            step.db.execute("DELETE FROM suspect WHERE since_ms = ? AND request = ?", (one.since_ms, one.request))
            step.totals.suspects -= 1
            if step.totals.drain_request == one.request:
                step.totals.stop_drain()
        return self._given_since(serial - 1)

    def _robots_known(self, origin: int) -> bool:
        sql = "SELECT expires_ms > ? FROM origin WHERE id = ?"
        return bool(self._step.db.execute(sql, (self._step.now, origin)).fetchone()[0])

    def _given_since(self, serial: int) -> list[Row]:
        """The new leases' rows; hosts, worker and counters follow them."""
        step = self._step
        rows = step.db.execute(_GIVEN_SINCE, {"request_id": self._request_id, "serial": serial}).fetchall()
        if not rows:
            step.db.execute("DELETE FROM batch WHERE request_id = ?", (self._request_id,))
            return rows
        step.load({row[9] for row in rows})
        share = step.shares[self._worker]
        for row in rows:
            host = step.hosts[row[9]]
            host.gave(step.now)
            share.held += 1
            if row[1] is None:
                host.asking = True
            else:
                share.leased += 1
                share.alone += row[6]
                step.totals.leased += 1
        return rows

    def next_due(self, look: Look) -> float | None:
        step, now = self._step, self._step.now
        if look.alone:
            return None
        suspects = _suspects(step) if step.totals.suspects else []
        times = []
        for one in suspects:
            host = step.host(one.host)
            if step.totals.drain_worker == self._worker and step.totals.drain_request == one.request:
                return None if look.held or host.open_ms() <= now else next_due_s(now, host.open_ms())
            time = max(host.open_ms(), one.since_ms + ms(step.rules.suspect_wait_s) if look.held else 0)
            if time > now and host.room(step.rules):
                times.append(time)
        step.hosts.clear()
        return look.next_due_s(now, *times)


def _suspects(step: Step) -> list[_Suspect]:
    sql = """SELECT s.since_ms, s.request, s.host, r.origin, r.priority
        FROM suspect s JOIN request r ON r.id = s.request ORDER BY s.since_ms, s.request LIMIT ?"""
    return [_Suspect(*row) for row in step.db.execute(sql, (REAP_MAX,))]
