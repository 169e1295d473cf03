"""Near-duplicates: pages whose text is nearly that of another page of their host. Pure.

A simhash (Charikar 2002; for web pages Manku, Jain and Das Sarma 2007) has 64 bits, of which few differ between texts
that share most of their shingles, here three words in a row. Texts within 3 bits agree in one of four blocks of 16 bits
at least, so a look into four tables finds them.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import Final

WORDS_MIN: Final = 16
"""Shorter texts have no simhash: they would all be like each other."""
WORDS_MAX: Final = 2_000
"""So many words of a text count."""
CHARS_MAX: Final = 100_000
BITS_MAX: Final = 3
CACHE_MAX: Final = 50_000
"""Words whose hashes are remembered: about 8 MB."""

_LONG_WORD: Final = 20
"""Characters of a word, on average, beyond which the text has no words."""
_BLOCK: Final = 255
"""Hashes that are counted together: a count fits in one byte."""
_ONES: Final = int.from_bytes(b"\x01" * 8 * 256)


class _Hashes(dict[str, bytes]):
    """Word -> its hash; the same in every process, so that simhashes can be kept."""

    def __missing__(self, word: str) -> bytes:
        if len(self) >= CACHE_MAX:
            self.clear()
        found = self[word] = blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return found


_hashes: Final = _Hashes()


def simhash(text: str) -> int:
    """Of a text's words, as a signed integer; 0 for a text that is too short. Cost: about 0.5 µs a word."""
    words = _words(text[:CHARS_MAX])
    if len(words) < WORDS_MIN:
        return 0
    shingles = _shingles(b"".join(map(_hashes.__getitem__, words)), len(words))
    counts = [0] * 64
    total = len(words) - 2
    for start in range(0, total, _BLOCK):
        _count(shingles[start * 8 : (start + _BLOCK) * 8], counts)
    bits = sum(1 << bit for bit, count in enumerate(counts) if 2 * count > total)
    return int.from_bytes(bits.to_bytes(8), signed=True) or 1


def _words(text: str) -> list[str]:
    """What stands between spaces; of a text without them (Chinese, Japanese, Thai) each character."""
    words = text.lower().split()
    if len(text) > _LONG_WORD * len(words):
        words = list("".join(words))
    return words[:WORDS_MAX]


def distance(one: int, other: int) -> int:
    """In how many bits they differ."""
    return ((one ^ other) & 0xFFFF_FFFF_FFFF_FFFF).bit_count()


class Similar:
    """The pages that a worker saw, by host. Not thread-safe. About 1 KB a page."""

    def __init__(self, *, bits: int, pages_max: int) -> None:
        """`bits`: largest distance of a near-duplicate, at most `BITS_MAX`; `pages_max`: the oldest are forgotten."""
        self._bits = min(bits, BITS_MAX)
        self._pages_max = pages_max
        self._tables: dict[tuple[str, int, int], list[tuple[int, str]]] = {}
        self._order: deque[tuple[str, int, str]] = deque()

    def near(self, host: str, hash_: int, url: str) -> str:
        """URL of an earlier page of the host whose text is nearly the same; empty when there is none, and then this one
        is remembered. `hash_`: the page's simhash, not 0. Cost: 3 µs, and 0.2 µs for each page in its blocks."""
        keys = _keys(host, hash_)
        known = False
        for key in keys:
            for other, where in self._tables.get(key, ()):
                if distance(hash_, other) <= self._bits:
                    if where != url:
                        return where
                    known = known or other == hash_
        if not known:
            self._remember(keys, host, hash_, url)
        return ""

    def _remember(self, keys: list[tuple[str, int, int]], host: str, hash_: int, url: str) -> None:
        if len(self._order) >= self._pages_max:
            self._forget(*self._order.popleft())
        self._order.append((host, hash_, url))
        for key in keys:
            self._tables.setdefault(key, []).append((hash_, url))

    def _forget(self, host: str, hash_: int, url: str) -> None:
        for key in _keys(host, hash_):
            row = self._tables[key]
            row.remove((hash_, url))
            if not row:
                del self._tables[key]


def _keys(host: str, hash_: int) -> list[tuple[str, int, int]]:
    return [(host, block, (hash_ >> 16 * block) & 0xFFFF) for block in range(4)]


def _shingles(hashes: bytes, count: int) -> bytes:
    """One hash for each three words in a row: the three xored, two of them turned, so that their order counts. All at
    once, as lanes of one long number."""
    words = int.from_bytes(hashes)
    lanes = (1 << 64 * count) - 1
    second, third = (words << 64) & lanes, (words << 128) & lanes
    mixed = words ^ _turned(second, 21, count) ^ _turned(third, 42, count)
    return mixed.to_bytes(8 * count)[: 8 * (count - 2)]


def _turned(lanes: int, by: int, count: int) -> int:
    """Each lane of 64 bits rotated to the left."""
    low = int.from_bytes(((1 << 64 - by) - 1).to_bytes(8) * count)
    high = int.from_bytes((((1 << by) - 1) << 64 - by).to_bytes(8) * count)
    return (lanes & low) << by | (lanes & high) >> 64 - by


def _count(hashes: bytes, counts: list[int]) -> None:
    """Add how many of at most `_BLOCK` hashes have each bit: bit by bit of all bytes at once, halves added together
    until the counts of eight bytes are left."""
    value = int.from_bytes(hashes)
    lanes = 1
    while lanes * 8 < len(hashes):
        lanes *= 2
    for bit in range(8):
        found = value >> bit & _ONES
        half = lanes
        while half > 1:
            half //= 2
            found = (found & (1 << 64 * half) - 1) + (found >> 64 * half)
        for place, one in enumerate(found.to_bytes(8, "little")):
            counts[8 * place + bit] += one
