"""The one place where settings become objects: which frontier, exchange, spider and pipelines a command works with."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from crawler import plugin
from crawler.error import BadUrl, CrawlError, SettingsError
from crawler.exchange import HISTORY, Exchange
from crawler.exchange.routing import is_raw
from crawler.exchange.sqlite import SqliteExchange
from crawler.frontier import Frontier
from crawler.frontier.sqlite import SqliteFrontier
from crawler.home import MEMORY, crawl_name, is_rabbit, local, named, on_server, open_rabbit, open_redis, state_of
from crawler.model import LOG_KIND, RAW_KIND, Message, Queue
from crawler.settings import PipelineTable, Settings
from crawler.spider import Spider
from crawler.url import canonical, host
from crawler.view import Transition

if TYPE_CHECKING:
    from crawler.cache import Cache
    from crawler.exchange.rabbit.seeds import SeedQueue
    from crawler.guard import Guard
    from crawler.session import Session

log = logging.getLogger("crawler.app")

BROKER = "amqp:"
"""How the place of an exchange on a broker begins; the crawl's name follows."""


def open_frontier(
    settings: Settings, state: str, *, name: str = "crawl", role: str = "look", begin: bool = False
) -> Frontier:
    """`role`: what the process does, as a server sees it. `begin`: a crawl that is not on the server is new, else it
    is gone; a file is made in any case. Raises SettingsError when there is something else than a
    crawl of this version, BackendError when disk or server say no."""
    if state == MEMORY:
        from crawler.frontier.memory import MemoryFrontier  # only who wants it pays for it

        return MemoryFrontier(settings.rules(), name=name)
    if on_server(state):
        return open_redis(settings, named(state), role=role, begin=begin)
    return SqliteFrontier(state, settings.rules(), name=name)


def open_transitions(settings: Settings, state: str) -> Iterator[Transition | None]:
    """The steps of a crawl's requests from now on, without end; None when there was none for a while, at least once a
    second. Of a crawl in files outcomes only, as its history gets them. Raises SettingsError when it keeps none."""
    if on_server(state):
        from crawler.frontier.redis.watching import transitions

        return transitions(open_redis(settings, named(state)))
    from pipelines import tail  # only who watches pays for it

    if not settings.exchange.history:
        raise SettingsError("exchange.history is false: no outcomes are kept that could be watched")
    return tail.transitions(history_path(state))


def open_items(
    settings: Settings, state: str, *, kind: str | None = None, pipeline: str | None = None
) -> Iterator[Message | None]:
    """The messages of a crawl from now on, without end, left where they are: of a kind or a pattern of kinds (else no
    outcomes and no whole pages), of one pipeline (else of all); None when there was none for a while, at least once a
    second. Raises SettingsError, BackendError. Cost: see the two."""
    from crawler.exchange import tailing  # only who watches pays for it

    wanted = kind or {HISTORY: LOG_KIND}.get(pipeline or "")
    if is_rabbit(settings.exchange.url):
        found = _rabbit_items(settings, state, wanted, pipeline)
    else:
        found = tailing.messages(exchange_state(settings, state), pipeline=pipeline)
    shown = pipeline is not None and kind is None
    return (one if one is None or shown or tailing.is_meant(one.kind, wanted) else None for one in found)


def _rabbit_items(settings: Settings, state: str, kind: str | None, pipeline: str | None) -> Iterator[Message | None]:
    plugin.require("exchange.url amqp:", "pika")
    from crawler.exchange.rabbit.address import parse
    from crawler.exchange.rabbit.tailing import messages

    known = (Queue(HISTORY, (LOG_KIND,)), *queues(settings.pipelines))
    if pipeline is not None:
        chosen = [queue for queue in known if queue.name == pipeline] or [Queue(pipeline)]
    else:
        own = kind if kind in (LOG_KIND, RAW_KIND) else None
        chosen = [queue for queue in known if (own in queue.bind if own else not {LOG_KIND, RAW_KIND} & {*queue.bind})]
        chosen = chosen or [Queue("")] if settings.exchange.type == "fanout" else chosen
    if not chosen:
        raise SettingsError("items tail: say --settings FILE with the pipelines whose items are to be shown")
    address = parse(settings.exchange.url, settings.rabbit)
    return messages(address, settings.rabbit, crawl_name(state), settings.exchange.type, chosen)


def open_seed_queue(settings: Settings, queue: str) -> SeedQueue:
    """Raises SettingsError when no broker is named, or in a wrong way. Connects when it is used."""
    if not is_rabbit(settings.exchange.url):
        raise SettingsError(f"--from-amqp {queue}: exchange.url must name the broker, as in amqp://127.0.0.1/crawler")
    plugin.require("exchange.url amqp:", "pika")
    from crawler.exchange.rabbit.address import parse
    from crawler.exchange.rabbit.seeds import SeedQueue

    return SeedQueue(parse(settings.exchange.url, settings.rabbit), settings.rabbit, queue)


