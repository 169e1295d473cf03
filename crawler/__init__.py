"""A distributed web-crawler pipeline. These names are for spiders and scripts; pipelines find theirs in `pipelines`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crawler.error import BackendError, CrawlError, SettingsError, SiteError, SpiderError
from crawler.model import Item, Request
from crawler.spider import Spider

if TYPE_CHECKING:
    from crawler.page import Page
    from crawler.script import Result

__all__ = [
    "BackendError",
    "CrawlError",
    "Item",
    "Page",
    "Request",
    "SettingsError",
    "SiteError",
    "Spider",
    "SpiderError",
    "run",
]


def run(spider: type[Spider] | str, seeds: Any = (), **options: Any) -> Result:
    """Crawl to the end from a script or notebook: `crawler.script.run` describes the options and the result."""
    from crawler.script import run as run_script  # everything else is loaded only by who crawls

    return run_script(spider, seeds, **options)


def __getattr__(name: str) -> Any:
    """`Page` comes when it is asked for: its parsers would double the start of every command (PEP 562)."""
    if name == "Page":
        from crawler.page import Page

        return Page
    raise AttributeError(f"module 'crawler' has no attribute {name!r}")
