"""Values as bytes and back: JSON with its version in front, checked on receipt (types, ranges). No wire carries code.

    {"v":1,"url":"https://example.com/","depth":2}

A message with a blob (a raw page) is a frame instead: the byte 1, the length of the JSON as 4 bytes, most significant
first, the JSON, and the blob to the end.

Fields at their default are left out. Readers ignore fields that they do not know, so a field with a default may be
added within a version; any other change is a new version, and another version is refused with BadRecord.
"""

from __future__ import annotations

import struct
from typing import Final, TypeVar

import msgspec

from crawler.error import BadRecord
from crawler.model import PRIORITY_MAX, Message, Request

VERSION: Final = 1

_HEAD: Final = b'{"v":%d,' % VERSION
_FRAME: Final = struct.Struct(">BI")
_FRAMED: Final = 1
_encoder = msgspec.json.Encoder()
_requests = msgspec.json.Decoder(Request)
_messages = msgspec.json.Decoder(Message)

DAMAGED: Final = "damaged_record"
"""Reason of what is buried because its record cannot be decoded."""

T = TypeVar("T")


def encode_request(request: Request) -> bytes:
    """Raises TypeError or ValueError when `meta` holds what JSON cannot. Cost: under 1 µs."""
    return _HEAD + _encoder.encode(request)[1:]


def decode_request(data: bytes) -> Request:
    """Raises BadRecord. Cost: 1 µs."""
    request = _decode(_requests, data)
    if not request.url.startswith(("http://", "https://")) or "/" not in request.url[8:]:
        raise BadRecord(f"not a canonical URL: {request.url[:200]!r}")
    if not 0 <= request.priority <= PRIORITY_MAX:
        raise BadRecord(f"priority {request.priority} is not 0 to {PRIORITY_MAX}: {request.url[:200]}")
    if request.depth < 0 or request.visit < 0 or request.not_before_ms < 0:
        raise BadRecord(f"negative number in request: {request.url[:200]}")
    return request


def encode_message(message: Message) -> bytes:
    """The records' data goes in as it is. Cost: a copy."""
    if not message.blob:
        return _HEAD + _encoder.encode(message)[1:]
    head = _HEAD + _encoder.encode(msgspec.structs.replace(message, blob=b""))[1:]
    return b"".join((_FRAME.pack(_FRAMED, len(head)), head, message.blob))


def decode_message(data: bytes) -> Message:
    """Raises BadRecord. The records' data stays JSON text."""
    if not isinstance(data, bytes) or data[:1] != b"\x01":
        return _decode(_messages, data)
    start = _FRAME.size
    length = _FRAME.unpack_from(data)[1] if len(data) >= start else 0
    if start + length > len(data):
        raise BadRecord(f"a frame that is cut short: {data[:40]!r}")
    message = _decode(_messages, data[start : start + length])
    return msgspec.structs.replace(message, blob=data[start + length :])


def _decode(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    # A store that somebody wrote into by hand may give a text.
    if not isinstance(data, bytes) or not data.startswith(_HEAD):
        raise BadRecord(f"not a record of version {VERSION}: {data[:40]!r}")
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadRecord(f"{error}: {data[:80]!r}") from None
