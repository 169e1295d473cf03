"""Fetches as they went over the wire, for the stores that keep whole pages (`takes = "raw"`).

What is kept: every response that ended its request's visit for good, be it a page, a redirect, an error or a
robots.txt; not one after which the request is tried again. Of the first one stored the items are those in the stores
too, because both leave in one batch: the id is made of page, visit and how the visit ended, and not of the bytes.

Bodies are those of pages in full, up to `exchange.message_bytes_max`. Of errors and redirects the first 64 KB are read;
of types that the crawl skips (`fetch.content_types`) only what a small body has: the rest is told as truncated.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final

import msgspec

from crawler.model import RAW_KIND, Bury, Done, Lease, Message, RawHead, Record, Request
from crawler.url import fingerprint

SECRET: Final = frozenset({"authorization", "proxy-authorization", "cookie"})
"""Request headers whose values stay in the process that sent them."""

ENVELOPE_BYTES: Final = 1_000
"""Room in a message for what is neither head, URL nor body."""

_CUT: Final = {"timeout_total": "time", "reset": "disconnect", "protocol": "disconnect"}
"""How a visit ended -> why its body is not whole, in the words of WARC-Truncated; else `length`: a limit of ours."""

_encode = msgspec.json.Encoder().encode


class Take(msgspec.Struct, kw_only=True):
    """One request and its response, while it is under way: no frozen value. `status` 0: nothing was answered."""

    request: Request
    target: str = "/"
    request_headers: tuple[tuple[str, str], ...] = ()
    version: str = "1.1"
    status: int = 0
    phrase: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    address: str = ""
    chunks: list[bytes] = []
    body_bytes: int = 0
    whole: bool = False
    seconds: float = 0.0
    ended_at: str = ""

    def begin(
        self,
        *,
        target: str,
        request_headers: tuple[tuple[str, str], ...],
        version: str,
        status: int,
        phrase: str,
        headers: tuple[tuple[str, str], ...],
    ) -> None:
        """The heads are known. Forgets an earlier answer: a request may go out again over a new connection."""
        self.target = target
        self.request_headers = tuple((name, "" if name.lower() in SECRET else value) for name, value in request_headers)
        self.version, self.status, self.phrase, self.headers = version, status, phrase, headers
        self.chunks, self.body_bytes, self.whole = [], 0, False

    def feed(self, chunk: bytes) -> None:
        """A part of the body as transferred, without transfer coding."""
        if chunk:
            self.chunks.append(chunk)
            self.body_bytes += len(chunk)

    def end(self, seconds: float, *, whole: bool) -> None:
        self.seconds, self.whole = seconds, whole
        self.ended_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def messages(
    takes: Sequence[Take], lease: Lease, ended: Done | Bury, *, spider: str, message_bytes_max: int
) -> tuple[Message, ...]:
    """One message a response; the last is the one that the visit ended with, those before it redirected to it. Of two
    to one request, as when a fetch was begun again, the first."""
    found: dict[str, Message] = {}
    for number, take in enumerate(takes):
        if take.status:
            print_ = fingerprint(lease.request if number == 0 else take.request)
            reason = ended.reason if take is takes[-1] else "redirect"
            message = _message(take, print_, lease, reason, spider, message_bytes_max)
            found.setdefault(message.id, message)
    return tuple(found.values())


def _message(take: Take, print_: int, lease: Lease, reason: str, spider: str, message_bytes_max: int) -> Message:
    visit = lease.request.visit
    id = _id(print_, visit, reason)
    head = RawHead(
        fingerprint=print_,
        depth=lease.request.depth,
        via=take.request.redirected_from[-1] if take.request.redirected_from else "",
        robots=lease.robots or lease.robots_ms > 0,
        method=take.request.method,
        target=take.target,
        request_headers=take.request_headers,
        request_body=take.request.body,
        version=take.version,
        status=take.status,
        phrase=take.phrase,
        headers=take.headers,
        address=take.address,
        seconds=round(take.seconds, 6),
        truncated="" if take.whole else _CUT.get(reason, "length"),
    )
    data = _encode(head)
    room = max(0, message_bytes_max - ENVELOPE_BYTES - len(data) - len(take.request.url))
    if take.body_bytes > room:
        data = _encode(msgspec.structs.replace(head, truncated="length"))
    body = take.chunks[0] if len(take.chunks) == 1 else b"".join(take.chunks)
    return Message(
        id=id,
        kind=RAW_KIND,
        url=take.request.url,
        fetched_at=take.ended_at,
        spider=spider,
        visit=visit,
        records=(Record(id, msgspec.Raw(data)),),
        blob=body[:room],
    )


def _id(print_: int, visit: int, reason: str) -> str:
    """32 hex digits, as those of items (`crawler.harvest`); no item has this kind."""
    return blake2b(f"{RAW_KIND}\n{print_}\n{visit}\n{reason}".encode(), digest_size=16).hexdigest()
