"""What a child of the fleet does: work, store or seed, on connections of its own, until told to stop or finished."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from time import sleep

import msgspec

from crawler import app, home
from crawler.caller import Caller
from crawler.error import BackendError, SettingsError
from crawler.exchange import Exchange
from crawler.fleet import EXIT_SETTINGS
from crawler.frontier import Frontier, overrides
from crawler.harvest import Limits, Scope
from crawler.model import Request
from crawler.plan import Plan
from crawler.seed import SeedReport, is_list, producer_of, seed
from crawler.seed_sitemap import taking_of
from crawler.seed_web import fetch_with
from crawler.settings import PipelineTable, Settings
from crawler.spider import Spider
from crawler.visit import Visitor
from crawler.watchdog import Watchdog
from crawler.worker import Worker
from pipelines.consumer import Consumer, lock_path

SHORT_MAX = 1_000
"""So many plain URLs are seeded by the supervisor itself, before anything is started."""
SWITCH_S = 0.000_5
"""How long a thread may keep the interpreter while another wants it. Each statement to a store gives it up and wants
it back: at Python's 5 ms a transaction of a busy worker takes a hundred times as long, with the write lock held."""
ORPHAN_CHECK_S = 0.5
"""A child looks so often whether its supervisor still lives; without one it drains."""
EXIT_HARD = 130


def work(plan: Plan, parent: int, name: str) -> int:
    """A worker process. Returns the exit code."""
    return _reported(name, lambda: _work(plan, parent, name))


def store(plan: Plan, parent: int, queue: str, table: PipelineTable, name: str) -> int:
    """A consumer process of one pipeline. Returns the exit code."""
    return _reported(name, lambda: _store(plan, parent, queue, table, name))


def seeds(plan: Plan, parent: int, report_fd: int, name: str) -> int:
    """The seeder process; writes its SeedReport to `report_fd` as JSON. Returns the exit code. Without its supervisor
    it ends where it is, also while it waits for standard input: what it has not added makes the crawl incomplete."""

    def main() -> None:
        threading.Thread(target=_end_with_parent, args=(parent,), name="orphan", daemon=True).start()
        with app.open_frontier(plan.settings, plan.state, name=plan.name) as frontier:
            report = add_seeds(plan, frontier)
        with open(report_fd, "wb", closefd=False) as file:
            file.write(msgspec.json.encode(report))

    return _reported(name, main)


def event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it exists: a fetch costs a third less on it."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def is_short(sources: Sequence[str]) -> bool:
    """Few plain URLs, none of which is itself a list (a file, a sitemap)."""
    return len(sources) <= SHORT_MAX and not any(map(is_list, sources))


def add_seeds(plan: Plan, frontier: Frontier) -> SeedReport:
    """Add the plan's seeds. Raises SettingsError for a missing file, BackendError."""
    settings = plan.settings
    return seed(
        frontier,
        plan.sources,
        producer_name=producer_of(plan.sources),
        url_chars_max=settings.worker.url_chars_max,
        fetch=fetch_with(settings, app.seed_guard(settings, plan.sources), app.make_session(settings)),
        taking=taking_of(settings, plan.hosts),
        again=_again(plan),
    )


def _again(plan: Plan) -> Callable[[list[Request]], list[Request]] | None:
    """What asks the history for pages that a sitemap says to have changed."""
    if not plan.revisit or plan.settings.revisit.mode != "lastmod" or plan.state == home.MEMORY:
        return None
    from crawler.seed_history import changed_since

    return partial(changed_since, app.history_path(plan.state))


def make_worker(
    plan: Plan,
    frontier: Frontier,
    exchange: Exchange,
    name: str,
    watchdog: contextlib.AbstractContextManager[None],
    *,
    keep_raw: bool = False,
) -> Worker:
    """One worker, with a spider of its own. `watchdog` is entered around each page's parsing. `keep_raw`: whole pages
    are wanted although none of the plan's pipelines takes them."""
    assert plan.spider is not None
    settings, call = plan.settings, Caller()
    record = frontier.record()
    overrides.apply(frontier, record, settings.own())
    visitor = Visitor(
        frontier,
        app.make_spider(plan.spider, settings.spider),
        settings,
        call,
        worker=name,
        scope=make_scope(settings, plan.spider, plan.hosts),
        limits=make_limits(settings),
        watchdog=watchdog,
        guard=app.make_guard(settings, plan.spider, record.named or record.hosts),
        session=app.make_session(settings),
        keep_raw=keep_raw or app.takes_raw(plan.pipelines),
        cache=app.make_cache(settings),
    )
    return Worker(name, frontier, exchange, visitor, settings, call, until_finished=plan.until_finished)


