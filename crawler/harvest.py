"""What a spider finds on a page, checked and made ready to leave: messages for the stores, requests for the frontier.

Pure but for the spider's own code. Ids come from the page and not from the clock, so that a page parsed twice gives the
same messages, and a store keeps one of them.
"""

from __future__ import annotations

import re
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import islice
from typing import Any, Final

import msgspec

from crawler.codec import decode_request, encode_request
from crawler.error import BackendError, SiteError, SpiderError
from crawler.manners import Manners, asked, same_as
from crawler.model import LOG_KIND, PRIORITY_MAX, RAW_KIND, Item, Message, Record, Request
from crawler.nesting import NESTING_MAX, too_deep
from crawler.page import Page
from crawler.scope import Scope
from crawler.spider import Spider
from crawler.url import fingerprint

__all__ = ["Harvest", "Limits", "Scope", "harvest"]

YIELDS_PER_LINK: Final = 10
"""A page may name each of its links so often; what a spider yields beyond is not asked for."""

OWN_KINDS: Final = (LOG_KIND, RAW_KIND)

ENVELOPE_BYTES: Final = 300
RECORD_BYTES: Final = 60
"""Of a message without URL and items, and of an item besides its data, about."""

KIND_CHARS_MAX: Final = 255
"""A kind is a routing key too (AMQP 0-9-1 §4.2.5.3: a short string)."""

_KIND: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_METHOD: Final = re.compile(r"[A-Z]{1,20}")
_FIELD_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token (RFC 9110 §5.6.2)."""
_FIELD_VALUE: Final = re.compile(r"[^\r\n\0]*")
_UNENCODABLE: Final = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
_encoder = msgspec.json.Encoder()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much is taken from one page."""

    links_max: int = 10_000
    items_max: int = 10_000
    url_chars_max: int = 2_000
    message_bytes_max: int = 16_000_000
    """Of the items of one kind together, as they are sent."""


class Harvest(msgspec.Struct, frozen=True, kw_only=True):
    """One page's yield."""

    messages: tuple[Message, ...] = ()
    """One per kind of item, in order of appearance."""
    found: tuple[Request, ...] = ()
    """Requests in scope, each page once, one deeper than the page."""
    items: int = 0
    skipped: dict[str, int] = {}
    """What was left out, by reason: `scope`, `depth`, `scheme`, `not_a_url`, `credentials`, `too_long`,
    `path_segments`, `query_params`, `links_max`, `items_max`, `duplicate_key`, and for what the page asks: `noindex`
    items, `nofollow` links. Repeated links are not counted."""
    noindex: bool = False
    """The page asks for no items, and that is honoured."""
    same_as: str = ""
    """The URL in scope that the page says to be another one of: rel=canonical."""


_MANNERS: Final = Manners()


def harvest(spider: Spider, page: Page, scope: Scope, limits: Limits, manners: Manners = _MANNERS) -> Harvest:
    """Call the spider's method for this page and check everything it gives.

    What the page asks of crawlers is looked at afterwards, in whichever parse the spider made.

    Raises SiteError: `nesting` (a parser would take too long); and SpiderError: `spider_method` (there is none of that
    name), `spider_exception` (with the traceback), `spider_yield` (neither Item nor Request), `spider_item` and
    `spider_request` (one that cannot be sent), `message_max` (its items of one kind are too large together)."""
    if too_deep(page.body) and page.kind == "html":
        raise SiteError("nesting", f"elements more than {NESTING_MAX:,} deep in each other", final=True)
    basket = _Basket(spider, page, scope, limits)
    method = page.request.to
    basket.check_method(method)
    try:
        things = _iterated(getattr(spider, method)(page), spider, method)
        # A generator without an end is cut off, with what it gave until then.
        for thing in islice(things, limits.items_max + YIELDS_PER_LINK * limits.links_max):
            if type(thing) is Request or isinstance(thing, Request):
                basket.add_request(thing)
            elif isinstance(thing, Item):
                basket.add_item(thing)
            else:
                raise SpiderError(
                    "spider_yield", f"{_named(spider, method)} yielded {_shown(thing)}: not an Item or Request"
                )
    except SpiderError:
        raise
    except (Exception, SystemExit):
        raise SpiderError("spider_exception", traceback.format_exc()) from None
    return basket.harvest(manners)