def open_exchange(settings: Settings, state: str) -> Exchange:
    table = settings.exchange
    options: dict[str, Any] = {"type": table.type, "lease_s": table.lease_s, "crashes_max": table.crashes_max}
    place = exchange_state(settings, state)
    if place.startswith(BROKER):
        return open_rabbit(settings, state)
    if place == MEMORY:
        from crawler.exchange.memory import MemoryExchange

        return MemoryExchange(**options)
    # A page that is settled on a server must not lose its items with this machine's power.
    return SqliteExchange(place, **options, fsync=on_server(state))


def exchange_state(settings: Settings, state: str) -> str:
    """The exchange's file: the frontier's, unless exchange.url names another; on a broker `amqp:NAME`. Raises
    SettingsError when one of both is in memory and the other is not: they live and die together."""
    if not settings.exchange.url:
        return local(state)
    if is_rabbit(settings.exchange.url):
        if state == MEMORY:
            raise SettingsError("exchange.url: the frontier is memory:, which dies with this process; give it a file")
        return f"{BROKER}{crawl_name(state)}"
    _refuse_scheme(settings.exchange.url)
    place = state_of(settings, "", settings.exchange.url)
    if (place == MEMORY) != (state == MEMORY):
        raise SettingsError(
            f"exchange.url {settings.exchange.url}: the frontier is {state}; both in memory, or neither"
        )
    return place


def _refuse_scheme(url: str) -> None:
    scheme, found, _ = url.partition("://")
    if found and scheme not in ("sqlite", "memory"):
        raise SettingsError(
            f"exchange.url: {scheme}: is not known here; use amqp://…, amqps://…, sqlite:FILE or memory:"
        )


def check_exchange(settings: Settings) -> str:
    """What `exchange.url` names; a broker is connected to, and nothing is made there. Raises SettingsError (URL,
    password, vhost), BackendError."""
    url = settings.exchange.url
    if not is_rabbit(url):
        _refuse_scheme(url)
        return url
    plugin.require("exchange.url amqp:", "pika")
    from crawler.exchange.rabbit.address import parse
    from crawler.exchange.rabbit.direct import Direct

    address = parse(url, settings.rabbit)
    direct = Direct(address, settings.rabbit, name="crawler::check")
    direct.close()
    return f"RabbitMQ answers at {direct.where}, vhost {address.vhost}"


def history_path(state: str) -> str:
    return f"{local(state)}.history"


def queues(pipelines: dict[str, PipelineTable]) -> tuple[Queue, ...]:
    """The pipelines' queues: one whose class takes whole pages gets these alone, whatever its table binds."""
    return tuple(Queue(name, _bind(name, table)) for name, table in pipelines.items())


def queue_of(name: str, pipeline: Any, bind: tuple[str, ...] = ("#",)) -> Queue:
    """The queue of a pipeline, or of a pipeline's class."""
    return Queue(name, (RAW_KIND,) if getattr(pipeline, "takes", "") == "raw" else bind)


def takes_raw(pipelines: dict[str, PipelineTable]) -> bool:
    """Whether workers keep what they fetch as it went over the wire: some pipeline takes whole pages."""
    return any(is_raw(queue.bind) for queue in queues(pipelines))


def _bind(name: str, table: PipelineTable) -> tuple[str, ...]:
    if name == HISTORY:
        return (LOG_KIND,)
    try:
        return queue_of(name, plugin.load(table.use), table.bind).bind
    except SettingsError as error:  # a worker's machine need not have what only the stores' machine runs
        log.debug("[pipelines.%s] is bound as its table says: %s", name, error)
        return table.bind


def with_history(settings: Settings, state: str, pipelines: dict[str, PipelineTable]) -> dict[str, PipelineTable]:
    """The pipelines and, when outcomes are logged, the built-in one that keeps them."""
    if not settings.exchange.history or state == MEMORY:
        return pipelines
    history = PipelineTable(use="pipelines.history:History", bind=(LOG_KIND,), arguments={"path": history_path(state)})
    return {**pipelines, HISTORY: history}


def load_spider(settings: Settings) -> type[Spider]:
    """Raises SettingsError when it does not import, or is no Spider."""
    return plugin.load(settings.crawl.spider, Spider)


