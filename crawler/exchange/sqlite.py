"""The exchange in a SQLite file, usually the frontier's: several processes, nothing installed.

Costs: each verb is one write transaction, shared with whatever else the process writes at that moment
(`crawler/sqlitefile.py`). `lease` first looks without the write lock, so consumers that find nothing cost a read.
A consumer holds an OS lock in `<file>-workers/` from its first lease on: one that was killed is noticed within
DEAD_CHECK_S by any other consumer's lease, without waiting for its leases to lapse.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from crawler.codec import DAMAGED, decode_message, encode_message
from crawler.error import BadRecord, SettingsError
from crawler.exchange import letters
from crawler.exchange.leasing import Given, Leasing, Terms, holders
from crawler.exchange.line import due_ms
from crawler.exchange.routing import ExchangeType, Router
from crawler.exchange.tables import ALIVE, QUEUES_MAX, SCHEMA, Tables
from crawler.model import Bury, DeadItem, Delivery, Done, Message, Queue, Settlement
from crawler.sqlitefile import open_file
from crawler.view import QueueCounts

DEAD_CHECK_S: Final = 0.5
"""How often a leasing consumer looks whether the others live."""


class SqliteExchange:
    """The port. Not to be kept open across a fork."""

    def __init__(
        self,
        path: str | Path,
        *,
        type: ExchangeType = "fanout",
        lease_s: float = 60.0,
        crashes_max: int = 3,
        suspect_wait_s: float = 60.0,
        fsync: bool = False,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """`fsync`: what was published survives a power loss too. Raises SettingsError when the path cannot be a state
        file or is one of another schema, BackendError."""
        self._file = open_file(path, SCHEMA, fsync=fsync)
        self._clock = clock
        self._leasing = Leasing(
            Terms(
                lease_ms=round(lease_s * 1_000),
                crashes_max=crashes_max,
                suspect_wait_ms=round(suspect_wait_s * 1_000),
            )
        )
        self._type: ExchangeType = type
        self._router = Router(type, {})
        self._queues: dict[str, tuple[int, str]] = {}
        """Name -> id and bind, as the router knows them."""
        self._dead_check_s = 0.0

    def declare(self, queues: Sequence[Queue]) -> None:
        def operation(db: sqlite3.Connection) -> None:
            for queue in queues:
                db.execute(
                    "INSERT INTO x_queue(name, bind) VALUES (?, ?)"
                    " ON CONFLICT (name) DO UPDATE SET bind = excluded.bind",
                    (queue.name, json.dumps(queue.bind)),
                )
            if db.execute("SELECT count(*) FROM x_queue").fetchone()[0] > QUEUES_MAX:
                raise SettingsError(f"{self._file.path}: more than {QUEUES_MAX} pipelines: use a state file of its own")

        self._file.write(operation)

    def _targets(self, db: sqlite3.Connection) -> Callable[[str], list[int]]:
        """Kind -> ids of the queues. Read again each time, because another process may have declared."""
        queues = {name: (id, bind) for id, name, bind in db.execute("SELECT id, name, bind FROM x_queue ORDER BY id")}
        if queues != self._queues:
            self._queues = queues
            self._router = Router(self._type, {name: json.loads(bind) for name, (_, bind) in queues.items()})
        router = self._router
        return lambda kind: [queues[name][0] for name in router.targets(kind)]

    def publish(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        rows = {message.id: (message.kind, encode_message(message)) for message in reversed(messages)}
        ids = list(dict.fromkeys(message.id for message in messages))
        self._file.write(lambda db: self._publish(Tables(db, self._clock()), [(id, *rows[id]) for id in ids]))

    def _publish(self, tables: Tables, messages: Sequence[tuple[str, str, bytes]]) -> None:
        """Messages: id, kind, payload. One that is known goes into those queues only that do not have it."""
        db = tables.db
        targets = self._targets(db)
        known = {
            id: (number, queues)
            for id, number, queues in db.execute(
                "SELECT id, number, queues FROM x_message WHERE id IN (SELECT value FROM json_each(?))",
                (json.dumps([id for id, _, _ in messages]),),
            )
        }
        number = db.execute("SELECT ifnull(max(number), 0) FROM x_message").fetchone()[0]
        ready: dict[int, list[tuple[int, int, int]]] = {}
        new: list[tuple[int, int, int, str, bytes]] = []
        for id, kind, payload in messages:
            queues = targets(kind)
            if id in known:
                mine, had = known[id]
                queues = [queue for queue in queues if not had & 1 << queue]
                if queues:
                    db.execute("UPDATE x_message SET queues = ? WHERE number = ?", (had | _bits(queues), mine))
            elif queues:
                number += 1
                mine = number
                new.append((number, ALIVE | _bits(queues), tables.now_ms, id, payload))
            for queue in queues:
                ready.setdefault(queue, []).append((mine, 0, 0))
        db.executemany("INSERT INTO x_message VALUES (?, ?, ?, ?, ?)", new)
        for queue, copies in ready.items():
            tables.to_ready(queue, copies)
        tables.flush()

    def lease(
        self, queue: str, count: int, *, consumer: str, request_id: str, bytes_max: int = 0
    ) -> tuple[Delivery, ...]:
        """A consumer serves one queue: a suspect is weighed against what it holds of the same queue."""
        newborn = self._file.hold(_lock_name(consumer))
        dead = self._dead_consumers(consumer)
        now_ms = self._clock()
        look = self._file.read(lambda db: self._leasing.look(db, queue, request_id, now_ms))
        if look is None:
            raise SettingsError(f"exchange: no queue {queue!r} was declared")
        if not (look.worth or newborn or dead):
            return ()

        def operation(db: sqlite3.Connection) -> list[Given]:
            tables = Tables(db, now_ms)
            gone = self._file.dead_workers([_lock_name(name) for name in dead])
            for name in dead:
                if _lock_name(name) in gone:
                    self._leasing.forfeit(tables, name)
            if newborn:  # whatever the name still has is a dead predecessor's
                self._leasing.forfeit(tables, consumer)
            given = self._leasing.lease(tables, look.queue, (count, bytes_max), consumer, request_id)
            tables.flush()
            return given

        return self._deliveries(request_id, self._file.write(operation))

    def _deliveries(self, request_id: str, given: Sequence[Given]) -> tuple[Delivery, ...]:
        """A record that was damaged is buried at once: it must not come round for ever."""
        deliveries: list[Delivery] = []
        damaged: list[Settlement] = []
        for slot, attempts, crashes, alone, payload in given:
            token = f"{request_id}:{slot}"
            try:
                message = decode_message(payload)
            except BadRecord as error:
                damaged.append(Settlement(token, Bury(DAMAGED, str(error))))
                continue
            delivery = Delivery(token=token, message=message, attempts=attempts, crashes=crashes, alone=bool(alone))
            deliveries.append(delivery)
        self.settle(damaged)
        return tuple(deliveries)

    def _dead_consumers(self, consumer: str) -> tuple[str, ...]:
        """Those that hold leases but no lock, looked for every DEAD_CHECK_S."""
        now_s = time.monotonic()
        if now_s < self._dead_check_s:
            return ()
        self._dead_check_s = now_s + DEAD_CHECK_S
        locks = {_lock_name(name): name for name in self._file.read(holders) if name != consumer}
        return tuple(locks[lock] for lock in self._file.dead_workers(locks))

    def settle(self, settlements: Sequence[Settlement]) -> tuple[str, ...]:
        if not settlements:
            return ()
        return self._file.write(lambda db: self._settle(Tables(db, self._clock()), settlements))

    def _settle(self, tables: Tables, settlements: Sequence[Settlement]) -> tuple[str, ...]:
        self._leasing.notice_silence(tables)
        taken = self._leasing.take(tables, [one.token for one in settlements])
        stale: list[str] = []
        done: dict[int, list[int]] = {}
        delayed: dict[int, list[tuple[int, int, int, int]]] = {}
        for one in settlements:
            was = taken.pop(one.token, None)
            if was is None:
                stale.append(one.token)
            elif isinstance(one.outcome, Done):
                done.setdefault(was.queue, []).append(was.row[0])
            elif isinstance(one.outcome, Bury):
                tables.to_dead(was.queue, was.row, one.outcome)
            else:
                number, attempts, crashes = was.row
                charged = attempts + (one.outcome.blame == "page")
                row = (due_ms(tables.now_ms, one.outcome), number, charged, crashes)
                delayed.setdefault(was.queue, []).append(row)
        for queue, numbers in done.items():
            tables.done(queue, numbers)
        for queue, rows in delayed.items():
            tables.to_delayed(queue, rows)
        tables.flush()
        return tuple(stale)

    def renew(self, tokens: Sequence[str]) -> tuple[str, ...]:
        if not tokens:
            return ()
        renewed = self._file.write(lambda db: self._leasing.renew(Tables(db, self._clock()), tokens))
        return tuple(token for token in tokens if token not in renewed)

    def release(self, tokens: Sequence[str]) -> None:
        """To its old place: a suspect is a suspect again, as old as it was."""

        def operation(db: sqlite3.Connection) -> None:
            tables = Tables(db, self._clock())
            for was in self._leasing.take(tables, tokens).values():
                if was.alone:
                    tables.to_suspects(was.queue, [was.row], was.since_ms)
                else:
                    tables.to_ready(was.queue, [was.row])
            tables.flush()

        if tokens:
            self._file.write(operation)

    def forfeit(self, consumer: str) -> int:
        def operation(db: sqlite3.Connection) -> int:
            tables = Tables(db, self._clock())
            count = self._leasing.forfeit(tables, consumer)
            tables.flush()
            return count

        return self._file.write(operation)

    def counts(self) -> dict[str, QueueCounts]:
        return self._file.read(lambda db: letters.counts(db, self._clock()))

    def unrouted(self) -> int:
        return 0

    def dead(
        self, *, queue: str | None = None, reason: str | None = None, limit: int = 100, after: int = 0
    ) -> tuple[DeadItem, ...]:
        return self._file.read(lambda db: letters.dead(db, queue, reason, limit, after))

    def kick(self, *, queue: str | None = None, reason: str | None = None, id: str | None = None) -> int:
        return self._file.write(lambda db: letters.kick(Tables(db, self._clock()), queue, reason, id))

    def drop(self, *, queue: str | None = None, reason: str | None = None, id: str | None = None) -> int:
        return self._file.write(lambda db: letters.drop(Tables(db, self._clock()), queue, reason, id))

    def clear(self) -> None:
        """The queues stay declared."""
        self._file.write(letters.clear)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _bits(queues: Sequence[int]) -> int:
    return sum(1 << queue for queue in queues)


def _lock_name(consumer: str) -> str:
    """Apart from the workers', which share the folder: one process may be both under one name."""
    return f"consumer {consumer}"
