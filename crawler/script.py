"""`crawler.run`: a crawl from a script or notebook, with the results at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from crawler import plan as plans
from crawler.home import MEMORY
from crawler.launch import launch
from crawler.model import Message
from crawler.report import Report
from crawler.settings import load
from crawler.solo import launch_solo
from crawler.spider import Spider

COLLECTED = "collected"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How the crawl ended, and what it found."""

    report: Report
    items: tuple[dict[str, Any], ...] = ()
    """As JSON Lines would have them: id, kind, url, fetched_at, spider, data. Empty when `out` was given: they are
    there."""


class _Collect:
    """A pipeline that keeps everything in memory."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self.items: list[dict[str, Any]] = []

    def store(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.id in self._seen:
                continue
            self._seen.add(message.id)
            for record in message.records:
                self.items.append(
                    {
                        "id": record.id,
                        "kind": message.kind,
                        "url": message.url,
                        "fetched_at": message.fetched_at,
                        "spider": message.spider,
                        "data": record.fields(),
                    }
                )


def run(
    spider: type[Spider] | str,
    seeds: Sequence[str] = (),
    *,
    out: str | None = None,
    state: str | None = None,
    workers: int = 1,
    fresh: bool = False,
    delay_s: float | None = None,
    per_host: int | None = None,
    depth_max: int | None = None,
    pages_max: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Result:
    """Crawl from `seeds` (URLs and files; else the spider's own) to the end, blocking.

    spider: a class, or `module:Class`, `path/file.py:Class`. Without `state` everything is in memory and in threads of
    this process, which suits notebooks; with a state file the crawl can be resumed and `workers` processes are forked,
    which suits scripts that have no threads of their own. settings: `{"table.key": value}`, as in settings.toml; the
    arguments before it are short for the usual ones. Raises SettingsError, BackendError."""
    short = {
        "worker.processes": workers,
        "politeness.delay_s": delay_s,
        "politeness.per_host": per_host,
        "crawl.depth_max": depth_max,
        "crawl.pages_max": pages_max,
        "crawl.spider": spider if isinstance(spider, str) else f"{spider.__module__}:{spider.__qualname__}",
    }
    given = {**{key: value for key, value in short.items() if value is not None}, **(settings or {})}
    # JSON's numbers, strings and lists are TOML's too.
    overrides = [f"{key}={msgspec.json.encode(value).decode()}" for key, value in given.items()]
    plan = plans.prepare(
        load(None, overrides=overrides),
        urls=seeds,
        seed_files=(),
        out=out,
        state=state or MEMORY,
        fresh=fresh,
        spider=spider if isinstance(spider, type) else None,
    )
    if plan.state != MEMORY:
        return Result(report=launch(plan))
    if out is not None:
        return Result(report=launch_solo(plan, lambda snapshot: None))
    collected = _Collect()
    plan = msgspec.structs.replace(plan, pipelines={}, outputs={})
    report = launch_solo(plan, lambda snapshot: None, extra={COLLECTED: collected})
    return Result(report=report, items=tuple(collected.items))
