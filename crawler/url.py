"""URLs by the WHATWG URL standard: one canonical string for a page, joining, and the keys made from it.

https://url.spec.whatwg.org by ada-url, the parser that Node uses. A canonical URL is what a browser would send,
without its fragment: scheme and host in lower case, IDNA, default port gone, dots resolved, spaces and non-ASCII
escaped. Query order, percent-encodings and trailing slashes stay: servers may tell them apart.

The costs below are for one core; the caches are per process, bounded, and emptied at once when full.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b

from ada_url import join_url, normalize_url

from crawler.error import BadUrl
from crawler.model import Request

CANONICAL_VERSION = "whatwg-1"
"""Changes with the rules of `canonical` or `fingerprint`: another version gives other fingerprints."""

URL_CHARS_MAX = 8_000
"""Longest URL that is understood at all (RFC 9110 §4.1 asks for 8,000 octets); settings may ask for less."""

CACHE_MAX = 50_000
"""Entries of each cache: about 10 MB when full."""

CACHED_CHARS_MAX = 500
"""Longer URLs and hrefs are not remembered."""

_NEEDS_WHOLE_BASE = re.compile(r"(?:https?:)?(?:[?#]|$)|https?:(?![/\\])", re.IGNORECASE)
_IGNORED = {ord(char): None for char in "\t\n\r"}
_STRIPPED = "".join(map(chr, range(0x21)))


def base_version(recorded: str) -> str:
    """The part of `CrawlRecord.canonical` that this program fixes, without what the settings add."""
    return recorded.partition("+")[0]


def canonical(text: str, *, chars_max: int = URL_CHARS_MAX) -> str:
    """The canonical form of an absolute http or https URL, at most `chars_max` characters long.

    Raises BadUrl with reason `not_a_url`, `scheme`, `credentials` or `too_long`. Idempotent. Cost: 2 µs.
    """
    if len(text) > chars_max * 3:
        raise BadUrl("too_long", text)
    try:
        href = normalize_url(text)
    except ValueError:
        raise BadUrl("not_a_url", text) from None
    return _checked(href, text, chars_max)


def join(base: str, href: str) -> str | None:
    """The canonical URL that `href` means on a page whose base is `base`; None when it is no page's: not a URL, another
    scheme (`mailto:`), with credentials, too long. Cost: 2 µs; `Joiner` remembers."""
    if len(href) > URL_CHARS_MAX * 3:
        return None
    try:
        return _checked(join_url(base, href), href, URL_CHARS_MAX)
    except (ValueError, BadUrl):
        return None


def base_of(url: str, href: str | None) -> str:
    """The base of a page at `url` whose first `<base href>` is `href`: that one, unless it cannot be parsed or is of
    scheme data or javascript (HTML standard, 2.4.3)."""
    if href is None:
        return url
    try:
        base = join_url(url, href)
    except ValueError:
        return url
    return url if base.startswith(("data:", "javascript:")) else base.partition("#")[0]


def host(url: str) -> str:
    """Host name of a canonical URL, with the port if it is not 80 or 443: the unit of politeness."""
    name = url[url.index("//") + 2 : url.index("/", 8)]
    if name.endswith((":80", ":443")):
        return name.rpartition(":")[0]
    return name


def origin(url: str) -> str:
    """`scheme://host[:port]` of a canonical URL: what a robots.txt belongs to."""
    return url[: url.index("/", 8)]


class _Fingerprints(dict[str, int]):
    """Canonical URL -> fingerprint of its plain GET."""

    def __missing__(self, url: str) -> int:
        if len(self) >= CACHE_MAX:
            self.clear()
        value = _hash(b"GET %b" % url.encode())
        if len(url) <= CACHED_CHARS_MAX:
            self[url] = value
        return value


_fingerprints = _Fingerprints()


def fingerprint(request: Request) -> int:
    """Identity of a page: 64 bits of BLAKE2b (RFC 7693) over method, canonical URL and body, as a signed integer.

    Headers, meta and visit are not part of it. Cost: 0.1 µs for a URL seen lately, else 1 µs."""
    if request.method == "GET" and not request.body:
        return _fingerprints[request.url]
    return _hash(b"%b %b\n%b" % (request.method.encode(), request.url.encode(), request.body))


def visit_print(request: Request) -> int:
    """Identity of one visit of a page, which a frontier admits once: at first the page's fingerprint, later one that
    follows from it and the visit."""
    print_ = fingerprint(request)
    return _hash(b"%d %d" % (print_, request.visit)) if request.visit else print_


class Joiner:
    """`join` for many links, remembering per base directory what an href meant there.

    Pages of a site repeat most of their links; a remembered one costs a dict look-up. Not thread-safe."""

    def __init__(self, entries_max: int = CACHE_MAX) -> None:
        self._entries_max = entries_max
        self._entries = 0
        self._tables: dict[str, dict[str, str]] = {}

    def join_all(self, base: str, hrefs: Iterable[str]) -> list[str]:
        """The distinct canonical URLs of `hrefs`, in order; those that `join` refuses are left out."""
        distinct = list(dict.fromkeys([_without_fragment(href) if "#" in href else href for href in hrefs]))
        directory = base.partition("?")[0].rpartition("/")[0]
        table = self._tables.get(directory)
        if table is None:
            table = self._tables[directory] = {}
            self._entries += 1
        joined = list(map(table.get, distinct))
        if None in joined:
            pairs = zip(distinct, joined, strict=True)
            joined = [self._miss(table, base, href) if url is None else url for href, url in pairs]
            if self._entries > self._entries_max:
                self._tables.clear()
                self._entries = 0
        return [url for url in dict.fromkeys(joined) if url]

    def _miss(self, table: dict[str, str], base: str, href: str) -> str:
        url = join(base, href) or ""
        plain = href.translate(_IGNORED).strip(_STRIPPED)
        # These mean another page for each page of a directory; and a base of another scheme may have no directory.
        if len(href) <= CACHED_CHARS_MAX and not _NEEDS_WHOLE_BASE.match(plain) and base.startswith("http"):
            table[href] = url
            self._entries += 1
        return url


def _without_fragment(href: str) -> str:
    """A space before the fragment is part of the URL, at the end it is not: then the fragment stays."""
    before = href[: href.index("#")]
    return before if before[-1:] > " " or not before else href


def _checked(href: str, text: str, chars_max: int) -> str:
    if not href.startswith(("http://", "https://")):
        raise BadUrl("scheme", text)
    if "#" in href:
        href = href[: href.index("#")]
    if "@" in href and "@" in href[: href.index("/", 8)]:
        raise BadUrl("credentials", text)
    if len(href) > chars_max:
        raise BadUrl("too_long", text)
    return href


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big", signed=True)
