"""A spider whose seeds are sitemaps (sitemaps.org 0.9, and indexes of them): the pages they list, no links."""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from crawler.body import Body
from crawler.error import SiteError
from crawler.model import Item, Request
from crawler.page import Page
from crawler.spider import Spider
from crawler.spiders.pages import page_item

SITEMAP_BYTES_MAX = 52_428_800
"""Largest sitemap, decompressed (sitemaps.org: 50 MB)."""


class Sitemap(Spider):
    """A seed may be a sitemap, an index of sitemaps, either of them compressed (`.gz`: allow its type in
    fetch.content_types), or a text file with a URL a line; anything else becomes a `page` item."""

    name = "sitemap"

    def parse(self, page: Page) -> Iterator[Item | Request]:
        locations = _locations(page)
        if locations is None:
            yield page_item(page)
        else:
            for location in locations:
                yield page.follow(location)


def _locations(page: Page) -> list[str] | None:
    """The URLs that a sitemap lists; None when the page is none."""
    if page.body.startswith(b"\x1f\x8b"):
        root = _compressed(page.body)
    elif page.kind == "text":
        lines = page.text.split()
        return lines if lines and all(line.startswith(("http://", "https://")) for line in lines) else None
    else:
        root = page.root
    if root is None or etree.QName(root).localname not in ("urlset", "sitemapindex"):
        return None
    locations = root.iterfind("{*}*/{*}loc")
    return [text for location in locations if (text := (location.text or "").strip())]


def _compressed(data: bytes) -> etree._Element | None:
    body = Body("gzip", len(data), SITEMAP_BYTES_MAX)
    try:
        body.feed(data)
        parser = etree.XMLParser(recover=True, resolve_entities=False, no_network=True, load_dtd=False)
        return etree.fromstring(body.finish(), parser)
    except (SiteError, etree.XMLSyntaxError):
        return None
