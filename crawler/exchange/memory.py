"""The exchange in this process's memory: the reference that the other adapters are tested against."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import count as numbers
from types import TracebackType
from typing import Self

import msgspec

from crawler.error import SettingsError
from crawler.exchange.line import Copy, Dead, Held, Line
from crawler.exchange.routing import ExchangeType, Router
from crawler.exchange.size import size_of
from crawler.model import DeadItem, Delivery, Message, Queue, Settlement
from crawler.view import QueueCounts


class _Stored(msgspec.Struct):
    """A message, and in how many queues it still is."""

    number: int
    message: Message
    at_ms: int
    queues: int = 0


class MemoryExchange:
    """The port for the threads of one process."""

    def __init__(
        self,
        *,
        type: ExchangeType = "fanout",
        lease_s: float = 60.0,
        crashes_max: int = 3,
        suspect_wait_s: float = 60.0,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._type: ExchangeType = type
        self._lease_ms = round(lease_s * 1_000)
        self._crashes_max = crashes_max
        self._suspect_wait_ms = round(suspect_wait_s * 1_000)
        self._clock = clock
        self._lock = threading.Lock()
        self._binds: dict[str, tuple[str, ...]] = {}
        self._router = Router(type, {})
        self._lines: dict[str, Line] = {}
        self._messages: dict[str, _Stored] = {}
        self._numbers = numbers(1)
        self._deaths = numbers(1)
        self._asked_ms = clock()

    def declare(self, queues: Sequence[Queue]) -> None:
        with self._lock:
            self._binds.update((queue.name, queue.bind) for queue in queues)
            self._router = Router(self._type, self._binds)
            for queue in queues:
                if queue.name not in self._lines:
                    self._lines[queue.name] = self._new_line()

    def _new_line(self) -> Line:
        return Line(
            lease_ms=self._lease_ms,
            crashes_max=self._crashes_max,
            suspect_wait_ms=self._suspect_wait_ms,
            deaths=self._deaths,
        )

    def publish(self, messages: Sequence[Message]) -> None:
        with self._lock:
            now_ms = self._clock()
            for message in messages:
                for name in self._router.targets(message.kind):
                    self._queue(self._lines[name], message, now_ms)

    def _queue(self, line: Line, message: Message, now_ms: int) -> None:
        stored = self._messages.get(message.id)
        if stored is None:
            stored = _Stored(next(self._numbers), message, now_ms)
        if line.add(Copy(stored.number, message.id, size=size_of(stored.message))):
            stored.queues += 1
            self._messages[message.id] = stored

    def _forget(self, copy: Copy) -> None:
        stored = self._messages[copy.id]
        stored.queues -= 1
        if not stored.queues:
            del self._messages[copy.id]

    def lease(
        self, queue: str, count: int, *, consumer: str, request_id: str, bytes_max: int = 0
    ) -> tuple[Delivery, ...]:
        with self._lock:
            line = self._lines.get(queue)
            if line is None:
                raise SettingsError(f"exchange: no queue {queue!r} was declared")
            given = line.lease(count, consumer, request_id, self._notice_silence(), bytes_max)
            return tuple(self._delivery(token, held) for token, held in given)

    def _delivery(self, token: str, held: Held) -> Delivery:
        copy = held.copy
        message = self._messages[copy.id].message
        return Delivery(token=token, message=message, attempts=copy.attempts, crashes=copy.crashes, alone=held.alone)

    def settle(self, settlements: Sequence[Settlement]) -> tuple[str, ...]:
        with self._lock:
            now_ms = self._notice_silence()
            stale = []
            for one in settlements:
                line = self._line_of(one.token)
                if line is None:
                    stale.append(one.token)
                elif ended := line.settle(one.token, one.outcome, now_ms):
                    self._forget(ended)
            return tuple(stale)

    def _line_of(self, token: str) -> Line | None:
        return next((line for line in self._lines.values() if token in line.held), None)

    def renew(self, tokens: Sequence[str]) -> tuple[str, ...]:
        with self._lock:
            now_ms = self._notice_silence()
            lost = []
            for token in tokens:
                line = self._line_of(token)
                if line is None:
                    lost.append(token)
                else:
                    line.renew(token, now_ms)
            return tuple(lost)

    def release(self, tokens: Sequence[str]) -> None:
        with self._lock:
            for token in tokens:
                if line := self._line_of(token):
                    line.release(token)

    def forfeit(self, consumer: str) -> int:
        with self._lock:
            return sum(line.forfeit(consumer, self._clock()) for line in self._lines.values())

    def _notice_silence(self) -> int:
        """Now. After a silence, or a jump of the clock, of more than half a lease every lease begins anew."""
        now_ms = self._clock()
        if abs(now_ms - self._asked_ms) > self._lease_ms // 2:
            for line in self._lines.values():
                for token in line.held:
                    line.renew(token, now_ms)
        self._asked_ms = now_ms
        return now_ms

    def counts(self) -> dict[str, QueueCounts]:
        with self._lock:
            now_ms = self._clock()
            return {
                name: line.counts(lambda id: max(0, now_ms - self._messages[id].at_ms) / 1_000)
                for name, line in self._lines.items()
            }

    def unrouted(self) -> int:
        return 0

    def dead(
        self, *, queue: str | None = None, reason: str | None = None, limit: int = 100, after: int = 0
    ) -> tuple[DeadItem, ...]:
        with self._lock:
            found = [
                (dead.number, name, dead)
                for name, line in self._lines.items()
                for dead in line.dead
                if queue in (None, name) and reason in (None, dead.why.reason)
            ]
            return tuple(self._letter(name, dead) for _, name, dead in sorted(found)[after : after + limit])

    def _letter(self, name: str, dead: Dead) -> DeadItem:
        return DeadItem(
            queue=name,
            message=self._messages[dead.copy.id].message,
            reason=dead.why.reason,
            detail=dead.why.detail,
            attempts=dead.copy.attempts,
            crashes=dead.copy.crashes,
            died_ms=dead.died_ms,
        )

    def kick(self, *, queue: str | None = None, reason: str | None = None, id: str | None = None) -> int:
        with self._lock:
            taken = self._take_dead(queue, reason, id)
            for line, copy in taken:
                line.add(Copy(copy.number, copy.id, size=copy.size))
            return len(taken)

    def drop(self, *, queue: str | None = None, reason: str | None = None, id: str | None = None) -> int:
        with self._lock:
            taken = self._take_dead(queue, reason, id)
            for _, copy in taken:
                self._forget(copy)
            return len(taken)

    def _take_dead(self, queue: str | None, reason: str | None, id: str | None) -> list[tuple[Line, Copy]]:
        return [
            (line, copy)
            for name, line in self._lines.items()
            if queue in (None, name)
            for copy in line.take_dead(lambda dead: reason in (None, dead.why.reason) and id in (None, dead.copy.id))
        ]

    def clear(self) -> None:
        with self._lock:
            self._messages.clear()
            self._lines = {name: self._new_line() for name in self._lines}

    def close(self) -> None:
        """Nothing to give back; what is queued goes with the object."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
