"""Items as JSON lines (jsonlines.org): one object a line, UTF-8, `\\n` at the end.

{"id":"…","kind":"quote","url":"https://…","fetched_at":"2026-01-31T12:00:00.000Z","spider":"quotes","data":{…}}
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from crawler.model import Message
from pipelines.segment import Segment

_encode = msgspec.json.Encoder().encode


class JsonLines:
    """`path`: the file, with `<path>.index` beside it. `fsync`: survive a power loss too, for a disk flush a batch."""

    writers = 1

    def __init__(self, *, path: str, fsync: bool = False) -> None:
        """Raises SettingsError when file and index do not belong together or cannot be written; Unavailable."""
        self._segment = Segment(path, fsync=fsync)

    def store(self, messages: Sequence[Message]) -> None:
        """Cost: about 15 µs a message of one 1 KB item. Raises Unavailable when the disk is full."""
        self._segment.append(messages, _lines)

    def close(self) -> None:
        self._segment.close()


def _lines(messages: Sequence[Message]) -> bytes:
    """The items' data goes in as it is: it is JSON text already."""
    parts: list[bytes] = []
    for message in messages:
        head = b',"kind":%b,"url":%b,"fetched_at":%b,"spider":%b,"data":' % (
            _encode(message.kind),
            _encode(message.url),
            _encode(message.fetched_at),
            _encode(message.spider),
        )
        for record in message.records:
            data = bytes(record.data)
            if b"\n" in data or b"\r" in data:  # line breaks between JSON tokens, by a foreign publisher
                data = msgspec.json.format(data, indent=-1)
            parts += (b'{"id":', _encode(record.id), head, data, b"}\n")
    return b"".join(parts)
