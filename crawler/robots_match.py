"""Which rule of a robots.txt decides about a path (RFC 9309 §2.2.2, §2.2.3). Pure; linear in pattern and path.

Both are compared octet by octet in one form: percent-encodings of unreserved characters decoded, all others in upper
case, octets that may not stand in a URL encoded. `*` and `$` stand for themselves where they are encoded.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final, NamedTuple

_ODD: Final = re.compile(r"%[0-9A-Fa-f]{2}|[^!#$&'()*+,/:;=?@\[\]A-Za-z0-9._~-]")
"""An encoded octet, or what is not written as it is: neither reserved nor unreserved in RFC 3986 §2."""
_DECODED: Final = {f"%{ord(char):02X}": char for char in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"}
_DECODED.update({f"%{ord(char):02X}": char for char in "0123456789-._~*$"})


class Rule(NamedTuple):
    """An allow or disallow line."""

    allow: bool
    pattern: str
    """As written."""
    line: int
    """From 1; 0: no line of the file."""

    def __str__(self) -> str:
        return f"line {self.line}: {'Allow' if self.allow else 'Disallow'}: {self.pattern}" if self.line else "no rule"


class _Wild(NamedTuple):
    """A pattern with `*`, or `$` at its end."""

    octets: int
    pieces: tuple[str, ...]
    """What stands between the stars; the first one begins the path."""
    whole: bool
    """It ends with `$`: the last piece ends the path."""
    rule: Rule

    def matches(self, path: str) -> bool:
        """Each piece where it first fits: what fits later fits here too."""
        pieces = self.pieces
        if not path.startswith(pieces[0]):
            return False
        at = len(pieces[0])
        if len(pieces) == 1:
            return not self.whole or at == len(path)
        for piece in pieces[1:-1]:
            at = path.find(piece, at)
            if at < 0:
                return False
            at += len(piece)
        last = pieces[-1]
        return (len(path) - len(last) >= at and path.endswith(last)) if self.whole else path.find(last, at) >= 0


class Matcher:
    """The rules for one agent. The one with most octets decides, of equals the one that allows, of those the first."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        plain: dict[str, Rule] = {}
        wild: dict[tuple[tuple[str, ...], bool], _Wild] = {}
        for rule in rules:
            whole = rule.pattern.endswith("$")
            pieces = tuple(map(normal, (rule.pattern[:-1] if whole else rule.pattern).split("*")))
            octets = sum(map(len, pieces)) + len(pieces) - 1 + whole
            if len(pieces) == 1 and not whole:
                plain[pieces[0]] = _better(plain.get(pieces[0]), rule)
            else:
                known = wild.get((pieces, whole))
                wild[pieces, whole] = _Wild(octets, pieces, whole, _better(known and known.rule, rule))
        self._plain = plain
        self._lengths = sorted(set(map(len, plain)))
        self._wild = sorted(wild.values(), key=lambda one: (-one.octets, not one.rule.allow, one.rule.line))

    def judge(self, path: str) -> Rule | None:
        """`path`: with its query, as `path_of` gives it. Cost: in proportion to the rules with wildcards, and to the
        different lengths of the others."""
        path = normal(path)
        found: Rule | None = None
        octets = 0
        for at in range(bisect_left(self._lengths, len(path) + 1) - 1, -1, -1):
            octets = self._lengths[at]
            found = self._plain.get(path[:octets])
            if found is not None:
                break
        for wild in self._wild:
            if found is not None and (wild.octets < octets or (wild.octets == octets and found.allow)):
                break
            if wild.matches(path):
                if found is None or wild.octets > octets or wild.rule.allow:
                    return wild.rule
                break
        return found


def normal(text: str) -> str:
    """A path, or a piece of a pattern, in the form in which they are compared."""
    return _ODD.sub(_written, text)


def path_of(url: str) -> str:
    """Path and query of a URL, without its fragment; a URL that has no path means `/`."""
    scheme = url.find("://")
    slashes = url.find("//")
    if slashes == 0 or slashes == scheme + 1 > 0:
        start = slashes + 2
        for at in range(start, len(url)):
            if url[at] in "/?#":
                path = url[at:]
                break
        else:
            return "/"
    else:
        path = url
    path = path.partition("#")[0] if "#" in path else path
    return path if path.startswith("/") else f"/{path}"


def _better(known: Rule | None, rule: Rule) -> Rule:
    """Of two lines with the same pattern."""
    return rule if known is None or (rule.allow and not known.allow) else known


def _written(found: re.Match[str]) -> str:
    text = found[0]
    if len(text) == 3 and text[0] == "%":
        text = text.upper()
        return _DECODED.get(text, text)
    return "".join(f"%{octet:02X}" for octet in text.encode("utf-8", "replace"))
