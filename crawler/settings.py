"""Settings: the tables (`crawler/tables.py`) together, read once at the start. settings.toml at the top lists every
key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from crawler import urlform
from crawler.error import BadUrl, SettingsError
from crawler.hours import HostHours
from crawler.model import OwnPace, Rules
from crawler.strict import given_in_environ, given_in_file, given_in_sets, resolve
from crawler.tables import (
    CrawlTable,
    ExchangeTable,
    FetchTable,
    FrontierTable,
    PolitenessTable,
    Positive,
    RabbitTable,
    RedisTable,
    RetryTable,
    Seconds,
    Table,
    WorkerTable,
)
from crawler.tables_session import GuardTable, SessionTable
from crawler.tables_visit import CacheTable, ContentTable, RevisitTable
from crawler.tables_web import LinksTable, RobotsTable, SitemapsTable, TrapsTable, UrlTable
from crawler.url import canonical, host
from crawler.urlform import Form

_BATCHES = ("batch_max", "batch_bytes_max", "batch_wait_s")
"""What a store may have of its own, else that of [exchange]."""


class PipelineTable(msgspec.Struct, frozen=True, kw_only=True):
    """[pipelines.NAME]: `use` names the class, `bind` its kinds or patterns; what has no field here is an argument."""

    use: str
    """module:Class or path/file.py:Class."""
    bind: tuple[str, ...] = ("#",)
    """The kinds (direct) or patterns (topic) of the items it gets; fanout ignores it."""
    processors: tuple[dict[str, Any], ...] = ()
    """What is done with items before they are stored, in order (`pipelines/processors`)."""
    batch_max: Positive | None = None
    """Messages given to this store together at most; None: as [exchange] says. Likewise the other two."""
    batch_bytes_max: Positive | None = None
    batch_wait_s: Seconds | None = None
    arguments: dict[str, Any] = {}
    """Keyword arguments of the class: every other key of its table."""

    def __repr__(self) -> str:
        """Names of the arguments only: their values may be secrets, and settings stand in tracebacks."""
        return f"PipelineTable(use={self.use!r}, bind={self.bind!r}, arguments={sorted(self.arguments)!r})"

    def batches(self, exchange: ExchangeTable) -> ExchangeTable:
        """The exchange's settings with this store's own where it has some."""
        own = {name: getattr(self, name) for name in _BATCHES}
        return msgspec.structs.replace(exchange, **{key: value for key, value in own.items() if value is not None})


class Settings(Table, frozen=True, kw_only=True):
    """All tables."""

    crawl: CrawlTable = CrawlTable()
    frontier: FrontierTable = FrontierTable()
    redis: RedisTable = RedisTable()
    politeness: PolitenessTable = PolitenessTable()
    retry: RetryTable = RetryTable()
    fetch: FetchTable = FetchTable()
    guard: GuardTable = GuardTable()
    session: SessionTable = SessionTable()
    url: UrlTable = UrlTable()
    robots: RobotsTable = RobotsTable()
    links: LinksTable = LinksTable()
    traps: TrapsTable = TrapsTable()
    sitemaps: SitemapsTable = SitemapsTable()
    content: ContentTable = ContentTable()
    cache: CacheTable = CacheTable()
    revisit: RevisitTable = RevisitTable()
    worker: WorkerTable = WorkerTable()
    exchange: ExchangeTable = ExchangeTable()
    rabbit: RabbitTable = RabbitTable()
    pipelines: dict[str, PipelineTable] = msgspec.field(default_factory=dict)
    """The stores, by the name of their queue."""
    spider: dict[str, Any] = msgspec.field(default_factory=dict)
    """Keyword arguments of the spider."""

    def rules(self) -> Rules:
        """What the frontier needs to know."""
        return Rules(
            order=self.frontier.order,
            lease_s=self.frontier.lease_s,
            suspect_wait_s=self.frontier.suspect_wait_s,
            crashes_max=self.frontier.crashes_max,
            pending_max=self.frontier.pending_max,
            delay_s=self.politeness.delay_s,
            per_host=self.politeness.per_host,
            robots=self.politeness.robots,
            host_failures_max=self.politeness.host_failures_max,
            host_backoff_s=self.politeness.host_backoff_s,
            host_backoff_max_s=self.politeness.host_backoff_max_s,
            pages_max=self.crawl.pages_max,
            bytes_max=self.crawl.bytes_max,
            latency_factor=self.politeness.latency_factor,
            delay_max_s=self.politeness.delay_max_s,
            per_domain=self.politeness.per_domain,
            hours=self.politeness.hours,
            zone=self.politeness.zone,
            canonical=self.form().version,
        )

    def revisiting(self) -> Settings:
        """With a mode of [revisit], when it has none."""
        if self.revisit.mode != "off":
            return self
        return msgspec.structs.replace(self, revisit=msgspec.structs.replace(self.revisit, mode="adaptive"))

    def own(self) -> dict[str, OwnPace]:
        """What `[politeness.hosts]` says of paces, by host."""
        hosts = self.politeness.hosts
        paces = {name: OwnPace(delay_s=host.delay_s, per_host=host.per_host) for name, host in hosts.items()}
        return {name: pace for name, pace in paces.items() if pace != OwnPace()}

    def form(self) -> Form:
        """The canonical form of URLs."""
        url = self.url
        return Form(
            sort_query=url.sort_query,
            drop=url.tracking if url.drop_tracking else (),
            lower_path=url.lower_path,
            default_index=url.default_index,
            trailing_slash=url.trailing_slash,
        )

    def form_of(self, version: str) -> Form | None:
        """The form that a crawl's record names, whatever [url] now switches on; None when its lists of names are not
        those of [url]."""
        return urlform.of_version(version, Form(drop=self.url.tracking, default_index=self.url.default_index))


TABLES: dict[str, type[Table]] = {
    "crawl": CrawlTable,
    "frontier": FrontierTable,
    "redis": RedisTable,
    "politeness": PolitenessTable,
    "retry": RetryTable,
    "fetch": FetchTable,
    "guard": GuardTable,
    "session": SessionTable,
    "url": UrlTable,
    "robots": RobotsTable,
    "links": LinksTable,
    "traps": TrapsTable,
    "sitemaps": SitemapsTable,
    "content": ContentTable,
    "cache": CacheTable,
    "revisit": RevisitTable,
    "worker": WorkerTable,
    "exchange": ExchangeTable,
    "rabbit": RabbitTable,
}
"""The tables with fixed keys."""


def load(path: str | None, *, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from the TOML file at `path` (None: the defaults), over it the environment's `CRAWLER__TABLE__KEY`,
    over that `overrides` (`table.key=value`). There a value is TOML, or a bare string where it is not.

    Raises SettingsError naming the file, variable or option and the key: for a file that is missing or not TOML, an
    unknown table or key, a wrong type, a value out of range. Cost: one file read.
    """
    given = [] if path is None else list(given_in_file(path))
    given += given_in_environ(environ or {})
    given += given_in_sets(overrides)
    raw = resolve(given, TABLES, named={"pipelines": PipelineTable}, free=("spider",))
    tables: dict[str, Any] = {name: msgspec.convert(raw.get(name, {}), table) for name, table in TABLES.items()}
    pipelines = {name: _pipeline(name, values) for name, values in raw.get("pipelines", {}).items()}
    settings = Settings(**tables, pipelines=pipelines, spider=raw.get("spider", {}))
    for where, patterns in (
        ("[crawl] include", settings.crawl.include),
        ("[crawl] exclude", settings.crawl.exclude),
        ("[traps] allow", settings.traps.allow),
    ):
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise SettingsError(f"{where}: {pattern!r} is not a regular expression: {error}") from None
    urlform.check(settings.form())
    _check_revisit(settings)
    HostHours(settings.politeness)
    for name in settings.politeness.hosts:
        _check_host(name)
    return settings


