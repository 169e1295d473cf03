"""The frontier port: the shared, deduplicated, polite queue of requests. This file is its specification.

    [unseen] --add--> READY --lease--> LEASED --done--> DONE
                        ^                | \\--bury--> DEAD --kick--> READY
                        |                |--retry--> DELAYED --time--> READY
                        |                |--retry(blame host), release--> READY (its old place)
                        |                `--forfeit, lapse--> SUSPECT --lease alone--> LEASED
    add with not_before --> DELAYED      crashes reach crashes_max --> DEAD ("crashed")

Rules that every adapter keeps, each tested by `tests/contract` and `tests/model`:

1. **Seen and enqueue are one atomic step**, as are lease and pop, and every other transition with its counters.
2. **Tokens.** `request_id:index`, the request_id being 128 random bits from the worker. A token is current from its
   lease until its end. An outcome, renewal, fetched or release whose token is not current changes nothing.
3. **Repeating a request_id** returns those of its leases that are still current, and leases nothing.
4. **Death.** A lease that ends without an outcome (lapse by time, forfeit) makes its request a SUSPECT. Only a lease
   that was given `alone` charges a crash; at `crashes_max` the request is buried with reason `crashed`.
   A robots.txt lease just vanishes: the origin is unknown again.
5. **Suspects** are leased last: when the asking worker holds no lease and nothing is ready that could be leased to it
   now. After `suspect_wait_s` a suspect is overdue: one worker at a time gets nothing more until its hands are
   empty, and then the suspect. A worker that holds a lease given `alone` gets nothing.
6. **Reaping** happens inside `lease`, at most `REAP_MAX` a call. When the store was not asked for longer than half a
   lease, or its clock jumped by more, no lease lapses by time for one full lease from then. Forfeit is not affected.
7. **Hosts.** With a delay one request of a host is in flight, and the next may be leased the delay after
   `fetched` (or settle) was called; never earlier, so times round up. After the end of a lease without either it is
   twice that: the server may be at it for a while yet. `Done(fetched=False)` starts none. With delay
   0 at most `per_host` are in flight (0: no cap). In flight = leased and not yet `fetched`. The delay is
   the host's own (`set_host`), else the larger of `delay_s` and its Crawl-delay; rules 14 and 15 may make it longer.
8. **robots.** With `robots` on, a request of an origin without a valid robots record is not leased; instead one lease
   of the origin's `/robots.txt` is given, under the host's politeness, and until it is settled the host gives nothing.
   The worker calls `set_host(robots=…)`, then settles it. `Retry(blame="host")` charges the host as for a page;
   `Retry(blame="page")` pauses it for delay_s.
9. **Host failures.** `Retry(blame="host")` counts one failure and pauses the host for max(delay_s of the outcome,
   host_backoff_s * 2**(failures-1) capped at host_backoff_max_s); at most one step an event: a lease given before the
   last step does not count again. A page blamed on the host returns to its place, uncharged. Any Done, Bury or
   Retry(blame="page") of a lease given after the last step sets failures to 0. At `host_failures_max` the host is
   down: its pages (also those added later) are buried as `host_down`, at most `REAP_MAX` a lease call, until
   `kick(host=…)`.
10. **Order.** Within a host: priority 9..0, then fifo or lifo by admission. Retried and kicked requests keep their
   admission number. Between hosts: longest due first; one call spreads over the due hosts.
11. **Producers** are leases too (open, renew, close). One whose lease lapses or is forfeited is lost; opening a
   producer of the same name forgives it.
12. **Limits.** `pages_max`: leases are given only while pages + leased < pages_max; `bytes_max` likewise. Over several
   shards they are read just before, so workers that ask at the same instant may pass them by what they are given.
13. **Time** is the store's clock in ms; adapters of embedded stores take `clock` for tests.
14. **Response time.** `fetched` tells how long a fetch took. A host with a delay keeps it smoothed (a quarter of each
    new one), and its delay grows to `latency_factor` times that, at most to `delay_max_s`.
15. **Slow-down.** A step of rule 9 whose reason is `http_429` or `http_503` (of a page, or `robots_…` of a robots.txt)
    raises the host's `slow` by one, at most to 6. While it is above 0, one request is in flight, and the delay is at
    least the delay of rule 7 (or a quarter of a second) times 2**slow, at most `delay_max_s`; it also runs from the
    step. `slow` goes down by one after each 10 leases in a row, given after the last step, that ended well: fetched,
    and Done or Bury.
16. **Domains.** With `per_domain` > 0 at most so many requests are in flight over all hosts of a registrable domain,
    those for robots.txt and suspects among them. One call then gives one request of a host at most. It passes over
    hosts whose domain is full, and looks at `SCAN_MAX` due hosts; when none of them can give, the next call goes on
    behind them. Time alone makes no room: `next_due_s` does not count these hosts.
17. **Hours.** Outside `hours` `lease` gives nothing, asks no server, and `next_due_s` says when they begin. What was
    leased before they end is still fetched. Hours of single hosts are the workers': outside them they pause the host
    and release what they were given of it.
18. **Later visits.** A request with `visit` > 0 is another page to `add`: what is seen is page and visit
    (`crawler.url.visit_print`). One whose `not_before_ms` has not come waits DELAYED as any other and is counted in
    `Counts.revisits` until its first promotion. Neither the end of a crawl nor `pending_max` waits for these.

The classic queue is four of these verbs: put = `add` with a producer token (repeat while `full`), get = `lease(1)`
(repeat after `next_due_s`), task_done = `settle(Done)`, join = wait for `finished()`.

The port is synchronous: each call is one batch and few calls are made, so a worker makes them from a small thread pool
and its event loop never waits; seeder, fleet, renewal thread and commands call it as it is. Adapters are thread-safe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from crawler.model import Added, CrawlRecord, DeadLetter, Leased, OwnPace, Request, Robots, Settlement
from crawler.view import Counts, Finish, Host, Shard, Trace, WorkerRow

REAP_MAX = 200
"""Requests that one lease call may reap, promote or bury on the side."""

LEASE_MAX = 200
"""Largest `count` of one lease call; more is cut down to it."""

SCAN_MAX = 1_000
"""Due hosts that one lease call looks at for room in their domains (rule 16)."""


class Frontier(Protocol):
    """All verbs raise BackendError when the store cannot answer; repeating any of them is then safe."""

    def add(self, requests: Sequence[Request], *, producer: str | None = None) -> Added:
        """Admit those never seen. Idempotent. With a producer's token the batch waits at `pending_max` (Added.full)
        and a lost or closed producer raises LeaseLost; without (found links) it is always admitted. One trip."""

    def lease(self, count: int, *, worker: str, request_id: str) -> Leased:
        """Promise up to `count` requests to `worker`. request_id: 32 hex digits, new for each new call. One trip."""

    def fetched(self, tokens: Sequence[str], seconds: Sequence[float] = ()) -> None:
        """The fetches of these leases ended: their hosts' delays start now. Stale tokens are ignored. One trip.
        seconds: how long each took, in the order of the tokens; 0, or left out: not known."""

    def settle(self, settlements: Sequence[Settlement]) -> tuple[str, ...]:
        """End leases; returns the tokens that were no longer current, whose outcomes changed nothing. One trip."""

    def renew(self, tokens: Sequence[str]) -> tuple[str, ...]:
        """Extend leases and producers to a full lease from now; returns those lost. One trip."""

    def release(self, tokens: Sequence[str]) -> None:
        """Give back unstarted: to the old place, nothing charged. The host is free at once, without a delay, if the
        lease was not fetched."""

    def forfeit(self, worker: str) -> int:
        """This worker is dead: end its leases now (rule 4), and its producers (names starting `worker/`). Returns how
        many of both."""

    def host(self, name: str) -> Host:
        """What is known of a host; defaults when nothing is."""

    def robots(self, origins: Sequence[str]) -> tuple[Robots, ...]:
        """The valid robots records of these origins, in their order; some may have none. One trip."""

    def set_host(
        self,
        name: str,
        *,
        delay_s: float | None = None,
        per_host: int | None = None,
        pause_s: float | None = None,
        robots: Robots | None = None,
        crawl_delay_s: float = 0.0,
    ) -> None:
        """Set what is given. delay_s, per_host: the host's own; below 0 it has none, and those of the crawl count.
        pause_s: from now, 0 ends a pause. crawl_delay_s: what this robots.txt asks for, for robots alone; of several
        valid ones of a host the largest counts. Creates the host if need be."""

    def open_producer(self, name: str) -> str:
        """A token for `add`, to be renewed like a lease. Same name again: the older token is no longer current."""

    def close_producer(self, token: str) -> bool:
        """No more from this producer. False: it was no longer current."""

    def counts(self) -> Counts:
        """Cost: a few small reads, whatever the size of the crawl."""

    def finished(self) -> Finish: ...

    def workers(self) -> tuple[WorkerRow, ...]: ...

    def hosts(self, limit: int = 100) -> tuple[Host, ...]:
        """Hosts with most ready requests first, without their robots."""

    def dead(
        self, *, reason: str | None = None, host: str | None = None, limit: int = 100, after: int = 0
    ) -> tuple[DeadLetter, ...]:
        """Dead letters in order of death; `after`: skip so many."""

    def kick(self, *, reason: str | None = None, host: str | None = None, fingerprint: int | None = None) -> int:
        """Dead letters that match all given go back to READY with attempts, crashes 0; a host given is no longer down.
        Returns how many. Cost: in proportion to them."""

    def drop(self, *, reason: str | None = None, host: str | None = None, fingerprint: int | None = None) -> int:
        """Forget the dead letters that match all given; their URLs stay seen. Returns how many."""

    def purge(self, *, host: str | None = None) -> int:
        """Forget the READY and DELAYED requests of a host, or all: they count as dropped, their URLs stay seen. What
        is leased, suspect or dead stays; so does the host's politeness. Returns how many; 0 for an unknown host.

        Cost: in proportion to what is pending. Done in pieces of some hundred, the DELAYED ones first, because those
        may become READY meanwhile; what is added, retried or released meanwhile may stay."""

    def trace(self, fingerprint: int, host: str) -> Trace:
        """Where the request with this fingerprint is. `host`: that of its URL; under another name what is ready may
        be told as `done`. Cost: in proportion to what is pending on its host, leased, delayed and dead; reads only, in
        small pieces, so a request that moves meanwhile may be told as `done`."""

    def peek(self, *, host: str | None = None, limit: int = 10) -> tuple[Trace, ...]:
        """What waits, without leasing it. Reads only. Of a host: its READY requests in the order of rule 10, then its
        DELAYED ones by (due time, admission number). Of all hosts: those with READY requests take turns as in rule 10,
        in the order of (the latest of: admitted or last leased from, delay over, pause over; then admission of the
        host), each giving its first request in the first round, its second in the second and so on; then all DELAYED
        ones by (due time, admission number). No limit counts here: hosts that are down, paused, waiting for their
        robots.txt or without room have their turns too. Nothing is promoted: a DELAYED one whose time has come is still
        told as such until a `lease` looks. `limit`: 0 or more. Over shards the order is kept within each only."""

    def shards(self) -> tuple[Shard, ...]:
        """Each shard by itself, by number. Cost: a few small reads each."""

    def epoch(self) -> int:
        """A number that changes when the store may have lost its last writes (a connection broke, another server
        answers): what a caller remembers of it is then worth nothing."""

    def listen(self, on_ready: Callable[[], None]) -> None:
        """From now on call `on_ready`, in some thread, when requests became ready where nothing was. A hint that may be
        lost: callers also ask by time. Embedded stores never call it."""

    def record(self) -> CrawlRecord: ...

    def update_record(
        self,
        *,
        spider: str | None = None,
        hosts: tuple[str, ...] | None = None,
        named: tuple[str, ...] | None = None,
        outputs: dict[str, str] | None = None,
        own: dict[str, OwnPace] | None = None,
        paused: bool | None = None,
    ) -> CrawlRecord:
        """Change notes. While `paused`, lease gives nothing."""

    def clear(self) -> None:
        """Forget everything of this crawl but its record, whose `own` is empty then."""

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
