"""Seeds from sitemaps and feeds, from files or from the web: indexes, limits, and which URLs count.

The URL of a list may be that of a robots.txt: then its Sitemap lines are read, or else /sitemap.xml beside it. What a
list says of a page's last change becomes `meta["lastmod"]` of its request, as it is written there.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from crawler.error import BadUrl, SiteError
from crawler.model import Request
from crawler.robots import ROBOTS_BYTES_MAX, rules
from crawler.scope import Scope
from crawler.seed_file import chunks, in_utf_8, opening
from crawler.settings import Settings
from crawler.sitemap import Location, Locations, is_xml
from crawler.tables_web import SitemapsTable
from crawler.url import canonical, host, origin
from crawler.urlform import Form

MARK: Final = "#sitemap"
"""At the end of a URL: it is that of a sitemap, whatever its name."""
LASTMOD: Final = "lastmod"
"""Key of a request's meta."""

Fetch = Callable[[str], BinaryIO]
"""Gets a list by its http or https URL; raises SiteError or BadUrl."""


class Refusal(NamedTuple):
    """A line that gave no request."""

    source: str
    line: int
    """From 1; 0: the source as a whole."""
    reason: str
    """`not_a_url`, `scheme`, `credentials`, `too_long`, `encoding`, `line_max`, `json`, `csv`, `field`, `gzip`, `read`,
    `sitemap`, `sitemaps_max`, `other_host`, `scope`, `too_large`, or the reason of a list that could not be fetched."""
    detail: str = ""


Found = Request | Refusal | None
"""None: what comes next may take its time; a good moment to pass on what has come."""


class Taking(msgspec.Struct, frozen=True, kw_only=True):
    """What is taken from lists, and how."""

    chars_max: int
    form: Form = Form()
    sitemaps: SitemapsTable = SitemapsTable()
    scope: Scope | None = None
    """What a sitemap on the web may list; None: anything."""

    def url(self, text: str) -> str:
        """Raises BadUrl."""
        return self.form.of(canonical(text, chars_max=self.chars_max))


def taking_of(settings: Settings, hosts: Iterable[str]) -> Taking:
    """As the settings say. `hosts`: the patterns of the crawl's scope; none: any host."""
    form, crawl = settings.form(), settings.crawl
    scope = Scope(hosts=tuple(hosts) or ("*",), include=crawl.include, exclude=crawl.exclude, form=form)
    return Taking(chars_max=settings.worker.url_chars_max, form=form, sitemaps=settings.sitemaps, scope=scope)


