"""Items as JSON lines (jsonlines.org): one object a line, UTF-8, `\\n` at the end.

{"id":"…","kind":"quote","url":"https://…","fetched_at":"2026-01-31T12:00:00.000Z","spider":"quotes","data":{…}}
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from crawler.model import Message
from pipelines.segment import Segment
from pipelines.shelf import File

_encode = msgspec.json.Encoder().encode


class JsonLines:
    """`path`: the file, with `<path>.index` beside it; its name may have `{kind}` and `{date}`, for a file each.
    `compression`: `gz`, `zst`, `none`, or `auto`, as the path ends. `rotate_bytes`, `rotate_s`: a file of that size or
    age is put away under a number before the next batch; 0: never. `fsync`: survive a power loss too, for a disk flush
    a batch."""

    writers = 1

    def __init__(
        self,
        *,
        path: str,
        compression: str = "auto",
        rotate_bytes: int = 0,
        rotate_s: float = 0.0,
        fsync: bool = False,
    ) -> None:
        """Raises SettingsError when file and index do not belong together or cannot be written; Unavailable."""
        self._segment = Segment(
            path, fsync=fsync, rotate_bytes=rotate_bytes, rotate_s=rotate_s, compression=compression
        )

    def store(self, messages: Sequence[Message]) -> None:
        """Cost: about 15 µs a message of one 1 KB item. Raises Unavailable when the disk is full."""
        self._segment.append(messages, _lines)

    def close(self) -> None:
        self._segment.close()


def _lines(messages: Sequence[Message], file: File) -> bytes:
    lines = objects(messages)
    return b"\n".join((*lines, b"")) if lines else b""


def objects(messages: Sequence[Message]) -> list[bytes]:
    """Each item as a JSON object on one line. The items' data goes in as it is: it is JSON text already."""
    found: list[bytes] = []
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
            found.append(b'{"id":%b%b%b}' % (_encode(record.id), head, data))
    return found
