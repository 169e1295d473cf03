"""A glance at the frontier: one statement tells a lease call whether anything can be done, and when to ask again."""

from __future__ import annotations

import sqlite3
from typing import Any

from crawler.frontier.policy import Clock, clock, ms, next_due_s, stale
from crawler.frontier.sqlite.schema import LOOK
from crawler.frontier.totals import Totals
from crawler.model import Rules

_TOTALS = len(Totals.__struct_fields__)


class Look:
    """What `LOOK` found, for one worker."""

    def __init__(self, db: sqlite3.Connection, rules: Rules, *, worker: str, request_id: str) -> None:
        row: tuple[Any, ...] = db.execute(LOOK, {"worker": worker, "request_id": request_id}).fetchone()
        self.rules = rules
        self.totals = Totals(*row[:_TOTALS])
        self.paused: int
        self.host_ms: int | None
        self.delayed_ms: int | None
        self.lease_ms: int | None
        self.producer_ms: int | None
        self.doomed: int
        self.repeated: int
        self.held: int | None
        self.alone: int | None
        self.seen_ms: int | None
        (
            self.paused,
            self.host_ms,
            self.delayed_ms,
            self.lease_ms,
            self.producer_ms,
            self.doomed,
            self.repeated,
            self.held,
            self.alone,
            self.seen_ms,
        ) = row[_TOTALS:]

    def lapses_ms(self) -> int | None:
        """When the first lease or producer lapses."""
        ends = [end for end in (self.lease_ms, self.producer_ms) if end is not None]
        return max(self.totals.grace_ms, min(ends)) if ends else None

    def may_give(self) -> bool:
        """Whether this worker may be given anything at all."""
        return not self.paused and not self.alone and self.totals.room(self.rules) > 0

    def idle(self, now: int) -> bool:
        """Whether a lease call would change nothing. Suspects are rare: they are looked at in earnest."""
        lease_ms = ms(self.rules.lease_s)
        if self.seen_ms is None or stale(self.seen_ms, now, lease_ms):
            return False
        if self.repeated or self.doomed or self.totals.suspects or self.totals.drain_worker:
            return False
        if clock(self.totals.asked_ms, now, lease_ms) is not Clock.SAME:
            return False
        times = [self.delayed_ms, self.lapses_ms()]
        if self.may_give():
            times.append(self.host_ms)
        return all(time is None or time > now for time in times)

    def next_due_s(self, now: int, *suspects: int) -> float | None:
        """When to ask again. `suspects`: when those might be given to this worker."""
        times = (self.host_ms, self.delayed_ms, self.lapses_ms(), *suspects)
        return next_due_s(now, *times, now if self.doomed else None)
