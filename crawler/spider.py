"""Spiders: what a user writes. A spider turns a Page into Items and Requests; everything else is the crawler's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from crawler.model import Item, Request
    from crawler.page import Page


class Spider:
    """Subclass it, set `name` and `hosts`, write `parse`. Keyword arguments of your `__init__` come from `[spider]`."""

    name: ClassVar[str] = "spider"
    seeds: ClassVar[tuple[str, ...]] = ()
    """URLs to start from when none are given."""
    hosts: ClassVar[Iterable[str]] = ()
    """Scope: host patterns (`example.com`, `*.example.com`, `example.com:8080`; without a port any port).
    Empty: the seeds' hosts."""
    include: ClassVar[tuple[str, ...]] = ()
    """Scope: regular expressions searched in path and query; empty: all."""
    exclude: ClassVar[tuple[str, ...]] = ()
    """Scope: regular expressions searched in path and query; wins over include."""
    depth_max: ClassVar[int | None] = None

    def parse(self, page: Page) -> Iterable[Item | Request] | None:
        """Items and requests found on the page. A generator, a list, or None."""
        raise TypeError(f"{type(self).__name__} has no parse method")
