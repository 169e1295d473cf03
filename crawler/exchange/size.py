"""How large messages are, and how many fit into a consumer's hands."""

from __future__ import annotations

from crawler.model import Message


def size_of(message: Message) -> int:
    """Bytes of what a message carries: its blob and its records' data. Cost: 0.1 µs a record."""
    return len(message.blob) + sum(len(record.data) for record in message.records)


class Room:
    """What is left of a batch's bytes. The first message always fits: one that is larger than a batch goes alone."""

    __slots__ = ("_empty", "_left")

    def __init__(self, bytes_max: int) -> None:
        """`bytes_max`: 0 is no limit."""
        self._left = bytes_max if bytes_max > 0 else float("inf")
        self._empty = True

    def takes(self, size: int) -> bool:
        """Whether one of this size fits behind those that did; then it has its place."""
        if size > self._left and not self._empty:
            return False
        self._left -= size
        self._empty = False
        return True
