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
from crawler.error import BackendError, SpiderError
from crawler.model import LOG_KIND, PRIORITY_MAX, RAW_KIND, Item, Message, Record, Request
from crawler.page import Page
from crawler.scope import Scope
from crawler.spider import Spider
from crawler.url import fingerprint

__all__ = ["Harvest", "Limits", "Scope", "harvest"]

YIELDS_PER_LINK: Final = 10
"""A page may name each of its links so often; what a spider yields beyond is not asked for."""

OWN_KINDS: Final = (LOG_KIND, RAW_KIND)

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


class Harvest(msgspec.Struct, frozen=True, kw_only=True):
    """One page's yield."""

    messages: tuple[Message, ...] = ()
    """One per kind of item, in order of appearance."""
    found: tuple[Request, ...] = ()
    """Requests in scope, each page once, one deeper than the page."""
    items: int = 0
    skipped: dict[str, int] = {}
    """What was left out, by reason: `scope`, `depth`, `scheme`, `not_a_url`, `credentials`, `too_long`, `links_max`,
    `items_max`, `duplicate_key`. Repeated links are not counted."""


def harvest(spider: Spider, page: Page, scope: Scope, limits: Limits) -> Harvest:
    """Call the spider's method for this page and check everything it gives.

    Raises SpiderError: `spider_method` (there is none of that name), `spider_exception` (with the traceback),
    `spider_yield` (neither Item nor Request), `spider_item` and `spider_request` (one that cannot be sent)."""
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
    return basket.harvest()


class _Basket:
    """One page's harvest while it grows."""

    def __init__(self, spider: Spider, page: Page, scope: Scope, limits: Limits) -> None:
        self._spider = spider
        self._page = page
        self._scope = scope
        self._limits = limits
        self._from_host = scope.host_of(page.request.url)
        self._depth = page.request.depth + 1
        self._print = fingerprint(page.request)
        self._seen = {self._print}
        self._found: list[Request] = []
        self._records: dict[str, dict[str, Record]] = {}
        self._positions: Counter[str] = Counter()
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
        if not isinstance(kind, str) or not _KIND.fullmatch(kind) or kind in OWN_KINDS:
            raise SpiderError(
                "spider_item",
                f"{kind!r} is no kind of item: words of A-Z a-z 0-9 _ - and dots, not {' or '.join(OWN_KINDS)}",
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
        records[identity] = Record(self._id(kind, identity), msgspec.Raw(_encoded(item)))
        self._items += 1

    def harvest(self) -> Harvest:
        return Harvest(
            messages=tuple(self._message(kind, records) for kind, records in self._records.items()),
            found=tuple(self._found),
            items=self._items,
            skipped=dict(self._skipped),
        )

    def _message(self, kind: str, records: dict[str, Record]) -> Message:
        response = self._page.response
        return Message(
            id=self._id(kind, ""),
            kind=kind,
            url=response.url,
            fetched_at=response.fetched_at,
            spider=self._spider.name,
            visit=self._page.request.visit,
            records=tuple(records.values()),
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
