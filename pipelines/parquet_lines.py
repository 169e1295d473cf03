"""Items as lines of JSON in a Parquet store's spool: written, and read again. What could fail when a file is made of
them fails here, while their messages can still be refused. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from crawler.error import Reject
from crawler.model import Message

REASON_CHARS_MAX: Final = 300

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


class _Line(msgspec.Struct):
    """An item in the spool, written."""

    id: str
    kind: str
    url: str
    fetched_at: str
    spider: str
    data: msgspec.Raw


class Row(msgspec.Struct):
    """The same, read."""

    id: str
    kind: str
    url: str
    fetched_at: str
    spider: str
    data: dict[str, Any]


_encode_lines = msgspec.json.Encoder().encode_lines
read = msgspec.json.Decoder(Row).decode_lines
"""Rows of whole lines."""


def lines(messages: Sequence[Message]) -> tuple[bytes, list[Row]]:
    """As they stand in the spool, and as they will be read. Raises Reject with all messages of the first reason."""
    try:
        return _lines(messages)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise _refusal(messages) from None


def _lines(messages: Sequence[Message]) -> tuple[bytes, list[Row]]:
    found = []
    for message in messages:
        for record in message.records:
            data = record.data
            if b"\n" in bytes(data):  # between JSON tokens, by a foreign publisher
                data = msgspec.Raw(msgspec.json.format(bytes(data), indent=-1))
            found.append(_Line(record.id, message.kind, message.url, message.fetched_at, message.spider, data))
    times(message.fetched_at for message in messages)
    text = _encode_lines(found)
    return text, read(text)


def _refusal(messages: Sequence[Message]) -> Reject:
    """The messages of the first reason."""
    refused: dict[str, set[str]] = {}
    for message in messages:
        try:
            times([message.fetched_at])
        except ValueError:
            refused.setdefault("fetched_at is no time (RFC 3339)", set()).add(message.id)
            continue
        try:
            _lines([message])
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            refused.setdefault(f"the data is no JSON object: {error}"[:REASON_CHARS_MAX], set()).add(message.id)
    reason, ids = next(iter(refused.items()))
    return Reject(reason, frozenset(ids))


def times(texts: Iterable[str]) -> list[int]:
    """Milliseconds since 1970. Raises ValueError. Not by pyarrow's own parser, which takes 60 ms to get ready."""
    return [(_parsed(text) - _EPOCH) // _MS for text in texts]


def _parsed(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return time
