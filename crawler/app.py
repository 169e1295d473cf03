"""The one place where settings become objects: which frontier, exchange, spider and pipelines a command works with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crawler import plugin
from crawler.error import CrawlError, SettingsError
from crawler.exchange import HISTORY, Exchange
from crawler.exchange.sqlite import SqliteExchange
from crawler.frontier import Frontier
from crawler.frontier.sqlite import SqliteFrontier
from crawler.home import MEMORY, local, named, on_server, open_redis, state_of
from crawler.model import LOG_KIND, Queue
from crawler.settings import PipelineTable, Settings
from crawler.spider import Spider
from crawler.view import Transition


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


def open_exchange(settings: Settings, state: str) -> Exchange:
    table = settings.exchange
    options: dict[str, Any] = {"type": table.type, "lease_s": table.lease_s, "crashes_max": table.crashes_max}
    place = exchange_state(settings, state)
    if place == MEMORY:
        from crawler.exchange.memory import MemoryExchange

        return MemoryExchange(**options)
    return SqliteExchange(place, **options)


def exchange_state(settings: Settings, state: str) -> str:
    """The exchange's file: the frontier's, unless exchange.url names another. Raises SettingsError when one of both is
    in memory and the other is not: they live and die together."""
    if not settings.exchange.url:
        return local(state)
    place = state_of(settings, "", settings.exchange.url)
    if (place == MEMORY) != (state == MEMORY):
        raise SettingsError(
            f"exchange.url {settings.exchange.url}: the frontier is {state}; both in memory, or neither"
        )
    return place


def history_path(state: str) -> str:
    return f"{local(state)}.history"


def queues(pipelines: dict[str, PipelineTable]) -> tuple[Queue, ...]:
    return tuple(Queue(name, (LOG_KIND,) if name == HISTORY else table.bind) for name, table in pipelines.items())


def with_history(settings: Settings, state: str, pipelines: dict[str, PipelineTable]) -> dict[str, PipelineTable]:
    """The pipelines and, when outcomes are logged, the built-in one that keeps them."""
    if not settings.exchange.history or state == MEMORY:
        return pipelines
    history = PipelineTable(use="pipelines.history:History", bind=(LOG_KIND,), arguments={"path": history_path(state)})
    return {**pipelines, HISTORY: history}


def load_spider(settings: Settings) -> type[Spider]:
    """Raises SettingsError when it does not import, or is no Spider."""
    return plugin.load(settings.crawl.spider, Spider)


def make_spider(kind: type[Spider], arguments: dict[str, Any]) -> Spider:
    """Raises SettingsError when its constructor does not take the `[spider]` table, or fails."""
    made: Spider = _made(kind, arguments, "[spider]")
    return made


def make_pipeline(name: str, table: PipelineTable) -> Any:
    """Raises SettingsError when the class does not import or does not take its arguments; Unavailable when what it
    writes to is away."""
    return _made(plugin.load(table.use), table.arguments, f"[pipelines.{name}] {table.use}")


def pipeline_class(name: str, table: PipelineTable) -> type[Any]:
    """Raises SettingsError when the class does not import or does not take the table's arguments. Makes nothing."""
    import inspect  # a command that starts no pipeline does without

    kind = plugin.load(table.use)
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
        raise SettingsError(f"{where}: {type(error).__name__}: {error}") from error