def make_guard(settings: Settings, spider: type[Spider] | None, named: Iterable[str]) -> Guard:
    """What a worker may connect to. named: the hosts of the seeds, from the crawl's record. Raises SettingsError."""
    from crawler.guard import Guard  # a command that only looks does without

    hosts = (*settings.crawl.hosts, *(spider.hosts if spider is not None else ()))
    table = settings.guard
    return Guard(
        enabled=table.enabled, allow=table.allow, hosts=hosts, named=named, resolve_proxied=table.resolve_proxied
    )


def seed_guard(settings: Settings, sources: Iterable[str]) -> Guard:
    """What a seeder may get lists from: the hosts of those that the user named are open. Raises SettingsError."""
    named = []
    for source in sources:
        with contextlib.suppress(BadUrl):  # a file, or what will be refused as a seed
            named.append(host(canonical(source.strip())))
    return make_guard(settings, None, named)


def make_session(settings: Settings) -> Session:
    """Raises SettingsError for what `[session]` names and is not there."""
    from crawler.session import session_of

    return session_of(settings.session, os.environ)


def make_cache(settings: Settings) -> Cache | None:
    """Raises SettingsError when its file cannot be used."""
    if not settings.cache.enabled:
        return None
    from crawler.cache import Cache  # only who develops pays for it

    return Cache(settings.cache, (settings.content.sniff, *sorted(settings.fetch.content_types)))


def check_web(settings: Settings) -> list[str]:
    """What is unwise in the settings of guard, sessions and TLS. Raises SettingsError for what is wrong there. Cost:
    reads the files that they name."""
    make_guard(settings, None, ())
    for proxy in make_session(settings).proxies:
        if proxy.scheme.startswith("socks"):
            plugin.require(f"[session] proxies: {proxy}", "python_socks")
    if settings.fetch.ca_file:
        from crawler.connect import tls_of  # aiohttp's client, which a command that fetches nothing does without

        tls_of(settings.fetch)
    warnings = []
    if not settings.fetch.verify:
        warnings.append("fetch.verify = false: nobody checks that the servers are those that the URLs name")
    if not settings.guard.enabled:
        warnings.append("guard.enabled = false: pages can lead the crawl into private networks")
    return warnings


def make_spider(kind: type[Spider], arguments: dict[str, Any]) -> Spider:
    """Raises SettingsError when its constructor does not take the `[spider]` table, or fails."""
    made: Spider = _made(kind, arguments, "[spider]")
    return made


def make_pipeline(name: str, table: PipelineTable, *, beside: str = "") -> Any:
    """The pipeline, behind its processors. `beside`: begin of the paths of what these keep; empty: in memory. Raises
    SettingsError when a class does not import or does not take its arguments; Unavailable when what it writes to is
    away."""
    steps = _steps(name, table, beside)
    pipeline = _made(plugin.load(table.use), table.arguments, f"[pipelines.{name}] {table.use}")
    if not steps:
        return pipeline
    from pipelines.processors.chain import Chain

    return Chain(name, steps, pipeline)


def check_pipeline(name: str, table: PipelineTable) -> type[Any]:
    """`pipeline_class`, and its processors likewise."""
    kind = pipeline_class(name, table)
    if table.processors and getattr(kind, "takes", "") == "raw":
        raise SettingsError(f"[pipelines.{name}] processors: they are for items; {table.use} takes whole pages")
    _steps(name, table, "")
    return kind


def _steps(name: str, table: PipelineTable, beside: str) -> tuple[Any, ...]:
    if not table.processors:
        return ()
    from pipelines.processors.chain import steps  # only who has some pays for it

    return steps(table.processors, where=f"[pipelines.{name}]", beside=beside)


def beside(state: str, queue: str) -> str:
    """Begin of the paths of what a pipeline's processors keep; empty while the crawl is in memory."""
    return "" if state == MEMORY else f"{local(state)}.{queue}"


def pipeline_class(name: str, table: PipelineTable) -> type[Any]:
    """Raises SettingsError when the class does not import or does not take the table's arguments. Makes nothing."""
    import inspect  # a command that starts no pipeline does without

    kind = plugin.load(table.use)
    for package in getattr(kind, "requires", ()):
        plugin.require(f"[pipelines.{name}] {table.use}", package)
    try:
        inspect.signature(kind).bind(**table.arguments)
    except TypeError as error:
        raise SettingsError(f"[pipelines.{name}] {table.use}: {error}") from error
    return kind


def _made(kind: Any, arguments: dict[str, Any], where: str) -> Any:
    try:
        return kind(**arguments)
    except CrawlError:
        raise
    except Exception as error:
        missing = plugin.missing_extra(where, error)
        raise missing or SettingsError(f"{where}: {type(error).__name__}: {error}") from error
