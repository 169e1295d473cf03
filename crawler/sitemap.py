"""Lists of URLs in XML: sitemaps and their indexes (sitemaps.org 0.9), RSS 2.0, RSS 1.0 and Atom (RFC 4287). Pure.

Read by a small tokenizer of our own instead of an XML parser, because half of the sitemaps on the web are no XML: bare
ampersands, missing ends, HTML entities, junk before the first tag. It keeps one tag and one text at a time, declares no
entity, follows no reference, and tells the line of everything. Names count without prefix, but elements of another
namespace than the root's (image:loc, video:, news:) do not.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from html.entities import html5
from typing import Final, NamedTuple

TEXT_CHARS_MAX: Final = 10_000
"""Longer texts are cut, and then refused as URLs."""
TAG_CHARS_MAX: Final = 100_000
"""A tag without an end within so many characters is text."""
SITEMAP_BYTES_MAX: Final = 52_428_800
"""sitemaps.org: 50 MB, uncompressed."""

_MARKS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_BARE: Final = ((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
"""How XML in UTF-16 begins where the byte order mark is missing (XML 1.0, appendix F.1)."""
_DECLARED: Final = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")
_TOKEN: Final = re.compile(r"<!--|<!\[CDATA\[|<\?|<(/?)([^\s<>/:!]++:)?+([^\s<>/:!]++)[^<>]*+>")
_HREF: Final = re.compile(r"\bhref\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)
_REL: Final = re.compile(r"\brel\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)
_REFERENCE: Final = re.compile(r"&(?:#([0-9]{1,7})|#[xX]([0-9a-fA-F]{1,6})|([A-Za-z][A-Za-z0-9]{1,31}));")
_ENDS: Final = {"<!--": "-->", "<![CDATA[": "]]>", "<?": "?>"}
_PLACES: Final = {"url": False, "sitemap": True, "item": False, "entry": False}
"""Elements that tell of one place, and whether that is another list."""
_ROOTS: Final = {
    "urlset": ("url",),
    "sitemapindex": ("sitemap",),
    "rss": ("item",),
    "rdf": ("item",),
    "feed": ("entry",),
}
_TIMES: Final = frozenset({"lastmod", "pubdate", "updated", "date"})
_ADDRESSES: Final = frozenset({"loc", "link"})
_KNOWN: Final = {*_PLACES, *_ROOTS, *_TIMES, *_ADDRESSES}


class Location(NamedTuple):
    line: int
    is_sitemap: bool
    """It is the place of another list, not of a page."""
    url: str
    """As written, without white space around it."""
    lastmod: str = ""
    """As written: W3C date and time, or that of a feed."""
    problem: str = ""
    """Not empty: this is no sitemap or not all of one, and why; `url` is then empty."""


class Locations:
    """A reader of one sitemap. `feed` it bytes, then `end` it; both give the locations that are complete."""

    def __init__(self) -> None:
        self._decoder: codecs.IncrementalDecoder | None = None
        self._head = b""
        self._rest = ""
        self._line = 1
        self._root = ""
        self._prefix = ""
        self._wanted: tuple[str, ...] = ()
        self._place = ""
        self._found: dict[str, str] = {}
        self._started = 0
        self._text: list[str] = []
        self._chars = 0
        self._until = ""
        """Within what is no markup: its end."""
        self._closed = False
        self.failed = False
        """It is no sitemap: what is fed from now on is not read."""

    def read(self, chunks: Iterable[bytes]) -> Iterator[Location]:
        """All of them."""
        for chunk in chunks:
            yield from self.feed(chunk)
        yield from self.end()

    def feed(self, data: bytes) -> Iterator[Location]:
        if self.failed:
            return
        if self._decoder is None:
            self._head += data
            if len(self._head) < 300:
                return
            data = self._begin()
        assert self._decoder is not None
        yield from self._tokens(self._decoder.decode(data), last=False)

    def end(self) -> Iterator[Location]:
        if self.failed:
            return
        data = self._begin() if self._decoder is None else b""
        assert self._decoder is not None
        yield from self._tokens(self._decoder.decode(data, True), last=True)
        if self._place and (location := self._location()) is not None:
            yield location
        if not self._root and not self.failed:
            yield self._failure("no element")
        elif self._root and not self._closed:
            yield Location(self._line, False, "", problem=f"cut off: <{self._root}> has no end")

    def _begin(self) -> bytes:
        """The encoding is known: what the first bytes show, else as declared, else UTF-8."""
        name, head = _shown(self._head)
        if not name and (declared := _DECLARED.search(head)):
            name = declared[1].decode()
            try:
                # In UTF-16, and in what is no encoding of text, the declaration could not be read if it were true.
                name = name if b"<".decode(name, "replace") == "<" else ""
            except (LookupError, UnicodeError, ValueError):
                name = ""
        self._decoder = codecs.getincrementaldecoder(name or "utf-8")("replace")
        return head

    def _tokens(self, text: str, *, last: bool) -> Iterator[Location]:
        """Texts and tags; what may go on in the next piece waits for it."""
        rest, at = self._rest + text, 0
        while not self.failed:
            if self._until:
                end = rest.find(self._until, at)
                stop = end if end >= 0 else max(at, len(rest) - len(self._until) + 1)
                self._add_text(rest[at:stop], plain=True) if self._until == "]]>" else self._count(rest[at:stop])
                at = stop
                if end < 0:
                    break
                at, self._until = end + len(self._until), ""
            found = _TOKEN.search(rest, at)
            if found is None:
                stop = len(rest) if last else _unfinished(rest, at)
                self._add_text(rest[at:stop])
                at = stop
                break
            self._add_text(rest[at : found.start()])
            at = found.end()
            if found[0] in _ENDS:
                self._until = _ENDS[found[0]]
            else:
                yield from self._tag(found)
                self._count(found[0])
        self._rest = rest[at:]

    def _count(self, text: str) -> None:
        self._line += text.count("\n")

    def _add_text(self, text: str, *, plain: bool = False) -> None:
        """`plain`: without references."""
        self._line += text.count("\n")
        if text and self._place and self._chars < TEXT_CHARS_MAX:
            self._text.append(text[:TEXT_CHARS_MAX].replace("&", "&amp;") if plain else text[:TEXT_CHARS_MAX])
            self._chars += len(text)

    def _tag(self, found: re.Match[str]) -> Iterator[Location]:
        ends, prefix, name = found[1], found[2] or "", found[3].lower()
        if not self._root:
            if name not in _ROOTS:
                yield self._failure(f"expected a sitemap or a feed, found <{name[:40]}>")
                return
            self._root, self._prefix, self._wanted = name, prefix, _ROOTS[name]
        elif name not in _KNOWN:
            return
        elif ends:
            if self._is_ours(prefix, name):
                yield from self._close(name)
        elif name in self._wanted and self._is_ours(prefix, name):
            if self._place and (location := self._location()) is not None:  # the last one has no end
                yield location
            self._place, self._found, self._started = name, {}, self._line
        elif self._place and name == "link" and self._root == "feed":
            self._atom_link(found[0])
        self._text.clear()
        self._chars = 0

    def _is_ours(self, prefix: str, name: str) -> bool:
        """Of the root's namespace, as far as prefixes tell; RSS 1.0 has its root in another one."""
        return prefix == self._prefix or self._root == "rdf" or (prefix == "dc:" and name == "date")

    def _close(self, name: str) -> Iterator[Location]:
        if name == self._root:
            self._closed = True
        if self._place and name in (self._place, self._root):
            if (location := self._location()) is not None:
                yield location
        elif self._place and (name in _ADDRESSES or name in _TIMES):
            kind = "url" if name in _ADDRESSES else "lastmod"
            text = _resolved("".join(self._text)).strip()
            if text:
                self._found.setdefault(kind, text)

    def _atom_link(self, tag: str) -> None:
        """RFC 4287 §4.2.7: without rel it is alternate."""
        rel, href = _REL.search(tag), _HREF.search(tag)
        if href and (rel is None or (rel[1] or rel[2]).strip().lower() == "alternate"):
            self._found.setdefault("url", _resolved(href[1] or href[2] or "").strip())

    def _location(self) -> Location | None:
        """The place that ends here; None when it names none."""
        place, found, line = self._place, self._found, self._started
        self._place, self._found = "", {}
        if not found.get("url"):
            return None
        return Location(line, _PLACES[place], found["url"], found.get("lastmod", "")[:100])

    def _failure(self, problem: str) -> Location:
        self.failed = True
        return Location(self._line, False, "", problem=problem)


def is_xml(start: bytes) -> bool:
    """Whether a list that begins like this is XML; four bytes that are no white space tell."""
    name, head = _shown(start)
    return head.decode(name or "utf-8", "ignore").lstrip().startswith("<")


def _shown(head: bytes) -> tuple[str, bytes]:
    """The encoding that the first bytes show, empty for none, and the bytes without byte order mark."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name, head[len(mark) :]
    return next((name for start, name in _BARE if head.startswith(start)), ""), head


def _unfinished(rest: str, at: int) -> int:
    """Where a tag begins that may go on in the next piece; the end when there is none."""
    start = rest.rfind("<", at)
    return start if start >= 0 and len(rest) - start <= TAG_CHARS_MAX and ">" not in rest[start:] else len(rest)


def _resolved(text: str) -> str:
    """With its character references resolved; what is none stays."""
    return _REFERENCE.sub(_character, text) if "&" in text else text


def _character(found: re.Match[str]) -> str:
    decimal, hexadecimal, name = found.groups()
    if name:
        return html5.get(f"{name};", found[0])
    number = int(decimal) if decimal else int(hexadecimal, 16)
    return chr(number) if 0 < number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF else "\ufffd"
