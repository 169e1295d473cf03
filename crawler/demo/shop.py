"""The demo shop: hosts, categories, listing pages, products, and the faults that real sites have. Pure.

    /                     home: all categories, the information pages, the other hosts
    /c/3.html /c/3-2.html listing of a category, 20 products a page
    /p/17.html            product: related products, here and on other hosts
    /info/2.html          information pages
    /robots.txt /sitemap.xml

With faults also: /old/ redirects to products, /go/ is a chain of three redirects to a page that nothing else links
to, /gone/ is linked but 404, /basket/ is linked but forbidden by robots.txt, /slow.html takes a while, and /flaky.html
fails twice with 500 before it works; the last two on the first host only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from crawler.demo import html
from crawler.demo.size import PER_LISTING, size_of

PER_SITEMAP = 10_000
"""URLs in one sitemap; with more, /sitemap.xml is an index (sitemaps.org allows 50,000)."""
SLOW_S = 2.0
FLAKY_FAILURES = 2
PAGES_MIN = 8
"""Least pages of a host."""

_PATH = re.compile(r"/(c|p|info|old|go|gone|basket)/(\w+?)(?:-([1-9]\d{0,8}))?\.html")
_SITEMAP = re.compile(r"/sitemap-([1-9]\d{0,8})\.xml")
_HTML = {"Content-Type": "text/html; charset=utf-8"}
_TEXT = {"Content-Type": "text/plain; charset=utf-8"}
_XML = {"Content-Type": "application/xml"}


class Reply(NamedTuple):
    """What the server answers."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    delay_s: float = 0.0
    """Seconds to wait before answering."""


