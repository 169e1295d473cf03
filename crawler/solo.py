"""A plan on memory queues: worker, stores and seeder as threads of this process. For scripts, notebooks and trials."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import Any

from crawler import app, child
from crawler.exchange import Exchange
from crawler.exchange.routing import is_raw
from crawler.frontier import Frontier
from crawler.model import Queue
from crawler.plan import Plan
from crawler.report import SIGTERM, Report, Snapshot, memory_bytes, report
from crawler.seed import SeedReport
from crawler.view import Counts
from crawler.worker import Worker
from pipelines import Pipeline
from pipelines.consumer import Consumer, drained

TICK_S = 0.25
DRAIN_TICK_S = 0.01


def launch_solo(
    plan: Plan, on_tick: Callable[[Snapshot], None], *, extra: Mapping[str, Pipeline] | None = None
) -> Report:
    """Run to the end, blocking; KeyboardInterrupt drains. `extra`: pipelines that exist already, by queue name."""
    with (
        app.open_frontier(plan.settings, plan.state, name=plan.name) as frontier,
        app.open_exchange(plan.settings, plan.state) as exchange,
    ):
        return _Solo(plan, frontier, exchange, on_tick, extra or {}).run()


class _Solo:
    def __init__(
        self,
        plan: Plan,
        frontier: Frontier,
        exchange: Exchange,
        on_tick: Callable[[Snapshot], None],
        extra: Mapping[str, Pipeline],
    ) -> None:
        self._plan = plan
        self._frontier = frontier
        self._exchange = exchange
        self._on_tick = on_tick
        self._extra = extra
        self._began = monotonic()
        self._stop_stores = threading.Event()
        self._errors: list[BaseException] = []
        self._lost_to = ""
        self._interrupted = False
        self._seeded: SeedReport | None = None
        self._worker: Worker | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self) -> Report:
        plan = self._plan
        self._exchange.declare((*app.queues(plan.pipelines), *self._extra_queues()))
        seeder = threading.Thread(target=self._guard, args=(self._seed,), name="seeder", daemon=True)
        stores = [self._store_thread(name) for name in (*plan.pipelines, *self._extra)]
        worker = threading.Thread(target=self._guard, args=(self._work,), name="worker", daemon=True)
        for thread in (seeder, *stores, worker):
            thread.start()
        with self._sigterm():
            self._watch(worker, "crawling")
        self._store()
        self._stop_stores.set()
        for store in stores:
            store.join()
        if self._errors:
            raise self._errors[0]
        last = self._snapshot("storing")
        self._on_tick(last)
        return report(
            Counts(),
            last,
            finish=self._frontier.finished(),
            interrupted=self._interrupted,
            peak_rss_bytes=memory_bytes((os.getpid(),)),
            outputs=plan.outputs,
            state=plan.state,
            lost_to=self._lost_to,
            queues=(*plan.pipelines, *self._extra),
        )

    def _extra_queues(self) -> tuple[Queue, ...]:
        return tuple(app.queue_of(name, pipeline) for name, pipeline in self._extra.items())

    def _seed(self) -> None:
        self._seeded = child.add_seeds(self._plan, self._frontier)

    @contextlib.contextmanager
    def _sigterm(self) -> Iterator[None]:
        """SIGTERM drains; where signals can be had, which is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, lambda number, frame: self._drain(SIGTERM))
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _work(self) -> None:
        raw = any(is_raw(queue.bind) for queue in self._extra_queues())
        self._worker = child.make_worker(
            self._plan, self._frontier, self._exchange, "w1", contextlib.nullcontext(), keep_raw=raw
        )
        with asyncio.Runner(loop_factory=child.event_loop) as runner:
            self._loop = runner.get_loop()
            runner.run(self._worker.run())

    def _store_thread(self, name: str) -> threading.Thread:
        def run() -> None:
            if name in self._extra:
                pipeline = self._extra[name]
                consumer = Consumer(
                    self._exchange, name, lambda: pipeline, name=name, settings=self._plan.settings.exchange
                )
                consumer.run(self._stop_stores)
            else:
                child.consume(self._plan, self._exchange, name, self._plan.pipelines[name], name, self._stop_stores)

        return threading.Thread(target=self._guard, args=(run,), name=name, daemon=True)

    def _guard(self, main: Callable[[], Any]) -> None:
        """A thread's error ends the run and is raised by it."""
        try:
            main()
        except BaseException as error:
            self._errors.append(error)
            self._drain("an error")

    def _drain(self, why: str) -> None:
        self._lost_to = self._lost_to or why
        if self._loop and self._worker:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self._worker.stop)

    def _watch(self, worker: threading.Thread, state: str) -> None:
        time_max_s = self._plan.settings.crawl.time_max_s
        while worker.is_alive():
            try:
                worker.join(TICK_S)
                self._on_tick(self._snapshot(state))
                if self._errors:  # perhaps the worker was not there yet to be told
                    self._drain("an error")
                if time_max_s and monotonic() - self._began > time_max_s:
                    self._drain(f"limit: {time_max_s:g} s")
            except KeyboardInterrupt:
                if self._interrupted:
                    raise
                self._interrupted = True
                self._drain("SIGINT")

    def _store(self) -> None:
        queues = (*self._plan.pipelines, *self._extra)
        while not self._errors and not all(drained(self._exchange, name) for name in queues):
            self._on_tick(self._snapshot("storing"))
            self._stop_stores.wait(DRAIN_TICK_S)

    def _snapshot(self, state: str) -> Snapshot:
        return Snapshot(
            counts=self._frontier.counts(),
            queues=self._exchange.counts(),
            workers=self._frontier.workers(),
            seconds=monotonic() - self._began,
            seeded=self._seeded,
            state=state,
        )
