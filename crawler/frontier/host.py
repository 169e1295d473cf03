"""A host as every adapter keeps it: how fast it may be asked, and how each event changes that.

Times are integers in ms of the store's clock. The rule numbers are those of `crawler.frontier`. `redis/lua/shard.lua`
says the same once more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from crawler.frontier import LEASE_MAX
from crawler.frontier.policy import backoff_s, ms
from crawler.model import Outcome, Retry, Robots, Rules
from crawler.view import Host

SLOW_MAX: Final = 6
"""Steps that a host is slowed down at most."""
SLOW_BASE_MS: Final = 250
"""What the steps double when the delay itself is shorter."""
WELL_MAX: Final = 10
"""So many fetches in a row that end well take one step back."""
LATENCY_MAX_MS: Final = 86_400_000
"""A fetch that is said to have taken longer counts as so long."""
OVERLOADED: Final = frozenset({"http_429", "http_503", "robots_http_429", "robots_http_503"})
"""Reasons by which a host says that it is asked too much."""

Pacer = Literal["crawl", "own", "robots", "latency", "slow"]


class HostState(msgspec.Struct, gc=False):
    """What an adapter keeps of a host, and how each event changes it. Mutable: it lives inside one locked step."""

    id: int
    """Order of admission: the tie-break between hosts that are due since the same time."""
    name: str
    delay_ms: int | None = None
    """The host's own; None: the crawl's."""
    per_host: int | None = None
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
    crawl_delay_ms: int = 0
    """What its robots.txt asks for."""
    latency_ms: int = 0
    """How long its fetches take, smoothed; 0: not known, or of no use without a delay."""
    slow: int = 0
    """Steps that it is slowed down (rule 15)."""
    well: int = 0
    """Fetches in a row that ended well since the last step, up or down."""
    delayed: int = 0
    dead: int = 0
    done: int = 0

    def _base(self, rules: Rules) -> int:
        if self.delay_ms is not None:
            return self.delay_ms
        return max(ms(rules.delay_s), self.crawl_delay_ms)

    def pace(self, rules: Rules) -> tuple[int, Pacer]:
        """Its delay now in ms, and what decides on it (rules 14 and 15)."""
        base = self._base(rules)
        found: tuple[int, Pacer] = base, "crawl"
        if self.delay_ms is not None:
            found = base, "own"
        elif base > ms(rules.delay_s):
            found = base, "robots"
        if base and self.latency_ms:
            grown = min(math.ceil(rules.latency_factor * self.latency_ms), ms(rules.delay_max_s))
            found = (grown, "latency") if grown > found[0] else found
        if self.slow:
            slowed = min(max(base, SLOW_BASE_MS) << self.slow, ms(rules.delay_max_s))
            found = (slowed, "slow") if slowed > found[0] else found
        return found

    def _single(self, rules: Rules) -> bool:
        """Whether one request at a time may be in flight."""
        return self.slow > 0 or self._base(rules) > 0

    def _width(self, rules: Rules) -> int:
        return rules.per_host if self.per_host is None else self.per_host

    def room(self, rules: Rules) -> int:
        """How many more may be in flight, time aside (rules 7 to 9)."""
        if self.down or self.asking:
            return 0
        if self._single(rules):
            return max(0, 1 - self.in_flight)
        width = self._width(rules)
        return max(0, width - self.in_flight) if width else LEASE_MAX

    def limited(self, rules: Rules) -> bool:
        return self._width(rules) > 0 or self._single(rules)

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

    def _leave_alone(self, rules: Rules, now: int, times: int = 1) -> None:
        """From now on for its delay; one ms more, because clocks cut off (rule 7)."""
        if delay := self.pace(rules)[0]:
            self.next_ms = max(self.next_ms, now + times * delay + 1)

    def fetch_ended(self, rules: Rules, now: int, took_ms: int = 0) -> None:
        """The delay starts. took_ms: how long the fetch was; 0: not known."""
        self.in_flight -= 1
        if took_ms > 0 and rules.latency_factor > 0 and self._base(rules):
            self.latency_ms = (3 * self.latency_ms + took_ms + 2) // 4 if self.latency_ms else took_ms
        self._leave_alone(rules, now)

    def fetch_lost(self, rules: Rules, now: int) -> None:
        """Whoever fetched died: the server may be at it for a while yet, so the host is left alone twice as long."""
        self.in_flight -= 1
        self._leave_alone(rules, now, 2)

    def ended(self, rules: Rules, now: int, outcome: Outcome, *, given_at_step: int, fetched: bool) -> None:
        """What an outcome says of the host. fetched: the frontier had been told that the fetch ended."""
        if isinstance(outcome, Retry) and outcome.blame == "host":
            self._blamed(rules, now, outcome, given_at_step >= self.steps)
        elif given_at_step >= self.steps:
            self.failures = 0
            if self.slow and isinstance(outcome, Retry):
                self.well = 0
            elif self.slow and (fetched or outcome.fetched):  # type: ignore[union-attr]
                self.well += 1
                if self.well == WELL_MAX:
                    self.slow, self.well = self.slow - 1, 0

    def _blamed(self, rules: Rules, now: int, outcome: Retry, counts: bool) -> None:
        """One host failure, unless the lease was given before the last one was counted (rule 9)."""
        pause_s = outcome.delay_s
        if counts:
            self.steps += 1
            self.failures += 1
            self.well = 0
            pause_s = max(pause_s, backoff_s(rules, self.failures))
            self.down = self.down or 0 < rules.host_failures_max <= self.failures
            if outcome.reason in OVERLOADED:
                self.slow = min(SLOW_MAX, self.slow + 1)
                self._leave_alone(rules, now)
        self.paused_ms = max(self.paused_ms, now + ms(pause_s))

    def set_own(self, delay_s: float | None, per_host: int | None) -> None:
        """None: as before; below 0: the crawl's again."""
        if delay_s is not None:
            self.delay_ms = ms(delay_s) if delay_s >= 0 else None
        if per_host is not None:
            self.per_host = per_host if per_host >= 0 else None

    def set_crawl_delay(self, seconds: float, *, others: bool) -> None:
        """others: the host has an origin with another valid robots.txt, which may ask for more."""
        self.crawl_delay_ms = max(ms(seconds), self.crawl_delay_ms if others else 0)

    def revive(self) -> None:
        self.down = False
        self.failures = self.paused_ms = 0

    def shift(self, back_ms: int) -> None:
        """The clock was set back by so much."""
        self.next_ms -= back_ms
        self.paused_ms -= back_ms
        self.due_ms -= back_ms

    def public(self, rules: Rules, now: int, *, ready: int, robots: tuple[Robots, ...] = ()) -> Host:
        pace_ms, pacer = self.pace(rules)
        return Host(
            name=self.name,
            delay_s=None if self.delay_ms is None else self.delay_ms / 1000,
            per_host=self.per_host,
            crawl_delay_s=self.crawl_delay_ms / 1000,
            latency_s=self.latency_ms / 1000,
            slow=self.slow,
            pace_s=pace_ms / 1000,
            pacer=pacer if pace_ms else "",
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


def with_times(tokens: Sequence[str], seconds: Sequence[float]) -> Iterator[tuple[str, int]]:
    """The tokens of `Frontier.fetched`, each with how long its fetch took, in ms; 0 for what is no time."""
    for at, token in enumerate(tokens):
        took_s = seconds[at] if at < len(seconds) else 0.0
        yield token, min(max(1, ms(took_s)), LATENCY_MAX_MS) if 0 < took_s < math.inf else 0
