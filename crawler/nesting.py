"""How deep the elements of an HTML page stand within each other, told before anything parses it. Pure.

The parsers look through all open elements at many tags, so their time grows with the depth times the tags: 10,000
levels take up to half a second, 100,000 half a minute. Browsers make no more than some hundred (Blink: 512). An exact
look costs as much as a parse, so only pages get it in which the markup of small samples opens much more than it closes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import isqrt
from typing import Final

NESTING_MAX: Final = 5_000
"""A page with more levels is refused."""
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
_VOID: Final = b"area base br col embed hr img input link meta param source track wbr"
_ENDED: Final = (
    b"a body button caption colgroup dd dt h1 h2 h3 h4 h5 h6 head html li nobr optgroup option p rb rp rt rtc tbody td "
    b"tfoot th thead tr"
)
"""They end by themselves where the next one, or what cannot stand in them, begins (HTML standard 13.2.6.4)."""
_FLAT: Final = frozenset((*_VOID.split(), *_ENDED.split()))
_RAW: Final = frozenset({b"script", b"style", b"textarea", b"title", b"xmp", b"iframe", b"noembed", b"noframes"})
"""What stands in these is no markup (13.2.6.2)."""


def too_deep(body: bytes) -> bool:
    """Whether the page may have more than `NESTING_MAX` levels. `body`: in an encoding that has ASCII's bytes for `<`
    and letters; of another one nothing is told. Cost: 2 µs for each 60 KB; where that looks bad, 20 µs for each 60 KB;
    where that does too, 0.2 µs a tag."""
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
    """The most levels, or as soon as there are more than `NESTING_MAX` these. An end without a beginning counts for
    nothing; what an element's end leaves open stays open, though a parser may close it."""
    opened: dict[bytes, int] = {}
    level = most = 0
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
        elif name in _FLAT:
            continue
        elif not ends:
            if not rest.endswith(b"/"):
                opened[name] = opened.get(name, 0) + 1
                level += 1
                if level > most:
                    most = level
                    if most > NESTING_MAX:
                        break
        elif count := opened.get(name, 0):
            opened[name] = count - 1
            level -= 1
    return most