class Sitemaps:
    """One source: a sitemap and all that it leads to."""

    def __init__(self, taking: Taking, fetch: Fetch | None) -> None:
        self._taking = taking
        self._table = taking.sitemaps
        self._fetch = fetch
        self._files = self._urls = 0
        self._seen: set[str] = set()
        self._homes: set[str] = set()
        """Hosts whose robots.txt named the list."""

    @property
    def full(self) -> bool:
        return 0 < self._table.urls_max <= self._urls

    def of_robots(self, source: str, file: BinaryIO) -> Iterator[Found]:
        """The sitemaps that a robots.txt names."""
        url = canonical(source)
        text = b"".join(_limited(chunks(file), ROBOTS_BYTES_MAX)[0]).decode("utf-8", "replace")
        self._homes.add(host(url))
        named = rules(text).sitemaps
        for one in named or (f"{origin(url)}/sitemap.xml",):
            yield from self._of_web(source, 0, one, nested=0)

    def of_file(self, source: str, pieces: Iterable[bytes], *, web: bool, nested: int = 0) -> Iterator[Found]:
        """The requests of a list in XML. `pieces`: its bytes, b"" where the next may take its time; `web`: it is
        somebody else's, so that scope and hosts are asked."""
        locations, size = Locations(), 0
        for piece in pieces:
            if not piece:
                yield None
            size += len(piece)
            if size > self._table.bytes_max:
                yield Refusal(source, 0, "too_large", f"larger than {self._table.bytes_max} bytes (sitemaps.bytes_max)")
                return
            for location in locations.feed(piece):
                yield from self._of_location(source, location, web=web, nested=nested)
            if self.full:
                return
        for location in locations.end():
            yield from self._of_location(source, location, web=web, nested=nested)

    def _of_location(self, source: str, location: Location, *, web: bool, nested: int) -> Iterator[Found]:
        if self.full:
            return
        if location.problem:
            yield Refusal(source, location.line, "sitemap", location.problem)
        elif location.is_sitemap:
            yield from self._of_web(source, location.line, location.url, nested=nested + 1)
        else:
            found = self._request(source, location, web=web)
            self._urls += isinstance(found, Request)
            yield found

    def _request(self, source: str, location: Location, *, web: bool) -> Found:
        try:
            url = self._taking.url(location.url)
        except BadUrl as error:
            return Refusal(source, location.line, error.reason, str(error).removeprefix(f"{error.reason}: "))
        if web:
            own = {host(canonical(source)), *self._homes}
            if not self._table.other_hosts and host(url) not in own:
                return Refusal(source, location.line, "other_host", f"{url} (sitemaps.other_hosts)")
            if self._taking.scope is not None and (why := self._taking.scope.judge(url, host(url))[1]):
                return Refusal(source, location.line, why, f"{url} (crawl.hosts)" if why == "scope" else url)
        return Request(url=url, meta={LASTMOD: location.lastmod} if location.lastmod else {})

    def _of_web(self, source: str, line: int, address: str, *, nested: int) -> Iterator[Found]:
        """A list that another one names."""
        if nested > self._table.depth_max:
            yield Refusal(source, line, "sitemap", f"an index within {nested - 1} others (sitemaps.depth_max)")
        elif self._fetch is None:
            yield Refusal(source, line, "sitemap", f"a list on the web cannot be fetched here: {address}")
        else:
            yield None
            yield from self._fetched(source, line, address, nested)

    def _fetched(self, source: str, line: int, address: str, nested: int) -> Iterator[Found]:
        assert self._fetch is not None
        try:
            url = canonical(address, chars_max=self._taking.chars_max)
            if url in self._seen:
                return
            if self._files >= self._table.files_max:
                yield Refusal(source, line, "sitemaps_max", f"more than {self._table.files_max} (sitemaps.files_max)")
                return
            self._seen.add(url)
            self._files += 1
            file = self._fetch(url)
        except BadUrl as error:
            yield Refusal(source, line, error.reason, str(error).removeprefix(f"{error.reason}: "))
            return
        except SiteError as error:
            yield Refusal(address, 0, error.reason, str(error).removeprefix(f"{error.reason}: "))
            return
        try:
            yield from self._read(url, file, nested)
        except (OSError, EOFError, zlib.error) as error:
            yield Refusal(url, 0, "gzip", str(error))
        finally:
            file.close()

    def _read(self, url: str, file: BinaryIO, nested: int) -> Iterator[Found]:
        start, pieces = opening(in_utf_8(chunks(file)))
        if is_xml(start) or not start:
            yield from self.of_file(url, pieces, web=True, nested=nested)
            return
        data = b"".join(_limited(pieces, self._table.bytes_max)[0])
        for number, raw in enumerate(data.decode("utf-8-sig", "replace").splitlines(), 1):
            if raw.strip():
                location = Location(number, False, raw.strip())
                yield from self._of_location(url, location, web=True, nested=nested)


def is_marked(source: str) -> bool:
    return source.endswith(MARK)


def is_robots(source: str) -> bool:
    """Whether the URL of a sitemap is that of a robots.txt."""
    return is_marked(source) and urlsplit(source).path == "/robots.txt"


def marked(text: str) -> str:
    """The source for a sitemap's URL; for a host, or a URL without path, that of its robots.txt, which names it."""
    url = text if "://" in text else f"https://{text}"
    parts = urlsplit(url)
    if parts.path in ("", "/") and not parts.query:
        url = f"{parts.scheme}://{parts.netloc}/robots.txt"
    return url.partition("#")[0] + MARK


def _limited(pieces: Iterable[bytes], bytes_max: int) -> tuple[list[bytes], bool]:
    """The first so many bytes, and whether there were more."""
    found, left = [], bytes_max
    for piece in pieces:
        found.append(piece[:left])
        left -= len(piece)
        if left < 0:
            return found, True
    return found, False