def _check_host(name: str) -> None:
    """Raises SettingsError unless it is a host as the frontier names it."""
    where = f'[politeness.hosts."{name}"]'
    try:
        meant = host(canonical(f"http://{name}/"))
    except BadUrl:
        meant = ""
    if not meant or re.search(r"[/@?#*\s]", name):
        raise SettingsError(f'{where}: not a host; write "example.com", or "example.com:8080", without * and path')
    if meant != name:
        raise SettingsError(f'{where}: the crawler calls this host "{meant}": write it so')


def _check_revisit(settings: Settings) -> None:
    table = settings.revisit
    if table.min_s > table.max_s:
        raise SettingsError(f"[revisit] min_s: {table.min_s:g} is more than max_s, {table.max_s:g}")
    if table.mode == "lastmod" and not settings.exchange.history:
        raise SettingsError('[revisit] mode = "lastmod" needs the history of visits: exchange.history is false')


def _pipeline(name: str, values: dict[str, Any]) -> PipelineTable:
    if name == "history" or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise SettingsError(f"[pipelines.{name}]: a name is 1 to 64 letters, digits, - and _, and not history")
    if "use" not in values:
        raise SettingsError(f'[pipelines.{name}] use: missing; name the class, as in use = "pipelines.jsonl:JsonLines"')
    own = ("use", "bind", "processors", *_BATCHES)
    known = {key: values[key] for key in own if key in values}
    return PipelineTable(**known, arguments={key: value for key, value in values.items() if key not in known})
