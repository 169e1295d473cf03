"""The Public Suffix List (https://publicsuffix.org) that came with its library: no network. Only here is it known.

Its public part says where names are registered (`co.uk`), its private part who rents out names below one of his own
(`github.io`): different people may be behind the hosts of either.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList


@cache
def _suffixes(*, public_part: bool) -> PublicSuffixList:
    from publicsuffixlist import PublicSuffixList  # 0.1 s, for who asks at all

    return PublicSuffixList(only_icann=public_part)


def registrable(name: str) -> str | None:
    """What somebody has registered of a name in lower case, by the public part: `example.co.uk` of `a.example.co.uk`;
    None when the name is itself a suffix. Cost: 12 µs."""
    return _suffixes(public_part=True).privatesuffix(name)


def is_public(name: str) -> bool:
    """Whether the name is a suffix of either part, so that nothing may hold for all hosts below it. Every top-level
    domain is one, also one that the list does not know. Cost: 10 µs."""
    return _suffixes(public_part=False).is_public(name.rstrip("."))