class Shop:
    """The shop over all its hosts. Cost: about 30 µs a page."""

    def __init__(self, *, pages: int, hosts: tuple[str, ...], seed: int = 1, faults: bool = True) -> None:
        """`pages`: HTML pages that a crawl finds, over all hosts; `hosts`: as in URLs, with their port.

        Raises ValueError when there are fewer than 8 pages a host.
        """
        if not hosts or pages < PAGES_MIN * len(hosts):
            raise ValueError(f"{pages} pages over {len(hosts)} hosts: a host has at least {PAGES_MIN}")
        self.hosts = hosts
        self.seed = seed
        self.faults = faults
        self._index = {name: index for index, name in enumerate(hosts)}
        share, rest = divmod(pages, len(hosts))
        extra = [self._special_count(index) for index in range(len(hosts))]
        self._sizes = tuple(size_of(share + (index < rest) - extra[index]) for index in range(len(hosts)))

    @cached_property
    def _writer(self) -> html.Writer:
        return html.Writer(self.seed)

    def _special_count(self, index: int) -> int:
        """Pages that only a shop with faults has: the end of the redirects; slow and flaky."""
        return (1 + 2 * (index == 0)) if self.faults else 0

    def seeds(self) -> tuple[str, ...]:
        """The home pages of all hosts; one is enough, since the hosts link to each other."""
        return tuple(f"http://{host}/" for host in self.hosts)

    def urls(self) -> Iterator[str]:
        """The URL of every page that a polite crawl finds, each once."""
        for index, host in enumerate(self.hosts):
            for path in self.paths(index):
                yield f"http://{host}{path}"

    def paths(self, index: int) -> Iterator[str]:
        """The paths of a host's pages."""
        size = self._sizes[index]
        yield "/"
        for category in range(1, size.categories + 1):
            yield from (_listing(category, number) for number in range(1, size.listings(category) + 1))
        yield from (f"/p/{product}.html" for product in range(1, size.products + 1))
        yield from (f"/info/{number}.html" for number in range(1, size.infos + 1))
        if self.faults:
            yield "/info/arrived.html"
            yield from ("/slow.html", "/flaky.html")[: 2 * (index == 0)]

    def missing(self) -> Iterator[str]:
        """Every URL that is linked but 404."""
        for index, host in enumerate(self.hosts):
            if self.faults:
                products = self._sizes[index].products
                yield from (f"http://{host}/gone/{one}.html" for one in range(1, products + 1) if _has_gone(one))

    def redirects(self) -> Iterator[tuple[str, int, str]]:
        """Every redirect: URL, status, target."""
        for index, host in enumerate(self.hosts):
            if self.faults:
                products = self._sizes[index].products
                paths = [f"/old/{one}.html" for one in range(1, products + 1) if _has_old(one)]
                for path in (*paths, "/go/1.html", "/go/2.html", "/go/3.html"):
                    reply = self.page(path, host)
                    yield f"http://{host}{path}", reply.status, reply.headers["Location"]

    def page(self, path: str, host: str, failures: int = 0) -> Reply:
        """The answer to a GET of `path` (without query). `failures`: how often the path answered 500 before."""
        index = self._index.get(host)
        if index is None:
            return Reply(421, _TEXT, b"no such host\n")
        if path == "/":
            return self._home(index)
        if (match := _PATH.fullmatch(path)) is not None:
            return self._by_kind(index, *match.groups())
        if path == "/robots.txt":
            rules = f"User-agent: *\nDisallow: /basket/\n\nSitemap: http://{host}/sitemap.xml\n"
            return Reply(200, _TEXT, rules.encode())
        if path == "/shop.css":
            return Reply(200, {"Content-Type": "text/css"}, html.CSS)
        if path == "/sitemap.xml" or _SITEMAP.fullmatch(path):
            return self._sitemap(index, path)
        if self.faults and index == 0 and path == "/slow.html":
            return Reply(200, _HTML, self._writer.info("Slow but steady", path, self._nav(0)), SLOW_S)
        if self.faults and index == 0 and path == "/flaky.html":
            if failures < FLAKY_FAILURES:
                return Reply(500, _TEXT, b"out of order, try again\n")
            return Reply(200, _HTML, self._writer.info("Third time lucky", path, self._nav(0)))
        return _not_found(path)

    def _by_kind(self, index: int, kind: str, name: str, number: str | None) -> Reply:
        size = self._sizes[index]
        one = int(name) if name.isascii() and name.isdigit() and len(name) < 10 and name[0] != "0" else 0
        if (
            kind == "c"
            and 1 <= one <= size.categories
            and 1 <= int(number or 1) <= size.listings(one)
            and number != "1"
        ):
            return Reply(200, _HTML, self._listing(index, one, int(number or 1)))
        if number is None:
            if kind == "p" and 1 <= one <= size.products:
                return Reply(200, _HTML, self._product(index, one))
            if kind == "info" and (1 <= one <= size.infos or (self.faults and name == "arrived")):
                return Reply(200, _HTML, self._writer.info(f"Information {name}", f"info-{name}", self._nav(index)))
            if self.faults and kind in ("old", "go", "basket"):
                return self._fault(index, kind, one)
        return _not_found(f"/{kind}/{name}")

    def _fault(self, index: int, kind: str, one: int) -> Reply:
        if kind == "old" and one and _has_old(one) and one <= self._sizes[index].products:
            return self._moved(index, 301, f"/p/{one % self._sizes[index].products + 1}.html")
        if kind == "go" and 1 <= one <= 3:
            return self._moved(
                index, (302, 307, 301)[one - 1], f"/go/{one + 1}.html" if one < 3 else "/info/arrived.html"
            )
        if kind == "basket" and 1 <= one <= self._sizes[index].products:
            return Reply(200, _HTML, self._writer.info("Your basket", f"basket-{one}", self._nav(index)))
        return _not_found(f"/{kind}/{one}")

    def _moved(self, index: int, status: int, path: str) -> Reply:
        return Reply(status, {**_TEXT, "Location": f"http://{self.hosts[index]}{path}"}, b"moved\n")

    def _nav(self, index: int) -> bytes:
        return self._writer.nav(index, self._sizes[index].categories)

    def _home(self, index: int) -> Reply:
        links = [f"/info/{number}.html" for number in range(1, self._sizes[index].infos + 1)]
        if self.faults:
            links += ["/go/1.html", *(("/slow.html", "/flaky.html") if index == 0 else ())]
        count = len(self.hosts)
        near = sorted({(index + step) % count for step in (1, 2, 3, 7, 11)} - {index})
        links += [f"http://{self.hosts[other]}/" for other in near]
        return Reply(200, _HTML, self._writer.home(index, self._nav(index), links))

    def _listing(self, index: int, category: int, number: int) -> bytes:
        size = self._sizes[index]
        first = (number - 1) * PER_LISTING
        ranks = range(first, min(first + PER_LISTING, size.in_category(category)))
        last = size.listings(category)
        near = sorted({1, number - 1, number + 1, number + 10, last} - {number})
        pages = [(other, _listing(category, other)) for other in near if 1 <= other <= last]
        products = [category + rank * size.categories for rank in ranks]
        return self._writer.listing(index, category, number, products, pages, self._nav(index))

    def _product(self, index: int, one: int) -> bytes:
        size, salt = self._sizes[index], html.mix(self.seed, index, one)
        related = [f"/p/{(salt >> shift) % size.products + 1}.html" for shift in range(0, 36, 6)]
        if len(self.hosts) > 1:
            for shift in (3, 17):
                other = (index + 1 + (salt >> shift) % (len(self.hosts) - 1)) % len(self.hosts)
                related.append(f"http://{self.hosts[other]}/p/{(salt >> 9) % self._sizes[other].products + 1}.html")
        extra = []
        if self.faults:
            extra.append(f"/basket/{one}.html")
            extra += [f"/old/{one}.html"] if _has_old(one) else []
            extra += [f"/gone/{one}.html"] if _has_gone(one) else []
        return self._writer.product(index, one, (one - 1) % size.categories + 1, related, extra, self._nav(index))

    def _sitemap(self, index: int, path: str) -> Reply:
        products, host = self._sizes[index].products, self.hosts[index]
        parts = -(-products // PER_SITEMAP)
        match = _SITEMAP.fullmatch(path)
        part = int(match[1]) if match else 1
        if part > parts or (match is not None and parts == 1):
            return _not_found(path)
        if match is None and parts > 1:
            return Reply(
                200, _XML, html.sitemap_index(f"http://{host}/sitemap-{one}.xml" for one in range(1, parts + 1))
            )
        numbers = range((part - 1) * PER_SITEMAP + 1, min(part * PER_SITEMAP, products) + 1)
        return Reply(200, _XML, html.sitemap(f"http://{host}/p/{one}.html" for one in numbers))


def _listing(category: int, number: int) -> str:
    return f"/c/{category}.html" if number == 1 else f"/c/{category}-{number}.html"


def _has_old(product: int) -> bool:
    return product % 50 == 7


def _has_gone(product: int) -> bool:
    return product % 97 == 11


def _not_found(path: str) -> Reply:
    return Reply(404, _HTML, html.not_found(path))
