"""The frontier's state in plain dictionaries, and its transitions. `memory.MemoryFrontier` wraps it in one lock.

Each request is in exactly one place: a host's heap (READY), `delayed`, `leases`, `suspects`, `dead`, or gone (DONE).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush

import msgspec

from crawler.frontier import REAP_MAX
from crawler.frontier.domain import domain_of
from crawler.frontier.host import HostState
from crawler.frontier.memory_parts import Entry, Holding, Producer, WorkerState
from crawler.frontier.policy import crash_detail, ms, place
from crawler.frontier.totals import Totals
from crawler.model import Bury, DeadLetter, Done, Outcome, Retry, Robots, Rules
from crawler.url import host as host_of


class State:
    """All transitions; none takes a lock or asks the clock."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.lease_ms = ms(rules.lease_s)
        self.paused = False
        self.serial = 0
        self.opened = 0
        self.clear()

    def clear(self) -> None:
        """`serial` and `opened` go on: old tokens must stay stale."""
        self.totals = Totals()
        self.reasons: Counter[str] = Counter()
        self.seen: set[int] = set()
        self.entries = 0
        self.hosts: dict[str, HostState] = {}
        self.host_by_id: dict[int, HostState] = {}
        self.ready: dict[int, list[tuple[int, Entry]]] = {}
        self.due: list[tuple[int, int]] = []
        """Heap of (ready_ms, host id); an entry counts only while it equals `ready_ms[host id]`."""
        self.ready_ms: dict[int, int | None] = {}
        self.down: dict[int, HostState] = {}
        self.robots: dict[str, tuple[Robots, int]] = {}
        """Origin -> record, and when it expires."""
        self.delayed: list[tuple[int, int, Entry]] = []
        self.leases: dict[int, Holding] = {}
        self.batches: dict[str, tuple[int, list[int]]] = {}
        self.suspects: dict[int, Entry] = {}
        self.dead: dict[int, tuple[DeadLetter, Entry]] = {}
        """By admission number, in order of death."""
        self.workers: dict[str, WorkerState] = {}
        self.producers: dict[str, Producer] = {}

    # Hosts

    def host(self, name: str, now: int) -> HostState:
        """The host, created if need be."""
        host = self.hosts.get(name)
        if host is None:
            host = self.hosts[name] = HostState(len(self.hosts) + 1, name, due_ms=now)
            self.host_by_id[host.id] = host
            self.ready[host.id] = []
            self.totals.hosts += 1
        return host

    def refresh(self, host: HostState) -> None:
        """To be called after every change of a host: keeps its place among the due ones."""
        ready_ms = host.ready_ms(self.rules, waiting=bool(self.ready[host.id]))
        if ready_ms is not None and ready_ms != self.ready_ms.get(host.id):
            heappush(self.due, (ready_ms, host.id))
        self.ready_ms[host.id] = ready_ms
        if host.down:
            self.down[host.id] = host
        else:
            self.down.pop(host.id, None)

    def due_hosts(self, now: int, limit: int, reserved: HostState | None) -> list[HostState]:
        """Those due for longest, taken off the heap: `refresh` each afterwards."""
        found: list[HostState] = []
        skipped: list[HostState] = []
        while self.due and self.due[0][0] <= now and len(found) < limit:
            ready_ms, id = heappop(self.due)
            if self.ready_ms.get(id) != ready_ms:
                continue
            self.ready_ms[id] = None
            (skipped if reserved is not None and reserved.id == id else found).append(self.host_by_id[id])
        for host in skipped:
            self.refresh(host)
        return found

    # Domains (rule 16)

    def flying(self) -> Counter[str]:
        """Requests in flight by domain; empty without a cap."""
        if not self.rules.per_domain:
            return Counter()
        return Counter(domain_of(one.host.name) for one in self.leases.values() if not one.fetched)

    def has_room(self, host: HostState, flying: Counter[str]) -> bool:
        """Whether the cap by domain lets the host be asked."""
        return not self.rules.per_domain or flying[domain_of(host.name)] < self.rules.per_domain

    def in_turn(self) -> list[HostState]:
        """All that could give something but for time, in the order of rule 10."""
        places = sorted((ready_ms, id) for id, ready_ms in self.ready_ms.items() if ready_ms is not None)
        return [self.host_by_id[id] for _, id in places]

    def first_due_ms(self, reserved: HostState | None) -> int | None:
        while self.due and self.ready_ms.get(self.due[0][1]) != self.due[0][0]:
            heappop(self.due)
        if self.due and reserved is not None and self.due[0][1] == reserved.id:
            others = [time for id, time in self.ready_ms.items() if time is not None and id != reserved.id]
            return min(others, default=None)
        return self.due[0][0] if self.due else None

    def robots_ms(self, origin: str, now: int) -> int | None:
        """Stamp of the origin's valid record; None when its robots.txt must be fetched first (rule 8)."""
        if not self.rules.robots:
            return 0
        record, expires_ms = self.robots.get(origin, (None, 0))
        return record.fetched_ms if record is not None and expires_ms > now else None

    def valid_robots(self, origins: Iterable[str], now: int) -> tuple[Robots, ...]:
        found = (self.robots.get(origin, (None, 0)) for origin in origins)
        return tuple(record for record, expires_ms in found if record is not None and expires_ms > now)

    def robots_stamp(self, origin: str) -> int:
        """Of its record, valid or not; 0 when robots are not obeyed."""
        return self.robots[origin][0].fetched_ms if self.rules.robots and origin in self.robots else 0

    def set_robots(self, host: HostState, robots: Robots, crawl_delay_s: float, now: int) -> None:
        before, _ = self.robots.get(robots.origin, (robots, 0))
        stamp = max(now, 1, before.fetched_ms + 1 if before is not robots else 1)
        others = any(
            expires_ms > now and one.origin != robots.origin and host_of(f"{one.origin}/") == host.name
            for one, expires_ms in self.robots.values()
        )
        host.set_crawl_delay(crawl_delay_s, others=others)
        record = msgspec.structs.replace(robots, fetched_ms=stamp)
        self.robots[robots.origin] = record, now + ms(robots.expires_s)

    # Transitions of a request

    def make_ready(self, entry: Entry) -> None:
        heappush(self.ready[entry.host.id], (place(self.rules.order, entry.request.priority, entry.number), entry))
        self.totals.ready += 1
        self.refresh(entry.host)

    def delay(self, entry: Entry, due_ms: int) -> None:
        heappush(self.delayed, (due_ms, entry.number, entry))
        self.totals.delayed += 1
        self.totals.revisits += entry.later
        entry.host.delayed += 1

    def suspect(self, entry: Entry, since_ms: int) -> None:
        entry.since_ms = since_ms
        self.suspects[entry.number] = entry
        self.totals.suspects += 1

    def bury(self, entry: Entry, reason: str, detail: str, now: int) -> None:
        letter = DeadLetter(
            request=entry.request,
            fingerprint=entry.fingerprint,
            host=entry.host.name,
            reason=reason,
            detail=detail,
            attempts=entry.attempts,
            crashes=entry.crashes,
            died_ms=now,
        )
        self.dead[entry.number] = letter, entry
        self.totals.dead += 1
        entry.host.dead += 1
        self.reasons[f"bury:{reason}"] += 1

    def give(self, entry: Entry, worker: str, request_id: str, now: int, *, alone: bool = False) -> bool:
        """Lease it, or its origin's robots.txt in its place: then False, and the entry stays where it is."""
        host, known = entry.host, self.robots_ms(entry.origin, now) is not None
        self.serial += 1
        holding = Holding(
            serial=self.serial,
            request_id=request_id,
            worker=worker,
            host=host,
            origin=entry.origin,
            entry=entry if known else None,
            expires_ms=now + self.lease_ms,
            alone=alone and known,
            step=host.steps,
        )
        self.leases[self.serial] = self.workers[worker].held[self.serial] = holding
        self.batches.setdefault(request_id, (now, []))[1].append(self.serial)
        host.gave(now)
        if known:
            self.totals.leased += 1
        else:
            host.asking = True
        return known

    def take(self, holding: Holding) -> None:
        """The lease is no longer current; where its request goes is for the caller."""
        del self.leases[holding.serial]
        del self.workers[holding.worker].held[holding.serial]
        if holding.entry is None:
            holding.host.asking = False
        else:
            self.totals.leased -= 1

    def end_fetch(self, holding: Holding, now: int, took_ms: int = 0) -> None:
        if not holding.fetched:
            holding.fetched = True
            holding.host.fetch_ended(self.rules, now, took_ms)

    def settle(self, holding: Holding, outcome: Outcome, now: int) -> None:
        host, entry, fetched = holding.host, holding.entry, holding.fetched
        self.take(holding)
        if not isinstance(outcome, Retry) and not outcome.fetched and not fetched:
            host.in_flight -= 1
        else:
            self.end_fetch(holding, now)
        host.ended(self.rules, now, outcome, given_at_step=holding.step, fetched=fetched)
        if entry is not None:
            self.workers[holding.worker].pages += 1
            self._settle_page(entry, outcome, now)
        elif isinstance(outcome, Retry):
            host.paused_ms = max(host.paused_ms, now + ms(outcome.delay_s))
        self.refresh(host)

    def _settle_page(self, entry: Entry, outcome: Outcome, now: int) -> None:
        if isinstance(outcome, Done):
            self.totals.done += 1
            entry.host.done += 1
            self.totals.pages += not outcome.reason
            self.totals.items += outcome.items
            self.totals.bytes += outcome.bytes
            if outcome.reason:
                self.reasons[f"done:{outcome.reason}"] += 1
        elif isinstance(outcome, Bury):
            self.bury(entry, outcome.reason, outcome.detail, now)
        else:
            self.totals.retries += 1
            self.reasons[f"retry:{outcome.reason}"] += 1
            entry.attempts += outcome.blame == "page"
            if outcome.blame == "page" and outcome.delay_s > 0:
                self.delay(entry, now + ms(outcome.delay_s))
            else:
                self.make_ready(entry)

    def release(self, holding: Holding) -> None:
        self.take(holding)
        if not holding.fetched:
            holding.host.in_flight -= 1
        if holding.entry is not None and holding.alone:
            self.suspect(holding.entry, holding.entry.since_ms)
        elif holding.entry is not None:
            self.make_ready(holding.entry)
        self.refresh(holding.host)

    def died(self, holding: Holding, now: int) -> None:
        """The lease ended without an outcome (rule 4)."""
        self.take(holding)
        if not holding.fetched:
            holding.host.fetch_lost(self.rules, now)
        entry = holding.entry
        if entry is not None:
            entry.crashes += holding.alone
            self.totals.crashes += holding.alone
            if holding.alone and entry.crashes >= self.rules.crashes_max:
                self.bury(entry, "crashed", crash_detail(entry.crashes), now)
            else:
                self.suspect(entry, now)
        self.refresh(holding.host)

    # What a lease call does on the side (rule 6), and the order of suspects

    def tidy(self, now: int) -> None:
        """Reap, promote and bury, REAP_MAX in all."""
        budget = REAP_MAX
        if now >= self.totals.grace_ms:
            lapsed = sorted((h.expires_ms, h.serial) for h in self.leases.values() if h.expires_ms <= now)[:budget]
            for _, serial in lapsed:
                self.died(self.leases[serial], now)
            budget -= len(lapsed)
            for producer in self.producers.values():
                if producer.state == "open" and producer.expires_ms <= now:
                    producer.state = "lost"
        while budget and self.delayed and self.delayed[0][0] <= now:
            entry = heappop(self.delayed)[2]
            self.totals.delayed -= 1
            self.totals.revisits -= entry.later
            entry.later = False
            entry.host.delayed -= 1
            self.make_ready(entry)
            budget -= 1
        for entry in list(self._doomed(budget)):
            self.bury(entry, "host_down", "", now)

    def _doomed(self, budget: int) -> Iterator[Entry]:
        for _, host in sorted(self.down.items()):
            while budget and self.ready[host.id]:
                yield heappop(self.ready[host.id])[1]
                self.totals.ready -= 1
                budget -= 1
            for entry in sorted((one for one in self.suspects.values() if one.host is host), key=_since)[:budget]:
                self.take_suspect(entry)
                budget -= 1
                yield entry

    def suspects_in_order(self) -> list[Entry]:
        return sorted(self.suspects.values(), key=_since)[:REAP_MAX]

    def doomed(self) -> bool:
        """Whether `tidy` has something left to bury."""
        return any(self.ready[id] for id in self.down) or any(one.host.down for one in self.suspects.values())

    def take_suspect(self, entry: Entry) -> None:
        del self.suspects[entry.number]
        self.totals.suspects -= 1

    def clock_set_back(self, back_ms: int) -> None:
        """Keep what remains of every wait."""
        for host in self.hosts.values():
            host.shift(back_ms)
            self.refresh(host)
        for holding in self.leases.values():
            holding.expires_ms -= back_ms
        for producer in self.producers.values():
            producer.expires_ms -= back_ms
        self.delayed = [(due_ms - back_ms, number, entry) for due_ms, number, entry in self.delayed]
        heapify(self.delayed)
        for entry in self.suspects.values():
            entry.since_ms -= back_ms


def _since(entry: Entry) -> tuple[int, int]:
    return entry.since_ms, entry.number
