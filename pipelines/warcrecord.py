"""A raw page as WARC records: WARC/1.1 (ISO 28500:2017), written by warcio. Pure.

    warcinfo   first in each file
    response   or revisit, when the same payload is in the store already
    request    concurrent to it
    metadata   likewise: what the crawl knew of the page

The same message gives the same records, ids included. The body is as it was transferred but for the chunks: as they
are gone, Transfer-Encoding is called X-Crawler-Transfer-Encoding and Content-Length is that of the body here, as
Common Crawl does it. The line breaks of heads are CRLF, whatever the server's were.
"""

from __future__ import annotations

import zlib
from base64 import b32encode
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import sha1
from io import BytesIO
from typing import Final
from uuid import UUID, uuid5

import msgspec

from crawler.model import Message, RawHead
from crawler.version import VERSION

VERSION_LINE: Final = "WARC/1.1"
SAME_PAYLOAD: Final = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
PACKED_LEVEL: Final = 1
"""Compression level for bodies that are compressed already: there is little to gain."""

_IDS: Final = UUID("0c4f6a1e-5f0b-5d0e-9c53-6a2f1d1f7b52")
_FIELDS: Final = "application/warc-fields"
_heads = msgspec.json.Decoder(RawHead)

Headers = list[tuple[str, str]]


class Original(msgspec.Struct, frozen=True):
    """The response that holds a payload."""

    id: str
    url: str
    date: str


class RawPage(msgspec.Struct, frozen=True, kw_only=True):
    """A message, read."""

    message: Message
    head: RawHead
    date: str
    """WARC-Date: when the fetch began."""
    digest: str
    """Of the payload, as WARC names it."""
    response_id: str

    def as_original(self) -> Original:
        return Original(self.response_id, self.message.url, self.date)


def read(message: Message) -> RawPage:
    """Raises ValueError for a message that is no raw page. Cost: one SHA-1 of the body."""
    (record,) = message.records
    head = _heads.decode(record.data)
    began = datetime.fromisoformat(message.fetched_at) - timedelta(seconds=head.seconds)
    date = began.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
    id = _record_id(f"{message.id} response")
    return RawPage(message=message, head=head, date=date, digest=_digest(message.blob), response_id=id)


