"""The decisions that all frontier adapters share, apart from any store: politeness, host failures, the store's clock.

Times are integers in ms of the store's clock. The rule numbers are those of `crawler.frontier`.
"""

from __future__ import annotations

import math
from enum import Enum

import msgspec

from crawler.frontier import LEASE_MAX
from crawler.model import PRIORITY_MAX, Robots, Rules
from crawler.view import Counts, Finish, Host

RANK_BITS = 48
"""A place is the rank (0 for the highest priority) above so many bits of admission number."""


class HostState(msgspec.Struct, gc=False):
    """What an adapter keeps of a host, and how each event changes it. Mutable: it lives inside one locked step."""

    id: int
    """Order of admission: the tie-break between hosts that are due since the same time."""
    name: str
    delay_ms: int | None = None
    """The host's own; None: the crawl's."""
    in_flight: int = 0
    next_ms: int = 0
    """Not before: the delay after the last fetch."""
    paused_ms: int = 0
    """Not before: set by hand or by host failures."""
    due_ms: int = 0
    """When it was last leased from, or admitted."""
    failures: int = 0
    steps: int = 0
    """Failures ever counted: a lease remembers it, so that it can be told whether it was given before the last one."""
    down: bool = False
    asking: bool = False
    """Its robots.txt is under lease."""
    delayed: int = 0
    dead: int = 0
    done: int = 0

    def delay(self, rules: Rules) -> int:
        return ms(rules.delay_s) if self.delay_ms is None else self.delay_ms

    def room(self, rules: Rules) -> int:
        """How many more may be in flight, time aside (rules 7 to 9)."""
        if self.down or self.asking:
            return 0
        if self.delay(rules):
            return max(0, 1 - self.in_flight)
        return max(0, rules.per_host - self.in_flight) if rules.per_host else LEASE_MAX

    def limited(self, rules: Rules) -> bool:
        return rules.per_host > 0 or self.delay(rules) > 0

    def open_ms(self) -> int:
        """Since or from when it may be asked."""
        return max(self.next_ms, self.paused_ms)

    def may_give(self, rules: Rules, now: int) -> bool:
        return self.open_ms() <= now and self.room(rules) > 0

    def turn_ms(self) -> int:
        """Its place among the hosts, whether or not it can give anything."""
        return max(self.due_ms, self.next_ms, self.paused_ms)

    def ready_ms(self, rules: Rules, *, waiting: bool) -> int | None:
        """Its place among the hosts (rule 10); None while it can give nothing. `waiting`: it has ready requests."""
        return self.turn_ms() if waiting and self.room(rules) else None

    def gave(self, now: int) -> None:
        self.in_flight += 1
        self.due_ms = now

    def fetch_ended(self, rules: Rules, now: int) -> None:
        """The delay starts; one ms more, because clocks cut off (rule 7)."""
        self.in_flight -= 1
        if delay := self.delay(rules):
            self.next_ms = now + delay + 1

    def fetch_lost(self, rules: Rules, now: int) -> None:
        """Whoever fetched died: the server may be at it for a while yet, so the host is left alone twice as long."""
        self.in_flight -= 1
        if delay := self.delay(rules):
            self.next_ms = now + 2 * delay + 1

    def blamed(self, rules: Rules, now: int, *, given_at_step: int, delay_s: float) -> None:
        """One host failure, unless the lease was given before the last one was counted (rule 9)."""
        pause_s = delay_s
        if given_at_step >= self.steps:
            self.steps += 1
            self.failures += 1
            pause_s = max(pause_s, backoff_s(rules, self.failures))
            self.down = self.down or 0 < rules.host_failures_max <= self.failures
        self.paused_ms = max(self.paused_ms, now + ms(pause_s))

    def well(self, *, given_at_step: int) -> None:
        """The host answered (rule 9)."""
        if given_at_step >= self.steps:
            self.failures = 0

    def revive(self) -> None:
        self.down = False
        self.failures = self.paused_ms = 0

    def shift(self, back_ms: int) -> None:
        """The clock was set back by so much."""
        self.next_ms -= back_ms
        self.paused_ms -= back_ms
        self.due_ms -= back_ms

    def public(self, now: int, *, ready: int, robots: tuple[Robots, ...] = ()) -> Host:
        return Host(
            name=self.name,
            delay_s=None if self.delay_ms is None else self.delay_ms / 1000,
            paused_s=max(0, self.open_ms() - now) / 1000,
            failures=self.failures,
            down=bool(self.down),
            ready=ready,
            in_flight=self.in_flight,
            delayed=self.delayed,
            dead=self.dead,
            done=self.done,
            robots=robots,
        )