class _Basket:
    """One page's harvest while it grows."""

    def __init__(self, spider: Spider, page: Page, scope: Scope, limits: Limits) -> None:
        self._spider = spider
        self._page = page
        self._scope = scope
        self._limits = limits
        self._envelope = ENVELOPE_BYTES + len(page.request.url)
        self._from_host = scope.host_of(page.request.url)
        self._depth = page.request.depth + 1
        self._print = fingerprint(page.request)
        self._seen = {self._print}
        self._found: list[Request] = []
        self._records: dict[str, dict[str, bytes]] = {}
        """Data by identity, by kind: ids are made at the end, when it is known which page this is."""
        self._url = ""
        self._positions: Counter[str] = Counter()
        self._bytes: dict[str, int] = {}
        self._items = 0
        self._methods: set[str] = set()
        self._skipped: Counter[str] = Counter()

    def check_method(self, name: str) -> None:
        if name in self._methods:
            return
        if name.startswith("_") or not callable(getattr(self._spider, name, None)):
            raise SpiderError(
                "spider_method", f"{type(self._spider).__name__} has no method {name!r} to send a page to"
            )
        self._methods.add(name)

    def add_request(self, request: Request) -> None:
        if request.to not in self._methods:
            self.check_method(request.to)
        if request.depth != self._depth:
            request = msgspec.structs.replace(request, depth=self._depth)
        if request.meta or request.headers or request.body or request.method != "GET" or request.priority:
            request = self._checked(request)
        url, refusal = self._scope.judge(request.url, self._from_host, self._limits.url_chars_max)
        if not refusal and self._scope.too_deep(self._depth):
            refusal = "depth"
        if refusal:
            self._skipped[refusal] += 1
            return
        if url != request.url:
            request = msgspec.structs.replace(request, url=url)
        print_ = fingerprint(request)
        if print_ in self._seen:
            return
        if len(self._found) >= self._limits.links_max:
            self._skipped["links_max"] += 1
            return
        self._seen.add(print_)
        self._found.append(request)

    def add_item(self, item: Item) -> None:
        if self._items >= self._limits.items_max:
            self._skipped["items_max"] += 1
            return
        kind = item.kind
        if not isinstance(kind, str) or not _KIND.fullmatch(kind) or kind in OWN_KINDS or len(kind) > KIND_CHARS_MAX:
            raise SpiderError(
                "spider_item",
                f"{_shown(kind)} is no kind of item: words of A-Z a-z 0-9 _ - and dots, at most {KIND_CHARS_MAX} "
                f"characters, not {' or '.join(OWN_KINDS)}",
            )
        if item.key is None:
            identity = f"#{self._positions[kind]}"
            self._positions[kind] += 1
        else:
            identity = f"={item.key}"
        records = self._records.setdefault(kind, {})
        if identity in records:
            self._skipped["duplicate_key"] += 1
            return
        data = _encoded(item)
        size = self._bytes.get(kind, self._envelope) + len(data) + RECORD_BYTES
        if size > self._limits.message_bytes_max:
            raise SpiderError(
                "message_max", f"its {kind!r} items are larger than {self._limits.message_bytes_max} bytes together"
            )
        self._bytes[kind] = size
        records[identity] = data
        self._items += 1

    def harvest(self, manners: Manners) -> Harvest:
        asks = asked(self._page, manners)
        if asks.noindex:
            if self._items:
                self._skipped["noindex"] += self._items
            self._items, self._records = 0, {}
        same = self._same_as(manners)
        if self._found:
            self._unfollow(all_of_them=asks.nofollow)
        return Harvest(
            messages=tuple(self._message(kind, records) for kind, records in self._records.items()),
            found=tuple(self._found),
            items=self._items,
            skipped=dict(self._skipped),
            noindex=asks.noindex,
            same_as=same,
        )

    def _same_as(self, manners: Manners) -> str:
        """The page that this one says to be, found as a link; followed, the items are that page's."""
        request = self._page.request
        if manners.canonical == "ignore" or request.method != "GET" or request.body:
            return ""
        url = same_as(self._page, self._scope, self._from_host)
        if url is None:
            return ""
        other = Request(url=url, to=request.to, depth=self._depth, meta=request.meta)
        self.add_request(other)
        if manners.canonical == "follow":
            self._print, self._url = fingerprint(other), url
        return url

    def _unfollow(self, *, all_of_them: bool) -> None:
        """Take out the links that the page asks not to follow."""
        unfollowed = {
            url
            for url in map(self._scope.formed, self._page.unfollowed())
            if fingerprint(Request(url=url)) in self._seen
        }
        if all_of_them or unfollowed:
            kept = [one for one in self._found if not all_of_them and one.url not in unfollowed]
            if len(kept) < len(self._found):
                self._skipped["nofollow"] += len(self._found) - len(kept)
                self._found = kept

    def _message(self, kind: str, records: dict[str, bytes]) -> Message:
        response = self._page.response
        return Message(
            id=self._id(kind, ""),
            kind=kind,
            url=self._url or response.url,
            fetched_at=response.fetched_at,
            spider=self._spider.name,
            visit=self._page.request.visit,
            records=tuple(Record(self._id(kind, one), msgspec.Raw(data)) for one, data in records.items()),
        )

    def _id(self, kind: str, identity: str) -> str:
        """32 hex digits from kind, page, key or position, and visit. No kind has a line break in it."""
        text = f"{kind}\n{self._print}\n{self._page.request.visit}\n{identity}"
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def _checked(self, request: Request) -> Request:
        """The request as it will come out of the frontier, or why it cannot go in."""
        if type(request.priority) is not int or not 0 <= request.priority <= PRIORITY_MAX:
            raise SpiderError(
                "spider_request", f"priority {request.priority!r} of {request.url} is not 0 to {PRIORITY_MAX}"
            )
        if not isinstance(request.body, bytes):
            # Text might pass for base64 and come back as something else.
            raise SpiderError(
                "spider_request", f"the body of a request for {request.url} is {_shown(request.body)}, not bytes"
            )
        if not _METHOD.fullmatch(str(request.method)):
            raise SpiderError("spider_request", f"method {request.method!r} of {request.url} is no HTTP method")
        for name, value in request.headers:
            if not _FIELD_NAME.fullmatch(str(name)) or not _FIELD_VALUE.fullmatch(str(value)):
                raise SpiderError("spider_request", f"header {name!r}: {value!r} of {request.url} cannot be sent")
        try:
            # The URL is judged later, so that a bad one is counted and not an error.
            url, plain = request.url, msgspec.structs.replace(request, url="http://x/")
            return msgspec.structs.replace(decode_request(encode_request(plain)), url=url)
        except (*_UNENCODABLE, BackendError) as error:
            raise SpiderError("spider_request", f"a request for {request.url} cannot be sent: {error}") from None


