"""How many messages the broker may send a consumer ahead: as many as AHEAD_BYTES_MAX has room for.

RabbitMQ counts messages and not bytes (it refuses a `prefetch_size`), so the bytes are an estimate, from the mean size
of what came last. What it does not bound: the first FIRST messages come before anything is known, and when messages
grow, one more prefetch of the old number may come before it is mended; delayed messages are not counted. A fixed
prefetch of 400 would always send 400 raw pages of 16 MB ahead, 6.4 GB.
"""

from __future__ import annotations

from typing import Final

AHEAD_BYTES_MAX: Final = 128_000_000
"""Twice `exchange.batch_bytes_max` as it comes: a batch in the store, and the next one on the way."""
FIRST: Final = 20
"""Messages that are sent ahead before their size is known."""
MEMORY: Final = 50
"""The mean is that of about so many messages."""


class Ahead:
    """Of one consumer. `now`: the number in force."""

    __slots__ = ("_mean", "_most", "now")

    def __init__(self, most: int) -> None:
        """`most`: however small messages are."""
        self._most = most
        self._mean = 0.0
        self.now = min(FIRST, most)

    def came(self, size: int) -> None:
        """A message of so many bytes."""
        mean = self._mean
        self._mean = mean + (size - mean) / MEMORY if mean else float(size)

    def wanted(self) -> int:
        """What the number should be; the one in force, while that is right within a factor of two."""
        fits = max(1, min(self._most, int(AHEAD_BYTES_MAX / max(self._mean, 1.0))))
        if fits < 2 * self.now and fits < self._most and 2 * fits > self.now:
            return self.now
        return fits
