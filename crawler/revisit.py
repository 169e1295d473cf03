"""When a page is visited again, and whether it has changed since. Pure: what must be known rides in the request.

A page that is done comes back as a request of its own, with the next number of a visit, which waits in the same
frontier until it is due. It is found by the page like a link, so a crash can neither lose nor double it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final

import msgspec

from crawler.model import Before, Message, Request
from crawler.tables_visit import RevisitTable

NOT_MODIFIED: Final = "not_modified"
"""Reason of a page whose server said that it is as before (RFC 9110 §15.4.5)."""
UNCHANGED: Final = "unchanged"
"""Reason of a page that was fetched, and whose body or items are as before."""
VALIDATOR_CHARS_MAX: Final = 256
"""A longer ETag or Last-Modified is not kept."""
SOONER: Final = 0.5
LATER: Final = 1.5
"""adaptive: what the wait is multiplied with after a visit that found a change, and after one that did not."""

_AGAIN: Final = frozenset({"", "noindex", NOT_MODIFIED, UNCHANGED, "similar", "redirect"})
"""Reasons of a first visit after which there is a second; a later one is always followed by the next."""
_METHODS: Final = frozenset({"GET", "HEAD"})


def conditional(request: Request, table: RevisitTable) -> Request:
    """The request as it goes out: with what spares a body that is known (RFC 9110 §13.1), if the last visit kept it.
    The spider's own headers stay as they are."""
    before = request.before
    if before is None or table.unchanged_items or not (before.etag or before.modified):
        return request
    own = {name.lower() for name, _ in request.headers}
    if not own.isdisjoint(("if-none-match", "if-modified-since", "range", "if-match", "if-unmodified-since")):
        return request
    added = (("If-None-Match", before.etag), ("If-Modified-Since", before.modified))
    return msgspec.structs.replace(request, headers=(*request.headers, *(one for one in added if one[1])))


def is_conditional(headers: Iterable[tuple[str, str]]) -> bool:
    """Whether a 304 answers them."""
    return any(name.lower() in ("if-none-match", "if-modified-since") for name, _ in headers)


def validators(headers: Mapping[str, str]) -> tuple[str, str]:
    """ETag and Last-Modified of a response; empty where there is none that could be sent back. Cost: 1 µs."""
    etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
    if etag and (len(etag) > VALIDATOR_CHARS_MAX or not etag.isascii() or not etag.isprintable()):
        etag = ""
    if modified and (len(modified) > VALIDATOR_CHARS_MAX or not modified.isascii() or not modified.isprintable()):
        modified = ""
    return etag, modified


def with_validators(known: Before, headers: Mapping[str, str], status: int) -> Before:
    """What is known of a page, with the validators of its last response; a 304 need not repeat them (RFC 9110
    §15.4.5)."""
    etag, modified = validators(headers)
    if status == 304:
        etag, modified = etag or known.etag, modified or known.modified
    if (etag, modified) == (known.etag, known.modified):
        return known
    return msgspec.structs.replace(known, etag=etag, modified=modified)


def body_hash(body: bytes) -> int:
    """Of a body; never 0, which says that none is known. Cost: 1 µs a KB."""
    return _hash(blake2b(body, digest_size=8))


def items_hash(messages: Iterable[Message]) -> int:
    """Of all items that a page gave, whatever the visit; of none one of its own. Cost: 1 µs a KB."""
    sum_ = blake2b(digest_size=8)
    for message in messages:
        sum_.update(b"%b %d\n" % (message.kind.encode(), len(message.records)))
        for record in message.records:
            sum_.update(b"%d " % len(bytes(record.data)))
            sum_.update(record.data)
    return _hash(sum_)


def same_body(before: Before | None, found: Before) -> bool:
    """Whether the body is known to be as before."""
    return before is not None and before.body != 0 and before.body == found.body


def same_items(before: Before | None, found: Before) -> bool:
    """Whether the items are known to be as before."""
    return before is not None and before.items != 0 and before.items == found.items


def wait_s(table: RevisitTable, waited_s: float, *, visit: int, changed: bool) -> float:
    """Seconds from a visit to the next. `waited_s`: those before this visit, 0 when not known; `visit`: its number."""
    if table.mode != "adaptive":
        return table.interval_s
    if not visit:
        return min(max(table.interval_s, table.min_s), table.max_s)
    return min(max((waited_s or table.interval_s) * (SOONER if changed else LATER), table.min_s), table.max_s)


def next_visit(
    table: RevisitTable, request: Request, reason: str, found: Before, *, changed: bool, now_ms: int
) -> Request | None:
    """The page's next visit after one that was done for `reason`; None when there is none by time: revisiting is off
    or left to sitemaps, the request is no GET or HEAD, or its first visit brought no page."""
    if table.mode not in ("interval", "adaptive") or request.method not in _METHODS or request.body:
        return None
    if not request.visit and reason not in _AGAIN:
        return None
    waited_s = request.before.wait_s if request.before is not None else 0.0
    after_s = wait_s(table, waited_s, visit=request.visit, changed=changed)
    return msgspec.structs.replace(
        request,
        visit=request.visit + 1,
        not_before_ms=now_ms + round(after_s * 1000),
        before=msgspec.structs.replace(found, wait_s=after_s),
        redirected_from=(),
    )


def _hash(sum_: blake2b) -> int:
    return int.from_bytes(sum_.digest(), "big", signed=True) or 1
