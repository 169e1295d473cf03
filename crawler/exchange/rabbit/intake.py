"""pika's connection, with a short way for what arrives by the thousand: a message as a worker published it.

pika makes three frames of each delivery, objects of each, copies what is left of its buffer three times, and looks for
callbacks by name: two thirds of what a message costs a consumer. Here a delivery that lies whole in the buffer is read
where it lies. Everything else goes pika's own way, frame by frame: other methods, a delivery that the buffer's end cuts
or that has several bodies, other properties than `posting.properties` gives, a consumer that is cancelled or no Taker.

pika's internals are used: with a version that was not looked at, `connection_class` is pika's own class.

Source: AMQP 0-9-1 §4.2 (frames), §4.2.6 (content), §1.8.3.9 (basic.deliver).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

import pika  # type: ignore[import-untyped]
from pika import frame
from pika.adapters.asyncio_connection import AsyncioConnection  # type: ignore[import-untyped]

from crawler.exchange.rabbit.posting import NUMBER_MAX, Card, Source, card_of

LOOKED_AT: Final = frozenset({"1.4.4"})
"""Versions of pika whose reading is as this module takes it to be."""

_DELIVER: Final = 0x003C003C
_BASIC: Final = 0x003C
_FLAGS: Final = 0xB0E0
"""Content type, headers, delivery mode, message id, timestamp, type: no more, no less."""
_NUMBER: Final = b"\x00\x00\x00\x10\x06numberl"
"""A table of 16 bytes that holds one number, of 64 bits."""
_END: Final = 0xCE
_FRAME: Final = struct.Struct(">BHI")
_METHOD: Final = struct.Struct(">BHIIB")
"""Kind, channel, size, method, length of the consumer tag."""
_GIVEN: Final = struct.Struct(">QB")
"""Delivery tag, redelivered."""
_HEADER: Final = struct.Struct(">BBHIHHQHB")
"""End of the frame before, kind, channel, size, class, weight, body's size, flags, length of the content type."""
_TABLE: Final = struct.Struct(">12sqBB")
"""Head of the headers, number, delivery mode, length of the message id."""
_TIME: Final = struct.Struct(">QB")
"""Timestamp, length of the type."""
_BODY: Final = struct.Struct(">BBHI")
"""End of the frame before, kind, channel, size."""
_FRAMES: Final = (frame.spec.FRAME_METHOD, frame.spec.FRAME_HEADER, frame.spec.FRAME_BODY, frame.spec.FRAME_HEARTBEAT)


class Taker:
    """A consumer's callback: it gets cards, by pika's way or the short one."""

    __slots__ = ("source", "take")

    def __init__(self, take: Callable[[Card], None], source: Source) -> None:
        self.take = take
        self.source = source

    def __call__(self, raw: Any, method: Any, properties: Any, body: bytes) -> None:
        self.take(card_of(method, properties, body, self.source, 0))


def delivery(buffer: bytes, at: int, channels: dict[int, Any]) -> tuple[int, Taker, Card] | None:
    """The delivery that begins at `at`: where it ends, who takes it, and what it is. None: it goes pika's way."""
    try:
        kind, number, size, method, length = _METHOD.unpack_from(buffer, at)
        if kind != 1 or method != _DELIVER:
            return None
        here = at + 12 + length
        name = buffer[at + 12 : here].decode()
        tag, bits = _GIVEN.unpack_from(buffer, here)
        here += 10 + buffer[here + 9]
        here += 1 + buffer[here]
        if here != at + 7 + size:
            return None
        end, kind, channel, size, cls, _, length, flags, skip = _HEADER.unpack_from(buffer, here)
        if end != _END or kind != 2 or channel != number or cls != _BASIC or flags != _FLAGS or not length:
            return None
        last = here + 8 + size
        here += 23 + skip
        table, order, _, skip = _TABLE.unpack_from(buffer, here)
        if table != _NUMBER or not skip or not 0 < order <= NUMBER_MAX:
            return None
        here += 22
        id = buffer[here : here + skip].decode()
        here += skip
        skip = buffer[here + 8]
        typed = buffer[here + 9 : here + 9 + skip].decode()
        if here + 9 + skip != last:
            return None
        end, kind, channel, size = _BODY.unpack_from(buffer, last)
        start = last + 8
        last = start + length
        if end != _END or kind != 3 or channel != number or size != length or buffer[last] != _END:
            return None
    except (struct.error, IndexError, UnicodeDecodeError):
        return None
    raw = channels.get(number)
    if raw is None or name in raw._cancelled or raw._content_assembler._method_frame is not None:
        return None
    taker = raw._consumers.get(name)
    if type(taker) is not Taker:
        return None
    card = Card(order, id, tag, taker.source, redelivered=bits & 1 == 1, kind=typed, body=buffer[start:last])
    return last + 1, taker, card


class Connection(AsyncioConnection):  # type: ignore[misc]
    """pika's, but for how it reads."""

    _frame_buffer: bytes

    def _on_data_available(self, data_in: bytes) -> None:
        """As pika's: a callback sees all that came before it counted, and what raises is left out of the buffer."""
        buffer = self._frame_buffer + data_in if self._frame_buffer else data_in
        self._frame_buffer = buffer  # pika puts another one there when it begins anew: then the rest is nobody's
        at, size = 0, len(buffer)
        try:
            while at + 7 < size and self._frame_buffer is buffer:
                found = delivery(buffer, at, self._channels)
                if found is not None:
                    end, taker, card = found
                    self.bytes_received += end - at
                    self.frames_received += 3
                    at = end
                    taker.take(card)
                    continue
                kind, _, length = _FRAME.unpack_from(buffer, at)
                if kind not in _FRAMES:
                    self._frame_buffer = buffer[at:]
                    super()._on_data_available(b"")
                    break
                end = at + length + 8
                if end > size:
                    break
                _, told = frame.decode_frame(buffer[at:end])
                self.bytes_received += end - at
                at = end
                self._process_frame(told)
        finally:
            if self._frame_buffer is buffer:
                self._frame_buffer = buffer[at:]


def class_of(version: str) -> Any:
    """The class of connection for a version of pika."""
    return Connection if version in LOOKED_AT else AsyncioConnection


connection_class: Final = class_of(pika.__version__)
READ_BYTES: Final = 262_144 if connection_class is Connection else 16_384
"""At a time, for pika's 4 KB are a system call for every third message. Its own class moves what is left of the buffer
with each frame."""