class Scribe:
    """Writes records, each as a gzip member of its own (Annex D) or plain."""

    def __init__(self, *, gzip: bool, level: int) -> None:
        # Of an extra: who only declares this store's queue does without.
        from warcio.recordloader import ArcWarcRecord
        from warcio.statusandheaders import StatusAndHeaders
        from warcio.warcwriter import WARCWriter

        self._level = level if gzip else -1
        self._buffer = BytesIO()
        self._writer = WARCWriter(self._buffer, gzip=False, warc_version=VERSION_LINE)
        self._headers_of, self._record_of = StatusAndHeaders, ArcWarcRecord

    def info(self, first: RawPage, fields: Mapping[str, str]) -> bytes:
        """A warcinfo record for a file that begins with this page. The file's name is not in it: it may change."""
        agent = next((value for name, value in first.head.request_headers if name.lower() == "user-agent"), "")
        known = {
            "software": f"crawler/{VERSION}",
            "format": "WARC File Format 1.1",
            "conformsTo": "https://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/",
            "robots": "obey" if first.head.robots else "ignore",
            "http-header-user-agent": agent,
            **fields,
        }
        headers = [
            ("WARC-Type", "warcinfo"),
            ("WARC-Record-ID", _record_id(f"{first.message.id} warcinfo")),
            ("WARC-Date", first.date),
        ]
        return self._record(headers, _FIELDS, _fields(known.items()), level=self._level)

    def page(self, page: RawPage, original: Original | None) -> bytes:
        """The records of one page. `original`: the response that has the same payload, if that may be left out."""
        head, message = page.head, page.message
        common = [("WARC-Target-URI", message.url), ("WARC-Date", page.date)]
        if head.address:
            common.append(("WARC-IP-Address", head.address))
        beside = [*common, ("WARC-Concurrent-To", page.response_id)]
        level = PACKED_LEVEL if any(name.lower() == "content-encoding" for name, _ in head.headers) else self._level
        request_headers = [
            ("WARC-Type", "request"),
            ("WARC-Record-ID", _record_id(f"{message.id} request")),
            *beside,
            ("WARC-Payload-Digest", _digest(head.request_body)),
        ]
        metadata = _metadata(page)
        metadata_headers = [
            ("WARC-Type", "metadata"),
            ("WARC-Record-ID", _record_id(f"{message.id} metadata")),
            *beside,
            ("WARC-Payload-Digest", _digest(metadata)),
        ]
        request = "application/http; msgtype=request"
        return b"".join(
            (
                self._response(page, original, common, level),
                self._record(request_headers, request, _request(head), level=self._level),
                self._record(metadata_headers, _FIELDS, metadata, level=self._level),
            )
        )

    def _response(self, page: RawPage, original: Original | None, common: Headers, level: int) -> bytes:
        block = _response_head(page)
        headers = [("WARC-Type", "response"), ("WARC-Record-ID", page.response_id), *common]
        if original is None:
            block += page.message.blob
            if page.head.truncated:
                headers.append(("WARC-Truncated", page.head.truncated))
        else:
            headers[0] = ("WARC-Type", "revisit")
            headers += [
                ("WARC-Profile", SAME_PAYLOAD),
                ("WARC-Refers-To", original.id),
                ("WARC-Refers-To-Target-URI", original.url),
                ("WARC-Refers-To-Date", original.date),
            ]
        headers.append(("WARC-Payload-Digest", page.digest))
        return self._record(headers, "application/http; msgtype=response", block, level=level)

    def _record(self, headers: Headers, content_type: str, block: bytes, *, level: int) -> bytes:
        """warcio adds Content-Type, Content-Length and the block's digest. It gets the block as it is: what it parses
        it would write in its own way."""
        of = self._headers_of("", headers, protocol=VERSION_LINE)
        record = self._record_of("warc", headers[0][1], of, BytesIO(block), None, content_type, len(block))
        self._buffer.seek(0)
        self._buffer.truncate()
        self._writer.write_record(record)
        if self._level < 0:
            return self._buffer.getvalue()
        member = zlib.compressobj(level, zlib.DEFLATED, 31)
        return member.compress(self._buffer.getvalue()) + member.flush()


def _response_head(page: RawPage) -> bytes:
    head, body = page.head, page.message.blob
    lines, chunked = [f"HTTP/{head.version} {head.status} {head.phrase}"], False
    for name, value in head.headers:
        if name.lower() == "transfer-encoding":
            chunked, name = True, f"X-Crawler-{name}"
        lines.append(f"{name}: {value}")
    if chunked and body:
        lines = [line for line in lines if not line.lower().startswith("content-length:")]
        lines.append(f"Content-Length: {len(body)}")
    return _lines(lines).encode("latin-1", "replace")


def _request(head: RawHead) -> bytes:
    lines = [f"{head.method} {head.target} HTTP/1.1", *(f"{name}: {value}" for name, value in head.request_headers)]
    return _lines(lines).encode("utf-8", "replace") + head.request_body


def _metadata(page: RawPage) -> bytes:
    head, message = page.head, page.message
    return _fields(
        (
            ("via", head.via),
            ("depth", str(head.depth)),
            ("fetchTimeMs", str(round(head.seconds * 1000))),
            ("fingerprint", f"{head.fingerprint:016x}"),
            ("visit", str(message.visit)),
            ("spider", message.spider),
        )
    )


def _fields(fields: Iterable[tuple[str, str]]) -> bytes:
    return _lines([f"{name}: {value}" for name, value in fields if value])[:-2].encode("utf-8", "replace")


def _lines(lines: list[str]) -> str:
    """Each on a line, then an empty one. A line break within one would be the end of it for a reader."""
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        text = "\r\n".join(line.replace("\r", " ").replace("\n", " ") for line in lines)
    return text + "\r\n\r\n"


def _digest(data: bytes) -> str:
    if not data:
        return "sha1:3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ"  # of nothing, as most requests have it
    return "sha1:" + b32encode(sha1(data, usedforsecurity=False).digest()).decode("ascii")


def _record_id(text: str) -> str:
    return f"<urn:uuid:{uuid5(_IDS, text)}>"
