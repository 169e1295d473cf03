"""Lists of URLs in many forms -> requests -> frontier, at constant memory, as one producer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b

import msgspec

from crawler.error import BackendError, LeaseLost
from crawler.frontier import Frontier
from crawler.model import Added, Request
from crawler.seed_named import Named
from crawler.seed_sources import Fetch, Refusal, Taking, is_list, requests

log = logging.getLogger("crawler.seed")

__all__ = ["Producer", "Refusal", "SeedReport", "Tally", "is_list", "producer_of", "seed"]

REFUSALS_MAX = 100
"""Refusals kept in a report; all are counted, and `on_refused` gets all."""

RENEW_S = 15.0
"""The producer is renewed so often: a quarter of the usual lease."""

FULL_WAIT_S = 0.25
"""A full frontier is asked again after this time."""

OPEN_WAIT_S = 1.0
"""Wait before a producer that could not be opened is tried again."""

REOPEN_MAX = 3
"""A producer that was lost, because the machine slept, is opened again so many times."""


def producer_of(sources: Sequence[str]) -> str:
    """The name of the producer that reads these lists: the same lists have the same one, so that reading them again
    makes up for a reader that died, and reading others does not."""
    return f"seeds {blake2b(msgspec.json.encode(list(sources)), digest_size=8).hexdigest()}"


class SeedReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the seeds."""

    new: int = 0
    known: int = 0
    """Seen before, or twice in the lists."""
    refused: int = 0
    refusals: tuple[Refusal, ...] = ()
    """The first `REFUSALS_MAX` of them."""
    complete: bool = True
    """All sources were read to their end; False: `stop` was set before."""


def seed(
    frontier: Frontier,
    sources: Iterable[str],
    *,
    producer_name: str = "seeds",
    batch: int = 1_000,
    url_chars_max: int = 2_000,
    fetch: Fetch | None = None,
    taking: Taking | None = None,
    again: Callable[[list[Request]], list[Request]] | None = None,
    on_progress: Callable[[SeedReport], None] | None = None,
    on_refused: Callable[[Refusal], None] | None = None,
    stop: threading.Event | None = None,
    renew_s: float = RENEW_S,
) -> SeedReport:
    """Add every request of `sources` (see `seed_sources.requests`) to the frontier as one producer, closed at the end;
    when `stop` is set before, it is left open, so that the crawl counts as incomplete until this is repeated.

    Waits while the frontier is full. `again` gives what else is added with a batch: later visits. `on_progress` is
    called after each batch. Raises SettingsError for a missing file, BackendError, and LeaseLost when another keeps
    taking the producer's name. Repeating it is safe.
    Cost: 8 µs a line without the frontier; one trip a batch.
    """
    with Producer(frontier, producer_name, stop or threading.Event(), renew_s) as producer:
        tally = Tally(on_progress, on_refused)
        named = Named(frontier, fetch)
        waiting: list[Request] = []
        for source in sources:
            named.source(source)
            for found in requests(source, chars_max=url_chars_max, fetch=fetch and named.fetch, taking=taking):
                if isinstance(found, Request):
                    named.take(found)
                    waiting.append(found)
                elif found is not None:
                    tally.refuse(found)
                if len(waiting) >= batch or (found is None and waiting):
                    waiting += again(waiting) if again is not None else ()
                    named.tell()
                    tally.count(producer.add(waiting), source)
                    waiting = []
                    if producer.stopped:
                        return tally.report(complete=False)
        if waiting:
            waiting += again(waiting) if again is not None else ()
            named.tell()
            tally.count(producer.add(waiting), source)
        if producer.stopped:
            return tally.report(complete=False)
        producer.close()
        return tally.report()


class Tally:
    """The report in the making."""

    def __init__(
        self, on_progress: Callable[[SeedReport], None] | None, on_refused: Callable[[Refusal], None] | None
    ) -> None:
        self._on_progress = on_progress
        self._on_refused = on_refused
        self._new = self._known = self._refused = 0
        self._refusals: list[Refusal] = []

    def count(self, added: Added, source: str) -> None:
        self._new += added.new
        self._known += added.known
        for _ in range(added.refused):
            self.refuse(Refusal(source, 0, "too_large", "a request is larger than the frontier admits"))
        if self._on_progress is not None:
            self._on_progress(self.report())

    def refuse(self, refusal: Refusal) -> None:
        self._refused += 1
        if len(self._refusals) < REFUSALS_MAX:
            self._refusals.append(refusal)
        if self._on_refused is not None:
            self._on_refused(refusal)

    def report(self, *, complete: bool = True) -> SeedReport:
        return SeedReport(
            new=self._new,
            known=self._known,
            refused=self._refused,
            refusals=tuple(self._refusals),
            complete=complete,
        )


class Producer:
    """A producer's token, renewed by a thread, so that a slow source (standard input) cannot lose it."""

    def __init__(self, frontier: Frontier, name: str, stop: threading.Event, renew_s: float) -> None:
        self._frontier = frontier
        self._name = name
        self._stop = stop
        self._renew_s = renew_s
        self._ended = threading.Event()
        self._reopened = 0
        self._token = ""

    def __enter__(self) -> Producer:
        while not self._stop.is_set():
            try:
                self._token = self._frontier.open_producer(self._name)
                break
            except BackendError as error:  # the store is away, or another process reads the same list just now
                log.warning("%s; trying again in %g s", error, OPEN_WAIT_S)
                self._stop.wait(OPEN_WAIT_S)
        self._thread = threading.Thread(target=self._renew, name=f"renew {self._name}", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def add(self, batch: list[Request], wait: Callable[[float], bool] | None = None) -> Added:
        """Add a batch, waiting while the frontier is full or until stopped; then nothing of it may be in. `wait`: what
        to do for so many seconds; returns whether it was stopped."""
        wait = wait or self._stop.wait
        while True:
            try:
                added = self._frontier.add(batch, producer=self._token)
            except LeaseLost:
                self._reopened += 1
                if self._reopened > REOPEN_MAX:
                    raise
                self._token = self._frontier.open_producer(self._name)
                continue
            if not added.full or wait(FULL_WAIT_S):
                return added

    def close(self) -> None:
        if not self._frontier.close_producer(self._token):
            # It was lost while the last lines were read: what was added is in, so a new one may say that it is all.
            self._frontier.close_producer(self._frontier.open_producer(self._name))

    def _renew(self) -> None:
        while not self._ended.wait(self._renew_s):
            try:
                self._frontier.renew((self._token,))
            except BackendError:
                continue  # the next add says so, if it lasts
