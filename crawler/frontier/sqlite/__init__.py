"""The frontier in one SQLite file: several processes of one machine, nothing to install, nothing lost when killed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from crawler.error import SettingsError
from crawler.frontier.policy import finish, ms
from crawler.frontier.sqlite import admission, leasing, letters, purging, reading, settling, viewing
from crawler.frontier.sqlite.look import Look
from crawler.frontier.sqlite.schema import CLEARED, SCHEMA
from crawler.frontier.sqlite.step import Step
from crawler.frontier.totals import Totals
from crawler.hours import Hours
from crawler.model import Added, CrawlRecord, DeadLetter, Leased, OwnPace, Request, Robots, Rules, Settlement
from crawler.sqlitefile import open_file
from crawler.url import CANONICAL_VERSION, base_version, visit_print
from crawler.view import Counts, Finish, Host, Shard, Trace, WorkerRow

T = TypeVar("T")

LOOK_FOR_DEAD_S = 0.5
"""How often the locks of other workers that hold leases are looked at."""


_PRODUCER = "producer "
"""How the OS locks of producers are told from those of workers."""
_HOLDERS = """SELECT name FROM worker WHERE held > 0
    UNION ALL SELECT ? || name FROM producer WHERE state = 'open'"""


def _producer_lock(name: str) -> str:
    return f"{_PRODUCER}{name}"


class SqliteFrontier:
    """See `crawler.frontier` for what each verb promises. `clock` gives the time in ms; `name` counts when the file is
    new. Not to be kept open across a fork.

    The first `lease` of a worker takes its OS lock (`crawler.sqlitefile`), so its death is known at once; leases of its
    name that are older are a dead predecessor's. Raises SettingsError when the file is not one of this version."""

    def __init__(
        self,
        path: str | Path,
        rules: Rules,
        *,
        name: str = "crawl",
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._hours = Hours(rules.hours, rules.zone)
        self._looked_for_dead = 0.0
        self._file = open_file(path, SCHEMA)
        try:
            self._check_record(name)
        except BaseException:
            self._file.close()
            raise

    def _check_record(self, name: str) -> None:
        fresh = CrawlRecord(name=name, canonical=self._rules.canonical, created_ms=self._clock())

        def create(db: sqlite3.Connection) -> None:
            totals = msgspec.json.encode(fresh).decode()
            sql = "INSERT OR IGNORE INTO state(one, record, placing) VALUES (1, ?, ?)"
            db.execute(sql, (totals, self._rules.order))

        if not self._file.read(lambda db: db.execute("SELECT 1 FROM state").fetchone()):
            self._file.write(create)
        found = self.record()
        # What the settings add to the rules only those must share who add URLs: `crawler.plan` sees to it.
        if (found.schema, base_version(found.canonical), found.shards) != (fresh.schema, CANONICAL_VERSION, 1):
            raise SettingsError(
                f"{self._file.path}: crawl {found.name!r} was begun with URL rules {found.canonical} (schema "
                f"{found.schema}, {found.shards} shards), this program has {CANONICAL_VERSION} (schema {fresh.schema}, "
                f"{fresh.shards} shards): finish it with the version that began it, or start over with --fresh"
            )

    def _write(self, transition: Callable[[Step], T]) -> T:
        return self._file.write(lambda db: transition(Step(db, self._rules, self._clock())))

    def add(self, requests: Sequence[Request], *, producer: str | None = None) -> Added:
        distinct: dict[int, Request] = {}
        for request in requests:
            distinct.setdefault(visit_print(request), request)
        wanted = distinct
        if producer is None:
            keys = self._file.read(lambda db: admission.unseen(db, list(distinct)))
            if not keys:
                return Added(known=len(requests))
            wanted = {key: distinct[key] for key in keys}
        added = self._write(lambda step: admission.add(step, wanted, producer=producer))
        if added is None:
            return Added(full=True)
        new, too_large = added
        refused = sum(visit_print(request) in too_large for request in requests) if too_large else 0
        return Added(new=new, known=len(requests) - new - refused, refused=refused)

    def lease(self, count: int, *, worker: str, request_id: str) -> Leased:
        if wait_s := self._hours.wait_s(self._clock()):
            return Leased((), wait_s)
        first = self._file.hold(worker)
        suspected = self._find_dead(at_once=first)
        if not first and not suspected:
            look = self._file.read(lambda db: Look(db, self._rules, worker=worker, request_id=request_id))
            now = self._clock()
            if look.idle(now):
                return Leased((), look.next_due_s(now) if look.may_give() and count > 0 else None)

        def transition(step: Step) -> tuple[list[leasing.Row], float | None]:
            dead = self._file.dead_workers(suspected)
            step.lose_producers(name for name in dead if name.startswith(_PRODUCER))
            dead = tuple(name for name in dead if not name.startswith(_PRODUCER))
            return leasing.lease(step, count, worker=worker, request_id=request_id, dead=dead, first=first)

        rows, next_due_s = self._write(transition)
        given, damaged = leasing.leases(rows, robots=self._rules.robots)
        self.settle(damaged)
        return Leased(tuple(given), 0.0 if damaged else next_due_s)

    def _find_dead(self, *, at_once: bool) -> tuple[str, ...]:
        """Workers that hold leases, and open producers, without their OS lock: looked for now and then."""
        now = time.monotonic()
        if not at_once and now - self._looked_for_dead < LOOK_FOR_DEAD_S:
            return ()
        self._looked_for_dead = now
        holders = self._file.read(lambda db: db.execute(_HOLDERS, (_PRODUCER,)).fetchall())
        return self._file.dead_workers(name for (name,) in holders)

    def fetched(self, tokens: Sequence[str], seconds: Sequence[float] = ()) -> None:
        if tokens:
            self._write(lambda step: settling.fetched(step, tokens, seconds))

    def settle(self, settlements: Sequence[Settlement]) -> tuple[str, ...]:
        return self._write(lambda step: settling.settle(step, settlements)) if settlements else ()

    def renew(self, tokens: Sequence[str]) -> tuple[str, ...]:
        return self._write(lambda step: settling.renew(step, tokens))

    def release(self, tokens: Sequence[str]) -> None:
        if tokens:
            self._write(lambda step: settling.release(step, tokens))

    def forfeit(self, worker: str) -> int:
        def transition(step: Step) -> int:
            ended = step.forfeit(worker)
            step.flush()
            return ended

        return self._write(transition)

    def host(self, name: str) -> Host:
        return self._file.read(lambda db: reading.host(db, self._rules, name, self._clock()))

    def robots(self, origins: Sequence[str]) -> tuple[Robots, ...]:
        return self._file.read(lambda db: reading.robots(db, origins, self._clock()))

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
        self._write(
            lambda step: admission.set_host(
                step,
                name,
                delay_s=delay_s,
                per_host=per_host,
                pause_s=pause_s,
                robots=robots,
                crawl_delay_s=crawl_delay_s,
            )
        )

    def open_producer(self, name: str) -> str:
        self._file.hold(_producer_lock(name))
        expires_ms = self._clock() + ms(self._rules.lease_s)
        sql = "INSERT OR REPLACE INTO producer(name, state, expires_ms) VALUES (?, 'open', ?)"
        return f"producer:{self._file.write(lambda db: db.execute(sql, (name, expires_ms)).lastrowid)}"

    def close_producer(self, token: str) -> bool:
        sql = "UPDATE producer SET state = 'closed' WHERE serial = ? AND state = 'open' RETURNING name"
        serial = settling.producer_serial(token)
        closed = self._file.write(lambda db: db.execute(sql, (serial,)).fetchall())
        for (name,) in closed:
            self._file.let_go(_producer_lock(name))
        return bool(closed)

    def counts(self) -> Counts:
        return self._file.read(reading.counts)

    def finished(self) -> Finish:
        return finish(self.counts(), self._rules)

    def workers(self) -> tuple[WorkerRow, ...]:
        return self._file.read(reading.workers)

    def hosts(self, limit: int = 100) -> tuple[Host, ...]:
        return self._file.read(lambda db: reading.hosts(db, self._rules, limit, self._clock()))

    def dead(
        self, *, reason: str | None = None, host: str | None = None, limit: int = 100, after: int = 0
    ) -> tuple[DeadLetter, ...]:
        matching = letters.where(reason, host, None)
        return tuple(map(letters.letter, self._file.read(lambda db: letters.read(db, matching, limit, after))))

    def kick(self, *, reason: str | None = None, host: str | None = None, fingerprint: int | None = None) -> int:
        if host is not None:
            self._write(lambda step: letters.revive(step, host))
        return self._in_pieces(letters.kick, letters.where(reason, host, fingerprint))

    def drop(self, *, reason: str | None = None, host: str | None = None, fingerprint: int | None = None) -> int:
        return self._in_pieces(letters.drop, letters.where(reason, host, fingerprint))

    def _in_pieces(self, transition: Callable[[Step, letters.Matching, int], int], matching: letters.Matching) -> int:
        until = self._file.read(letters.last)
        total = 0
        while count := self._write(lambda step: transition(step, matching, until)):
            total += count
        return total

    def purge(self, *, host: str | None = None) -> int:
        until = self._file.read(purging.newest)
        total, after = 0, (-1, 0)
        while wanted := self._file.read(partial(purging.delayed, host=host, after=after, until=until)):
            total += self._write(partial(purging.forget_delayed, wanted=wanted))
            after = wanted[-1]
        # Those that became ready meanwhile are among these.
        while count := self._write(lambda step: purging.forget_ready(step, host, until)):
            total += count
        return total

    def trace(self, fingerprint: int, host: str) -> Trace:
        return self._file.read(lambda db: viewing.trace(db, fingerprint, host, self._clock()))

    def peek(self, *, host: str | None = None, limit: int = 10) -> tuple[Trace, ...]:
        return self._file.read(lambda db: viewing.peek(db, host, limit, self._clock()))

    def shards(self) -> tuple[Shard, ...]:
        return (self._file.read(lambda db: viewing.shard(db, self._clock())),)

    def epoch(self) -> int:
        return 0

    def listen(self, on_ready: Callable[[], None]) -> None:
        """Nobody tells: asking by time is cheap here."""

    def record(self) -> CrawlRecord:
        return self._file.read(reading.record)

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
        notes = {name: value for name, value in given.items() if value is not None}

        def change(db: sqlite3.Connection) -> CrawlRecord:
            record = msgspec.structs.replace(reading.record(db), **notes)
            text = msgspec.json.encode(record).decode()
            db.execute("UPDATE state SET record = ?, paused = ?", (text, record.paused))
            return record

        return self._file.write(change)

    def clear(self) -> None:
        def forget(step: Step) -> None:
            for table in CLEARED:
                step.db.execute(f"DELETE FROM {table}")
            step.totals = Totals()
            step.flush()

        self._write(forget)
        self.update_record(own={})

    def close(self) -> None:
        """Ends this process's locks too, when nothing else in it uses the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
