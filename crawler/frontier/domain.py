"""The registrable domain of a host, by the public part of the Public Suffix List alone: who rents out names below a
domain of his own answers them all himself."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from crawler.suffix import registrable

_ADDRESS: Final = re.compile(r"[\d.]+|\[[0-9a-f:.]+\]")
_HOSTS_MAX: Final = 100_000
"""Whose domain a process remembers."""


@lru_cache(_HOSTS_MAX)
def domain_of(host: str) -> str:
    """`www.example.co.uk:8080` -> `example.co.uk`; an IP address, and a name that has no registrable domain, is its
    own. It has the last two labels of the name, so all its hosts are in one shard. Cost: 12 µs, again 0.1 µs."""
    name = host if host.endswith("]") or ":" not in host else host.rpartition(":")[0]
    if _ADDRESS.fullmatch(name):
        return name
    return registrable(name) or name