def _iterated(given: object, spider: Spider, method: str) -> Iterable[object]:
    if given is None:
        return ()
    if isinstance(given, Iterator | list | tuple | set | frozenset):
        return given
    if hasattr(given, "__aiter__") or hasattr(given, "__await__"):
        if hasattr(given, "close"):
            given.close()
        raise SpiderError("spider_yield", f"{_named(spider, method)} is async: write it as a plain method")
    raise SpiderError("spider_yield", f"{_named(spider, method)} returned {_shown(given)}: yield it, or return a list")


def _encoded(item: Item) -> bytes:
    try:
        data: Mapping[str, Any] = item.data
        if not isinstance(data, Mapping):
            raise TypeError(f"its data is {_shown(data)}, not a mapping")
        return _encoder.encode(data if isinstance(data, dict) else dict(data))
    except _UNENCODABLE as error:
        where = _culprit(item.data) if isinstance(item.data, Mapping) else ""
        raise SpiderError("spider_item", f"item {item.kind!r}{where} cannot be written as JSON: {error}") from None


def _culprit(data: Mapping[str, Any]) -> str:
    for key, value in data.items():
        try:
            _encoder.encode({key: value})
        except _UNENCODABLE:
            return f", key {key!r} ({type(value).__name__})"
    return ""


def _named(spider: Spider, method: str) -> str:
    return f"{type(spider).__name__}.{method}"


def _shown(thing: object) -> str:
    text = repr(thing)
    return f"{type(thing).__name__} {text if len(text) <= 100 else text[:99] + '…'}"
