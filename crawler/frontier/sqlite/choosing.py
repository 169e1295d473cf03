"""Rule 16: which of the due hosts may give something, as their domains have room. Only with a cap by domain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from crawler.frontier import SCAN_MAX
from crawler.frontier.domain import domain_of
from crawler.frontier.sqlite.step import Step

_FLYING = "SELECT h.name, count(*) FROM lease l JOIN host h ON h.id = l.host WHERE NOT l.fetched GROUP BY l.host"
_DUE = "SELECT id, name FROM host WHERE ready_ms <= ? ORDER BY ready_ms, id LIMIT ? OFFSET ?"
_LATER = "SELECT min(ready_ms) FROM host WHERE ready_ms > ? AND id != ?"


class Domains:
    """The requests in flight by domain, read from the leases: so it is exact whatever happened. Cost: in proportion to
    them."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._max = step.rules.per_domain
        self._flying: Counter[str] = Counter()
        for name, count in step.db.execute(_FLYING) if self._max else ():
            self._flying[domain_of(name)] += count

    def has_room(self, host: str) -> bool:
        return not self._max or self._flying[domain_of(host)] < self._max

    def choose(self, count: int) -> tuple[list[int], bool]:
        """The hosts to take one of each from, and whether to ask again at once."""
        step = self._step
        scan = step.totals.scan
        rows: list[tuple[int, str]] = step.db.execute(_DUE, (step.now, SCAN_MAX + 1, scan)).fetchall()
        chosen = list(self._with_room(rows[:SCAN_MAX], count))
        more = len(rows) > SCAN_MAX
        step.totals.scan = scan + SCAN_MAX if more and not chosen else 0
        return chosen, more or bool(chosen)

    def _with_room(self, rows: list[tuple[int, str]], count: int) -> Iterable[int]:
        for id, name in rows:
            if not count:
                return
            if id != self._step.totals.drain_host and self.has_room(name):
                self._flying[domain_of(name)] += 1
                count -= 1
                yield id

    def later_ms(self) -> int | None:
        """When the first host becomes due that is not due now."""
        step = self._step
        found: tuple[int | None] = step.db.execute(_LATER, (step.now, step.totals.drain_host)).fetchone()
        return found[0]
