"""Settings: the tables (`crawler/tables.py`) together, read once at the start. settings.toml at the top lists every
key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from crawler.error import SettingsError
from crawler.model import Rules
from crawler.strict import given_in_environ, given_in_file, given_in_sets, resolve
from crawler.tables import (
    CrawlTable,
    ExchangeTable,
    FetchTable,
    FrontierTable,
    PolitenessTable,
    RabbitTable,
    RedisTable,
    RetryTable,
    Table,
    WorkerTable,
)


class PipelineTable(msgspec.Struct, frozen=True, kw_only=True):
    """[pipelines.NAME]: `use` names the class, `bind` its kinds or patterns, the rest are its arguments."""

    use: str
    """module:Class or path/file.py:Class."""
    bind: tuple[str, ...] = ("#",)
    """The kinds (direct) or patterns (topic) of the items it gets; fanout ignores it."""
    arguments: dict[str, Any] = {}
    """Keyword arguments of the class: every other key of its table."""


class Settings(Table, frozen=True, kw_only=True):
    """All tables."""

    crawl: CrawlTable = CrawlTable()
    frontier: FrontierTable = FrontierTable()
    redis: RedisTable = RedisTable()
    politeness: PolitenessTable = PolitenessTable()
    retry: RetryTable = RetryTable()
    fetch: FetchTable = FetchTable()
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
        )


TABLES: dict[str, type[Table]] = {
    "crawl": CrawlTable,
    "frontier": FrontierTable,
    "redis": RedisTable,
    "politeness": PolitenessTable,
    "retry": RetryTable,
    "fetch": FetchTable,
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
    for key, patterns in (("include", settings.crawl.include), ("exclude", settings.crawl.exclude)):
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise SettingsError(f"[crawl] {key}: {pattern!r} is not a regular expression: {error}") from None
    return settings


def _pipeline(name: str, values: dict[str, Any]) -> PipelineTable:
    if name == "history" or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise SettingsError(f"[pipelines.{name}]: a name is 1 to 64 letters, digits, - and _, and not history")
    if "use" not in values:
        raise SettingsError(f'[pipelines.{name}] use: missing; name the class, as in use = "pipelines.jsonl:JsonLines"')
    known = {key: values[key] for key in ("use", "bind") if key in values}
    return PipelineTable(**known, arguments={key: value for key, value in values.items() if key not in known})
