"""A fetched page, as a spider sees it. The only file that knows parsel.

Everything is lazy and done at most once: decoding, parsing, finding links. A page that is no markup has an empty tree
and no links; broken markup is read as browsers do; looking never raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from lxml import etree

from crawler.charset import Encoding, decode, query_in
from crawler.links import (
    LINK_RULES,
    Link,
    LinkRules,
    asks_in,
    canonical_in,
    elements_in,
    header_link,
    hrefs_in,
    unfollowed_in,
    words,
)
from crawler.model import Item, Request
from crawler.outline import Outline, outline
from crawler.response import Response
from crawler.url import Joiner, base_of, join

if TYPE_CHECKING:
    from parsel import Selector, SelectorList

_NO_META: dict[str, Any] = {}
_NO_URLS: frozenset[str] = frozenset()
_RELS = re.compile(rb"nofollow|ugc|sponsored", re.IGNORECASE)
_ASKS = re.compile(rb"<meta[^>]{0,1000}(?:noindex|nofollow|none|unavailable_after)", re.IGNORECASE)
_CANONICALS = re.compile(rb"<link[^>]{0,1000}canonical", re.IGNORECASE)

# huge_tree lifts limits on single texts and attributes. HTML has no entities to blow up; those of XML stay unresolved.
_html = etree.HTMLParser(encoding="utf-8", recover=True, huge_tree=True)
_xml = etree.XMLParser(encoding="utf-8", recover=True, resolve_entities=False, no_network=True, load_dtd=False)
_joiner = Joiner()


class Page:
    """What `Spider.parse` and its like get."""

    __slots__ = ("_base", "_decoded", "_links", "_outline", "_root", "_rules", "_selector", "request", "response")

    def __init__(self, request: Request, response: Response, rules: LinkRules = LINK_RULES) -> None:
        """`rules`: what counts as a link."""
        self.request = request
        self.response = response
        self._rules = rules
        self._decoded: tuple[str, Encoding] | None = None
        self._root: etree._Element | None = None
        self._selector: Selector | None = None
        self._outline: Outline | None = None
        self._base: str | None = None
        self._links: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"<Page {self.status} {self.url}>"

    @property
    def url(self) -> str:
        """Canonical."""
        return self.response.url

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in any case."""
        return self.response.headers

    @property
    def body(self) -> bytes:
        """Decompressed, not decoded."""
        return self.response.body

    @property
    def depth(self) -> int:
        """Links followed since the seed."""
        return self.request.depth

    @property
    def meta(self) -> dict[str, Any]:
        """What the spider gave the request."""
        return self.request.meta

    @property
    def encoding(self) -> Encoding:
        """Name of the character encoding, and where it was found."""
        return self._decode()[1]

    @property
    def text(self) -> str:
        """The body decoded; what cannot be is U+FFFD."""
        return self._decode()[0]

    @property
    def kind(self) -> str:
        """How `root` is parsed: `html`, `xml`, or `text` (not at all). By what the body is found to be, else by content
        type, without one by its start."""
        content_type = self.response.media_type or self.response.content_type
        if content_type in ("text/html", "application/xhtml+xml"):
            return "html"
        if content_type.endswith(("/xml", "+xml")):
            return "xml"
        if content_type:
            return "text"
        start = self.text[:1024].lstrip().lower()
        if start.startswith("<?xml") and "<html" not in start:
            return "xml"
        return "html" if start.startswith("<") else "text"

    @property
    def root(self) -> etree._Element:
        """The lxml tree; an empty `<html>` for a body without markup. The spider may change it."""
        if self._root is None:
            self._root = self._parse()
        return self._root

    @property
    def selector(self) -> Selector:
        """The tree as a parsel Selector."""
        if self._selector is None:
            from parsel import Selector  # 30 ms that a spider working on `root` does not pay

            kind = "xml" if self.kind == "xml" else "html"
            self._selector = Selector(root=self.root, type=kind, base_url=self.url)
        return self._selector

    @property
    def outline(self) -> Outline:
        """Title, heading, text, links … of an HTML page in one quick parse that leaves `root` alone: for spiders that
        want no more. Its parser follows the HTML standard; that of `root` makes something else of broken markup."""
        if self._outline is None:
            self._outline = outline(self._utf8(), self._rules) if self.kind == "html" else Outline()
        return self._outline

    @property
    def base(self) -> str:
        """What relative links are relative to: the URL, or `<base href>`."""
        if self._base is None:
            href = self._base_href()
            self._base = base_of(self.url, self._written(href) if href else href)
        return self._base

    def css(self, query: str) -> SelectorList[Selector]:
        """What a CSS selector finds; parsel adds `::text` and `::attr(name)`."""
        return self.selector.css(query)

    def xpath(self, query: str, **variables: Any) -> SelectorList[Selector]:
        """What an XPath 1.0 expression finds; `$name` in it is taken from the keyword arguments."""
        return self.selector.xpath(query, **variables)

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        try:
            return msgspec.json.decode(self.text)
        except msgspec.DecodeError as error:
            raise ValueError(f"not JSON: {error}: {self.text[:80]!r}") from None

    def join(self, href: str) -> str | None:
        """The canonical URL that an address means on this page, as a browser reads it: relative to `base`, its query in
        the page's encoding. None when it is no page's (mailto:, javascript:)."""
        return join(self.base, self._written(href))

    def links(self, css: str | None = None) -> tuple[str, ...]:
        """Distinct canonical URLs of the links in document order: those of all `a`, `area` and what else [links] names,
        or of what `css` selects (an element with href or src, an attribute, or an element with links in it). Links to
        what is no page (mailto:, javascript:) are left out. Of those that the page asks not to follow (`unfollowed`) a
        worker takes none."""
        if css is not None:
            return tuple(self._join_all(_hrefs(self.css(css))))
        if self._links is None:
            # Whichever parse there was already.
            if self._outline is not None:
                hrefs: Iterable[str] = self._outline.hrefs
            else:
                hrefs = hrefs_in(self.root, self._rules)
            self._links = tuple(self._join_all(hrefs))
        return self._links

    def anchors(self) -> Iterator[Link]:
        """All links in document order, also repeated ones, with text and rel. Cost: a walk through `root`."""
        for tag, href in elements_in(self.root, self._rules):
            if url := self.join(href):
                text = " ".join("".join(map(str, tag.itertext())).split())
                alts = (one.get("alt") for one in tag.iter("img", "area"))
                text = text or next((alt for alt in alts if alt), "")
                yield Link(url=url, text=text, rel=words(tag.get("rel")), tag=str(tag.tag))

    def unfollowed(self) -> frozenset[str]:
        """URLs that are linked to with a rel that is not followed (nofollow), and never without. Empty when nothing was
        parsed yet and the body does not look like it."""
        if self._outline is not None:
            hrefs: Iterable[str] = self._outline.unfollowed
        elif self._root is not None or self._mentions(_RELS):
            hrefs = unfollowed_in(self.root, self._rules)
        else:
            hrefs = ()
        return frozenset(self._join_all(hrefs)) if hrefs else _NO_URLS

    def asks(self) -> Iterable[tuple[str, str]]:
        """Name, in lower case, and content of each meta element that may ask something of crawlers."""
        if self._outline is not None:
            return self._outline.asks
        if self._root is not None or self._mentions(_ASKS):
            return asks_in(self.root) if self.kind == "html" else ()
        return ()

    def canonical(self) -> str | None:
        """Canonical URL that rel=canonical names, in a Link header (RFC 8288) or the head; None when there is none."""
        header = self.response.headers.get("Link")
        href = header_link(header, "canonical") if header else None
        if href is None and self._outline is not None:
            href = self._outline.canonical
        elif href is None and (self._root is not None or self._mentions(_CANONICALS)):
            href = canonical_in(self.root)
        return self.join(href) if href else None

    def words(self) -> str:
        """Title and text as far as they are at hand: of the outline, of the tree, or else the body decoded."""
        if self._outline is not None:
            return f"{self._outline.title}\n{self._outline.text}"
        if self._root is not None:
            return etree.tostring(self._root, method="text", encoding="unicode")
        return self.text

    def follow(
        self,
        link: str | Selector | SelectorList[Selector],
        to: str = "parse",
        *,
        priority: int = 0,
        meta: dict[str, Any] | None = None,
        method: str = "GET",
        body: bytes = b"",
        headers: Iterable[tuple[str, str]] = (),
    ) -> Request:
        """A request for a link of this page: a URL, also a relative one, or a selected element or attribute. A URL
        that is no page's stays as it is and will be counted as skipped. Raises TypeError when nothing was selected."""
        href = link if isinstance(link, str) else next(iter(_hrefs(link)), None)
        if href is None:
            raise TypeError(f"follow: no link was selected on {self.url}")
        return Request(
            url=self.join(href) or href,
            method=method,
            headers=tuple(headers),
            body=body,
            to=to,
            depth=self.request.depth + 1,
            priority=priority,
            meta=_NO_META if meta is None else meta,
        )

    def follow_all(
        self, css: str | None = None, to: str = "parse", *, priority: int = 0, meta: dict[str, Any] | None = None
    ) -> Iterator[Request]:
        """A request for each of `links(css)`; the answers go to the spider's method `to`."""
        depth = self.request.depth + 1
        meta = _NO_META if meta is None else meta
        for url in self.links(css):
            yield Request(url=url, to=to, depth=depth, priority=priority, meta=meta)

    def item(self, kind: str, key: str | None = None, /, **data: Any) -> Item:
        """A fact found on this page. `key` identifies it within page and kind; without, its position does."""
        return Item(kind, data, key)

    def _decode(self) -> tuple[str, Encoding]:
        if self._decoded is None:
            self._decoded = decode(self.response.body, self.response.charset)
        return self._decoded

    def _join_all(self, hrefs: Iterable[str]) -> list[str]:
        """As `join`, distinct and in order; those that are no page's are left out."""
        if self.encoding.name != "utf-8":  # nearly all pages end here, nearly all others one line below
            hrefs = list(hrefs)
            if not "".join(hrefs).isascii():
                hrefs = map(self._written, hrefs)
        return _joiner.join_all(self.base, hrefs)

    def _written(self, href: str) -> str:
        """An address with its query in the page's encoding (HTML standard 2.4.1, encoding-parse a URL). Addresses in
        feeds and sitemaps are IRIs, and what a program makes of other texts is its own: these are UTF-8."""
        return href if href.isascii() or self.kind != "html" else query_in(href, self.encoding.name)

    def _utf8(self) -> bytes:
        """The text as valid UTF-8: the body itself where it is."""
        text, encoding = self._decode()
        plain = encoding.name == "utf-8" and encoding.source != "bom" and "\ufffd" not in text
        return self.response.body if plain else text.encode("utf-8", "replace")

    def _mentions(self, pattern: re.Pattern[bytes]) -> bool:
        """Whether an HTML page that nobody has parsed is worth it."""
        return pattern.search(self.response.body) is not None and self.kind == "html"

    def _base_href(self) -> str | None:
        if self._outline is not None:
            return self._outline.base
        # Only where the parser puts it: a search through the whole tree would cost more than joining the links.
        tags = (tag for place in ("head/base", "body/base") for tag in self.root.iterfind(place))
        return next((href for tag in tags if (href := tag.get("href")) is not None), None)

    def _parse(self) -> etree._Element:
        kind = self.kind
        root: etree._Element | None = None
        if kind != "text" and self.text:
            try:
                root = etree.fromstring(self._utf8(), _xml if kind == "xml" else _html)
            except etree.XMLSyntaxError:
                root = None
        return etree.Element("html") if root is None else root


def _hrefs_in(root: etree._Element) -> list[str]:
    return [href for tag in root.iter("a", "area") if (href := tag.get("href")) is not None]


def _hrefs(selected: Selector | SelectorList[Selector]) -> Iterator[str]:
    """The links that a selection means."""
    if isinstance(selected, list):
        for one in selected:
            yield from _hrefs(one)
        return
    root = selected.root
    if isinstance(root, str):
        yield root
    elif isinstance(root, etree._Element):
        own = root.get("href", root.get("src"))
        if own is not None:
            yield own
        else:
            yield from _hrefs_in(root)
