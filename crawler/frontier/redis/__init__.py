"""The frontier on Redis: any number of machines share one crawl.

One Lua script for each transition (`lua/`), so each is one atomic step and one trip. A crawl has one shard or several;
a host, with everything that belongs to it, is in one (`shards.shard_of`). The keys of a shard, all in one hash slot:

    crawler:{name:N}                  hash    schema, generation, paused, skew, monitor, totals; shard 0: record
    crawler:{name:N}:G:hosts          hash    host -> what HostState keeps, and counters          (G: the generation)
    …:ready                           zset    hosts that may be asked, by when
    …:q:<priority>:<host>             list    requests in order of admission
    …:back:<host>                     zset    requests that came back, by their place
    …:delayed  …:suspects  …:dead     zset    requests by due time, since when, number of death
    …:leases  …:taken                 hash    leases by serial; their requests
    …:expiry  …:held:<w>              zset, set    serials by when they lapse; by worker
    …:batches  …:given                hash, zset         request_id -> its serials; when it was given
    …:seen:<bucket>                   set     fingerprints, as integers in small sorted arrays
    …:flying                          hash    requests in flight by registrable domain, while there is a cap
    …:robots  …:workers  …:reasons  …:down  …:producers  …:producer_names  …:producer_expiry

Time is the server's clock. Nothing has a TTL, and eviction must be off: leases lapse by score.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Self

from crawler.frontier.policy import finish, ms
from crawler.frontier.redis import admission, identity, settling
from crawler.frontier.redis.hosts import Hosts
from crawler.frontier.redis.leasing import Leasing
from crawler.frontier.redis.reading import Reading, add_up
from crawler.frontier.redis.record import origin_number
from crawler.frontier.redis.scripts import script
from crawler.frontier.redis.shards import CALL_MAX, PRODUCER, Shards
from crawler.frontier.redis.viewing import peek, trace
from crawler.frontier.redis.wire import Wire
from crawler.hours import Hours
from crawler.model import Added, CrawlRecord, DeadLetter, Leased, OwnPace, Request, Robots, Rules, Settlement
from crawler.view import Counts, Finish, Host, Shard, Trace, WorkerRow


class RedisFrontier:
    """See `crawler.frontier` for what each verb promises; each says its trips where they are not one.

    Owns `wire`, and closes it. `shards`: how many a new crawl gets; an existing one keeps its own. `begin` False: join
    only a crawl that exists, so that one which the server lost does not begin anew unnoticed. `clock`: for tests.
    Raises SettingsError when the keys are not a crawl's of this version, or `shards` is given and not the crawl's."""

    def __init__(
        self,
        wire: Wire,
        rules: Rules,
        *,
        name: str = "crawl",
        shards: int = 0,
        begin: bool = True,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._wire = wire
        self._rules = rules
        self._hours = Hours(rules.hours, rules.zone)
        self._clock = clock
        self._shards = Shards(wire, name, rules, clock)
        self._reading = Reading(self._shards)
        self._hosts = Hosts(self._shards, self._reading)
        self._leasing = Leasing(self._shards)
        try:
            if begin:
                identity.begin(self._shards, shards, self._now(), rules.canonical)
            else:
                identity.join(self._shards)
        except BaseException:
            wire.close()
            raise

    def _now(self) -> int:
        if self._clock is not None:
            return self._clock()
        seconds, micros = self._wire.call(self._shards.key(0), "TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    # -- requests ------------------------------------------------------------------------------------------------

    def add(self, requests: Sequence[Request], *, producer: str | None = None) -> Added:
        """Cost: one trip, with a producer and more than `CALL_MAX` requests or several shards two; one more for every
        `TRIP_BYTES_MAX`."""
        return admission.add(self._shards, requests, producer, self._full)

    def _full(self) -> bool:
        """Whether producers must wait, where no single script can see it."""
        if self._shards.count == 1 or not self._rules.pending_max:
            return False
        counts = self.counts()
        return counts.ready + counts.delayed - counts.revisits >= self._rules.pending_max

    # -- leases --------------------------------------------------------------------------------------------------

    def lease(self, count: int, *, worker: str, request_id: str) -> Leased:
        """Cost: one trip; over several shards up to two, and more for a suspect when nothing else is left, and with a
        cap by domain for hosts that are new. The hours are by this machine's clock."""
        now = self._clock() if self._clock is not None else time.time_ns() // 1_000_000
        if wait_s := self._hours.wait_s(now):
            return Leased((), wait_s)
        leased, damaged = self._leasing.lease(count, worker, request_id)
        self.settle(damaged)
        return leased

    def fetched(self, tokens: Sequence[str], seconds: Sequence[float] = ()) -> None:
        settling.tell(self._shards, "fetched", tokens, seconds)

    def settle(self, settlements: Sequence[Settlement]) -> tuple[str, ...]:
        return settling.settle(self._shards, settlements)

    def renew(self, tokens: Sequence[str]) -> tuple[str, ...]:
        return settling.renew(self._shards, tokens)

    def release(self, tokens: Sequence[str]) -> None:
        settling.tell(self._shards, "release", tokens)

    def forfeit(self, worker: str) -> int:
        """Cost: one trip, and another for every `CALL_MAX` leases of a shard."""
        ended, shards = 0, list(range(self._shards.count))
        while shards:
            replies = self._shards.runs("forfeit", [(shard, (worker,)) for shard in shards])
            ended += sum(leases + producers for leases, producers, _ in replies)
            shards = [shard for shard, (_, _, more) in zip(shards, replies, strict=True) if more]
        self._leasing.forget(worker)
        return ended

    # -- hosts ---------------------------------------------------------------------------------------------------

    def host(self, name: str) -> Host:
        """Cost: one trip, two the first time and where priorities other than 0 wait."""
        return self._hosts.one(name, None if self._clock is None else self._clock())

    def robots(self, origins: Sequence[str]) -> tuple[Robots, ...]:
        return self._hosts.robots(origins)

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
        origin: tuple[Any, ...] = (-1,)
        if robots is not None:
            number = origin_number(f"{robots.origin}/")
            expires = ms(robots.expires_s), repr(robots.expires_s)
            origin = (number, robots.origin, *expires, robots.text, ms(crawl_delay_s))
        own = -1 if delay_s is None else ms(delay_s) + 1 if delay_s >= 0 else 0
        width = -1 if per_host is None else max(-1, per_host) + 1
        pause = -1 if pause_s is None else ms(max(0.0, pause_s))
        self._shards.run("set_host", self._shards.of(name), name, own, pause, width, *origin)

    def hosts(self, limit: int = 100) -> tuple[Host, ...]:
        """Cost: a walk over all hosts."""
        return self._hosts.most(limit, self._now())

    # -- producers and counts ------------------------------------------------------------------------------------

    def open_producer(self, name: str) -> str:
        return f"{PRODUCER}:{self._shards.run('open_producer', 0, name)}"

    def close_producer(self, token: str) -> bool:
        _, number, kind = self._shards.parse(token)
        return kind == PRODUCER and bool(self._shards.run("close_producer", 0, number))

    def counts(self) -> Counts:
        return self._reading.counts()

    def finished(self) -> Finish:
        """Cost: one trip while the crawl runs. Over several shards an end is looked at twice: when no counter moved
        between the two readings, all shards were as they were read at one instant."""
        first = self._reading.looks()
        found = finish(add_up([counts for counts, *_ in first]), self._rules)
        if found is Finish.RUNNING or self._shards.count == 1:
            return found
        second = self._reading.looks()
        same = [totals for _, totals, *_ in first] == [totals for _, totals, *_ in second]
        return found if same else Finish.RUNNING

    def workers(self) -> tuple[WorkerRow, ...]:
        return self._reading.workers()

    def shards(self) -> tuple[Shard, ...]:
        return self._reading.shards()

    def epoch(self) -> int:
        return self._wire.epoch()

    def listen(self, on_ready: Callable[[], None]) -> None:
        channels = [self._shards.key(shard) for shard in range(self._shards.count)]
        self._wire.listen(channels, lambda channel, message: on_ready())

    def tell(self, for_ms: int) -> None:
        """Have the scripts publish every step for so long (`watching.transitions`)."""
        keys = [(self._shards.key(shard), (for_ms,)) for shard in range(self._shards.count)]
        self._wire.runs(script("watch"), keys)

    def listen_events(self, on_message: Callable[[str, bytes], None]) -> None:
        """Call it with each message of steps, in some thread."""
        self._wire.listen([f"{self._shards.key(shard)}:events" for shard in range(self._shards.count)], on_message)

    # -- dead letters and what waits ------------------------------------------------------------------------------

    def dead(
        self, *, reason: str | None = None, host: str | None = None, limit: int = 100, after: int = 0
    ) -> tuple[DeadLetter, ...]:
        """Cost: in proportion to all dead letters up to the last that is returned."""
        return tuple(islice(self._reading.letters(reason=reason, host=host), after, after + limit))

    def kick(self, *, reason: str | None = None, host: str | None = None, fingerprint: int | None = None) -> int:
        if host is not None:
            self._shards.run("dead", self._shards.of(host), "kick", host)
        return self._letters("kick", reason, host, fingerprint)

    def drop(self, *, reason: str | None = None, host: str | None = None, fingerprint: int | None = None) -> int:
        return self._letters("drop", reason, host, fingerprint)

    def _letters(self, verb: str, reason: str | None, host: str | None, print_: int | None) -> int:
        """In pieces; those that die meanwhile are not among them."""
        total = 0
        for shard, look in enumerate(self._reading.looks()):
            last = look[1]["died"]
            found = self._reading.letters_of(shard, reason=reason, host=host, print_=print_)
            numbers = (number for number, _ in found if number <= last)
            while piece := list(islice(numbers, CALL_MAX)):
                while piece:
                    count, looked = self._shards.run("dead", shard, verb, "", *piece)
                    total += count
                    piece = piece[looked:]
        return total

    def purge(self, *, host: str | None = None) -> int:
        total = 0
        for shard in range(self._shards.count) if host is None else (self._shards.of(host),):
            mine = [member for member, _, entry in self._reading.delayed(shard) if host in (None, entry.host)]
            for start in range(0, len(mine), CALL_MAX):
                total += self._shards.run("purge", shard, "", *mine[start : start + CALL_MAX])
            for name in self._hosts.names(shard) if host is None else (host,):
                while count := self._shards.run("purge", shard, name):
                    total += count
        return total

    def trace(self, fingerprint: int, host: str) -> Trace:
        return trace(self._reading, fingerprint, host, self._now())

    def peek(self, *, host: str | None = None, limit: int = 10) -> tuple[Trace, ...]:
        return peek(self._reading, self._hosts, host, limit, self._now())

    # -- the crawl -----------------------------------------------------------------------------------------------

    def record(self) -> CrawlRecord:
        return identity.record(self._shards)

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
        """Cost: two trips, more when somebody else changes it at the same time."""
        given = {"spider": spider, "hosts": hosts, "named": named, "outputs": outputs, "own": own, "paused": paused}
        return identity.change(self._shards, {name: value for name, value in given.items() if value is not None})

    def clear(self) -> None:
        """At once for every shard; the old keys are removed after that, in pieces. Cost: a walk over the server's
        keys."""
        identity.clear(self._shards)
        identity.change(self._shards, {"own": {}})

    def close(self) -> None:
        self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
