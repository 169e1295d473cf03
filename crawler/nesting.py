"""How deep the elements of an HTML page stand within each other, told before anything parses it. Pure.

The parsers look through all open elements at many tags, so their time grows with the depth times the tags: 10,000
levels take up to half a second, 100,000 half a minute. Browsers make no more than some hundred (Blink: 512). An exact
look costs as much as a parse, so only pages get it in which the markup of small samples opens much more than it closes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from math import isqrt
from typing import Final

NESTING_MAX: Final = 5_000
"""A page with more levels is refused."""
REOPENED_MAX: Final = 500_000
"""A page of 100 KB can have parsers make millions of elements of styles that are never ended, and gigabytes of them."""
STRIDE_BYTES: Final = 1 << 15
SAMPLE_BYTES: Final = 1 << 9
"""So much of each stride is looked at."""

_LEAST_BYTES: Final = 3 * NESTING_MAX
"""A shorter page has no room for so many tags, as `<b>`."""
_SUSPECT: Final = NESTING_MAX // 2 * SAMPLE_BYTES // STRIDE_BYTES
"""Levels in the samples together. Half, because a sample may just miss what is around it."""
_CHANCE: Final = 4
"""Samples cut elements in two: what that leaves open grows with the square root of their number, so many times."""
_TOKEN: Final = re.compile(rb"<(/?)([a-zA-Z][^\s/>]*)([^<>]*)|<!--(?!-?>)|-->")
_VOID: Final = b"area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr"
_ENDED: Final = (
    b"a body button caption colgroup dd dt form h1 h2 h3 h4 h5 h6 head html li nobr optgroup option p rb rp rt rtc "
    b"select tbody td tfoot th thead tr"
)
"""They end by themselves where the next one, or what cannot stand in them, begins (HTML standard 13.2.6.4)."""
_FLAT: Final = frozenset((*_VOID.split(), *_ENDED.split()))
_ROWS: Final = {
    b"td": (b"tr", b"tbody", b"thead", b"tfoot", b"table"),
    b"th": (b"tr", b"tbody", b"thead", b"tfoot", b"table"),
    b"tr": (b"tbody", b"thead", b"tfoot", b"table"),
    **dict.fromkeys((b"tbody", b"thead", b"tfoot", b"caption"), (b"table",)),
}
"""In a table, they end all that is open in what they stand in."""
_CELLS: Final = frozenset({b"td", b"th", b"caption"})
_ITEMS: Final = {b"li": (b"li",), b"dd": (b"dd", b"dt"), b"dt": (b"dd", b"dt")}
"""What they end."""
_WEAK: Final = frozenset({b"address", b"div", b"p"})
_BLOCKS: Final = frozenset(
    b"article aside blockquote center details dialog dir dl fieldset figcaption figure footer header hgroup main menu "
    b"nav ol pre section summary table ul".split()
)
"""With those above, what ends all that is open in it, and lets the end of nothing else out. Most end a paragraph."""
_STYLES: Final = frozenset(b"b big code em font i s small strike strong tt u".split())
"""What a block ended of them begins again behind it, but no more than three alike (13.2.4.3)."""
_ALIKE_MAX: Final = 3
_ALL: Final = _BLOCKS | _WEAK | _ITEMS.keys() | _ROWS.keys()
_END_P: Final = (_ALL - _ROWS.keys()) | {b"h1", b"h2", b"h3", b"h4", b"h5", b"h6", b"hr"}
_P: Final = (b"p",)
_SCOPE: Final = (b"table", b"td", b"th", b"caption")
_RAW: Final = frozenset({b"script", b"style", b"textarea", b"title", b"xmp", b"iframe", b"noembed", b"noframes"})
"""What stands in these is no markup (13.2.6.2)."""


def too_deep(body: bytes) -> bool:
    """Whether the page may have more than `NESTING_MAX` levels. `body`: in an encoding that has ASCII's bytes for `<`
    and letters; of another one nothing is told. Cost: 2 µs for each 60 KB; where that looks bad, 20 µs for each 60 KB;
    where that does too, 2 µs a tag."""
    if len(body) < _LEAST_BYTES:
        return False
    suspect = _SUSPECT + _CHANCE * isqrt(len(body) // STRIDE_BYTES)
    return _sampled(body, _opened) > suspect and _sampled(body, _nested) > suspect and _deepest(body) > NESTING_MAX


def _sampled(body: bytes, surplus: Callable[[bytes], int]) -> int:
    """The most levels that the samples up to any place leave open."""
    level = most = 0
    for at in range(0, len(body), STRIDE_BYTES):
        level += surplus(body[at : at + SAMPLE_BYTES])
        most = max(most, level)
    return most


def _opened(sample: bytes) -> int:
    """Tags that begin an element, less those that end one; void elements and the like count too."""
    return sample.count(b"<") - 2 * sample.count(b"</")


def _nested(sample: bytes) -> int:
    """The same of elements that stay open until they are ended."""
    level = 0
    for ends, name, rest in _TOKEN.findall(sample):
        if name and name.lower() not in _FLAT:
            level += -1 if ends else not rest.endswith(b"/")
    return level


def _deepest(body: bytes) -> int:
    """The most levels, or as soon as there are more than `NESTING_MAX` these, as also where more than `REOPENED_MAX`
    styles begin again. An end without a beginning counts for nothing."""
    tree = _Tree()
    most = 0
    raw = b""
    for found in _TOKEN.finditer(body):
        ends, name, rest = found.groups()
        if name is None:
            raw = b"" if found[0] == b"-->" and raw == b"-->" else raw or (b"-->" if found[0] == b"<!--" else b"")
            continue
        name = name.lower()
        if raw:
            raw = b"" if ends and name == raw else raw
        elif name in _RAW:
            raw = b"" if ends else name
        elif ends:
            tree.end(name)
        elif not rest.endswith(b"/") or name in _FLAT:
            tree.begin(name, rest)
            if tree.level > most:
                most = tree.level
                if most > NESTING_MAX:
                    break
            if tree.reopened > REOPENED_MAX:
                return NESTING_MAX + 1
    return most


class _Tree:
    """The open elements, about as a parser has them (13.2.6.4.7 and the modes of tables). Cost of a tag: constant, with
    what it ends."""

    def __init__(self) -> None:
        self.level = 0
        """Those but the flat ones, and what begins again."""
        self.reopened = 0
        """How many have begun again."""
        self._open: list[tuple[bytes, bytes]] = []
        """Name and attributes; no name: it was taken out from below others."""
        self._places: dict[bytes, list[int]] = {}
        """Of each name, in `_open`."""
        self._blocks: list[int] = []
        """Places of all blocks, and below of those but the weak ones."""
        self._strong: list[int] = []
        self._again: list[dict[tuple[bytes, bytes], int]] = [{}]
        """How many of each style begin again: in each open cell, and outside."""

    def begin(self, name: bytes, rest: bytes) -> None:
        if above := _ROWS.get(name):
            if not self._places.get(b"table"):
                return
            self._cut(self._last(above) + 1)
        elif items := _ITEMS.get(name):
            at = self._last(items)
            if at >= 0 and at >= (self._strong[-1] if self._strong else 0):
                self._cut(at)
        elif name == b"table" and (at := self._last((name,))) > self._last(_CELLS):
            self._cut(at)
        if name in _END_P and (at := self._last(_P)) > self._last(_SCOPE):
            self._cut(at)
        flat, block = name in _FLAT, name in _ALL
        if flat and not block:
            return
        if not block and self._again[-1]:
            self._reopen()
        self._push(name, rest)
        self.level += not flat
        if block:
            self._blocks.append(len(self._open) - 1)
            if name not in _WEAK:
                self._strong.append(len(self._open) - 1)
        if name in _CELLS:
            self._again.append({})

    def end(self, name: bytes) -> None:
        at = self._last((name,))
        if at < 0:
            self._forget(name)
        elif name in _ROWS:
            if at > self._last((b"table",)):
                self._cut(at)
        elif at == (self._blocks[-1] if self._blocks else -1) or name == b"table":
            self._cut(at)
        elif name in _ALL:
            if at > self._last(_SCOPE if name != b"li" else (*_SCOPE, b"ul", b"ol")):
                self._cut(at)
        elif not self._blocks or at > self._blocks[-1]:
            self._cut(at)
            self._forget(name)
        elif name in _STYLES and at > self._last(_SCOPE):  # 13.2.6.4.7, the adoption agency algorithm
            self._open[at] = b"", b""
            self._places[name].pop()
            self.level -= 1

    def _last(self, names: Iterable[bytes]) -> int:
        """Place of the innermost of these; -1: none is open."""
        last = -1
        for name in names:
            places = self._places.get(name)
            if places and places[-1] > last:
                last = places[-1]
        return last

    def _push(self, name: bytes, rest: bytes) -> None:
        self._places.setdefault(name, []).append(len(self._open))
        self._open.append((name, rest))

    def _reopen(self) -> None:
        """Styles begin again: "reconstruct the active formatting elements"."""
        again = self._again[-1]
        for key, count in again.items():
            for _ in range(count):
                self._push(*key)
            self.reopened += count
        again.clear()

    def _forget(self, name: bytes) -> None:
        """A style that would begin again is ended."""
        again = self._again[-1]
        if name in _STYLES and (key := next((key for key in reversed(again) if key[0] == name), None)):
            again[key] -= 1
            self.level -= 1
            if not again[key]:
                del again[key]

    def _cut(self, at: int) -> None:
        """All from this place on ends."""
        again = self._again
        while len(self._open) > at:
            key = name, _ = self._open.pop()
            if not name:
                continue
            self._places[name].pop()
            self.level -= name not in _FLAT
            if name in _CELLS:
                self.level -= sum(again.pop().values())
            elif name in _STYLES and (count := again[-1].get(key, 0)) < _ALIKE_MAX:
                again[-1][key] = count + 1
                self.level += 1
        for places in (self._blocks, self._strong):
            while places and places[-1] >= at:
                places.pop()
