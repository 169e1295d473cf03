"""What a body is, by its first bytes and what the server says (https://mimesniff.spec.whatwg.org, §7). Pure.

The server is believed but where the standard does not: no type at all, text/plain as old Apaches send it for whatever
they do not know, and feeds sent as HTML. `loose` goes further and believes text/plain and application/octet-stream in
nothing, which browsers must not, because a page could then be run as what it is not; a crawler runs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Container
from functools import cache
from typing import Final, Literal

import msgspec

from crawler.response import Response, essence

HEAD_BYTES: Final = 1_445
"""So much is looked at (§5.2)."""

_UNKNOWN: Final = frozenset({"", "unknown/unknown", "application/unknown", "*/*"})
_LOOSE: Final = frozenset({"text/plain", "application/octet-stream", "binary/octet-stream"})
_APACHE: Final = frozenset(
    {
        "text/plain",
        "text/plain; charset=ISO-8859-1",
        "text/plain; charset=iso-8859-1",
        "text/plain; charset=UTF-8",
    }
)
"""§5.1: exactly these."""

_BINARY: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_TEXT_MARKS: Final = (b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf")
_SCRIPTABLE: Final = re.compile(
    rb"[\t\n\x0c\r ]*(?:(?P<html><(?:!DOCTYPE HTML|HTML|HEAD|SCRIPT|IFRAME|H1|DIV|FONT|TABLE|A|STYLE|TITLE|BODY|BR|B|P"
    rb"|!--)[ >])|(?P<xml><\?xml))",
    re.IGNORECASE,
)
_MAGIC: Final = (
    (rb"%PDF-", "application/pdf"),
    (rb"%!PS-Adobe-", "application/postscript"),
    (rb"\xfe\xff..|\xff\xfe..|\xef\xbb\xbf.", "text/plain"),
    (rb"\x89PNG\r\n\x1a\n", "image/png"),
    (rb"GIF8[79]a", "image/gif"),
    (rb"\xff\xd8\xff", "image/jpeg"),
    (rb"RIFF....WEBPVP", "image/webp"),
    (rb"BM", "image/bmp"),
    (rb"\x00\x00[\x01\x02]\x00", "image/x-icon"),
    (rb"FORM....AIFF", "audio/aiff"),
    (rb"ID3", "audio/mpeg"),
    (rb"OggS\x00", "application/ogg"),
    (rb"MThd\x00\x00\x00\x06", "audio/midi"),
    (rb"RIFF....AVI ", "video/avi"),
    (rb"RIFF....WAVE", "audio/wave"),
    (rb"....ftypmp4|....ftyp.{4,60}?mp4", "video/mp4"),
    (rb"\x1a\x45\xdf\xa3.{0,40}\x42\x82.{1,8}?webm", "video/webm"),
    (rb"\x1f\x8b\x08", "application/x-gzip"),
    (rb"PK\x03\x04", "application/zip"),
    (rb"Rar \x1a\x07\x00", "application/x-rar-compressed"),
)
_FEED: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?(?>[\t\n\x0c\r ]|<!--.*?-->|<!(?!--).*?>|<\?.*?\?>)*+"
    rb"<(?:(?P<rss>rss)|(?P<atom>feed)|(?P<rdf>rdf:RDF))",
    re.DOTALL,
)
_RDF_NAMES: Final = (b"http://purl.org/rss/1.0/", b"http://www.w3.org/1999/02/22-rdf-syntax-ns#")

Mode = Literal["off", "standard", "loose"]


def seen_as(response: Response, mode: Mode, wanted: Container[str]) -> Response:
    """The response with the type that its body has, where that is another one than the server says; without its body,
    and `skipped`, if it then is of none of the types `wanted` (empty: all). Feeds are kept. Cost: 1 µs."""
    supplied = response.headers.get("Content-Type", "")
    nosniff = "nosniff" in response.headers.get("X-Content-Type-Options", "").lower()
    found = sniffed(response.body, supplied, nosniff=nosniff, mode=mode)
    if found == essence(supplied):
        return response
    if not wanted or found in wanted or found.endswith("+xml"):
        return msgspec.structs.replace(response, media_type=found)
    return msgspec.structs.replace(response, media_type=found, skipped="content_type", body=b"")


def worth_reading(supplied: str, options: str | None, mode: Mode) -> bool:
    """Whether a body of a type that nobody wants may be one that is wanted. `options`: X-Content-Type-Options."""
    said = essence(supplied)
    if said in _UNKNOWN or "/" not in said:
        return mode != "off"
    return mode == "loose" and said in _LOOSE and "nosniff" not in (options or "").lower()


def sniffed(body: bytes, supplied: str, *, nosniff: bool = False, mode: Mode = "standard") -> str:
    """The computed type, without parameters, of a body with the Content-Type header `supplied` ("": there is none)."""
    if body[:15].lower() == b"<!doctype html>" and supplied.startswith(("text/html;", "text/html ")):
        return "text/html"  # the usual page, at once
    said = essence(supplied)
    if mode == "off":
        return said
    head = body[:HEAD_BYTES]
    if said in _UNKNOWN or "/" not in said:
        return unknown(head, scriptable=not nosniff)
    if nosniff:
        return said
    if mode == "loose" and said in _LOOSE:
        found = unknown(head, scriptable=True)
        return said if found == "text/plain" else found
    if supplied in _APACHE:
        return said if _is_text(head) else "application/octet-stream"
    if said == "text/html":
        return _feed_or_html(head)
    return said


def unknown(head: bytes, *, scriptable: bool) -> str:
    """§7.1, the rules for identifying an unknown MIME type. `scriptable`: HTML, XML and PDF may be found too."""
    if scriptable and (found := _SCRIPTABLE.match(head)):
        return "text/html" if found.lastgroup == "html" else "text/xml"
    for pattern, kind in _patterns():
        if pattern.match(head) and (scriptable or kind != "application/pdf"):
            return kind
    return "application/octet-stream" if _BINARY.search(head) else "text/plain"


@cache
def _patterns() -> tuple[tuple[re.Pattern[bytes], str], ...]:
    """Compiled when the first body without a type comes: most crawls meet none."""
    return tuple((re.compile(pattern, re.DOTALL), kind) for pattern, kind in _MAGIC)


def _is_text(head: bytes) -> bool:
    """§7.2, the rules for distinguishing if a resource is text or binary."""
    return head.startswith(_TEXT_MARKS) or not _BINARY.search(head)


def _feed_or_html(head: bytes) -> str:
    """§7.3, the rules for distinguishing if a resource is a feed or HTML."""
    found = _FEED.match(head)
    if found is None:
        return "text/html"
    if found.lastgroup == "atom":
        return "application/atom+xml"
    if found.lastgroup == "rss" or all(name in head for name in _RDF_NAMES):
        return "application/rss+xml"
    return "text/html"
