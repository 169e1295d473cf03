"""Which hosts the user has named by the seeds: the guard lets workers connect to these wherever they are.

Every URL of the command line, of a file and of standard input counts; what a list on the web says (a sitemap) does not,
nor does what comes in messages: those are other people's. The names stand in the crawl's record, where workers on every
machine find them, before the first request to such a host can be leased.
"""

from __future__ import annotations

import contextlib
import logging
import re
from typing import BinaryIO, Final

from crawler.error import BadUrl
from crawler.frontier import Frontier
from crawler.model import Request
from crawler.seed_sources import Fetch, is_url
from crawler.url import canonical, host, origin

log = logging.getLogger("crawler.seed")

NAMED_MAX: Final = 10_000
"""So many hosts are named; further ones only when they look like a site of one's own, and as many of these."""

ORIGINS_MAX: Final = 50_000
"""Origins remembered as looked at."""

_OWN: Final = re.compile(
    r"(\[|[0-9.]+(:|$))|[^.]+(:|$)|.*\.(localhost|local|localdomain|internal|intranet|lan|home|corp|private|test|arpa)(:|$)"
)
"""Addresses, names without a dot, and endings that no public name has."""


class Named:
    """The names that one seeder finds."""

    def __init__(self, frontier: Frontier, fetch: Fetch | None) -> None:
        self._frontier = frontier
        self._fetch = fetch
        self._hosts: set[str] = set()
        self._new: set[str] = set()
        self._origins: set[str] = set()
        self._from_web = False
        self._full = False

    def source(self, source: str) -> None:
        """What follows comes from this one; a URL names its own host."""
        self._from_web = False
        if is_url(source):
            with contextlib.suppress(BadUrl):  # it is refused as a seed
                self.take(Request(url=canonical(source.strip())))

    def fetch(self, url: str) -> BinaryIO:
        """Get a list from the web: what the rest of this source says is not the user's word."""
        assert self._fetch is not None
        self._from_web = True
        return self._fetch(url)

    def take(self, request: Request) -> None:
        """Cost: 0.3 µs for a seed of an origin seen lately."""
        if self._from_web or (place := origin(request.url)) in self._origins:
            return
        if len(self._origins) >= ORIGINS_MAX:
            self._origins.clear()
        self._origins.add(place)
        name = host(request.url)
        if name in self._hosts or name in self._new:
            return
        count = len(self._hosts) + len(self._new)
        if count >= 2 * NAMED_MAX or (count >= NAMED_MAX and not _OWN.match(name)):
            if not self._full:
                log.warning("seeds of more than %d hosts: further ones in private networks need guard.allow", NAMED_MAX)
            self._full = True
            return
        self._new.add(name)

    def tell(self) -> None:
        """Write what is new to the crawl's record. Raises BackendError. Cost: nothing, or two trips."""
        if not self._new:
            return
        known = set(self._frontier.record().named)
        self._hosts |= known | self._new
        if self._new - known:
            self._frontier.update_record(named=tuple(sorted(self._hosts)))
        self._new = set()
