"""The consumer: leases messages, gives them to a pipeline in batches, and settles what became of each.

    returned       done
    Reject         bury those, store the rest again
    Unavailable    wait, then the same batch again; nothing is charged, the leases are renewed meanwhile
    anything else  halve the batch until the bad message is alone: again later, buried after `attempts_max`

A message is settled only after the pipeline returned, so a death in between only repeats it, and stores are idempotent.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from crawler.error import BackendError
from crawler.exchange import Exchange
from crawler.exchange.size import size_of
from crawler.keeper import Keeper
from crawler.model import Bury, Delivery, Done, Outcome, Retry, Settlement
from crawler.tables import ExchangeTable
from crawler.view import QueueCounts
from pipelines import Pipeline, Reject, Unavailable
from pipelines.writer_lock import WriterLock

IDLE_S: Final = (0.02, 0.25)
"""Least and longest wait before asking an empty queue again; doubles in between."""

AWAY_S: Final = (0.1, 10.0)
"""Likewise before asking a store or an exchange again that could not answer."""

FAILED_S: Final = (1.0, 300.0)
"""Likewise, by attempts, before a message is stored again that the pipeline failed on."""

PARTING_S: Final = 2.0
"""After `stop` the exchange may be away for so long; then the leases are left to lapse: redelivered, stored once."""

DETAIL_CHARS_MAX: Final = 8_000
"""Of a traceback kept with a buried message: its end."""

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Consumer:
    """One pipeline's consumer of one queue. `make` gives the pipeline; called in `run`, by the thread that stores."""

    def __init__(
        self,
        exchange: Exchange,
        queue: str,
        make: Callable[[], Pipeline],
        *,
        name: str,
        settings: ExchangeTable = ExchangeTable(),  # noqa: B008  (frozen)
        lock: Path | None = None,
    ) -> None:
        """`name`: of this consumer, alive once at a time. `lock`: the path of a one-writer store (`lock_path`), held
        from before `make` to after the pipeline's `close`; further copies stand by."""
        self._exchange = exchange
        self._queue = queue
        self._make = make
        self._name = name
        self._settings = settings
        self._lock = WriterLock(lock) if lock is not None else None
        self._keeper = Keeper(exchange.renew, settings.lease_s)
        self._stop = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Store until `stop` is set; then finish and settle the batch in hand, or give it back if the store is away.

        Raises SettingsError when the pipeline cannot be made, and whatever else `make` raises but Unavailable."""
        self._stop = stop
        if self._lock is not None and not self._lock.wait(stop):
            return
        try:
            pipeline = self._open()
            if pipeline is not None:
                self._serve(pipeline)
        finally:
            if self._lock is not None:
                self._lock.give_back()

    def _open(self) -> Pipeline | None:
        """None: stopped while the store was away or another writer had it."""
        wait_s = AWAY_S[0]
        while not self._stop.is_set():
            try:
                return self._make()
            except Unavailable as error:
                _log.warning("%s waits: %s", self._queue, error)
            self._stop.wait(wait_s)
            wait_s = min(2 * wait_s, 1.0)  # a copy that stands by must not sleep long
        return None

    def _serve(self, pipeline: Pipeline) -> None:
        self._keeper.start()
        try:
            idle_s = IDLE_S[0]
            while not self._stop.is_set():
                batch = self._collect()
                if batch:
                    self._handle(pipeline, batch)
                    idle_s = IDLE_S[0]
                else:
                    self._stop.wait(idle_s)
                    idle_s = min(2 * idle_s, IDLE_S[1])
        finally:
            self._keeper.stop()
            close = getattr(pipeline, "close", None)
            if close is not None:
                close()

    def _collect(self) -> list[Delivery]:
        """A full batch, or what has come within `batch_wait_s`; a suspect comes alone. One that has half of its bytes
        does not wait: the next message may be what does not fit."""
        most, room = self._settings.batch_max, self._settings.batch_bytes_max
        batch = self._lease(most, room)
        if not batch or len(batch) >= most or batch[0].alone:
            return batch
        left = room - sum(size_of(one.message) for one in batch)
        if left > room // 2 and not self._stop.wait(self._settings.batch_wait_s):
            batch += self._lease(most - len(batch), left)
        return batch

    def _lease(self, count: int, bytes_max: int) -> list[Delivery]:
        request_id = os.urandom(16).hex()  # one for all repeats of the call: what it gave is given once
        asked_s = time.monotonic()
        deliveries = self._ask(
            lambda: self._exchange.lease(
                self._queue, count, consumer=self._name, request_id=request_id, bytes_max=bytes_max
            )
        )
        self._keeper.hold((delivery.token for delivery in deliveries or ()), asked_s)
        return list(deliveries or ())

    def _handle(self, pipeline: Pipeline, batch: Sequence[Delivery]) -> None:
        """Settles all of the batch, in order, halves first where it fails."""
        stored = 0
        parts = [list(batch)]
        while parts:
            part = parts.pop()
            try:
                self._store(pipeline, part)
            except Reject as error:
                refused = [one for one in part if not error.ids or one.message.id in error.ids]
                rest = [one for one in part if error.ids and one.message.id not in error.ids]
                if refused:
                    self._settle(refused, Bury(error.reason))
                    _log.warning("%s: %d messages rejected: %s", self._queue, len(refused), error.reason)
                    parts += [rest] if rest else []
                else:  # it names none of these: no way to tell which it means
                    parts += self._halve(part, error)
            except _Stopped:
                self._give_back([one for rest in (part, *parts) for one in rest])
                return
            except Exception as error:
                parts += self._halve(part, error)
            else:
                self._settle(part, Done())
                stored += len(part)
        _log.debug("%s: %d of %d messages stored", self._queue, stored, len(batch))

    def _store(self, pipeline: Pipeline, part: Sequence[Delivery]) -> None:
        """Raises what the pipeline raises but Unavailable; _Stopped when it was still away at `stop`."""
        messages = tuple(one.message for one in part)
        wait_s = AWAY_S[0]
        while True:
            try:
                pipeline.store(messages)
                return
            except Unavailable as error:
                _log.warning("%s waits %.1f s: %s", self._queue, wait_s, error)
            if self._stop.wait(wait_s):
                raise _Stopped
            wait_s = min(2 * wait_s, AWAY_S[1])

    def _halve(self, part: list[Delivery], error: Exception) -> list[list[Delivery]]:
        """What is to be stored next, last first; a message that failed alone is settled."""
        if len(part) > 1:
            middle = len(part) // 2
            return [part[middle:], part[:middle]]
        (one,) = part
        if one.attempts + 1 < self._settings.attempts_max:
            wait_s = min(FAILED_S[0] * 2.0 ** min(one.attempts, 60), FAILED_S[1])
            outcome: Outcome = Retry(wait_s, "store_error")
        else:
            outcome = Bury("store_error", _detail(error))
        _log.warning("%s: %s: %s: %s", self._queue, one.message.id, type(error).__name__, error)
        self._settle(part, outcome)
        return []

    def _settle(self, part: Sequence[Delivery], outcome: Outcome) -> None:
        """Stale tokens need no reaction: another consumer has the message, and its store knows it already."""
        self._ask(lambda: self._exchange.settle([Settlement(one.token, outcome) for one in part]))
        self._keeper.drop(one.token for one in part)

    def _give_back(self, batch: Sequence[Delivery]) -> None:
        tokens = [one.token for one in batch]
        self._ask(lambda: self._exchange.release(tokens))
        self._keeper.drop(tokens)

    def _ask(self, call: Callable[[], T]) -> T | None:
        """The exchange's answer, however long it is away; None if that is longer than PARTING_S after `stop`."""
        wait_s = AWAY_S[0]
        parting_s: float | None = None
        while True:
            try:
                return call()
            except BackendError as error:
                _log.warning("%s waits %.1f s: %s", self._queue, wait_s, error)
            if self._stop.is_set():
                parting_s = parting_s or time.monotonic() + PARTING_S
                if time.monotonic() >= parting_s:
                    return None
                time.sleep(AWAY_S[0])
            else:
                self._stop.wait(wait_s)
            wait_s = min(2 * wait_s, AWAY_S[1])


class _Stopped(Exception):
    """`stop` came while the store was away."""


def drained(exchange: Exchange, queue: str) -> bool:
    """Nothing waits in the queue and nobody holds anything of it; dead items do not count. Raises BackendError."""
    counts = exchange.counts().get(queue, QueueCounts())
    return counts.ready + counts.delayed + counts.leased + counts.suspects == 0


def lock_path(pipeline: Any, arguments: dict[str, Any]) -> Path | None:
    """For `Consumer(lock=…)`: beside what a pipeline's class writes, if it says `writers = 1` and has a `path`."""
    path = arguments.get("path")
    return Path(path) if getattr(pipeline, "writers", 0) == 1 and isinstance(path, str | Path) else None


def _detail(error: Exception) -> str:
    """Type and message, then the traceback; cut at its start."""
    trace = "".join(traceback.format_exception(error))
    return f"{type(error).__name__}: {error}\n{trace[-DETAIL_CHARS_MAX:]}"