def consume(plan: Plan, exchange: Exchange, queue: str, table: PipelineTable, name: str, stop: threading.Event) -> None:
    """One consumer of one pipeline, until `stop`."""
    lock = lock_path(app.pipeline_class(queue, table), table.arguments)
    make = partial(app.make_pipeline, queue, table, beside=app.beside(plan.state, queue))
    batches = table.batches(plan.settings.exchange)
    Consumer(exchange, queue, make, name=name, settings=batches, lock=lock).run(stop)


def make_scope(settings: Settings, spider: type[Spider], hosts: tuple[str, ...]) -> Scope:
    """The settings' scope where it says something, else the spider's. `hosts` empty: each page's own host."""
    crawl = settings.crawl
    return Scope(
        hosts=hosts,
        include=crawl.include or spider.include,
        exclude=crawl.exclude or spider.exclude,
        depth_max=crawl.depth_max or spider.depth_max,
        form=settings.form(),
        segments_max=settings.url.path_segments_max,
        params_max=settings.url.query_params_max,
    )


def make_limits(settings: Settings) -> Limits:
    worker = settings.worker
    return Limits(
        links_max=worker.links_max,
        items_max=worker.items_max,
        url_chars_max=worker.url_chars_max,
        message_bytes_max=settings.exchange.message_bytes_max,
    )


def _work(plan: Plan, parent: int, name: str) -> None:
    settings = plan.settings
    sys.setswitchinterval(SWITCH_S)
    with (
        app.open_frontier(settings, plan.state, name=plan.name, role=home.WORKING) as frontier,
        app.open_exchange(settings, plan.state) as exchange,
        home.presence(frontier, plan.state, name),
    ):
        watchdog = Watchdog(settings.worker.parse_max_s, settings.worker.memory_bytes_max)
        worker = make_worker(plan, frontier, exchange, name, watchdog)

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, _drain_then_quit(worker.stop))
            orphaned = loop.create_task(_watch_parent(parent, worker.stop))
            await worker.run()
            orphaned.cancel()

        with asyncio.Runner(loop_factory=event_loop) as runner:
            runner.run(main())


async def _watch_parent(parent: int, stop: Callable[[], None]) -> None:
    while os.getppid() == parent:
        await asyncio.sleep(ORPHAN_CHECK_S)
    stop()


def _store(plan: Plan, parent: int, queue: str, table: PipelineTable, name: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: _drain_then_quit(stop.set)())
    threading.Thread(target=_watch_parent_thread, args=(parent, stop), name="orphan", daemon=True).start()
    with app.open_exchange(plan.settings, plan.state) as exchange:
        exchange.declare(app.queues(plan.pipelines))
        consume(plan, exchange, queue, table, name, stop)


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        sleep(ORPHAN_CHECK_S)
    os._exit(1)


def _watch_parent_thread(parent: int, stop: threading.Event) -> None:
    while os.getppid() == parent and not stop.wait(ORPHAN_CHECK_S):
        pass
    stop.set()


def _drain_then_quit(stop: Callable[[], None]) -> Callable[[], None]:
    """The first call drains, the second ends the process where it is."""
    calls: list[None] = []

    def on_signal() -> None:
        if calls:
            os._exit(EXIT_HARD)
        calls.append(None)
        stop()

    return on_signal


def _reported(name: str, main: Callable[[], None]) -> int:
    """Run `main`; an error that a person must act on is one line, anything else a traceback (by the fleet)."""
    try:
        main()
    except SettingsError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return EXIT_SETTINGS
    except BackendError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 3
    return 0
