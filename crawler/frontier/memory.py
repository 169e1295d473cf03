"""The frontier in memory: the plain reference that the other adapters are compared with. One process, many threads."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from heapq import heapify
from threading import Lock
from types import TracebackType
from typing import Self

import msgspec

from crawler.codec import encode_request
from crawler.error import LeaseLost
from crawler.frontier import memory_view
from crawler.frontier.host import with_times
from crawler.frontier.memory_lease import lease, look_at_clock, set_back
from crawler.frontier.memory_parts import Entry, Holding, Producer
from crawler.frontier.memory_state import State
from crawler.frontier.policy import finish, ms, parse_token
from crawler.hours import Hours
from crawler.model import (
    REQUEST_BYTES_MAX,
    Added,
    CrawlRecord,
    DeadLetter,
    Leased,
    OwnPace,
    Request,
    Robots,
    Rules,
    Settlement,
)
from crawler.url import host as host_of
from crawler.url import origin, visit_print
from crawler.view import Counts, Finish, Host, Shard, Trace, WorkerRow


class MemoryFrontier:
    """See `crawler.frontier` for what each verb promises. `clock` gives the time in ms."""

    def __init__(
        self,
        rules: Rules,
        *,
        name: str = "crawl",
        record: CrawlRecord | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._hours = Hours(rules.hours, rules.zone)
        self._record = record or CrawlRecord(name=name, canonical=rules.canonical, created_ms=clock())
        self._state = State(rules)
        self._state.paused = self._record.paused
        self._lock = Lock()

    def add(self, requests: Sequence[Request], *, producer: str | None = None) -> Added:
        with self._lock:
            state, now = self._state, self._clock()
            if producer is not None:
                if not any(one.token == producer and one.state == "open" for one in self._state.producers.values()):
                    raise LeaseLost(f"producer {producer} is no longer current")
                totals = state.totals
                if 0 < self._rules.pending_max <= totals.ready + totals.delayed - totals.revisits:
                    return Added(full=True)
            new = known = refused = 0
            for request in requests:
                key = visit_print(request)
                if key in state.seen:
                    known += 1
                elif len(encode_request(request)) > REQUEST_BYTES_MAX:
                    refused += 1
                else:
                    new += 1
                    state.seen.add(key)
                    self._admit(request, key, now)
            return Added(new=new, known=known, refused=refused)

    def _admit(self, request: Request, key: int, now: int) -> None:
        state = self._state
        state.entries += 1
        state.totals.added += 1
        host = state.host(host_of(request.url), now)
        entry = Entry(state.entries, request, key, host, origin(request.url))
        if request.not_before_ms > now:
            entry.later = request.visit > 0
            state.delay(entry, request.not_before_ms)
        else:
            state.make_ready(entry)

    def lease(self, count: int, *, worker: str, request_id: str) -> Leased:
        if wait_s := self._hours.wait_s(self._clock()):
            return Leased((), wait_s)
        with self._lock:
            return lease(self._state, count, worker=worker, request_id=request_id, now=self._clock())

    def _current(self, token: str) -> Holding | None:
        request_id, serial = parse_token(token)
        holding = self._state.leases.get(serial)
        return holding if holding is not None and holding.request_id == request_id else None

    def fetched(self, tokens: Sequence[str], seconds: Sequence[float] = ()) -> None:
        with self._lock:
            now = set_back(self._state, self._clock())
            for token, took_ms in with_times(tokens, seconds):
                if holding := self._current(token):
                    self._state.end_fetch(holding, now, took_ms)
                    self._state.refresh(holding.host)

    def settle(self, settlements: Sequence[Settlement]) -> tuple[str, ...]:
        with self._lock:
            now, stale_tokens = set_back(self._state, self._clock()), []
            for settlement in settlements:
                holding = self._current(settlement.token)
                if holding is None:
                    stale_tokens.append(settlement.token)
                else:
                    self._state.settle(holding, settlement.outcome, now)
            return tuple(stale_tokens)

    def renew(self, tokens: Sequence[str]) -> tuple[str, ...]:
        with self._lock:
            now, lost = self._clock(), []
            look_at_clock(self._state, now)
            producers = {one.token: one for one in self._state.producers.values() if one.state == "open"}
            for token in tokens:
                one = self._current(token) or producers.get(token)
                if one is None:
                    lost.append(token)
                else:
                    one.expires_ms = now + self._state.lease_ms
            return tuple(lost)

    def release(self, tokens: Sequence[str]) -> None:
        with self._lock:
            set_back(self._state, self._clock())
            for token in tokens:
                if holding := self._current(token):
                    self._state.release(holding)

    def forfeit(self, worker: str) -> int:
        with self._lock:
            state, now = self._state, self._clock()
            held = list(state.workers[worker].held.values()) if worker in state.workers else []
            for holding in held:
                state.died(holding, now)
            if state.totals.drain_worker == worker:
                state.totals.stop_drain()
            lost = [
                one
                for name, one in self._state.producers.items()
                if one.state == "open" and name.startswith(f"{worker}/")
            ]
            for producer in lost:
                producer.state = "lost"
            return len(held) + len(lost)

    def host(self, name: str) -> Host:
        with self._lock:
            state, now = self._state, self._clock()
            host = state.hosts.get(name)
            if host is None:
                return Host(name=name)
            robots = state.valid_robots(sorted(of for of in state.robots if host_of(f"{of}/") == name), now)
            return host.public(self._rules, now, ready=len(state.ready[host.id]), robots=robots)

    def robots(self, origins: Sequence[str]) -> tuple[Robots, ...]:
        with self._lock:
            return self._state.valid_robots(origins, self._clock())

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
        with self._lock:
            state, now = self._state, self._clock()
            host = state.host(name, now)
            host.set_own(delay_s, per_host)
            if pause_s is not None:
                host.paused_ms = now + ms(pause_s) if pause_s > 0 else 0
            if robots is not None:
                state.set_robots(host, robots, crawl_delay_s, now)
            state.refresh(host)

    def open_producer(self, name: str) -> str:
        with self._lock:
            self._state.opened += 1
            token = f"producer:{self._state.opened}"
            self._state.producers[name] = Producer(token, "open", self._clock() + self._state.lease_ms)
            return token

    def close_producer(self, token: str) -> bool:
        with self._lock:
            for producer in self._state.producers.values():
                if producer.token == token and producer.state == "open":
                    producer.state = "closed"
                    return True
            return False

    def counts(self) -> Counts:
        with self._lock:
            return self._counts()

    def _counts(self) -> Counts:
        states = Counter(one.state for one in self._state.producers.values())
        return self._state.totals.counts(dict(self._state.reasons), states)

    def finished(self) -> Finish:
        return finish(self.counts(), self._rules)

    def workers(self) -> tuple[WorkerRow, ...]:
        with self._lock:
            return tuple(
                WorkerRow(
                    name=name,
                    leased=sum(holding.entry is not None for holding in one.held.values()),
                    pages=one.pages,
                    seen_ms=one.seen_ms,
                )
                for name, one in sorted(self._state.workers.items())
            )

    def hosts(self, limit: int = 100) -> tuple[Host, ...]:
        with self._lock:
            state, now = self._state, self._clock()
            most = sorted(state.hosts.values(), key=lambda host: (-len(state.ready[host.id]), host.id))
            return tuple(host.public(self._rules, now, ready=len(state.ready[host.id])) for host in most[:limit])

    def dead(
        self, *, reason: str | None = None, host: str | None = None, limit: int = 100, after: int = 0
    ) -> tuple[DeadLetter, ...]:
        with self._lock:
            return tuple(letter for letter, _ in self._matching(reason, host, None)[after : after + limit])

    def _matching(
        self, reason: str | None, host: str | None, fingerprint: int | None
    ) -> list[tuple[DeadLetter, Entry]]:
        return [
            (letter, entry)
            for letter, entry in self._state.dead.values()
            if reason in (None, letter.reason)
            and host in (None, letter.host)
            and fingerprint in (None, letter.fingerprint)
        ]

    def kick(self, *, reason: str | None = None, host: str | None = None, fingerprint: int | None = None) -> int:
        with self._lock:
            state = self._state
            if host in state.hosts:
                state.hosts[host].revive()
                state.refresh(state.hosts[host])
            kicked = self._matching(reason, host, fingerprint)
            for _, entry in kicked:
                del state.dead[entry.number]
                entry.host.dead -= 1
                entry.attempts = entry.crashes = 0
                state.make_ready(entry)
            state.totals.dead -= len(kicked)
            return len(kicked)

    def drop(self, *, reason: str | None = None, host: str | None = None, fingerprint: int | None = None) -> int:
        with self._lock:
            dropped = self._matching(reason, host, fingerprint)
            for _, entry in dropped:
                del self._state.dead[entry.number]
                entry.host.dead -= 1
            self._state.totals.dead -= len(dropped)
            self._state.totals.dropped += len(dropped)
            return len(dropped)

    def purge(self, *, host: str | None = None) -> int:
        with self._lock:
            state, count = self._state, 0
            for one in state.hosts.values():
                if host in (None, one.name):
                    count += len(state.ready[one.id]) + one.delayed
                    state.totals.ready -= len(state.ready[one.id])
                    state.totals.delayed -= one.delayed
                    state.ready[one.id].clear()
                    one.delayed = 0
                    state.refresh(one)
            state.delayed = [row for row in state.delayed if row[2].host.delayed]
            state.totals.revisits = sum(row[2].later for row in state.delayed)
            heapify(state.delayed)
            state.totals.dropped += count
            return count

    def trace(self, fingerprint: int, host: str) -> Trace:
        with self._lock:
            return memory_view.trace(self._state, fingerprint, host, self._clock())

    def peek(self, *, host: str | None = None, limit: int = 10) -> tuple[Trace, ...]:
        with self._lock:
            return memory_view.peek(self._state, host, limit, self._clock())

    def shards(self) -> tuple[Shard, ...]:
        with self._lock:
            return (memory_view.shard(self._state, self._counts(), self._clock()),)

    def epoch(self) -> int:
        return 0

    def listen(self, on_ready: Callable[[], None]) -> None:
        """Whoever adds is in this process: asking by time is enough."""

    def record(self) -> CrawlRecord:
        return self._record

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
        given = {"spider": spider, "hosts": hosts, "named": named, "outputs": outputs, "own": own, "paused": paused}
        with self._lock:
            notes = {name: value for name, value in given.items() if value is not None}
            self._record = msgspec.structs.replace(self._record, **notes)
            self._state.paused = self._record.paused
            return self._record

    def clear(self) -> None:
        with self._lock:
            self._state.clear()
            self._record = msgspec.structs.replace(self._record, own={})

    def close(self) -> None:
        """Nothing to close: the crawl goes with the object."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