class Totals(msgspec.Struct):
    """The counters (see `Counts`) and the few facts about the whole crawl that a lease step needs."""

    ready: int = 0
    delayed: int = 0
    leased: int = 0
    suspects: int = 0
    dead: int = 0
    done: int = 0
    pages: int = 0
    items: int = 0
    bytes: int = 0
    added: int = 0
    dropped: int = 0
    retries: int = 0
    crashes: int = 0
    hosts: int = 0
    asked_ms: int = 0
    """When lease or renew was called last, to a sixteenth of a lease."""
    grace_ms: int = 0
    """No lease lapses by time before this (rule 6)."""
    drain_worker: str = ""
    """Who takes nothing more until its hands are empty, for an overdue suspect (rule 5)."""
    drain_request: int = 0
    drain_host: int = 0
    """That suspect's host, which gives nothing else meanwhile; 0 when it may."""
    drain_ms: int = 0
    """When that worker asked last; it is given up after a lease."""

    def room(self, rules: Rules) -> int:
        """How many leases the limits allow (rule 12)."""
        if rules.bytes_max and self.bytes >= rules.bytes_max:
            return 0
        return max(0, rules.pages_max - self.pages - self.leased) if rules.pages_max else LEASE_MAX

    def stop_drain(self) -> None:
        self.drain_worker, self.drain_request, self.drain_host = "", 0, 0

    def start_drain(self, worker: str, request: int, host: HostState, rules: Rules) -> None:
        self.drain_worker, self.drain_request = worker, request
        self.drain_host = host.id if host.limited(rules) else 0

    def counts(self, reasons: dict[str, int], producers: dict[str, int]) -> Counts:
        return Counts(
            ready=self.ready,
            delayed=self.delayed,
            leased=self.leased,
            suspects=self.suspects,
            dead=self.dead,
            done=self.done,
            pages=self.pages,
            items=self.items,
            bytes=self.bytes,
            added=self.added,
            dropped=self.dropped,
            retries=self.retries,
            crashes=self.crashes,
            hosts=self.hosts,
            producers_open=producers.get("open", 0),
            producers_closed=producers.get("closed", 0),
            producers_lost=producers.get("lost", 0),
            reasons=reasons,
        )


class Clock(Enum):
    """What a call tells about the store's clock."""

    SAME = "same"
    LATER = "later"
    """Time to note that somebody asked."""
    SILENCE = "silence"
    """Nobody asked for longer than half a lease, or the clock jumped forward."""
    BACK = "back"
    """The clock was set back by more than half a lease."""


def clock(asked_ms: int, now: int, lease_ms: int) -> Clock:
    """Rule 6. The note is kept to a sixteenth of a lease, so that idle workers need not write."""
    if asked_ms - now > lease_ms // 2:
        return Clock.BACK
    if now - asked_ms > lease_ms // 2:
        return Clock.SILENCE
    return Clock.LATER if stale(asked_ms, now, lease_ms) else Clock.SAME


def stale(noted_ms: int, now: int, lease_ms: int) -> bool:
    """Whether a note of the time is worth renewing."""
    return not 0 <= now - noted_ms < max(1, lease_ms // 16)


def crash_detail(crashes: int) -> str:
    """For people: why a page is buried as `crashed`."""
    return f"{crashes} workers died holding this page and nothing else: killed, out of memory, or over parse_max_s"


def backoff_s(rules: Rules, failures: int) -> float:
    """Pause after the n-th host failure in a row (rule 9)."""
    return min(rules.host_backoff_max_s, rules.host_backoff_s * 2.0 ** min(failures - 1, 60))


def ms(seconds: float) -> int:
    """Rounded up: nothing comes early."""
    return math.ceil(round(seconds * 1000, 3))


def place(order: str, priority: int, number: int) -> int:
    """Sorts the requests of a host as rule 10 says; `number` is the admission number, below 2**48."""
    rank = PRIORITY_MAX - priority
    return (rank << RANK_BITS) + (number if order == "fifo" else -number)


def finish(counts: Counts, rules: Rules) -> Finish:
    """Whether the crawl is over."""
    pending = counts.ready + counts.delayed + counts.leased + counts.suspects
    if not pending and not counts.producers_open:
        if counts.producers_lost:
            return Finish.INCOMPLETE
        if counts.producers_closed:
            return Finish.FINISHED
    limit = 0 < rules.pages_max <= counts.pages or 0 < rules.bytes_max <= counts.bytes
    return Finish.LIMIT if limit and not counts.leased else Finish.RUNNING


def next_due_s(now: int, *times: int | None) -> float | None:
    """The earliest of them as seconds from now."""
    known = [time for time in times if time is not None]
    return max(0, min(known) - now) / 1000 if known else None


def parse_token(token: str) -> tuple[str, int]:
    """`request_id:serial`; serial -1 when it cannot be a lease's."""
    head, _, tail = token.rpartition(":")
    return (head, int(tail)) if tail.isascii() and tail.isdigit() and len(tail) < 19 else (token, -1)
