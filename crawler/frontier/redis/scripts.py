"""The Lua scripts, one for each transition. `-- include a b` on a script's first line puts shared parts before it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from crawler.frontier.redis.wire import Script

_FOLDER: Final = Path(__file__).with_name("lua")
_INCLUDE: Final = "-- include "
_GROWS: Final = frozenset({"add", "begin"})
"""These are refused while the server is out of memory; all others make room, or take next to none."""
_READS: Final = frozenset({"look", "robots"})


@cache
def script(name: str) -> Script:
    """The script of that name. Cost: a few file reads, once a process."""
    first, _, rest = _read(name).partition("\n")
    parts = first.removeprefix(_INCLUDE).split() if first.startswith(_INCLUDE) else []
    flags = "" if name in _GROWS else " flags=no-writes,allow-oom" if name in _READS else " flags=allow-oom"
    body = rest if parts else f"{first}\n{rest}"
    return Script.of("\n".join([f"#!lua{flags}", *map(_read, parts), body]))


def _read(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")
