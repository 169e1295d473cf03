"""The oracle: a breadth-first walk of a site's files on disk, with the standard library alone and none of our code.

What a crawl of the served directory must find. It decides by itself what a link is, what it resolves to and which file
a URL path means (nginx's rules: an index file for a directory, decoded path, query ignored), so a mistake in our URL or
link code cannot hide in both sides of a comparison.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

LINKS = {"a": "href", "area": "href"}
"""The elements that a crawler follows, and the attribute that names the target."""

HTML = frozenset({".html", ".htm", ".xhtml"})


class _Links(HTMLParser):
    """Hrefs of a document in document order, and its `<base href>`."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.hrefs: list[str] = []
        self.base = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name = LINKS.get(tag, "href" if tag == "base" else "")
        if not name:
            return
        href = next((value for key, value in attrs if key == name and value is not None), None)
        if href is None:
            return
        if tag == "base":
            self.base = self.base or href
        else:
            self.hrefs.append(href)


@dataclass(frozen=True)
class Walk:
    """What is reachable from the start: URLs, each in exactly one set."""

    pages: frozenset[str]
    """HTML documents that exist."""
    files: frozenset[str]
    """Other files that exist."""
    redirects: frozenset[str]
    """Directories without their closing slash: the server answers 301."""
    missing: frozenset[str]
    """Links within the site to nothing: the server answers 404."""
    depth: dict[str, int]
    """Fewest links from the start, of every URL above; a redirect costs none."""


def hrefs(html: str) -> tuple[tuple[str, ...], str]:
    """The hrefs of a document and its base href (empty: none)."""
    parser = _Links()
    parser.feed(html)
    parser.close()
    return tuple(parser.hrefs), parser.base


@cache
def _links(file: Path) -> tuple[tuple[str, ...], str]:
    """`hrefs` of a file, parsed once a process: html.parser takes 7 s for the 50 MB of the Python documentation."""
    return hrefs(file.read_text(encoding="utf-8", errors="replace"))


def _targets(url: str, file: Path) -> Iterator[str]:
    """Absolute http(s) targets of a document's links, without fragments."""
    found, base = _links(file)
    root = urljoin(url, base.strip()) if base else url
    for href in dict.fromkeys(found):
        try:
            target = urldefrag(urljoin(root, href.strip())).url
        except ValueError:
            continue
        if target.startswith(("http://", "https://")):
            yield target if urlsplit(target).path else target + "/"


def walk(root: Path, start: str) -> Walk:
    """Walk the site whose directory is `root` from the URL `start`, within the start's host and port."""
    site = urlsplit(start).netloc
    depth = {start: 0}
    waiting = deque([start])
    kinds: dict[str, set[str]] = {"pages": set(), "files": set(), "redirects": set(), "missing": set()}
    while waiting:
        url = waiting.popleft()
        path = unquote(urlsplit(url).path)
        file = root / path.lstrip("/")
        if file.is_dir() and path.endswith("/"):
            file = file / "index.html"
        if file.is_dir():
            kinds["redirects"].add(url)
            if (target := f"http://{site}{urlsplit(url).path}/") not in depth:
                depth[target] = depth[url]
                waiting.appendleft(target)
        elif not file.is_file():
            kinds["missing"].add(url)
        elif file.suffix not in HTML:
            kinds["files"].add(url)
        else:
            kinds["pages"].add(url)
            for target in _targets(url, file):
                if target not in depth and urlsplit(target).netloc == site:
                    depth[target] = depth[url] + 1
                    waiting.append(target)
    return Walk(**{kind: frozenset(urls) for kind, urls in kinds.items()}, depth=depth)
