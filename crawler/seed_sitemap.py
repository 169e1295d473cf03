"""The locations in a sitemap (sitemaps.org 0.9), found by expat while it is read: constant memory, line numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from xml.parsers import expat

LOCATION_CHARS_MAX = 100_000
"""Longer texts of a <loc> are cut, and then refused as URLs."""


class Location(NamedTuple):
    line: int
    is_sitemap: bool
    """It is the place of another sitemap, not of a page."""
    url: str
    problem: str = ""
    """Not empty: nothing more can be read, and why."""


class Locations:
    """A parser for one sitemap."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._text: list[str] = []
        self._chars = 0
        self._found: list[Location] = []
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._data
        self._parser.EntityDeclHandler = self._entity

    def read(self, lines: Iterator[tuple[int, bytes] | None]) -> Iterator[Location]:
        """The locations as they come; one with a problem is the last."""
        try:
            for one in lines:
                if one is not None:
                    self._parser.Parse(one[1] + b"\n", False)
                    if self._found:
                        yield from self._found
                        self._found.clear()
            self._parser.Parse(b"", True)
        except (expat.ExpatError, _SitemapError) as error:
            yield from self._found
            yield Location(self._parser.CurrentLineNumber, False, "", str(error))

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name.rpartition(" ")[2])
        if len(self._path) == 1 and self._path[0] not in ("urlset", "sitemapindex"):
            raise _SitemapError(f"expected <urlset> or <sitemapindex>, found <{self._path[0]}>")
        self._text.clear()
        self._chars = 0

    def _data(self, text: str) -> None:
        if len(self._path) == 3 and self._chars < LOCATION_CHARS_MAX:
            self._text.append(text)
            self._chars += len(text)

    def _end(self, name: str) -> None:
        if self._path[1:] in (["url", "loc"], ["sitemap", "loc"]):
            url = "".join(self._text).strip()
            self._found.append(Location(self._parser.CurrentLineNumber, self._path[1] == "sitemap", url))
        self._path.pop()

    def _entity(self, *_: object) -> None:
        raise _SitemapError("it declares entities of its own")


class _SitemapError(ValueError):
    """Raised through expat's handlers."""
