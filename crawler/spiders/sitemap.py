"""A spider whose seeds are sitemaps or feeds (`crawler.sitemap`): the pages they list, no links."""

from __future__ import annotations

from collections.abc import Iterator

from crawler.body import Body
from crawler.error import SiteError
from crawler.model import Item, Request
from crawler.page import Page
from crawler.sitemap import SITEMAP_BYTES_MAX, Location, Locations, is_xml
from crawler.spider import Spider
from crawler.spiders.pages import page_item


class Sitemap(Spider):
    """A seed may be a sitemap, an index of sitemaps, RSS or Atom, any of them compressed (`.gz`: allow its type in
    fetch.content_types), or a text file with a URL a line; anything else becomes a `page` item. A page's request has
    what the list says of its last change as `meta["lastmod"]`."""

    name = "sitemap"

    def parse(self, page: Page) -> Iterator[Item | Request]:
        locations = _locations(page)
        if locations is None:
            yield page_item(page)
        else:
            for location in locations:
                if location.url:
                    yield page.follow(location.url, meta={"lastmod": location.lastmod} if location.lastmod else None)


def _locations(page: Page) -> list[Location] | None:
    """The URLs that a sitemap lists; None when the page is none."""
    body = _unpacked(page.body) if page.body.startswith(b"\x1f\x8b") else page.body
    if is_xml(body):
        found = list(Locations().read([body]))
        # A list without a place in it is a list; what is none says so in its first and only one.
        is_none = len(found) == 1 and found[0].problem and not found[0].problem.startswith("cut off")
        return None if is_none else found
    if page.kind == "text":
        lines = page.text.split()
        if lines and all(line.startswith(("http://", "https://")) for line in lines):
            return [Location(number, False, line) for number, line in enumerate(lines, 1)]
    return None


def _unpacked(data: bytes) -> bytes:
    """Of gzip, at most `SITEMAP_BYTES_MAX`; nothing when it is damaged or more."""
    body = Body("gzip", len(data), SITEMAP_BYTES_MAX)
    try:
        body.feed(data)
        return body.finish()
    except SiteError:
        return b""
