"""What every page has: title, heading, links, visible text, in one parse. The only file that knows selectolax.

lexbor parses twice as fast as libxml2, and by the HTML standard; but it has no XPath. A spider that selects works on
the page's lxml tree instead (`Page.css`); one that wants this outline only never builds that tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Final

import msgspec
from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from crawler.links import ANCHORS, FRAMES, LINK_RULES, MEDIA, LinkRules, addresses, is_ask, words

_LINKS: Final = frozenset(ANCHORS)
_WANTED: Final = (
    "a[rel][href], a[href], area[rel][href], area[href], br, script, style, noscript, template, iframe, object, svg, "
    "math, select, datalist, textarea, meta"
)
"""A link with a rel is found twice, by each of two selectors: so those are known without a second walk."""
_NO_TEXT: Final = frozenset({"img", "source", "video", "audio", "track", "embed"})
"""Wanted for their addresses alone: there is no text in them to be taken away."""
_COMMON: Final = frozenset({"stylesheet", "icon", "shortcut icon", "preload", "preconnect", "dns-prefetch"})
"""Values of rel that most links of a head have, and that lead to no page."""
_BLOCK: Final = rb"(?:p|li|t[dhr]|d[dt]|h[1-6]|div|ul|ol|section|article|option)"
_GLUED: Final = re.compile(rb"</%b><%b[ >]" % (_BLOCK, _BLOCK), re.IGNORECASE)
"""Blocks that follow each other without white space: markup like that glues words together."""
_SAMPLE_BYTES: Final = 1 << 12
"""So much on either side of the middle is looked at for them."""


class Outline(msgspec.Struct, frozen=True, kw_only=True):
    """Of an HTML page. Texts have their white space as single spaces; addresses are as written."""

    title: str = ""
    h1: str = ""
    """The first one."""
    description: str = ""
    language: str = ""
    canonical: str = ""
    """href of `<link rel=canonical>`."""
    base: str | None = None
    """href of the first `<base>`."""
    hrefs: tuple[str, ...] = ()
    """Of all a and area elements, and of what else the rules take for links, in document order."""
    unfollowed: tuple[str, ...] = ()
    """Those of them that nothing on the page links to without a rel that the rules do not follow."""
    asks: tuple[tuple[str, str], ...] = ()
    """Name, in lower case, and content of each meta element that may ask something of crawlers (`is_ask`)."""
    text: str = ""
    """What a reader sees."""


def outline(data: bytes, rules: LinkRules = LINK_RULES) -> Outline:
    """`data`: HTML as UTF-8. Raises MemoryError and nothing else, whatever the bytes. Cost: 14 µs per kilobyte, half of
    it parsing."""
    try:
        tree = LexborHTMLParser(data)
    except SelectolaxError as error:  # it takes all HTML, if only there is memory for its tree
        raise MemoryError(str(error)) from None
    root, heading = tree.root, tree.css_first("h1")
    head = _Head(tree, rules)
    # One walk through the tree for links and for what is not text: a walk costs a tenth of the parse.
    links: list[LexborNode] = []
    metas: list[LexborNode] = []
    unseen: set[str] = set()
    plain = not rules.media
    for node in tree.css(f"{_WANTED}, {', '.join(_NO_TEXT)}" if rules.media else _WANTED):
        tag = node.tag or ""
        if tag in _LINKS:
            links.append(node)
        elif tag == "br":
            node.insert_before(" ")  # what it parts must not become one word
        elif tag == "meta":
            metas.append(node)
        else:
            if tag not in _NO_TEXT:
                unseen.add(tag)
            if tag in FRAMES or tag in MEDIA:
                plain = False
                links.append(node)
    if tree.body is None:
        plain = False
        links += tree.css("frame")
    for meta in metas[head.metas :]:  # strayed into the body
        head.add_meta(meta)
    # Read before texts are stripped: a node that goes with them is gone.
    try:
        hrefs, related = _targets(links, rules, plain=plain)
    except KeyError:  # the selector finds xlink:href too, in drawings
        links = [node for node in links if node.tag not in _LINKS or "href" in node.attributes]
        hrefs, related = _targets(links, rules, plain=plain)
    unfollowed = _unfollowed(related, hrefs, rules) if related else ()
    return Outline(
        h1=_line(heading.text()) if heading is not None else "",
        language=(root.attributes.get("lang") or "") if root is not None else "",
        hrefs=(*head.hrefs, *hrefs),
        unfollowed=unfollowed,
        asks=tuple(head.asks),
        text=_text(tree, data, unseen),
        **head.found,
    )


class _Head:
    """What the head of a page says: the first title, description, canonical and base; its links; its metas."""

    def __init__(self, tree: LexborHTMLParser, rules: LinkRules) -> None:
        self.found: dict[str, str] = {}
        self.hrefs: list[str] = []
        self.asks: list[tuple[str, str]] = []
        self.metas = 0
        self._rules = rules
        for node in tree.head.css("title, meta, link[rel], base[href]") if tree.head is not None else ():
            tag = node.tag
            if tag == "link":
                attributes = node.attributes
                rel = attributes["rel"]
                if rel not in _COMMON:
                    self._add_link(rel, attributes)
            elif tag == "meta":
                self.metas += 1
                self.add_meta(node)
            elif tag == "title":
                self.found.setdefault("title", _line(node.text()))
            else:
                self.found.setdefault("base", node.attributes.get("href") or "")

    def add_meta(self, node: LexborNode) -> None:
        attributes = node.attributes
        name, content = attributes.get("name"), attributes.get("content")
        if name and content:
            name = name.strip().lower()
            if name == "description":
                self.found.setdefault("description", _line(content))
            elif is_ask(content):
                self.asks.append((name, content))
        elif "http-equiv" in attributes:
            self.hrefs += addresses("meta", attributes, self._rules)

    def _add_link(self, rel: str | None, attributes: Mapping[str, str | None]) -> None:
        values = words(rel)
        if "canonical" in values:
            self.found.setdefault("canonical", attributes.get("href") or "")
        if any(value in self._rules.rels for value in values) and (href := attributes.get("href")):
            self.hrefs.append(href)


def _targets(links: list[LexborNode], rules: LinkRules, *, plain: bool) -> tuple[list[str], list[LexborNode]]:
    """The addresses of these elements, and the anchors with a rel among them. `plain`: there are only anchors, those
    with a rel twice. Raises KeyError for an anchor without href."""
    if plain:
        hrefs = [node.attrs["href"] or "" for node in links]
        return hrefs, _related(links, hrefs)
    links = list({node.mem_id: node for node in links}.values())
    return list(_addresses(links, rules)), [node for node in links if node.tag in _LINKS and "rel" in node.attributes]


def _addresses(nodes: Iterable[LexborNode], rules: LinkRules) -> Iterator[str]:
    for node in nodes:
        if node.tag in _LINKS:
            yield node.attrs["href"] or ""
        else:
            yield from addresses(node.tag or "", node.attributes, rules)


def _related(links: list[LexborNode], hrefs: list[str]) -> list[LexborNode]:
    """The anchors with a rel, which stand twice in a row; their second `hrefs` are taken out."""
    found: list[LexborNode] = []
    second: list[int] = []
    for at, (one, other) in enumerate(pairwise(hrefs), 1):
        if one == other and (not second or second[-1] != at - 1) and "rel" in links[at].attributes:
            found.append(links[at])
            second.append(at)
    for at in reversed(second):
        del hrefs[at]
    return found


def _unfollowed(related: list[LexborNode], hrefs: list[str], rules: LinkRules) -> tuple[str, ...]:
    """Addresses of the anchors with an unwanted rel, that no other link has. `hrefs`: of all."""
    marked: dict[str, int] = {}
    for node in related:
        attributes = node.attributes
        if not rules.follows(attributes["rel"]):
            href = attributes["href"] or ""
            marked[href] = marked.get(href, 0) + 1
    return tuple(href for href, count in marked.items() if hrefs.count(href) == count)


def _text(tree: LexborHTMLParser, data: bytes, unseen: set[str]) -> str:
    """A space goes between neighbouring texts only where the markup itself has none between its blocks: elsewhere it
    would tear words and punctuation apart at inline elements."""
    body = tree.body
    if body is None:
        return ""
    if unseen:
        tree.strip_tags(sorted(unseen))
    middle = len(data) // 2
    sample = data[middle - _SAMPLE_BYTES : middle + _SAMPLE_BYTES] if middle > _SAMPLE_BYTES else data
    separator = " " if _GLUED.search(sample) else ""
    return _line(body.text(separator=separator))


def _line(text: str) -> str:
    return " ".join(text.split())
